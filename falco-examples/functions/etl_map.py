import csv
import os
from decimal import Decimal, InvalidOperation

GROUP, SUM = os.environ["ETL_GROUP_BY"], os.environ["ETL_SUM"]


def main(args):
    columns = next(csv.reader([args["header"]]))
    for name in (GROUP, SUM):
        if name not in columns:
            raise ValueError(f"there is no column {name!r} in {args['input'].url}; it has {', '.join(columns)}")
    group, value = columns.index(GROUP), columns.index(SUM)
    out = args["out"].combine(added)
    # Sums of decimals, as text: they are exact, whatever the splits.
    for row in csv.reader(args["input"].text()):
        if not row:
            continue  # an empty line
        try:
            out.emit(row[group], [1, str(Decimal(row[value]))])
        except (IndexError, InvalidOperation):
            raise ValueError(f"the row {row} in {args['input'].url} has no number in the column {SUM!r}") from None
    return {"out": out.close()}


def added(left, right):
    return [left[0] + right[0], str(Decimal(left[1]) + Decimal(right[1]))]
