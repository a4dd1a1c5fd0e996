"""Falco's transport on OpenWhisk: the runtime imports this module, and calls `main` for each activation."""

import json
import os
import sys
import time

import falco_shim

ENTRY_POINT = "main"

# The user's module has the name of this one. The runtime takes the one that is there when the import is done.
here = sys.modules[__name__]

# The runtime goes on reading its requests from the stream that it has. The function gets none of them.
sys.stdin = open(os.devnull)

# A process that `multiprocessing` spawns would begin with the runtime's own program.
vars(sys.modules["__main__"]).pop("__file__", None)


def remember_open_lines(stream):
    """Makes a stream remember whether its last line has an end: the server drops one that has none."""
    write = stream.write

    def remember(text):
        if text:
            stream.has_open_line = not text.endswith("\n")
        return write(text)

    stream.write = remember


def end_lines():
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "has_open_line", False):
            print(file=stream, flush=True)


directory = os.path.dirname(os.path.abspath(__file__))
function = falco_shim.load(os.path.join(directory, "function"), ENTRY_POINT)
users = sys.modules.get(__name__, here)
sys.modules[__name__] = here
for log in (sys.stdout, sys.stderr):
    try:
        remember_open_lines(log)
    except Exception:
        pass  # The function has put a stream of its own there.


booted = time.time() - falco_shim.process_age()
ran = {"c": "%s@%d" % (os.uname().nodename, booted * 1000), "boot": int(booted * 1000), "rt": falco_shim.runtime()}
# A longer result is left as it is: with what Falco puts around it, it might be over the server's limit.
LONGEST_WRAPPED = 1000000


def main(args):
    sys.modules[__name__] = users
    answer = function.call(args, falco_shim.traced(os.environ.get("__OW_TRANSACTION_ID")))
    try:
        end_lines()
    except Exception:
        pass  # The log is closed.
    if answer.error is not None:
        return {"error": dict(answer.error, ran=ran)}
    # The runtime writes it again, and takes plain values only.
    result = json.loads(answer.json)
    return result if len(answer.json) > LONGEST_WRAPPED else {"falco:ran": ran, "result": result}
