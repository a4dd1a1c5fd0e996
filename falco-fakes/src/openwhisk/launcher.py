"""What OpenWhisk's Python runtime starts: JSON lines in on 0, JSON lines out on 3."""
import json
import os
import sys
import traceback
from sys import stdin

sys.path.insert(0, os.getcwd())
module = __import__("main__")
main = getattr(module, sys.argv[1])
out = os.fdopen(3, "wb")
if os.getenv("__OW_WAIT_FOR_ACK"):
    out.write(b'{"ok": true}\n')
    out.flush()
while True:
    line = stdin.readline()
    if not line:
        break
    request = json.loads(line)
    payload = {}
    for key, value in request.items():
        if key == "value":
            payload = value
        else:
            os.environ["__OW_" + key.upper()] = str(value)
    try:
        result = main(payload)
    except Exception as exception:
        traceback.print_exc(file=sys.stderr)
        result = {"error": str(exception)}
    out.write(json.dumps(result, ensure_ascii=False).encode("utf-8"))
    out.write(b"\n")
    sys.stdout.flush()
    sys.stderr.flush()
    out.flush()
