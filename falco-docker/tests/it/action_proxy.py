"""A runtime of OpenWhisk's for the tests: `POST /init` takes the code, `POST /run` runs it, as the proxies of Python, Go and
Node.js do. Its answers are those of the contract (6.1 to 6.6)."""

import base64
import http.server
import io
import json
import os
import subprocess
import sys
import threading
import zipfile

ROOT = "/action/1"
LAUNCHERS = os.path.dirname(os.path.abspath(__file__))
END = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
child = answers = None
is_node = False
lock = threading.Lock()


class Refused(Exception):
    pass


def unpack(code):
    os.makedirs(ROOT)
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        for info in archive.infolist():
            path = archive.extract(info, ROOT)
            os.chmod(path, (info.external_attr >> 16) & 0o777 or 0o644)


def command(main):
    global is_node
    if os.path.exists(ROOT + "/exec"):
        if open(ROOT + "/exec.env").read() != os.environ["OW_EXECUTION_ENV"]:
            raise Refused("The action failed to generate or locate a binary. See logs for details.")
        return [ROOT + "/exec"]
    if os.path.exists(ROOT + "/__main__.py"):
        os.rename(ROOT + "/__main__.py", ROOT + "/main__.py")
        return ["python3", LAUNCHERS + "/launcher.py", main]
    is_node = True
    return ["node", LAUNCHERS + "/launcher.js", main]


def init(value):
    global child, answers
    if child is not None:
        raise Refused("Cannot initialize the action more than once.")
    unpack(base64.b64decode(value["code"]))
    start = command(value["main"])
    requests, (readable, writable) = os.pipe(), os.pipe()
    # The shell moves the descriptors: requests to 0, or to 4 for Node.js; answers to 3.
    stdin = "4<&%d 0</dev/null" if is_node else "0<&%d"
    moved = "exec \"$@\" " + stdin % requests[0] + " 3>&%d" % writable
    environment = {"__OW_WAIT_FOR_ACK": "1", "__OW_API_HOST": "", "PYTHONIOENCODING": "UTF-8", **value.get("env", {})}
    for name in ("PATH", "LANG"):
        environment.setdefault(name, os.environ.get(name, ""))
    child = subprocess.Popen(["sh", "-c", moved, "sh"] + start, cwd=ROOT, env=environment, pass_fds=(requests[0], writable))
    os.close(requests[0])
    os.close(writable)
    child.requests = os.fdopen(requests[1], "wb", 0)
    answers = os.fdopen(readable, "rb")
    try:
        acknowledged = json.loads(answers.readline()).get("ok") is True
    except ValueError:
        acknowledged = False
    if not acknowledged:
        raise Refused("Cannot start action. Check logs for details.")
    return b'{"ok":true}'


def run(body):
    try:
        child.requests.write(body.replace(b"\n", b" ") + b"\n")
        line = answers.readline()
    except OSError:
        line = b""
    finally:
        for log in (1, 2):
            os.write(log, END)
    if not line:
        raise Refused("command exited" if not is_node else "The action did not produce a valid response and exited unexpectedly.")
    if is_node:
        answer = json.loads(line)
        if "failure" in answer:
            raise Refused(answer["failure"])
        return json.dumps(answer["result"], ensure_ascii=False).encode()
    try:
        passes = json.loads(line) is None or line.lstrip()[:1] in (b"{", b"[")
    except ValueError:
        passes = False
    if not passes:
        raise Refused("The action did not return a dictionary or array.")
    return line.strip()


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        with lock:
            try:
                status, answer = 200, init(json.loads(body)["value"]) if self.path == "/init" else run(body)
            except Refused as refused:
                status, answer = 502, json.dumps({"error": str(refused)}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


sys.stdout.flush()
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Proxy).serve_forever()
