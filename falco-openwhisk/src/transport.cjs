// Falco's transport on OpenWhisk: the runtime loads this file, and calls `main` for each activation.
'use strict';

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

exports.main = async (args) => {
  const answer = await (await loading).call(args);
  for (const log of logs) {
    try {
      if (log.isOpen) log.stream.write('\n');
    } catch {
      // The function has closed its log.
    }
  }
  return answer.error ? { error: answer.error } : answer.result;
};
