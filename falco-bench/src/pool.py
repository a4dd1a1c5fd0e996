"""The floor of the word count: Python's own process pool, with the same function and the same chunks.

usage: pool.py FOLDER CHUNK_BYTES WORKERS; prints the ten most frequent words.
"""

import multiprocessing
import os
import re
import sys
from collections import Counter

WORD = re.compile(rb"[a-z]+")


def count(text):
    return Counter(WORD.findall(text.lower()))


def chunks(folder, size):
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            rest = b""
            while block := file.read(size - len(rest)):
                rest += block
                end = rest.rfind(b"\n") + 1
                if len(rest) < size or end == 0:
                    continue
                yield rest[:end]
                rest = rest[end:]
            if rest:
                yield rest


def main():
    folder, size, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    totals = Counter()
    with multiprocessing.Pool(workers) as pool:
        for counts in pool.imap(count, chunks(folder, size)):
            totals.update(counts)
    for word, number in sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:10]:
        print(number, word.decode())


if __name__ == "__main__":
    main()
