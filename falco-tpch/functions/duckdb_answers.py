"""The answers of DuckDB: queries come as JSON on stdin, each with its tables; answers with their times go to stdout."""

import json
import resource
import sys
import time
from datetime import date
from decimal import Decimal

import duckdb


def cell(value):
    if isinstance(value, Decimal):
        # Sums of whole numbers are decimals as well.
        return int(value) if value.as_tuple().exponent == 0 else str(value)
    return value.isoformat() if isinstance(value, date) else value


def processor_time():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


folder, threads = sys.argv[1:]
answers = []
for tables, sql in json.load(sys.stdin):
    with duckdb.connect(config={"threads": int(threads)}) as database:
        for table in tables:
            database.execute(f"CREATE VIEW {table} AS FROM '{folder}/{table}/*.parquet'")
        cpu, wall = processor_time(), time.monotonic()
        found = database.execute(sql)
        names = [name for name, *_ in found.description]
        rows = [[cell(value) for value in row] for row in found.fetchall()]
        cpu, wall = processor_time() - cpu, time.monotonic() - wall
        answers.append({"columns": names, "rows": rows, "cpu_s": cpu, "wall_s": wall})
print(json.dumps(answers))
