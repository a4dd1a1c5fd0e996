import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
import time

HALF = chr(0xD83D)


class NoRows(Exception):
    pass


class Mute(Exception):
    def __str__(self):
        raise ValueError("no words")


def square(number):
    return number * number


def object(args):
    return {"a": 1, "b": {"c": [True, None, 1.5, "ä€😀\n"]}}


def empty(args):
    return {}


def separators(args):
    return {"text": args["text"], "length": len(args["text"])}


def big(args):
    return {"value": "x" * args["length"]}


def huge_integer(args):
    return {"value": 123456789012345678901234567890}


def nothing(args):
    return None


def list_(args):
    return [{"error": 1}]


def string(args):
    return "text"


def bytes_(args):
    return {"value": b"text"}


def unwritable(args):
    return {"value": {1, 2}}


def circle(args):
    value = {}
    value["value"] = value
    return value


def nan(args):
    return {"rows": [1.0, float("nan")]}


def infinity(args):
    return {"rows": {"low": float("-inf")}}


def half_value(args):
    return {"value": [HALF]}


def half_key(args):
    return {HALF: 1}


def error_text(args):
    return {"rows": 3, "error": "no rows"}


def error_null(args):
    return {"rows": 3, "error": None}


def error_object(args):
    return {"error": {"name": "NoRows", "message": "no rows", "stack": "in the cellar"}}


def error_half(args):
    return {"error": "not a picture: " + HALF}


def error_number(args):
    return {"error": {"code": 7}}


def raise_builtin(args):
    raise ValueError("bad value")


def raise_class(args):
    raise NoRows("no rows")


def raise_silently(args):
    raise NoRows()


def raise_mute(args):
    raise Mute()


def raise_half(args):
    raise ValueError("not a picture: " + HALF)


def raise_chained(args):
    try:
        {}["cause"]
    except KeyError as error:
        raise NoRows("no rows") from error


def exit_by_exception(args):
    sys.exit("no input rows")


def exit_beside_thread(args):
    threading.Thread(target=time.sleep, args=(20,)).start()
    sys.exit("no input rows")


def interrupt(args):
    raise KeyboardInterrupt("stop")


async def asynchronous(args):
    await asyncio.sleep(0.01)
    return {"awaited": True}


async def asynchronous_raise(args):
    await asyncio.sleep(0)
    raise NoRows("no rows")


def processes(args):
    with multiprocessing.get_context(args["method"]).Pool(2) as pool:
        return {"squares": pool.map(square, [1, 2, 3])}


def fork(args):
    if os.fork() == 0:
        sys.exit(0)
    return {"status": os.wait()[1]}


def print_much(args):
    for _ in range(2000):
        print("line " * 20)
        print("line " * 20, file=sys.stderr)
    return {}


def print_endlessly(args):
    while True:
        print("line " * 20)
        print("line " * 20, file=sys.stderr)


def trace(args):
    return {"trace": os.environ.get("TRACEPARENT")}


def print_half(args):
    print(HALF, "ä")
    return {}


def print_closed(args):
    sys.stdout.flush()
    os.close(1)
    os.close(2)
    return {}


def print_child(args):
    subprocess.run(["/bin/sh", "-c", "echo out; echo err >&2"], check=True)
    return {}


def change_directory(args):
    os.chdir("/")
    return {}


def stdin(args):
    return {"read": sys.stdin.read()}


def exit_at_once(args):
    os._exit(3)


def die_later(args):
    subprocess.Popen(["/bin/sh", "-c", "sleep 0.3; kill -9 %d" % os.getpid()], start_new_session=True)
    return {}


def slow(args):
    time.sleep(0.02)
    return {"n": args["n"]}


def main(args):
    name = args["case"]
    return globals().get(name + "_", globals().get(name))(args)
