def main(args):
    return {"n": args["n"], "square": args["n"] ** 2}
