def main(args):
    return {"counts": {word: sum(counts) for word, counts in args["groups"].items()}}
