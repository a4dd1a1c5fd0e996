"""Where Google's Functions Framework enters a function that Falco deployed.

The framework calls handler(request) for each request. It calls the user's main(args), or the executable of a native
function, and answers with a record: the result or the error, the times, and what is known of the instance. A request
of Cloud Tasks, whose answers are thrown away, stores the record as an object in Cloud Storage.
"""

import contextvars
import importlib.util
import io
import json
import math
import os
import sys
import threading
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
import uuid

try:
    import resource
except ImportError:  # not on Windows, where only tests would run
    resource = None

STARTED = time.monotonic()
HERE = os.path.dirname(os.path.abspath(__file__))
FUNCTION = os.path.join(HERE, "function")
INSTANCE = uuid.uuid4().hex
MAX_RESULT = 32 * 1024 * 1024
STDOUT = sys.stdout

# ---- logs -----------------------------------------------------------------------------------------------------------

current = contextvars.ContextVar("activation", default=None)
active = set()
log_lock = threading.Lock()


def log_line(activation, stream, text):
    """One line of Cloud Logging, labelled so that a filter finds it by its activation."""
    line = {
        "severity": "INFO" if stream == "stdout" else "ERROR",
        "message": text,
        "logging.googleapis.com/labels": {"falco_activation": activation or "", "falco_stream": stream},
    }
    if activation:
        line["logging.googleapis.com/trace"] = activation
    with log_lock:
        STDOUT.write(json.dumps(line) + "\n")
        STDOUT.flush()


class LogStream(io.TextIOBase):
    """What the function prints, cut into labelled lines."""

    encoding = "utf-8"

    def __init__(self, name):
        self.name = name
        self.partial = {}
        self.buffer = BinaryLogStream(self)

    def writable(self):
        return True

    def write(self, text):
        activation = current.get()
        if activation is None and len(active) == 1:  # a thread that the function started
            activation = next(iter(active), None)
        with log_lock:
            *lines, rest = (self.partial.pop(activation, "") + text).split("\n")
            if rest:
                self.partial[activation] = rest
        for line in lines:
            log_line(activation, self.name, line)
        return len(text)

    def end(self, activation):
        with log_lock:
            rest = self.partial.pop(activation, None)
        if rest:
            log_line(activation, self.name, rest)


class BinaryLogStream(io.RawIOBase):
    """sys.stdout.buffer, for functions that print bytes."""

    def __init__(self, text):
        self.text = text

    def writable(self):
        return True

    def write(self, data):
        self.text.write(bytes(data).decode("utf-8", "replace"))
        return len(data)


# ---- the function ---------------------------------------------------------------------------------------------------


class Failure(Exception):
    """A function error of a kind that Falco knows."""

    def __init__(self, kind, message, error_type=None, trace=None, exit_status=None):
        super().__init__(message)
        self.record = {"kind": kind, "message": message}
        for name, value in (("error_type", error_type), ("trace", trace), ("exit_status", exit_status)):
            if value is not None:
                self.record[name] = value


def described(kind, error):
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return Failure(kind, str(error) or type(error).__name__, type(error).__name__, trace[-16384:])


