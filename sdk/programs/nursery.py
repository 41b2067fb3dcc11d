"""The clean processes of this service, one per kind: started when a first program needs one."""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING

from ..isolation.program import program_zygote

if TYPE_CHECKING:
    from ..isolation.layers import IsolationMode
    from ..isolation.zygote import Zygote
    from ..kind import Kind

#: Seconds that an exit waits for a process that is just being started.
_PATIENCE_S = 2.0


class Nursery:
    """Keeps a clean process per kind and mode; safe for threads, and for forks of the service."""

    def __init__(self) -> None:
        self._fresh()

    def _fresh(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._zygotes: dict[tuple[int, str], Zygote] = {}
        self._kinds: list[Kind] = []  # held, so that no other can take one's ``id``

    def zygote(self, kind: Kind, mode: IsolationMode) -> Zygote:
        """Return the process that programs of a kind are forked from; a new one if it has ended.

        Raises:
            IsolationError: the mode cannot be had on this machine.
            ConfigurationError: the kind's host operations cannot be found by name.
        """
        self.after_fork()
        key = (id(kind), mode)
        with self._lock:
            if all(known is not kind for known in self._kinds):
                self._kinds.append(kind)
            found = self._zygotes.get(key)
            if found is not None and found.ended():
                found.close()
                del self._zygotes[key]
                found = None
            if found is None:
                found = self._zygotes[key] = program_zygote(kind, mode)
            return found

    def after_fork(self) -> None:
        """Leave the parent's processes to the parent, if this process is another."""
        if self._pid == os.getpid():
            return
        kept = self._zygotes
        self._fresh()  # another thread of the parent's may have held the lock
        for zygote in kept.values():
            zygote.abandon()

    def close(self) -> None:
        """End all of them."""
        self.after_fork()
        if not self._lock.acquire(timeout=_PATIENCE_S):
            return  # one is starting and takes long; it ends by itself when this process has
        try:
            for zygote in self._zygotes.values():
                zygote.close()
            self._zygotes.clear()
        finally:
            self._lock.release()


NURSERY = Nursery()
os.register_at_fork(after_in_child=NURSERY.after_fork)
atexit.register(NURSERY.close)
