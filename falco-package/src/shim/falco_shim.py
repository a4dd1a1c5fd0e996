"""Runs a user's function for Falco on every platform: loads it, calls it, and says how each call ended.

A platform adds only its transport: `load` once, `Function.call` for each call. Started as a program, this file is the
transport of pipes: one line of JSON in and one line out for each call.
"""

import json
import os
import sys
import time

try:
    from fcntl import ioctl
except ImportError:
    ioctl = None

MESSAGE = 64 * 1024
LOG_MARK = b"\0falco:end\n"
TRACE = 16 * 1024
BATCH, LIMITS = "falco:batch", "falco:limits"
ARGUMENTS = "falco_arguments.json"

# Python has these before it runs any program, so a user's module of the same name is never imported.
BUILT_IN = frozenset(
    "__main__ _collections_abc abc builtins codecs encodings genericpath importlib io os posixpath site stat sys "
    "zipimport".split()
)

# Not `loads` and `dumps`: these two skip work that a value on one line does not need.
decode = json.JSONDecoder().raw_decode
encode_slowly = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
encode_anything = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=repr, skipkeys=True).encode
clock = time.perf_counter


def refuse(value):
    raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)


def make_encode():
    """What `JSONEncoder.encode` makes anew for each value, made once."""
    seen = {}
    try:
        make, text = json.encoder.c_make_encoder, json.encoder.encode_basestring
        pieces = make(seen, refuse, text, None, ":", ",", False, False, False)
        sample = {"a": [1.5, None, True, "\u00e4\n"], "b": {}}
        if "".join(pieces(sample, 0)) != encode_slowly(sample):
            return encode_slowly
    except Exception:
        return encode_slowly

    def encode(value):
        try:
            return "".join(pieces(value, 0))
        except BaseException:
            seen.clear()
            raise

    return encode


encode = make_encode()


class Answer:
    """What came of one call: a result, or an error."""

    __slots__ = ("result", "json", "error", "ms")

    def __init__(self, result=None, json=None, error=None, ms=0.0):
        self.result, self.json, self.error, self.ms = result, json, error, ms

    def line(self):
        """The answer as JSON on one line, without its line break."""
        if self.error is None:
            return b'{"ok":%b,"ms":%.3f}' % (self.json, self.ms)
        return b'{"error":%b,"ms":%.3f}' % (encode(self.error).encode(), self.ms)


