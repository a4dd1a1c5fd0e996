// Where Google's Functions Framework enters a Node function that Falco deployed.
//
// The framework calls `handler(req, res)` for each request. It calls the user's `main(args)` and answers with a record:
// the result or the error, the times, and what is known of the instance. A request of Cloud Tasks, whose answers are
// thrown away, stores the record as an object in Cloud Storage.
'use strict';

const started = process.hrtime.bigint();
const { AsyncLocalStorage } = require('node:async_hooks');
const crypto = require('node:crypto');
const fs = require('node:fs');
const Module = require('node:module');
const path = require('node:path');

const FUNCTION = path.join(__dirname, 'function');
const INSTANCE = crypto.randomUUID().replaceAll('-', '');
const MAX_RESULT = 32 * 1024 * 1024;
const manifest = JSON.parse(fs.readFileSync(path.join(__dirname, 'falco.json'), 'utf8'));
const since = (begin) => Number(process.hrtime.bigint() - begin) / 1e6;

// ---- logs -----------------------------------------------------------------------------------------------------------

const current = new AsyncLocalStorage();
const toStdout = process.stdout.write.bind(process.stdout);

// One line of Cloud Logging, labelled so that a filter finds it by its activation.
function logLine(activation, stream, text) {
  const line = {
    severity: stream === 'stdout' ? 'INFO' : 'ERROR',
    message: text,
    'logging.googleapis.com/labels': { falco_activation: activation ?? '', falco_stream: stream },
  };
  if (activation) line['logging.googleapis.com/trace'] = activation;
  toStdout(JSON.stringify(line) + '\n');
}

const partial = { stdout: new Map(), stderr: new Map() };

function capture(name) {
  process[name].write = (chunk, encoding, callback) => {
    const activation = current.getStore();
    const text = typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString('utf8');
    const lines = ((partial[name].get(activation) ?? '') + text).split('\n');
    const rest = lines.pop();
    if (rest) partial[name].set(activation, rest);
    else partial[name].delete(activation);
    for (const line of lines) logLine(activation, name, line);
    const done = typeof encoding === 'function' ? encoding : callback;
    if (done) process.nextTick(done);
    return true;
  };
}

function endLogs(activation) {
  for (const name of ['stdout', 'stderr']) {
    const rest = partial[name].get(activation);
    partial[name].delete(activation);
    if (rest) logLine(activation, name, rest);
  }
}

// ---- the function ---------------------------------------------------------------------------------------------------

class Failure extends Error {
  constructor(kind, message, more = {}) {
    super(message);
    this.record = { kind, message, ...more };
  }
}

function described(kind, error) {
  if (error instanceof Error) {
    const trace = String(error.stack ?? '').slice(0, 16384);
    return new Failure(kind, error.message || error.name, { error_type: error.name, trace });
  }
  let message;
  try {
    message = typeof error === 'string' ? error : JSON.stringify(error) ?? String(error);
  } catch {
    message = String(error);
  }
  return new Failure(kind, message);
}

// A single source need not export its entry point; a package has to.
function loadSource(file) {
  const module = new Module(file, null);
  module.filename = file;
  module.paths = Module._nodeModulePaths(FUNCTION);
  const entry = manifest.entry;
  const exportIt = `\n;if (typeof ${entry} === 'function') module.exports.${entry} ??= ${entry};`;
  module._compile(fs.readFileSync(file, 'utf8') + exportIt, file);
  return module.exports;
}

async function loadPackage() {
  try {
    return require(FUNCTION);
  } catch (error) {
    if (error.code !== 'ERR_REQUIRE_ESM') throw error;
    return import(require.resolve(FUNCTION));
  }
}

async function load() {
  process.chdir(FUNCTION);
  const loaded = manifest.source ? loadSource(path.join(FUNCTION, 'index.js')) : await loadPackage();
  const main = loaded[manifest.entry] ?? loaded.default?.[manifest.entry];
  if (typeof main !== 'function') {
    throw new Failure('initialization', `the function's module has no function ${JSON.stringify(manifest.entry)}`);
  }
  return main;
}

capture('stdout');
capture('stderr');
let initMs = 0;
const loading = load().then(
  (main) => ({ main }),
  (error) => ({ failure: error instanceof Failure ? error : described('initialization', error) }),
).finally(() => {
  initMs = since(started);
});
let isCold = true;

// What a rejected promise or a throw in a callback would end is the whole instance.
process.on('uncaughtException', (error) => logLine(current.getStore(), 'stderr', String(error?.stack ?? error)));
process.on('unhandledRejection', (error) => logLine(current.getStore(), 'stderr', String(error?.stack ?? error)));

