// The transport of Lambda: the handler that Lambda calls, around Falco's shim for Node.js.
//
// Lambda calls falco_handler.NAME, where NAME is the entry point of the user's code.
'use strict';

const path = require('path');
const shim = require('./falco_shim.cjs');

const entryPoint = process.env._HANDLER.split('.').pop();
// Errors without a type, in Lambda's words.
const TYPES = { initialization: 'FalcoInitialization', raised: 'FalcoRaised', bad_result: 'FalcoBadResult' };
// The function may replace these.
const { parse, stringify } = JSON;
const now = performance.now.bind(performance);

const milliseconds = (time) => Number(time.toFixed(3));

// While Lambda initialises the environment: the time is charged there, and only once.
let init_ms;
const loading = shim.load(path.join(__dirname, 'function'), entryPoint).then((loaded) => {
  init_ms = milliseconds(now());
  return loaded;
});

// Lambda reports to the caller of an event neither how long it ran nor what it costs.
function measured(answer) {
  const ran = { ms: milliseconds(answer.ms), init_ms };
  init_ms = undefined;
  return ran;
}

function failure({ kind, message, type, trace }, ran) {
  const error = new Error(`${message} [falco:ran ${stringify({ ...ran, kind })}]`);
  error.name = type ?? TYPES[kind] ?? 'FalcoUnspecified';
  error.stack = trace ?? '';
  return error;
}

exports[entryPoint] = async (event) => {
  const answer = await (await loading).call(event);
  const ran = measured(answer);
  if (answer.error) throw failure(answer.error, ran);
  return { 'falco:ran': ran, result: parse(answer.json) };
};
