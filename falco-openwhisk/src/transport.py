"""Falco's transport on OpenWhisk: the runtime imports this module, and calls `main` for each activation."""

import json
import os
import sys

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


def main(args):
    sys.modules[__name__] = users
    answer = function.call(args)
    try:
        end_lines()
    except Exception:
        pass  # The log is closed.
    if answer.error is not None:
        return {"error": answer.error}
    # The runtime writes it again, and takes plain values only.
    return json.loads(answer.json)
