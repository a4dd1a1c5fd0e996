// What OpenWhisk's Node runtime does, with JSON lines in on 4 and out on 3 in place of its HTTP.
const fs = require('fs');
const net = require('net');
const path = require('path');
const { createRequire } = require('module');

const name = process.argv[2];
const answer = (body) => fs.writeSync(3, JSON.stringify(body) + '\n');

function load() {
  const single = path.join(process.cwd(), 'source.js');
  if (!fs.existsSync(single)) return require(process.cwd())[name];
  const module = { exports: {} };
  const code = fs.readFileSync(single, 'utf8')
    + `\n;return typeof ${name} !== 'undefined' ? ${name} : module.exports.${name};`;
  return new Function('module', 'exports', 'require', code)(module, module.exports, createRequire(single));
}

const main = load();
if (typeof main !== 'function') throw new Error(`no function ${name}`);
answer({ ok: true });

// `failure` stands for a reply that is not 200.
async function run(line) {
  const { value, ...rest } = JSON.parse(line);
  for (const key of Object.keys(rest)) process.env['__OW_' + key.toUpperCase()] = String(rest[key]);
  let result;
  try {
    result = main(value);
  } catch (error) {
    return { failure: `An error has occurred: ${error}` };
  }
  try {
    result = await result;
  } catch (error) {
    if (error === undefined) return { result: { error: {} } };
    if (!(error instanceof Error)) return { result: { error } };
    return { result: { error: { name: error.name, message: error.message, stack: error.stack } } };
  }
  if (result === undefined) return { result: {} };
  if (typeof result !== 'object') return { failure: 'The action did not return a dictionary.' };
  return { result };
}

// Requests end at the byte 10, and nowhere else. They keep the event loop alive, as a server does. A stream of `fs` would
// keep `process.exit` waiting for its next read.
let last = Promise.resolve();
let parts = [];
new net.Socket({ fd: 4, readable: true, writable: false }).on('data', (chunk) => {
  for (let end; (end = chunk.indexOf(10)) >= 0; chunk = chunk.subarray(end + 1)) {
    const line = Buffer.concat([...parts, chunk.subarray(0, end)]).toString();
    parts = [];
    last = last.then(() => run(line)).then(answer);
  }
  parts.push(chunk);
});
