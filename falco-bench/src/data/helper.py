"""Prints how many pairs a second the helper emits and groups, and the processor time of both together."""

import os
import sys
import time

import falco_data

lines, folder = sys.argv[1:]
partitions, mappers, memory = 16, 4, 1 << 30
with open(lines, encoding="ascii") as file:
    pairs = [(key, int(number)) for key, number in (line.split("\t") for line in file)]
objects, began = [], time.process_time()
for mapper in range(mappers):
    path = os.path.join(folder, "mapper-%d" % mapper)
    target = {"url": path, "put": "file://" + path, "partitions": partitions}
    out = falco_data.Output(target, memory)
    emit = out.emit
    for key, number in pairs[mapper::mappers]:
        emit(key, number)
    objects.append(out.close()["falco:object"])
emitted = time.process_time()
total = count = 0
for partition in range(partitions):
    parts = []
    for it in objects:
        first = sum(it["parts"][:partition])
        parts.append([os.path.basename(it["url"]), "", first, first + it["parts"][partition]])
    group = {"head": "file://" + folder + "/", "mid": "", "tail": "", "parts": parts}
    for key, values in falco_data.Parts({"groups": [group]}, memory).groups():
        for value in values:
            total += value
            count += 1
ended = time.process_time()
assert count == len(pairs) and total == sum(number for _, number in pairs)
print(count / (emitted - began), count / (ended - emitted), ended - began)
