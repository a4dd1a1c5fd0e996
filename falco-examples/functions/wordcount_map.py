import re
from collections import Counter

WORD = re.compile(rb"[a-z]+")


def main(args):
    # On bytes, lower() changes ASCII only: on text it would make an ASCII "k" of the Kelvin sign.
    words = Counter(WORD.findall(args["text"].encode().lower()))
    return {"counts": {word.decode(): count for word, count in words.items()}}
