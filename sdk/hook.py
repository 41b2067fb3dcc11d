"""Marking a policy function as a hook, and what the mark keeps."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, cast, overload

from . import _wrapper, spec
from ._live import Live
from .arms import Arms, check_assignment
from .assignment import Assignment
from .config import Settings
from .decide import AwaitedDecision, OpenDecision
from .errors import ConfigurationError
from .guard import Answers, Chooser, Guarded
from .invariant import Invariant, Scope, Severity, check_words
from .kind import Kind
from .limits import Breakers, Limits
from .outcomes import PARTIAL
from .records import Record
from .runtime import RUNTIME, Runtime
from .spec import Spec

if TYPE_CHECKING:
    from .measure import BlockMeasure
    from .programs.group import Group
    from .programs.hook import ProgramHook
    from .slices import SliceMeasure

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
F = TypeVar("F", bound=Callable[..., bool])


class Hooked(Protocol[P, R_co]):
    """A decorated function: called as before, with the hook's own methods beside it.

    Attributes:
        hook: the :class:`Hook` behind it.
    """

    hook: Hook

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Return the picked item, as the undecorated function does."""
        ...

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        """Bind to an instance, as functions do."""

    @overload
    def decide(  # type: ignore[overload-overlap]  # a coroutine is awaited, never an item
        self: Hooked[P, Coroutine[Any, Any, R]], *args: P.args, **kwargs: P.kwargs
    ) -> AwaitedDecision[R]: ...
    @overload
    def decide(self: Hooked[P, R], *args: P.args, **kwargs: P.kwargs) -> OpenDecision[R]: ...
    def decide(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Make a decision and hold it open for its outcome; of a method, pass the instance first."""

    def outcome(self, decision_id: bytes, *, ok: bool = True, **values: float) -> None:
        """Report an outcome later, by the decision's id."""

    def partial(self, decision_id: bytes, **values: float) -> None:
        """Report by the decision's id what is known so far; its outcome is to follow."""

    def event(self, name: str, /, **values: float | str) -> None:
        """Record a workload event that the kind declares, with all of its fields."""


class Hook:
    """One decision point of a service.

    Attributes:
        name: of the hook.
        kind: what it decides.
        spec: how a call is read.
        incumbent: the function in the service's own source.
        signature: of it.
        items: name of the parameter that holds the items.
        function: the decorated function.
        live: what the request path touches.
        measure: takes every drained record during a canary; None for nobody.
        chooser: makes a program ready to be asked: (program, kind) to (rows to index or -1).
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        how: Spec,
        incumbent: Callable[..., Any],
        runtime: Runtime = RUNTIME,
    ) -> None:
        self.signature = spec.check(name, kind, how, incumbent)
        self.name = name
        self.kind = kind
        self.spec = how
        self.incumbent = incumbent
        self.items = how.items
        self.measure: Any = None
        self.chooser: Callable[[Any, Kind], Chooser] = _chooser
        self._runtime = runtime
        self._installing = threading.RLock()
        self._breakers = Breakers(self._tripped)
        self.live = Live(name, kind, how)
        self.live.identify = self.decision_id
        self.function = self._function()

    @property
    def process_id(self) -> str:
        """Id of this process, 16 hexadecimal digits."""
        return self._runtime.process_id.hex()

    @property
    def invariants(self) -> tuple[Invariant, ...]:
        """Those of the kind and of the hook."""
        return self.live.invariants

    @property
    def broken(self) -> dict[str, int]:
        """How often each invariant did not hold in this process, by name; see :attr:`counters`.

        Of severity ``block`` answers of programs that were not used, of severity ``warn`` recorded
        decisions, whoever made them.
        """
        return dict(self.live.expander.broken)

    @property
    def assignment(self) -> Assignment:
        """What was last installed."""
        return self.live.arms.assignment

    @property
    def breaker(self) -> str:
        """Why a program was taken back in this process; empty when none was."""
        return self.live.arms.breaker()

    @property
    def has_outcomes(self) -> bool:
        """Whether outcomes can be expected; a hook without any cannot be shipped to."""
        return self.live.awaits

    @property
    def counters(self) -> dict[str, int]:
        """What happened in this process so far, by name.

        At rest, ``decisions = recorded + skipped + dropped + failed + raised``: kept; outside a
        sampled window; no room; not readable as a decision; the incumbent raised.
        """
        return self.live.counters()

    def new_measure(self) -> BlockMeasure | SliceMeasure:
        """Return a measure of this hook's outcomes, as its kind's arms need it, with nothing in it yet."""
        from .measure import BlockMeasure
        from .slices import SliceMeasure

        return SliceMeasure(self.kind) if self.kind.arms == "sticky" else BlockMeasure(self.kind)

    @property
    def place(self) -> str:
        """Where the decorated function stands."""
        return f"{self.incumbent.__module__}.{self.incumbent.__qualname__}"

    @property
    def ended(self) -> bool:
        """Whether the name is free: a function stays."""
        return False

    def replaces(self, known: Hook) -> bool:
        """Return whether a known hook is this one's own function, reloaded."""
        return known.place == self.place

    def take_over(self, known: Hook) -> None:
        """Begin anew: what the function decided before it was reloaded says nothing of it."""

    def off(self) -> None:
        """Call the incumbent and nothing else from now on; what waits can still be drained."""
        self.live.off()

    def end(self) -> None:
        """Be off; a function cannot go."""
        self.live.off()

    def begin_again(self) -> None:
        """Start, while off, as a new process does."""
        self.live.begin(self.live.settings)

    def on(self, settings: Settings) -> None:
        """Begin to decide and record under settings, with nothing counted yet."""
        self._installing = (
            threading.RLock()
        )  # in a forked child another thread may hold the old one
        self.live.on(settings, self._runtime.started)
        self.install(self.assignment)

    def install(self, assignment: Assignment) -> None:
        """Run on another assignment from the next call on.

        The breaker stays as it is while the epoch does. Raises ConfigurationError when the
        assignment lacks what its phase needs, reads unknown features, is a trial of paired arms,
        which one function cannot answer both of, or one of sticky arms and the hook has no unit.
        """
        check_assignment(assignment, self.kind)
        if self.kind.arms == "paired" and assignment.candidate is not None:
            raise ConfigurationError(
                f"hook {self.name!r} is a function and answers with one arm at a time; kind "
                f"{self.kind.name!r} has paired arms: use its own adapter, for a cache PolicyCache"
            )
        if (
            self.kind.arms == "sticky"
            and assignment.candidate is not None
            and not self.live.divides
        ):
            raise ConfigurationError(
                f"hook {self.name!r} has no unit=, and the arms of kind {self.kind.name!r} go by units; "
                "give unit= before a policy is shipped to it"
            )
        with self._installing:  # programs are made ready meanwhile, which no call has to wait for
            self.live.take(
                Arms(
                    assignment,
                    self._guarded(assignment.stable, "stable", assignment.epoch),
                    self._guarded(assignment.candidate, "candidate", assignment.epoch),
                )
            )

    @property
    def killed(self) -> str:
        """Why policies may not decide in this process, whatever is installed; empty while they may."""
        return self.live.killed

    def kill(self, why: str) -> None:
        """Have the function decide from the next call on; an empty text ends that."""
        said = why != self.live.killed
        self.live.kill(why)
        if said:
            self._runtime.said(self, why)

    def add_invariant(self, added: Invariant) -> None:
        """Hold every program to one more invariant; raises ConfigurationError for a taken name."""
        if any(i.name == added.name for i in self.invariants):
            raise ConfigurationError(
                f"hook {self.name!r} already has an invariant {added.name!r}; pass another name="
            )
        self.live.hold_to((*self.invariants, added))
        self.install(self.assignment)

    def decision_id(self, seq: int) -> bytes:
        """Return the 16 bytes that name a decision of this process."""
        return self._runtime.process_id + seq.to_bytes(8, "big")

    def outcome(self, decision_id: bytes, *, ok: bool = True, **values: float) -> None:
        """Report an outcome later, by the decision's id.

        The first report of a decision counts; ids of other processes are counted as unknown.
        """
        if self.live.segment is None or not decision_id:
            return
        self.live.delayed = True
        self.live.report(self._number(decision_id), ok, "reported", values)

    def partial(self, decision_id: bytes, **values: float) -> None:
        """Report by the decision's id what is known so far; its outcome is to follow."""
        if self.live.segment is None or not decision_id:
            return
        self.live.delayed = True
        self.live.report(self._number(decision_id), True, PARTIAL, values)

    def _number(self, decision_id: bytes) -> int:
        """Return the number of one of this process's decisions; -1 for an id of another."""
        given = decision_id if isinstance(decision_id, bytes) else b""
        own = len(given) == 16 and given[:8] == self._runtime.process_id
        return int.from_bytes(decision_id[8:], "big") if own else -1

    def event(self, name: str, /, **values: float | str) -> None:
        """Record a workload event that the kind declares, at the present time; never raises.

        Args:
            name: of the event.
            values: numbers or texts by field; all of the event's fields and no others, else the event
                is left out and counted in ``bad_events``.
        """
        if self.live.segment is not None:
            self.live.event(name, tuple(values.items()))

    def drain(self) -> list[Record]:
        """Return what was recorded since the last time, in order, missing outcomes included."""
        return self.live.drain()

    def _guarded(self, program: Any, arm: str, epoch: int) -> Guarded | None:
        breaker = self._breakers.of(arm, epoch, self.live.host.limits)
        if program is None:
            return None
        choose, fuel = self.chooser(program, self.kind), getattr(program, "fuel_bound", 1)
        made = Guarded(choose, self.kind, self.invariants, self.live.host, breaker, fuel)
        made.answers = _answers(made, program, self)
        return made

    def _tripped(self, reason: str) -> None:
        self.live.tallies["breaker_trips"].bump()
        self.live.renew()
        self._runtime.tripped(self, reason)

    def _function(self) -> Callable[..., Any]:
        space = self.live.space
        unit = spec.unit_expression(self.name, self.spec, self.signature, space)
        slots = {
            "items": self.items,
            "unit": f"g_redact(str({unit}))" if unit and self.spec.redact else unit,
            "derive": "g_derive(g_n, g_picked)" if self.spec.outcome else "pass",
        }
        if self.live.divides:
            kept = 'g_text(g_redact(g_w)) if g_w else ""' if self.spec.redact else "g_w"
            slots |= {"raw_unit": unit, "kept_unit": kept}
        space.update(g_incumbent=self.incumbent, g_open=OpenDecision, g_opened=self._opened)
        wrapper, decide = _wrapper.build(self.incumbent, self.signature, slots, space)
        vars(wrapper).update(
            hook=self, decide=decide, outcome=self.outcome, partial=self.partial, event=self.event
        )
        return wrapper

    def _opened(self, decide: Any) -> AwaitedDecision[Any]:
        return AwaitedDecision(self, decide)

    @staticmethod
    def of(marked: object) -> Hook:
        """Return the hook behind a decorated function or method.

        Raises ConfigurationError for anything that is not decorated.
        """
        if isinstance(marked, Hook):
            return marked
        found = getattr(marked, "hook", None)
        if isinstance(found, Hook):
            return found
        raise ConfigurationError(f"{marked!r} is no hook; decorate it with @gnomon.hook")


def hook(
    name: str,
    *,
    kind: Kind,
    items: str = "",
    item_features: Callable[[Any], tuple[float, ...]] | None = None,
    unit: Callable[..., Any] | None = None,
    item_name: Callable[[Any], str] | None = None,
    outcome: Callable[[Any], Mapping[str, Any]] | None = None,
    explore: float = 0.0,
    redact: Callable[[str], str] | None = None,
    question: Callable[..., Sequence[Any]] | None = None,
    answer: Callable[[Any], Any] | None = None,
    group: Group | None = None,
    limits: Limits | None = None,
) -> Callable[[Callable[P, R_co]], Hooked[P, R_co]]:
    """Mark a function that picks one of several items, or answers a whole question, as a hook.

    The function keeps its signature and its behaviour; unconfigured, nothing else happens. With a kind
    of score form it picks an item, and needs ``items`` and ``item_features``. With one of program form
    its parameters are the inputs of the kind's contract, it returns the output's rows, and a policy
    runs in a process of its own, for as long as the kind's deadline.

    Args:
        name: of the hook, unique in the service.
        kind: what it decides.
        items: name of the parameter that holds the items, a sequence.
        item_features: one item to a tuple of the kind's features, in their order and units; of program
            form a question, where the kind has features.
        unit: to the randomisation unit; its parameters are named as the function's are.
        item_name: one item to its name; without it, strings name themselves and others are numbered.
        outcome: result of a plain call to its outcome, metric values by name, and ``ok``.
        explore: share of decisions given to a uniform draw among permitted items, 0 to 1.
        redact: applied to the unit before it is kept anywhere.
        question: program form: the function's parameters, chosen by name, to the contract's arguments
            in order; by default those of the same names, an output beginning with its least value.
        answer: program form: the one output's rows, or several outputs by name, to what the function
            returns; by default that itself.
        group: program form: processes that decide as one; by default each decides by itself.
        limits: when a policy is taken back in this process; by default those of ``configure``.

    Raises:
        ConfigurationError: an argument cannot work with the function; names both.
    """
    scored: dict[str, Any] = {
        "items": items,
        "unit": unit,
        "item_name": item_name,
        "explore": explore,
        "redact": redact,
    }
    programmed: dict[str, Any] = {"question": question, "answer": answer, "group": group}
    program = isinstance(kind, Kind) and kind.form == "program"
    given = [key for key, value in (scored if program else programmed).items() if value]
    if given or not (program or items or item_features):
        raise ConfigurationError(_misused(name, kind, given))

    def mark(function: Callable[P, R_co]) -> Hooked[P, R_co]:
        made: Any
        if program:
            from .programs.hook import ProgramHook  # not needed where nobody decides so
            from .programs.reading import ProgramSpec

            read = ProgramSpec(question, item_features, answer, outcome, group, limits)
            made = ProgramHook(name, kind, read, function)
        else:
            read_item = cast("Callable[[Any], tuple[float, ...]]", item_features)
            how = Spec(items, read_item, unit, item_name, outcome, explore, redact, limits)
            made = Hook(name, kind, how, function)
        RUNTIME.register(made)
        return cast("Hooked[P, R_co]", made.function)

    return mark


def _misused(name: str, kind: Any, given: Sequence[str]) -> str:
    """Say which arguments of :func:`hook` do not go with a kind."""
    if not given:
        return f"hook {name!r}: items= and item_features= are missing; say which items, and what of them"
    words = ", ".join(f"{each}=" for each in given)
    other = "score" if kind.form == "program" else "program"
    return (
        f"hook {name!r}: {words} is for kinds of {other} form, {kind.name!r} is none; leave it out"
    )


def invariant(
    marked: object,
    *,
    scope: Scope = "decision",
    severity: Severity = "block",
    name: str = "",
    description: str = "",
) -> Callable[[F], F]:
    """Mark a predicate that every decision of a hook must meet, or every replay of its traces.

    Of a decision it is asked ``(items, picked)``, named tuples of the features, the host's included; of
    program form ``(question, answer)``. Of a replay it is asked ``(summary)``, which holds what the kind's
    simulator says of the whole; never in a service. The predicate stays a plain function.

    Args:
        marked: the decorated function.
        scope: ``decision`` or ``replay``.
        severity: ``block`` gives the incumbent's answer instead, and refuses a candidate; ``warn`` is only
            counted and reported.
        name: of the invariant; the predicate's own by default.
        description: one sentence for reports; the docstring's first line by default.

    Raises:
        ConfigurationError: not a hook, an unknown scope or severity, a predicate of other arguments, or a
            name that is taken.
    """
    target = held_by(marked)
    check_words(scope, severity)

    def mark(predicate: F) -> F:
        said = (inspect.getdoc(predicate) or "").partition("\n")[0]
        own = name or getattr(predicate, "__name__", "")
        added = Invariant(own, predicate, scope, severity, description or said)
        target.add_invariant(added)
        return predicate

    return mark


def held_by(marked: object) -> Any:
    """Return what can be held to an invariant: the hook of a function of either form, or of a cache."""
    found = getattr(marked, "hook", marked)
    return found if hasattr(found, "add_invariant") else hook_behind(marked)


def hook_behind(marked: object) -> Hook | ProgramHook:
    """Return the hook of either form behind a decorated function.

    Raises ConfigurationError for anything that is not decorated.
    """
    found = getattr(marked, "hook", marked)
    kind = getattr(found, "kind", None)
    if isinstance(kind, Kind) and kind.form == "program":
        return cast("ProgramHook", found)
    return Hook.of(marked)


def _answers(guarded: Guarded, program: Any, hook: Hook) -> Answers:
    from ._answer import Answering, Steps  # as below

    slow = partial(hook.live.ask, guarded)
    if hook.chooser is not _chooser:
        return Steps(slow)
    how = hook.spec
    made = Answering(guarded, program, hook.kind, how.item_features, slow, how.explore > 0.0)
    made.of(hook.live.members.size)  # here, and not on the request path
    return made


def _chooser(program: Any, kind: Kind) -> Chooser:
    from .language import chooser  # not needed before a program is installed

    return chooser(program, kind)
