"""Where Google's Functions Framework enters a function that Falco deployed.

The framework calls handler(request) for each request. It has the function run by a warm process, and answers with a
record: the result or the error, the times, and what is known of the instance. A request of Cloud Tasks, whose answers
are thrown away, stores the record as an object in Cloud Storage.
"""

import http.client
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from falco_pool import Failure, Native, Pool, Shim  # noqa: E402

FUNCTION = os.path.join(HERE, "function")
INSTANCE = uuid.uuid4().hex
BOOTED_MS = round(time.time() * 1000.0)
MAX_RESULT = 32 * 1024 * 1024
# What the shim writes around a result.
MAX_ENVELOPE = 64
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
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


with open(os.path.join(HERE, "falco.json"), encoding="utf-8") as file:
    manifest = json.load(file)


def program():
    if manifest["kind"] == "native":
        return Native(os.path.join(FUNCTION, "exec"), manifest["entry"])
    return Shim(os.path.join(HERE, "falco_shim.py"), FUNCTION, manifest["entry"])


processes = Pool(program(), FUNCTION, log_line, manifest["start"])
# The framework loads this file in one process and serves in a copy of it. A process that the first one had started would
# not be the copy's own: it could neither wait for it nor learn how it ended.
os.register_at_fork(after_in_child=processes.warm_up)


def record(headers, activation, body, is_stored=False):
    """Runs the function and describes the run: a JSON object on one line, then the function's answer as it came."""
    seconds = headers.get("X-Falco-Timeout")
    seconds = float(seconds) if seconds else None
    record = {"falco": 1, "id": activation, "instance": INSTANCE, "revision": os.environ.get("K_REVISION")}
    record["boot_ms"] = BOOTED_MS
    if is_stored:
        record["stored_argument"] = True
    about = {"cold": True, "init_ms": None, "ready_ms": 0.0}
    answer = b""
    started, begin = time.time(), time.monotonic()
    try:
        answered, answer = processes.run(body, activation, headers.get("traceparent"), seconds, about)
        if len(answer) > MAX_RESULT + MAX_ENVELOPE:
            message = "the result has %d bytes, and %d are allowed" % (len(answer), MAX_RESULT)
            record["error"], answer = {"kind": "bad_result", "message": message}, b""
        else:
            record["answered"], record["bytes"] = answered, len(answer)
    except Failure as failure:
        record["error"] = failure.record
    execution_ms = (time.monotonic() - begin) * 1000.0 - about["ready_ms"]
    init_ms = about["init_ms"] or 0.0
    record["cold"] = about["cold"]
    record["started_ms"] = round(started * 1000.0 + about["ready_ms"] - init_ms, 3)
    record["execution_ms"] = round(execution_ms, 3)
    if init_ms:
        record["init_ms"] = init_ms
    if about.get("runtime"):
        record["runtime"] = about["runtime"]
    record["memory_kib"] = peak_memory()
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n" + answer


def peak_memory():
    """What the instance has used at most, in KiB, by its control group."""
    try:
        with open("/sys/fs/cgroup/memory.peak", encoding="ascii") as file:
            return int(file.read()) // 1024
    except (OSError, ValueError):
        return None


# ---- results of submitted calls -------------------------------------------------------------------------------------

BUCKET = os.environ.get("FALCO_BUCKET")
PREFIX = os.environ.get("FALCO_PREFIX", "")
STORAGE = os.environ.get("FALCO_STORAGE", "https://storage.googleapis.com/").rstrip("/")
METADATA = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
TRIES = 6
PASSING = (408, 429, 500, 502, 503, 504)
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
    for attempt in range(1, TRIES + 1):
        try:
            headers = {"Authorization": "Bearer " + token(), "Content-Type": "application/json"}
            request = urllib.request.Request(url, data=content, headers=headers, method="POST")
            with urllib.request.urlopen(request, timeout=60):
                return True
        except urllib.error.HTTPError as error:
            if error.code == 412:
                return False
            if attempt == TRIES or error.code not in PASSING:
                raise
        except (OSError, http.client.HTTPException):
            if attempt == TRIES:
                raise
        time.sleep(0.25 * 2**attempt)


def fetch(name):
    """What an object holds; None when there is none."""
    name = urllib.parse.quote(PREFIX + name, safe="")
    url = "%s/storage/v1/b/%s/o/%s?alt=media" % (STORAGE, BUCKET, name)
    for attempt in range(1, TRIES + 1):
        try:
            request = urllib.request.Request(url, headers={"Authorization": "Bearer " + token()})
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.read()
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            if attempt == TRIES or error.code not in PASSING:
                raise
        except (OSError, http.client.HTTPException):
            if attempt == TRIES:
                raise
        time.sleep(0.25 * 2**attempt)


def submitted(headers, activation, body):
    """Google's queue calls again after anything but a 2xx: the record of a function that failed is stored as well."""
    try:
        is_stored = bool(headers.get("X-Falco-Argument"))
        if is_stored:
            # Before the claim: a call that has claimed is not called again.
            body = fetch("arguments/%s.json" % activation)
            if body is None:
                return "the call is done with or given up"
        if headers.get("X-Falco-Once") and not store("claims/%s" % activation, b"{}"):
            return "the call runs or has run already"
        store("results/%s.json" % activation, record(headers, activation, body, is_stored))
        return "stored"
    except Exception as error:
        log_line(activation, "stderr", "falco: the result cannot be stored: %s" % error)
        raise


def probe():
    """Says whether this function is reached, and whether it can store results and read arguments."""
    about = {"falco": 1, "probe": True}
    if BUCKET:
        try:
            name = "probe/%s" % uuid.uuid4().hex
            store(name, b"{}")
            fetch(name)
        except Exception as error:
            about["storage"] = str(error)
    return about


def handler(request):
    headers = request.headers
    if headers.get("X-Falco-Probe"):
        return json.dumps(probe()), 200, {"Content-Type": "application/json"}
    activation = headers.get("X-Falco-Activation") or uuid.uuid4().hex
    body = request.get_data()
    if headers.get("X-Falco-Store"):
        return submitted(headers, activation, body), 200, {"Content-Type": "text/plain"}
    return record(headers, activation, body), 200, {"Content-Type": "application/octet-stream"}
