"""The processes that run a function, kept warm.

A process reads one JSON line per call on its standard input, with the argument under "value", and writes one line per
answer on descriptor 3. What it writes on descriptors 1 and 2, also by its own children, is its log. This is OpenWhisk's
ActionLoop, which native functions speak; falco_worker.py speaks it for functions in Python.

A process of its own makes a crash, a time-out and a process that is out of memory errors of the function: they end the
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
TAIL = 4096
OK, FAILURE = b'{"ok":', b'{"failure":'

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
    """A function error of a kind that Falco knows."""

    def __init__(self, kind, message, trace=None, exit_status=None):
        super().__init__(message)
        self.record = {"kind": kind, "message": message}
        if trace:
            self.record["trace"] = trace
        if exit_status is not None:
            self.record["exit_status"] = exit_status

    @classmethod
    def told(cls, record):
        failure = cls(record.get("kind"), record.get("message"))
        failure.record = record
        return failure


def startable(path):
    """The path itself, or a copy: some builders drop the executable bit, and the function's files are read-only."""
    if os.access(path, os.X_OK):
        return path
    copy = os.path.join(tempfile.mkdtemp(prefix="falco-"), "exec")
    shutil.copyfile(path, copy)
    os.chmod(copy, 0o755)
    return copy


class Pool:
    """One process for each call that runs at the same time; a process that has failed is not used again."""

    def __init__(self, command, cwd, log_line, is_native):
        self.command, self.cwd, self.log_line, self.is_native = command, cwd, log_line, is_native
        self.lock, self.idle = threading.Lock(), []

    def warm_up(self):
        """Starts the first process, so that loading the function is part of the instance's start."""
        try:
            self.idle.append(self.child())
        except Failure:
            pass  # the first call says why

    def child(self):
        return Child(self.command, self.cwd, self.log_line, self.is_native)

    def run(self, body, activation, seconds):
        """The result as JSON and what is known of the run; a Failure has the latter as well.

        That is whether the process is new, how long its start took, and how long this call waited for that.
        """
        with self.lock:
            child = self.idle.pop() if self.idle else None
        about = {"cold": True, "init_ms": None, "ready_ms": 0.0}
        try:
            if child is None:
                child = self.child()
            about["cold"] = child.calls == 0
            result = child.call(body, activation, seconds, about)
        except Failure as failure:
            # What the function raised has left its process as good as before.
            if child is not None and failure.record["kind"] in ("raised", "bad_result") and not child.is_broken:
                with self.lock:
                    self.idle.append(child)
            elif child is not None:
                child.end()
            failure.about = about
            raise
        except BaseException:
            if child is not None:
                child.end()
            raise
        with self.lock:
            self.idle.append(child)
        return result, about


