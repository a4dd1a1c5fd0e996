//! Functions on which peers of Falco failed in the field, for the tests of programs. They run on every platform.

/// A function in Python that exits while another thread still runs, if `quit` says so.
pub const EXIT_BESIDE_A_THREAD: &str = "
import sys, threading, time
def main(args):
    if args.get('quit'):
        threading.Thread(target=time.sleep, args=(args['thread'],)).start()
        sys.exit('no input rows')
    return {'ok': True}
";

/// A function in Python that starts processes, in the way that `method` names.
pub const MULTIPROCESSING: &str = "
import multiprocessing
def square(x):
    return x * x
def main(args):
    with multiprocessing.get_context(args['method']).Pool(2) as pool:
        return {'squares': pool.map(square, [1, 2, 3])}
";

/// A function in Python that raises with a text that is not valid Unicode, made of the bytes in `name`.
pub const RAISES_HALF_A_PAIR: &str = "
import os
def main(args):
    raise ValueError('not a picture: ' + os.fsdecode(bytes(args['name'])))
";
