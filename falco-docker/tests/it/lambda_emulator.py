"""Lambda's emulator for the tests: one route for invocations on port 8080, and the Runtime API for the runtime that it starts
with the first of them, as AWS's images have it."""

import http.server
import json
import os
import select
import subprocess
import sys
import threading
import uuid

TASK = "/var/task"
HERE = os.path.dirname(os.path.abspath(__file__))
API = ("127.0.0.1", 9001)
runtime = output = None
draining = threading.Lock()
condition = threading.Condition()
waiting = []
results = {}
invoking = threading.Lock()


def command(handler):
    if os.path.exists(TASK + "/bootstrap"):
        return ["/var/runtime/bootstrap"]
    if os.path.exists(TASK + "/falco_handler.py"):
        return ["python3", "-m", "awslambdaric", handler]
    return [HERE + "/node", HERE + "/node_modules/aws-lambda-ric/index.mjs", handler]


def drain():
    """Writes what the runtime has printed; the emulator writes both of its streams to one. Returns whether more may come."""
    with draining:
        # A function may print without end: a pipe holds less than this.
        for _ in range(64):
            if output is None or not select.select([output], [], [], 0)[0]:
                break
            piece = os.read(output, 65536)
            if not piece:
                return False
            os.write(1, piece)
    return True


def pump():
    while True:
        select.select([output], [], [])
        if not drain():
            return


def start():
    global runtime, output
    handler = sys.argv[1]
    environment = {
        "AWS_LAMBDA_FUNCTION_NAME": "test_function", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3008", **os.environ, "AWS_LAMBDA_RUNTIME_API": "%s:%d" % API, "_HANDLER": handler, "LAMBDA_TASK_ROOT": TASK,
        "AWS_REGION": "us-east-1", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f", "AWS_LAMBDA_LOG_STREAM_NAME": "emulated",
        "PYTHONPATH": HERE + "/site-packages",
    }
    output, writable = os.pipe()
    runtime = subprocess.Popen(command(handler), cwd=TASK, env=environment, stdin=subprocess.DEVNULL, stdout=writable, stderr=writable)
    os.close(writable)
    threading.Thread(target=watch, args=(threading.Thread(target=pump, daemon=True),), daemon=True).start()


def watch(reader):
    reader.start()
    status = runtime.wait()
    # What a function has started may hold the stream open.
    reader.join(0.2)
    how = "exit status %d" % status if status >= 0 else "signal: killed"
    error = {"errorType": "Runtime.ExitError", "errorMessage": "RequestId: - Error: Runtime exited with error: " + how}
    with condition:
        results["ended"] = json.dumps(error).encode()
        condition.notify_all()


def invoke(event):
    with invoking:
        id = str(uuid.uuid4())
        os.write(1, b"START RequestId: %s Version: $LATEST\n" % id.encode())
        with condition:
            if runtime is None:
                start()
            waiting.append((id, event))
            condition.notify_all()
            condition.wait_for(lambda: id in results or "ended" in results)
            answer = results.pop(id, None) or results["ended"]
        drain()
        os.write(1, b"END RequestId: %s\nREPORT RequestId: %s\tDuration: 1.00 ms\n" % (id.encode(), id.encode()))
        return answer


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def body(self):
        return self.rfile.read(int(self.headers["content-length"] or 0))

    def answer(self, status, body=b"", headers={}):
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Invocations(Handler):
    def do_POST(self):
        body = self.body()
        if self.path != "/2015-03-31/functions/function/invocations":
            return self.answer(404, b"404 page not found\n")
        self.answer(200, invoke(body))


class RuntimeApi(Handler):
    def do_GET(self):
        with condition:
            condition.wait_for(lambda: waiting)
            id, event = waiting.pop()
        self.answer(200, event, {
            "lambda-runtime-aws-request-id": id, "lambda-runtime-deadline-ms": "9999999999999",
            "lambda-runtime-invoked-function-arn": "arn:aws:lambda:us-east-1:012345678912:function:f",
        })

    def do_POST(self):
        body, parts = self.body(), self.path.split("/")
        with condition:
            results["ended" if parts[3] == "init" else parts[4]] = body
            condition.notify_all()
        self.answer(202, b'{"status":"OK"}')


threading.Thread(target=http.server.ThreadingHTTPServer(API, RuntimeApi).serve_forever, daemon=True).start()
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Invocations).serve_forever()
