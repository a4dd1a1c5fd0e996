"""Runs a function for Falco: one JSON line in on descriptor 4, one line out on descriptor 3.

Descriptors 0 to 2 are the function's: whatever it, or a program that it starts, writes to 1 and 2 is its log.
An answer is "=" and the result, or "!" and an object that says how the function failed.
"""

import json
import os
import sys

RESULTS, REQUESTS = 3, 4


def send(line):
    if RESULTS < 0:
        sys.exit("a forked copy of the function has returned; it has to end with os._exit")
    written = os.write(RESULTS, line)
    while written < len(line):
        written += os.write(RESULTS, memoryview(line)[written:])


def failure(kind, error, skip=1):
    """The line for an exception, without the first frames of its traceback, which are ours."""
    import traceback

    try:
        message = str(error)
    except Exception:
        message = "the exception has no message, since its __str__ raises"
    trace = error.__traceback__
    for _ in range(skip):
        trace = trace and trace.tb_next
    return refusal(
        kind,
        message,
        type=type(error).__name__,
        trace="".join(traceback.format_exception(type(error), error, trace)),
    )


def refusal(kind, message, **more):
    # Half of a surrogate pair is a character to Python and none to anybody else.
    text = json.dumps({"kind": kind, "message": message, **more}, ensure_ascii=False)
    return b"!%s\n" % text.encode("utf-8", "replace")


def leave_worker():
    """In a forked copy of this process: what it answered would be taken for the worker's next answer."""
    global RESULTS
    for descriptor in (RESULTS, REQUESTS):
        try:
            os.close(descriptor)
        except OSError:
            pass
    RESULTS = -1


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
        main = getattr(__import__("main__"), entry_point)
        if not callable(main):
            raise TypeError(f"{entry_point} is not a function")
        return main
    except Exception as error:
        send(failure("initialization", error))
        sys.exit(1)


def serve(main, readline):
    # Not `decode` and `dumps`: these two skip work that a payload on one line does not need.
    decode = json.JSONDecoder().raw_decode
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
    while line := readline():
        try:
            result = main(decode(line.decode().strip())[0])
        except Exception as error:
            answer = failure("raised", error)
        else:
            try:
                if not isinstance(result, dict):
                    kind = type(result).__name__
                    answer = refusal("bad_result", f"the result has to be a dict, and it is of type {kind}")
                elif "error" in result:
                    error = result["error"]
                    answer = refusal("raised", error if isinstance(error, str) else encode(error))
                else:
                    answer = f"={encode(result)}\n".encode()
            except Exception as error:
                answer = failure("bad_result", error)
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except Exception:
            restore_logs()
        send(answer)


def start():
    os.set_inheritable(RESULTS, False)
    os.set_inheritable(REQUESTS, False)
    os.register_at_fork(after_in_child=leave_worker)
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
    send(b"+\n")
    serve(main, readline)


# A process that `multiprocessing` spawns imports this file too.
if __name__ == "__main__":
    start()
