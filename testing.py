"""Fakes for a service's own tests: what was recorded, a clock to turn, a policy put in by hand."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .sdk.assignment import Assignment
from .sdk.batches import unpacked
from .sdk.cache.hook import CacheHook
from .sdk.config import Clock, Settings
from .sdk.errors import ConfigurationError
from .sdk.hook import Hook, hook_behind
from .sdk.kind import Kind
from .sdk.limits import Limits
from .sdk.records import INCUMBENT, Decision, Outcome, Record, Workload, WorkloadBatch
from .sdk.runtime import RUNTIME

START_NS = 1_700_000_000_000_000_000

__all__ = ["FakeClock", "Recording", "check_simulator", "fake_trace", "force", "recording"]


class FakeClock:
    """A clock that moves only when told; both its faces move together.

    Attributes:
        unix_ns: Unix time now.
        monotonic: monotonic time now, in ns.
    """

    def __init__(self, unix_ns: int = START_NS) -> None:
        self.unix_ns = unix_ns
        self.monotonic = 0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.unix_ns += round(seconds * 1e9)
        self.monotonic += round(seconds * 1e9)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator would; no time passes."""
        self.unix_ns += round(seconds * 1e9)

    def clock(self) -> Clock:
        """Return the clock in the shape that settings take."""
        return Clock(lambda: self.unix_ns, lambda: self.monotonic, lambda: self.monotonic)


@dataclass
class Recording:
    """An in-memory sink; reading it drains the hooks first.

    Attributes:
        records: everything, in order, with the name of its hook.
    """

    records: list[tuple[str, Record]] = field(default_factory=list)

    def write(self, hook: Hook, records: Sequence[Record]) -> None:
        """Keep records."""
        self.records.extend((hook.name, record) for record in records)

    def flush(self, timeout_s: float) -> None:
        """Do nothing; everything is kept already."""

    def close(self, timeout_s: float) -> None:
        """Do nothing; what was kept can still be read."""

    @property
    def decisions(self) -> list[Decision]:
        """Decisions so far, of all hooks."""
        return [record for record in self._all() if isinstance(record, Decision)]

    @property
    def outcomes(self) -> list[Outcome]:
        """Outcomes so far, missing ones included once their deadline has passed."""
        return [record for record in self._all() if isinstance(record, Outcome)]

    @property
    def workload(self) -> list[Workload]:
        """Workload events of their own so far, those of batches one by one."""
        found: list[Workload] = []
        for record in self._all():
            if isinstance(record, WorkloadBatch):
                found.extend(unpacked(record))
            elif isinstance(record, Workload):
                found.append(record)
        return found

    def _all(self) -> list[Record]:
        RUNTIME.round()
        return [record for _, record in self.records]


@contextmanager
def recording(
    *,
    clock: FakeClock | None = None,
    sample: float = 1.0,
    ring_size: int = 16384,
    seed: int = 0,
    cell: str = "default",
    limits: Limits | None = None,
) -> Iterator[Recording]:
    """Record all hooks in memory within the block; policies and configuration end with it.

    Args:
        clock: to turn by hand; the machine's own by default.
        sample: share of time windows that is recorded.
        ring_size: records of one hook that may wait.
        seed: of noise, exploration and live shadow.
        cell: of this process.
        limits: when a program is taken back.
    """
    settings = Settings(
        sample=sample,
        ring_size=ring_size,
        seed=seed,
        cell=cell,
        limits=limits or Limits(),
        clock=clock.clock() if clock else Clock(),
    )
    sink = Recording()
    RUNTIME.configure(settings, [sink])
    try:
        yield sink
    finally:
        RUNTIME.shutdown()
        for hook in RUNTIME.hooks.values():
            hook.install(Assignment())


def force(hook: object, policy: str) -> None:
    """Let a policy decide in a hook from the next call on.

    Args:
        hook: the decorated function, or a PolicyCache.
        policy: source in the form of the hook's kind, the name of one of the kind's baselines, or ``incumbent``.

    Raises:
        ConfigurationError: no such baseline, or one that the policy language cannot express.
        LanguageError: the source lies outside the policy language.
    """
    found = getattr(hook, "hook", None)
    target = found if isinstance(found, CacheHook) else hook_behind(hook)
    epoch = target.assignment.epoch + 1
    if policy == INCUMBENT:
        target.install(Assignment(epoch=epoch))
        return
    program = target.kind.checked(_source(target.kind, policy))
    target.install(
        Assignment(
            epoch=epoch, phase="full", candidate=program, candidate_digest=program.source_digest
        )
    )


def _source(kind: Kind, policy: str) -> str:
    if not policy.isidentifier():
        return policy
    baseline = kind.baselines.get(policy)
    if baseline is None or baseline.source is None:
        known = sorted(name for name, known in kind.baselines.items() if known.source)
        raise ConfigurationError(f"no baseline {policy!r} to run in a hook; use {', '.join(known)}")
    return baseline.source


def check_simulator(simulator: Any, trace: Any, seed: int = 0) -> None:
    """Hold a simulator to what replays rest on; it needs the ``shadow`` extra.

    Equal picks give equal replays; every policy meets the same luck; a decision shows nothing of later picks,
    nor of what is later in the trace; every decision has one outcome; a compiled score decides as the
    same score asked row by row; calibrations can be written and read.

    Args:
        simulator: of a kind of score form.
        trace: some hundred decisions.
        seed: of the replays.

    Raises:
        AssertionError: it does not; says all that is wrong.
    """
    from .shadow.simulators.conformance import problems

    found = problems(simulator, trace, seed)
    if found:
        raise AssertionError("; ".join(found))


def fake_trace(
    kind: Kind,
    decisions: int = 100,
    *,
    members: int = 3,
    rate: float = 100.0,
    seed: int = 0,
    latency: Callable[[int, float], float] | None = None,
) -> list[Record]:
    """Return small made-up records of a hook that picks at random: members, decisions, outcomes.

    Args:
        kind: whose inputs are drawn, each from 0 to 10 within its range.
        decisions: how many.
        members: how many items.
        rate: decisions per second, evenly spaced.
        seed: of everything random.
        latency: (action, uniform draw) to the value of the objective; 10 to 30 by default.
    """
    draw = random.Random(seed).random
    measure = latency or (lambda action, u: 10.0 * (action + 1) * (1.0 + u))
    names = "\n".join(f"member-{i}" for i in range(members))
    records: list[Record] = [Workload(0, START_NS, "members", (("names", names),))]
    for seq in range(decisions):
        decision = _fake_decision(kind, seq, START_NS + round(seq * 1e9 / rate), members, draw)
        value = measure(decision.action, draw())
        records += [decision, _fake_outcome(kind, decision, value)]
    return records


def _fake_decision(
    kind: Kind, seq: int, time_ns: int, members: int, draw: Callable[[], float]
) -> Decision:
    features = tuple(_within(feature, draw()) for _ in range(members) for feature in kind.inputs)
    action = min(int(draw() * members), members - 1)
    return Decision(
        seq, time_ns, -1, "", "incumbent", "static", "", INCUMBENT, 0, -1, action, members,
        features, 1.0, "sampled", 0, 0,
    )  # fmt: skip


def _within(feature: Any, u: float) -> float:
    value = feature.low + u * min(10.0, feature.high - feature.low)
    return float(int(value)) if feature.integer else value


def _fake_outcome(kind: Kind, decision: Decision, value: float) -> Outcome:
    values = ((kind.objective.name, value),)
    time_ns = decision.time_ns + 1_000_000
    return Outcome(
        decision.seq, time_ns, True, "reported", values, "incumbent", -1, decision.time_ns
    )
