// Where Google's Functions Framework enters a Node function that Falco deployed.
//
// The framework calls `handler(req, res)` for each request. It has the function run by a warm process (falco_worker.js),
// and answers with a record: the result or the error, the times, and what is known of the instance. A request of Cloud
// Tasks, whose answers are thrown away, stores the record as an object in Cloud Storage.
'use strict';

const { spawn } = require('node:child_process');
const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

const FUNCTION = path.join(__dirname, 'function');
const INSTANCE = crypto.randomUUID().replaceAll('-', '');
const MAX_RESULT = 32 * 1024 * 1024;
const TAIL = 4096;
const MARK = '\u0000falco ';
const OK = Buffer.from('{"ok":');
const manifest = JSON.parse(fs.readFileSync(path.join(__dirname, 'falco.json'), 'utf8'));

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
    const args = [path.join(__dirname, 'falco_worker.js'), manifest.entry, manifest.source ? 'source' : 'package'];
    this.process = spawn(process.execPath, args, {
      cwd: FUNCTION,
      stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
      detached: true, // so that its own children end with it
    });
    this.calls = 0;
    this.chunks = [];
    this.tail = '';
    this.waiting = null;
    this.lines = [];
    this.marked = { stdout: null, stderr: null };
    this.process.stdin.on('error', () => {}); // that it has ended is told elsewhere
    this.process.on('error', (error) => this.ended({ kind: 'initialization', message: String(error) }));
    this.process.on('close', (status, signal) => this.ended(this.death(status, signal)));
    this.process.stdio[3].on('data', (chunk) => this.answered(chunk));
    for (const name of ['stdout', 'stderr']) this.readLog(name);
  }

  readLog(name) {
    let rest = '';
    this.process[name].setEncoding('utf8').on('data', (text) => {
      if (name === 'stderr') this.tail = (this.tail + text).slice(-TAIL);
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const [index, line] of lines.entries()) {
        if (line.startsWith(MARK)) {
          this.marked[name]?.();
        } else if (line !== '' || !(lines[index + 1] ?? rest).startsWith(MARK)) {
          // A mark begins with a line break, in case that the function's last line has none.
          logLine(this.activation, name, line);
        }
      }
    });
    this.process[name].on('end', () => {
      if (rest) logLine(this.activation, name, rest);
      this.marked[name]?.();
    });
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
    const trace = this.tail.replaceAll(/\n?\u0000falco .*\n/g, '');
    if (signal === 'SIGKILL') {
      return { kind: 'out_of_memory', message: "the function's process was killed, as it is when memory runs out", trace };
    }
    return { kind: 'crashed', message: "the function's process ended", trace, exit_status: status ?? undefined };
  }

  ended(record) {
    this.end ??= record;
    this.waiting?.();
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

  async call(body, activation, seconds, about, waited) {
    const until = seconds && {
      at: Date.now() + seconds * 1000,
      failure: new Failure({ kind: 'timeout', message: `the function ran longer than ${seconds} seconds` }),
    };
    this.activation = activation;
    this.tail = '';
    if (this.calls === 0) {
      const begin = process.hrtime.bigint();
      const ready = JSON.parse(await this.line(until));
      if (ready.failure) throw new Failure(ready.failure);
      about.init_ms = ready.ready;
      waited.ms = Number(process.hrtime.bigint() - begin) / 1e6;
    }
    this.calls += 1;
    const logs = ['stdout', 'stderr'].map((name) => new Promise((resolve) => {
      this.marked[name] = resolve;
    }));
    const isOneLine = !body.includes(10) && !body.includes(13);
    this.process.stdin.write(Buffer.concat([
      Buffer.from('{"value":'),
      isOneLine ? body : Buffer.from(JSON.stringify(JSON.parse(body))),
      Buffer.from(`,"activation_id":${JSON.stringify(activation)}}\n`),
    ]));
    const line = await this.line(until);
    // What was printed before the answer; a function that has closed its output is not waited for.
    await Promise.race([Promise.all(logs), new Promise((resolve) => setTimeout(resolve, 1000).unref())]);
    if (line.subarray(0, OK.length).equals(OK)) return line.subarray(OK.length, -1);
    throw new Failure(JSON.parse(line).failure);
  }

  kill() {
    try {
      process.kill(-this.process.pid, 'SIGKILL');
    } catch {
      // It has ended already.
    }
  }
}

const idle = [new Child()];

async function run(body, activation, seconds, about, waited) {
  const child = idle.pop() ?? new Child();
  about.cold = child.calls === 0;
  try {
    const result = await child.call(body, activation, seconds, about, waited);
    idle.push(child);
    return result;
  } catch (error) {
    // What the function raised has left its process as good as before.
    if (['raised', 'bad_result'].includes(error.record?.kind)) idle.push(child);
    else child.kill();
    throw error;
  }
}

// Runs the function and describes the run: a JSON object as a buffer.
async function record(req, activation, isStored = false) {
  const seconds = Number(req.get('X-Falco-Timeout') ?? 0);
  const about = { falco: 1, id: activation, instance: INSTANCE, revision: process.env.K_REVISION };
  if (isStored) about.stored_argument = true;
  const waited = { ms: 0 }; // for the start of the process
  const started = Date.now();
  const begin = process.hrtime.bigint();
  let result;
  try {
    const body = req.rawBody ?? Buffer.from(JSON.stringify(req.body));
    result = await run(body, activation, seconds, about, waited);
    if (result.length > MAX_RESULT) {
      about.error = { kind: 'bad_result', message: `the result has ${result.length} bytes, and ${MAX_RESULT} are allowed` };
      result = undefined;
    }
  } catch (error) {
    about.error = error.record ?? { kind: 'unspecified', message: String(error) };
  }
  about.execution_ms = Number(process.hrtime.bigint() - begin) / 1e6 - waited.ms;
  about.started_ms = started + waited.ms - (about.init_ms ?? 0);
  about.memory_kib = peakMemory();
  const text = Buffer.from(JSON.stringify(about));
  return result === undefined ? text : Buffer.concat([text.subarray(0, -1), Buffer.from(',"result":'), result, Buffer.from('}')]);
}

// What the instance has used at most, in KiB, as its control group tells.
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
    res.status(200).set('Content-Type', 'application/json').send(await record(req, activation));
  } catch (error) {
    res.status(500).set('X-Google-Status', 'crash').set('Content-Type', 'text/plain').send(String(error));
  }
};
