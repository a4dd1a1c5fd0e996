// Calls a handler as Google's Functions Framework for Node does, without Express.
//
// The working directory is loaded as a package; FUNCTION_TARGET names the export. It gets a request with `get(name)`,
// `method`, `path`, `rawBody` and a parsed `body`, and a response with `status`, `set` and `send`.
'use strict';

const http = require('node:http');

const target = require(process.cwd())[process.env.FUNCTION_TARGET];
if (typeof target !== 'function') process.exit(1);

const server = http.createServer(async (req, res) => {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  req.rawBody = Buffer.concat(chunks);
  req.path = req.url;
  req.get = (name) => req.headers[name.toLowerCase()];
  try {
    req.body = JSON.parse(req.rawBody.toString('utf8'));
  } catch {
    req.body = {};
  }
  res.status = (code) => {
    res.statusCode = code;
    return res;
  };
  res.set = (name, value) => {
    res.setHeader(name, value);
    return res;
  };
  res.send = (body) => {
    const bytes = Buffer.from(body);
    res.setHeader('Content-Length', bytes.length);
    res.end(bytes);
    return res;
  };
  await target(req, res);
});
server.listen(0, '127.0.0.1', () => process.stdout.write(`runner listens on ${server.address().port}\n`));
