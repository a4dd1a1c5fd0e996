"""The processes that run a function, kept warm.

A process reads one line of JSON per call and writes one line per answer; what it writes on descriptors 1 and 2, also by
its own children, is its log. A function in Python is run by falco_shim.py; a native function speaks OpenWhisk's
ActionLoop, with its answers on descriptor 3.

A process of its own makes a crash, a timeout and a process that is out of memory errors of the function: they end the
process, and the next call gets a fresh one.
"""

import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

# The answer's line may be as long as the longest result, and a little more for its envelope.
MAX_LINE = 33 * 1024 * 1024
MAX_LOG_LINE = 64 * 1024
# The log of one call, in bytes: Cloud Logging charges for each, and hands out 1,000 lines a second at most.
MAX_LOG = 1024 * 1024
# What a pipe holds at most.
PIPE = 1 << 16
TAIL = 4096
# Puts the answers on descriptor 3 and becomes the native function. A shell cannot: of the descriptors that it can name,
# POSIX guarantees 0 to 9, and dash, the /bin/sh of Debian and Ubuntu, has no more. Python ignores two signals, which a
# program that it becomes would inherit.
ON_DESCRIPTOR_3 = """
import os, signal, sys
descriptor = int(sys.argv[1])
if descriptor != 3:
    os.dup2(descriptor, 3)
    os.close(descriptor)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
os.execv(sys.argv[2], sys.argv[2:])
"""


class Failure(Exception):
    """A call without an answer: a function error of a kind that Falco knows."""

    def __init__(self, kind, message, trace=None, exit_status=None):
        super().__init__(message)
        self.record = {"kind": kind, "message": message}
        if trace:
            self.record["trace"] = trace
        if exit_status is not None:
            self.record["exit_status"] = exit_status


class Unread(Exception):
    """The process has ended, and cannot have read the whole call."""


def startable(path):
    """The path itself, or a copy: some builders drop the executable bit, and the function's files are read-only."""
    if os.access(path, os.X_OK):
        return path
    copy = os.path.join(tempfile.mkdtemp(prefix="falco-"), "exec")
    shutil.copyfile(path, copy)
    os.chmod(copy, 0o755)
    return copy


class Native:
    """How a native function is started and asked. One with an entry point acknowledges its start."""

    def __init__(self, path, entry):
        self.path = startable(path)
        self.acknowledges = entry is not None
        self.environment = dict(os.environ)
        if self.acknowledges:
            self.environment.update(FALCO_FUNCTION=entry, __OW_WAIT_FOR_ACK="1")

    greeting = b""
    start, answer = "native_start", "native"

    def command(self, descriptor):
        return [sys.executable, "-I", "-S", "-c", ON_DESCRIPTOR_3, str(descriptor), self.path]

    def message(self, body, activation, trace):
        about = {"activation_id": activation}
        if trace:
            about["traceparent"] = trace
        return b'{"value":' + body + b"," + json.dumps(about, separators=(",", ":")).encode("ascii")[1:] + b"\n"


class Shim:
    """How the shim of Python is started and asked."""

    acknowledges, greeting = True, b"go\n"
    start = answer = "shim"

    def __init__(self, shim, directory, entry):
        self.words = [shim, directory, entry, "0"]
        self.environment = dict(os.environ)

    def command(self, descriptor):
        return [sys.executable, "-u"] + self.words + [str(descriptor)]

    def message(self, body, activation, trace):
        environment = {"TRACEPARENT": trace} if trace else {}
        return b'{"value":' + body + b',"env":' + json.dumps(environment).encode("ascii") + b"}\n"


