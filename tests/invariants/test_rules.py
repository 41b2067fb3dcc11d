"""What each shape of rule asks, that some choice can always meet it, and that only known shapes are read."""

from __future__ import annotations

import json
from collections import Counter, namedtuple
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gnomon
from gnomon.policies.expert_placement import expert_placement
from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.invariant import Invariant
from gnomon.sdk.rules.base import Rule
from gnomon.sdk.rules.parse import SHAPES, rule_of
from gnomon.sdk.rules.program import (
    ChangedAtMost,
    Covers,
    Distinct,
    Monotone,
    OccursAtMost,
    OccursWith,
    OutputWithin,
    Permutation,
    SumEquals,
)
from gnomon.sdk.rules.score import (
    Among,
    Avoids,
    ItemsWithin,
    NearLeast,
    NearMost,
    NotDominated,
    Prefers,
)
from gnomon.shadow.gates.questions import invariant_digest

from ..programs.jobs import jobs
from .rules import program_rules, score_rules, tables

Question = namedtuple("Question", "work machines")
Answer = namedtuple("Answer", "machine")


def items(*inflight: float, ewma: tuple[float, ...] = ()) -> list[Any]:
    given = ewma or (1.0,) * len(inflight)
    rows = zip(inflight, given, strict=True)
    return [load_balancer.item_type(i, e, 1.0, 1.0, 0.5) for i, e in rows]


def allowed(rule: Rule, table: list[Any]) -> list[bool]:
    """Return for every item whether it may be picked."""
    return [rule.predicate()(table, item) for item in table]


def test_prefers() -> None:
    assert allowed(Prefers("inflight", "at_most", 2.0), items(1, 2, 3)) == [True, True, False]
    assert allowed(Prefers("inflight", "at_most", 2.0), items(5, 3)) == [True, True]
    assert allowed(Prefers("inflight", "at_least", 2.0), items(1, 2, 3)) == [False, True, True]
    assert allowed(Prefers("inflight", "equal", 2.0), items(1, 2, 3)) == [False, True, False]
    assert allowed(Prefers("inflight", "equal", 9.0), items(1, 2, 3)) == [True] * 3


def test_near_the_least_and_the_most() -> None:
    assert allowed(NearLeast("inflight", 2.0, 0.0), items(3, 6, 7)) == [True, True, False]
    assert allowed(NearLeast("inflight", 1.0, 3.0), items(3, 6, 7)) == [True, True, False]
    assert allowed(NearLeast("inflight", 2.0, 0.0), items(-4, 0, 1)) == [True, True, False]
    assert allowed(NearMost("inflight", 2.0, 0.0), items(8, 4, 3)) == [True, True, False]
    assert allowed(NearMost("inflight", 1.0, 1.0), items(8, 7, 3)) == [True, True, False]


def test_among() -> None:
    assert allowed(Among("inflight", "lowest", 1), items(1, 1, 2)) == [True, True, False]
    assert allowed(Among("inflight", "lowest", 2), items(1, 2, 3)) == [True, True, False]
    assert allowed(Among("inflight", "highest", 1), items(1, 2, 3)) == [False, False, True]


def test_not_dominated() -> None:
    table = items(1, 2, 2, ewma=(5.0, 6.0, 4.0))
    assert allowed(NotDominated(("inflight", "ewma_ms"), ()), table) == [True, False, True]
    assert allowed(NotDominated(("inflight",), ("ewma_ms",)), table) == [True, True, False]


def test_avoids() -> None:
    table = items(1, 1, 0, ewma=(7.0, 8.0, 8.0))
    assert allowed(Avoids("inflight", 1.0, "ewma_ms", 7.0), table) == [True, False, True]
    assert allowed(Avoids("inflight", 1.0, "ewma_ms", 9.0), table[:2]) == [True, True]


