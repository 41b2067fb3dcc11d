"""Who answers when: an assignment compiled into segments of time in which nothing changes.

The request path holds one segment and compares its bounds with the clock; only when a bound is
crossed is anything looked up again. A bound is a block's end, a sampling window's end, the lease,
or a tenth of a second, so that a lease on the monotonic clock ends in time when the wall clock jumps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .assignment import Assignment, uniform
from .errors import ConfigurationError
from .guard import Guarded
from .kind import Kind
from .records import INCUMBENT

REVIEW_NS = 100_000_000
_CANDIDATE_PHASES = ("canary", "full", "shadow")


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which windows of time are recorded; the same in every process that has the same arguments.

    Attributes:
        share: of windows, 0 to 1.
        window_ns: length of a window.
        hook, cell: what the draw depends on.
    """

    share: float
    window_ns: int
    hook: str
    cell: str

    def sampled(self, time_ns: int) -> bool:
        """Return whether decisions at a Unix time are recorded."""
        if self.share >= 1.0:
            return True
        window = time_ns // self.window_ns
        return uniform(b"sample", self.hook.encode(), self.cell, window) < self.share


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time in which one arm decides under one rule.

    Attributes:
        since, until: Unix ns; outside of it the segment does not hold.
        ask: of the program that answers; None for the incumbent.
        governed: whether anything but the incumbent has a say (a program, or exploring).
        record: whether every decision is recorded.
        skip: whether the incumbent answers and nothing is recorded.
        explore: share of decisions given to a uniform draw.
        context: reads the caller's OpenTelemetry context; None when no such library is loaded.
        arm, reason, detail, policy, epoch, block: as in the decision record.
        inclusion: why a record is kept.
        stale: whether the arm decides only because the lease ran out.
        shadow: program that is computed beside, off-thread; None for none.
        shadow_rate: on which share of recorded decisions.
    """

    since: int = 0
    until: int = 0
    ask: Callable[..., Any] | None = None
    governed: bool = False
    record: bool = True
    skip: bool = False
    explore: float = 0.0
    context: Callable[[], Any] | None = None
    arm: str = INCUMBENT
    reason: str = "static"
    detail: str = ""
    policy: str = INCUMBENT
    epoch: int = 0
    block: int = -1
    inclusion: str = "sampled"
    stale: bool = False
    shadow: Guarded | None = None
    shadow_rate: float = 0.0


#: Holds at no time, so that the first call looks up what does.
UNBORN = Segment()


@dataclass(frozen=True, slots=True)
class Arms:
    """An assignment with its programs made ready to be asked.

    Attributes:
        assignment: what was installed.
        stable, candidate: guarded programs; None for the incumbent, or for none.
    """

    assignment: Assignment = field(default_factory=Assignment)
    stable: Guarded | None = None
    candidate: Guarded | None = None

    def breaker(self) -> str:
        """Return why a program was taken back in this process, or an empty string."""
        for name, program in (("candidate", self.candidate), ("stable", self.stable)):
            if program is not None and program.breaker.reason:
                return f"{name}: {program.breaker.reason}"
        return ""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a segment is looked up.

    Attributes:
        unix_ns, monotonic_ns: the two clocks.
    """

    unix_ns: int
    monotonic_ns: int


@dataclass(frozen=True, slots=True)
class _Turn:
    """Which arm decides, and why."""

    arm: str
    reason: str = "static"
    detail: str = ""
    block: int = -1
    stale: bool = False


def check_assignment(assignment: Assignment, kind: Kind) -> None:
    """Raise ConfigurationError for an assignment that cannot be run."""
    if assignment.phase in _CANDIDATE_PHASES and assignment.candidate is None:
        raise ConfigurationError(f"phase {assignment.phase!r} needs a candidate program; give one")
    if assignment.phase == "canary" and assignment.switchback is None:
        raise ConfigurationError("phase 'canary' needs switchback blocks; give switchback=")
    if assignment.switchback is not None and assignment.switchback.block_ns <= 0:
        raise ConfigurationError(
            f"block_ns is {assignment.switchback.block_ns}; it must be above 0"
        )
    for program in (assignment.stable, assignment.candidate):
        unknown = sorted(set(getattr(program, "inputs", ())) - set(kind.input_names))
        if unknown:
            raise ConfigurationError(
                f"the program reads {', '.join(unknown)}, unknown to kind {kind.name!r}; "
                f"it may read {', '.join(kind.input_names)}"
            )