class Pool:
    """One process for each call that runs at the same time; a process that has failed is not used again.

    `start` is how much longer than the function may run a call may take, in seconds, for the start of its process: a
    little less than Google waits, which ends an instance without a word.
    """

    def __init__(self, program, cwd, log_line, start):
        self.program, self.cwd, self.log_line, self.start = program, cwd, log_line, start
        self.lock, self.idle = threading.Lock(), []

    def warm_up(self):
        """Starts the first process, so that loading the function is part of the instance's start."""
        try:
            self.idle.append(self.child())
        except Failure:
            pass  # the first call says why

    def child(self):
        return Child(self.program, self.cwd, self.log_line, self.start)

    def run(self, body, activation, trace, seconds, about):
        """Who has answered, and the line of the answer.

        `about` gets whether the process is new, how long its start took, how long this call waited for that, and what
        the function runs under.
        """
        while True:
            child = self.take() or self.child()
            about["cold"] = child.calls == 0
            try:
                answer = child.call(body, activation, trace, seconds, about)
            except Unread:
                # Nobody has read the call: a process that ended while it was idle.
                child.end()
            except BaseException:
                child.end()
                raise
            else:
                if child.is_broken:
                    child.end()
                else:
                    with self.lock:
                        self.idle.append(child)
                return answer

    def take(self):
        """An idle process that has not ended meanwhile."""
        while True:
            with self.lock:
                child = self.idle.pop() if self.idle else None
            if child is None or child.is_idle():
                return child
            child.end()