class Child:
    def __init__(self, command, cwd, log_line, is_native):
        self.log_line, self.is_native = log_line, is_native
        self.activation, self.tail, self.calls, self.is_broken = None, b"", 0, True
        self.pending = bytearray()
        self.answers, theirs = os.pipe()
        descriptor = str(theirs)
        if is_native:
            command = [sys.executable, "-I", "-S", "-c", ON_DESCRIPTOR_3, descriptor] + command
        else:
            command = command + [descriptor]
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(theirs,),
                cwd=cwd,
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

    def call(self, body, activation, seconds, about):
        deadline = None if seconds is None else time.monotonic() + seconds
        self.drain_logs()
        self.activation, self.is_broken, self.tail = activation, True, b""
        if self.calls == 0 and not self.is_native:
            begin = time.monotonic()
            about["init_ms"] = self.ready(self.exchange(b"", deadline, seconds))
            about["ready_ms"] = (time.monotonic() - begin) * 1000.0
        self.calls += 1
        one_line = body.replace(b"\n", b" ").replace(b"\r", b" ")
        message = b'{"value":' + one_line + b',"activation_id":"' + activation.encode("ascii", "replace") + b'"}\n'
        line = self.exchange(message, deadline, seconds)
        self.drain_logs()
        for entry in self.logs.values():
            self.flush(entry)
        self.is_broken = False
        return self.native_result(line) if self.is_native else self.result(line)

    def exchange(self, message, deadline, seconds):
        """Writes a message and reads the next line of answers, and the log meanwhile."""
        left = memoryview(message)
        writing = bool(left)
        if writing:
            self.selector.register(self.process.stdin, selectors.EVENT_WRITE)
        while b"\n" not in self.pending:
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            events = self.selector.select(wait)
            if not events and wait == 0.0:
                raise Failure("timeout", "the function ran longer than %g seconds" % seconds)
            for key, _ in events:
                if key.fileobj is self.process.stdin:
                    left = self.write(left)
                    if not left:
                        self.selector.unregister(self.process.stdin)
                        writing = False
                elif key.fileobj == self.answers:
                    chunk = os.read(self.answers, 1 << 20)
                    if not chunk:
                        raise self.died()
                    self.pending += chunk
                    if len(self.pending) > MAX_LINE:
                        raise Failure("bad_result", "the result has more than %d bytes" % MAX_LINE)
                else:
                    self.read_log(key.fileobj)
        if writing:
            raise Failure("bad_result", "the function answered before it had read its argument")
        line, _, rest = bytes(self.pending).partition(b"\n")
        self.pending = bytearray(rest)
        return line

    def ready(self, line):
        about = json.loads(line)
        if "failure" in about:
            raise Failure.told(about["failure"])
        return about["ready"]

    def result(self, line):
        if line.startswith(OK):
            return line[len(OK) : -1]
        if line.startswith(FAILURE):
            raise Failure.told(json.loads(line)["failure"])
        raise Failure("bad_result", "the answer on descriptor 3 is not understood")

    def native_result(self, line):
        try:
            answer = json.loads(line)
        except ValueError:
            raise Failure("bad_result", "the answer on descriptor 3 is no JSON") from None
        if not isinstance(answer, dict):
            raise Failure("bad_result", "the answer on descriptor 3 is no JSON object")
        if "error" in answer:
            error = answer["error"]
            raise Failure("raised", error if isinstance(error, str) else json.dumps(error))
        return line.strip()

    def write(self, left):
        try:
            return left[os.write(self.process.stdin.fileno(), left[: 1 << 16]) :]
        except BlockingIOError:
            return left
        except BrokenPipeError:
            raise self.died() from None

    def read_log(self, stream):
        """False when there is nothing to read now."""
        try:
            chunk = os.read(stream.fileno(), 1 << 16)
        except BlockingIOError:
            return False
        if not chunk:
            if stream in self.selector.get_map():
                self.selector.unregister(stream)
            return False
        entry = self.logs[stream]
        if entry[0] == "stderr":
            self.tail = (self.tail + chunk)[-TAIL:]
        *lines, entry[1] = (entry[1] + chunk).split(b"\n")
        for line in lines:
            self.log_line(self.activation, entry[0], line.decode("utf-8", "replace"))
        if len(entry[1]) > MAX_LOG_LINE:
            self.flush(entry)
        return True

    def flush(self, entry):
        if entry[1]:
            self.log_line(self.activation, entry[0], entry[1].decode("utf-8", "replace"))
            entry[1] = b""

    def drain_logs(self):
        """What was written before the answer is in the pipes already."""
        for stream in self.logs:
            while self.read_log(stream):
                pass

    def died(self):
        try:
            status = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return Failure("crashed", "the function closed descriptor 3")
        self.drain_logs()
        trace = self.tail.decode("utf-8", "replace")
        if status == -signal.SIGKILL:
            message = "the function's process was killed, as it is when memory runs out"
            return Failure("out_of_memory", message, trace, status)
        return Failure("crashed", "the function's process ended", trace, status)

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.drain_logs()
        for entry in self.logs.values():
            self.flush(entry)
        self.selector.close()
        os.close(self.answers)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()
