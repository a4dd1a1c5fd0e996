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
const { keys } = Object;
const { now: clock } = Date;
const now = performance.now.bind(performance);

const milliseconds = (time) => Number(time.toFixed(3));

// While Lambda initialises the environment: the time is charged there, and only once.
let init_ms;
const booted = Math.floor(performance.timeOrigin);
const stream = process.env.AWS_LAMBDA_LOG_STREAM_NAME ?? '';
const loading = shim.load(path.join(__dirname, 'function'), entryPoint).then((loaded) => {
  init_ms = milliseconds(now());
  return loaded;
});

// Lambda reports to the caller of an event neither how long it ran, nor where, nor what it costs.
function measured(answer, began) {
  const ran = { ms: milliseconds(answer.ms), t: began, boot: booted, c: stream };
  if (init_ms !== undefined) Object.assign(ran, { init_ms, rt: shim.runtime });
  init_ms = undefined;
  return ran;
}

// The argument, and the environment of the call. Falco puts a trace context around an event that it submits.
function opened(event, context) {
  let trace = context?.clientContext?.custom?.traceparent;
  if (event !== null && typeof event === 'object' && keys(event).sort().join() === 'falco:args,falco:tp') {
    trace = event['falco:tp'];
    event = event['falco:args'];
  }
  return [event, shim.traced(trace)];
}

function failure({ kind, message, type, trace }, ran) {
  const error = new Error(`${message} [falco:ran ${stringify({ ...ran, kind })}]`);
  error.name = type ?? TYPES[kind] ?? 'FalcoUnspecified';
  error.stack = trace ?? '';
  return error;
}

exports[entryPoint] = async (event, context) => {
  const [argument, environment] = opened(event, context);
  const loaded = await loading;
  const began = clock();
  const answer = await loaded.call(argument, environment);
  const ran = measured(answer, began);
  if (answer.error) throw failure(answer.error, ran);
  return { 'falco:ran': ran, result: parse(answer.json) };
};
