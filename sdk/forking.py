"""Whether gRPC can still be used in this process.

gRPC's core does not survive a fork. In a child of a process that had used it, making a channel may
block for ever, and does so while holding the interpreter's lock: the whole service would stand still
(seen in more than every second fork under load, with gRPC's own fork support on or off). So such a
child makes no channel: it decides and records as ever, but nothing is sent and no policy is received,
and both are said in its counters and its log. Prefork servers are not affected as long as gRPC is
first used in the workers, which is what Gnomon does by itself: nothing is connected before a hook's
first call.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

from .errors import UnavailableError

#: Beginnings of the names of the threads of gRPC's core, as Linux shows them.
_CORE_THREADS = ("grpc_global", "event_engine", "timer_manager")


class _Process:
    """What is known of this process.

    Attributes:
        opened: whether a channel was made here.
        live: whether gRPC's core was running at the moment of the last fork.
        unusable: whether this process was forked from one that had used gRPC.
    """

    opened = False
    live = False
    unusable = False


def claim_grpc() -> None:
    """Say that a channel is about to be made.

    Raises:
        UnavailableError: this process was forked from one that had used gRPC.
    """
    if _Process.unusable:
        raise UnavailableError(
            "gRPC was in use before this process was forked and cannot be used in it; fork before the "
            "first decision, or start the workers anew instead of forking them (spawn)"
        )
    _Process.opened = True


def grpc_usable() -> bool:
    """Return whether channels can be made in this process."""
    return not _Process.unusable


def in_children(reset: Callable[[], None]) -> None:
    """Call a bound method in every forked child for as long as its object lives."""
    method = weakref.WeakMethod(reset)

    def in_child() -> None:
        bound = method()
        if bound is not None:
            bound()

    os.register_at_fork(after_in_child=in_child)


def _before() -> None:
    _Process.live = _Process.opened or ("grpc" in sys.modules and _core_runs())


def _in_child() -> None:
    _Process.unusable = _Process.unusable or _Process.live
    _Process.opened = False


def _core_runs() -> bool:
    """Return whether gRPC's core has threads in this process, whoever started them."""
    try:
        names = [task.read_text() for task in Path("/proc/self/task").glob("*/comm")]
    except OSError:  # no such file system, or a thread that ended meanwhile: be on the safe side
        return True
    return any(name.startswith(_CORE_THREADS) for name in names)


os.register_at_fork(before=_before, after_in_child=_in_child)
