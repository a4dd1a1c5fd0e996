// Objects for a function: what `args.input`, `args.in` and `args.out` are.
//
// Falco puts this file beside the function, and its shim turns the references of an argument into the classes below. It
// reads and writes by URLs that were signed for one call: no credentials, no packages.
'use strict';

const fs = require('fs');
const os = require('os');
const path = require('path');
const zlib = require('zlib');
const { pipeline, Readable } = require('stream');
const { fileURLToPath } = require('url');

const { parse, stringify } = JSON;

const TRIES = 4;
// Codes of S3 and Azure.
const NO_BUCKET = ['NoSuchBucket', 'ContainerNotFound'];
const WRONG_REGION = ['AuthorizationHeaderMalformed', 'AuthorizationQueryParametersError'];
const AT_ONCE = 8;
const BUFFER = 1 << 20;
const BLOCK = 1 << 16;
const UNKNOWN_MEMORY = 256 * 1024 * 1024;
const LINE_OVERHEAD = 60;
const NEWLINE = 10;

const failures = {};
for (const name of [
  'UrlExpired',
  'UrlExpiredBeforeStart',
  'ObjectChanged',
  'ObjectMissing',
  'StoreRefused',
  'StoreUnavailable',
  'TemporaryFolderFull',
]) {
  failures[name] = class extends Error {
    get name() {
      return name;
    }
  };
}
const { UrlExpired, UrlExpiredBeforeStart, ObjectChanged, ObjectMissing, StoreRefused, StoreUnavailable } = failures;

// ---- requests -------------------------------------------------------------------------------------------------------

const agents = {};

function client(url) {
  const secure = url.startsWith('https:');
  const module = secure ? require('https') : require('http');
  agents[secure] ??= new module.Agent({ keepAlive: true, maxSockets: 4 * AT_ONCE });
  return { request: module.request, agent: agents[secure] };
}

// A URL without its signature, which is a secret until it expires.
const shown = (url) => url.split('?')[0];

// Read ahead by two pieces, and not by sixteen.
const streamOf = (pieces) => Readable.from(pieces, { highWaterMark: 2 });

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const wait = (attempt, seconds) => sleep(Math.min(1000 * (seconds ?? (0.05 + Math.random() / 20) * 4 ** attempt), 20_000));

function checkTime(url, until) {
  const now = Date.now() / 1000;
  if (until === undefined || until === null || now <= until) return;
  const stamp = (seconds) => new Date(Math.trunc(seconds) * 1000).toISOString().replace('.000', '');
  throw new UrlExpired(
    `the signed URL of ${shown(url)} was good until ${stamp(until)}, and it is ${stamp(now)}: ` +
      'raise the lifetime of URLs, or check the clocks',
  );
}

function send(method, url, headers, body) {
  return new Promise((resolve, reject) => {
    const { request, agent } = client(url);
    const sent = request(url, { method, headers, agent, timeout: 60_000 }, resolve);
    sent.on('error', reject);
    sent.on('timeout', () => sent.destroy(new Error('no byte within 60 seconds')));
    if (body === undefined) sent.end();
    else pipeline(streamOf(body.pieces()), sent, (error) => error && reject(error));
  });
}

async function textOf(answer) {
  const pieces = [];
  for await (const piece of answer) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

// Sends a request until it is answered.
async function exchange(method, url, until, headers, body) {
  let problem;
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    if (attempt > 0) await wait(attempt, problem.wait);
    checkTime(url, until);
    try {
      const answer = await send(method, url, headers, body);
      if (answer.statusCode < 300) return answer;
      problem = refusal(method, url, until, answer, await textOf(answer));
      // The rest of the body is not wanted.
      if (!answer.req.writableFinished) answer.req.destroy();
    } catch (error) {
      problem = { reason: `${error.code ?? error.name}: ${error.message}` };
    }
    if (problem instanceof Error) throw problem;
  }
  throw new StoreUnavailable(`${method} ${shown(url)} failed ${TRIES} times, the last time with ${problem.reason}`);
}

