"""Invariants beside a hook: scopes and severities, where each is asked, and what is counted of it."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

import gnomon
from gnomon import testing
from gnomon.sdk.assignment import Assignment
from gnomon.sdk.hook import hook
from gnomon.sdk.invariant import Invariant, broken_over, warned
from gnomon.sdk.language import check

from ..programs.jobs import jobs

BUSIEST = "def score(inflight):\n    return -inflight\n"


def make(name: str) -> Any:
    @hook(
        name,
        kind=gnomon.load_balancer,
        items="backends",
        item_features=lambda b: (b.inflight, 1.0, 1.0),
    )
    def pick(backends: list[Any]) -> Any:
        return backends[0]

    return pick


def backends(*inflight: float) -> list[Any]:
    return [SimpleNamespace(inflight=each) for each in inflight]


def test_a_replay_invariant_is_kept_and_never_asked_in_a_service() -> None:
    pick = make("declared.replay")
    asked: list[Any] = []

    @gnomon.invariant(pick, scope="replay")
    def all_done(summary: Any) -> bool:
        """All of it is done."""
        asked.append(summary)
        return bool(summary.done)

    gnomon.invariant(pick, scope="replay", severity="warn", name="half")(lambda summary: 1 / 0)
    with testing.recording() as seen:
        testing.force(pick, BUSIEST)
        assert pick(backends(1, 5)).inflight == 5
        assert len(seen.decisions) == 1
    assert not asked
    assert (pick.hook.counters["warnings"], pick.hook.broken) == (0, {})
    own = [each for each in pick.hook.invariants if each not in gnomon.load_balancer.invariants]
    assert [(i.name, i.scope, i.severity, i.description) for i in own] == [
        ("all_done", "replay", "block", "All of it is done."),
        ("half", "replay", "warn", ""),
    ]
    summary = SimpleNamespace(done=False)
    assert [i.name for i in broken_over(summary, own)] == ["all_done", "half"]
    assert [i.name for i in broken_over(SimpleNamespace(done=True), own)] == ["half"]


@pytest.mark.parametrize(
    ("arguments", "predicate", "said"),
    [
        ({"scope": "always"}, lambda items, picked: True, "scope='always': use 'decision' or"),
        ({"severity": "fatal"}, lambda items, picked: True, "severity='fatal': use 'block' or"),
        ({}, lambda summary: True, r"must take \(items, picked\)"),
        ({"scope": "replay"}, lambda items, picked: True, r"must take \(summary\)"),
        ({"name": "conservation"}, lambda items, picked: True, "already has an invariant"),
        ({"name": "x"}, 7, "must take"),
    ],
)
def test_what_could_never_be_asked_is_refused(
    arguments: dict[str, Any], predicate: Any, said: str
) -> None:
    pick = make("declared.wrong")
    before = pick.hook.invariants
    with pytest.raises(gnomon.ConfigurationError, match=said):
        gnomon.invariant(pick, **arguments)(predicate)
    assert pick.hook.invariants == before


def test_the_contract_of_a_kind_is_held_to_the_same() -> None:
    with pytest.raises(gnomon.ConfigurationError, match=r"'x' of scope replay"):
        Invariant("x", lambda a, b: True, scope="replay")
    Invariant("built in", max)  # takes anything, as far as anybody can say


def test_what_did_not_hold_is_counted_by_name() -> None:
    pick = make("declared.names")
    gnomon.invariant(pick, name="light")(lambda items, picked: picked.inflight < 100)
    gnomon.invariant(pick, severity="warn", name="idle")(lambda items, picked: picked.inflight < 1)
    gnomon.invariant(pick, severity="warn", name="fails")(lambda items, picked: 1 / 0)
    with testing.recording() as seen:
        pick(backends(0, 5))
        testing.force(pick, BUSIEST)
        pick(backends(0, 5))  # the program's; not idle
        pick(backends(0, 500))  # refused: the function answers, and that is idle
        details = [each.detail for each in seen.decisions]
        assert details == ["", "", "violation:light"]
        assert [each.inclusion for each in seen.decisions] == ["sampled"] * 3
        assert pick.hook.broken == {"light": 1, "idle": 1, "fails": 3}
        assert pick.hook.counters["warnings"] == 4
        assert pick.hook.counters["violations"] == 1


def test_a_live_shadow_s_candidate_is_held_to_what_warns_too() -> None:
    pick = make("declared.shadow")
    gnomon.invariant(pick, severity="warn", name="idle")(lambda items, picked: picked.inflight < 1)
    with testing.recording():
        program = check(BUSIEST, gnomon.load_balancer.input_names)
        pick.hook.install(
            Assignment(
                phase="shadow", candidate=program, candidate_digest="c", shadow_rate=1.0, epoch=1,
                lease_until_ns=2**62,
            )
        )  # fmt: skip
        for _ in range(3):
            pick(backends(0, 5))
        pick.hook.drain()
        counters = pick.hook.counters
    assert (counters["shadow_decisions"], counters["shadow_warnings"]) == (3, 3)
    assert (counters["warnings"], counters["shadow_violations"]) == (0, 0)


def test_program_form_counts_by_name_and_keeps_replay_scope_out() -> None:
    @hook("declared.program", kind=jobs, item_features=lambda q: (len(q.work),))
    def assign(work: list[float], machines: int) -> list[int]:
        return [0] * len(work)

    gnomon.invariant(assign, scope="replay", severity="warn", name="whole")(lambda summary: 1 / 0)

    @gnomon.invariant(assign, severity="warn")
    def not_all_on_one(question: Any, answer: Any) -> bool:
        return len({*answer.machine}) > 1

    with testing.recording() as seen:
        assign([1.0, 2.0], 2)
        assert len(seen.decisions) == 1
        assert assign.hook.broken == {"not_all_on_one": 1}
        assert assign.hook.counters["warnings"] == 1


def test_a_cache_can_be_held_to_invariants_of_its_own() -> None:
    cache: gnomon.PolicyCache[int, int] = gnomon.PolicyCache(4, name="declared.cache")
    try:
        gnomon.invariant(cache, name="not_the_newest")(lambda items, picked: picked.resident)
        gnomon.invariant(cache, severity="warn", name="old")(lambda items, picked: picked.age > 99)
        gnomon.invariant(cache, scope="replay", name="few")(lambda summary: summary.decisions < 1e9)
        with pytest.raises(gnomon.ConfigurationError, match="already has"):
            gnomon.invariant(cache, name="old")(lambda items, picked: True)
        with testing.recording():
            testing.force(cache, "def score(age):\n    return -age\n")
            for key in range(8):
                cache[key] = key
            counters, broken = cache.hook.counters, dict(cache.hook.broken)
            assert broken == {"old": counters["warnings"]}
            assert counters["warnings"] == counters["decisions"] >= 3
        with testing.recording():
            testing.force(cache, "def score(resident):\n    return resident\n")
            for key in range(8, 16):
                cache[key] = key
            refused, asked = cache.hook.counters["violations"], cache.hook.counters["decisions"]
            assert cache.hook.broken == {"not_the_newest": refused}
            assert refused == asked >= 3  # the third trips the breaker
    finally:
        cache.close()


def test_warned_names_only_decision_invariants_that_warn() -> None:
    never = (
        Invariant("a", lambda items, picked: False),
        Invariant("b", lambda items, picked: False, severity="warn"),
        Invariant("c", lambda summary: False, scope="replay", severity="warn"),
    )
    assert warned(never, [], None) == ("b",)


async def _later(items: Any, picked: Any) -> bool:
    return False


def _one_by_one(items: Any, picked: Any) -> Any:
    yield False


class _Later:
    async def __call__(self, items: Any, picked: Any) -> bool:
        return False


@pytest.mark.parametrize(
    "predicate",
    [_later, _one_by_one, _Later(), partial(_later)],
    ids=lambda each: type(each).__name__,
)
def test_what_would_always_count_as_true_is_refused(predicate: Any) -> None:
    """A coroutine is true whatever it would say, so it would let every pick pass."""
    pick = make(f"declared.later.{type(predicate).__name__}{id(predicate)}")
    with pytest.raises(gnomon.ConfigurationError, match="asynchronous or a generator"):
        gnomon.invariant(pick, name="later")(predicate)
    assert pick.hook.invariants == gnomon.load_balancer.invariants


def test_a_predicate_without_a_name_needs_one() -> None:
    pick = make("declared.nameless")
    with pytest.raises(gnomon.ConfigurationError, match="pass name="):
        gnomon.invariant(pick)(partial(lambda limit, items, picked: True, 1))
