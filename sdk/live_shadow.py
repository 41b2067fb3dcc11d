"""The candidate computed beside the stable arm, without effect, within a budget of CPU time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from .guard import Row

if TYPE_CHECKING:
    from .guard import Guarded
    from .invariant import Invariant

BURST_NS = 2_000_000


class LiveShadow:
    """Asks the candidate about recorded decisions; sheds first when its budget is used up.

    Attributes:
        counts: ``shadow_decisions``, ``shadow_diverged``, ``shadow_faults``,
            ``shadow_violations``, ``shadow_warnings`` and ``shadow_shed``.
        stopped: whether no candidate may be computed at all; what waits is shed.
    """

    def __init__(
        self,
        cpu_ns: Callable[[], int],
        monotonic_ns: Callable[[], int],
        draw: Callable[[], float],
        share: float = 0.01,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self.stopped = False
        self._cpu_ns = cpu_ns
        self._monotonic_ns = monotonic_ns
        self._draw = draw
        self._share = share
        #: Of severity ``warn``; counted in ``shadow_warnings``.
        self.warns: tuple[Invariant, ...] = ()
        self._begin = monotonic_ns()
        self._spent = 0

    def consider(self, candidate: Guarded, rate: float, rows: list[Row], action: int) -> None:
        """Compute the candidate on one decision, if the draw and the budget allow it.

        Args:
            candidate: the program.
            rate: share of decisions to compute.
            rows: all inputs, one row per item.
            action: what the stable arm picked.
        """
        if self._draw() >= rate:
            return
        allowed = BURST_NS + self._share * (self._monotonic_ns() - self._begin)
        if self.stopped or self._spent >= allowed or len(rows) > candidate.most:
            self.counts["shadow_shed"] += 1
            return
        begin = self._cpu_ns()
        self._compare(candidate, rows, action)
        self._spent += self._cpu_ns() - begin

    def _compare(self, candidate: Guarded, rows: list[Row], action: int) -> None:
        index = candidate.choice(rows)
        objection = candidate.objection(rows, index)
        self.counts["shadow_decisions"] += 1
        self.counts["shadow_faults"] += objection == "fault"
        self.counts["shadow_violations"] += objection.startswith("violation:")
        self.counts["shadow_diverged"] += index != action
        if self.warns and not objection:
            self.counts["shadow_warnings"] += candidate.warnings(self.warns, rows, index)