class Function:
    """A user's function. One that could not be loaded has an `error`, with which it answers every call."""

    def __init__(self, directory, entry_point):
        self.error = self.main = self.loop = self.data = None
        self.process = os.getpid()
        self.variables = ()
        self.arguments = {}
        self.modules = Modules(os.path.abspath(directory))
        self.environment = Environment(self.modules)
        began = clock()
        try:
            self.arguments = stored_arguments(directory)
            self.data = self.modules.load_part("falco_data")
            self.main = self.modules.load("main__", entry_point)
        except BaseException as error:
            self.error = self.failure("initialization", error)
        self.ms = (clock() - began) * 1000.0
        flush_logs()

    def call(self, value, environment=None):
        """Calls the function, with these environment variables during the call. It never raises."""
        if self.error is not None:
            return Answer(error=self.error)
        result = text = error = spill = None
        began = clock()
        try:
            if environment or self.variables:
                self.set_environment(environment or {})
            if self.data is not None:
                value, spill = self.data.falco_argument(value)
            if is_batch(value):
                text = self.batch(value, began)
            else:
                if self.arguments and isinstance(value, dict):
                    value = {**self.arguments, **value}
                result = self.run(value)
            ms = (clock() - began) * 1000.0
            self.leave_copy(None)
        except BaseException as raised:
            ms = (clock() - began) * 1000.0
            self.leave_copy(raised)
            error = self.failure("raised", raised)
        else:
            if text is None:
                text, error = self.encoded(result)
            if spill is not None and error is None:
                text, error = self.spilled(text, spill)
        flush_logs()
        return Answer(result if error is None else None, text, error, ms)

    def run(self, value):
        result = self.main(value)
        if not isinstance(result, dict) and hasattr(result, "__await__"):
            result = self.wait_for(result)
        return result

    def batch(self, value, began):
        """Calls the function for each input of a batch. The result, which holds an answer for each, as JSON."""
        inputs, limits = value.pop(BATCH), value.pop(LIMITS)
        value = {**self.arguments, **value}
        until, room, mark = began + limits["ms"] / 1000.0, limits["bytes"], limits["mark"].encode()
        answers, length = [], 0
        for index, one in enumerate(inputs):
            # A result of up to half of the room always fits.
            if index > 0 and (clock() > until or length > room // 2):
                break
            mark_logs(b"falco:input %b %d\n" % (mark, index))
            # What is stored with the function, or put beside the inputs by the platform, belongs to each of them.
            answer = self.one({**value, **one} if value else one).line()
            if length + len(answer) > room:
                if index > 0:
                    answers.append(b'{"no_room":true}')
                    break
                answer = Answer(error=bad_result("the result has %d bytes, and %d are allowed" % (len(answer), room))).line()
            answers.append(answer)
            length += len(answer) + 1
        answers.extend([b"null"] * (len(inputs) - len(answers)))
        return b'{"%b":[%b]}' % (BATCH.encode(), b",".join(answers))

    def one(self, value):
        """The answer for one input of a batch. It never raises."""
        began = clock()
        try:
            result = self.run(value)
            ms = (clock() - began) * 1000.0
            self.leave_copy(None)
        except BaseException as raised:
            ms = (clock() - began) * 1000.0
            self.leave_copy(raised)
            answer = Answer(error=self.failure("raised", raised), ms=ms)
        else:
            text, error = self.encoded(result)
            answer = Answer(None, text, error, ms)
        return answer

    def set_environment(self, environment):
        names = tuple(environment)
        if names != self.variables:
            for name in self.variables:
                os.environ.pop(name, None)
            self.variables = names
        # Not `update`, which takes five times as long for one variable.
        for name in names:
            self.environment.set(name, environment[name])

    def wait_for(self, awaitable):
        """Runs an `async def`. Its loop is kept, since connections that outlive the call belong to it."""
        import asyncio

        if self.loop is None or self.loop.is_closed():
            self.loop = asyncio.new_event_loop()
        return self.loop.run_until_complete(awaitable)

    def leave_copy(self, raised):
        """Ends a forked copy of this process: its answer would be taken for the answer of the process itself."""
        if os.getpid() == self.process:
            return
        flush_logs()
        status = 1
        try:
            if isinstance(raised, SystemExit) and (raised.code is None or isinstance(raised.code, int)):
                status = (raised.code or 0) & 0xFF
            else:
                os.write(2, b"a forked copy of the function has returned; it has to end with os._exit\n")
        finally:
            os._exit(status)

    def encoded(self, result):
        """The result as JSON that every reader takes, or an error."""
        if not isinstance(result, dict):
            kind = type(result).__name__
            return None, bad_result("the result has to be a dict, and it is of type %s" % kind)
        try:
            if "error" in result:
                return None, answered(result["error"])
            text = encode(result)
        except BaseException as error:
            self.leave_copy(error)
            reason = message_of(error)
            if reason.startswith("Out of range float"):
                reason = "it holds NaN or an infinity, and JSON has neither"
            return None, bad_result("the result cannot be written as JSON: " + reason)
        try:
            return text.encode(), None
        except UnicodeEncodeError:
            pass
        try:
            # Both halves of a pair, as two characters.
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le").encode(), None
        except UnicodeDecodeError:
            reason = "it holds half of a surrogate pair, which is not a character"
            return None, bad_result("the result cannot be written as JSON: " + reason)

    def spilled(self, text, spill):
        """The result, or a reference to it where it is too long for the platform."""
        try:
            return self.data.falco_result(text, spill), None
        except BaseException as error:
            self.leave_copy(error)
            return None, self.failure("raised", error)

    def failure(self, kind, error):
        """The record of an exception. Its traceback begins where the user's code does."""
        own = (__file__, getattr(self.data, "__file__", None))
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename in own:
            trace = trace.tb_next
        try:
            text = self.modules.with_own(format_exception, error, trace)
        except BaseException:
            text = None
        return record(kind, message_of(error), type(error).__name__, text)


class Environment:
    """The environment variables of calls.

    `os.environ` hands each value to `setenv`, and the C library keeps every one of them: 110 bytes a call, which also have to
    be searched. A process of many calls has memory of its own for each variable, and writes the next value there.
    """

    MANY = 1000
    NEEDS = frozenset("_ctypes _struct ctypes struct".split())

    def __init__(self, modules):
        self.modules, self.count, self.variables, self.place = modules, 0, {}, Variable

    def set(self, name, value):
        variable = self.variables.get(name)
        if variable is not None and variable.set(value):
            return
        os.environ[name] = value
        self.count += 1
        if self.count >= self.MANY and self.place is not None:
            try:
                # Python's own modules are loaded, and none of the user's.
                if self.NEEDS & self.modules.names:
                    raise ImportError("the function has modules of these names")
                self.variables[name] = self.place(name, value)
            except BaseException:
                self.place = None


class Variable:
    """An environment variable whose values have the same length, in memory that the C library does not copy."""

    def __init__(self, name, value):
        import ctypes

        self.environ, self.values = os.environ, os.environ._data
        self.key, self.current = self.environ.encodekey(name), None
        self.length = len(self.environ.encodevalue(value))
        self.start = len(self.key) + 1
        self.text = bytearray(self.key + b"=" + bytes(self.length + 1))
        array = (ctypes.c_char * len(self.text)).from_buffer(self.text)
        self.pointer = ctypes.c_void_p(ctypes.addressof(array))
        self.put = ctypes.CDLL(None).putenv
        # The memory stays as long as the process does, whatever becomes of this.
        KEPT.append((self.text, array))

    def set(self, value):
        """Sets the value. False where that is for `os.environ` to do."""
        if os.environ is not self.environ:
            return False
        encoded = self.environ.encodevalue(value)
        if len(encoded) != self.length or 0 in encoded:
            return False
        self.text[self.start : -1] = encoded
        # Somebody may have set or removed the variable.
        if self.values.get(self.key) is not self.current or self.current is None:
            self.put(self.pointer)
        self.values[self.key] = self.current = encoded
        return True


KEPT = []


class Modules:
    """Keeps the modules of the user's directory apart from Python's own of the same names.

    The user's code gets its own `json`, as from `python3 main__.py`; the shim gets Python's.
    """

    def __init__(self, directory):
        self.directory, self.names, self.path, self.own = directory, frozenset(), list(sys.path), {}
        self.parts = frozenset()

    def load_part(self, name):
        """Loads a part of the shim that layers may have put beside the function; None where there is none."""
        if not os.path.exists(os.path.join(self.directory, name + ".py")):
            return None
        # Last, so that it gets Python's own modules whatever the user's are called.
        sys.path.append(self.directory)
        try:
            part = __import__(name)
        finally:
            sys.path.remove(self.directory)
        self.parts = self.parts | {name}
        return part if hasattr(part, "falco_argument") else None

    def load(self, main, entry_point):
        os.chdir(self.directory)
        names = {name.partition(".")[0] for name in os.listdir(self.directory)}
        self.names = frozenset(names) - BUILT_IN - self.parts
        sys.path[:0] = [self.directory] + self.site_packages()
        self.own = self.take()
        found = getattr(__import__(main), entry_point, None)
        if not callable(found):
            raise TypeError("%s is not a function of the code" % entry_point)
        return found

    def site_packages(self):
        """Where the archive brings its dependencies, as OpenWhisk has it."""
        libraries = os.path.join(self.directory, "virtualenv", "lib")
        if not os.path.isdir(libraries):
            return []
        found = (os.path.join(libraries, version, "site-packages") for version in os.listdir(libraries))
        return [path for path in found if os.path.isdir(path)]

    def take(self):
        """Takes out of `sys.modules` what the user's directory has a name for."""
        taken = [name for name in sys.modules if name.partition(".")[0] in self.names]
        return {name: sys.modules.pop(name) for name in taken}

    def with_own(self, work, *args):
        """Does something with Python's own modules in place."""
        if not self.names:
            return work(*args)
        path, theirs = list(sys.path), self.take()
        sys.path[:] = self.path
        sys.modules.update(self.own)
        try:
            return work(*args)
        finally:
            sys.path[:] = path
            self.own = self.take()
            sys.modules.update(theirs)


def stored_arguments(directory):
    """The arguments that were deployed with the function. They lie beside its directory, in which all files are the user's."""
    try:
        file = open(os.path.join(os.path.dirname(os.path.abspath(directory)), ARGUMENTS), "rb")
    except FileNotFoundError:
        return {}
    with file:
        return decode(file.read().decode())[0]


def is_batch(value):
    """Whether an argument holds those of several inputs."""
    return isinstance(value, dict) and BATCH in value and LIMITS in value


def format_exception(error, trace):
    # Imported only now: it takes as long as all the rest of a start.
    import traceback

    return "".join(traceback.format_exception(type(error), error, trace))


def message_of(error):
    try:
        return str(error) or type(error).__name__
    except BaseException:
        return "the exception has no message, since its __str__ raises"


def record(kind, message, type=None, trace=None):
    error = {"kind": kind, "message": repaired(message)[:MESSAGE]}
    if type:
        error["type"] = repaired(type)[:MESSAGE]
    if trace:
        error["trace"] = repaired(trace)[-TRACE:]
    return error


def bad_result(message):
    return record("bad_result", message)


def answered(error):
    """The error of a function that returned one under the key `error`."""
    if isinstance(error, str):
        return record("raised", error)
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        name, stack = error.get("name"), error.get("stack")
        name = name if isinstance(name, str) else None
        return record("raised", error["message"], name, stack if isinstance(stack, str) else None)
    try:
        return record("raised", encode_anything(error))
    except Exception:
        return record("raised", repr(error))


def repaired(text):
    """The text with U+FFFD for each half of a surrogate pair, which is a character to Python and to nobody else."""
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


# ---- logs -----------------------------------------------------------------------------------------------------------

LOGS = (("stdout", 1), ("stderr", 2))
FIONREAD, NOTHING = 0x541B, bytes(4)
unread = bytearray(NOTHING)
copies = {}


def prepare_logs():
    """Makes every line that is printed appear at once, and whatever its characters are."""
    for name, descriptor in LOGS:
        try:
            copies[descriptor] = os.dup(descriptor)
        except OSError:
            pass
        try:
            getattr(sys, name).reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
        except Exception:
            pass  # The platform has put a stream of its own there, which is what is to be used then.


def mark_logs(mark):
    """Says in both logs where the output of an input begins, behind what was printed before.

    To the descriptors, since the function may have put a stream of its own there, and since it takes a third of the time.
    """
    for name, descriptor in LOGS:
        try:
            getattr(sys, name).flush()
            os.write(descriptor, mark)
        except BaseException:
            flush_logs()
            try:
                os.write(descriptor, mark)
            except OSError:
                pass


def flush_logs():
    """Flushes what was printed, and reopens what the function closed, so that the next call can print."""
    for name, descriptor in LOGS:
        waits = True
        try:
            waits = os.get_blocking(descriptor)
            if not waits:
                # Somebody has made it so, such as a child that it is shared with: what has no room yet would be lost.
                os.set_blocking(descriptor, True)
        except OSError:
            reopen(descriptor)
        try:
            getattr(sys, name).flush()
        except BaseException:
            try:
                setattr(sys, name, open(descriptor, "w", 1, "utf-8", "backslashreplace", closefd=False))
            except BaseException:
                pass
        if not waits:
            os.set_blocking(descriptor, False)


def has_printed():
    """Whether a log holds what the driver has not read yet. Where nobody can say, it does."""
    try:
        for _, descriptor in LOGS:
            ioctl(descriptor, FIONREAD, unread, True)
            if unread != NOTHING:
                return True
        return False
    except Exception:
        return True


def reopen(descriptor):
    try:
        if descriptor in copies:
            os.dup2(copies[descriptor], descriptor)
        else:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, descriptor)
            if null != descriptor:
                os.close(null)
    except OSError:
        pass


