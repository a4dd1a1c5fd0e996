"""Counts words of a file with multiprocessing.Pool: the same splits, the same pattern, no shuffle."""

import re
import sys
from collections import Counter
from multiprocessing import Pool

WORD = re.compile(rb"[a-z]+")


def count(split):
    path, first, last = split
    counts = Counter()
    with open(path, "rb") as file:
        file.seek(first)
        for line in file.read(last - first).splitlines():
            counts.update(WORD.findall(line.lower()))
    return counts


def splits(path, size):
    first = 0
    with open(path, "rb") as file:
        end = file.seek(0, 2)
        while first < end:
            file.seek(min(first + size, end))
            file.readline()
            last = file.tell()
            yield path, first, last
            first = last


if __name__ == "__main__":
    path, size, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    total = Counter()
    with Pool(workers) as pool:
        for counts in pool.imap_unordered(count, splits(path, size)):
            total.update(counts)
    print(sum(total.values()))
