"""The clean process: executed as a script, prepares once, then forks once per candidate.

It is told what to be over the one descriptor it inherits: ``argv[1]``. It never runs candidate code.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import struct
import sys
import types
from typing import Any

_LENGTH = struct.Struct("<I")


def _bare_packages(root: str, names: list[str]) -> None:
    """Make packages importable by path without running what their ``__init__`` imports."""
    for name in names:
        module = types.ModuleType(name)
        module.__path__ = [os.path.join(root, *name.split(".")[1:])]
        sys.modules[name] = module


def _receive(control: socket.socket) -> dict[str, Any]:
    (length,) = _LENGTH.unpack(control.recv(_LENGTH.size, socket.MSG_WAITALL))
    config: dict[str, Any] = json.loads(control.recv(length, socket.MSG_WAITALL))
    return config


def _say(control: socket.socket, problem: str) -> None:
    """Tell the host that preparation ended; an empty problem means ready."""
    body = problem.encode("ascii", "replace")[:200]
    control.sendall(_LENGTH.pack(len(body)) + body)


def _child(
    descriptor: int, config: dict[str, Any], memory: int, parent: int, entry: Any, state: Any
) -> None:
    """Lock this fork in and hand it to the entry; a failure becomes a message, then the end."""
    from gnomon.sdk.isolation import frames, lockdown
    from gnomon.sdk.isolation.layers import Limits, to_bits

    compiles = bool(getattr(entry, "COMPILES", False))
    cell = lockdown.Cell(
        config["mode"], Limits(**config["limits"]), memory, config["empty"], parent, compiles
    )
    try:
        held = lockdown.lock_down(descriptor, cell)
        body = _LENGTH.pack(to_bits(held))
        frames.write_all(descriptor, frames.pack(frames.Code.LOCKED, body))
        entry.serve(descriptor, state, cell)
    except BaseException as error:  # noqa: BLE001 - the fork's boundary: nothing may unwind past it
        text = f"{type(error).__name__}: {error}"[:200].encode("ascii", "replace")
        frames.write_all(descriptor, frames.pack(frames.Code.FAILED, text))


def _fork(descriptor: int, config: dict[str, Any], memory: int, entry: Any, state: Any) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _child(descriptor, config, memory, parent, entry, state)
            status = 0
        finally:
            os._exit(status)
    return pid


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _answer(
    control: socket.socket,
    descriptor: int,
    config: dict[str, Any],
    memory: int,
    entry: Any,
    state: Any,
) -> None:
    """Fork for one request and send the host a handle on the fork that cannot be mistaken."""
    try:
        pid = _fork(descriptor, config, memory, entry, state)
    except OSError:
        control.sendall(b"-")
        return
    finally:
        os.close(descriptor)
    handle = os.pidfd_open(pid)
    socket.send_fds(control, [b"+"], [handle])
    os.close(handle)


def main() -> None:
    """Prepare as told, then fork on request until the host closes the connection."""
    # What ends the service may be told to its whole group; this process ends when the service has.
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
    signal.signal(
        signal.SIGCHLD, signal.SIG_DFL
    )  # forks are reaped here, whatever the service does
    control = socket.socket(fileno=int(sys.argv[1]))
    config = _receive(control)
    sys.path[:0] = config["paths"]
    _bare_packages(config["root"], config["packages"])
    try:
        from gnomon.sdk.isolation import lockdown

        entry = importlib.import_module(config["entry"])
        state = entry.prepare(config["settings"])
    except Exception as error:  # noqa: BLE001 - the process's boundary: the host is told
        _say(control, f"{type(error).__name__}: {error}")
        return
    gc.collect()
    gc.freeze()
    memory = lockdown.address_space()
    _say(control, "")
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not request:
            return
        _reap()
        _answer(control, descriptors[0], config, memory, entry, state)


if __name__ == "__main__":
    main()
