"""What every gate is given: the candidate, what it is for, and the means to ask it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ...policies.rollout.ledger import Ledger
from ...sdk.invariant import Invariant, Violation
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
        program: the checked candidate; the language gate sets it.
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
    program: Program | ArrayProgram | None = None
    _bases: dict[tuple[str, int], Replay] = field(default_factory=dict)
    _holdout: list[Replay] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        """What is decided."""
        return self.target.kind

    @cached_property
    def invariants(self) -> tuple[Invariant, ...]:
        """Invariants that refuse a candidate, decision-level ones."""
        return blocking(self.target.invariants)

    @cached_property
    def observed(self) -> Floats:
        """Item tables that decisions of train see, f8[n, m, F]; of program form, tuples of arguments."""
        return self.simulator.observed(self.splits["train"])

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

    @contextmanager
    def candidate(self, source: str | None = None) -> Iterator[LockstepCandidate]:
        """Run the candidate (or another source) in a fresh fork for the length of a block."""
        with LockstepCandidate(self.zygote, source or self.source, self.kind) as candidate:
            yield candidate

    @contextmanager
    def process(self, source: str | None = None) -> Iterator[ProgramProcess]:
        """Run the candidate (or another source) of a kind of program form, as :meth:`candidate` does."""
        with ProgramProcess(self.zygote, source or self.source, self.kind) as process:
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
        streams = [
            self.simulator.stream(trace, calibration, self.seed(index, trace))
            for index, calibration in enumerate(self.calibrations[:most])
        ]
        if self.kind.form == "program":
            program_watch = ProgramWatch(self.kind, self.invariants)
            with self.process(source) as process:
                answer = asking(process, self.kind, program_watch)
                return run_program(answer, streams), program_watch.found
        watch = Watch(self.kind, self.invariants)
        with self.candidate(source) as candidate:
            replays = run_lockstep(candidate, streams, watch if self.invariants else None)
        return replays, watch.found

    def holdout_replays(self) -> tuple[list[Replay], list[Violation] | list[ProgramViolation]]:
        """Replay the candidate on the holdout; its replays are kept for the gates after."""
        self._holdout, broken = self.replays(self.splits["holdout"])
        return self._holdout, broken

    @property
    def kept_holdout(self) -> list[Replay]:
        """The candidate's replays on the holdout, as the holdout gate saw them."""
        return self._holdout

    def base(self, name: str, trace: Trace, most: int | None = None) -> list[Replay]:
        """Replay the incumbent on a window under every calibration (or the first few); kept by name."""
        return [self._base(name, trace, index) for index in range(len(self.calibrations[:most]))]

    def _base(self, name: str, trace: Trace, index: int) -> Replay:
        key = (name, index)
        if key not in self._bases:
            self._bases[key] = self.target.incumbent.replay(
                self.simulator, trace, self.calibrations[index], self.seed(index, trace)
            )
        return self._bases[key]
