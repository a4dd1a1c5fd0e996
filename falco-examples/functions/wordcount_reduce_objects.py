def main(args):
    with args["out"] as out:
        for word, counts in args["in"].groups():
            out.write(f"{word}\t{sum(counts)}\n".encode())
    return {"out": out.close()}
