// Runs a function of Falco's on Lambda: the handler that Lambda is told of, around the user's own function.
//
// Lambda calls falco_handler.NAME, where NAME is the user's entry point in the package around this file.
'use strict';

const path = require('path');
const { pathToFileURL } = require('url');

const entryPoint = process.env._HANDLER.split('.').pop();

// Lambda tells the class of an error by its name.
function failure(name, message, cause) {
  const error = new Error(message);
  error.name = name;
  if (cause instanceof Error) error.stack = cause.stack;
  return error;
}

function text(value) {
  if (typeof value === 'string') return value;
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}

async function load() {
  const file = require.resolve(__dirname);
  let module;
  try {
    module = require(file);
  } catch (error) {
    if (error?.code !== 'ERR_REQUIRE_ESM') throw error;
    module = await import(pathToFileURL(file).href);
  }
  const found = module[entryPoint] ?? module.default?.[entryPoint];
  if (typeof found !== 'function') throw new TypeError(`${entryPoint} is not a function of the code`);
  return found;
}

// While Lambda initialises the environment: the time is charged there, and only once.
const loading = load().then(
  (main) => ({ main }),
  (error) => {
    console.error(error);
    const isError = error instanceof Error;
    return { broken: isError ? `${error.name}: ${error.message}` : text(error), cause: error };
  },
);

async function call(event) {
  const { main, broken, cause } = await loading;
  if (!main) throw failure('FalcoInitialization', broken, cause);
  let result;
  try {
    result = await main(event);
  } catch (error) {
    throw error instanceof Error ? error : failure('FalcoRaised', text(error));
  }
  // As OpenWhisk has it: a function that returns nothing returns the empty object.
  if (result === undefined) return {};
  if (result === null || typeof result !== 'object' || Array.isArray(result)) {
    const type = result === null ? 'null' : Array.isArray(result) ? 'an array' : `a ${typeof result}`;
    throw failure('FalcoBadResult', `the result has to be an object, and it is ${type}`);
  }
  if ('error' in result) throw failure('FalcoRaised', text(result.error));
  try {
    JSON.stringify(result);
  } catch (error) {
    throw failure('FalcoBadResult', error.message);
  }
  return result;
}

const milliseconds = (since) => Number((performance.now() - since).toFixed(3));

// Since the start of the process: what is still to be loaded counts into the first run.
let init_ms = milliseconds(0);

// Lambda tells whoever submits an event neither how long it ran nor what it costs.
function measured(began) {
  const ran = { ms: milliseconds(began), init_ms };
  init_ms = undefined;
  return ran;
}

exports[entryPoint] = async (event) => {
  const began = performance.now();
  let result;
  try {
    result = await call(event);
  } catch (error) {
    const message = `${error.message} [falco:ran ${JSON.stringify(measured(began))}]`;
    throw failure(error.name, message, error);
  }
  return { 'falco:ran': measured(began), result };
};
