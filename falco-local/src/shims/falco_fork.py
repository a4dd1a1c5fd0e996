"""Forks workers out of one interpreter that has loaded the shim, and what the function imports first.

The shim calls `serve`. It returns in each worker, whose descriptors are those of a worker that was started by itself, and
never in the server. The driver starts workers one by one where this is not safe.
"""

import os
import sys

REQUESTS, RESULTS, CONTROL = 4, 3, 5
ONLY_AST = 0x400


def leading_imports(source):
    """The modules that a program imports before it does anything else, in order.

    Only these: what follows may change how a later import behaves, such as by a variable of the environment.
    """
    modules = []
    for number, node in enumerate(compile(source, "main__.py", "exec", ONLY_AST, True).body):
        kind = type(node).__name__
        if kind == "Import":
            modules.extend(alias.name for alias in node.names)
        elif kind == "ImportFrom" and node.level == 0:
            modules.append(node.module)
        elif number > 0 or kind != "Expr" or type(node.value).__name__ != "Constant":
            break  # Only a docstring may come first.
    return modules


def of_others(modules, names):
    """Those before the first one of the function's own, which may do whatever the function may do."""
    for index, module in enumerate(modules):
        if module.partition(".")[0] in names:
            return modules[:index]
    return modules


def open_files():
    return set(os.listdir("/proc/self/fd"))


def danger(before):
    """Why workers cannot be forked after these imports; None where they can."""
    if len(os.listdir("/proc/self/task")) > 1:
        return "an import has started a thread"
    with open("/proc/self/task/%d/children" % os.getpid()) as children:
        if children.read().strip():
            return "an import has started a process"
    if open_files() != before:
        return "an import has opened a file"
    with open("/proc/self/maps") as maps:
        if any("w" in flags and "s" in flags for flags in (line.split(None, 2)[1] for line in maps)):
            return "an import has mapped memory that copies would share"
    # Python's own generator starts anew in each copy; others would give each worker the same numbers.
    if "numpy.random" in sys.modules:
        return "numpy.random has a state that copies would share"
    random = sys.modules.get("random")
    if random is not None:
        import gc

        for one in gc.get_objects():
            # Not `isinstance`, which asks the object.
            kind = type(one)
            if issubclass(kind, random.Random) and one is not random._inst and not issubclass(kind, random.SystemRandom):
                return "an import has made a generator of random numbers that copies would share"
    return None


def import_first(directory, shim):
    """Imports what the function imports first. Why that is not safe, or None."""
    names = {name.partition(".")[0] for name in os.listdir(directory)} - {"virtualenv"}
    if not names.isdisjoint(getattr(sys, "stdlib_module_names", ())):
        return None  # Its own modules replace Python's, also for what others import.
    try:
        with open(os.path.join(directory, "main__.py"), "rb") as file:
            modules = of_others(leading_imports(file.read()), names)
    except Exception:
        return None  # The workers meet it again, and report it.
    path, before = list(sys.path), open_files()
    sys.path[:0] = shim.Modules(directory).site_packages()
    try:
        for module in modules:
            __import__(module)
    except BaseException as error:
        return "an import failed: %s" % shim.message_of(error)
    sys.path[:] = path
    if not names.isdisjoint({name.partition(".")[0] for name in sys.modules} - shim.BUILT_IN):
        return "the function has a module of the same name as one that it imports"
    return danger(before)


def status_of(process):
    """Waits for a process. Its exit status as shells report it: negative for a signal."""
    status = os.waitpid(process, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def become_worker(descriptors, scratch):
    os.setpgid(0, 0)
    for descriptor, number in zip(descriptors, (REQUESTS, RESULTS, 1, 2)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if scratch:
        os.environ["TMPDIR"] = scratch
        if "tempfile" in sys.modules:
            sys.modules["tempfile"].tempdir = None


def serve(directory, shim):
    """Forks a worker for each message. It returns in the workers; the server ends when the driver does."""

    def say(line):
        shim.write(RESULTS, line + b"\n")

    for descriptor in (REQUESTS, RESULTS, CONTROL):
        os.set_inheritable(descriptor, False)
    # Nothing of the user's runs before the driver can end this process. Requests are read by the byte, since what a buffer
    # holds would be copied.
    while os.read(REQUESTS, 1) not in (b"\n", b""):
        pass
    reason = import_first(directory, shim)
    sys.stdout.flush()
    sys.stderr.flush()
    if reason is not None:
        say(b'{"error":%b}' % shim.encode(shim.record("unspecified", reason)).encode())
        os._exit(1)
    import gc
    import _socket

    control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, CONTROL)
    # Objects that exist now are never collected: looking at them in a worker would copy their pages.
    gc.collect()
    if hasattr(gc, "freeze"):
        gc.freeze()
    say(b'{"ok":true,"ms":0,"runtime":"%b"}' % shim.runtime().encode())
    while True:
        message, ancillary, _, _ = control.recvmsg(1 << 16, _socket.CMSG_SPACE(16))
        if not message:
            os._exit(0)
        descriptors = [
            int.from_bytes(data[at : at + 4], sys.byteorder) for _, _, data in ancillary for at in range(0, len(data), 4)
        ]
        order, text = message[:1], message[1:]
        try:
            if order == b"w":
                control.send(b"%d" % status_of(int(text)))
                continue
            if len(descriptors) != 4:
                raise OSError(24, "no room for the descriptors")
            process = os.fork()
        except OSError as error:
            process = None
            answer = b"e%d" % (error.errno or 5)
        if process == 0:
            control.detach()
            os.close(CONTROL)
            become_worker(descriptors, os.fsdecode(text))
            return
        for descriptor in descriptors:
            os.close(descriptor)
        if process is not None:
            answer = b"%d" % process
            try:
                os.setpgid(process, process)
            except OSError:
                pass  # It has done so itself.
        control.send(answer)
