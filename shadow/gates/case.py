"""What every gate is given: the candidate, what it is for, and the means to ask it."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ...policies.rollout.ledger import Ledger
from ...sdk.invariant import Invariant, Violation, broken_over
from ...sdk.isolation.layers import IsolationMode, Limits
from ...sdk.isolation.program import ProgramProcess
from ...sdk.isolation.zygote import Zygote
from ...sdk.kind import Kind
from ...sdk.language import ArrayProgram, Program
from ..evaluation import Split, require_seed
from ..isolation.lockstep import LockstepCandidate, run_lockstep
from ..policy import Policy
from ..programs import ProgramViolation, ProgramWatch, asking, run_program
from ..simulators.base import Replay, Simulator
from ..traces.trace import Trace
from .evaluator import Evaluator
from .ran import CountedCandidate, CountedProgram, Ran
from .regressions import Regression, Regressions, Stored, usable
from .watch import Watch, blocking

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """What a candidate is verified for.

    Attributes:
        hook: name of the hook.
        kind: what the hook decides.
        incumbent: the policy in production.
        invariants: of this hook, the kind's included.
    """

    hook: str
    kind: Kind
    incumbent: Policy
    invariants: tuple[Invariant, ...]


@dataclass(frozen=True)
class VerifyOptions:
    """How a verification runs.

    Attributes:
        isolation: ``strict`` or ``process``.
        seed: of all draws.
        calibrations: drawn from the fit's uncertainty; at least 8.
        examples: item tables tried against the invariants.
        actor: who asks, for the ledger; ``verify`` when nobody is named.
        limits: of the candidate's process, per gate.
        clock: Unix nanoseconds.
        timer: seconds, for durations.
    """

    isolation: IsolationMode = "strict"
    seed: int = 0
    calibrations: int = 8
    examples: int = 300
    actor: str = ""
    limits: Limits = field(default_factory=lambda: Limits(frame_s=5.0, total_s=600.0))
    clock: Callable[[], int] = time.time_ns
    timer: Callable[[], float] = time.perf_counter

    def __post_init__(self) -> None:
        """Refuse what nothing can be drawn from."""
        require_seed(self.seed)


def _nothing_warned() -> dict[str, Counter[str]]:
    return {"decisions": Counter(), "replays": Counter()}


@dataclass
class Case:
    """One candidate before the gates.

    Attributes:
        target: what it is verified for.
        source: of the candidate.
        trace: the whole of it.
        splits: windows of the trace by name: ``train``, ``validation``, ``holdout``.
        simulator: of the kind.
        zygote: clean process that candidates are forked from.
        ledger: counts openings of the holdout.
        against: sources of other policies to compare with, by name.
        options: how to run.
        regressions: cases that candidates got wrong before; None asks and keeps none.
        program: the checked candidate; the language gate sets it.
        ran: what the gate at hand has had done.
    """

    target: Target
    source: str
    trace: Trace
    splits: Mapping[Split, Trace]
    simulator: Simulator
    zygote: Zygote
    ledger: Ledger
    against: Mapping[str, str]
    options: VerifyOptions
    regressions: Regressions | None = None
    program: Program | ArrayProgram | None = None
    ran: Ran = field(default_factory=Ran)
    _bases: dict[tuple[str, int], Replay] = field(default_factory=dict)
    _windows: dict[Split, tuple[list[Replay], Any]] = field(default_factory=dict)
    _warned: dict[str, Counter[str]] = field(default_factory=_nothing_warned)

    @property
    def kind(self) -> Kind:
        """What is decided."""
        return self.target.kind

    @cached_property
    def invariants(self) -> tuple[Invariant, ...]:
        """Invariants that refuse a candidate, decision-level ones."""
        return blocking(self.target.invariants)

    @property
    def observed(self) -> Floats:
        """Item tables that decisions of train see, f8[n, m, F]; of program form, tuples of arguments."""
        self.ran.saw("train", self.splits["train"])
        return self._observed

    @cached_property
    def _observed(self) -> Floats:
        return self.simulator.observed(self.splits["train"])

    @cached_property
    def evaluator(self) -> Evaluator:
        """What scores: the simulator of this hook's kind."""
        return Evaluator.of(self.target.hook, self.kind, self.simulator)

    @cached_property
    def stored(self) -> tuple[list[Stored], list[Stored]]:
        """Stored cases of this hook that can be asked, and those that cannot."""
        found = self.regressions.of(self.target.hook) if self.regressions else ()
        return usable(found, self.kind, self.target.invariants)

    @cached_property
    def calibrations(self) -> tuple[Any, ...]:
        """Calibrations drawn from the uncertainty of the fit to the whole trace.

        The whole, because what happened to the members at their own times (slow spells) belongs to
        the workload of every window; no candidate's score takes part in the fit.

        Raises:
            TraceError: too little data to fit.
        """
        return self.simulator.draws(self.trace, self.options.calibrations, self.options.seed)

    @cached_property
    def calibration_digest(self) -> str:
        """sha256 hex over all calibrations."""
        joined = "".join(calibration.digest for calibration in self.calibrations)
        return hashlib.sha256(joined.encode()).hexdigest()

    def known(self, invariant: str | None = None) -> list[Regression]:
        """Return stored cases to ask: of one invariant (empty: of determinism), or of all invariants."""
        cases = [each.case for each in self.stored[0] if each.case is not None]
        if invariant is None:
            return [case for case in cases if case.invariant]
        return [case for case in cases if case.invariant == invariant]

    @contextmanager
    def candidate(self, source: str | None = None) -> Iterator[LockstepCandidate]:
        """Run the candidate (or another source) in a fresh fork for the length of a block."""
        with CountedCandidate(self.zygote, source or self.source, self.kind) as candidate:
            candidate.ran, self.ran.layers = self.ran, tuple(candidate.layers)
            yield candidate

    @contextmanager
    def process(self, source: str | None = None) -> Iterator[ProgramProcess]:
        """Run the candidate (or another source) of a kind of program form, as :meth:`candidate` does."""
        with CountedProgram(self.zygote, source or self.source, self.kind) as process:
            process.ran, self.ran.layers = self.ran, tuple(process.layers)
            yield process

    def seed(self, index: int, trace: Trace) -> int:
        """Return the seed of a window's replay under one calibration; the same for every policy.

        It depends on what the window holds: a search that scored on other windows has not met this luck.
        """
        named = f"{self.options.seed}/{trace.digest}/{index}".encode()
        return int.from_bytes(hashlib.sha256(named).digest()[:6], "little")

    def replays(
        self, trace: Trace, source: str | None = None, most: int | None = None
    ) -> tuple[list[Replay], list[Violation] | list[ProgramViolation]]:
        """Replay a policy in lockstep under every calibration (or the first few), all together.

        Returns:
            one replay per calibration, and the first decisions that broke an invariant.

        Raises:
            CandidateStopped: the policy faulted, died or took too long.
        """
        self._looked_at(trace, most)
        self.ran.replayed("candidate", len(self.calibrations[:most]))
        streams = [
            self.simulator.stream(trace, calibration, self.seed(index, trace))
            for index, calibration in enumerate(self.calibrations[:most])
        ]
        if self.kind.form == "program":
            program_watch = ProgramWatch(self.kind, self.invariants, warns=self._warns(source))
            with self.process(source) as process:
                answer = asking(process, self.kind, program_watch)
                replays = run_program(answer, streams)
            self._warn(source, replays, program_watch)
            return replays, program_watch.found
        watch = Watch(self.kind, self.invariants, warns=self._warns(source))
        looks = bool(watch.invariants or watch.warns)
        with self.candidate(source) as candidate:
            replays = run_lockstep(candidate, streams, watch if looks else None)
        self._warn(source, replays, watch)
        return replays, watch.found

    def _warns(self, source: str | None) -> tuple[Invariant, ...]:
        """Return the decision invariants that warn; of other policies than the candidate nobody asks."""
        asked = (each for each in self.target.invariants if each.asked_of("decision", "warn"))
        return tuple(asked) if source is None else ()

    def _warn(
        self, source: str | None, replays: Sequence[Replay], watch: Watch | ProgramWatch
    ) -> None:
        """Count what the candidate's replays broke that only warns."""
        if source is not None:
            return
        over = (broken_over(replay.summary(), self._whole_warns) for replay in replays)
        self._warned["decisions"].update(watch.warned)
        self._warned["replays"].update(each.name for found in over for each in found)

    @cached_property
    def _whole_warns(self) -> tuple[Invariant, ...]:
        return tuple(each for each in self.target.invariants if each.asked_of("replay", "warn"))

    def take_warnings(self) -> dict[str, dict[str, int]]:
        """Return what the candidate's replays broke that only warns, since the last time.

        Returns:
            ``decisions``: by name, how many decisions of the replays under the first calibration;
            ``replays``: by name, how many replays. Empty where nothing was broken.
        """
        taken = {where: dict(names) for where, names in self._warned.items() if names}
        self._warned = _nothing_warned()
        return taken

    def _looked_at(self, trace: Trace, most: int | None) -> None:
        """Count a window and the calibrations that it is replayed under."""
        self.ran.saw(self._named(trace), trace)
        self.ran.used(self.calibrations[:most])

    def _named(self, trace: Trace) -> str:
        """Return the name of a window, or of the one that it is a part of."""
        for name, window in self.splits.items():
            if window is trace:
                return name
            if len(trace) and window.time[0] <= trace.time[0] <= trace.time[-1] <= window.time[-1]:
                return f"part of {name}"
        return "a window"

    def window(self, name: Split) -> tuple[list[Replay], list[Violation] | list[ProgramViolation]]:
        """Replay the candidate on a window under every calibration, as :meth:`replays`; kept by name."""
        if name not in self._windows:
            self._windows[name] = self.replays(self.splits[name])
        return self._windows[name]

    def base(self, name: str, trace: Trace, most: int | None = None) -> list[Replay]:
        """Replay the incumbent on a window under every calibration (or the first few); kept by name."""
        self._looked_at(trace, most)
        return [self._base(name, trace, index) for index in range(len(self.calibrations[:most]))]

    def _base(self, name: str, trace: Trace, index: int) -> Replay:
        key = (name, index)
        if key not in self._bases:
            self.ran.replayed("incumbent")
            self._bases[key] = self.target.incumbent.replay(
                self.simulator, trace, self.calibrations[index], self.seed(index, trace)
            )
        return self._bases[key]
