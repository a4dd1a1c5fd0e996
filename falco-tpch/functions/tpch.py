"""Queries 1, 6 and 12 of TPC-H: DuckDB in every function, over whole files of Parquet or CSV."""

import os
import tempfile
from contextlib import contextmanager
from decimal import Decimal
from urllib.parse import unquote


# CSV does not say that these are decimals, whose sums are exact.
LINEITEM = "l_quantity l_extendedprice l_discount l_tax".split()


def extension(source):
    return ".csv" if getattr(source, "url", "").endswith(".csv") else ".parquet"


def reader(source, decimals=()):
    """The table function for an object, whose argument is its path."""
    if extension(source) == ".parquet":
        return "read_parquet(?)"
    types = ", ".join(f"'{name}': 'DECIMAL(15,2)'" for name in decimals)
    return f"read_csv(?, header = true, types = {{{types}}})" if types else "read_csv(?, header = true)"


@contextmanager
def local(source):
    """The path of an object, or of bytes: what is in a folder is read where it is."""
    url = getattr(source, "url", "")
    if url.startswith("file://"):
        yield unquote(url[len("file://") :])
        return
    with tempfile.NamedTemporaryFile(suffix=extension(source)) as file:
        file.write(source if isinstance(source, bytes) else source.read())
        file.flush()
        yield file.name


def connect():
    """One thread: a platform gives a function one processor, and runs many of them."""
    # Not at the top: the last stage of a query needs none.
    import duckdb

    return duckdb.connect(config={"threads": 1})


def rows(source, sql):
    """The rows of a query of `lineitem`, which it names `source`."""
    sql = sql.replace("FROM source", f"FROM {reader(source, LINEITEM)}")
    with local(source) as path, connect() as database:
        return database.execute(sql, [path]).fetchall()


def answer(columns, found):
    return {"columns": columns.split(), "rows": [list(row) for row in found]}


def q6_scan(args):
    sql = """SELECT sum(l_extendedprice * l_discount) FROM source
             WHERE l_shipdate >= DATE '1994-01-01' AND l_shipdate < DATE '1995-01-01'
               AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24"""
    ((revenue,),) = rows(args["input"], sql)
    return {"revenue": str(revenue or 0)}


def q6_answer(args):
    revenue = sum((Decimal(part["revenue"]) for part in args["results"]), Decimal("0.0000"))
    return answer("revenue", [[str(revenue)]])


def q1_scan(args):
    sql = """SELECT l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice),
                    sum(l_extendedprice * (1 - l_discount)), sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)),
                    sum(l_discount), count(*)
             FROM source WHERE l_shipdate <= DATE '1998-12-01' - INTERVAL 90 DAY GROUP BY ALL"""
    return {"groups": [[flag, status, *map(str, sums)] for flag, status, *sums in rows(args["input"], sql)]}


def q1_answer(args):
    groups = {}
    for part in args["results"]:
        for flag, status, *sums in part["groups"]:
            known = groups.setdefault((flag, status), [Decimal(0)] * len(sums))
            groups[flag, status] = [one + Decimal(other) for one, other in zip(known, sums)]
    found = []
    for (flag, status), (quantity, base, discounted, charge, discount, count) in sorted(groups.items()):
        averages = [float(total / count) for total in (quantity, base, discount)]
        found.append([flag, status, *map(str, (quantity, base, discounted, charge)), *averages, int(count)])
    names = "l_returnflag l_linestatus sum_qty sum_base_price sum_disc_price sum_charge avg_qty avg_price avg_disc"
    return answer(names + " count_order", found)


def exchanged(args, sql):
    """Writes the rows of a query to the partitions of their key, each a Parquet file of its own."""
    out = args["out"]
    sql = sql.replace("FROM source", f"FROM {reader(args['input'])}")
    with local(args["input"]) as path, connect() as database, tempfile.TemporaryDirectory() as folder:
        database.execute(f"CREATE TABLE found AS {sql}", [path])
        for number in range(out.count):
            target = os.path.join(folder, str(number))
            database.execute(
                f"COPY (SELECT * FROM found WHERE key % {out.count} = {number}) TO '{target}' (FORMAT parquet)"
            )
            with open(target, "rb") as file:
                out.partition(number).write(file.read())
    return {"out": out.close()}


def q12_lines(args):
    return exchanged(
        args,
        """SELECT l_orderkey AS key, l_shipmode AS mode FROM source
           WHERE l_shipmode IN ('MAIL', 'SHIP') AND l_commitdate < l_receiptdate AND l_shipdate < l_commitdate
             AND l_receiptdate >= DATE '1994-01-01' AND l_receiptdate < DATE '1995-01-01'""",
    )


def q12_orders(args):
    return exchanged(
        args, "SELECT o_orderkey AS key, o_orderpriority IN ('1-URGENT', '2-HIGH') AS high FROM source"
    )


def q12_join(args):
    with tempfile.TemporaryDirectory() as folder, connect() as database:
        for table in ("lines", "orders"):
            for number, part in enumerate(args[table].parts()):
                with open(os.path.join(folder, f"{table}-{number}.parquet"), "wb") as file:
                    file.write(part)
        sql = f"""SELECT mode, count(*) FILTER (high), count(*) FILTER (NOT high)
                  FROM '{folder}/lines-*.parquet' JOIN '{folder}/orders-*.parquet' USING (key) GROUP BY mode"""
        return {"counts": database.execute(sql).fetchall()}


def q12_answer(args):
    counts = {}
    for part in args["results"]:
        for mode, *found in part["counts"]:
            counts[mode] = [one + other for one, other in zip(counts.get(mode, [0, 0]), found)]
    return answer("l_shipmode high_line_count low_line_count", [[mode, *counts[mode]] for mode in sorted(counts)])
