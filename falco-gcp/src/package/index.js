// Where Google's Functions Framework enters a Node function that Falco deployed.
//
// The framework calls `handler(req, res)` for each request. It has the function run by a warm process (falco_shim.cjs),
// and answers with a record: times, what is known of the instance, and the shim's answer as it came. A request of Cloud
// Tasks, whose answers are thrown away, stores the record as an object in Cloud Storage.
'use strict';

const { spawn } = require('node:child_process');
const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

const FUNCTION = path.join(__dirname, 'function');
const INSTANCE = crypto.randomUUID().replaceAll('-', '');
const BOOTED_MS = Math.floor(performance.timeOrigin);
const MAX_RESULT = 32 * 1024 * 1024;
// What the shim writes around a result.
const MAX_ENVELOPE = 64;
const TAIL = 4096;
const MAX_LOG_LINE = 64 * 1024;
// The log of one call, in bytes: Cloud Logging charges for each, and hands out 1,000 lines a second at most.
const MAX_LOG = 1024 * 1024;
// How long the log of a process that has ended is waited for: a child of its own may keep it open.
const LAST_WORDS = 200;
const manifest = JSON.parse(fs.readFileSync(path.join(__dirname, 'falco.json'), 'utf8'));
// How much longer than the function may run a call may take, in seconds, for the start of its process: a little less than
// Google waits, which ends an instance without a word.
const START = manifest.start;

// One line of Cloud Logging, labelled so that a filter finds it by its activation.
function logLine(activation, stream, text) {
  const line = {
    severity: stream === 'stdout' ? 'INFO' : 'ERROR',
    message: text,
    'logging.googleapis.com/labels': { falco_activation: activation ?? '', falco_stream: stream },
  };
  if (activation) line['logging.googleapis.com/trace'] = activation;
  process.stdout.write(JSON.stringify(line) + '\n');
}

// ---- the processes that run the function ----------------------------------------------------------------------------

class Failure extends Error {
  constructor(record) {
    super(record.message);
    this.record = record;
  }
}

// A process, used by one call at a time.
class Child {
  constructor() {
    const args = [path.join(__dirname, 'falco_shim.cjs'), FUNCTION, manifest.entry, '4', '3'];
    this.process = spawn(process.execPath, args, {
      cwd: FUNCTION,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
      detached: true, // so that its own children end with it
    });
    this.calls = 0;
    this.isReady = false;
    this.chunks = [];
    this.tail = '';
    this.logLeft = MAX_LOG;
    this.waiting = null;
    this.lines = [];
    this.process.stdio[4].on('error', () => {}); // that it has ended is noticed elsewhere
    this.process.on('error', (error) => this.ended({ kind: 'initialization', message: String(error) }));
    this.process.on('exit', (status, signal) => {
      this.isGone = true;
      const end = () => this.ended(this.death(status, signal));
      this.process.on('close', end);
      setTimeout(end, LAST_WORDS);
    });
    this.process.stdio[3].on('data', (chunk) => this.answered(chunk));
    this.logs = ['stdout', 'stderr'].map((name) => this.readLog(name));
    this.process.stdio[4].write('go\n');
  }

