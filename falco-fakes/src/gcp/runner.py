"""Calls a handler as Google's Functions Framework for Python does, without Flask and gunicorn.

main.py is loaded from the working directory; FUNCTION_TARGET names the handler. It gets a request with Flask's
`headers`, `get_data()`, `get_json()`, `method` and `path`, and returns a body, or body, status and headers. An
exception is a 500 with its words and `X-Google-Status: crash`; None is a 500.
"""

import importlib.util
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Request:
    def __init__(self, handler):
        self.headers, self.method, self.path = handler.headers, handler.command, handler.path
        self.data = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))

    def get_data(self):
        return self.data

    def get_json(self):
        return json.loads(self.data)


def answer(result):
    status, headers = 200, {}
    if isinstance(result, tuple):
        result, status, headers = (result + (200, {}))[:3] if len(result) < 3 else result
    if isinstance(result, dict):
        result, headers = json.dumps(result), {"Content-Type": "application/json", **headers}
    if isinstance(result, str):
        result = result.encode("utf-8")
    if not isinstance(result, bytes):
        raise TypeError("The view function did not return a valid response.")
    return result, status, headers


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        try:
            body, status, headers = answer(target(Request(self)))
        except Exception as error:
            body, status, headers = str(error).encode("utf-8"), 500, {"X-Google-Status": "crash"}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


spec = importlib.util.spec_from_file_location("main", "main.py")
module = importlib.util.module_from_spec(spec)
sys.modules["main"] = module
sys.path.insert(0, os.getcwd())
spec.loader.exec_module(module)
target = getattr(module, os.environ["FUNCTION_TARGET"])  # a missing target ends the process at once
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
sys.__stdout__.write("runner listens on %d\n" % server.server_port)
sys.__stdout__.flush()
server.serve_forever()
