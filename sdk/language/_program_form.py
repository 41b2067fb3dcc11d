"""A policy in program form that has passed the language check, and the check itself."""

from __future__ import annotations

import ast
import functools
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import CodeType, MappingProxyType
from typing import Any, NamedTuple

from ..errors import ConfigurationError, LanguageError
from ._analysis import Analysis, analyse, count_nodes
from ._array_grammar import ArrayGrammar, check_names
from ._array_lower import lower_program
from ._array_ops import Faulted, Meter, array_namespace
from ._array_reference import ArrayInterpreter
from ._array_reference_ops import Grid
from ._array_reference_ops import Term as ReferenceTerm
from ._array_types import infer
from ._arrays import (
    Matrix,
    Term,
    accept,
    copied,
    copy_of,
    elements,
    released,
    size,
    unfinished,
    unsuitable,
)
from ._contract import HostOperation, ProgramContract
from ._flow import check_flow
from ._grammar import check_functions, outline
from ._interpret import Fault, constants
from ._text import parse, walk, within_limits

#: The host's operations by name; they take and return floats, lists or lists of lists.
Host = Mapping[str, Callable[..., Any]]
_NO_HOST: Host = MappingProxyType({})


class Answer(NamedTuple):
    """What a program made of one call.

    Attributes:
        ok: false on a fault; nothing else then means anything.
        value: what it returned; None where it returns nothing.
        outputs: by name, the final contents of each writable parameter, as lists (of lists, for a
            matrix) of floats, or of ints where it is declared integer.
        fuel: used by the call; the same on every machine.
    """

    ok: bool
    value: float | None
    outputs: dict[str, list[Any]]
    fuel: int


FAULT = Answer(False, None, {}, 0)
Decide = Callable[..., Answer]


@dataclass(frozen=True, eq=False)
class ArrayProgram:
    """A checked policy in program form.

    Attributes:
        source: as it was checked, byte for byte.
        source_digest: sha256 of the source's UTF-8 text, as 64 hex digits.
        contract: that it was checked against.
        nodes: statements and expressions in the source.
        lowered: the text that :meth:`bind` runs; its function is ``_program``.
    """

    source: str
    source_digest: str
    contract: ProgramContract
    nodes: int
    lowered: str = field(repr=False)
    _analysis: Analysis = field(repr=False)
    _code: CodeType = field(repr=False)

    def bind(self, host: Host = _NO_HOST) -> Decide:
        """Return the program as a Python function.

        It takes the contract's parameters by position (numbers, sequences, numpy arrays), copies
        them, keeps no state, so threads may share it, and returns an :class:`Answer`; what the host
        passed is never written. For a fault ``ok`` is false; an exception means that the host broke
        the contract, or is one that a host operation raised.

        Raises:
            ConfigurationError: the host's operations are not the contract's.
        """
        _check_host(self.contract, host)
        names = array_namespace()
        for operation in self.contract.operations:
            names[f"_o_{operation.name}"] = _metered(operation, host[operation.name])
        exec(self._code, names)  # noqa: S102 - lowered from a checked source
        return functools.partial(_decide, self.contract, names["_program"], self._straight)

    def interpret(self, *arguments: Any, host: Host = _NO_HOST) -> Answer:
        """Return the answer of the reference tier; slow.

        Raises:
            ConfigurationError: as for :meth:`bind` and the function that it returns.
        """
        try:
            return self._run(arguments, host)
        except Fault:
            return FAULT

    def fault(self, *arguments: Any, host: Host = _NO_HOST) -> str:
        """Return why a call faults, with its line, or an empty string; by the reference tier."""
        try:
            self._run(arguments, host)
        except Fault as reason:
            return str(reason)
        return ""

    @property
    def _straight(self) -> int:
        return int(self._analysis.costs[self.contract.entry].straight)

    def _run(self, arguments: tuple[Any, ...], host: Host) -> Answer:
        contract = self.contract
        _check_host(contract, host)
        terms = accept(contract, arguments)
        reason = unsuitable(contract, terms)
        if reason:
            raise Fault(reason)
        grids = {name: _grid(term) for name, term in terms.items()}
        function = self._analysis.functions[contract.entry]
        operations = {
            operation.name: (operation, _on_grids(operation, host[operation.name], terms))
            for operation in contract.operations
        }
        limit = contract.limit(terms)
        if self._straight > limit:
            raise Fault("out of fuel")
        fuel = limit - self._straight
        tier = ArrayInterpreter(self._analysis, fuel, contract.max_elements, operations)
        value = tier.invoke(function, [grids[argument.arg] for argument in function.args.args])
        written = {name: _term(grid) for name, grid in grids.items()}
        reason = unfinished(contract, written)
        if reason:
            raise Fault(reason)
        assert not isinstance(value, Grid)
        return Answer(True, value, released(contract, written), limit - tier.fuel)


