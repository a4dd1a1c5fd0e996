"""Runs a function in Python: one JSON line per call on standard input, one line per answer on a descriptor.

Its arguments are the function's name and the descriptor's number.
"""

import importlib.util
import json
import os
import sys
import time
import traceback

STARTED = time.monotonic()
TRACE = 16384

# The function may use all of its descriptors as it likes, and start processes, without a word on the protocol's.
answers = os.fdopen(int(sys.argv[2]), "wb")
os.set_inheritable(answers.fileno(), False)
calls = os.fdopen(os.dup(0), "rb")
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def answer(name, content):
    answers.write(b'{"' + name + b'":' + content + b"}\n")
    answers.flush()


def failure(kind, message, error=None):
    about = {"kind": kind, "message": message}
    if error is not None:
        about["error_type"] = type(error).__name__
        about["trace"] = "".join(traceback.format_exception(type(error), error, error.__traceback__))[-TRACE:]
    answer(b"failure", json.dumps(about).encode("ascii"))


def load(directory, entry):
    sys.path[0] = directory
    for root, _, _ in os.walk(os.path.join(directory, "virtualenv", "lib")):
        if os.path.basename(root) == "site-packages":
            sys.path.insert(1, root)
    spec = importlib.util.spec_from_file_location("falco_function", os.path.join(directory, "__main__.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["falco_function"] = module
    spec.loader.exec_module(module)
    function = getattr(module, entry, None)
    if not callable(function):
        raise LookupError("the function's module has no function %r" % entry)
    return function


def flushed():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:  # the function may have closed it
            pass


def call(function, line):
    try:
        args = json.loads(line)["value"]
        result = function(args)
    except BaseException as error:  # also sys.exit(), which must not end a process that others will use
        try:
            traceback.print_exc()
        except Exception:
            pass
        return failure("raised", str(error) or type(error).__name__, error)
    if not isinstance(result, dict):
        return failure("bad_result", "the result is no JSON object but a %s" % type(result).__name__)
    try:
        text = json.dumps(result, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        return failure("bad_result", "the result has no JSON form: %s" % error)
    flushed()
    answer(b"ok", text)


def main():
    try:
        function = load(os.getcwd(), sys.argv[1])
    except BaseException as error:
        flushed()
        return failure("initialization", str(error) or type(error).__name__, error)
    answer(b"ready", json.dumps(round((time.monotonic() - STARTED) * 1000.0, 3)).encode("ascii"))
    for line in calls:
        call(function, line)
        flushed()


main()
