"""When a policy is taken back in a process: limits of failures and of time, and the breaker that holds them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from .errors import ConfigurationError

#: Time of a thread that answers may take in a row before their share of it counts: a second of it.
BURST_NS = 1_000_000_000
#: Failures that a breaker may be told to wait for; it remembers each of them.
MOST_FAILURES = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """When a policy is taken back in this process, until a manifest of another epoch.

    A policy in program form has a deadline instead of a budget: of it ``faults`` and ``window`` count.

    Attributes:
        faults: so many faults or broken invariants trip the breaker,
        slow: and so many slow answers,
        window: when they lie within so many answers of the policy; neither may be more than that, nor
            than :data:`MOST_FAILURES`.
        budget_ns: an answer that took longer, in ns, is used, and counted as slow. Where a policy's own
            bound on its work keeps it far below, one answer in 64 is measured, and all of them for a
            while after one that was slow.
        quick_ns: an answer that took longer, in ns, is charged to the thread that asked;
        share: such answers may take no more than this share of a thread's time, beyond one second.

    Raises:
        ConfigurationError: a value that would make a limit mean nothing.
    """

    budget_ns: int = 2_000_000
    faults: int = 3
    slow: int = 10
    window: int = 100
    quick_ns: int = 100_000
    share: float = 0.25

    def __post_init__(self) -> None:
        """Refuse what could never trip, or always would."""
        for name in ("budget_ns", "faults", "slow", "window", "quick_ns"):
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(
                    f"limits: {name} is {value!r}; it must be a whole number of 1 or more"
                )
        for name in ("faults", "slow"):
            if getattr(self, name) > min(self.window, MOST_FAILURES):
                raise ConfigurationError(
                    f"limits: {name} is {getattr(self, name)}, which a window of {self.window} answers "
                    f"never holds; it must be no more than that, and no more than {MOST_FAILURES}"
                )
        share: Any = self.share
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not number or not 0.0 < share <= 1.0:
            raise ConfigurationError(f"limits: share is {share!r}; it must lie above 0 and up to 1")


def check_limits(limits: object, of: str) -> None:
    """Raise ConfigurationError for what is neither limits nor nothing; ``of`` says whose."""
    if limits is not None and not isinstance(limits, Limits):
        raise ConfigurationError(f"{of}: limits={limits!r} are none; give a gnomon.Limits")


class _Charged(threading.local):
    """What one thread's answers took beyond their share, and when that was reckoned."""

    level = 0.0
    at_ns = 0


class Breaker:
    """Trips once when failures of one program come too close together, or take too much time.

    Answers are numbered, by :attr:`number`. Who asks in turns with another program numbers decisions instead, and says
    with :meth:`resume` and :meth:`pause` which of them are this program's. Any thread may note
    anything at any time; there is no lock that a fork could leave held.

    Attributes:
        reason: why it tripped; empty while it has not.
        number: gives the number of an answer, for those who number none themselves.
        watched: answers of which each is measured, whatever the program's bound: so many more.
        share: of the decisions between :meth:`resume` and :meth:`pause` that are this program's. Sticky
            arms answer side by side, and so many more decisions hold the same number of its answers.
    """

    __slots__ = (
        "_charged", "_faults", "_limits", "_on_trip", "_others", "_paused", "_slow", "_trips",
        "_window", "number", "reason", "share", "watched",
    )  # fmt: skip

    def __init__(self, limits: Limits, on_trip: Callable[[str], None]) -> None:
        self.watched = 0
        self.share = 1.0
        self._others = 0
        self._paused = 0
        self._limits = limits
        self._faults: deque[int] = deque(maxlen=limits.faults)
        self._slow: deque[int] = deque(maxlen=limits.slow)
        self._charged = _Charged()
        self._window = limits.window
        self._on_trip = on_trip
        self._trips = count()
        self.number: Callable[[], int] = count().__next__
        self.reason = ""

    def resume(self, number: int) -> None:
        """Say that from a decision on this program answers."""
        self._others += number - self._paused

    def pause(self, number: int) -> None:
        """Say that from a decision on another answers."""
        self._paused = number

    def fault(self, number: int, what: str) -> None:
        """Note that an answer was a fault or broke an invariant."""
        self._note(self._faults, number, what)

    def slow(self, number: int) -> None:
        """Note that an answer came late, and look closer for a while."""
        self.watched = self._window
        self._note(self._slow, number, "slow")

    def charge(self, now_ns: int, spent_ns: int) -> None:
        """Note time that answers took of the calling thread; trips where that is too large a share of it."""
        mine, share = self._charged, self._limits.share
        level = max(0.0, mine.level - share * max(0, now_ns - mine.at_ns)) + spent_ns
        mine.level, mine.at_ns = level, now_ns
        if level > BURST_NS:
            self._trip(f"answers took more than {share:.0%} of a thread's time")

    def _note(self, seen: deque[int], number: int, what: str) -> None:
        answer = number - self._others
        seen.append(answer)
        first = seen[0]
        if len(seen) == seen.maxlen and (answer - first) * self.share < self._window:
            answers = round((answer - first) * self.share) + 1
            self._trip(f"{len(seen)} failures in {answers} answers, last: {what}")

    def _trip(self, reason: str) -> None:
        if next(self._trips):  # of threads that come to it together, one trips it
            return
        self.reason = reason
        self._on_trip(reason)


class Breakers:
    """The breakers of a hook's arms: they stay as they are while the epoch does.

    Nothing but another epoch gives a policy that was taken back another try: not a lease that is renewed,
    a kill that is lifted, another configuration, nor a fork.

    Args:
        on_trip: is told why one tripped.
    """

    def __init__(self, on_trip: Callable[[str], None]) -> None:
        self._told = on_trip
        self._epoch = -1
        self._held: dict[str, Breaker] = {}

    def of(self, arm: str, epoch: int, limits: Limits) -> Breaker:
        """Return the breaker of an arm in an epoch; limits are those of a new one."""
        if epoch != self._epoch:
            self._epoch, self._held = epoch, {}
        held = self._held.get(arm)
        if held is None:
            held = self._held[arm] = Breaker(limits, self._on_trip)
        return held

    def tell(self, on_trip: Callable[[str], None]) -> None:
        """Tell somebody else from now on."""
        self._told = on_trip

    def _on_trip(self, reason: str) -> None:
        self._told(reason)
