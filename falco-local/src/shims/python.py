"""Runs a function for Falco: one JSON line in on descriptor 4, one line out on descriptor 3.

Descriptors 0 to 2 are the function's: whatever it, or a program that it starts, writes to 1 and 2 is its log.
An answer is "=" and the result, or "!" and an object that says how the function failed.
"""

import json
import os
import sys

RESULTS, REQUESTS = 3, 4


def send(kind, text):
    data = memoryview(f"{kind}{text}\n".encode())
    while data:
        data = data[os.write(RESULTS, data):]


def failure(kind, error, depth=1):
    import traceback

    trace = error.__traceback__
    for _ in range(depth):
        trace = trace and trace.tb_next
    lines = traceback.format_exception(type(error), error, trace)
    return json.dumps({
        "kind": kind,
        "message": str(error),
        "type": type(error).__name__,
        "trace": "".join(lines),
    })


def restore_logs():
    """Puts back what the function closed, so that the next activation can print."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        try:
            getattr(sys, name).flush()
        except Exception:
            try:
                os.fstat(descriptor)
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
            setattr(sys, name, open(descriptor, "w", 1, "utf-8", "backslashreplace", closefd=False))


def load(entry_point):
    try:
        module = __import__("main__")
        main = getattr(module, entry_point)
        if not callable(main):
            raise TypeError(f"{entry_point} is not a function")
        return main
    except Exception as error:
        send("!", failure("initialization", error))
        sys.exit(1)


def serve(main, readline):
    decode = json.JSONDecoder().decode
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
    while line := readline():
        kind = "!"
        try:
            result = main(decode(line.decode()))
        except Exception as error:
            text = failure("raised", error)
        else:
            try:
                if not isinstance(result, dict):
                    text = json.dumps({
                        "kind": "bad_result",
                        "message": f"the result has to be a dict, and it is of type {type(result).__name__}",
                    })
                elif "error" in result:
                    error = result["error"]
                    text = json.dumps({
                        "kind": "raised",
                        "message": error if isinstance(error, str) else encode(error),
                    })
                else:
                    text = encode(result)
                    text.encode()
                    kind = "="
            except Exception as error:
                text = failure("bad_result", error, depth=2)
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except Exception:
            restore_logs()
        send(kind, text)


def start():
    os.set_inheritable(RESULTS, False)
    os.set_inheritable(REQUESTS, False)
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    readline = open(REQUESTS, "rb", 1 << 16).readline
    # Nothing of the user's runs before Falco knows this process and can end it.
    if not readline():
        return
    directory, entry_point = sys.argv[1:]
    sys.argv = [os.path.join(directory, "main__.py")]
    sys.path[0] = directory
    main = load(entry_point)
    send("+", "")
    serve(main, readline)


start()
