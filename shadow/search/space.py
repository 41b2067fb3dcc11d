"""What may be searched: a kind's inputs, their usual sizes, the limits of a program, and its seeds."""

from __future__ import annotations

import ast
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, Protocol

from ...sdk.errors import ConfigurationError
from ...sdk.kind import Feature, Kind
from .keyless.dialect import Dialect, ScoreDialect
from .keyless.trees import call, name, number, render, wrapped
from .results.gains import EQUAL

Start = Literal["library", "incumbent", "weak"]
TEMPLATE = "log_linear"


class SearchSpace(Protocol):
    """The programs that a search considers, whoever evaluates them."""

    @property
    def dialect(self) -> Dialect:
        """What the form of the programs asks for."""
        ...

    @property
    def equal(self) -> float:
        """Scores within this fraction count as equal, and the shorter program wins."""
        ...

    @property
    def higher(self) -> bool:
        """Whether people count higher scores as better; the search's own are always lower when better."""
        ...

    def baselines(self) -> dict[str, str]:
        """Return the sources of what is there already, by name."""
        ...

    def starts(self, start: Start, incumbent: str = "") -> dict[str, str]:
        """Return the programs that a search starts from, by name; raises ConfigurationError."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what the log's header says of the space, as JSON values."""
        ...


@dataclass(frozen=True)
class Space:
    """The programs that a search considers for a kind.

    Attributes:
        kind: whose inputs a score may read.
        scales: usual size of an input by name, for literals and thresholds; a feature that is
            missing here gets a guess from its range.
        max_nodes: larger programs are not proposed: they are slower, and nobody reads them.
    """

    kind: Kind
    scales: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    max_nodes: int = 60

    @property
    def dialect(self) -> Dialect:
        """What the form of the programs asks for."""
        return self._dialect

    @cached_property
    def _dialect(self) -> Dialect:
        if self.kind.form == "program":
            from .keyless.program_form import ProgramDialect

            return ProgramDialect(self.kind)
        return ScoreDialect(self.kind)

    @property
    def limit(self) -> int:
        """Nodes that a proposed program may have."""
        return min(self.max_nodes, self.kind.max_nodes)

    def scale(self, feature: Feature) -> float:
        """Return the usual size of a feature, positive."""
        known = self.scales.get(feature.name, 0.0)
        return known if known > 0 else min(max(abs(feature.low), abs(feature.high), 1e-3), 10.0)

    def feature(self, rng: random.Random) -> Feature:
        """Return a random input; the noise, which only breaks ties, comes up less often."""
        features = self.kind.inputs
        weights = [0.2 if feature.name == "noise" else 1.0 for feature in features]
        return rng.choices(features, weights)[0]

    @property
    def equal(self) -> float:
        """Scores within this fraction count as equal, and the shorter program wins."""
        return EQUAL

    @property
    def higher(self) -> bool:
        """Whether higher scores are better; those of a kind are lower when better."""
        return False

    def starts(self, start: Start, incumbent: str = "") -> dict[str, str]:
        """Return the programs that a search starts from, as :func:`seeds`."""
        return seeds(self, start, incumbent)

    def identity(self) -> dict[str, Any]:
        """Return the kind and its version."""
        return {"kind": self.kind.name, "kind_version": self.kind.version}

    def baselines(self) -> dict[str, str]:
        """Return the sources of the published policies that the language can express, by name."""
        return {b.name: b.source for b in self.kind.baselines.values() if b.source is not None}


def seeds(space: Space, start: Start, incumbent: str = "") -> dict[str, str]:
    """Return the programs that a search starts from, by name, in the order of their evaluation.

    Args:
        start: ``library`` for all published policies and a log-linear template, ``incumbent`` for
            the policy in production alone, ``weak`` for a random choice.
        incumbent: its source, when the policy language can express it.

    Raises:
        ConfigurationError: ``incumbent`` is asked for and its source is not known, or ``weak`` for
            programs, of which there is no random choice.
    """
    program = space.kind.form == "program"
    if start == "weak" and program:
        raise ConfigurationError(
            f"start='weak' is for kinds of score form, {space.kind.name!r} is none; start from the library"
        )
    if start == "weak":
        return {"weak": "def score(noise):\n    return noise\n"}
    if start == "incumbent":
        if not incumbent:
            raise ConfigurationError(
                "the incumbent's source in the policy language is not known: give it with "
                "--incumbent, or start from the library"
            )
        return {"incumbent": incumbent}
    extra = {"incumbent": incumbent} if incumbent else {}
    known = extra | space.baselines()
    return known if program else known | {TEMPLATE: log_linear(space)}


def log_linear(space: Space) -> str:
    """Return a weighted sum of the logarithms of all features, for the tuning of its weights.

    Products and quotients of powers, as most published policies are, are its special cases.
    """
    return render(wrapped(log_sum(space, 1.0)), space.kind.input_names)


def log_sum(space: Space, weight: float) -> ast.expr:
    """Return the sum of the logarithms of all features but the noise, each with a weight of its own."""
    terms = [_term(feature, weight) for feature in space.kind.inputs if feature.name != "noise"]
    total = terms[0]
    for term in terms[1:]:
        total = ast.BinOp(total, ast.Add(), term)
    return total


def _term(feature: Feature, weight: float) -> ast.expr:
    value: ast.expr = name(feature.name)
    if feature.low < 0:
        value = call("abs", value)
    return ast.BinOp(number(weight), ast.Mult(), call("math.log1p", value))
