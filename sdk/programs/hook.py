"""The hook of a function that answers whole questions: what runtime and delivery see of it, and its calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..arms import UNBORN, Arms, Moment, Sampling, Segment, Surroundings, check_assignment, segment
from ..assignment import Assignment
from ..config import Settings
from ..errors import ConfigurationError
from ..invariant import Invariant
from ..limits import Breakers
from ..outcomes import PARTIAL
from ..ring import Tally
from ..runtime import RUNTIME, Runtime
from .calls import Calls
from .reading import ProgramSpec, Reader
from .records import Numbers, Recording
from .wrapper import wrapped

if TYPE_CHECKING:
    from ..isolation.layers import IsolationMode
    from ..kind import Kind
    from ..measure import BlockMeasure
    from ..records import Record
    from .guard import ProgramGuard


class ProgramHook:
    """One decision point of a service, whose policies are programs.

    Attributes:
        name: of the hook.
        kind: what it decides.
        spec: how a call is read.
        incumbent: the function in the service's own source.
        signature: of it.
        function: the decorated function.
        measure: takes every drained record during a canary; None for nobody.
        segment: who decides now; None while the hook is off.
        killed: why policies may not decide in this process, whatever is installed; empty while they may.
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        how: ProgramSpec,
        incumbent: Callable[..., Any],
        runtime: Runtime = RUNTIME,
    ) -> None:
        self.reader = Reader(name, kind, how, incumbent)
        self.signature = self.reader.signature
        self.name = name
        self.kind = kind
        self.spec = how
        self.incumbent = incumbent
        self.measure: Any = None
        self.segment: Segment | None = None
        self.invariants: tuple[Invariant, ...] = kind.invariants
        self._runtime = runtime
        self.killed = ""
        self._changes = 0
        self._arms = Arms()
        self._breakers = Breakers(self._tripped)
        self._numbers = Numbers(Tally(), Tally())
        self._delayed = False
        self.begin(Settings())
        self.calls = Calls(self)
        self.function = wrapped(self)

    # --- what runtime and delivery need -------------------------------------------------------

    @property
    def process_id(self) -> str:
        """Id of this process, 16 hexadecimal digits."""
        return self._runtime.process_id.hex()

    @property
    def place(self) -> str:
        """Where the decorated function stands."""
        return f"{self.incumbent.__module__}.{self.incumbent.__qualname__}"

    @property
    def ended(self) -> bool:
        """Whether the name is free: a function stays."""
        return False

    @property
    def follows(self) -> bool:
        """Whether rank 0 of a group decides, so that no policy has to be delivered here."""
        return self.spec.group is not None and self.spec.group.rank != 0

    @property
    def assignment(self) -> Assignment:
        """What was last installed."""
        return self._arms.assignment

    @property
    def breaker(self) -> str:
        """Why a program was taken back in this process; empty when none was."""
        return self._arms.breaker()

    @property
    def layers(self) -> tuple[str, ...]:
        """Isolation layers in force around every program of this hook here; none while none has a process."""
        held = [guard.layers for guard in _guards(self._arms) if guard.layers]
        return (
            tuple(layer for layer in held[0] if all(layer in one for one in held)) if held else ()
        )

    @property
    def has_outcomes(self) -> bool:
        """Whether outcomes can be expected; a hook without any cannot be shipped to."""
        return self._delayed or self.spec.outcome is not None

    @property
    def counters(self) -> dict[str, int]:
        """What happened in this process so far, by name; as of a hook of score form.

        ``timeouts`` are among the ``faults``; ``withdrawn`` answers were not waited for, because the
        program was taken back meanwhile; ``collective`` are fallbacks of a whole group, and
        ``followed`` decisions that rank 0 of the group made and recorded.
        """
        return self.recording.counters()

    @property
    def broken(self) -> dict[str, int]:
        """How often each invariant did not hold in this process, by name; as of a hook of score form."""
        return dict(self.recording.broken)

    def new_measure(self) -> BlockMeasure:
        """Return a measure of this hook's outcomes per block and arm, with nothing in it yet."""
        from ..measure import BlockMeasure

        return BlockMeasure(self.kind)

    def replaces(self, known: Any) -> bool:
        """Return whether a known hook is this one's own function, reloaded."""
        return bool(known.place == self.place)

    def take_over(self, known: Any) -> None:
        """Begin anew: what the function decided before it was reloaded says nothing of it."""

    def begin(self, settings: Settings) -> None:
        """Start with nothing counted and nothing waiting, as a new process does."""
        self.settings = settings
        self.clock = settings.clock
        self._lock = threading.RLock()
        self._installing = threading.RLock()  # in a forked child another thread may hold the old
        killed = bool(self.killed)
        self.recording = Recording(
            self.name, self.kind, settings, self.invariants, self._numbers, killed
        )

    def begin_again(self) -> None:
        """Start, while off, as a new process does."""
        self.begin(self.settings)

    def on(self, settings: Settings) -> None:
        """Begin to decide and record under settings, with nothing counted yet."""
        assignment = self.assignment
        self._release(self._arms, Arms())
        self._arms = Arms()
        self.begin(settings)
        self.segment = UNBORN
        self._take(assignment)  # processes start at the first call: here may be a fork's child

    def off(self) -> None:
        """Call the incumbent and nothing else from now on; what waits can still be drained."""
        self.segment = None
        with self._installing:
            for guard in _guards(self._arms):
                guard.close()

    def end(self) -> None:
        """Be off; a function cannot go."""
        self.off()

    def install(self, assignment: Assignment) -> None:
        """Run on another assignment from the next call on; a call that waits for a program that is
        taken back gets the incumbent's answer.

        Breakers stay as they are while the epoch does. Raises ConfigurationError when the assignment
        lacks what its phase needs, or is a trial of paired arms.
        """
        check_assignment(assignment, self.kind)
        if self.kind.arms == "paired" and assignment.candidate is not None:
            raise ConfigurationError(
                f"hook {self.name!r} is a function and answers with one arm at a time; kind "
                f"{self.kind.name!r} has paired arms: use its own adapter"
            )
        self._take(assignment)
        if not self.killed:
            for guard in _guards(self._arms):
                guard.start()

    def kill(self, why: str) -> None:
        """Have the function decide from the next call on; an empty text ends that.

        A call that waits for a program gets the function's answer at once, and the program's process ends.
        """
        with self._installing:
            said, self.killed = why != self.killed, why
            self.recording.kill(bool(why))
            if said:
                self._take(self.assignment)
        if said and not why and self.segment is not None:
            for guard in _guards(self._arms):
                guard.start(wait=False)
        if said:
            self._runtime.said(self, why)

    def add_invariant(self, added: Invariant) -> None:
        """Hold every program to one more invariant; raises ConfigurationError for a taken name."""
        if any(i.name == added.name for i in self.invariants):
            raise ConfigurationError(
                f"hook {self.name!r} already has an invariant {added.name!r}; pass another name="
            )
        self.invariants = (*self.invariants, added)
        self.recording.hold_to(self.invariants)
        assignment = self.assignment
        with self._installing:
            self._release(self._arms, Arms())  # guards hold what they check
            self._arms = Arms()
            self._take(assignment)

    def drain(self) -> list[Record]:
        """Return what was recorded since the last time, in order, missing outcomes included."""
        if self.segment is not None and self.segment is not UNBORN:
            self.advance()
        return self.recording.drain(self.has_outcomes)

    # --- what a service calls -----------------------------------------------------------------

    def decision_id(self, seq: int) -> bytes:
        """Return the 16 bytes that name a decision of this process."""
        return self._runtime.process_id + seq.to_bytes(8, "big")

    #: As an open decision asks for it.
    identify = decision_id

    def report(self, seq: int, ok: bool, status: str, values: Any) -> None:
        """Leave an outcome, or a part of one, for the drainer to join."""
        self.recording.report(seq, ok, status, values)

    def promised(self) -> None:
        """Note that an outcome will be reported beside the call."""
        self._delayed = True

    def outcome(self, decision_id: bytes, *, ok: bool = True, **values: float) -> None:
        """Report an outcome later, by the decision's id.

        The first report of a decision counts; ids of other processes are counted as unknown.
        """
        self._reported(decision_id, ok, "reported", values)

    def partial(self, decision_id: bytes, **values: float) -> None:
        """Report by the decision's id what is known so far; its outcome is to follow."""
        self._reported(decision_id, True, PARTIAL, values)

    def event(self, name: str, /, **values: float | str) -> None:
        """Record a workload event that the kind declares, at the present time; never raises.

        Args:
            name: of the event.
            values: numbers or texts by field; all of the event's fields and no others, else the event
                is left out and counted in ``bad_events``.
        """
        held = self.segment
        if held is not None:
            held = self.held()
        if held is not None:
            self.recording.event(name, tuple(values.items()), held.record)

    def _reported(self, decision_id: bytes, ok: bool, status: str, values: Any) -> None:
        if self.segment is None or not decision_id:
            return
        self._delayed = True
        given = decision_id if isinstance(decision_id, bytes) else b""
        own = len(given) == 16 and given[:8] == self._runtime.process_id
        seq = int.from_bytes(decision_id[8:], "big") if own else -1
        self.recording.report(seq, ok, status, values)

    # --- who decides --------------------------------------------------------------------------

    def held(self) -> Segment | None:
        """Return who decides now; None while the hook is off."""
        held = self.segment
        if held is not None and self.clock.monotonic_ns() >= held.until:
            held = self.advance()
        return held

    def advance(self) -> Segment:
        """Look up who decides now, and keep it for the calls to come."""
        if self.segment is UNBORN:
            self._runtime.started()
        with self._lock:
            now = Moment(self.clock.time_ns(), self.clock.monotonic_ns())
            s = self.settings
            sampling = Sampling(s.sample, int(s.window_s * 1e9), self.name, s.cell)
            changes = self._changes
            found = segment(self._arms, now, sampling, Surroundings(killed=bool(self.killed)))
            if self.segment is not None:
                self.segment = found
                if changes != self._changes:  # by a signal's handler, on this very thread
                    self.segment = UNBORN
            return found

    def _renew(self) -> None:
        """Look up afresh, at the next call, who decides; the lock is held."""
        self._changes += 1
        if self.segment is not None:
            self.segment = UNBORN

    def _take(self, assignment: Assignment) -> None:
        with self._installing:
            old = self._arms
            known = Arms() if self.killed else old  # a kill ends their processes
            new = Arms(
                assignment,
                self._guarded("stable", assignment, known),
                self._guarded("candidate", assignment, known),
            )
            with self._lock:
                self._arms = new
                self._renew()
            self._release(old, new)

    def _guarded(self, arm: str, assignment: Assignment, old: Arms) -> Any:
        limits = self.spec.limits or self.settings.limits
        breaker = self._breakers.of(arm, assignment.epoch, limits)
        program: Any = getattr(assignment, arm)
        if program is None:
            return None
        from .guard import ProgramGuard  # brings the isolation; not before it is needed

        for known in _guards(old):
            if known.program is program:  # its process goes on
                known.breaker = breaker
                return known
        mode: IsolationMode = "process" if self.settings.isolation == "process" else "strict"
        return ProgramGuard(
            program, self.kind, self.invariants, breaker, mode, self.clock.monotonic_ns
        )

    def _tripped(self, reason: str) -> None:
        self.recording.tallies["breaker_trips"].bump()
        with self._lock:
            self._renew()
        self._runtime.tripped(self, reason)

    @staticmethod
    def _release(old: Arms, new: Arms) -> None:
        kept = _guards(new)
        for guard in _guards(old):
            if all(guard is not one for one in kept):
                guard.close()


def _guards(arms: Arms) -> list[ProgramGuard]:
    found: list[Any] = [guard for guard in (arms.stable, arms.candidate) if guard is not None]
    return found
