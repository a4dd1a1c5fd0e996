"""The work that all contenders do: each function takes one dictionary and returns one.

Falco sends this very text as the source of its function, with a `main` after it; the peers import it.
"""

import re
import time

WORD = re.compile(rb"[a-z]+")
MASK = (1 << 64) - 1


def noop(args):
    return args


def sleep(args):
    time.sleep(0.01)
    return args


def warm(args):
    time.sleep(args["warm"])
    return {}


def pi(args):
    state, hits = args["seed"], 0
    for _ in range(args["samples"]):
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK
        x, y = state >> 48, (state >> 32) & 0xFFFF
        hits += x * x + y * y < 1 << 32
    return {"hits": hits}


def split(args):
    with open(args["path"], "rb") as file:
        file.seek(args["first"])
        return file.read(args["last"] - args["first"])


def words(args):
    counts = {}
    for word in WORD.findall(split(args).lower()):
        counts[word] = counts.get(word, 0) + 1
    return {"counts": {word.decode(): count for word, count in counts.items()}}


def sales(args):
    groups = {}
    for line in split(args).splitlines():
        _, country, _, quantity, cents, _ = line.split(b",")
        group = groups.get(country)
        if group is None:
            group = groups[country] = [0, 0]
        group[0] += 1
        group[1] += int(quantity) * int(cents)
    return {"groups": {country.decode(): group for country, group in groups.items()}}


def brittle(args):
    if args["i"] % 1000 == 500:
        raise ValueError("this row cannot be read")
    return args


def combine(work, results):
    """The answer, from all results."""
    if work == "pi":
        return sum(result["hits"] for result in results)
    if work == "words":
        totals = {}
        for result in results:
            for word, count in result["counts"].items():
                totals[word] = totals.get(word, 0) + count
        return totals
    if work == "sales":
        totals = {}
        for result in results:
            for country, (rows, cents) in result["groups"].items():
                group = totals.setdefault(country, [0, 0])
                group[0] += rows
                group[1] += cents
        return totals
    numbers = [result["i"] for result in results]
    return [len(numbers), sum(numbers)]
