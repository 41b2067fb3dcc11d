"""Decision invariants in the compiled tier: the host runs a good candidate's first decisions again."""

from __future__ import annotations

import threading
from typing import Any

from ...sdk.invariant import Invariant, broken_over
from ...sdk.isolation.layers import IsolationMode, Limits
from ...sdk.isolation.zygote import Zygote
from ...sdk.kind import Kind
from ..gates.watch import Watch
from ..simulators import simulator_for
from ..traces.trace import Trace
from . import feedback
from .lockstep import LockstepCandidate, lockstep_zygote, run_lockstep

#: A sample: the gates check every decision of every replay.
GUARDED_DECISIONS = 300
#: Of these at least a hook's own invariants over a replay are asked; the kind's are asked of every replay.
GUARDED_REPLAY = 2_000


class InvariantGuard:
    """Replays in lockstep and watches; safe for several threads.

    Args:
        kind: what is decided.
        invariants: that block; those over a replay are asked of more decisions.
        trace: whose first decisions are replayed.
        calibration: to replay them under.
        mode: of isolation.
    """

    def __init__(
        self,
        kind: Kind,
        invariants: tuple[Invariant, ...],
        trace: Trace,
        calibration: Any,
        mode: IsolationMode,
    ) -> None:
        self._kind = kind
        self._invariants = tuple(each for each in invariants if each.scope == "decision")
        self._whole = tuple(each for each in invariants if each.scope == "replay")
        most = GUARDED_REPLAY if self._whole else GUARDED_DECISIONS
        self._trace = trace.rows(slice(0, most))
        self._calibration = calibration
        self._mode: IsolationMode = mode
        self._lock = threading.Lock()
        self._zygote = lockstep_zygote(mode, Limits())

    def broken(self, source: str) -> tuple[Invariant, str, str] | None:
        """Return the first invariant that was broken, how, and the decision in full; or None.

        Raises:
            CandidateStopped: the candidate died or took too long.
            IsolationError: our own side failed.
        """
        watch = Watch(self._kind, self._invariants)
        stream = simulator_for(self._kind).stream(self._trace, self._calibration, 0)
        with LockstepCandidate(self._living(), source, self._kind) as candidate:
            (replay,) = run_lockstep(candidate, [stream], watch if self._invariants else None)
        for found in watch.found:
            (invariant,) = (i for i in self._invariants if i.name == found.invariant)
            shown = feedback.items(self._kind.input_names, found.items, found.action)
            return invariant, found.detail, f"{found.detail}\n{shown}"
        broken = broken_over(replay.summary(), self._whole)
        return (broken[0], "", "") if broken else None

    def _living(self) -> Zygote:
        """Return the clean process, or a fresh one in the place of one that ended."""
        with self._lock:
            if self._zygote.ended():
                self._zygote.close()
                self._zygote = lockstep_zygote(self._mode, Limits())
            return self._zygote

    def close(self) -> None:
        """End the clean process."""
        self._zygote.close()