function refusal(method, url, until, answer, text) {
  const status = answer.statusCode;
  const code = /<Code>(.*?)<\/Code>/.exec(text)?.[1];
  const reason = `${status} ${code ?? answer.statusMessage}`;
  if ([408, 429, 500, 502, 503, 504].includes(status)) {
    const after = answer.headers['retry-after'];
    return { reason, wait: /^\d+$/.test(after ?? '') ? Number(after) : undefined };
  }
  const place = `${method} ${shown(url)}: ${reason}`;
  if ([400, 401, 403].includes(status)) {
    try {
      checkTime(url, until);
    } catch (error) {
      return error;
    }
    if (/expired/i.test(`${code}${text}`)) {
      return new UrlExpired(
        `${place}: the signed URL or the credentials that signed it have expired by the clock of the store`,
      );
    }
  }
  if (status === 412 || status === 416) return changed(url);
  // There is nothing to miss where an object is written.
  if (status === 404 && method === 'GET' && !NO_BUCKET.includes(code)) {
    return new ObjectMissing(`${shown(url)} is not there: was the run cleaned up, or did a lifecycle rule delete it?`);
  }
  return new StoreRefused(place + advice(status, code));
}

// Advice about a refusal, where the status or the code of the store gives it.
function advice(status, code) {
  if (status === 404) return ': create the bucket, or correct its name';
  if ([301, 307].includes(status) || WRONG_REGION.includes(code)) {
    return ': set the region of the bucket at the driver, such as with AWS_REGION';
  }
  if ([401, 403].includes(status)) {
    return ': allow the account that signs to read and write there; temporary credentials may have ended';
  }
  if (status === 413 || code === 'EntityTooLarge') {
    return ': the store takes no object of this size by one request: write more and smaller ones';
  }
  return '';
}

const changed = (url) => new ObjectChanged(`${shown(url)} has changed since it was planned: plan the run again`);

