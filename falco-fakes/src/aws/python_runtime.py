"""What Lambda's own Python runtime does, as far as a function can see: the loop between Runtime API and handler."""

import http.client
import importlib
import json
import os
import sys
import traceback
import types

BASE = "/2018-06-01/runtime"
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])


def post(path, value, headers={}):
    api.request("POST", BASE + path, value.encode(), headers)
    reply = api.getresponse()
    reply.read()
    return reply.status


def error(failure, kind=None):
    return json.dumps({
        "errorMessage": str(failure),
        "errorType": kind or type(failure).__name__,
        "stackTrace": traceback.format_tb(failure.__traceback__),
    })


class Context:
    def __init__(self, headers):
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        client = headers["Lambda-Runtime-Client-Context"]
        self.client_context = client and types.SimpleNamespace(**json.loads(client))


sys.path.insert(0, os.environ["LAMBDA_TASK_ROOT"])
module, name = os.environ["_HANDLER"].rsplit(".", 1)
try:
    handler = getattr(importlib.import_module(module), name)
except Exception as failure:
    post("/init/error", error(failure, "Runtime.ImportModuleError"))
    sys.exit(1)

while True:
    api.request("GET", BASE + "/invocation/next")
    reply = api.getresponse()
    event, id = json.loads(reply.read()), reply.headers["Lambda-Runtime-Aws-Request-Id"]
    try:
        result = json.dumps(handler(event, Context(reply.headers)), ensure_ascii=False)
    except Exception as failure:
        traceback.print_exc()
        sys.stdout.flush()
        post(f"/invocation/{id}/error", error(failure))
    else:
        sys.stdout.flush()
        if post(f"/invocation/{id}/response", result) == 413:
            post(f"/invocation/{id}/error", '{"errorType":"Function.ResponseSizeTooLarge"}')
