// What Lambda's own Node runtime does, as far as a function can see: the loop between Runtime API and handler.
'use strict';

const http = require('http');
const path = require('path');

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const agent = new http.Agent({ keepAlive: true });

function call(method, route, body) {
  return new Promise((resolve, reject) => {
    const options = { agent, host, port, method, path: '/2018-06-01/runtime' + route };
    const request = http.request(options, (reply) => {
      const chunks = [];
      reply.on('data', (chunk) => chunks.push(chunk));
      reply.on('end', () =>
        resolve({ status: reply.statusCode, headers: reply.headers, body: Buffer.concat(chunks).toString() }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

let current = '';
for (const [name, level] of [['log', 'INFO'], ['info', 'INFO'], ['warn', 'WARN'], ['error', 'ERROR']]) {
  console[name] = (...values) => {
    const text = require('util').format(...values);
    process.stdout.write(`${new Date().toISOString()}\t${current}\t${level}\t${text}\n`);
  };
}

function failure(error) {
  const isError = error instanceof Error;
  return JSON.stringify({
    errorType: isError ? error.name : typeof error,
    errorMessage: isError ? error.message : String(error),
    trace: isError ? error.stack.split('\n') : [],
  });
}

async function start() {
  const [file, name] = process.env._HANDLER.split('.');
  const handler = require(path.join(process.env.LAMBDA_TASK_ROOT, file + '.cjs'))[name];
  for (;;) {
    const event = await call('GET', '/invocation/next');
    current = event.headers['lambda-runtime-aws-request-id'];
    try {
      const client = event.headers['lambda-runtime-client-context'];
      const context = { awsRequestId: current, clientContext: client && JSON.parse(client) };
      const result = await handler(JSON.parse(event.body), context);
      const reply = await call('POST', `/invocation/${current}/response`, JSON.stringify(result));
      if (reply.status === 413) {
        await call('POST', `/invocation/${current}/error`, '{"errorType":"Function.ResponseSizeTooLarge"}');
      }
    } catch (error) {
      await call('POST', `/invocation/${current}/error`, failure(error));
    }
  }
}

start();
