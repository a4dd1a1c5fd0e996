#!/usr/bin/env python3
import json
import os
import subprocess
import sys
import time

ANSWERS = {
    "object": '{"a":1,"b":{"c":[true,null,1.5,"ä€😀\\n"]}}',
    "empty": "{}",
    "huge_integer": '{"value":123456789012345678901234567890}',
    "list": '[{"error":1}]',
    "string": '"text"',
    "null": "null",
    "not_json": "Segmentation fault",
    "nan": '{"rows":[1.0,NaN]}',
    "half_value": r'{"value":["\ud83d"]}',
    "half_key": r'{"\ud83d":1}',
    "error_text": '{"rows":3,"error":"no rows"}',
    "error_null": '{"rows":3,"error":null}',
    "error_object": '{"error":{"name":"NoRows","message":"no rows","stack":"in the cellar"}}',
    "error_half": r'{"rows":3,"error":"not a picture: \ud83d"}',
    "error_number": '{"error":{"code":7}}',
    "error_escaped": r'{"\u0065rror":"no rows"}',
}

for line in sys.stdin.buffer:
    envelope = json.loads(line)
    args = envelope["value"]
    name = args["case"]
    answer = ANSWERS.get(name, "{}")
    if name == "separators":
        answer = json.dumps({"text": args["text"], "length": len(args["text"])}, ensure_ascii=False)
    elif name == "big":
        answer = '{"value":"%s"}' % ("x" * args["length"])
    elif name == "slow":
        time.sleep(0.02)
        answer = '{"n":%d}' % args["n"]
    elif name == "trace":
        # Where OpenWhisk passes it on.
        answer = json.dumps({"trace": envelope.get("traceparent") or envelope.get("transaction_id")})
    elif name == "print_endlessly":
        while True:
            print("line " * 20, flush=True)
            print("line " * 20, file=sys.stderr, flush=True)
    elif name == "exit_at_once":
        os._exit(3)
    elif name == "die_later":
        subprocess.Popen(["/bin/sh", "-c", "sleep 0.3; kill -9 %d" % os.getpid()], start_new_session=True)
    data = memoryview(answer.encode() + b"\n")
    while data:
        data = data[os.write(3, data) :]
