# What the provider starts for each call: the argument comes on stdin, and the shim's answer goes to stdout. Change it to
# what yours starts; falco_shim loads the user's function, calls it, and says how each call ended.
import os
import sys

import falco_shim


def serve():
    answers = os.dup(1)
    # What the function prints is its log, and no part of the answer.
    os.dup2(2, 1)
    argument = sys.stdin.buffer.read().decode().strip()
    if argument == "null":
        # No function has such an argument: `deploy` asks which version answers.
        line = os.environ["FALCO_VERSION"].encode()
    else:
        here = os.path.dirname(os.path.abspath(__file__))
        function = falco_shim.load(os.path.join(here, "function"), os.environ["FALCO_ENTRY_POINT"])
        line = function.call(falco_shim.decode(argument)[0]).line()
    while line:
        line = line[os.write(answers, line) :]


# Processes that a function spawns import this file again.
if __name__ == "__main__":
    serve()
