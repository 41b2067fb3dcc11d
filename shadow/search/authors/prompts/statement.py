"""What a search is about, as facts that templates put into words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .....sdk.invariant import Invariant
    from .....sdk.kind import Guardrail
    from .....sdk.language import Parameter
    from ...space import Space

Form = Literal["score", "program", "python"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A name, and what it stands for: an invariant, a guardrail, an operation of the host."""

    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Input:
    """Something that a program may read.

    Attributes:
        name, unit, description: as its kind declares them.
        low, high: range in which the host keeps it.
        usual: its median size in the recorded time; 0 when it is not known.
        integer: whether it holds whole numbers only.
        shape: names of the lengths, as ``[layers, experts]``; empty for a number.
        writable: whether it is an output.
    """

    name: str
    unit: str
    description: str
    low: float
    high: float
    usual: float = 0.0
    integer: bool = False
    shape: str = ""
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Statement:
    """The problem of one search.

    Attributes:
        title, description: what is decided.
        form: of the programs; ``python`` for those outside the policy language.
        objective, unit: what is measured; empty where a program's own evaluator says.
        higher: whether higher is better; scores, which are lower when better, are then shown negated.
        order: of a score form: whether the ``lowest`` or the ``highest`` score is picked.
        signature: of the function to write, with its parameters; empty when programs differ in it.
        inputs: what a program may read.
        invariants, guardrails, operations: names with what they mean.
        bound: whether a proven limit is known.
        most_nodes, most_fuel, preferred_nodes: limits of a program; 0 for none.
        blocks: whether programs have marked blocks, outside of which nothing may change.
        text: further words from whoever set the problem.
    """

    title: str
    description: str
    form: Form
    objective: str = ""
    unit: str = ""
    higher: bool = False
    order: str = ""
    signature: str = ""
    inputs: tuple[Input, ...] = ()
    invariants: tuple[Rule, ...] = ()
    guardrails: tuple[Rule, ...] = ()
    operations: tuple[Rule, ...] = ()
    bound: bool = False
    most_nodes: int = 0
    most_fuel: int = 0
    preferred_nodes: int = 0
    blocks: bool = False
    text: str = ""


def of_space(space: Space, invariants: Sequence[Invariant] = ()) -> Statement:
    """Return what a search for a policy of a kind is about.

    Args:
        space: of the programs.
        invariants: of the hook, besides the kind's.
    """
    kind, contract = space.kind, space.kind.program
    inputs = tuple(
        Input(
            f.name, f.unit, f.description, f.low, f.high, space.scales.get(f.name, 0.0), f.integer
        )
        for f in kind.inputs
    )
    nodes, fuel = kind.max_nodes, kind.max_fuel
    signature = f"score({', '.join(kind.input_names)})"
    operations: tuple[Rule, ...] = ()
    if contract is not None:
        inputs = tuple(map(_parameter, contract.parameters))
        nodes, fuel = contract.max_nodes, contract.max_fuel
        signature = f"{contract.entry}({', '.join(each.name for each in inputs)})"
        operations = tuple(Rule(each.name, each.description) for each in contract.operations)
    return Statement(
        title=kind.name,
        description=kind.description,
        form=kind.form,
        objective=kind.objective.name,
        unit=kind.objective.unit,
        order=kind.order,
        signature=signature,
        inputs=inputs,
        invariants=_rules((*kind.invariants, *invariants)),
        guardrails=tuple(map(_guardrail, kind.guardrails)),
        operations=operations,
        bound=kind.has_bound,
        most_nodes=nodes,
        most_fuel=fuel,
        preferred_nodes=space.limit if contract is None else 0,
    )


def _parameter(each: Parameter) -> Input:
    shape = f"[{', '.join(each.dimensions)}]" if each.dimensions else ""
    return Input(
        each.name,
        each.unit,
        each.description,
        each.low,
        each.high,
        integer=each.integer,
        shape=shape,
        writable=each.writable,
    )


def _rules(invariants: Iterable[Invariant]) -> tuple[Rule, ...]:
    return tuple(Rule(e.name, e.description) for e in invariants if e.severity == "block")


def _guardrail(rail: Guardrail) -> Rule:
    if not math.isfinite(rail.margin):
        return Rule(rail.name, "any amount")
    return Rule(rail.name, f"{rail.margin:.1%}" if rail.relative else f"{rail.margin:g}")