def segment(
    arms: Arms,
    now: Moment,
    sampling: Sampling,
    explore: float = 0.0,
    context: Callable[[], Any] | None = None,
) -> Segment:
    """Return the segment that holds now."""
    turn = _turn(arms, now)
    program = _program(arms, turn)
    record = turn.block >= 0 or sampling.sampled(now.unix_ns)
    since, until = _bounds(arms, now, sampling)
    live = arms.assignment.phase == "shadow" and not turn.stale and not arms.breaker()
    return Segment(
        since=since,
        until=until,
        ask=program.ask if program else None,
        governed=program is not None or explore > 0.0,
        record=record,
        skip=not record and program is None and explore == 0.0,
        explore=explore,
        context=context,
        arm=turn.arm,
        reason="fallback" if turn.detail else turn.reason,
        detail=turn.detail,
        policy=_policy(arms, program),
        epoch=arms.assignment.epoch,
        block=turn.block,
        inclusion="sampled" if record else "fallback",
        stale=turn.stale,
        shadow=arms.candidate if live else None,
        shadow_rate=arms.assignment.shadow_rate,
    )


def _turn(arms: Arms, now: Moment) -> _Turn:
    assignment = arms.assignment
    if assignment.phase == "killed" or assignment.epoch == 0 == _programs(arms):
        return _Turn("incumbent")
    if now.monotonic_ns >= assignment.lease_until_ns:
        return _Turn("stable", stale=True)
    if assignment.phase == "full":
        return _candidate(arms, _Turn("candidate"))
    if assignment.phase == "canary" and assignment.switchback is not None:
        block = assignment.switchback.block(now.unix_ns)
        if assignment.switchback.candidate(block):
            return _candidate(arms, _Turn("candidate", "split", block=block))
        return _Turn("stable", "split", block=block)
    return _Turn("stable")


def _programs(arms: Arms) -> int:
    return (arms.stable is not None) + (arms.candidate is not None)


def _candidate(arms: Arms, turn: _Turn) -> _Turn:
    """Keep the arm that was assigned, but say so when the breaker took its program back."""
    if arms.candidate is None or not arms.candidate.breaker.reason:
        return turn
    return _Turn(turn.arm, turn.reason, "breaker", turn.block)


def _program(arms: Arms, turn: _Turn) -> Guarded | None:
    if turn.arm == "incumbent":
        return None
    if turn.arm == "candidate" and not turn.detail:
        return arms.candidate
    stable = arms.stable
    return stable if stable is not None and not stable.breaker.reason else None


def _policy(arms: Arms, program: Guarded | None) -> str:
    if program is None:
        return INCUMBENT
    if program is arms.candidate:
        return arms.assignment.candidate_digest
    return arms.assignment.stable_digest


def _bounds(arms: Arms, now: Moment, sampling: Sampling) -> tuple[int, int]:
    """Return from when to when nothing changes; not more than a tenth of a second either way."""
    low, high = now.unix_ns - REVIEW_NS, now.unix_ns + REVIEW_NS
    lengths = [sampling.window_ns] if sampling.share < 1.0 else []
    if arms.assignment.phase == "canary" and arms.assignment.switchback is not None:
        lengths.append(arms.assignment.switchback.block_ns)
    for length in lengths:
        start = now.unix_ns // length * length
        low, high = max(low, start), min(high, start + length)
    lease = arms.assignment.lease_until_ns - now.monotonic_ns
    return low, min(high, now.unix_ns + lease) if lease > 0 else high