// The version alone: listings and answers differ in quotes.
const versionOf = (etag) => etag.replace(/^W\//, '').replaceAll('"', '');

// ---- reading --------------------------------------------------------------------------------------------------------

// The bytes of a range, piece by piece. A broken connection is taken up where it broke off.
async function* bytesOf(url, first, last, etag, until) {
  if (url.startsWith('file:')) {
    yield* fileBytes(url, first, last, etag);
    return;
  }
  let version = etag;
  for (let breaks = 0, position = first; last === null || position < last; ) {
    const headers = {};
    if (last !== null) headers.Range = `bytes=${position}-${last - 1}`;
    else if (position > 0) headers.Range = `bytes=${position}-`;
    if (version) headers['If-Match'] = version;
    const answer = await exchange('GET', url, until, headers);
    if (headers.Range && answer.statusCode !== 206) {
      answer.destroy();
      throw new StoreRefused(`GET ${shown(url)}: the store ignores ranges`);
    }
    const length = answer.headers['content-length'];
    if (last === null && length !== undefined) last = position + Number(length);
    // Not every store heeds If-Match.
    if (version && answer.headers.etag && versionOf(version) !== versionOf(answer.headers.etag)) {
      answer.destroy();
      throw changed(url);
    }
    version ??= answer.headers.etag;
    let problem = 'fewer bytes than announced';
    try {
      for await (const piece of answer) {
        position += piece.length;
        yield piece;
      }
      if (last === null) return;
    } catch (error) {
      problem = error.message;
    }
    if (position < last) {
      breaks += 1;
      if (breaks === TRIES) {
        throw new StoreUnavailable(`GET ${shown(url)} broke off ${TRIES} times, the last time with ${problem}`);
      }
      await wait(breaks);
    }
  }
}

function* fileBytes(url, first, last, etag) {
  let file;
  try {
    file = fs.openSync(fileURLToPath(url), 'r');
  } catch (error) {
    if (error.code === 'ENOENT') throw new ObjectMissing(`${shown(url)} is not there`);
    throw error;
  }
  try {
    const now = fs.fstatSync(file, { bigint: true });
    if (etag) {
      const found = [now.ino, now.mtimeNs / 1000n, now.size].map((n) => n.toString(16)).join('-');
      if (etag.replaceAll('"', '') !== found) throw changed(url);
    }
    yield* piecesOf(file, first, last ?? Number(now.size), BUFFER);
  } finally {
    fs.closeSync(file);
  }
}

function* piecesOf(file, first, last, step) {
  for (let position = first; position < last; ) {
    const piece = Buffer.allocUnsafe(Math.min(step, last - position));
    const count = fs.readSync(file, piece, 0, piece.length, position);
    if (count === 0) throw new ObjectChanged('a file has become shorter');
    position += count;
    yield piece.subarray(0, count);
  }
}

// The pieces behind a transformation of zlib. An error on either side ends both, and shows in the loop over the pieces.
async function* through(transformation, pieces) {
  pipeline(streamOf(pieces), transformation, () => {});
  yield* transformation;
}

// The content of gzip members that follow one another.
const unzipped = (pieces) => through(zlib.createGunzip(), pieces);

// The bytes that a call is to read.
class Input {
  constructor(references) {
    this.references = references;
  }

  // Where it is, without a signature.
  get url() {
    return this.references[0].url;
  }

  // The first byte and the one after the last; undefined for a whole object.
  get range() {
    return this.references[0].range;
  }

  // The bytes of the whole object; undefined where the reference does not say it.
  get size() {
    return this.references[0].size;
  }

  // The bytes, piece by piece. Objects that share the split follow one another, each on a line of its own.
  async *chunks() {
    let last = NEWLINE;
    for (const it of this.references) {
      let isFirst = true;
      for await (const piece of rangeOf(it)) {
        if (isFirst && last !== NEWLINE) yield Buffer.from('\n');
        isFirst = false;
        last = piece.at(-1);
        yield piece;
      }
    }
  }

  // The lines, as buffers with their ends.
  async *lines() {
    for (const it of this.references) {
      let rest = [];
      for await (const piece of rangeOf(it)) {
        let from = 0;
        for (let end = piece.indexOf(NEWLINE); end >= 0; end = piece.indexOf(NEWLINE, from)) {
          const line = piece.subarray(from, end + 1);
          from = end + 1;
          if (rest.length === 0) yield line;
          else {
            yield Buffer.concat([...rest, line]);
            rest = [];
          }
        }
        if (from < piece.length) rest.push(piece.subarray(from));
      }
      if (rest.length > 0) yield Buffer.concat(rest);
    }
  }

  // All bytes.
  async read() {
    return collected(this.chunks());
  }

  // The whole object to which the range belongs.
  whole() {
    return new Input([{ ...this.references[0], range: undefined }]);
  }

  // Other bytes of the object to which the range belongs, from `first` to the one before `last`.
  part(first, last) {
    if (this.references.length !== 1 || this.references[0].gzip) {
      throw new TypeError('packed and compressed objects have no parts: read them as a whole');
    }
    return new Input([{ ...this.references[0], range: [first, last] }]);
  }
}

function rangeOf({ get, range, etag, until, gzip }) {
  const [first, last] = range ?? [0, null];
  const pieces = bytesOf(get, first, last, etag, until);
  return gzip ? unzipped(pieces) : pieces;
}

async function collected(pieces) {
  const all = [];
  for await (const piece of pieces) all.push(piece);
  return Buffer.concat(all);
}

// ---- writing --------------------------------------------------------------------------------------------------------

// A body of pieces that can be sent again, and its length.
const inMemory = (pieces, length) => ({ length, pieces: () => pieces });
const inFile = (file, length) => ({ length, pieces: () => piecesOf(file, 0, length, BUFFER) });

async function store(target, body) {
  const url = target.put;
  if (url.startsWith('file:')) {
    storeFile(fileURLToPath(url), body);
    return;
  }
  const headers = { ...target.headers, 'Content-Length': body.length };
  const answer = await exchange('PUT', url, target.until, headers, body);
  // The status has said that the object is there, whatever becomes of the rest of the answer.
  await textOf(answer).catch(() => {});
}

function storeFile(file, body) {
  // A name that listings leave out, until it is whole.
  const staged = `${file}#${process.pid}${Math.trunc(Math.random() * 2 ** 40)}`;
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true });
    const whole = fs.openSync(staged, 'wx');
    try {
      for (const piece of body.pieces()) write(whole, piece);
    } finally {
      fs.closeSync(whole);
    }
    fs.renameSync(staged, file);
  } catch (error) {
    fs.rmSync(staged, { force: true });
    throw new StoreRefused(`${file} cannot be written: ${error.message}`);
  }
}

