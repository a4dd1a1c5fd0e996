"""Runs a function of Falco's on Lambda: the handler that Lambda is told of, around the user's own function.

Lambda calls falco_handler.NAME, where NAME is the user's entry point in main__.py.
"""

import importlib
import json
import os
import sys
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
ENTRY_POINT = os.environ["_HANDLER"].rsplit(".", 1)[1]


class FalcoInitialization(Exception):
    """The user's code could not be loaded."""


class FalcoRaised(Exception):
    """The user's function has answered with an error."""


class FalcoBadResult(Exception):
    """What the user's function returned is no JSON object."""


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


def handler(event, context):
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


globals()[ENTRY_POINT] = handler