def check_program(source: str, contract: ProgramContract) -> ArrayProgram:
    """Check a source in program form against the policy language and a contract.

    Args:
        source: text of a module with a function of some of the contract's parameters, in any order.
        contract: what the kind declares.

    Returns:
        The checked program, lowered and compiled.

    Raises:
        LanguageError: the source lies outside the language, whatever it is; with line and reason.
    """
    with within_limits():
        return _checked(source, contract)


def _checked(source: str, contract: ProgramContract) -> ArrayProgram:
    found = outline(parse(source))
    nodes = count_nodes(found)
    if nodes > contract.max_nodes:
        raise LanguageError(
            f"{nodes} statements and expressions; at most {contract.max_nodes} are allowed"
        )
    arities = {operation.name: len(operation.parameters) for operation in contract.operations}
    check_names(found, arities)
    check_functions(found, functools.partial(ArrayGrammar, host=arities))
    analysis = analyse(found, constants(found), contract.entry)
    for function in found.functions.values():
        check_flow(function, analysis.constants, may_end=not _gives(function))
    ranks = infer(analysis, contract)
    if analysis.costs[contract.entry].straight > contract.max_fuel:
        raise LanguageError(f"needs more than {contract.max_fuel} fuel; call fewer functions")
    lowered = lower_program(
        analysis, ranks, contract.entry, [parameter.name for parameter in contract.parameters]
    )
    digest = hashlib.sha256(source.encode()).hexdigest()
    code = compile(lowered, f"<policy {digest[:12]}>", "exec")
    return ArrayProgram(source, digest, contract, nodes, lowered, analysis, code)


def _gives(function: ast.FunctionDef) -> bool:
    """Return whether a function returns a value anywhere; if not, it may end without return."""
    return any(isinstance(node, ast.Return) and node.value is not None for node in walk(function))


def _decide(
    contract: ProgramContract, program: Callable[..., float | None], straight: int, *arguments: Any
) -> Answer:
    terms = accept(contract, arguments)
    limit = 0 if unsuitable(contract, terms) else contract.limit(terms)
    if straight > limit:
        return FAULT
    meter = Meter(limit - straight, contract.max_elements, terms)
    try:
        value = program(*terms.values(), meter)
    except Faulted:
        return FAULT
    if unfinished(contract, terms):
        return FAULT
    return Answer(True, value, released(contract, terms), limit - meter.fuel)


def _check_host(contract: ProgramContract, host: Host) -> None:
    wanted = {operation.name for operation in contract.operations}
    if wanted != host.keys():
        names = ", ".join(sorted(wanted)) or "none"
        given = ", ".join(sorted(host)) or "none"
        raise ConfigurationError(f"the contract's host operations are {names}; given were {given}")


def _metered(operation: HostOperation, function: Callable[..., Any]) -> Callable[..., Term]:
    def run(meter: Meter, *terms: Term) -> Term:
        meter.pay(operation.fuel + operation.each * sum(map(size, terms)))
        given = [meter.given[name] for name in operation.given]
        plain = [copy_of(term) for term in terms]
        result = copied(
            function(*given, *plain), operation.result, f"the result of '{operation.name}'"
        )
        if not all(map(math.isfinite, elements(result))):
            raise Faulted
        meter.make(size(result))
        return result

    return run


def _on_grids(
    operation: HostOperation, function: Callable[..., Any], passed: Mapping[str, Term]
) -> Callable[..., ReferenceTerm]:
    given = [passed[name] for name in operation.given]

    def run(*terms: ReferenceTerm) -> ReferenceTerm:
        plain = [_plain(term) for term in terms]
        result = copied(
            function(*given, *plain), operation.result, f"the result of '{operation.name}'"
        )
        return _grid(result)

    return run


def _rows(grid: Grid) -> list[list[float]]:
    return [grid.row(index) for index in range(grid.shape[0])]


def _plain(term: ReferenceTerm) -> float | list[float] | list[list[float]]:
    if not isinstance(term, Grid):
        return term
    return list(term.cells) if len(term.shape) == 1 else _rows(term)


def _grid(term: Term) -> ReferenceTerm:
    if not isinstance(term, list):
        return term
    cells = list(elements(term))
    return Grid(cells, (len(term), term.columns) if isinstance(term, Matrix) else (len(cells),))


def _term(term: ReferenceTerm) -> Term:
    if not isinstance(term, Grid):
        return term
    return list(term.cells) if len(term.shape) == 1 else Matrix(_rows(term), term.shape[1])
