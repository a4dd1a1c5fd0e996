def main(args):
    return {"n": args["n"], "sum": args["square"] + args["cube"]}
