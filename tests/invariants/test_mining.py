"""What is mined: planted laws are found, luck is not, and a suggestion holds on what it was mined from."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gnomon
from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.rules.base import Rule
from gnomon.sdk.rules.file import parse_suggestions
from gnomon.sdk.rules.program import Covers, Distinct, Monotone, OutputWithin, Permutation
from gnomon.sdk.rules.score import Among, ItemsWithin, NearLeast, NotDominated, Prefers
from gnomon.shadow.gates.invariants import WIDENED
from gnomon.shadow.invariants.decisions import Picks
from gnomon.shadow.invariants.limits import limit_above, upper_share
from gnomon.shadow.invariants.mining import Mined, mine

from .worlds import EWMA, INFLIGHT, SINCE, WEIGHT, among, answers, at_random, decided, picks


def telling(found: Mined) -> list[Rule]:
    """Return the rules that forbid something, the most constraining first."""
    return [each.rule for each in found.file.rules if each.support.forbids > 0.0]


PLANTED: dict[str, tuple[Any, Any]] = {
    "never more than twice the least": (
        among(lambda rows: rows[:, INFLIGHT] <= 2 * rows[:, INFLIGHT].min()),
        lambda rule: rule == NearLeast("inflight", 2.0, 0.0),
    ),
    "at most three above the least": (
        among(lambda rows: rows[:, INFLIGHT] <= rows[:, INFLIGHT].min() + 3),
        lambda rule: rule == NearLeast("inflight", 1.0, 3.0),
    ),
    "never above three times the fastest": (
        among(lambda rows: rows[:, EWMA] <= 3 * rows[:, EWMA].min()),
        lambda rule: isinstance(rule, NearLeast) and rule.factor == 3.0 and rule.plus < 0.2,
    ),
    "the shortest queue": (
        lambda rows, rng: int(rows[:, INFLIGHT].argmin()),
        lambda rule: rule == Among("inflight", "lowest", 1),
    ),
    "one of the three shortest": (
        among(lambda rows: (rows[:, INFLIGHT, None] > rows[None, :, INFLIGHT]).sum(1) < 3),
        lambda rule: rule == Among("inflight", "lowest", 3),
    ),
    "whoever waited longest": (
        lambda rows, rng: int(rows[:, SINCE].argmax()),
        lambda rule: rule == Among("since_picked", "highest", 1),
    ),
    "nobody who is overdue is left": (
        among(lambda rows: rows[:, SINCE] >= min(9, rows[:, SINCE].max())),
        lambda rule: isinstance(rule, Among | Prefers) and "since_picked" in rule.label(),
    ),
    "a heavy one if there is any": (
        among(lambda rows: rows[:, WEIGHT] == 2.0),
        lambda rule: "weight" in rule.label(),
    ),
    "best of a product": (
        lambda rows, rng: int(((rows[:, INFLIGHT] + 1.0) * rows[:, EWMA]).argmin()),
        lambda rule: rule == NotDominated(("inflight", "ewma_ms"), ()),
    ),
    "never above ten": (
        among(lambda rows: rows[:, INFLIGHT] <= 8),
        lambda rule: rule == Prefers("inflight", "at_most", 8.0),
    ),
}


@pytest.mark.parametrize("law", PLANTED)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_law_is_the_first_that_is_suggested(law: str, seed: int) -> None:
    decide, is_it = PLANTED[law]
    found = telling(mine(decided(picks(decide, seed))))
    assert found and is_it(found[0]), found


@pytest.mark.parametrize("seed", range(6))
def test_picks_at_random_suggest_no_relation(seed: int) -> None:
    found = mine(decided(picks(at_random, seed)))
    assert telling(found) == []
    described = [each.rule for each in found.file.rules]
    assert {type(rule) for rule in described} <= {ItemsWithin, Prefers}
    assert all(rule.ONLY_WARNS or "since_picked" in rule.label() for rule in described)


@settings(max_examples=12)
@given(
    st.sampled_from(sorted(PLANTED)), st.integers(0, 10**6), st.integers(40, 300), st.integers(1, 5)
)
def test_a_suggestion_holds_on_everything_that_it_was_mined_from(
    law: str, seed: int, n: int, members: int
) -> None:
    drawn = picks(PLANTED[law][0], seed, n, members + 1)
    found = mine(decided(drawn))
    for each in found.file.rules:
        holds = each.rule.predicate()
        assert all(holds(*drawn.asked(index)) for index in range(n)), each
        assert not each.rule.problem(load_balancer)
        assert each.support.mined + each.support.tested == n
        assert each.support.broken == 0 < each.support.upper < 1.0
    assert parse_suggestions(found.file.to_bytes()) == found.file


def test_what_the_last_quarter_breaks_is_no_suggestion() -> None:
    lawful = picks(PLANTED["the shortest queue"][0], n=900)
    after = picks(at_random, seed=7, n=300)
    both = Picks(
        load_balancer,
        np.concatenate((lawful.items, after.items)),
        np.concatenate((lawful.edge, lawful.edge[-1] + after.edge[1:])),
        np.concatenate((lawful.picked, lawful.edge[-1] + after.picked)),
    )
    found = mine(decided(both))
    assert found.refuted >= 3 and telling(found) == []


def test_what_is_implied_is_left_out() -> None:
    found = mine(decided(picks(PLANTED["the shortest queue"][0])))
    assert telling(found) == [Among("inflight", "lowest", 1)]
    assert found.implied >= 3  # near the least, not dominated, and the like


def test_who_is_overdue_lies_beyond_what_the_gates_generate() -> None:
    drawn = picks(at_random)
    (overdue,) = [r.rule for r in mine(decided(drawn)).file.rules if isinstance(r.rule, Prefers)]
    assert overdue.value > WIDENED * drawn.items[:, SINCE].max()


def test_names_are_of_nothing_that_holds_already() -> None:
    drawn = decided(picks(PLANTED["the shortest queue"][0]))
    taken = gnomon.Invariant("inflight_among_lowest_1", lambda items, picked: True)
    found = mine(dataclasses.replace(drawn, invariants=(*drawn.invariants, taken)))
    assert found.file.rules[0].name == "inflight_among_lowest_1_2"


def test_numbers_that_are_none_are_left_out() -> None:
    drawn = picks(PLANTED["the shortest queue"][0])
    items = drawn.items.copy()
    items[::50, EWMA] = math.nan
    items[7, INFLIGHT] = math.inf
    found = mine(decided(dataclasses.replace(drawn, items=items)))
    assert telling(found)[0] == Among("inflight", "lowest", 1)


@pytest.mark.parametrize(("n", "members", "said"), [(39, 4, "too few"), (200, 1, "had a choice")])
def test_too_little_suggests_nothing(n: int, members: int, said: str) -> None:
    with pytest.raises(gnomon.TraceError, match=said):
        mine(decided(picks(at_random, n=n, members=members)))


def test_laws_of_answers_are_found() -> None:
    def shuffled(_asked: Any, rng: Any) -> list[int]:
        return [int(each) for each in rng.permutation(8)]

    assert telling(mine(decided(answers(shuffled)))) == [Permutation("machine")]

    def by_size(asked: Any, _rng: Any) -> list[int]:
        order = np.argsort(asked.work)
        ranks = np.empty(8, int)
        ranks[order] = np.arange(8) // 2
        return [int(each) for each in ranks]

    found = telling(mine(decided(answers(by_size))))
    assert found[0] == Monotone("machine", "work", "rises")

    def few(_asked: Any, rng: Any) -> list[int]:
        return [int(each) for each in rng.choice([1, 2], 8)]

    rules = telling(mine(decided(answers(few))))
    assert not any(isinstance(rule, Permutation | Distinct | Covers | Monotone) for rule in rules)
    everything = [each.rule for each in mine(decided(answers(few))).file.rules]
    assert not any(isinstance(rule, OutputWithin) and rule.high < 2 for rule in everything)


def test_answers_at_random_suggest_nothing_that_relates_them_to_the_question() -> None:
    def any_machine(_asked: Any, rng: Any) -> list[int]:
        return [int(each) for each in rng.integers(0, 4, 8)]

    found = mine(decided(answers(any_machine)))
    assert not any(hasattr(rule, "input") for rule in telling(found))


@given(st.integers(1, 400), st.data())
def test_the_limit_of_a_share_is_exact(of: int, data: st.DataObject) -> None:
    broken = data.draw(st.integers(0, of))
    upper = upper_share(broken, of)
    assert broken / of <= upper <= 1.0
    if broken < of:
        chance = sum(
            math.comb(of, i) * upper**i * (1.0 - upper) ** (of - i) for i in range(broken + 1)
        )
        assert chance == pytest.approx(0.05, rel=1e-6)


def test_the_rule_of_three() -> None:
    assert upper_share(0, 1000) == pytest.approx(0.003, rel=0.01)
    assert upper_share(0, 1000, 0.05 / 20) == pytest.approx(0.006, rel=0.01)


def test_a_limit_is_where_values_pile_up_and_beyond_the_largest_where_they_do_not() -> None:
    rng = np.random.default_rng(0)
    piled = np.minimum(rng.exponential(10.0, 2000), 12.0)
    assert limit_above(piled[:1000], piled[1000:], whole=False) == 12.0
    assert limit_above(np.rint(piled[:1000]), np.rint(piled[1000:]), whole=True) == 12.0
    missed = 0
    for _ in range(200):
        values = rng.uniform(0.0, 1.0, 400)
        limit = limit_above(values[:300], values[300:], whole=False)
        assert limit is not None and values.max() <= limit < 1.1
        missed += limit < 1.0
    assert missed <= 20  # 5 % where nothing is doubled
    assert limit_above(np.zeros(50), np.ones(50), whole=True) is None  # no end at all


@pytest.mark.parametrize("name", ["queueLength", "x" * 90, "größe", "_1".join("Qq")])
def test_what_is_suggested_can_be_read_and_confirmed_whatever_features_are_called(
    name: str,
) -> None:
    """A kind's features may be any identifiers; names of suggestions are small ASCII letters."""
    inflight, *rest = load_balancer.features
    kind = dataclasses.replace(
        load_balancer, features=(dataclasses.replace(inflight, name=name), *rest)
    )
    made = picks(lambda rows, _rng: int(rows[:, INFLIGHT].argmin()))
    found = mine(decided(dataclasses.replace(made, kind=kind))).file
    again = parse_suggestions(found.to_bytes())
    assert again == found and getattr(again.rules[0].rule, "feature", "") == name
    made_sure = again.confirm([again.rules[0].name], "ada", "2026-01-01T00:00:00Z")
    (held,) = parse_suggestions(made_sure.to_bytes()).invariants(kind, "w.pick")
    assert held.name == again.rules[0].name


@pytest.mark.parametrize("least", [5e-324, 1e-320, 1e307])
def test_limits_of_numbers_at_the_ends_of_what_floats_can_say(least: float) -> None:
    values = least * np.arange(1, 17)
    limit = limit_above(values, values, whole=False)
    assert limit is not None and limit >= values.max()
