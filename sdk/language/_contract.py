"""What a kind declares for policies in program form: arrays, host operations and limits."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..errors import ConfigurationError
from ._array_table import ARRAY_RESERVED


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number or array that the host hands to a program.

    Attributes:
        name: identifier, as the program's parameter is named.
        unit: UCUM unit or a word in braces.
        description: one sentence.
        low, high: the range in which the host promises to keep every element, inclusive; golden
            cases draw from it. An answer with an output outside of it is not used, and refused by the gates.
        dimensions: names of the lengths: none for a number, one for a vector, two for a matrix
            (rows, columns). Arrays that share a name share the length.
        integer: whether only whole numbers occur; of an output, whether it may hold nothing else
            when the program ends.
        writable: whether it is an output; its first content is what the host hands over.
    """

    name: str
    unit: str
    description: str
    low: float
    high: float
    dimensions: tuple[str, ...] = ()
    integer: bool = False
    writable: bool = False

    @property
    def rank(self) -> int:
        """0 for a number, 1 for a vector, 2 for a matrix."""
        return len(self.dimensions)


@dataclass(frozen=True, slots=True)
class HostOperation:
    """A function of the host's that a program may call, with no effect on what it is given.

    Attributes:
        name: identifier, as the program calls it.
        description: one sentence.
        parameters: rank of each argument; arrays arrive as fresh lists (of lists) of floats.
        result: rank of what it returns.
        fuel: charged per call, besides ``each`` for each element handed over and one for each returned.
        each: fuel for each element of the arrays that the program hands over.
        given: names of the contract's parameters that the host hands over itself, before the program's
            arguments: the call's own, free of fuel, and not copied, so the function must not write into
            them. A program cannot pass others in their place. None of them is writable.
    """

    name: str
    description: str
    parameters: tuple[int, ...]
    result: int = 0
    fuel: int = 100
    each: int = 1
    given: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProgramContract:
    """What a program is given, may call, may use and must give.

    Attributes:
        parameters: in the order in which the host passes them; a program names those it wants.
        dimensions: by name, the least and the greatest length; a matrix has one row and one column
            at least.
        operations: of the host.
        entry: name of the program's function.
        returns: whether it returns a number, or nothing.
        max_nodes: limit of statements and expressions.
        max_fuel: limit of fuel for one call.
        max_elements: limit of the elements that all names hold together, each counted with the
            largest array that it was given during the call, and of any array beside them; the host's
            own arrays are not counted.
        fuel_from: name of a number among the parameters, which then limits the fuel of its call where it
            is less than ``max_fuel``: a call says what it may cost. Empty for none.

    Raises:
        ConfigurationError: a name is taken or cannot be one, a dimension or a range makes no sense.
    """

    parameters: tuple[Parameter, ...]
    dimensions: Mapping[str, tuple[int, int]] = field(default_factory=lambda: MappingProxyType({}))
    operations: tuple[HostOperation, ...] = ()
    entry: str = "decide"
    returns: bool = False
    max_nodes: int = 1_500
    max_fuel: int = 10_000_000
    max_elements: int = 1_000_000
    fuel_from: str = ""

    def __post_init__(self) -> None:
        names = [*(part.name for part in self.parameters), *(part.name for part in self.operations)]
        for name in [*names, self.entry]:
            _check_name(name)
            if names.count(name) > 1 or (name == self.entry and name in names):
                raise ConfigurationError(f"'{name}' is declared twice; choose another name")
        for parameter in self.parameters:
            self._check_parameter(parameter)
        for operation in self.operations:
            if (
                not {*operation.parameters, operation.result} <= {0, 1, 2}
                or min(operation.fuel, operation.each) < 0
            ):
                raise ConfigurationError(f"'{operation.name}': ranks are 0 to 2, fuel at least 0")
            self._check_given(operation)
        limits = {each.name for each in self.parameters if not each.rank and each.low >= 0}
        if self.fuel_from and self.fuel_from not in limits:
            raise ConfigurationError(
                f"fuel_from '{self.fuel_from}' names no parameter that is a number of 0 or more; name one"
            )

    @property
    def outputs(self) -> tuple[Parameter, ...]:
        """The writable parameters, in order."""
        return tuple(parameter for parameter in self.parameters if parameter.writable)

    def limit(self, terms: Mapping[str, Any]) -> int:
        """Return the most fuel that a call with these arguments may use."""
        return min(self.max_fuel, int(terms[self.fuel_from])) if self.fuel_from else self.max_fuel

    def _check_given(self, operation: HostOperation) -> None:
        readable = {each.name for each in self.parameters if not each.writable}
        for name in operation.given:
            if name not in readable:
                raise ConfigurationError(
                    f"'{operation.name}' is given '{name}', which is no parameter that programs only read"
                )

    def _check_parameter(self, parameter: Parameter) -> None:
        if parameter.rank > 2 or (parameter.writable and not parameter.rank):
            raise ConfigurationError(
                f"'{parameter.name}': an input has 0 to 2 dimensions, an output 1 or 2"
            )
        if not parameter.low <= parameter.high:
            raise ConfigurationError(f"'{parameter.name}': low is above high; swap them")
        for name in parameter.dimensions:
            low, high = self.dimensions.get(name, (0, -1))
            if not (low >= 0 if parameter.rank == 1 else low >= 1) or low > high:
                raise ConfigurationError(
                    f"'{parameter.name}': dimension '{name}' needs a range (least, greatest), "
                    "from 0 for a vector and from 1 for a matrix"
                )


def _check_name(name: str) -> None:
    usable = name.isascii() and name.isidentifier() and not keyword.iskeyword(name)
    if not usable or name.startswith("_") or "__" in name or name in ARRAY_RESERVED:
        raise ConfigurationError(f"'{name}' cannot be used as a name here; use another identifier")
