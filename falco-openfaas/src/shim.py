# What the watchdog starts for each request: the argument comes on stdin, and one line of JSON goes to stdout.
import os

answers = os.dup(1)
# What the function prints is its log, and no part of the answer: the watchdog logs stderr.
os.dup2(2, 1)

import base64, importlib.util, io, json, sys, tempfile, traceback, zipfile  # noqa: E402


def answer(**told):
    told["version"] = os.environ["FALCO_VERSION"]
    with os.fdopen(answers, "w", encoding="utf-8") as out:
        json.dump(told, out, allow_nan=False)


def failed(kind, error):
    words = {"type": type(error).__name__, "message": str(error), "trace": traceback.format_exc()}
    answer(error=dict(words, kind=kind))


def run(argument):
    with tempfile.TemporaryDirectory() as folder:
        try:
            code = base64.b64decode(os.environ["FALCO_CODE"])
            zipfile.ZipFile(io.BytesIO(code)).extractall(folder)
            sys.path.insert(0, folder)
            file = os.path.join(folder, "__main__.py")
            # By its file, since `import __main__` would find this shim.
            found = importlib.util.spec_from_file_location("function", file)
            module = importlib.util.module_from_spec(found)
            found.loader.exec_module(module)
            function = getattr(module, os.environ["FALCO_ENTRY_POINT"])
        except Exception as error:
            return failed("initialization", error)
        try:
            result = function(argument)
        except Exception as error:
            return failed("raised", error)
        try:
            if not isinstance(result, dict):
                raise TypeError("the function returned %s, not an object" % type(result).__name__)
            json.dumps(result, allow_nan=False)
        except Exception as error:
            return failed("bad_result", error)
        return answer(result=result)


argument = json.loads(sys.stdin.buffer.read())
# `null` is not an argument of a function: it is how `deploy` asks which version answers.
if argument is None:
    answer()
else:
    run(argument)
sys.stderr.flush()
