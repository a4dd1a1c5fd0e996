"""One peer doing one piece of work: usage: peer.py, with the task as a line of JSON on standard input.

Prints lines that begin with `@bench `: `ready` when the pool is warm, then waits for a line; `done` with seconds and answer,
then waits for a line again, so that the memory of the whole pool can be looked at; then it ends.
"""

import json
import os
import sys
import time
import traceback

import work as functions


class Futures:
    def __init__(self, slots, scratch):
        from concurrent.futures import ProcessPoolExecutor

        self.pool = ProcessPoolExecutor(slots)

    def map(self, function, inputs):
        return self.pool.map(function, inputs)

    def each(self, function, inputs):
        futures = [self.pool.submit(function, it) for it in inputs]
        return [future.exception() for future in futures]

    def end(self):
        self.pool.shutdown()


class Loky(Futures):
    def __init__(self, slots, scratch):
        from loky import get_reusable_executor

        self.pool = get_reusable_executor(max_workers=slots)


class Joblib:
    def __init__(self, slots, scratch):
        from joblib import Parallel, delayed

        self.delayed = delayed
        self.pool = Parallel(n_jobs=slots).__enter__()

    def map(self, function, inputs):
        function = self.delayed(function)
        return self.pool(function(it) for it in inputs)

    # It has no call that returns each result or its failure.
    each = None

    def end(self):
        self.pool.__exit__(None, None, None)


class Dask:
    def __init__(self, slots, scratch):
        from distributed import Client, LocalCluster

        # Threads beyond the processors: 64 processes of Dask would need some 5 GB.
        processes = min(slots, 2)
        self.cluster = LocalCluster(
            n_workers=processes,
            threads_per_worker=slots // processes,
            dashboard_address=None,
            local_directory=scratch,
        )
        self.client = Client(self.cluster)

    def map(self, function, inputs):
        return self.client.gather(self.client.map(function, inputs, pure=False))

    def each(self, function, inputs):
        futures = self.client.map(function, inputs, pure=False)
        return [future.exception() for future in futures]

    def end(self):
        self.client.close()
        self.cluster.close()


class Ray:
    def __init__(self, slots, scratch):
        import ray

        self.ray = ray
        # Sockets have names of 107 bytes at most.
        ray.init(num_cpus=slots, include_dashboard=False, logging_level="ERROR", _temp_dir=scratch)

    def map(self, function, inputs):
        remote = self.ray.remote(function)
        return self.ray.get([remote.remote(it) for it in inputs])

    def each(self, function, inputs):
        remote = self.ray.remote(function)
        return [self.failure(it) for it in [remote.remote(it) for it in inputs]]

    def failure(self, reference):
        try:
            self.ray.get(reference)
        except Exception as error:
            return error

    def end(self):
        self.ray.shutdown()


class Lithops:
    def __init__(self, slots, scratch):
        import lithops

        config = {
            "lithops": {"backend": "localhost", "storage": "localhost", "log_level": "ERROR"},
            "localhost": {"worker_processes": slots, "runtime": sys.executable},
        }
        self.executor = lithops.FunctionExecutor(config=config)

    # A dictionary would be taken for the function's named parameters.
    def map(self, function, inputs):
        futures = self.executor.map(function, [(it,) for it in inputs])
        return self.executor.get_result(futures)

    def each(self, function, inputs):
        futures = self.executor.map(function, [(it,) for it in inputs])
        return [self.failure(future) for future in futures]

    def failure(self, future):
        try:
            future.result()
        except Exception as error:
            return error

    def end(self):
        self.executor.clean()


PEERS = {
    "futures": Futures,
    "loky": Loky,
    "joblib": Joblib,
    "dask": Dask,
    "ray": Ray,
    "lithops": Lithops,
}


def say(**what):
    # In one write: what libraries print does not come between.
    os.write(1, ("\n@bench " + json.dumps(what) + "\n").encode())


def fail(pool, inputs):
    """What a peer reports of failures: the results it hands over, and whether an error names the input."""
    results, each, text = 0, None, ""
    try:
        for _ in pool.map(functions.brittle, inputs):
            results += 1
    except Exception as error:
        text = "".join(traceback.format_exception(error))
    if pool.each:
        errors = pool.each(functions.brittle, inputs)
        each = sum(error is None for error in errors)
        text += "".join("".join(traceback.format_exception(it)) for it in errors if it is not None)
    bad = [str(it["i"]) for it in inputs if it["i"] % 1000 == 500]
    return {"map": results, "each": each, "named": any(it in text for it in bad)}


def main():
    task = json.loads(sys.stdin.readline())
    work, inputs, slots = task["work"], task["inputs"], task["slots"]
    began = time.perf_counter()
    pool = PEERS[task["peer"]](slots, task["scratch"])
    if not task["cold"]:
        list(pool.map(functions.warm, [{"warm": 0.05}] * task["warm"]))
        say(ready=time.perf_counter() - began)
        sys.stdin.readline()
    began = time.perf_counter()
    if work == "brittle":
        answer = fail(pool, inputs)
    else:
        answer = functions.combine(work, list(pool.map(getattr(functions, work), inputs)))
    say(seconds=time.perf_counter() - began, answer=answer)
    sys.stdin.readline()
    pool.end()


if __name__ == "__main__":
    main()
