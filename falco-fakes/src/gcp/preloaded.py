"""Starts Google's Functions Framework in processes that have imported it already, which is most of what a start takes.

`serve NAME` imports the framework and waits at a socket of that name. `start NAME` asks it for a copy of itself that runs the
framework in this process's group, with its streams, folder and environment, and ends when the copy does. The server ends with
its input, and what it has started ends with it.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import time


def start(name):
    server = socket.socket(socket.AF_UNIX)
    # It may not listen yet.
    for _ in range(6000):
        try:
            server.connect("\0" + name)
            break
        except OSError:
            time.sleep(0.01)
    request = json.dumps({"environment": dict(os.environ), "folder": os.getcwd(), "group": os.getpgid(0)}).encode()
    socket.send_fds(server, [len(request).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(request)
    # One byte, the status, or nothing where the server has ended.
    status = server.recv(1)
    sys.exit(status[0] if status else 1)


def receive(client):
    size, streams, _, _ = socket.recv_fds(client, 4, 3)
    request = b""
    while len(request) < int.from_bytes(size, "big"):
        piece = client.recv(65536)
        if not piece:
            raise OSError("it has ended")
        request += piece
    return json.loads(request), streams


def become(request, streams):
    """Makes of a copy of the server what the request asks for."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setpgid(0, request["group"])
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, 4096)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    # It was looked for when the framework was imported.
    registry.DEFAULT_SOURCE = os.path.realpath("./main.py")
    framework()


def serve(name):
    global framework, registry
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0" + name)
    listener.listen(64)
    program = os.path.join(os.path.dirname(sys.executable), "functions-framework")
    sys.argv, sys.path[0] = [program], os.path.dirname(program)
    sys.modules["__main__"].__file__ = program
    from functions_framework._cli import _cli as framework
    from functions_framework import _function_registry as registry
    import functions_framework._http.gunicorn

    # What all copies share is not looked at again by the collector in each of them.
    gc.freeze()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running = {}
    while True:
        clients = {client: pid for pid, client in running.items()}
        ready, _, _ = select.select([0, woken, listener, *clients], [], [])
        if 0 in ready:
            for pid in running:
                os.kill(pid, signal.SIGKILL)
            return
        for client in ready:
            # Nobody waits for it any more.
            if client in clients:
                os.kill(clients[client], signal.SIGKILL)
                running.pop(clients[client]).close()
        if woken in ready:
            os.read(woken, 4096)
        if listener in ready:
            client, _ = listener.accept()
            try:
                request, streams = receive(client)
            except OSError:
                client.close()
                continue
            pid = os.fork()
            if pid == 0:
                return become(request, streams)
            running[pid] = client
            for stream in streams:
                os.close(stream)
        reap(running)


def reap(running):
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        client = running.pop(pid, None)
        if client is not None:
            try:
                client.sendall(bytes([os.waitstatus_to_exitcode(status) & 255]))
            except OSError:
                pass
            client.close()


{"serve": serve, "start": start}[sys.argv[1]](sys.argv[2])