def test_items_within() -> None:
    assert allowed(ItemsWithin("inflight", 0.0, 2.0), items(1, 2)) == [True, True]
    assert allowed(ItemsWithin("inflight", 0.0, 2.0), items(1, 3)) == [False, False]
    assert ItemsWithin.ONLY_WARNS


def holds(rule: Rule, machine: list[Any], work: Any = (), machines: int = 4) -> bool:
    return rule.predicate()(Question(work, machines), Answer(machine))


def test_rules_over_answers() -> None:
    assert holds(OutputWithin("machine", 0, 3), [0, 3]) and not holds(
        OutputWithin("machine", 0, 2), [0, 3]
    )
    assert holds(Distinct("machine"), [[1, 2], [2, 1]]) and not holds(Distinct("machine"), [1, 1])
    assert holds(Permutation("machine"), [2, 0, 1]) and not holds(Permutation("machine"), [1, 2, 3])
    assert holds(Covers("machine", "work"), [1, 0, 1], [9.0, 9.0])
    assert not holds(Covers("machine", "work"), [0, 0], [9.0, 9.0])
    assert holds(SumEquals("machine", "work"), [0.1, 0.2], [0.3])
    assert not holds(SumEquals("machine", "work"), [1, 2], [4.0])
    assert holds(SumEquals("machine", "machines"), [1, 3]) and not holds(
        SumEquals("machine", "machines"), [1, 2]
    )
    assert holds(Monotone("machine", "work", "rises"), [1, 1, 2, 0], [3.0, 3.0, 9.0, 1.0])
    assert holds(
        Monotone("machine", "work", "rises"), [1, 2], [3.0, 3.0]
    )  # equal work says nothing
    assert not holds(Monotone("machine", "work", "rises"), [2, 1], [3.0, 4.0])
    assert holds(Monotone("machine", "work", "falls"), [2, 1], [3.0, 4.0])
    assert holds(OccursAtMost("machine", 2), [1, 1, 2]) and not holds(
        OccursAtMost("machine", 1), [1, 1, 2]
    )
    assert holds(OccursWith("machine", "work", 0), [0, 0, 1], [9.0, 1.0])
    assert not holds(OccursWith("machine", "work", 0), [1, 1, 0], [9.0, 1.0])
    assert holds(OccursWith("machine", "work", 1), [1, 1, 0], [9.0, 1.0])
    assert holds(ChangedAtMost("machine", "work", 0.5), [1, 2], [1, 3])
    assert not holds(ChangedAtMost("machine", "work", 0.4), [1, 2], [1, 3])


@given(score_rules(), tables())
def test_whatever_the_items_are_some_choice_meets_a_rule_that_may_block(
    rule: Rule, table: list[Any]
) -> None:
    assert rule.ONLY_WARNS or any(allowed(rule, table))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8))
def test_monotone_is_what_comparing_all_pairs_says(pairs: list[tuple[int, int]]) -> None:
    work, machine = [[float(p[0]) for p in pairs], [p[1] for p in pairs]]
    naive = all(b >= a for x, a in pairs for y, b in pairs if y > x)
    assert holds(Monotone("machine", "work", "rises"), machine, work) == naive
    times = Counter(machine)
    often = all(
        times[j] >= times[i] - 1
        for i in range(len(work))
        for j in range(len(work))
        if work[j] > work[i]
    )
    assert holds(OccursWith("machine", "work", 1), machine, work) == often


@given(st.one_of(score_rules(), program_rules()))
def test_a_rule_is_read_back_as_it_was_written(rule: Rule) -> None:
    stored = json.loads(json.dumps(rule.as_json()))
    assert rule_of(stored) == rule
    assert rule.says().endswith(".") and rule.label().isidentifier()


JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner)),
    max_leaves=5,
)


