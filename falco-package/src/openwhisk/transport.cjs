// Falco's transport on OpenWhisk: the runtime loads this file, and calls `main` for each activation.
'use strict';

const os = require('os');
const path = require('path');
const shim = require('./falco_shim.cjs');

const ENTRY_POINT = "main";

// The server drops the last line of a log when it has no end.
const logs = [process.stdout, process.stderr].map((stream) => {
  const log = { stream, isOpen: false };
  const write = stream.write;
  stream.write = (chunk, ...rest) => {
    if (chunk.length > 0) log.isOpen = !(chunk.at(-1) === '\n' || chunk.at(-1) === 10);
    return write.call(stream, chunk, ...rest);
  };
  return log;
});

// What can be loaded at once is loaded before the runtime has this module.
const loading = shim.load(path.join(__dirname, 'function'), ENTRY_POINT);

const booted = Math.floor(performance.timeOrigin);
const ran = { c: `${os.hostname()}@${booted}`, boot: booted, rt: shim.runtime };
// A longer result is left as it is: with what Falco puts around it, it might be over the server's limit.
const LONGEST_WRAPPED = 1000000;

exports.main = async (args) => {
  const environment = shim.traced(process.env.__OW_TRANSACTION_ID);
  const answer = await (await loading).call(args, environment);
  for (const log of logs) {
    try {
      if (log.isOpen) log.stream.write('\n');
    } catch {
      // The function has closed its log.
    }
  }
  if (answer.error) return { error: { ...answer.error, ran } };
  return answer.json.length > LONGEST_WRAPPED ? answer.result : { 'falco:ran': ran, result: answer.result };
};
