import csv
import io
import os
from decimal import Decimal


def main(args):
    with args["out"] as out:
        write(out, [os.environ["ETL_GROUP_BY"], "count", "sum"])
        for group, values in args["in"].groups():
            count, total = 0, Decimal(0)
            for one, value in values:
                count, total = count + one, total + Decimal(value)
            write(out, [group, count, total])
    return {"out": out.close()}


def write(out, row):
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row)
    out.write(line.getvalue().encode())