// A file without a name, for runs.
function temporary() {
  const name = path.join(os.tmpdir(), `falco-data-${process.pid}-${Math.random().toString(36).slice(2)}`);
  const file = fs.openSync(name, 'wx+', 0o600);
  fs.unlinkSync(name);
  return file;
}

// At the end of the file, or at a position.
function write(file, data, position = null) {
  for (let sent = 0; sent < data.length; ) {
    sent += fs.writeSync(file, data, sent, data.length - sent, position === null ? null : position + sent);
  }
}

function append(file, data, position) {
  try {
    write(file, data, position);
  } catch (error) {
    if (!['ENOSPC', 'EDQUOT', 'EFBIG'].includes(error.code)) throw error;
    throw new failures.TemporaryFolderFull(
      `the temporary folder ${os.tmpdir()} is full: give the function more of it, or use more and smaller pieces`,
    );
  }
  return position + data.length;
}

// The pieces as one member of gzip; nothing for no bytes, unless `evenEmpty`.
async function* zipped(pieces, evenEmpty) {
  let first = pieces.next();
  while (!first.done && first.value.length === 0) first = pieces.next();
  if (first.done && !evenEmpty) return;
  yield* through(
    zlib.createGzip({ level: 1 }),
    (function* () {
      if (!first.done) yield first.value;
      yield* pieces;
    })(),
  );
}

// Lines as buffers of many.
function* blocks(lines) {
  let held = [];
  let length = 0;
  for (const line of lines) {
    held.push(line);
    length += line.length;
    if (length >= BLOCK) {
      yield Buffer.from(held.join(''), 'latin1');
      [held, length] = [[], 0];
    }
  }
  if (length > 0) yield Buffer.from(held.join(''), 'latin1');
}

// Text of which each character is a byte of UTF-8, so that sorting it sorts the bytes.
const ASCII = /^[\0-\x7f]*$/;
const bytewise = (text) => (ASCII.test(text) ? text : Buffer.from(text).toString('latin1'));

const lineOf = (key, value) => {
  const json = stringify(value);
  if (json === undefined) throw new TypeError('JSON cannot write the value');
  return bytewise(`[${stringify(key)},${json}]\n`);
};

