"""The contract of a kind: what a hook decides, on which features, judged by which outcome."""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from keyword import iskeyword
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

from .errors import ConfigurationError
from .invariant import Invariant

if TYPE_CHECKING:
    import random

    from .language import ArrayProgram, Program, ProgramContract

Order = Literal["lowest", "highest"]
Statistic = Literal["mean", "p99", "failure_rate"]
EventSource = Literal["decision", "outcome", "event"]
Arms = Literal["switchback", "sticky", "paired"]
Form = Literal["score", "program"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One scalar that a score may read.

    Attributes:
        name: identifier, as the policy's parameter is named.
        unit: UCUM unit or a word in braces, for example ``ms`` or ``{request}``.
        description: one sentence.
        low, high: the range in which the host promises to stay, inclusive; generated tests draw
            from it and a value outside it is not passed to a candidate.
        integer: whether only whole numbers occur.
    """

    name: str
    unit: str
    description: str
    low: float
    high: float
    integer: bool = False


#: Features that the host itself adds to every item, after the kind's own.
SINCE_PICKED = Feature(
    "since_picked",
    "{decision}",
    "Decisions of this hook in this process since the item was last picked; 1 right after it was.",
    1.0,
    2.0**31,
    integer=True,
)
NOISE = Feature(
    "noise", "1", "Fresh uniform draw for this item and decision; breaks ties.", 0.0, 1.0
)
HOST_FEATURES = (SINCE_PICKED, NOISE)


@dataclass(frozen=True, slots=True)
class Metric:
    """A number measured after a decision.

    Attributes:
        name: keyword of ``decision.outcome(...)``.
        unit: UCUM unit.
        clip: values above count as this much, and so does an outcome that never came.
        description: one sentence.
        statistics: which of its statistics say anything: ``mean``, ``p50``, ``p99``. Of a value that
            is 0 or 1 only the mean does.
    """

    name: str
    unit: str
    clip: float
    description: str = ""
    statistics: tuple[str, ...] = ("mean", "p50", "p99")


@dataclass(frozen=True, slots=True)
class Guardrail:
    """A statistic that a candidate must not make worse by more than a margin.

    Attributes:
        name: identifier, for example ``failures``.
        metric: the metric that it is taken from; ignored for ``failure_rate``.
        statistic: ``mean``, ``p99`` or ``failure_rate`` (outcomes with ``ok`` false, missing ones
            included, over all).
        margin: how much worse is still acceptable.
        relative: whether the margin is a fraction of the stable arm's value or absolute.
    """

    name: str
    metric: str
    statistic: Statistic
    margin: float
    relative: bool = False


@dataclass(frozen=True, slots=True)
class WorkloadEvent:
    """What must be recorded so that a replay can put the same question to another policy.

    Attributes:
        name: identifier.
        source: ``decision`` or ``outcome`` when every such record carries it already, ``event`` when
            it is a record of its own.
        fields: names of the values of an ``event`` record.
        description: one sentence.
    """

    name: str
    source: EventSource
    fields: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Baseline:
    """A published policy.

    Attributes:
        name: its published name in lower case with underscores.
        source: score form in the policy language, or None when the language cannot express it; such
            a baseline is built into the simulator and never shippable.
        reference: where it was published.
    """

    name: str
    source: str | None
    reference: str


@dataclass(frozen=True)
class Kind:
    """What a hook decides.

    A kind is of score form (a policy is a score of one item's features) unless it declares a
    ``program``; then a policy is a program over arrays that the host owns, invariants are asked
    ``(question, answer)`` instead of ``(items, picked)``, and ``features`` are no more than what a
    record says of a question, as those of one item.

    Attributes:
        name: identifier, for example ``load_balancer``.
        version: of this contract; a bundle names the version that it was verified against.
        description: one sentence.
        features: what ``item_features`` returns for one item, in this order.
        order: the item with the ``lowest`` or the ``highest`` score is picked.
        objective: the metric to improve; lower is better.
        guardrails: what must not get worse.
        metrics: what else an outcome may hold, besides the objective.
        workload: events that a trace holds.
        invariants: that hold for every hook of this kind.
        baselines: by name.
        arms: ``switchback`` where arms share state, ``sticky`` where units are independent,
            ``paired`` where both arms can answer the same traffic at once (a cache and a ghost of
            the other arm beside it).
        outcome_deadline_s: seconds after which an absent outcome counts as a failure at the clip.
        has_bound: whether a proven limit is known that no policy can beat; if not, no such gate.
        max_nodes: of the syntax tree of a policy.
        max_fuel: charged per evaluation of a score.
        program: arrays, host operations and limits of a policy in program form; None for score form.
        host: functions behind the contract's operations, by name; they must answer alike everywhere.
        questions: of a program form: draws the arguments of a call that a service might make, in the
            order of the contract's parameters; gates and golden tests ask them.
        deadline_s: of a program form: seconds for one answer, in shadow and in a service.
        memory_mb: of a program form: address space of its worker.
        libraries: of a program form: packages besides the standard library that its host operations use
            where they are installed, such as ``("numba",)``.
        ready: of a program form: function at the top of an importable module that the clean process
            calls once, before any program is there: to compile what the host operations use.
    """

    name: str
    version: int
    description: str
    features: tuple[Feature, ...]
    objective: Metric
    guardrails: tuple[Guardrail, ...] = ()
    metrics: tuple[Metric, ...] = ()
    workload: tuple[WorkloadEvent, ...] = ()
    invariants: tuple[Invariant, ...] = ()
    baselines: Mapping[str, Baseline] = field(default_factory=lambda: MappingProxyType({}))
    order: Order = "lowest"
    arms: Arms = "switchback"
    outcome_deadline_s: float = 5.0
    has_bound: bool = False
    max_nodes: int = 400
    max_fuel: int = 2000
    program: ProgramContract | None = None
    host: Mapping[str, Callable[..., Any]] = field(default_factory=lambda: MappingProxyType({}))
    questions: Callable[[random.Random], tuple[Any, ...]] | None = None
    deadline_s: float = 2.0
    memory_mb: int = 256
    libraries: tuple[str, ...] = ()
    ready: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        """Refuse a contract that cannot work; raises ConfigurationError that names kind and value."""
        problem = _problem(self)
        if problem:
            raise ConfigurationError(f"kind {self.name!r}: {problem}")

    @cached_property
    def inputs(self) -> tuple[Feature, ...]:
        """All features of a score: the kind's own, then the host's."""
        return self.features + HOST_FEATURES

    @cached_property
    def input_names(self) -> tuple[str, ...]:
        """Names of :attr:`inputs`, in order."""
        return tuple(feature.name for feature in self.inputs)

    @property
    def form(self) -> Form:
        """``score`` or ``program``."""
        return "score" if self.program is None else "program"

    @cached_property
    def question_type(self) -> Any:
        """Named tuple of a program's arguments, as invariants see them."""
        return namedtuple("Question", [each.name for each in self._parameters])

    @cached_property
    def answer_type(self) -> Any:
        """Named tuple of a program's outputs, as invariants see them."""
        return namedtuple("Answer", [each.name for each in self._parameters if each.writable])

    def checked(self, source: str) -> Program | ArrayProgram:
        """Check a policy's source, in the form and within the limits of this kind.

        Raises:
            LanguageError: it lies outside the policy language; with line and reason.
        """
        from .language import check, check_program  # not needed before there is a policy

        if self.program is not None:
            return check_program(source, self.program)
        return check(source, self.input_names, max_nodes=self.max_nodes, max_fuel=self.max_fuel)

    @property
    def _parameters(self) -> tuple[Any, ...]:
        return () if self.program is None else self.program.parameters

    @cached_property
    def item_type(self) -> Any:
        """Named tuple of one item's features, as invariants see it."""
        return namedtuple("Item", self.input_names)


_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def _problem(kind: Kind) -> str:
    """Say what is wrong with a contract and what to write instead; empty when nothing is."""
    names = [feature.name for feature in kind.features]
    reserved = {feature.name for feature in HOST_FEATURES}
    if not _NAME.fullmatch(kind.name):
        return "a name has small letters, digits and '_', at most 64, a letter first"
    if kind.order not in get_args(Order):
        return f"order={kind.order!r}; use 'lowest' or 'highest'"
    if kind.arms not in get_args(Arms):
        return f"arms={kind.arms!r}; use one of {', '.join(get_args(Arms))}"
    if len({*names}) != len(names) or reserved & {*names}:
        return (
            f"features {', '.join(names)}: names differ, and {', '.join(reserved)} are the host's"
        )
    if kind.arms == "sticky" and kind.program is not None:
        return (
            "arms='sticky' go by units, which hooks of program form have none of; use 'switchback'"
        )
    if kind.program is not None and (problem := _problem_of_program(kind, kind.program)):
        return problem
    if not kind.objective.clip > 0.0:
        return f"the objective's clip is {kind.objective.clip}; it must be above 0"
    return next((bad for feature in kind.features if (bad := _unfit(feature))), "")


def _problem_of_program(kind: Kind, contract: ProgramContract) -> str:
    operations = sorted(operation.name for operation in contract.operations)
    if kind.questions is None:
        return "a kind of program form needs questions=, which the gates ask of a program"
    if sorted(kind.host) != operations:
        given, wanted = (", ".join(names) or "none" for names in (sorted(kind.host), operations))
        return f"host= gives {given}; the contract's operations are {wanted}"
    if not (kind.deadline_s > 0.0 and kind.memory_mb > 0):
        return f"deadline_s={kind.deadline_s} and memory_mb={kind.memory_mb} must be above 0"
    return ""


def _unfit(feature: Feature) -> str:
    unusable = feature.name.startswith("_") or iskeyword(feature.name)
    if not feature.name.isidentifier() or unusable:
        return f"feature {feature.name!r} is no identifier; a policy could not name it"
    if not feature.low <= feature.high:
        return (
            f"feature {feature.name!r} ranges from {feature.low} to {feature.high}; exchange them"
        )
    return ""
