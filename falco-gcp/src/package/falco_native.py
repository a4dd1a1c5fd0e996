"""Native functions: executables that speak OpenWhisk's ActionLoop, started from the archive and kept warm.

An executable reads one JSON line per call on its standard input, with the argument under "value", and writes one JSON
line per result on descriptor 3. What it writes on descriptors 1 and 2 is its log.
"""

import json
import os
import selectors
import shutil
import subprocess
import tempfile
import threading

# The answer's line may be as long as the longest result, and a little more for its envelope.
MAX_LINE = 33 * 1024 * 1024
MAX_LOG_LINE = 64 * 1024
TAIL = 4096


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

    def __init__(self, path, log_line, failure):
        self.path, self.log_line, self.failure = startable(path), log_line, failure
        self.lock, self.idle = threading.Lock(), []

    def run(self, body, activation):
        with self.lock:
            child = self.idle.pop() if self.idle else None
        if child is None:
            child = Child(self.path, self.log_line, self.failure)
        try:
            answer = child.call(body, activation)
        except BaseException:
            child.end()
            raise
        with self.lock:
            self.idle.append(child)
        return self.checked(answer)

    def checked(self, line):
        try:
            answer = json.loads(line)
        except ValueError:
            raise self.failure("bad_result", "the answer on descriptor 3 is no JSON") from None
        if not isinstance(answer, dict):
            raise self.failure("bad_result", "the answer on descriptor 3 is no JSON object")
        if set(answer) == {"error"}:
            error = answer["error"]
            raise self.failure("raised", error if isinstance(error, str) else json.dumps(error))
        return line.strip()


class Child:
    def __init__(self, path, log_line, failure):
        self.log_line, self.failure = log_line, failure
        self.activation, self.tail = None, b""
        self.answers, theirs = os.pipe()
        try:
            self.process = subprocess.Popen(
                # The shell puts the answers on descriptor 3 and is replaced by the executable.
                ["/bin/sh", "-c", 'exec 3>&%d %d>&-; exec "$0"' % (theirs, theirs) if theirs != 3 else 'exec "$0"', path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(theirs,),
                cwd=os.path.dirname(path),
                bufsize=0,
            )
        except OSError as error:
            os.close(self.answers)
            raise failure("initialization", "the executable cannot be started: %s" % error) from None
        finally:
            os.close(theirs)
        self.selector = selectors.DefaultSelector()
        self.logs = {self.process.stdout: ["stdout", b""], self.process.stderr: ["stderr", b""]}
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            os.set_blocking(stream.fileno(), False)
        os.set_blocking(self.answers, False)
        for stream in (self.answers, self.process.stdout, self.process.stderr):
            self.selector.register(stream, selectors.EVENT_READ)

    def call(self, body, activation):
        self.drain_logs()
        self.activation = activation
        envelope = b'{"value":' + body.replace(b"\n", b" ").replace(b"\r", b" ")
        left = memoryview(envelope + b',"activation_id":"' + activation.encode("ascii", "replace") + b'"}\n')
        answer = bytearray()
        self.selector.register(self.process.stdin, selectors.EVENT_WRITE)
        writing = True
        while b"\n" not in answer:
            for key, _ in self.selector.select():
                if key.fileobj is self.process.stdin:
                    left = self.write(left)
                    if not left:
                        self.selector.unregister(self.process.stdin)
                        writing = False
                elif key.fileobj == self.answers:
                    chunk = os.read(self.answers, 65536)
                    if not chunk:
                        raise self.died()
                    answer += chunk
                    if len(answer) > MAX_LINE:
                        raise self.failure("bad_result", "the answer has more than %d bytes" % MAX_LINE)
                else:
                    self.read_log(key.fileobj)
        if writing:
            self.selector.unregister(self.process.stdin)
            raise self.failure("bad_result", "the executable answered before it had read its argument")
        self.drain_logs()
        for name, entry in self.logs.items():
            self.flush(entry)
        return bytes(answer[: answer.index(b"\n")])

    def write(self, left):
        try:
            return left[os.write(self.process.stdin.fileno(), left[:65536]) :]
        except BlockingIOError:
            return left
        except BrokenPipeError:
            raise self.died() from None

    def read_log(self, stream):
        """False when there is nothing to read now."""
        try:
            chunk = os.read(stream.fileno(), 65536)
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
            status = None
        self.drain_logs()
        message = "the executable closed descriptor 3" if status is None else "the executable ended"
        trace = self.tail.decode("utf-8", "replace") or None
        return self.failure("crashed", message, trace=trace, exit_status=status)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.drain_logs()
        for entry in self.logs.values():
            self.flush(entry)
        self.selector.close()
        os.close(self.answers)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()