  // Logs each line; returns what logs a line without an end.
  readLog(name) {
    let rest = '';
    const flush = () => {
      if (rest) logLine(this.activation, name, rest);
      rest = '';
    };
    this.process[name].setEncoding('utf8').on('data', (text) => {
      if (name === 'stderr') this.tail = (this.tail + text).slice(-TAIL);
      if (this.logLeft <= 0) return;
      this.logLeft -= text.length;
      if (this.logLeft <= 0) {
        flush();
        logLine(this.activation, 'stderr', `falco: the log is cut here, after ${MAX_LOG} bytes`);
        return;
      }
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) logLine(this.activation, name, line);
      if (rest.length > MAX_LOG_LINE) flush();
    });
    this.process[name].on('end', flush);
    return flush;
  }

  answered(chunk) {
    let begin = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, begin)) {
      this.chunks.push(chunk.subarray(begin, end));
      this.lines.push(Buffer.concat(this.chunks));
      this.chunks = [];
      begin = end + 1;
    }
    if (begin < chunk.length) this.chunks.push(chunk.subarray(begin));
    this.waiting?.();
  }

  death(status, signal) {
    const trace = this.tail;
    if (signal === 'SIGKILL') {
      return { kind: 'out_of_memory', message: "the function's process was killed, as it is when memory runs out", trace };
    }
    const [kind, when] = this.isReady ? ['crashed', ''] : ['initialization', ' before it was ready'];
    return { kind, message: `the function's process ended${when}`, trace, exit_status: status ?? undefined };
  }

  ended(record) {
    this.end ??= record;
    this.waiting?.();
  }

  // Whether it waits for a call: it has neither ended nor written what nobody has asked for.
  isIdle() {
    return !this.isGone && !this.end && (this.calls === 0 || (this.lines.length === 0 && this.chunks.length === 0));
  }

  // The next line of answers.
  async line(until) {
    while (this.lines.length === 0) {
      if (this.end) throw new Failure(this.end);
      await new Promise((resolve, reject) => {
        const timer = until && setTimeout(() => reject(until.failure), Math.max(0, until.at - Date.now()));
        this.waiting = () => {
          clearTimeout(timer);
          resolve();
        };
      }).finally(() => {
        this.waiting = null;
      });
    }
    return this.lines.shift();
  }

  // The answer to a call, or to the start if that failed.
  async call(body, activation, trace, seconds, about) {
    const begin = Date.now();
    this.activation = activation;
    this.tail = '';
    this.logLeft = MAX_LOG;
    if (!this.isReady) {
      const limit = Math.max(seconds, START);
      const message = `the function did not start within ${limit} seconds`;
      const line = await this.line(seconds && { at: begin + limit * 1000, failure: new Failure({ kind: 'initialization', message }) });
      about.waited_ms = Date.now() - begin;
      const started = JSON.parse(line);
      if (started.error) {
        this.isBroken = true;
        return line;
      }
      this.isReady = true;
      about.init_ms = started.ms;
      about.runtime = started.runtime;
    }
    this.process.stdio[4].write(Buffer.concat([
      Buffer.from('{"value":'),
      oneLine(body),
      Buffer.from(`,"env":${JSON.stringify(trace ? { TRACEPARENT: trace } : {})}}\n`),
    ]));
    const message = `the function ran longer than ${seconds} seconds`;
    const at = Math.min(Date.now() + seconds * 1000, begin + (seconds + START) * 1000);
    const line = await this.line(seconds && { at, failure: new Failure({ kind: 'timeout', message }) });
    this.calls += 1;
    // What was printed before the answer is in the pipes already: the rest of this turn of the event loop reads it.
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    for (const flush of this.logs) flush();
    return line;
  }

  kill() {
    try {
      process.kill(-this.process.pid, 'SIGKILL');
    } catch {
      // It has ended already.
    }
  }
}

// JSON has line breaks between its values only.
function oneLine(body) {
  if (!body.includes(10) && !body.includes(13)) return body;
  return Buffer.from(body).map((byte) => (byte === 10 || byte === 13 ? 32 : byte));
}

const idle = [new Child()];

// An idle process that has not ended meanwhile, or a new one.
function take() {
  while (idle.length > 0) {
    const child = idle.pop();
    if (child.isIdle()) return child;
    child.kill();
  }
  return new Child();
}

async function run(body, activation, trace, seconds, about) {
  const child = take();
  about.cold = child.calls === 0;
  try {
    const line = await child.call(body, activation, trace, seconds, about);
    if (child.isBroken) child.kill();
    else idle.push(child);
    return line;
  } catch (error) {
    child.kill();
    throw error;
  }
}

// Runs the function and describes the run: a JSON object on one line, then the function's answer as it came.
async function record(req, activation, isStored = false) {
  const seconds = Number(req.get('X-Falco-Timeout') ?? 0);
  const head = { falco: 1, id: activation, instance: INSTANCE, boot_ms: BOOTED_MS, revision: process.env.K_REVISION };
  if (isStored) head.stored_argument = true;
  const about = { cold: true, init_ms: undefined, waited_ms: 0 };
  const started = Date.now();
  const begin = process.hrtime.bigint();
  let answer = Buffer.alloc(0);
  try {
    const body = req.rawBody ?? Buffer.from(JSON.stringify(req.body));
    answer = await run(body, activation, req.get('traceparent'), seconds, about);
    if (answer.length > MAX_RESULT + MAX_ENVELOPE) {
      head.error = { kind: 'bad_result', message: `the result has ${answer.length} bytes, and ${MAX_RESULT} are allowed` };
      answer = Buffer.alloc(0);
    } else {
      head.answered = 'shim';
      head.bytes = answer.length;
    }
  } catch (error) {
    head.error = error.record ?? { kind: 'unspecified', message: String(error) };
  }
  head.cold = about.cold;
  head.init_ms = about.init_ms;
  head.runtime = about.runtime;
  head.execution_ms = Number(process.hrtime.bigint() - begin) / 1e6 - about.waited_ms;
  head.started_ms = started + about.waited_ms - (about.init_ms ?? 0);
  head.memory_kib = peakMemory();
  // Text of the log may end in the middle of a character.
  const text = JSON.stringify(head, (_, value) => (typeof value === 'string' ? Buffer.from(value).toString() : value));
  return Buffer.concat([Buffer.from(`${text}\n`), answer]);
}

