// Runs a user's function for Falco on every platform: loads it, calls it, and says how each call ended.
//
// A platform adds only its transport: `load` once, `call` for each call. Started as a program, this file is the
// transport of pipes: one line of JSON in and one line out for each call.
'use strict';

const fs = require('fs');
const os = require('os');
const path = require('path');
const { pathToFileURL } = require('url');

// The function may replace these.
const { parse, stringify } = JSON;
const { exit, hrtime } = process;
const { from, concat, allocUnsafe, byteLength } = Buffer;
const now = hrtime.bigint;

const MESSAGE = 64 * 1024;
const TRACE = 16 * 1024;
const CAUSES = 8;
const SOURCE = 'main__.cjs';
const BATCH = 'falco:batch';
const LIMITS = 'falco:limits';
const ARGUMENTS = 'falco_arguments.json';

// What the function runs under, such as `Linux 6.1 node 24.1.0`.
const release = os.release().split('.').slice(0, 2).join('.');
const runtime = `${os.type()} ${release} node ${process.versions.node}`;

// The environment of a call with this W3C trace context; nothing where the platform has handed on something else.
function traced(context) {
  const isOne = typeof context === 'string' && /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(context);
  return isOne ? { TRACEPARENT: context } : undefined;
}

const since = (began) => Number(now() - began) / 1e6;

// ---- loading --------------------------------------------------------------------------------------------------------

// Loads the function `entryPoint` of the package or the source in `directory`. It never rejects: a function that cannot
// be loaded has an `error`, with which it answers every call.
async function load(directory, entryPoint) {
  const began = now();
  prepareProcess();
  try {
    const where = path.resolve(directory);
    const stored = storedArguments(where);
    process.chdir(where);
    const data = findPart(where, 'falco_data.cjs');
    const main = await find(where, entryPoint);
    return { error: null, ms: since(began), call: (value, environment) => call(main, value, environment, data, stored) };
  } catch (thrown) {
    const error = failure('initialization', thrown);
    return { error, ms: since(began), call: async () => ({ result: null, json: null, error, ms: 0 }) };
  }
}

// The arguments that were deployed with the function. They lie beside its directory, in which all files are the user's.
function storedArguments(directory) {
  const file = path.join(path.dirname(directory), ARGUMENTS);
  return fs.existsSync(file) ? parse(fs.readFileSync(file, 'utf8')) : undefined;
}

// A part of the shim that layers may have put beside the function.
function findPart(directory, name) {
  const file = path.join(directory, name);
  return fs.existsSync(file) ? require(file).falco : undefined;
}

async function find(directory, entryPoint) {
  const source = path.join(directory, SOURCE);
  const file = require.resolve(fs.existsSync(source) ? source : directory);
  let module;
  try {
    module = require(file);
  } catch (error) {
    if (error?.code !== 'ERR_REQUIRE_ESM' && error?.code !== 'ERR_REQUIRE_ASYNC_MODULE') throw error;
    module = await import(pathToFileURL(file).href);
  }
  const found = module?.[entryPoint] ?? module?.default?.[entryPoint];
  if (typeof found !== 'function') throw new TypeError(`${entryPoint} is not a function of the code`);
  return found;
}

let isPrepared = false;

function prepareProcess() {
  if (isPrepared) return;
  isPrepared = true;
  for (const stream of [process.stdout, process.stderr]) {
    // Else what does not fit into a pipe would wait for an event loop that stands still between two calls.
    stream._handle?.setBlocking?.(true);
    // The function may close its log; that is not a reason to end the process.
    stream.on?.('error', () => {});
  }
  // A promise that nobody waits for is not a reason to end a process that other calls will use.
  process.on('unhandledRejection', (error) => console.error(error));
}

// ---- calling --------------------------------------------------------------------------------------------------------

// Calls the function, with these environment variables during the call. It never rejects.
async function call(main, value, environment, data, stored) {
  const began = now();
  let result;
  let written;
  let spill;
  try {
    setEnvironment(environment ?? {});
    if (data?.isAsked(value)) ({ value, spill } = await settled(data.argument(value)));
    if (stored && value !== null && typeof value === 'object') value = { ...stored, ...value };
    if (isBatch(value)) {
      written = await batch(main, value, began);
    } else {
      result = main(value);
      if (typeof result?.then === 'function') result = await settled(result);
    }
  } catch (thrown) {
    const ms = since(began);
    return { result: null, json: null, error: failure('raised', thrown), ms };
  }
  const ms = since(began);
  // As OpenWhisk has it: a function that returns nothing returns the empty object.
  if (result === undefined) result = {};
  const { json, error } = written === undefined ? encoded(result) : { json: written };
  if (error) return { result: null, json: null, error, ms };
  if (written !== undefined) result = parse(written);
  if (!spill) return { result, json, error: null, ms };
  try {
    const short = await settled(data.result(json, spill));
    return { result: short === json ? result : parse(short), json: short, error: null, ms };
  } catch (thrown) {
    return { result: null, json: null, error: failure('raised', thrown), ms };
  }
}

