"""Who answers when: an assignment compiled into segments of time in which nothing changes.

The request path holds one segment and compares its end with the monotonic clock, which is the cheapest
to read; only then is anything looked up again. It ends with a block, a sampling window or the lease. The
drainer looks it up again at every round, and so notices a jump of the wall clock; where it does not come
to that, a segment ends after two seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from .assignment import Assignment, Sticky, uniform
from .errors import ConfigurationError
from .guard import Guarded
from .kind import Kind
from .records import INCUMBENT

#: The drainer renews segments more often than that, so that the request path seldom has to.
REVIEW_NS = 2_000_000_000
#: So long before a window begins, the request path need not watch for it: the drainer comes before.
FAR_NS = 1_500_000_000
_CANDIDATE_PHASES = ("canary", "full", "shadow")
#: Detail of decisions that the incumbent made because policies were killed in this process.
KILLED = "killed"


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
class Split:
    """How a segment of sticky arms comes to the one that holds for a unit; the wrapper does it in place.

    Attributes:
        hash: MurmurHash3, 32 bit, unsigned, of bytes.
        prefix: text that goes before the unit.
        bound: units of a lower hash are the candidate's; 0 where the segment itself is the candidate's.
        candidate: the segment that holds for them.
        share: of the units.
    """

    hash: Callable[[bytes], int]
    prefix: str
    bound: int
    candidate: Segment | None
    share: float


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time in which one arm decides under one rule.

    Attributes:
        until: when it ends, on the request path's clock.
        began, began_ns: one moment of it on that clock, and as Unix time in ns.
        unit_ns: length of that clock's unit.
        answer: where anything but the incumbent has a say (a program, or exploring): (items, members,
            number of the decision) to a :data:`~gnomon.sdk.guard.Verdict`; None for the incumbent alone.
        program: that is asked; None for none.
        record: whether every decision is recorded.
        skip: whether the incumbent answers and nothing is recorded.
        far: whether that stays so until the drainer has looked again, so that no clock is read.
        plain: whether the incumbent answers, all is recorded, and nothing else is to be done.
        tracks: whether picks are kept up to date for a program that may be asked later.
        gap: how often, up to here, decisions began to be recorded after some were not.
        explore: share of decisions given to a uniform draw.
        context: reads the caller's OpenTelemetry context; None when no such library is loaded.
        arm, reason, detail, policy, epoch, block: as in the decision record.
        inclusion: why a record is kept.
        stale: whether the arm decides only because the lease ran out.
        shadow: program that is computed beside, off-thread; None for none.
        shadow_rate: on which share of recorded decisions.
        split: for sticky arms, how a unit comes to its own segment; this one holds for the stable arm's
            and for decisions without a unit. None where one segment holds for all.
        slices: into how many the hash of a unit is divided; 0 where it is not.
    """

    until: float = -1.0
    began: float = 0.0
    began_ns: int = 0
    unit_ns: float = 1.0
    answer: Callable[..., Any] | None = None
    program: Guarded | None = None
    record: bool = True
    skip: bool = False
    far: bool = False
    plain: bool = False
    tracks: bool = False
    gap: int = 0
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
    split: Split | None = None
    slices: int = 0

    def unix_ns(self, moment: float) -> int:
        """Return a moment on the request path's clock as Unix time in ns."""
        return self.began_ns + int((moment - self.began) * self.unit_ns)

    def after(self, gap: int) -> Segment:
        """Return the segment, and the candidate's beside it, after so many gaps."""
        split = self.split
        if split is not None and split.candidate is not None:
            split = replace(split, candidate=replace(split.candidate, gap=gap))
        return replace(self, gap=gap, split=split)

    def asked(self) -> dict[Guarded, float]:
        """Return the programs that may be asked, each with its share of the decisions."""
        split = self.split
        if split is None or split.candidate is None:
            return {} if self.program is None else {self.program: 1.0}
        sides = {self.program: 1.0 - split.share, split.candidate.program: split.share}
        return {program: part for program, part in sides.items() if program is not None and part}


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
        unit_ns: length of the unit of the request path's clock, which is the monotonic one.
    """

    unix_ns: int
    monotonic_ns: int
    unit_ns: float = 1.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a hook gives to every segment.

    Attributes:
        explore: share of decisions given to a uniform draw.
        context: reads the caller's OpenTelemetry context; None when no such library is loaded.
        unasked: answers, as a segment's ``answer`` does, where no program is asked.
        items: how many there are at present.
        ahead: whether the drainer asks, and will ask again well before :data:`FAR_NS` have gone by.
        killed: whether the incumbent decides alone, whatever was installed.
    """

    explore: float = 0.0
    context: Callable[[], Any] | None = None
    unasked: Callable[..., Any] | None = None
    items: int = 0
    ahead: bool = False
    killed: bool = False


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
    if assignment.phase == "canary" and assignment.design is None:
        raise ConfigurationError(
            "phase 'canary' needs switchback blocks or sticky slices; give switchback= or sticky="
        )
    if assignment.switchback is not None and assignment.switchback.block_ns <= 0:
        raise ConfigurationError(
            f"block_ns is {assignment.switchback.block_ns}; it must be above 0"
        )
    if assignment.sticky is not None and assignment.sticky.slices < 1:
        raise ConfigurationError(
            f"slices is {assignment.sticky.slices}; there must be 1 or more of them"
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
    surroundings: Surroundings,
) -> Segment:
    """Return the segment that holds now."""
    turn = _Turn("incumbent", detail=KILLED) if surroundings.killed else _turn(arms, now)
    sticky = _sticky(arms, turn)
    canary = sticky is not None and arms.assignment.phase == "canary"
    record = turn.block >= 0 or canary or sampling.sampled(now.unix_ns)
    held = _held(arms, now, sampling, surroundings, turn, record)
    if sticky is None:
        return held
    import mmh3  # as where a unit's slice is computed; not needed where no arms are sticky

    theirs = _candidate(arms, _Turn("candidate", "split")) if canary else None
    side = _held(arms, now, sampling, surroundings, theirs, record) if theirs else None
    side = replace(side, slices=sticky.slices) if side else None
    bound = sticky.bound if side else 0
    share = sticky.candidates / sticky.slices
    split = Split(mmh3.mmh3_32_uintdigest, sticky.salt.hex(), bound, side, share)
    return replace(held, split=split, slices=sticky.slices)


