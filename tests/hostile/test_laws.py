"""Laws of a replay, asked of summaries that a broken evaluator might give: every promise is looked at."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from gnomon.policies.cache import cache
from gnomon.policies.expert_placement import expert_placement
from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.scheduler import scheduler
from gnomon.sdk.kind import Kind

SOUND: dict[str, tuple[Kind, dict[str, Any]]] = {
    "load_balancer": (
        load_balancer,
        {
            "decisions": 4, "completions": 4, "picks": (2, 2), "longest_unpicked": (1, 1),
            "lowest_outcome": 1.0, "late_starts": 0, "most_over_slots": 0, "present_s": 3.0,
            "sojourn_s": 3.0, "busy_s": (1.0, 2.0), "work_s": (1.0, 2.0), "wrong_outcomes": 0,
        },
    ),
    "scheduler": (
        scheduler,
        {
            "jobs": 4, "completions": 4, "shortest_wait_ms": 0.0, "longest_wait_ms": 9.0,
            "longest_in_order_ms": 9.0, "longest_service_ms": 5.0, "latencies_s": 3.0,
            "jobs_over_time_s": 3.0, "work_s": 2.0, "busy_s": 2.0, "overlap_s": 0.0, "idle_s": 0.0,
            "dispatching_s": 0.1, "wrong_outcomes": 0,
        },
    ),
    "cache": (
        cache,
        {"decisions": 4, "completions": 4, "lowest_outcome": 0.0, "most_held": 9.0, "capacity": 10.0, "phantom_hits": 0},
    ),
    "expert_placement": (
        expert_placement,
        {
            "decisions": 4, "completions": 4, "unserved": 0.0, "split": 0, "lowest_outcome": 1.2,
            "wrong_outcomes": 0,
        },
    ),
}  # fmt: skip

#: What a broken evaluator reports, and the law that it breaks.
BROKEN: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("load_balancer", {"completions": 3}, "conservation"),
    ("load_balancer", {"picks": (2, 1)}, "conservation"),
    ("load_balancer", {"lowest_outcome": -1.0}, "conservation"),
    ("load_balancer", {"late_starts": 1}, "conservation"),
    ("load_balancer", {"most_over_slots": 1}, "conservation"),
    ("load_balancer", {"wrong_outcomes": 1}, "conservation"),
    ("load_balancer", {"sojourn_s": 2.0}, "conservation"),
    ("load_balancer", {"busy_s": (1.0, 1.0)}, "conservation"),
    ("load_balancer", {"decisions": 9999, "longest_unpicked": (1, 9000)}, "no_starvation"),
    ("scheduler", {"completions": 3}, "conservation"),
    ("scheduler", {"shortest_wait_ms": -1.0}, "conservation"),
    ("scheduler", {"wrong_outcomes": 1}, "conservation"),
    ("scheduler", {"latencies_s": 2.9}, "littles_law"),
    ("scheduler", {"busy_s": 1.0}, "busy_time"),
    ("scheduler", {"overlap_s": 1.0}, "busy_time"),
    ("scheduler", {"idle_s": 1.0}, "work_conservation"),
    ("scheduler", {"longest_wait_ms": 1e6}, "no_starvation"),
    ("cache", {"completions": 3}, "conservation"),
    ("cache", {"lowest_outcome": -1.0}, "conservation"),
    ("cache", {"most_held": 10.1}, "conservation"),
    ("cache", {"phantom_hits": 1}, "no_phantom_hit"),
    ("expert_placement", {"completions": 3}, "conservation"),
    ("expert_placement", {"unserved": 1.0}, "conservation"),
    ("expert_placement", {"lowest_outcome": 0.9}, "conservation"),
    ("expert_placement", {"wrong_outcomes": 1}, "conservation"),
    ("expert_placement", {"split": 1}, "no_group_split"),
)


def _broken(kind: Kind, summary: dict[str, Any]) -> set[str]:
    laws = [each for each in kind.invariants if each.scope == "replay" and each.severity == "block"]
    return {law.name for law in laws if not law.holds(SimpleNamespace(**summary))}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_replay_keeps_every_law(name: str) -> None:
    assert not _broken(*SOUND[name])


@pytest.mark.parametrize(("name", "change", "law"), BROKEN)
def test_a_broken_one_breaks_the_law_that_is_named(
    name: str, change: dict[str, Any], law: str
) -> None:
    kind, summary = SOUND[name]
    assert law in _broken(kind, summary | change)


@pytest.mark.parametrize(
    ("change", "invariant"),
    [
        ([0, 1, 2, 0], "every_expert_served"),
        ([0, 1, 2, 4], "in_range"),
        ([0, 1, 2, -1], "in_range"),
        ([0, 1, 2], "full_shape"),
        ([0.0, 1, 2, 3], "full_shape"),
    ],
)
def test_a_placement_that_cannot_be_is_none(change: list[Any], invariant: str) -> None:
    kind = expert_placement
    rule = next(each for each in kind.invariants if each.name == invariant)
    asked = SimpleNamespace(
        weight=[[1.0] * 4],
        num_replicas=4,
        num_groups=1,
        num_nodes=1,
        num_ranks=2,
        current=[[0] * 4],
    )
    assert rule.holds(asked, SimpleNamespace(placement=[[0, 1, 2, 3]]))
    assert not rule.holds(asked, SimpleNamespace(placement=[change]))


def test_the_kinds_own_questions_are_answered_lawfully_by_no_lazy_placement() -> None:
    """So that the questions that a gate draws do find one."""
    assert expert_placement.questions is not None
    drawn = [expert_placement.questions(random.Random(seed)) for seed in range(40)]
    served = next(e for e in expert_placement.invariants if e.name == "every_expert_served")
    found = []
    for arguments in drawn:
        asked = expert_placement.question_type(*arguments)
        lazy = [[0] * int(asked.num_replicas) for _ in asked.weight]
        found.append(served.holds(asked, SimpleNamespace(placement=lazy)))
    assert not all(found)