@given(st.one_of(score_rules(), program_rules()), st.data())
def test_a_rule_with_another_value_is_another_rule_or_none(rule: Rule, data: st.DataObject) -> None:
    stored = json.loads(json.dumps(rule.as_json()))
    name = data.draw(st.sampled_from(sorted(stored)))
    stored[name] = data.draw(JUNK)
    try:
        read = rule_of(stored)
    except gnomon.ConfigurationError as error:
        assert 0 < len(str(error)) < 2_000
    else:
        assert type(read) in SHAPES.values() and rule_of(read.as_json()) == read


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "an object with a shape"),
        ({"shape": "exec"}, "shape 'exec' is unknown; there are among"),
        ({"shape": ["among"]}, "is unknown"),
        ({"shape": "distinct"}, "has the fields output"),
        ({"shape": "distinct", "output": "x", "code": "1"}, "this one has code, output, shape"),
        ({"shape": "distinct", "output": "__class__"}, "must be a name"),
        ({"shape": "distinct", "output": "a.b"}, "must be a name"),
        ({"shape": "near_least", "feature": "f", "factor": True, "plus": 0.0}, "a finite number"),
        ({"shape": "near_least", "feature": "f", "factor": 10**400, "plus": 0}, "a finite number"),
        ({"shape": "among", "feature": "f", "end": "middle", "places": 1}, "lowest or highest"),
        ({"shape": "among", "feature": "f", "end": "lowest", "places": 1.5}, "a whole number"),
    ],
)
def test_what_is_no_rule_is_refused(value: Any, said: str) -> None:
    with pytest.raises(gnomon.ConfigurationError, match=said):
        rule_of(value)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Prefers("load", "at_most", 1.0), "no feature 'load'; there are inflight"),
        (Prefers("noise", "at_most", 1.0), "drawn anew"),
        (NearLeast("inflight", 0.5, 0.0), "at least 1"),
        (NearMost("inflight", 1.0, -1.0), "at least 0"),
        (Among("inflight", "lowest", 0), "at least 1"),
        (NotDominated(("inflight",), ()), "two or more"),
        (NotDominated(("inflight",), ("inflight",)), "each once"),
        (Avoids("inflight", 1.0, "inflight", 2.0), "two features"),
        (ItemsWithin("inflight", 2.0, 1.0), "is above"),
    ],
)
def test_a_rule_that_means_nothing_for_a_kind_says_so(rule: Rule, said: str) -> None:
    assert said in rule.problem(load_balancer)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (Distinct("work"), "no output 'work'"),
        (SumEquals("machine", "time"), "no input 'time'"),
        (Covers("machine", "machines"), "no elements"),
        (Monotone("machine", "machines", "rises"), "not of the shape"),
        (ChangedAtMost("machine", "work", 1.5), "from 0 to 1"),
        (OutputWithin("machine", 2, 1), "is above"),
        (OccursAtMost("machine", 0), "at least 1"),
        (OccursWith("machine", "work", -1), "at least 0"),
        (OccursWith("machine", "machines", 0), "no row"),
    ],
)
def test_a_rule_over_answers_that_means_nothing_says_so(rule: Rule, said: str) -> None:
    assert said in rule.problem(jobs)


def test_rules_fit_the_kinds_they_are_for() -> None:
    assert not OccursWith("placement", "weight", 1).problem(expert_placement)
    assert not ChangedAtMost("placement", "current", 0.5).problem(expert_placement)
    assert Monotone("placement", "weight", "rises").problem(expert_placement)
    assert not NearLeast("inflight", 2.0, 4.0).problem(load_balancer)


@given(st.one_of(score_rules(), program_rules()), st.one_of(score_rules(), program_rules()))
def test_the_holdout_s_question_tells_rules_apart(one: Rule, other: Rule) -> None:
    """An answer from the holdout is kept for the same question only: another number is another question."""
    digests = [invariant_digest(Invariant("x", each.predicate())) for each in (one, other, one)]
    assert digests[0] == digests[2]
    assert (digests[0] == digests[1]) == (str(one.as_json()) == str(other.as_json()))
