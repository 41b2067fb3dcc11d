"""What makes a question to the holdout another one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from gnomon.sdk.invariant import Invariant
from gnomon.shadow.gates.case import Case, VerifyOptions
from gnomon.shadow.gates.questions import invariant_digest, policy_digest, question
from gnomon.shadow.policy import BuiltInPolicy, FunctionPolicy, RecordedPolicy

from .conftest import PEAK, ROUND_ROBIN, target

Make = Callable[..., Case]


def _limit(most: float) -> Callable[..., bool]:
    return lambda items, picked: picked.inflight <= most


def _with_kind(**changes: Any) -> Any:
    wanted = target()
    return replace(wanted, kind=replace(wanted.kind, **changes))


CHANGES: dict[str, dict[str, Any]] = {
    "source": {"source": ROUND_ROBIN},
    "incumbent": {"wanted": target(incumbent=PEAK)},
    "invariant": {"wanted": target(Invariant("cap", _limit(1.0)))},
    "kind version": {"wanted": _with_kind(version=99)},
    "hook": {"wanted": replace(target(), hook="another")},
    "against": {"against": {"prod": ROUND_ROBIN}},
    "seed": {"options": VerifyOptions(seed=5)},
}


@pytest.mark.parametrize("what", CHANGES)
def test_every_change_is_another_question(make: Make, what: str) -> None:
    given = {"source": PEAK} | CHANGES[what]
    assert question(make(PEAK)) == question(make(PEAK))
    assert question(make(**given)) != question(make(PEAK))


def test_a_predicate_counts_by_its_code_and_what_it_closes_over() -> None:
    one = invariant_digest(Invariant("cap", _limit(1.0)))
    assert invariant_digest(Invariant("cap", _limit(1.0))) == one
    others = [
        Invariant("cap", _limit(2.0)),
        Invariant("other", _limit(1.0)),
        Invariant("cap", _limit(1.0), severity="warn"),
        Invariant("cap", lambda items, picked: picked.inflight < 1.0),
        Invariant("cap", lambda items, picked, most=3: picked.inflight <= most),
    ]
    assert len({one, *map(invariant_digest, others)}) == 6


_MODULE = "LIMIT, SCALE = {limit}, {{}}\ndef near(x):\n    return x < LIMIT\n"
_MODULE += "def holds(items, picked):\n    return all(near(each) for each in (picked.inflight,)) or not SCALE\n"


def _of_module(limit: float) -> str:
    space: dict[str, Any] = {"__name__": "a_service"}
    exec(_MODULE.format(limit=limit), space)  # noqa: S102 - our own text
    return invariant_digest(Invariant("near", space["holds"]))


def test_a_predicate_counts_by_the_constants_and_helpers_of_its_module() -> None:
    assert _of_module(10.0) == _of_module(10.0) != _of_module(11.0)


def _at_most(most: float, items: Any, picked: Any) -> bool:
    return bool(picked.inflight <= most)


def test_partial_and_recursive_predicates_can_be_told_apart() -> None:
    def nested(first: int) -> Callable[..., bool]:
        def again(items: Any, picked: Any) -> bool:
            return not items or again(items[first:], picked)

        return again

    predicates = [partial(_at_most, 1.0), partial(_at_most, 2.0), nested(1), nested(2)]
    assert len({invariant_digest(Invariant("cap", one)) for one in predicates}) == 4
    assert invariant_digest(Invariant("cap", nested(1))) == invariant_digest(
        Invariant("cap", nested(1))
    )


def test_a_digest_is_the_same_in_another_process() -> None:
    code = (
        "from gnomon.sdk.invariant import Invariant\n"
        "from gnomon.shadow.gates.questions import invariant_digest\n"
        "named = lambda items, picked: picked.name in {'a', 'b', 'c', 'd'}\n"
        "print(invariant_digest(Invariant('n', named)))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1


class _Marked:
    """As much of a hook as a function policy looks at before it replays."""

    def __init__(self, incumbent: Callable[..., Any]) -> None:
        self.kind = target().kind
        self.incumbent = incumbent
        self.name = "h"


def test_incumbents_differ_by_source_function_or_name() -> None:
    found = [
        policy_digest(policy)
        for policy in (
            target().incumbent,
            target(incumbent=PEAK).incumbent,
            BuiltInPolicy("least"),
            BuiltInPolicy("random"),
            RecordedPolicy(),
            FunctionPolicy(_Marked(lambda items: items[0])),
            FunctionPolicy(_Marked(lambda items: items[1])),
        )
    ]
    assert len(set(found)) == len(found)
    assert policy_digest(target().incumbent) == found[0]