def load_python(entry):
    sys.path.insert(0, FUNCTION)
    for directory, _, _ in os.walk(os.path.join(FUNCTION, "virtualenv", "lib")):
        if os.path.basename(directory) == "site-packages":
            sys.path.insert(1, directory)
    os.chdir(FUNCTION)
    spec = importlib.util.spec_from_file_location("falco_function", os.path.join(FUNCTION, "__main__.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["falco_function"] = module
    spec.loader.exec_module(module)
    function = getattr(module, entry, None)
    if not callable(function):
        raise Failure("initialization", "the function's module has no function %r" % entry)
    return function


def load():
    with open(os.path.join(HERE, "falco.json"), encoding="utf-8") as file:
        manifest = json.load(file)
    if manifest["kind"] == "native":
        from falco_native import Pool

        return Pool(os.path.join(FUNCTION, "exec"), log_line, Failure)
    return load_python(manifest["entry"])


def encoded(result):
    if not isinstance(result, dict):
        raise Failure("bad_result", "the result is no JSON object but a %s" % type(result).__name__)
    try:
        text = json.dumps(result, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise Failure("bad_result", "the result has no JSON form: %s" % error) from None
    return text


sys.stdout, sys.stderr = LogStream("stdout"), LogStream("stderr")
function, load_failure = None, None
try:
    function = load()
except Failure as failure:
    load_failure = failure
except BaseException as error:  # also SystemExit: the instance stays, and each call says why it is of no use
    load_failure = described("initialization", error)
INIT_MS = (time.monotonic() - STARTED) * 1000.0
first_call = threading.Lock()


def run(body, activation):
    """The result as bytes of JSON, or a Failure."""
    if load_failure is not None:
        raise load_failure
    if hasattr(function, "run"):
        result = function.run(body, activation)
    else:
        try:
            args = json.loads(body)
        except ValueError as error:
            raise Failure("raised", "the argument is no JSON: %s" % error) from None
        try:
            result = encoded(function(args))
        except Failure:
            raise
        except BaseException as error:  # sys.exit() must not end the instance
            failure = described("raised", error)
            sys.stderr.write(failure.record["trace"])
            raise failure from None
    if len(result) > MAX_RESULT:
        raise Failure("bad_result", "the result has %d bytes, and %d are allowed" % (len(result), MAX_RESULT))
    return result


def record(activation, body):
    """Runs the function and describes the run: a JSON object as bytes."""
    cold = first_call.acquire(blocking=False)
    token = current.set(activation)
    active.add(activation)
    about = {"falco": 1, "id": activation, "instance": INSTANCE, "cold": cold}
    if cold:
        about["init_ms"] = round(INIT_MS, 3)
    result = None
    about["started_ms"], begin = round(time.time() * 1000.0, 3), time.monotonic()
    try:
        result = run(body, activation)
    except Failure as failure:
        about["error"] = failure.record
    about["execution_ms"] = round((time.monotonic() - begin) * 1000.0, 3)
    sys.stdout.end(activation)
    sys.stderr.end(activation)
    active.discard(activation)
    current.reset(token)
    about["revision"] = os.environ.get("K_REVISION")
    if resource is not None:
        about["memory_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = json.dumps(about).encode("utf-8")
    return text if result is None else text[:-1] + b', "result": ' + result + b"}"


# ---- results of submitted calls -------------------------------------------------------------------------------------

BUCKET = os.environ.get("FALCO_BUCKET")
PREFIX = os.environ.get("FALCO_PREFIX", "")
STORAGE = os.environ.get("FALCO_STORAGE", "https://storage.googleapis.com/").rstrip("/")
METADATA = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
storage_token = (None, 0.0)


def token():
    global storage_token
    value, until = storage_token
    if time.monotonic() >= until:
        request = urllib.request.Request(
            "http://%s/computeMetadata/v1/instance/service-accounts/default/token" % METADATA,
            headers={"Metadata-Flavor": "Google"},
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            granted = json.load(reply)
        value = granted["access_token"]
        storage_token = (value, time.monotonic() + max(0, int(granted["expires_in"]) - 60))
    return value


def store(name, content):
    """Stores an object unless it is there already. Says whether it is new."""
    query = urllib.parse.urlencode({"uploadType": "media", "name": PREFIX + name, "ifGenerationMatch": "0"})
    url = "%s/upload/storage/v1/b/%s/o?%s" % (STORAGE, BUCKET, query)
    for attempt in range(6):
        try:
            headers = {"Authorization": "Bearer " + token(), "Content-Type": "application/json"}
            request = urllib.request.Request(url, data=content, headers=headers, method="POST")
            with urllib.request.urlopen(request, timeout=60):
                return True
        except urllib.error.HTTPError as error:
            if error.code == 412:
                return False
            if attempt == 5 or error.code not in (408, 429, 500, 502, 503, 504):
                raise
        except (urllib.error.URLError, OSError):
            if attempt == 5:
                raise
        time.sleep(0.5 * 2**attempt)


def give_up(activation, seconds):
    """Google ends a call that runs too long without a word, and its queue would call again."""
    error = {"kind": "timeout", "message": "the function ran longer than %g seconds" % seconds}
    about = {"falco": 1, "id": activation, "instance": INSTANCE, "cold": False, "error": error}
    try:
        store("results/%s.json" % activation, json.dumps(about).encode("utf-8"))
    except Exception as failure:
        log_line(activation, "stderr", "falco: the time-out cannot be stored: %s" % failure)


def submitted(headers, activation, body):
    try:
        if headers.get("X-Falco-Once") and not store("claims/%s" % activation, b"{}"):
            return "the call runs or has run already"
        seconds = float(headers.get("X-Falco-Timeout") or math.inf)
        watchdog = threading.Timer(min(seconds * 0.97, 1e6), give_up, (activation, seconds))
        watchdog.daemon = True
        watchdog.start()
        try:
            result = record(activation, body)
        finally:
            watchdog.cancel()
        store("results/%s.json" % activation, result)
        return "stored"
    except Exception as error:
        log_line(activation, "stderr", "falco: the result cannot be stored: %s" % error)
        raise


def probe():
    """Says whether this function is reached, and whether it can store results."""
    about = {"falco": 1, "probe": True}
    if BUCKET:
        try:
            store("probe/%s" % uuid.uuid4().hex, b"{}")
        except Exception as error:
            about["storage"] = str(error)
    return about


def handler(request):
    headers = request.headers
    reply = {"Content-Type": "application/json"}
    if headers.get("X-Falco-Probe"):
        return json.dumps(probe()), 200, reply
    activation = headers.get("X-Falco-Activation") or uuid.uuid4().hex
    body = request.get_data()
    if headers.get("X-Falco-Store"):
        return submitted(headers, activation, body), 200, {"Content-Type": "text/plain"}
    return record(activation, body), 200, reply
