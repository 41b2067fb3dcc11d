"""How one call of a service's function becomes a question, and how an answer is given back; checked at decoration."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError
from ..limits import Limits, check_limits
from ..spec import check_name, function_signature
from .questions import Question, question_of

if TYPE_CHECKING:
    from ..kind import Kind
    from ..language import ProgramContract
    from .group import Group


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """How a hook of program form reads a call.

    Attributes:
        question: the function's parameters, chosen by name, to the contract's arguments in order;
            None where the function's parameters are named as the contract's.
        features: a question to a tuple of the kind's features; None where the kind has none.
        answer: the one output's rows (several outputs: a mapping by name) to what the service's
            function returns; None gives the rows (the mapping).
        outcome: result of a plain call to metric values (``ok`` among them); None for none.
        group: of processes that decide as one; None for each by itself.
        limits: when a policy is taken back; None for the process's own.
    """

    question: Callable[..., Sequence[Any]] | None = None
    features: Callable[[Any], tuple[float, ...]] | None = None
    answer: Callable[[Any], Any] | None = None
    outcome: Callable[[Any], Mapping[str, Any]] | None = None
    group: Group | None = None
    limits: Limits | None = None


class Reader:
    """Reads the calls of one function.

    Args:
        name: of the hook, for errors.
        kind: of program form.
        spec: how.
        function: the service's own.

    Attributes:
        signature: of the function.

    Raises:
        ConfigurationError: an argument cannot work with the function or the kind; names both.
    """

    def __init__(self, name: str, kind: Kind, spec: ProgramSpec, function: Any) -> None:
        check_name(name)
        assert kind.program is not None, "a kind of program form"
        self.signature = function_signature(name, function)
        self._kind = kind
        self._spec = spec
        self._contract = kind.program
        self._wanted = self._by_question(name) if spec.question else self._by_name(name)
        _check_features(name, kind, spec)
        for argument in ("answer", "outcome"):
            _one_argument(name, argument, getattr(spec, argument))
        _check_group(name, spec.group)
        check_limits(spec.limits, f"hook {name!r}")

    def question(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Question:
        """Return what a call asks; raises what the service's own functions raise, or ConfigurationError."""
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        given = {name: bound.arguments[name] for name in self._wanted}
        if self._spec.question is not None:
            return question_of(self._kind, tuple(self._spec.question(**given)))
        return question_of(self._kind, _filled(self._contract, given))

    def features(self, question: Question) -> tuple[float, ...]:
        """Return what is recorded of a question; raises what the service's function raises."""
        read = self._spec.features
        row = tuple(map(float, read(question.asked))) if read is not None else ()
        if len(row) != len(self._kind.features):
            wanted = ", ".join(feature.name for feature in self._kind.features)
            raise TypeError(f"item_features must return a tuple of ({wanted}), not {row!r}")
        return row

    def given_back(self, outputs: Mapping[str, Any]) -> Any:
        """Return an answer as the service's function would; raises what ``answer=`` raises."""
        several = len(self._contract.outputs) > 1
        told = dict(outputs) if several else next(iter(outputs.values()))
        return told if self._spec.answer is None else self._spec.answer(told)

    def _by_question(self, name: str) -> list[str]:
        question = self._spec.question
        if not callable(question):
            raise ConfigurationError(f"hook {name!r}: question= must be callable, not {question!r}")
        wanted = list(inspect.signature(question).parameters)
        unknown = [each for each in wanted if each not in self.signature.parameters]
        if unknown:
            raise ConfigurationError(
                f"hook {name!r}: question= takes {', '.join(unknown)}, but the function's parameters "
                f"are {', '.join(self.signature.parameters)}"
            )
        return wanted

    def _by_name(self, name: str) -> list[str]:
        """Return the parameters that are the contract's; refuse a function that lacks one."""
        contract = self._contract
        parameters = self.signature.parameters
        known = [each for each in contract.parameters if each.name in parameters]
        sized = {length for each in known for length in each.dimensions}
        lacking = [
            each.name
            for each in contract.parameters
            if each not in known and not (each.writable and {*each.dimensions} <= sized)
        ]
        if lacking:
            raise ConfigurationError(
                f"hook {name!r}: kind {self._kind.name!r} is asked with {', '.join(lacking)}, no "
                f"parameter of the function ({', '.join(parameters)}); name its parameters so, or give "
                "question= that makes the contract's arguments of them"
            )
        return [each.name for each in known]


def _filled(contract: ProgramContract, given: Mapping[str, Any]) -> list[Any]:
    """Return all arguments in order; an output that the function does not take begins with its least value."""
    lengths: dict[str, int] = {}
    for each in contract.parameters:
        if each.rank and each.name in given:
            value = given[each.name]
            lengths[each.dimensions[0]] = len(value)
            if each.rank > 1 and len(value):
                lengths[each.dimensions[1]] = len(value[0])
    arguments = []
    for each in contract.parameters:
        if each.name in given:
            arguments.append(given[each.name])
            continue
        blank: Any = each.low
        for name in reversed(each.dimensions):
            blank = [blank] * lengths[name]
        arguments.append(blank)
    return arguments


def _check_features(name: str, kind: Kind, spec: ProgramSpec) -> None:
    if (spec.features is None) == bool(kind.features):
        names = ", ".join(feature.name for feature in kind.features) or "nothing"
        remedy = "give item_features=" if kind.features else "leave out item_features="
        raise ConfigurationError(
            f"hook {name!r}: kind {kind.name!r} records {names} of a question; {remedy}"
        )
    _one_argument(name, "item_features", spec.features)


def _check_group(name: str, group: Any) -> None:
    if group is None:
        return
    rank, size = getattr(group, "rank", None), getattr(group, "size", None)
    numbered = type(rank) is int and type(size) is int and 0 <= rank < size
    if not numbered or not all(callable(getattr(group, f, None)) for f in ("broadcast", "agree")):
        raise ConfigurationError(
            f"hook {name!r}: group={group!r} is no group; give an object with rank and size (0 <= rank < "
            "size), broadcast(data, timeout_s) and agree(ok, timeout_s)"
        )


def _one_argument(name: str, argument: str, value: Any) -> None:
    if value is None:
        return
    if not callable(value):
        raise ConfigurationError(f"hook {name!r}: {argument}= must be callable, not {value!r}")
    try:
        inspect.signature(value).bind(None)
    except TypeError as error:
        raise ConfigurationError(f"hook {name!r}: {argument}= must take one argument") from error
    except ValueError:
        return  # a builtin that does not tell its signature
