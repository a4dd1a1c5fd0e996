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


def since_process_start():
    with open("/proc/self/stat") as stat:
        ticks = int(stat.read().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


# While Lambda initialises the environment: the time is charged there, and only once.
function = falco_shim.load(os.path.join(HERE, "function"), ENTRY_POINT)
init_ms = round(since_process_start() * 1000, 3)


def measured(answer):
    # Lambda reports to the caller of an event neither how long it ran nor what it costs.
    global init_ms
    ran = {"ms": round(answer.ms, 3)}
    if init_ms is not None:
        ran["init_ms"], init_ms = init_ms, None
    return ran


def failure(error, ran):
    name = error.get("type") or TYPES.get(error["kind"], "FalcoUnspecified")
    message = "%s [falco:ran %s]" % (error["message"], json.dumps(dict(ran, kind=error["kind"])))
    if FaultException is not None:
        return FaultException(name, message, error.get("trace", "").splitlines(keepends=True))
    return type(name, (Exception,), {})(message)


def handler(event, context):
    answer = function.call(event)
    ran = measured(answer)
    if answer.error is not None:
        raise failure(answer.error, ran) from None
    text = answer.json.decode()
    return {"falco:ran": ran, "result": json.loads(text) if RawJSON is None else RawJSON(text)}


globals()[ENTRY_POINT] = handler
