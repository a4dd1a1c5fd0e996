def main(args):
    return {"greeting": "Hello " + args["name"] + "!"}