// Whether an argument holds those of several inputs.
const isBatch = (value) => value !== null && typeof value === 'object' && BATCH in value && LIMITS in value;

// Calls the function for each input of a batch. The result, which holds an answer for each, as JSON.
async function batch(main, value, began) {
  const { [BATCH]: inputs, [LIMITS]: limits, ...shared } = value;
  const answers = [];
  let length = 0;
  for (const [index, input] of inputs.entries()) {
    // A result of up to half of the room always fits.
    if (index > 0 && (since(began) > limits.ms || length > limits.bytes / 2)) break;
    markLogs(`falco:input ${limits.mark} ${index}\n`);
    // What is stored with the function, or put beside the inputs by the platform, belongs to each of them.
    let answer = line(await one(main, { ...shared, ...input }));
    const size = byteLength(answer);
    if (length + size > limits.bytes) {
      if (index > 0) {
        answers.push('{"no_room":true}');
        break;
      }
      const message = `the result has ${size} bytes, and ${limits.bytes} are allowed`;
      answer = line({ error: badResult(message), ms: 0 });
    }
    answers.push(answer);
    length += size + 1;
  }
  while (answers.length < inputs.length) answers.push('null');
  return `{"${BATCH}":[${answers.join(',')}]}`;
}

// The answer for one input of a batch. It never rejects.
async function one(main, value) {
  const began = now();
  let result;
  try {
    result = main(value);
    if (typeof result?.then === 'function') result = await settled(result);
  } catch (thrown) {
    return { error: failure('raised', thrown), ms: since(began) };
  }
  const ms = since(began);
  return { ...encoded(result === undefined ? {} : result), ms };
}

// Says in both logs where the output of an input begins.
function markLogs(mark) {
  for (const stream of [process.stdout, process.stderr]) {
    try {
      stream.write(mark);
    } catch {} // The function has closed it.
  }
}

let variables = [];

function setEnvironment(environment) {
  for (const name of variables) delete process.env[name];
  variables = Object.keys(environment);
  for (const name of variables) process.env[name] = environment[name];
}

// The value of a promise. Where the event loop runs empty before it has one, it never will.
function settled(promise) {
  return new Promise((resolve, reject) => {
    const nothingLeft = () => {
      const error = new Error('the promise that the function returned never settles: nothing was left to wait for');
      error.name = 'NeverSettled';
      error.stack = undefined;
      // Not at once: the process would end while this handler runs.
      setImmediate(() => reject(error));
    };
    const done = (settle) => (outcome) => {
      process.removeListener('beforeExit', nothingLeft);
      settle(outcome);
    };
    process.once('beforeExit', nothingLeft);
    Promise.resolve(promise).then(done(resolve), done(reject));
  });
}

// The result as JSON that every reader takes, or an error.
function encoded(result) {
  if (result === null || typeof result !== 'object' || Array.isArray(result)) {
    const type = result === null ? 'null' : Array.isArray(result) ? 'an array' : `a ${typeof result}`;
    return { error: badResult(`the result has to be an object, and it is ${type}`) };
  }
  try {
    if ('error' in result) return { error: answered(result.error) };
    let json = stringify(result);
    if (!json?.startsWith('{')) {
      return { error: badResult(`the result has to be an object, and its toJSON makes it ${json}`) };
    }
    if (json.includes('null')) json = stringify(result, refuseNotANumber);
    if (json.includes('\\u') && HALF_A_PAIR.test(json)) {
      return { error: badResult(`${NO_JSON}it holds half of a surrogate pair, which is not a character`) };
    }
    return { json };
  } catch (error) {
    return { error: badResult(NO_JSON + record('', error).message) };
  }
}

const NO_JSON = 'the result cannot be written as JSON: ';

// JSON.stringify writes halves, and only halves, as escapes.
const HALF_A_PAIR = /(?<!\\)(?:\\\\)*\\ud[89a-f]/i;

function refuseNotANumber(key, value) {
  if (typeof value === 'number' && !Number.isFinite(value)) {
    throw new RangeError('it holds NaN or an infinity, and JSON has neither');
  }
  return value;
}

// ---- errors ---------------------------------------------------------------------------------------------------------

function failure(kind, thrown) {
  return record(kind, thrown);
}

// The error of a function that returned one under the key `error`.
function answered(error) {
  return record('raised', error);
}

function badResult(message) {
  return { kind: 'bad_result', message };
}

