"""Runs a function of Falco's on Lambda: the handler that Lambda is told of, around the user's own function.

Lambda calls falco_handler.NAME, where NAME is the user's entry point in main__.py.
"""

import importlib
import json
import os
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ENTRY_POINT = os.environ["_HANDLER"].rsplit(".", 1)[1]


class FalcoInitialization(Exception):
    """The user's code could not be loaded."""


class FalcoRaised(Exception):
    """The user's function has answered with an error."""


class FalcoBadResult(Exception):
    """What the user's function returned is no JSON object."""


def since_process_start():
    with open("/proc/self/stat") as stat:
        ticks = int(stat.read().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def load():
    # While Lambda initialises the environment: the time is charged there, and only once.
    if HERE not in sys.path:
        sys.path.insert(0, HERE)
    main = getattr(importlib.import_module("main__"), ENTRY_POINT)
    if not callable(main):
        raise TypeError(f"{ENTRY_POINT} is not a function")
    return main


def broken(error):
    message = f"{type(error).__name__}: {error}"
    traceback.print_exc()

    def main(_):
        raise FalcoInitialization(message)

    return main


try:
    user_function = load()
except (Exception, SystemExit) as error:
    user_function = broken(error)


def call(event):
    result = user_function(event)
    if not isinstance(result, dict):
        raise FalcoBadResult(f"the result has to be a dict, and it is of type {type(result).__name__}")
    if "error" in result:
        error = result["error"]
        raise FalcoRaised(error if isinstance(error, str) else json.dumps(error))
    try:
        # Lambda's own encoder lets NaN pass, and what it writes then is no JSON.
        json.dumps(result, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FalcoBadResult(str(error)) from None
    return result


init_ms = round(since_process_start() * 1000, 3)


def measured(began):
    # Lambda tells whoever submits an event neither how long it ran nor what it costs.
    global init_ms
    ran = {"ms": round((time.monotonic() - began) * 1000, 3)}
    if init_ms is not None:
        ran["init_ms"], init_ms = init_ms, None
    return ran


def handler(event, context):
    began = time.monotonic()
    try:
        result = call(event)
    except Exception as error:
        # Lambda tells the class by its name, and of the rest only the message.
        same_name = type(type(error).__name__, (Exception,), {})
        message = f"{error} [falco:ran {json.dumps(measured(began))}]"
        raise same_name(message).with_traceback(error.__traceback__) from None
    return {"falco:ran": measured(began), "result": result}


globals()[ENTRY_POINT] = handler