async function run(req) {
  const { main, failure } = await loading;
  if (failure) throw failure;
  let args;
  try {
    args = req.rawBody ? JSON.parse(req.rawBody.toString('utf8')) : req.body;
  } catch (error) {
    throw new Failure('raised', `the argument is no JSON: ${error.message}`);
  }
  let result;
  try {
    result = await main(args);
  } catch (error) {
    const raised = described('raised', error);
    process.stderr.write(`${raised.record.trace ?? raised.record.message}\n`);
    throw raised;
  }
  if (result === undefined) result = {};
  if (result === null || typeof result !== 'object' || Array.isArray(result)) {
    const kind = result === null ? 'null' : Array.isArray(result) ? 'array' : typeof result;
    throw new Failure('bad_result', `the result is no JSON object but a ${kind}`);
  }
  let text;
  try {
    text = JSON.stringify(result);
  } catch (error) {
    throw new Failure('bad_result', `the result has no JSON form: ${error.message}`);
  }
  const bytes = Buffer.byteLength(text);
  if (bytes > MAX_RESULT) throw new Failure('bad_result', `the result has ${bytes} bytes, and ${MAX_RESULT} are allowed`);
  return text;
}

// Runs the function and describes the run: a JSON object as text.
function record(activation, req) {
  return current.run(activation, async () => {
    const cold = isCold;
    isCold = false;
    await loading;
    const about = { falco: 1, id: activation, instance: INSTANCE, cold, started_ms: Date.now() };
    if (cold) about.init_ms = initMs;
    const begin = process.hrtime.bigint();
    let result;
    try {
      result = await run(req);
    } catch (error) {
      about.error = (error instanceof Failure ? error : described('raised', error)).record;
    }
    about.execution_ms = since(begin);
    endLogs(activation);
    about.revision = process.env.K_REVISION;
    about.memory_kib = process.resourceUsage().maxRSS;
    const text = JSON.stringify(about);
    return result === undefined ? text : `${text.slice(0, -1)},"result":${result}}`;
  });
}

// ---- results of submitted calls -------------------------------------------------------------------------------------

const BUCKET = process.env.FALCO_BUCKET;
const PREFIX = process.env.FALCO_PREFIX ?? '';
const STORAGE = (process.env.FALCO_STORAGE ?? 'https://storage.googleapis.com/').replace(/\/+$/, '');
const METADATA = process.env.GCE_METADATA_HOST ?? 'metadata.google.internal';
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

// Stores an object unless it is there already. Says whether it is new.
async function store(name, content) {
  const query = new URLSearchParams({ uploadType: 'media', name: PREFIX + name, ifGenerationMatch: '0' });
  for (let attempt = 0; ; attempt += 1) {
    let problem;
    let again = true;
    try {
      const headers = { Authorization: `Bearer ${await token()}`, 'Content-Type': 'application/json' };
      const url = `${STORAGE}/upload/storage/v1/b/${BUCKET}/o?${query}`;
      const reply = await fetch(url, { method: 'POST', headers, body: content });
      if (reply.ok) return true;
      if (reply.status === 412) return false;
      problem = new Error(`HTTP Error ${reply.status}: ${(await reply.text()).slice(0, 200)}`);
      again = [408, 429, 500, 502, 503, 504].includes(reply.status);
    } catch (error) {
      problem = error;
    }
    if (!again || attempt === 5) throw problem;
    await new Promise((resolve) => setTimeout(resolve, 500 * 2 ** attempt));
  }
}

// Google ends a call that runs too long without a word, and its queue would call again.
async function giveUp(activation, seconds) {
  const error = { kind: 'timeout', message: `the function ran longer than ${seconds} seconds` };
  try {
    await store(`results/${activation}.json`, JSON.stringify({ falco: 1, id: activation, instance: INSTANCE, cold: false, error }));
  } catch (failure) {
    logLine(activation, 'stderr', `falco: the time-out cannot be stored: ${failure}`);
  }
}

async function submitted(req, activation) {
  try {
    if (req.get('X-Falco-Once') && !(await store(`claims/${activation}`, '{}'))) return 'the call runs or has run already';
    const seconds = Number(req.get('X-Falco-Timeout') ?? 86400);
    const watchdog = setTimeout(() => giveUp(activation, seconds), seconds * 970);
    try {
      await store(`results/${activation}.json`, await record(activation, req));
    } finally {
      clearTimeout(watchdog);
    }
    return 'stored';
  } catch (error) {
    logLine(activation, 'stderr', `falco: the result cannot be stored: ${error}`);
    throw error;
  }
}

// Says whether this function is reached, and whether it can store results.
async function probe() {
  const about = { falco: 1, probe: true };
  if (BUCKET) {
    try {
      await store(`probe/${crypto.randomUUID()}`, '{}');
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
    res.status(200).set('Content-Type', 'application/json').send(await record(activation, req));
  } catch (error) {
    res.status(500).set('X-Google-Status', 'crash').set('Content-Type', 'text/plain').send(String(error));
  }
};