def _held(
    arms: Arms,
    now: Moment,
    sampling: Sampling,
    surroundings: Surroundings,
    turn: _Turn,
    record: bool,
) -> Segment:
    """Return the segment in which an arm decides."""
    killed = surroundings.killed
    stopped = killed or arms.assignment.phase == "killed"
    explore = 0.0 if stopped else surroundings.explore
    program = _program(arms, turn)
    governed = program is not None or explore > 0.0
    skip = not record and not governed
    tracks = explore > 0.0 or _track(arms)
    length = _length(arms, now, sampling)
    shadowed = arms.assignment.phase == "shadow" and not turn.stale
    live = shadowed and not killed and not arms.breaker()
    return Segment(
        until=(now.monotonic_ns + length) / now.unit_ns,
        began=now.monotonic_ns / now.unit_ns,
        began_ns=now.unix_ns,
        unit_ns=now.unit_ns,
        answer=_answer(program, surroundings) if governed else None,
        program=program,
        record=record,
        skip=skip,
        far=skip and surroundings.ahead and (sampling.share <= 0.0 or length >= FAR_NS),
        plain=not governed and not skip and not tracks and surroundings.context is None,
        tracks=tracks,
        explore=explore,
        context=surroundings.context,
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


def _sticky(arms: Arms, turn: _Turn) -> Sticky | None:
    """Return the slices by which decisions are divided now; none where the lease is over, or a kill holds."""
    divided = turn.reason == "split" or turn.arm == "candidate"
    return arms.assignment.sticky if divided and not turn.stale else None


def _answer(program: Guarded | None, surroundings: Surroundings) -> Callable[..., Any] | None:
    if program is None or program.answers is None:
        return surroundings.unasked
    return program.answers.ready(surroundings.items)


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
    if assignment.phase == "canary" and assignment.sticky is not None:
        return _Turn("stable", "split")  # of a unit in a slice of the candidate's it is another
    return _Turn("stable")


def _programs(arms: Arms) -> int:
    return (arms.stable is not None) + (arms.candidate is not None)


def _track(arms: Arms) -> bool:
    """Return whether a program of either arm needs to know when each item was last picked."""
    programs = (arms.stable, arms.candidate)
    return any(p is not None and (p.answers is None or p.answers.tracks) for p in programs)


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


def _length(arms: Arms, now: Moment, sampling: Sampling) -> int:
    """Return for how many ns nothing changes; not more than two seconds."""
    length = REVIEW_NS
    periods = [sampling.window_ns] if sampling.share < 1.0 else []
    if arms.assignment.phase == "canary" and arms.assignment.switchback is not None:
        periods.append(arms.assignment.switchback.block_ns)
    for period in periods:
        length = min(length, period - now.unix_ns % period)
    lease = arms.assignment.lease_until_ns - now.monotonic_ns
    return min(length, lease) if lease > 0 else length
