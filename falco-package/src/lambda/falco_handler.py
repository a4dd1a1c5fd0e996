"""The transport of Lambda: the handler that Lambda calls, around Falco's shim for Python.

Lambda calls falco_handler.NAME, where NAME is the entry point of the user's code.
"""

import json
import os
import time

import falco_shim

try:
    # As Lambda's runtime has them: a result that is written already, and an error with a trace of its own.
    from awslambdaric.lambda_runtime_exception import FaultException
    from simplejson.raw_json import RawJSON
except ImportError:
    FaultException = RawJSON = None

HERE = os.path.dirname(os.path.abspath(__file__))
ENTRY_POINT = os.environ["_HANDLER"].rsplit(".", 1)[1]
# Errors without a type, in Lambda's words.
TYPES = {"initialization": "FalcoInitialization", "raised": "FalcoRaised", "bad_result": "FalcoBadResult"}


def milliseconds_since_epoch():
    return int(time.time() * 1000)


# While Lambda initialises the environment: the time is charged there, and only once.
function = falco_shim.load(os.path.join(HERE, "function"), ENTRY_POINT)
init_ms = round(falco_shim.process_age() * 1000, 3)


booted = milliseconds_since_epoch() - int(init_ms)
STREAM = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")


def measured(answer, began):
    # Lambda reports to the caller of an event neither how long it ran, nor where, nor what it costs.
    global init_ms
    ran = {"ms": round(answer.ms, 3), "t": began, "boot": booted, "c": STREAM}
    if init_ms is not None:
        ran["init_ms"], init_ms = init_ms, None
        ran["rt"] = falco_shim.runtime()
    return ran


def opened(event, context):
    """The argument, and the environment of the call. Falco puts a trace context around an event that it submits."""
    if isinstance(event, dict) and event.keys() == {"falco:tp", "falco:args"}:
        event, trace = event["falco:args"], event["falco:tp"]
    else:
        custom = getattr(getattr(context, "client_context", None), "custom", None)
        trace = custom.get("traceparent") if isinstance(custom, dict) else None
    return event, falco_shim.traced(trace)


def failure(error, ran):
    name = error.get("type") or TYPES.get(error["kind"], "FalcoUnspecified")
    message = "%s [falco:ran %s]" % (error["message"], json.dumps(dict(ran, kind=error["kind"])))
    if FaultException is not None:
        return FaultException(name, message, error.get("trace", "").splitlines(keepends=True))
    return type(name, (Exception,), {})(message)


def handler(event, context):
    event, environment = opened(event, context)
    began = milliseconds_since_epoch()
    answer = function.call(event, environment)
    ran = measured(answer, began)
    if answer.error is not None:
        raise failure(answer.error, ran) from None
    text = answer.json.decode()
    return {"falco:ran": ran, "result": json.loads(text) if RawJSON is None else RawJSON(text)}


globals()[ENTRY_POINT] = handler
