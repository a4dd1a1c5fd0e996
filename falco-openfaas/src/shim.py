# What the watchdog starts for each request: an envelope with the argument comes on stdin, and two lines go to stdout, where
# and since when the function runs, and its answer.
import os

answers = os.dup(1)
# What the function prints is its log, and no part of the answer: the watchdog logs stderr.
os.dup2(2, 1)

import base64, io, json, sys, tempfile, time, zipfile  # noqa: E402


def send(line, **instance):
    instance["version"] = os.environ["FALCO_VERSION"]
    with os.fdopen(answers, "wb") as out:
        out.write(json.dumps(instance).encode() + b"\n" + line)


request = json.load(sys.stdin.buffer)
# `null` is not the envelope of an argument: it is how `deploy` asks which version answers.
if request is None:
    send(b"")
else:
    with tempfile.TemporaryDirectory() as folder:
        code = base64.b64decode(os.environ["FALCO_CODE"])
        zipfile.ZipFile(io.BytesIO(code)).extractall(folder)
        # The empty path of `python3 -c` would be the function's own directory, whose modules may be called as Python's.
        sys.path[:] = [path for path in sys.path if path] + [folder]
        import falco_shim

        booted = time.time() - falco_shim.process_age()
        function = falco_shim.load(folder + "/function", os.environ["FALCO_ENTRY_POINT"])
        began = time.time()
        answer = function.call(request["args"], falco_shim.traced(request["trace"]))
        microseconds = {"booted": int(booted * 1e6), "began": int(began * 1e6), "ended": int(time.time() * 1e6)}
        send(answer.line(), container=os.uname().nodename, runtime=falco_shim.runtime(), **microseconds)
