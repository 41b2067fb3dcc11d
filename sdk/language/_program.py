"""A policy that has passed the language check, and the check itself."""

from __future__ import annotations

import hashlib
import keyword
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import CodeType

from ..errors import ConfigurationError, LanguageError
from ._analysis import Analysis, analyse, count_nodes
from ._canonical import canonical_of
from ._flow import check_flow
from ._grammar import Outline, check_functions, outline, refuse
from ._interpret import Fault, constants, run
from ._lower import helpers, lower, lower_inline
from ._names import RESERVED
from ._runtime import namespace
from ._text import parse, within_limits

MAX_NODES = 400
MAX_FUEL = 2000


@dataclass(frozen=True, eq=False)
class Program:
    """A checked policy in score form.

    Attributes:
        source: as it was checked, byte for byte.
        source_digest: sha256 of the source's UTF-8 text, as 64 hex digits.
        inputs: names of the features, in the order in which every tier takes them.
        entry: name of the function that is the score.
        nodes: statements and expressions in the source.
        fuel_bound: the most fuel that one evaluation can use.
        lowered: the text that every tier but the reference runs; its function is ``_score``.
    """

    source: str
    source_digest: str
    inputs: tuple[str, ...]
    entry: str
    nodes: int
    fuel_bound: int
    lowered: str = field(repr=False)
    _analysis: Analysis = field(repr=False)
    _max_fuel: int = field(repr=False)
    _code: CodeType = field(repr=False)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The features that the score takes."""
        return tuple(each.arg for each in self._analysis.functions[self.entry].args.args)

    def bind(self) -> Callable[..., float]:
        """Return the score as a Python function.

        It takes one float per name in :attr:`inputs`, by position, never raises for floats, keeps no
        state, so threads may share it, and returns a finite float, or NaN for a fault.
        """
        names = namespace()
        exec(self._code, names)  # noqa: S102 - lowered from a checked source
        score: Callable[..., float] = names["_score"]
        return score

    def interpret(self, *row: float) -> float:
        """Return the score of one row by the reference tier: NaN for a fault; slow."""
        try:
            return self._run(row)
        except Fault:
            return math.nan

    def fault(self, *row: float) -> str:
        """Return why the score of one row faults, with its line, or an empty string."""
        try:
            self._run(row)
        except Fault as reason:
            return str(reason)
        return ""

    def inlined(self, fail: str) -> tuple[str, list[str]] | None:
        """Return helpers' text and the score's statements for a loop over rows, or None.

        The statements read the inputs by name and leave the score in ``_value``, or run ``fail``.
        """
        statements = lower_inline(self._analysis, self.entry, self.inputs, self._max_fuel, fail)
        if statements is None:
            return None
        return helpers(self._analysis, self.entry, self._max_fuel), statements

    def _run(self, row: Sequence[float]) -> float:
        names = {name: float(value) for name, value in zip(self.inputs, row, strict=True)}
        return run(self._analysis, self.entry, names, self._max_fuel)


def check(
    source: str,
    inputs: Sequence[str],
    *,
    entry: str = "score",
    max_nodes: int = MAX_NODES,
    max_fuel: int = MAX_FUEL,
) -> Program:
    """Check a policy's source against the policy language.

    Args:
        source: text of a module with a function ``entry`` of some of the inputs.
        inputs: names of all features that a score may take, in the host's order.
        entry: name of that function.
        max_nodes: limit of statements and expressions.
        max_fuel: limit of fuel for one evaluation.

    Returns:
        The checked program, lowered and compiled.

    Raises:
        LanguageError: the source lies outside the language, whatever it is; with line and reason.
        ConfigurationError: an input is no name that a policy could have.
    """
    _check_inputs(inputs)
    with within_limits():
        return _checked(source, inputs, entry, max_nodes, max_fuel)


def examine(
    source: str,
    inputs: Sequence[str],
    *,
    entry: str = "score",
    max_nodes: int = MAX_NODES,
    max_fuel: int = MAX_FUEL,
) -> tuple[int, str]:
    """Check a policy's source as :func:`check` does, without a program to run, in half the time.

    What only the interpreter's own limits refuse when it is lowered, :func:`check` alone finds.

    Args:
        source, inputs, entry, max_nodes, max_fuel: as for :func:`check`.

    Returns:
        Its statements and expressions, and its canonical text, see :func:`canonical`.

    Raises:
        LanguageError, ConfigurationError: as :func:`check`.
    """
    _check_inputs(inputs)
    with within_limits():
        found, nodes, analysis = _analysed(source, inputs, entry, max_nodes, max_fuel)
        return nodes, canonical_of(found, analysis.constants, entry)


def _analysed(
    source: str, inputs: Sequence[str], entry: str, max_nodes: int, max_fuel: int
) -> tuple[Outline, int, Analysis]:
    found = outline(parse(source))
    nodes = count_nodes(found)
    if nodes > max_nodes:
        raise LanguageError(f"{nodes} statements and expressions; at most {max_nodes} are allowed")
    check_functions(found)
    analysis = analyse(found, constants(found), entry)
    for function in found.functions.values():
        check_flow(function, analysis.constants)
    _check_entry(found, entry, inputs)
    if analysis.costs[entry].straight > max_fuel:
        raise LanguageError(f"needs more than {max_fuel} fuel on every call; call fewer functions")
    return found, nodes, analysis


def _checked(
    source: str, inputs: Sequence[str], entry: str, max_nodes: int, max_fuel: int
) -> Program:
    _, nodes, analysis = _analysed(source, inputs, entry, max_nodes, max_fuel)
    lowered = lower(analysis, entry, inputs, max_fuel)
    digest = hashlib.sha256(source.encode()).hexdigest()
    return Program(
        source=source,
        source_digest=digest,
        inputs=tuple(inputs),
        entry=entry,
        nodes=nodes,
        fuel_bound=int(min(analysis.costs[entry].bound, max_fuel)),
        lowered=lowered,
        _analysis=analysis,
        _max_fuel=max_fuel,
        _code=compile(lowered, f"<policy {digest[:12]}>", "exec"),
    )


def _check_inputs(inputs: Sequence[str]) -> None:
    for name in inputs:
        usable = name.isascii() and name.isidentifier() and not keyword.iskeyword(name)
        if not usable or name.startswith("_") or name in RESERVED or inputs.count(name) > 1:
            raise ConfigurationError(f"'{name}' cannot name a feature; use another identifier")


def _check_entry(found: Outline, entry: str, inputs: Sequence[str]) -> None:
    for argument in found.functions[entry].args.args:
        if argument.arg not in inputs:
            known = ", ".join(inputs)
            refuse(argument, f"'{argument.arg}' is not a feature of this kind; there are {known}")