def runtime():
    """What the function runs under, such as `Linux 6.1 python 3.12.4`."""
    system = os.uname()
    release = ".".join(system.release.split(".")[:2])
    return "%s %s python %d.%d.%d" % ((system.sysname, release) + sys.version_info[:3])


def process_age():
    """How long ago this process was started, in seconds."""
    with open("/proc/self/stat") as stat:
        ticks = int(stat.read().rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def traced(context):
    """The environment of a call with this W3C trace context; None where the platform has handed on something else."""
    if isinstance(context, str) and len(context) == 55 and not context.strip("0123456789abcdef-"):
        return {"TRACEPARENT": context}
    return None


def keep_compiled(directory, cache):
    """Keeps what is compiled of the modules in a directory, which cannot be written to, in another one."""
    from importlib import machinery

    class Loader(machinery.SourceFileLoader):
        def get_code(self, name):
            # It compiles and runs nothing, so no other module is imported meanwhile.
            before = getattr(sys, "pycache_prefix", None), sys.dont_write_bytecode
            sys.pycache_prefix, sys.dont_write_bytecode = cache, False
            try:
                return super().get_code(name)
            finally:
                sys.pycache_prefix, sys.dont_write_bytecode = before

    def finder(path):
        if path != directory and not path.startswith(directory + os.sep):
            raise ImportError("%s is not below %s" % (path, directory))
        return machinery.FileFinder(
            path,
            (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES),
            (Loader, machinery.SOURCE_SUFFIXES),
            (machinery.SourcelessFileLoader, machinery.BYTECODE_SUFFIXES),
        )

    sys.path_hooks.insert(0, finder)


def load(directory, entry_point):
    """Loads the function `entry_point` of `main__.py` in `directory`. It never raises: see `Function.error`."""
    prepare_logs()
    return Function(directory, entry_point)


# ---- the transport of pipes -----------------------------------------------------------------------------------------


def write(descriptor, data):
    """Writes all of it, also to a descriptor that somebody has made non-blocking."""
    written = 0
    while written < len(data):
        try:
            written += os.write(descriptor, memoryview(data)[written:] if written else data)
        except BlockingIOError:
            time.sleep(0.001)


def serve(directory, entry_point, requests, answers, mark=b""):
    """Answers requests, one line each, until there are no more. The mark ends the log of the start and of each call.

    A request with a number may be followed by others before it is answered. The number stands before its answer, and
    `printed` after the number where a mark in both logs ends what the call has printed.
    """

    def send(line):
        write(answers, line + b"\n")

    def send_numbered(number, line):
        if has_printed():
            for _, descriptor in LOGS:
                try:
                    write(descriptor, LOG_MARK)
                except OSError:
                    pass
            write(answers, b"%d printed %b\n" % (number, line))
        else:
            write(answers, b"%d %b\n" % (number, line))

    def leave():
        for descriptor in (requests, answers):
            try:
                os.close(descriptor)
            except OSError:
                pass

    if requests == 0:
        requests = os.dup(0)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
    os.set_inheritable(requests, False)
    os.set_inheritable(answers, False)
    os.register_at_fork(after_in_child=leave)
    readline = open(requests, "rb", 1 << 16, closefd=False).readline
    # Nothing of the user's runs before whoever started this process can end it.
    if not readline():
        return 0
    function = load(directory, entry_point)
    # The output of loading ends here. A driver that asked for marks waits for this one.
    if mark:
        os.write(2, mark)
    if function.error is not None:
        send(Answer(error=function.error, ms=function.ms).line())
        return 1
    send(b'{"ok":true,"ms":%.3f,"runtime":"%b"}' % (function.ms, runtime().encode()))
    for line in iter(readline, b""):
        try:
            request = decode(line.decode().strip())[0]
            value, environment, number = request["value"], request.get("env"), request.get("n")
        except Exception as error:
            text = "the request is not understood: %s" % message_of(error)
            answer, number = Answer(error=record("unspecified", text)), None
        else:
            answer = function.call(value, environment)
        if mark:
            write(2, mark)
        if number is None:
            send(answer.line())
        else:
            send_numbered(number, answer.line())
    return 0


# A process that `multiprocessing` spawns imports this file under another name.
if __name__ == "__main__":
    where, name = sys.argv[1:3]
    fork = None
    if sys.argv[3:] == ["fork-server"]:
        import falco_fork as fork

        del sys.argv[3], sys.modules["falco_fork"]
    descriptors = [int(number) for number in sys.argv[3:5]] or [4, 3]
    mark = LOG_MARK if sys.argv[5:] == ["mark-logs"] else b""
    sys.argv = [os.path.join(where, "main__.py")]
    del sys.path[0]
    compiled = sys._xoptions.get("falco_pycache")
    if compiled:
        keep_compiled(where, compiled)
    if fork is not None:
        # It returns in each worker, with the descriptors of one that was started by itself.
        fork.serve(where, sys.modules["__main__"])
    status = serve(where, name, *descriptors, mark)
    flush_logs()
    # Not `sys.exit`, which waits for the function's threads.
    os._exit(status)
