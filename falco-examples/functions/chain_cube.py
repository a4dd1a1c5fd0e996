def main(args):
    return {"n": args["n"], "cube": args["n"] ** 3}
