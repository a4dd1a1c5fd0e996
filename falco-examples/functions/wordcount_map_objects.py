import re
from collections import Counter
from operator import add

WORD = re.compile(rb"[a-z]+")


def main(args):
    out, counts = args["out"].combine(add), Counter()
    for line in args["input"].lines():
        counts.update(WORD.findall(line.lower()))
        if len(counts) > 100_000:
            emit(out, counts)
    emit(out, counts)
    return {"out": out.close()}


def emit(out, counts):
    for word, count in counts.items():
        out.emit(word.decode(), count)
    counts.clear()
