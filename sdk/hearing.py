"""When a process last heard of its control plane, and what silence means."""

from __future__ import annotations

from collections.abc import Callable

from .manifest import Now

#: Silence of a control plane that sends heartbeats: from here on it shows.
_QUIET_NS = 4_000_000_000


class Hearing:
    """What is heard on the streams of one process, one after the other.

    Args:
        now: both clocks.

    Attributes:
        connected: whether a stream is open and something was heard on it.
    """

    def __init__(self, now: Callable[[], Now]) -> None:
        self.connected = False
        self._now = now
        self._beats = False
        self._heard_ns = now().monotonic_ns

    def heard(self, *, beat: bool) -> None:
        """Note a message; with ``beat`` one that says only that all is well."""
        self._heard_ns = self._now().monotonic_ns
        self.connected = True
        self._beats = self._beats or beat

    def ended(self) -> None:
        """Note the end of a stream."""
        self.connected = self._beats = False

    @property
    def silent_ns(self) -> int:
        """For how long nothing was heard; 0 of a control plane that need not say anything."""
        if self.connected and not self._beats:
            return 0
        return max(0, self._now().monotonic_ns - self._heard_ns)

    @property
    def staleness_s(self) -> float:
        """Seconds since the control plane was last heard from; 0 while connected, and not quiet for long."""
        silent_ns = self.silent_ns
        if self.connected and silent_ns <= _QUIET_NS:
            return 0.0
        return silent_ns / 1e9
