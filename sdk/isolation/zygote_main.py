"""The clean process: executed as a script, prepares once, then forks once per candidate.

It is told what to be over the one descriptor it inherits: ``argv[1]``. It never runs candidate code, and it
ends when the host closes that connection or has ended itself, even where another process still holds
the host's end.

A request is one byte and a descriptor: ``f`` and the fork's connection, or ``k`` and a handle on a fork that
is to be killed. The answer to the first is one byte, 0 with a handle on the fork or the number of the
error that kept it from being made; to the second there is none.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gnomon.sdk.isolation.lockdown import Cell

_LENGTH = struct.Struct("<I")
#: What may be told to a whole group of processes; this one ends when its host has.
_ENDING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGTSTP")
_FIRST_TO_GO = "1000"


def _begin_afresh() -> None:
    """Undo what a process inherits from whoever executes it, besides descriptors and variables."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for name in _ENDING:
        signal.signal(signal.Signals[name], signal.SIG_IGN)
    signal.signal(
        signal.SIGCHLD, signal.SIG_DFL
    )  # forks are reaped here, whatever the service does
    os.umask(0o077)
    with contextlib.suppress(OSError):  # a service of real time must not lend that to a candidate
        if os.sched_getscheduler(0) != os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    # when memory is short, this one goes before the service does
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(_FIRST_TO_GO)


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


def _cell(config: dict[str, Any], entry: Any) -> Cell:
    """Return how every fork is locked in; what can be done once for all of them is done here."""
    from gnomon.sdk.isolation import lockdown
    from gnomon.sdk.isolation.layers import Limits

    return lockdown.Cell(
        mode=config["mode"],
        limits=Limits(**config["limits"]),
        memory=lockdown.address_space(),
        root=config["empty"],
        parent=os.getpid(),
        separated=config["mode"] == "strict" and lockdown.separate(lockdown.libc()),
        compiles=bool(getattr(entry, "COMPILES", False)),
    )


def _child(descriptor: int, cell: Cell, entry: Any, state: Any) -> None:
    """Lock this fork in and hand it to the entry; a failure becomes a message, then the end."""
    from gnomon.sdk.isolation import frames, lockdown
    from gnomon.sdk.isolation.layers import to_bits

    try:
        held = lockdown.lock_down(descriptor, cell)
        body = _LENGTH.pack(to_bits(held))
        frames.write_all(descriptor, frames.pack(frames.Code.LOCKED, body))
        entry.serve(descriptor, state, cell)
    except BaseException as error:  # noqa: BLE001 - the fork's boundary: nothing may unwind past it
        text = f"{type(error).__name__}: {error}"[:200].encode("ascii", "replace")
        frames.write_all(descriptor, frames.pack(frames.Code.FAILED, text))


def _fork(descriptor: int, cell: Cell, entry: Any, state: Any) -> int:
    """Return a handle on a new fork, which cannot be mistaken for another process."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _child(descriptor, cell, entry, state)
            status = 0
        finally:
            os._exit(status)
    try:
        return os.pidfd_open(pid)  # it is not reaped yet, so the number is its own
    except OSError:
        os.kill(pid, signal.SIGKILL)
        raise


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _answer(control: socket.socket, descriptor: int, cell: Cell, entry: Any, state: Any) -> None:
    """Fork for one request."""
    try:
        handle = _fork(descriptor, cell, entry, state)
    except OSError as error:
        control.sendall(bytes([(error.errno or 0) & 0xFF or 0xFF]))
        return
    finally:
        os.close(descriptor)
    socket.send_fds(control, [b"\0"], [handle])
    os.close(handle)


def _host() -> int:
    """Return a handle on the host; -1 where it cannot be seen from here."""
    try:
        return os.pidfd_open(os.getppid())
    except OSError:
        return -1


def _requests(control: socket.socket, host: int) -> Any:
    """Yield a descriptor for every fork that the host asks for, until it is gone."""
    waiting = select.poll()
    for descriptor in (control.fileno(), host):
        if descriptor >= 0:
            waiting.register(descriptor, select.POLLIN)
    while True:
        if any(descriptor == host for descriptor, _ in waiting.poll()):
            return
        asked, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not asked:
            return
        _reap()
        if asked == b"k":
            _kill(descriptors)
        elif descriptors:  # none, where this process cannot take one more; the host hears of it
            yield descriptors[0]
        else:
            control.sendall(b"\xff")


def _kill(handles: list[int]) -> None:
    for handle in handles:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)


def main() -> None:
    """Prepare as told, then fork on request until the host closes the connection or ends."""
    _begin_afresh()
    host = _host()
    control = socket.socket(fileno=int(sys.argv[1]))
    config = _receive(control)
    sys.path[:0] = config["paths"]
    _bare_packages(config["root"], config["packages"])
    try:
        from gnomon.sdk.isolation import lockdown

        entry = importlib.import_module(config["entry"])
        state = entry.prepare(config["settings"])
        cell = _cell(config, entry)
    except Exception as error:  # noqa: BLE001 - the process's boundary: the host is told
        _say(control, f"{type(error).__name__}: {error}")
        return
    gc.collect()
    gc.freeze()
    _say(control, "")
    with contextlib.suppress(OSError):  # the host has gone in the midst of an answer
        for descriptor in _requests(control, host):
            lockdown.foresee(descriptor, cell)
            _answer(control, descriptor, cell, entry, state)
    with contextlib.suppress(OSError):  # the host removes it, too, unless it was killed
        os.rmdir(cell.root)


if __name__ == "__main__":
    main()
