// Runs a function for Falco: one JSON line in on descriptor 4, one line out on descriptor 3.
//
// Descriptors 0 to 2 are the function's: whatever it, or a program that it starts, writes to 1 and 2 is its log.
// An answer is "=" and the result, or "!" and an object that says how the function failed.
'use strict';

const fs = require('fs');
const path = require('path');

const RESULTS = 3;
const REQUESTS = 4;
const [, , directory, main, entryPoint] = process.argv;

let unread = Buffer.alloc(0);

// Blocks: between two activations there is nothing to run, as on a platform that freezes its instances.
function readLine() {
  const parts = [];
  for (;;) {
    const end = unread.indexOf(10);
    if (end >= 0) {
      parts.push(unread.subarray(0, end));
      unread = unread.subarray(end + 1);
      return Buffer.concat(parts).toString();
    }
    parts.push(unread);
    const chunk = Buffer.allocUnsafe(65536);
    const read = fs.readSync(REQUESTS, chunk);
    if (read === 0) return null;
    unread = chunk.subarray(0, read);
  }
}

function send(kind, text) {
  const data = Buffer.from(`${kind}${text}\n`);
  for (let sent = 0; sent < data.length; ) sent += fs.writeSync(RESULTS, data, sent);
}

function failure(kind, error) {
  const isError = error instanceof Error;
  let message = isError ? error.message : error;
  if (typeof message !== 'string') {
    try {
      message = JSON.stringify(message) ?? String(message);
    } catch {
      message = String(message);
    }
  }
  return JSON.stringify({
    kind,
    message: wellFormed(message),
    type: isError ? wellFormed(error.name) : undefined,
    trace: isError ? wellFormed(error.stack) : undefined,
  });
}

// Half of a surrogate pair is a character to JavaScript and none to anybody else.
function wellFormed(text) {
  return text === undefined ? undefined : Buffer.from(String(text)).toString();
}

async function load() {
  const file = require.resolve(path.join(directory, main));
  let module;
  try {
    module = require(file);
  } catch (error) {
    if (error?.code !== 'ERR_REQUIRE_ESM') throw error;
    module = await import(require('url').pathToFileURL(file).href);
  }
  const found = module[entryPoint] ?? module.default?.[entryPoint];
  if (typeof found !== 'function') throw new TypeError(`${entryPoint} is not a function of the code`);
  return found;
}

function answer(result) {
  // As OpenWhisk has it: a function that returns nothing returns the empty object.
  if (result === undefined) return ['=', '{}'];
  if (result === null || typeof result !== 'object' || Array.isArray(result)) {
    const type = result === null ? 'null' : Array.isArray(result) ? 'an array' : `a ${typeof result}`;
    return ['!', failure('bad_result', `the result has to be an object, and it is ${type}`)];
  }
  if ('error' in result) return ['!', failure('raised', result.error)];
  try {
    const text = JSON.stringify(result);
    if (text?.startsWith('{')) return ['=', text];
    return ['!', failure('bad_result', `the result has to be an object, and its toJSON makes it ${text}`)];
  } catch (error) {
    return ['!', failure('bad_result', error)];
  }
}

// Else what does not fit into the pipe would wait for an event loop that stands still between two activations.
function printAtOnce() {
  for (const stream of [process.stdout, process.stderr]) stream._handle?.setBlocking?.(true);
}

async function start() {
  // Nothing of the user's runs before Falco knows this process and can end it.
  if (readLine() === null) return;
  printAtOnce();
  let run;
  try {
    run = await load();
  } catch (error) {
    send('!', failure('initialization', error));
    process.exit(1);
  }
  send('+', '');
  for (let line = readLine(); line !== null; line = readLine()) {
    let kind, text;
    try {
      let result = run(JSON.parse(line));
      if (typeof result?.then === 'function') result = await result;
      [kind, text] = answer(result);
    } catch (error) {
      [kind, text] = ['!', failure('raised', error)];
    }
    send(kind, text);
  }
  process.exit(0);
}

start();