// What the instance has used at most, in KiB, by its control group.
function peakMemory() {
  try {
    return Math.floor(Number(fs.readFileSync('/sys/fs/cgroup/memory.peak', 'ascii')) / 1024) || undefined;
  } catch {
    return undefined;
  }
}

// ---- results of submitted calls -------------------------------------------------------------------------------------

const BUCKET = process.env.FALCO_BUCKET;
const PREFIX = process.env.FALCO_PREFIX ?? '';
const STORAGE = (process.env.FALCO_STORAGE ?? 'https://storage.googleapis.com/').replace(/\/+$/, '');
const METADATA = process.env.GCE_METADATA_HOST ?? 'metadata.google.internal';
const TRIES = 6;
let storageToken = { value: '', until: 0 };

async function token() {
  if (Date.now() >= storageToken.until) {
    const url = `http://${METADATA}/computeMetadata/v1/instance/service-accounts/default/token`;
    const reply = await fetch(url, { headers: { 'Metadata-Flavor': 'Google' } });
    if (!reply.ok) throw new Error(`the metadata server answers ${reply.status}`);
    const granted = await reply.json();
    storageToken = { value: granted.access_token, until: Date.now() + (granted.expires_in - 60) * 1000 };
  }
  return storageToken.value;
}

// Asks Storage until it gives an answer that asking again would not change: its status and its body.
async function ask(path, method, content) {
  for (let attempt = 1; ; attempt += 1) {
    let problem;
    let isPassing = true;
    try {
      const headers = { Authorization: `Bearer ${await token()}`, 'Content-Type': 'application/json' };
      const reply = await fetch(`${STORAGE}${path}`, { method, headers, body: content });
      const body = Buffer.from(await reply.arrayBuffer());
      if (reply.ok || [404, 412].includes(reply.status)) return { status: reply.status, body };
      problem = new Error(`HTTP Error ${reply.status}: ${body.toString('utf8', 0, 200)}`);
      isPassing = [408, 429, 500, 502, 503, 504].includes(reply.status);
    } catch (error) {
      problem = error;
    }
    if (!isPassing || attempt === TRIES) throw problem;
    await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** attempt));
  }
}

// Stores an object unless it is there already. Says whether it is new.
async function store(name, content) {
  const query = new URLSearchParams({ uploadType: 'media', name: PREFIX + name, ifGenerationMatch: '0' });
  const { status, body } = await ask(`/upload/storage/v1/b/${BUCKET}/o?${query}`, 'POST', content);
  if (status === 404) throw new Error(`HTTP Error 404: ${body.toString('utf8', 0, 200)}`);
  return status !== 412;
}

// What an object holds; nothing when there is none.
async function stored(name) {
  const path = `/storage/v1/b/${BUCKET}/o/${encodeURIComponent(PREFIX + name)}?alt=media`;
  const { status, body } = await ask(path, 'GET');
  return status === 404 ? undefined : body;
}

// Google's queue calls again after anything but a 2xx: the record of a function that failed is stored as well.
async function submitted(req, activation) {
  try {
    const isStored = Boolean(req.get('X-Falco-Argument'));
    if (isStored) {
      // Before the claim: a call that has claimed is not called again.
      req.rawBody = await stored(`arguments/${activation}.json`);
      if (!req.rawBody) return 'the call is done with or given up';
    }
    if (req.get('X-Falco-Once') && !(await store(`claims/${activation}`, '{}'))) return 'the call runs or has run already';
    await store(`results/${activation}.json`, await record(req, activation, isStored));
    return 'stored';
  } catch (error) {
    logLine(activation, 'stderr', `falco: the result cannot be stored: ${error}`);
    throw error;
  }
}

// Says whether this function is reached, and whether it can store results and read arguments.
async function probe() {
  const about = { falco: 1, probe: true };
  if (BUCKET) {
    try {
      const name = `probe/${crypto.randomUUID()}`;
      await store(name, '{}');
      await stored(name);
    } catch (error) {
      about.storage = String(error.message ?? error);
    }
  }
  return about;
}

exports.handler = async (req, res) => {
  try {
    if (req.get('X-Falco-Probe')) {
      res.status(200).set('Content-Type', 'application/json').send(JSON.stringify(await probe()));
      return;
    }
    const activation = req.get('X-Falco-Activation') ?? crypto.randomUUID().replaceAll('-', '');
    if (req.get('X-Falco-Store')) {
      res.status(200).set('Content-Type', 'text/plain').send(await submitted(req, activation));
      return;
    }
    res.status(200).set('Content-Type', 'application/octet-stream').send(await record(req, activation));
  } catch (error) {
    res.status(500).set('X-Google-Status', 'crash').set('Content-Type', 'text/plain').send(String(error));
  }
};