// The record of whatever was thrown. Reading it may run the function's code, and throw.
function record(kind, thrown) {
  try {
    if (thrown !== null && typeof thrown === 'object' && typeof thrown.message === 'string') {
      const type = nameOf(thrown);
      return {
        kind,
        message: text(thrown.message || type || 'Error', MESSAGE),
        type: type && text(type, MESSAGE),
        trace: stackOf(thrown),
      };
    }
    if (typeof thrown === 'string') return { kind, message: text(thrown, MESSAGE) };
    if (thrown === undefined) return { kind, message: 'undefined' };
  } catch {
    return { kind, message: 'the error has no message, since reading it throws' };
  }
  try {
    return { kind, message: text(stringify(thrown) ?? String(thrown), MESSAGE) };
  } catch {
    try {
      return { kind, message: text(String(thrown), MESSAGE) };
    } catch {
      return { kind, message: 'the error has no message, since reading it throws' };
    }
  }
}

// The class of an error that has no name of its own says more than "Error".
function nameOf(error) {
  const name = error.name;
  if (typeof name === 'string' && name !== '' && name !== 'Error') return name;
  const constructor = error instanceof Error ? error.constructor?.name : undefined;
  return constructor || (typeof name === 'string' && name) || undefined;
}

function stackOf(error) {
  const stacks = [];
  for (let left = CAUSES; left > 0 && error instanceof Error; left -= 1, error = error.cause) {
    if (typeof error.stack === 'string') stacks.push(withoutShim(error.stack));
  }
  if (stacks.length === 0) return typeof error?.stack === 'string' ? text(error.stack, TRACE) : undefined;
  return text(stacks.join('\ncaused by: '), TRACE);
}

// A trace ends where the user's code was entered.
function withoutShim(stack) {
  return stack.split('\n').filter((frame) => !frame.includes(__filename)).join('\n');
}

// The text with U+FFFD for each half of a surrogate pair, which is a character to JavaScript and to nobody else.
function text(value, limit) {
  return from(String(value).slice(0, limit)).toString();
}

// The answer as JSON on one line, without its line break.
function line(answer) {
  const ms = answer.ms.toFixed(3);
  if (answer.error) return `{"error":${stringify(answer.error)},"ms":${ms}}`;
  return `{"ok":${answer.json},"ms":${ms}}`;
}

// ---- the transport of pipes -----------------------------------------------------------------------------------------

// Lines of a descriptor. It blocks: between two calls there is nothing to run, as on a platform that freezes its
// instances. Only the byte 10 ends a line: `readline` splits at U+2028, too.
function lines(descriptor) {
  let unread = allocUnsafe(0);
  return () => {
    const parts = [];
    for (;;) {
      const end = unread.indexOf(10);
      if (end >= 0) {
        parts.push(unread.subarray(0, end));
        unread = unread.subarray(end + 1);
        return concat(parts).toString();
      }
      parts.push(unread);
      const chunk = allocUnsafe(65536);
      const read = patiently(() => readSync(descriptor, chunk));
      if (read === 0) return null;
      unread = chunk.subarray(0, read);
    }
  };
}

const LOG_MARK = '\0falco:end\n';
const { readSync, writeSync } = fs;
const bell = new Int32Array(new SharedArrayBuffer(4));

// A descriptor that somebody has made non-blocking is asked again.
function patiently(attempt) {
  for (;;) {
    try {
      return attempt();
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
      Atomics.wait(bell, 0, 0, 1);
    }
  }
}

// What the function closed cannot be written to.
function writeMark(mark) {
  try {
    patiently(() => writeSync(2, mark));
  } catch {}
}

// The mark ends the log of the start and of each call.
async function serve(directory, entryPoint, requests, answers, mark) {
  const readLine = lines(requests);
  const send = (answer) => {
    const data = from(`${answer}\n`);
    for (let sent = 0; sent < data.length; ) sent += patiently(() => writeSync(answers, data, sent));
  };
  // Nothing of the user's runs before whoever started this process can end it.
  if (readLine() === null) return 0;
  const loaded = await load(directory, entryPoint);
  // The output of loading ends here. A driver that asked for marks waits for this one.
  if (mark) writeMark(mark);
  if (loaded.error) {
    send(line({ error: loaded.error, ms: loaded.ms }));
    return 1;
  }
  send(`{"ok":true,"ms":${loaded.ms.toFixed(3)},"runtime":"${runtime}"}`);
  for (let request = readLine(); request !== null; request = readLine()) {
    let asked;
    try {
      asked = parse(request);
      if (asked?.value === undefined) throw new TypeError('it has no value');
    } catch (error) {
      const message = text(`the request is not understood: ${error.message}`, MESSAGE);
      send(line({ error: { kind: 'unspecified', message }, ms: 0 }));
      continue;
    }
    const answer = line(await loaded.call(asked.value, asked.env));
    if (mark) writeMark(mark);
    send(answer);
  }
  return 0;
}

module.exports = { load, line, runtime, traced };

if (require.main === module) {
  const [directory, entryPoint, requests = '4', answers = '3', marked] = process.argv.slice(2);
  process.argv.splice(1, process.argv.length, path.join(directory, SOURCE));
  const mark = marked === 'mark-logs' ? LOG_MARK : undefined;
  serve(directory, entryPoint, Number(requests), Number(answers), mark).then(exit);
}
