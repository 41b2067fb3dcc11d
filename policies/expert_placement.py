"""The ``expert_placement`` kind: which slot of which rank holds which expert of a mixture of experts.

A model has layers of experts, of which a router picks a few for each token. A deployment has more slots
than experts, ``num_replicas`` in each layer, equally many on each of ``num_ranks`` ranks (GPUs), so that
hot experts are held several times; slot s belongs to rank ``s // (num_replicas / num_ranks)``. From time
to time the load of the last window decides which expert every slot is to hold in the next.

A policy is a program ``rebalance(weight, num_replicas, num_groups, num_nodes, num_ranks, current,
placement)`` that writes ``placement``, the physical-to-logical map. Its arguments are those of vLLM's
``AbstractEplbPolicy.rebalance_experts``; ``current`` is what is called ``old_global_expert_indices``
there. Where ``num_nodes`` divides ``num_groups``, the experts of a group (as routers with limited groups
pick them) have to stay on one node, as in DeepSeek's hierarchical EPLB; else there is no such rule.

The simulator that answers for this kind is ``shadow/simulators/expert_placement/simulator.py``.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from ..sdk.counts import pack_counts
from ..sdk.errors import ConfigurationError
from ..sdk.invariant import Invariant
from ..sdk.kind import Feature, Guardrail, Kind, Metric, WorkloadEvent
from ..sdk.language import Parameter, ProgramContract
from ._eplb_baselines import BASELINES

MOST_LAYERS, MOST_EXPERTS, MOST_SLOTS = 128, 512, 640
MOST_LOAD = 1e12
#: Seconds for one map; the default policy of vLLM takes about 0.1 s for 58 x 256 experts in 288 slots.
DEADLINE_S = 5.0
NOBODY = -1  # in ``current`` and ``placement``: a slot that holds no expert

LAYERS = Feature("layers", "{layer}", "Layers with experts.", 1.0, float(MOST_LAYERS), integer=True)
SLOTS = Feature("slots", "{slot}", "Slots of a layer.", 1.0, float(MOST_SLOTS), integer=True)
RANKS = Feature("ranks", "{rank}", "Ranks that share them.", 1.0, float(MOST_SLOTS), integer=True)
LOAD = Feature("load", "{token}", "Load of all experts and layers in the last window.", 0.0, 1e17)

_CONTRACT = ProgramContract(
    parameters=(
        Parameter(
            "weight", "{token}", "Load of each expert in the last window.",
            0.0, MOST_LOAD, ("layers", "experts"),
        ),
        Parameter("num_replicas", "{slot}", "Slots of a layer.", 1, MOST_SLOTS, integer=True),
        Parameter("num_groups", "{group}", "Groups of experts.", 1, MOST_EXPERTS, integer=True),
        Parameter("num_nodes", "{node}", "Nodes that hold the ranks.", 1, MOST_SLOTS, integer=True),
        Parameter("num_ranks", "{rank}", "Ranks that hold the slots.", 1, MOST_SLOTS, integer=True),
        Parameter(
            "current", "{expert}", "Expert that each slot holds now, -1 for none.",
            NOBODY, MOST_EXPERTS - 1, ("layers", "slots"), integer=True,
        ),
        Parameter(
            "placement", "{expert}", "Expert that each slot is to hold; -1 all over at first.",
            NOBODY, MOST_EXPERTS - 1, ("layers", "slots"), integer=True, writable=True,
        ),
    ),
    dimensions={
        "layers": (1, MOST_LAYERS),
        "experts": (1, MOST_EXPERTS),
        "slots": (1, MOST_SLOTS),
    },
    entry="rebalance",
    max_fuel=100_000_000,
    max_elements=1_000_000,
)  # fmt: skip


def check_deployment(
    experts: int, num_replicas: int, num_groups: int, num_nodes: int, num_ranks: int
) -> None:
    """Refuse numbers that no placement can be made for.

    Raises:
        ConfigurationError: names the numbers that do not fit, and what would.
    """
    numbers = {
        "experts": (experts, MOST_EXPERTS),
        "num_replicas": (num_replicas, MOST_SLOTS),
        "num_groups": (num_groups, MOST_EXPERTS),
        "num_nodes": (num_nodes, MOST_SLOTS),
        "num_ranks": (num_ranks, MOST_SLOTS),
    }
    for name, (value, most) in numbers.items():
        if not 1 <= value <= most or value != int(value):
            raise ConfigurationError(f"{name} is {value}; give a whole number from 1 to {most}")
    if num_replicas < experts:
        raise ConfigurationError(
            f"{num_replicas} slots cannot hold {experts} experts; give num_replicas of at least {experts}"
        )
    if num_replicas % num_ranks:
        raise ConfigurationError(
            f"{num_replicas} slots do not divide among {num_ranks} ranks; give a multiple of {num_ranks}"
        )
    if num_groups % num_nodes:
        return  # nodes do not matter
    if num_ranks % num_nodes:
        raise ConfigurationError(
            f"{num_ranks} ranks do not divide among {num_nodes} nodes; give a multiple of {num_nodes}"
        )
    if experts % num_groups:
        raise ConfigurationError(
            f"{experts} experts do not divide among {num_groups} groups; "
            "give num_groups 1 where the router knows no groups"
        )


def keeps_groups(num_groups: int, num_nodes: int) -> bool:
    """Return whether groups have to stay on nodes: where there are several nodes and they share them evenly."""
    return num_nodes > 1 and num_groups % num_nodes == 0


def static_row(experts: int, num_replicas: int, num_groups: int, num_nodes: int) -> list[int]:
    """Return a layer's static placement: experts in order, then over again; by node where groups stay."""
    nodes = num_nodes if num_groups % num_nodes == 0 else 1
    here, held = experts // nodes, num_replicas // nodes
    return [slot // held * here + slot % held % here for slot in range(num_replicas)]


def load_event(weight: Any) -> dict[str, float | str]:
    """Return the fields of a ``load`` event: ``hook.event("load", **load_event(weight))``.

    Args:
        weight: load of each expert in the window that ends now, layers x experts, whole numbers.

    Raises:
        ConfigurationError: it is no table of whole numbers.
    """
    counts = pack_counts(weight)
    if not len(weight) or not len(weight[0]):
        raise ConfigurationError("a load without layers or experts is none; give layers x experts")
    return {"layers": float(len(weight)), "experts": float(len(weight[0])), "counts": counts}


def deployment_event(
    num_replicas: int,
    num_groups: int,
    num_nodes: int,
    num_ranks: int,
    *,
    delay: int = 0,
    policy: str = "",
    placement: Any = None,
) -> dict[str, float | str]:
    """Return the fields of a ``deployment`` event.

    Args:
        num_replicas, num_groups, num_nodes, num_ranks: as the policy is told.
        delay: windows between a decision and its use.
        policy: name of the published policy that the service's own function is, if it is one.
        placement: what the slots hold, layers x slots; None for the static placement.

    Raises:
        ConfigurationError: ``placement`` is no table of whole numbers.
    """
    return {
        "replicas": float(num_replicas),
        "groups": float(num_groups),
        "nodes": float(num_nodes),
        "ranks": float(num_ranks),
        "delay": float(delay),
        "policy": policy,
        "placement": "" if placement is None else pack_counts(placement),
    }


def _rows(table: Any) -> Sequence[Sequence[Any]]:
    """Return rows as plain lists, whatever kind of array they are in."""
    rows: Sequence[Sequence[Any]] = table.tolist() if hasattr(table, "tolist") else table
    return rows


def full_shape(question: Any, answer: Any) -> bool:
    """Return whether every slot of every layer has one whole number, and ranks share slots evenly."""
    rows, slots = _rows(answer.placement), int(question.num_replicas)
    return (
        slots % int(question.num_ranks) == 0
        and len(rows) == len(question.weight)
        and all(len(row) == slots and {*map(type, row)} == {int} for row in rows)
    )


def in_range(question: Any, answer: Any) -> bool:
    """Return whether every slot holds an expert that there is."""
    experts = len(question.weight[0])
    return all(min(row) >= 0 and max(row) < experts for row in _rows(answer.placement))


def every_expert_served(question: Any, answer: Any) -> bool:
    """Return whether every expert of every layer is in a slot."""
    experts = {*range(len(question.weight[0]))}
    return all(experts.issubset(row) for row in _rows(answer.placement))


def groups_on_node(question: Any, answer: Any) -> bool:
    """Return whether all replicas of a group's experts are on one node, where that is asked for."""
    groups, nodes = int(question.num_groups), int(question.num_nodes)
    if not keeps_groups(groups, nodes):
        return True
    experts, slots = len(question.weight[0]), int(question.num_replicas)
    group_of = [expert * groups // experts for expert in range(experts)]
    held = slots // nodes
    for row in _rows(answer.placement):
        found = [group_of[expert] for expert in row]
        if sum(len({*found[at : at + held]}) for at in range(0, slots, held)) != len({*found}):
            return False
    return True


def replicas_apart(question: Any, answer: Any) -> bool:
    """Return whether no rank holds an expert of a layer twice."""
    held = int(question.num_replicas) // int(question.num_ranks)
    return all(
        len({*row[at : at + held]}) == held
        for row in _rows(answer.placement)
        for at in range(0, len(row), held)
    )


def conservation(summary: Any) -> bool:
    """Return whether the ranks were given the whole load of every window, and nothing beside it."""
    return bool(
        summary.completions == summary.decisions
        and summary.unserved == 0.0
        and summary.lowest_outcome >= 1.0 - 1e-9
        and summary.wrong_outcomes == 0
    )


def no_group_split(summary: Any) -> bool:
    """Return whether no placement of a replay split a group over nodes where groups have to stay."""
    return bool(summary.split == 0)


#: Experts, groups, nodes, ranks and spare slots of a rank: deployments that questions are about.
_DEPLOYMENTS = (
    (1, 1, 1, 1, 0), (4, 1, 1, 2, 0), (4, 2, 2, 2, 1), (8, 4, 2, 4, 1), (8, 3, 2, 4, 1),
    (12, 4, 2, 8, 0), (16, 4, 4, 8, 1), (16, 1, 1, 4, 2), (32, 8, 4, 16, 1), (64, 1, 1, 8, 1),
    (64, 8, 2, 8, 3), (27, 1, 3, 9, 1),
)  # fmt: skip


def questions(draw: random.Random) -> tuple[Any, ...]:
    """Draw the arguments of a call: a deployment, and a load that is even, skewed, tied, sparse or nil."""
    experts, groups, nodes, ranks, spare = draw.choice(_DEPLOYMENTS)
    slots = (-(-experts // ranks) + spare) * ranks
    layers = draw.choice((1, 1, 2, 3))
    weight = [_load(draw, experts) for _ in range(layers)]
    current = [[NOBODY] * slots] * layers
    if draw.random() < 0.7:
        per_node, held = (
            (experts // nodes, slots // nodes) if groups % nodes == 0 else (experts, slots)
        )
        row = [slot // held * per_node + slot % held % per_node for slot in range(slots)]
        current = [list(row) for _ in range(layers)]
    nothing = [[NOBODY] * slots for _ in range(layers)]
    return weight, slots, groups, nodes, ranks, current, nothing


def _load(draw: random.Random, experts: int) -> list[float]:
    shape = draw.choice(("even", "skewed", "tied", "sparse", "nil", "one", "parts"))
    if shape == "even":
        return [float(draw.randint(900, 1100)) for _ in range(experts)]
    if shape == "skewed":
        return [float(int(draw.paretovariate(0.8))) % MOST_LOAD for _ in range(experts)]
    if shape == "tied":
        return [float(draw.randint(0, 2)) for _ in range(experts)]
    if shape == "sparse":
        return [float(draw.randint(1, 99)) if draw.random() < 0.2 else 0.0 for _ in range(experts)]
    if shape == "one":
        hot = draw.randrange(experts)
        return [1000.0 if expert == hot else 0.0 for expert in range(experts)]
    if shape == "parts":
        return [draw.random() for _ in range(experts)]
    return [0.0] * experts


expert_placement = Kind(
    name="expert_placement",
    version=1,
    description="Maps slots of ranks to the experts that they hold.",
    features=(LAYERS, SLOTS, RANKS, LOAD),
    objective=Metric(
        "imbalance",
        "1",
        32.0,
        "Load of the fullest rank over the mean in the next window, each summed over layers; 1 is even.",
    ),
    guardrails=(
        Guardrail("failures", "imbalance", "failure_rate", 0.05),
        Guardrail("tail", "imbalance", "p99", 0.10, relative=True),
        Guardrail("moved", "moved", "mean", 0.50),
    ),
    metrics=(
        Metric(
            "moved", "1", 1.0,
            "Share of the slots for which their rank had to fetch an expert that it did not hold.",
            statistics=("mean", "p99"),
        ),
        Metric("rebalance_ms", "ms", DEADLINE_S * 1e3, "Time that the policy took."),
    ),
    workload=(
        WorkloadEvent(
            "load",
            "event",
            ("layers", "experts", "counts"),
            "The load of each expert in a window, when the window ends; counts: as pack_counts packs them.",
        ),
        WorkloadEvent(
            "deployment",
            "event",
            ("replicas", "groups", "nodes", "ranks", "delay", "policy", "placement"),
            "When recording begins, and whenever the slots change other than by a decision. delay: windows "
            "between a decision and its use; policy: name of the one in the service's own source, where it "
            "is published; placement: as pack_counts packs it, empty for the static one.",
        ),
    ),
    invariants=(
        Invariant(
            "full_shape",
            full_shape,
            description="Layers x slots whole numbers; ranks hold equally many slots.",
        ),
        Invariant("in_range", in_range, description="Every slot holds an expert that there is."),
        Invariant(
            "every_expert_served",
            every_expert_served,
            description="Every expert of every layer is in a slot.",
        ),
        Invariant(
            "groups_on_node",
            groups_on_node,
            description="All replicas of a group are on one node, where nodes share groups evenly.",
        ),
        Invariant(
            "replicas_apart",
            replicas_apart,
            severity="warn",
            description="No rank holds an expert twice; a second replica there only takes memory.",
        ),
        Invariant(
            "conservation",
            conservation,
            scope="replay",
            description="The ranks together have each window's whole load, and none is below an even share.",
        ),
        Invariant(
            "no_group_split",
            no_group_split,
            scope="replay",
            description="No placement splits a group over nodes, where nodes share groups evenly.",
        ),
    ),
    baselines=BASELINES,
    outcome_deadline_s=3600.0,
    has_bound=True,
    program=_CONTRACT,
    questions=questions,
    deadline_s=DEADLINE_S,
)  # fmt: skip
