import time


def main(args):
    do = args["do"]
    if do == "read":
        return {"text": args["input"].read().decode()}
    if do == "read_late":
        until = args["input"].references[0]["until"]
        while time.time() <= until + 1:
            time.sleep(0.02)
        return {"text": args["input"].read().decode()}
    if do == "write":
        with args["out"] as out:
            out.write(args["text"].encode())
        return {"out": out.close()}
    if do == "count":
        out = args["out"]
        for line in args["input"].lines():
            for word in line.split():
                out.emit(word.decode(), 1)
        return {"out": out.close()}
    if do == "total":
        return {"counts": {key: sum(values) for key, values in args["in"].groups()}}
    if do == "repeat":
        return {"text": args["text"] * args["times"], "exact": args["exact"]}
    if do == "all":
        text = args["input"].read().decode()
        with args["out"] as out:
            out.write(text.encode())
        return {"out": out.close(), "text": text + args["text"]}
    raise ValueError("the suite does not know %r" % do)
