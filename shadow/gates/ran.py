"""What a gate ran, and on what: kept while it runs, by the means that it is given, and put into its evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...sdk.isolation.program import ProgramProcess
from ...sdk.language import Answer
from ...sdk.language._arrays import Term
from ..isolation.lockstep import Floats, Indices, LockstepCandidate
from ..traces.trace import Trace


@dataclass
class Ran:
    """What one gate has had done so far.

    Attributes:
        asked: questions that a candidate's process was asked: decisions and rows, of a program questions.
        replays: how many, by whose: ``candidate`` (rivals included) and ``incumbent``.
        windows: of the trace that were looked at, by digest: name and decisions.
        calibrations: digests, in the order in which they were first used.
        layers: of isolation, that held for the candidate's processes.
        regressions: stored cases that were asked.
    """

    asked: int = 0
    replays: dict[str, int] = field(default_factory=dict)
    windows: dict[str, dict[str, Any]] = field(default_factory=dict)
    calibrations: dict[str, None] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    regressions: int = 0

    def saw(self, name: str, trace: Trace) -> None:
        """Count a window of the trace, or a part of one."""
        self.windows[trace.digest] = {"window": name, "decisions": len(trace)}

    def used(self, calibrations: Sequence[Any]) -> None:
        """Count calibrations of the simulator."""
        self.calibrations.update(dict.fromkeys(each.digest for each in calibrations))

    def replayed(self, whose: str, count: int = 1) -> None:
        """Count replays."""
        self.replays[whose] = self.replays.get(whose, 0) + count

    def as_json(self, evaluator: str, seed: int) -> dict[str, Any]:
        """Return what stands in the evidence; what a gate did not do is left out.

        Args:
            evaluator: digest of what scored.
            seed: of all draws.
        """
        windows = [{**about, "digest": digest} for digest, about in self.windows.items()]
        said = {
            "asked": self.asked,
            "replays": dict(self.replays),
            "windows": windows,
            "calibrations": list(self.calibrations),
            "layers": list(self.layers),
            "regressions": self.regressions,
            "evaluator": evaluator if windows else "",
        }
        return {name: value for name, value in said.items() if value} | {"seed": seed}


class CountedCandidate(LockstepCandidate):
    """A candidate in score form that counts what it is asked."""

    ran: Ran

    def choose(self, batch: Floats) -> Indices:
        """Return the picked index of every decision, as any candidate."""
        self.ran.asked += len(batch)
        return super().choose(batch)

    def scores(self, rows: Floats, *, reference: bool = False) -> Floats:
        """Return the scores of single rows, as any candidate."""
        self.ran.asked += len(rows)
        return super().scores(rows, reference=reference)


class CountedProgram(ProgramProcess):
    """A candidate in program form that counts what it is asked."""

    ran: Ran

    def ask_terms(
        self, terms: Mapping[str, Term], *, reference: bool = False, within_s: float | None = None
    ) -> Answer:
        """Return the answer to a question, as any program."""
        self.ran.asked += 1
        return super().ask_terms(terms, reference=reference, within_s=within_s)
