// What OpenWhisk's Node runtime does, with JSON lines in on 0 and out on 3 in place of its HTTP.
const fs = require('fs');
const path = require('path');
const readline = require('readline');
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

let last = Promise.resolve();
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  last = last.then(() => run(line)).then(answer);
});
