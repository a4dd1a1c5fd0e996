// Runs a function for Node: one JSON line per call on standard input, one line per answer on descriptor 3. After each
// answer a mark on both of its logs tells that all that was printed before has been read.
'use strict';

const started = process.hrtime.bigint();
const fs = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const readline = require('node:readline');

const FUNCTION = process.cwd();
const [, , entry, isSource] = process.argv;

function writeAll(descriptor, text) {
  let left = Buffer.from(text);
  while (left.length > 0) {
    try {
      left = left.subarray(fs.writeSync(descriptor, left));
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

const answer = (name, json) => writeAll(3, `{"${name}":${json}}\n`);

function mark(activation) {
  for (const descriptor of [1, 2]) {
    try {
      writeAll(descriptor, `\n\u0000falco ${activation}\n`);
    } catch {
      // The function has closed it; nobody waits for long.
    }
  }
}

function failure(kind, message, error) {
  const about = { kind, message };
  if (error instanceof Error) {
    about.error_type = error.name;
    about.trace = String(error.stack ?? '').slice(0, 16384);
  }
  answer('failure', JSON.stringify(about));
}

function words(error) {
  if (error instanceof Error) return error.message || error.name;
  if (typeof error === 'string') return error;
  try {
    return JSON.stringify(error) ?? String(error);
  } catch {
    return String(error);
  }
}

// A single source need not export its entry point; a package has to.
function loadSource(file) {
  const module = new Module(file, null);
  module.filename = file;
  module.paths = Module._nodeModulePaths(FUNCTION);
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
  const loaded = isSource === 'source' ? loadSource(path.join(FUNCTION, 'index.js')) : await loadPackage();
  const main = loaded[entry] ?? loaded.default?.[entry];
  if (typeof main !== 'function') throw new Error(`the function's module has no function ${JSON.stringify(entry)}`);
  return main;
}

async function call(main, line) {
  const { value, activation_id: activation } = JSON.parse(line);
  let result;
  try {
    result = (await main(value)) ?? {};
  } catch (error) {
    console.error(error);
    mark(activation);
    failure('raised', words(error), error);
    return;
  }
  mark(activation);
  if (typeof result !== 'object' || Array.isArray(result)) {
    const kind = Array.isArray(result) ? 'array' : typeof result;
    failure('bad_result', `the result is no JSON object but a ${kind}`);
    return;
  }
  let text;
  try {
    text = JSON.stringify(result);
  } catch (error) {
    failure('bad_result', `the result has no JSON form: ${words(error)}`);
    return;
  }
  answer('ok', text);
}

async function main() {
  let loaded;
  try {
    loaded = await load();
  } catch (error) {
    failure('initialization', words(error), error);
    process.exit(1);
  }
  answer('ready', Number(process.hrtime.bigint() - started) / 1e6);
  // A promise that nobody waits for is no reason to end a process that others will use.
  process.on('unhandledRejection', (error) => console.error(error));
  for await (const line of readline.createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    await call(loaded, line);
  }
}

main();