class Child:
    def __init__(self, program, cwd, log_line, start):
        self.program, self.log_line, self.start = program, log_line, start
        self.activation, self.tail, self.calls, self.is_ready = None, b"", 0, not program.acknowledges
        self.is_broken, self.log_left = False, MAX_LOG
        self.pending = bytearray()
        self.answers, theirs = os.pipe()
        try:
            self.process = subprocess.Popen(
                program.command(theirs),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(theirs,),
                cwd=cwd,
                env=program.environment,
                bufsize=0,
                start_new_session=True,  # so that its own children end with it
            )
        except OSError as error:
            os.close(self.answers)
            raise Failure("initialization", "the function cannot be started: %s" % error) from None
        finally:
            os.close(theirs)
        self.selector = selectors.DefaultSelector()
        self.logs = {self.process.stdout: ["stdout", b""], self.process.stderr: ["stderr", b""]}
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            os.set_blocking(stream.fileno(), False)
        os.set_blocking(self.answers, False)
        for stream in (self.answers, self.process.stdout, self.process.stderr):
            self.selector.register(stream, selectors.EVENT_READ)
        if program.greeting:
            try:
                self.process.stdin.write(program.greeting)
            except OSError:
                pass  # it has ended, which the first call notices

    def is_idle(self):
        """Whether it waits for a call: it has neither ended nor written what nobody has asked for."""
        if self.process.poll() is not None:
            return False
        if self.calls == 0:
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(self.answers, selectors.EVENT_READ)
            return not self.pending and not selector.select(0)

    def call(self, body, activation, trace, seconds, about):
        begin = time.monotonic()
        last = None if seconds is None else begin + seconds + self.start
        self.drain_logs()
        self.activation, self.tail, self.log_left = activation, b"", MAX_LOG
        if not self.is_ready:
            limit = None if seconds is None else max(seconds, self.start)
            line = self.exchange(b"", None if limit is None else begin + limit, limit)
            waited = (time.monotonic() - begin) * 1000.0
            about["ready_ms"] = waited
            about["init_ms"], about["runtime"] = start_of(line, waited)
            if about["init_ms"] is None:
                self.finish()
                self.is_broken = True
                return self.program.start, line
            self.is_ready = True
        deadline = None if seconds is None else min(time.monotonic() + seconds, last)
        message = self.program.message(body.replace(b"\n", b" ").replace(b"\r", b" "), activation, trace)
        line = self.exchange(message, deadline, seconds)
        self.calls += 1
        self.finish()
        return self.program.answer, line

    def exchange(self, message, deadline, seconds):
        """Writes a message and reads the next line of answers, and the log meanwhile."""
        left = memoryview(message)
        writing = bool(left)
        if writing:
            self.selector.register(self.process.stdin, selectors.EVENT_WRITE)
        end = self.pending.find(b"\n")
        while end < 0:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            events = self.selector.select(wait)
            # Also while it prints without end.
            if wait == 0.0 and not any(key.fileobj == self.answers for key, _ in events):
                raise self.late(seconds)
            for key, _ in events:
                if key.fileobj is self.process.stdin:
                    left = self.write(left)
                    if not left:
                        self.selector.unregister(self.process.stdin)
                        writing = False
                elif key.fileobj == self.answers:
                    chunk = os.read(self.answers, 1 << 20)
                    if not chunk:
                        raise self.died(is_read=not writing)
                    found = chunk.find(b"\n")
                    end = -1 if found < 0 else len(self.pending) + found
                    self.pending += chunk
                    if len(self.pending) > MAX_LINE:
                        raise Failure("bad_result", "the result has more than %d bytes" % MAX_LINE)
                    if end >= 0:
                        break
                else:
                    self.read_log(key.fileobj)
        if writing:
            raise Failure("bad_result", "the function answered before it had read its argument")
        line = bytes(self.pending[:end])
        del self.pending[: end + 1]
        return line

    def late(self, seconds):
        if self.is_ready:
            return Failure("timeout", "the function ran longer than %g seconds" % seconds)
        return Failure("initialization", "the function did not start within %g seconds" % seconds)

    def write(self, left):
        try:
            return left[os.write(self.process.stdin.fileno(), left[:PIPE]) :]
        except BlockingIOError:
            return left
        except BrokenPipeError:
            raise self.died(is_read=False) from None

    def read_log(self, stream):
        """How many bytes there were to read."""
        try:
            chunk = os.read(stream.fileno(), PIPE)
        except BlockingIOError:
            return 0
        if not chunk:
            if stream in self.selector.get_map():
                self.selector.unregister(stream)
            return 0
        entry = self.logs[stream]
        if entry[0] == "stderr":
            self.tail = (self.tail + chunk)[-TAIL:]
        if self.log_left <= 0:
            return len(chunk)
        self.log_left -= len(chunk)
        if self.log_left <= 0:
            self.flush(entry)
            self.log_line(self.activation, "stderr", "falco: the log is cut here, after %d bytes" % MAX_LOG)
            return len(chunk)
        *lines, entry[1] = (entry[1] + chunk).split(b"\n")
        for line in lines:
            self.log_line(self.activation, entry[0], line.decode("utf-8", "replace"))
        if len(entry[1]) > MAX_LOG_LINE:
            self.flush(entry)
        return len(chunk)

    def flush(self, entry):
        if entry[1]:
            self.log_line(self.activation, entry[0], entry[1].decode("utf-8", "replace"))
            entry[1] = b""

    def drain_logs(self):
        """What was written before the answer is in the pipes already. Others may write without end, now too."""
        for stream in self.logs:
            read = 0
            while read < PIPE:
                chunk = self.read_log(stream)
                if not chunk:
                    break
                read += chunk

    def finish(self):
        self.drain_logs()
        for entry in self.logs.values():
            self.flush(entry)

    def died(self, is_read):
        """Why there is no answer. A process that ended between two calls has not read the second one."""
        try:
            status = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return Failure("crashed", "the function closed the descriptor of its answers")
        if not is_read and self.calls:
            return Unread()
        self.drain_logs()
        trace = self.tail.decode("utf-8", "replace")
        if status == -signal.SIGKILL:
            message = "the function's process was killed, as it is when memory runs out"
            return Failure("out_of_memory", message, trace, status)
        if not self.is_ready:
            return Failure("initialization", "the function's process ended before it was ready", trace, status)
        return Failure("crashed", "the function's process ended", trace, status)

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.finish()
        self.selector.close()
        os.close(self.answers)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()


def start_of(line, waited):
    """How long the start took, in milliseconds, or None for one that failed; and what the function runs under. Native
    functions say neither."""
    try:
        about = json.loads(line)
        return (float(about.get("ms", waited)), about.get("runtime")) if about["ok"] is True else (None, None)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, None