const table = new Uint32Array(256).map((_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

function crcByTable(data) {
  let crc = ~0;
  for (const byte of Buffer.from(data)) crc = table[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

// Node.js has it since 20.15.
const crc32 = zlib.crc32 ?? crcByTable;

// One object to write. Without partitions it takes bytes; with partitions, bytes for each or keys with values.
class Output {
  constructor(target, memory) {
    this.target = target;
    this.bound = memory / 4;
    this.partitions = target.partitions;
    this.gzip = target.gzip ?? false;
    this.count = this.partitions ?? 1;
    this.runs = [];
    this.isBroken = false;
    this.reset();
  }

  reset() {
    this.buckets = Array.from({ length: this.count }, () => (this.fold ? new Map() : []));
    this.held = 0;
  }

  // Adds bytes or text to an object without partitions.
  write(data) {
    if (this.partitions !== undefined) {
      throw new TypeError('this object has partitions: use emit, or partition(number).write');
    }
    this.add(0, data);
  }

  // The partition with this number, which takes bytes of any kind by `write`.
  partition(number) {
    if (!(number >= 0 && number < this.count)) {
      throw new RangeError(`partition ${number} is not one of the ${this.count}`);
    }
    return { write: (data) => this.add(number, data) };
  }

  add(number, data) {
    this.becomes(false);
    const bytes = Buffer.from(data);
    this.buckets[number].push(bytes);
    this.hold(bytes.length + LINE_OVERHEAD);
  }

  // Folds the values of a key into one as they come: `fold(a, b)` has to take them in any order.
  combine(fold) {
    if (this.isSorted !== undefined) throw new TypeError('combine has to come before the first emit');
    this.becomes(true);
    this.fold = fold;
    this.reset();
    return this;
  }

  // Adds a value, which JSON can write, under a key, which is text.
  emit(key, value) {
    if (this.partitions === undefined) {
      throw new TypeError('this object has no partitions, so that nothing can be emitted: use write');
    }
    if (typeof key !== 'string') throw new TypeError(`a key has to be a string, and it is a ${typeof key}`);
    if (key.isWellFormed?.() === false) throw new TypeError('a key holds half of a surrogate pair, which is not a character');
    this.becomes(true);
    const bucket = this.buckets[crc32(key) % this.count];
    if (!this.fold) {
      const line = lineOf(key, value);
      bucket.push(line);
      this.hold(line.length + LINE_OVERHEAD);
    } else if (bucket.has(key)) {
      bucket.set(key, this.fold(bucket.get(key), value));
      // The folded value may have grown by as much.
      this.hold(sizeOf(value));
    } else {
      bucket.set(key, value);
      this.hold(2 * key.length + 2 * LINE_OVERHEAD + sizeOf(value));
    }
  }

  check() {
    if (this.isBroken) throw new Error('a part of the object is lost, since an earlier write failed: throw that error');
  }

  becomes(isSorted) {
    if (this.made) throw new Error('the object is closed');
    this.check();
    if (this.isSorted !== undefined && this.isSorted !== isSorted) {
      throw new TypeError('keys with values and plain bytes cannot share an object');
    }
    this.isSorted = isSorted;
  }

  hold(length) {
    this.held += length;
    if (this.held > this.bound) this.makeRoom();
  }

  // Counts again where folding may have made less of it; else moves what is in memory to a run on disk.
  makeRoom() {
    if (this.fold) {
      this.held = 0;
      for (const bucket of this.buckets) {
        for (const [key, value] of bucket) this.held += 2 * key.length + 2 * LINE_OVERHEAD + sizeOf(value);
      }
    }
    if (2 * this.held > this.bound) this.spill();
  }

  // The lines or pieces of a partition that are in memory, in their order. They are not in memory twice afterwards.
  taken(number) {
    let bucket = this.buckets[number];
    this.buckets[number] = [];
    if (this.fold) bucket = Array.from(bucket, ([key, value]) => lineOf(key, value));
    return this.isSorted ? bucket.sort() : bucket;
  }

  // Moves what is in memory to a run on disk.
  spill() {
    this.isBroken = true;
    this.file ??= temporary();
    let end = this.runs.at(-1)?.at(-1) ?? 0;
    const bounds = [end];
    for (let number = 0; number < this.count; number += 1) {
      const taken = this.taken(number);
      for (const piece of this.isSorted ? blocks(taken) : taken) end = append(this.file, piece, end);
      bounds.push(end);
    }
    this.runs.push(bounds);
    this.reset();
    this.isBroken = false;
  }

  // The bytes of a partition from all runs and from memory, piece by piece.
  *merged(number) {
    const runs = this.runs.map((bounds) => [bounds[number], bounds[number + 1]]);
    const taken = this.taken(number);
    if (!this.isSorted) {
      for (const [first, last] of runs) yield* piecesOf(this.file, first, last, BUFFER);
      yield* taken;
      return;
    }
    if (runs.length === 0) {
      yield* blocks(taken);
      return;
    }
    const step = stepOf(this.bound, runs.length);
    const sources = runs.map(([first, last]) => linesIn(piecesOf(this.file, first, last, step)));
    const lines = merge([...sources, taken[Symbol.iterator]()]);
    yield* blocks(this.fold ? this.folded(lines) : lines);
  }

  *folded(lines) {
    for (const [key, values] of grouped(lines)) {
      let folded = values.next().value;
      for (const value of values) folded = this.fold(folded, value);
      yield lineOf(key, folded);
    }
  }

  // What the object holds of a partition.
  async *packed(number) {
    const pieces = this.merged(number);
    yield* this.gzip ? zipped(pieces, this.partitions === undefined) : pieces;
  }

  // The object, in memory or in a file, and the lengths of its partitions. It can be made once.
  async make() {
    if (this.runs.length > 0 && this.partitions === undefined && !this.gzip) {
      // The runs follow one another, as the bytes of the object do.
      let size = this.runs.at(-1).at(-1);
      for (const piece of this.taken(0)) size = append(this.file, piece, size);
      return { body: inFile(this.file, size), lengths: [size] };
    }
    const file = this.runs.length > 0 ? temporary() : undefined;
    const [pieces, lengths] = [[], []];
    let size = 0;
    for (let number = 0; number < this.count; number += 1) {
      const first = size;
      for await (const piece of this.packed(number)) {
        if (file === undefined) pieces.push(piece);
        else append(file, piece, size);
        size += piece.length;
      }
      lengths.push(size - first);
    }
    if (file === undefined) return { body: inMemory(pieces, size), lengths };
    fs.closeSync(this.file);
    this.file = file;
    return { body: inFile(file, size), lengths };
  }

  // Writes the object and resolves to its reference, for the result of the function.
  async close() {
    if (this.reference) return this.reference;
    this.check();
    if (!this.made) {
      this.isBroken = true;
      this.made = await this.make();
      this.isBroken = false;
    }
    const { body, lengths } = this.made;
    await store(this.target, body);
    if (this.file !== undefined) fs.closeSync(this.file);
    const parts = this.partitions === undefined ? {} : { parts: lengths };
    const gzip = this.gzip ? { gzip: true } : {};
    this.reference = { 'falco:object': { url: this.target.url, size: body.length, ...parts, ...gzip } };
    this.made = {};
    return this.reference;
  }
}

// The bytes of a value beside its place; numbers have none.
function sizeOf(value) {
  return typeof value === 'number' || typeof value === 'boolean' ? 0 : (stringify(value)?.length ?? 0);
}

// ---- reducing -------------------------------------------------------------------------------------------------------

function* linesIn(pieces) {
  let rest = '';
  for (const piece of pieces) {
    const lines = (rest + piece.toString('latin1')).split('\n');
    rest = lines.pop();
    for (const line of lines) yield `${line}\n`;
  }
  if (rest !== '') yield rest;
}

// How much to read at once of each of so many sources: their lines take a few times as much memory.
const stepOf = (bound, sources) => Math.max(1 << 10, Math.min(Math.trunc(bound / (8 * Math.max(sources, 1))), BLOCK));

function* cut(data, step) {
  for (let at = 0; at < data.length; at += step) yield data.subarray(at, at + step);
}

// Cuts a stream of pieces at lengths that are asked for one after the other.
class Cutter {
  constructor(pieces) {
    this.pieces = pieces;
    this.rest = Buffer.alloc(0);
  }

  async *take(length) {
    for (let left = length; left > 0; ) {
      if (this.rest.length === 0) {
        const { value, done } = await this.pieces.next();
        if (done) throw new ObjectChanged('an object is shorter than planned: plan the run again');
        this.rest = value;
      }
      const piece = this.rest.subarray(0, left);
      this.rest = this.rest.subarray(piece.length);
      left -= piece.length;
      yield piece;
    }
  }
}

// Merges sorted lines, by a heap of their sources.
function* merge(sources) {
  const heap = [];
  const before = (left, right) => heap[left].line < heap[right].line;
  const swap = (left, right) => ([heap[left], heap[right]] = [heap[right], heap[left]]);
  const sink = (at) => {
    for (;;) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) if (child < heap.length && before(child, least)) least = child;
      if (least === at) return;
      swap(at, least);
      at = least;
    }
  };
  for (const source of sources) {
    const { value, done } = source.next();
    if (!done) heap.push({ line: value, source });
  }
  for (let at = heap.length >> 1; at >= 0; at -= 1) sink(at);
  while (heap.length > 0) {
    yield heap[0].line;
    const { value, done } = heap[0].source.next();
    if (done) {
      const last = heap.pop();
      if (heap.length > 0) heap[0] = last;
    } else heap[0].line = value;
    sink(0);
  }
}

// Keys with an iterator over their values, out of sorted lines: all lines of a key are neighbours.
function* grouped(lines) {
  const pairOf = (line) => parse(Buffer.from(line, 'latin1').toString());
  let next = lines.next();
  while (!next.done) {
    const [key, first] = pairOf(next.value);
    let isNext = false;
    const values = (function* () {
      yield first;
      for (next = lines.next(); !next.done; next = lines.next()) {
        const [another, value] = pairOf(next.value);
        if (another !== key) {
          isNext = true;
          return;
        }
        yield value;
      }
      isNext = true;
    })();
    yield [key, values];
    while (!isNext) if (values.next().done) break;
    if (!isNext) {
      // The function left its loop over the values early, which ends a generator.
      for (next = lines.next(); !next.done && pairOf(next.value)[0] === key; ) next = lines.next();
    }
  }
}

// What all mappers wrote for the partitions of this call.
class Parts {
  constructor(reference, memory) {
    this.bound = memory / 4;
    this.gzip = reference.gzip ?? false;
    this.entries = reference.groups.flatMap(({ head, mid, tail, parts }) =>
      parts.map(([name, signature, ...bounds]) => ({
        url: head + name + mid + signature + tail,
        until: reference.until,
        bounds,
      })),
    );
  }

  // The number of bytes in the store.
  get length() {
    return this.entries.reduce((sum, entry) => sum + lengthOf(entry), 0);
  }

  // The bytes that each mapper wrote, one after the other.
  async *parts() {
    let at = 0;
    for await (const data of this.fetched()) {
      const { bounds } = this.entries[at];
      at += 1;
      for (let number = 1; number < bounds.length; number += 1) {
        const part = data.subarray(bounds[number - 1] - bounds[0], bounds[number] - bounds[0]);
        if (part.length > 0) yield this.gzip ? zlib.gunzipSync(part) : part;
      }
    }
  }

  // Each key with an iterator over its values, sorted by key.
  async *groups() {
    const count = Math.max(0, ...this.entries.map(({ bounds }) => bounds.length - 1));
    const step = stepOf(this.bound, this.entries.length);
    // How long compressed data is shows only when it is there.
    if (this.length <= this.bound && !this.gzip) {
      const data = [];
      for await (const it of this.fetched()) data.push(it);
      for (let number = 0; number < count; number += 1) {
        const slices = this.entries.map(({ bounds }, at) =>
          data[at].subarray(bounds[number] - bounds[0], bounds[number + 1] - bounds[0]),
        );
        yield* grouped(merge(slices.map((slice) => linesIn(cut(slice, step)))));
      }
      return;
    }
    const file = temporary();
    try {
      const places = await this.fetchInto(file);
      for (let number = 0; number < count; number += 1) {
        yield* grouped(merge(places.map((parts) => linesIn(extents(file, parts[number], step)))));
      }
    } finally {
      fs.closeSync(file);
    }
  }

  // Fetches all entries into a file, and says where each partition of each is: a list of places from one byte to another.
  async fetchInto(file) {
    let [end, isFailed] = [0, false];
    const fetch = async ({ url, until, bounds }) => {
      const cutter = new Cutter(bytesOf(url, bounds[0], bounds.at(-1), undefined, until));
      const parts = [];
      for (let number = 1; number < bounds.length; number += 1) {
        const length = bounds[number] - bounds[number - 1];
        const places = [];
        const pieces = length > 0 && this.gzip ? unzipped(cutter.take(length)) : cutter.take(length);
        for await (const piece of pieces) {
          if (isFailed) return parts;
          if (places.length > 0 && places.at(-1)[1] === end) places.at(-1)[1] += piece.length;
          else places.push([end, end + piece.length]);
          end = append(file, piece, end);
        }
        parts.push(places);
      }
      return parts;
    };
    const all = this.entries.map(() => []);
    const waiting = this.entries.entries();
    const worker = async () => {
      for (const [at, entry] of waiting) {
        if (isFailed) return;
        all[at] = await fetch(entry);
      }
    };
    const workers = Array.from({ length: AT_ONCE }, () =>
      worker().catch((error) => {
        isFailed = true;
        throw error;
      }),
    );
    // The file stays open until none of them writes.
    const failed = (await Promise.allSettled(workers)).find(({ status }) => status === 'rejected');
    if (failed) throw failed.reason;
    return all;
  }

  // The bytes of each entry, in order. Some are fetched ahead, as many as fit into the bound.
  async *fetched() {
    const [ahead, lengths] = [[], this.entries.map(lengthOf)];
    let [held, following] = [0, 0];
    for (let current = 0; current < lengths.length; current += 1) {
      while (
        following < lengths.length &&
        ahead.length < AT_ONCE &&
        (ahead.length === 0 || held + lengths[following] <= this.bound)
      ) {
        const { url, until, bounds } = this.entries[following];
        const data = collected(bytesOf(url, bounds[0], bounds.at(-1), undefined, until));
        // It is waited for in its turn.
        data.catch(() => {});
        ahead.push(data);
        held += lengths[following];
        following += 1;
      }
      yield await ahead.shift();
      held -= lengths[current];
    }
  }
}

const lengthOf = ({ bounds }) => bounds.at(-1) - bounds[0];

function* extents(file, places, step) {
  for (const [first, last] of places) yield* piecesOf(file, first, last, step);
}

// ---- for the shim ---------------------------------------------------------------------------------------------------

const isAsked = (value) => value !== null && typeof value === 'object' && 'falco:data' in value;

// The argument with its references turned into objects, and where a long result may go.
async function argument(value) {
  const { 'falco:data': settings, 'falco:spill': spill, ...rest } = value;
  const memory = settings.memory ?? UNKNOWN_MEMORY;
  try {
    const spilled = rest['falco:argument'];
    const given = spilled ? parse(await whole(spilled)) : rest;
    // After a stage that spilled its result, the whole argument is a reference.
    return { value: await resolved(given, memory), spill };
  } catch (error) {
    throw error instanceof UrlExpired ? new UrlExpiredBeforeStart(error.message) : error;
  }
}

async function resolved(value, memory) {
  if (value === null || typeof value !== 'object') return value;
  if (Array.isArray(value)) return Promise.all(value.map((it) => resolved(it, memory)));
  const entries = Object.entries(value);
  if (entries.length === 1) {
    const [[name, it]] = entries;
    switch (name) {
      case 'falco:object':
        return new Input([it]);
      case 'falco:objects':
        return new Input(it);
      case 'falco:sink':
        return new Output(it, memory);
      case 'falco:parts':
        return new Parts(it, memory);
      case 'falco:value':
        return resolved(parse(await whole(it)), memory);
      default:
    }
  }
  const all = entries.map(async ([name, it]) => [name, await resolved(it, memory)]);
  return Object.fromEntries(await Promise.all(all));
}

async function whole({ get, size, until }) {
  return (await collected(bytesOf(get, 0, size ?? null, undefined, until))).toString();
}

// The text of a result, or of a reference to it where it is too long.
async function result(json, spill) {
  if (!spill) return json;
  const length = Buffer.byteLength(json);
  if (length <= spill.over) return json;
  if (length > spill.most) throw new RangeError(`the result has ${length} bytes, and ${spill.most} are allowed`);
  await store(spill, inMemory([Buffer.from(json)], length));
  return stringify({ 'falco:value': { url: spill.url, size: length } });
}

module.exports = { ...failures, Input, Output, Parts, falco: { isAsked, argument, result } };
