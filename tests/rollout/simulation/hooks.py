"""Hooks of a simulated process: the product's arms and measures, with outcomes that a world decides on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from gnomon.sdk.arms import Arms, Moment, Sampling, Segment, Surroundings, segment
from gnomon.sdk.assignment import Assignment
from gnomon.sdk.guard import Guarded
from gnomon.sdk.limits import Breakers, Limits
from gnomon.sdk.manifest import Now
from gnomon.sdk.measure import BlockMeasure
from gnomon.sdk.records import Decision, Outcome
from gnomon.sdk.slices import SliceMeasure

from ..events import Decided, LeaseEnded
from .publisher import kind_of
from .weather import SECOND

if TYPE_CHECKING:
    from .process import Process

_SAMPLING = Sampling(1.0, SECOND, "", "")
_PER_STEP = 3
_LIMITS = Limits()
#: Units of a sticky hook; every third decision of a step has the same one in all processes.
_UNITS = 60


class SimHook:
    """A hook as delivery sees it; its decisions are made one by one, with the product's arms."""

    has_outcomes = True
    broken: ClassVar[dict[str, int]] = {}

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.kind = kind_of(name)
        self.counters: dict[str, int] = {"decisions": 0, "fallbacks": 0}
        self.measure: Any = None
        self.killed = ""
        self.arms = Arms()
        self._process = process
        self._breakers = Breakers(lambda reason: None)
        self._open: list[tuple[Decision, str, int]] = []
        self._stale = False

    @property
    def breaker(self) -> str:
        """Why the candidate was taken back here."""
        return self.arms.breaker()

    def new_measure(self) -> BlockMeasure | SliceMeasure:
        """Return the product's measure for these arms."""
        return SliceMeasure(self.kind) if self.kind.arms == "sticky" else BlockMeasure(self.kind)

    def install(self, assignment: Assignment) -> None:
        """Run on another assignment."""
        self._process.installed(self.name, assignment.epoch)
        self.arms = Arms(
            assignment,
            self._guarded(assignment.stable, "stable", assignment.epoch),
            self._guarded(assignment.candidate, "candidate", assignment.epoch),
        )

    def trip(self) -> None:
        """Have the candidate taken back, as after faults."""
        if self.arms.candidate is not None:
            self.arms.candidate.breaker.reason = "fault"

    def step(self, now: Now) -> None:
        """Report the outcomes of the last decisions and make some more."""
        self._resolve(now)
        held = segment(
            self.arms,
            Moment(now.unix_ns, now.monotonic_ns),
            _SAMPLING,
            Surroundings(killed=bool(self.killed)),
        )
        drawn = [self._drawn(held) for _ in range(_PER_STEP)]
        self._lease(held)
        for one in {(each.arm, each.policy): each for each in drawn}.values():
            self._note(one)
        for one in drawn:
            self._decide(one, now)

    def _drawn(self, held: Segment) -> Segment:
        """Return the segment that holds for the next decision: with sticky arms that of its unit."""
        if not held.slices or held.split is None:
            return held
        split, unit = held.split, f"u{self._process.rng.randrange(_UNITS)}"
        hashed = split.hash((split.prefix + unit).encode())
        own = split.candidate if split.candidate is not None and hashed < split.bound else held
        return replace(own, block=hashed * held.slices >> 32)

    def _lease(self, held: Segment) -> None:
        world, process = self._process.world, self._process
        if held.stale and not self._stale:
            world.met["lease ends"] += 1
            world.add(LeaseEnded(world.now, process.name, self.name, held.epoch))
        self._stale = held.stale

    def _note(self, held: Segment) -> None:
        world, process = self._process.world, self._process
        world.add(Decided(world.now, process.name, self.name, held.epoch, held.arm, held.policy))

    def _decide(self, held: Segment, now: Now) -> None:
        world, assigned = self._process.world, self.arms.assignment
        seq = self.counters["decisions"]
        self.counters["decisions"] += 1
        self.counters["fallbacks"] += held.reason == "fallback"
        features = (world.feature(self.name), *[0.0] * (len(self.kind.input_names) - 1))
        made = Decision(
            seq, now.unix_ns, 1000, "", held.arm, held.reason, held.detail, held.policy, held.epoch,
            held.block, 0, 1, features, 1.0, "sampled", 0, 0,
        )  # fmt: skip
        if held.shadow is not None:
            self._shadowed(world.truth(self.name, assigned.candidate_digest))
        self._take(made, held.policy, now)
        if assigned.switchback is not None and assigned.switchback.paired and held.block >= 0:
            # The other arm's answer to the same traffic, as a cache's ghost gives it; not the hook's own.
            ghost = made._replace(seq=-1 - seq, arm="stable", reason="split", inclusion="ghost")
            self._take(ghost, assigned.stable_digest, now)

    def _take(self, made: Decision, policy: str, now: Now) -> None:
        if self.measure is not None:
            self.measure.add(made)
            self._open.append((made, policy, now.monotonic_ns))

    def _shadowed(self, truth: Any) -> None:
        counts = self.counters
        counts["shadow_decisions"] = counts.get("shadow_decisions", 0) + 1
        fault = self._process.rng.random() < truth.faults
        counts["shadow_faults"] = counts.get("shadow_faults", 0) + fault

    def _resolve(self, now: Now) -> None:
        """Report outcomes of a step ago; silent ones are missing at the deadline."""
        kept = []
        for made, policy, at in self._open:
            truth, rng = self._process.world.truth(self.name, policy), self._process.rng
            if truth.silent and now.monotonic_ns - at < self.kind.outcome_deadline_s * SECOND:
                kept.append((made, policy, at))
                continue
            status = "missing" if truth.silent else "reported"
            ok = not truth.silent and rng.random() >= truth.failures
            value = 10.0 * truth.factor * rng.uniform(0.9, 1.1)
            outcome = Outcome(
                made.seq, now.unix_ns, ok, status, (("latency_ms", value),), made.arm, made.block,
                made.time_ns,
            )  # fmt: skip
            self.measure.add(outcome)
        self._open = kept

    def _guarded(self, program: Any, arm: str, epoch: int) -> Guarded | None:
        breaker = self._breakers.of(arm, epoch, _LIMITS)
        if program is None:
            return None
        host: Any = None  # nobody asks the program for an answer here
        return Guarded(program, self.kind, (), host, breaker)
