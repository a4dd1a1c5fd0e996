"""The floor of batches on this machine: joblib's loop with its batches of measured size."""

import time

from joblib import Parallel, delayed


def main(args):
    return args


def run(calls, workers):
    """Prints the seconds for so many calls, from the start of the workers on."""
    begun = time.perf_counter()
    with Parallel(n_jobs=workers, batch_size="auto") as parallel:
        results = parallel(delayed(main)({"n": n}) for n in range(calls))
    assert len(results) == calls
    print(time.perf_counter() - begun)
