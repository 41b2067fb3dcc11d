"""The chooser picks what a naive search over interpreted scores picks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.kind import Feature, Kind, Metric, Order
from gnomon.sdk.language import Program, check, chooser


def kind(order: Order) -> Kind:
    """Return a kind of two features."""
    features = (Feature("x", "1", "A number.", 0, 9), Feature("y", "1", "Another.", 0, 9))
    return Kind("toy", 1, "A toy.", features, Metric("cost", "1", 10.0), order=order)


SOURCES = [
    "def score(x, y):\n    return x\n",
    "def score(x, y):\n    return x / y\n",
    "def score(x, y, since_picked):\n    return x * y - since_picked\n",
    "def score(noise):\n    return noise\n",
    "def score():\n    return 1\n",
    "def score(x):\n    noise = 4 - x\n    return x + noise\n",
    "def score(x, noise):\n    noise = x\n    return noise\n",
    "def score(x, y):\n    if x > y:\n        return x / y\n    return y\n",
    "def score(x, y):\n    y = x / y\n    return -y\n",
    "def f(p):\n    return 1 / p\ndef score(x, y):\n    z = f(x)\n    return z + y\n",
    "def score(x):\n    t = 0\n    while t < x * 100:\n        t += 1\n    return t\n",
    "def score(x):\n    return min(i / x for i in range(4) if i > 1)\n",
    "def score(x, y):\n    if x > 2 and y / x > 1:\n        t = x\n    else:\n        t = 1e200\n    return t * t\n",
]
SMALL = st.sampled_from([0.0, 1.0, 2.0, 3.0])
ROWS = st.lists(st.tuples(SMALL, SMALL, SMALL, SMALL), max_size=6)


def naive(program: Program, rows: list[tuple[float, ...]], order: Order) -> int:
    """Sort by score, noise and index."""
    scores = [program.interpret(*row) for row in rows]
    if not rows or any(math.isnan(score) for score in scores):
        return -1
    sign = 1.0 if order == "lowest" else -1.0
    return min(range(len(rows)), key=lambda index: (sign * scores[index], rows[index][3], index))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("order", ["lowest", "highest"])
@given(rows=ROWS)
def test_picks_as_the_naive_search(
    source: str, order: Order, rows: list[tuple[float, ...]]
) -> None:
    contract = kind(order)
    program = check(source, contract.input_names)
    assert chooser(program, contract)(rows) == naive(program, rows, order)


def test_a_row_of_another_length_is_not_picked_from() -> None:
    contract = kind("lowest")
    choose = chooser(check(SOURCES[0], contract.input_names), contract)
    with pytest.raises(ValueError, match="unpack"):
        choose([(1.0, 2.0)])


def test_a_value_that_is_not_finite_is_a_fault_only_where_it_is_named() -> None:
    contract = kind("lowest")
    choose = chooser(check("def score(x):\n    return x\n", contract.input_names), contract)
    assert choose([(1.0, math.nan, 1.0, 0.5), (2.0, 0.0, 1.0, 0.5)]) == 0
    assert choose([(math.nan, 1.0, 1.0, 0.5), (2.0, 0.0, 1.0, 0.5)]) == -1
    assert choose([(2.0, 1.0, 1.0, 0.5), (math.inf, 0.0, 1.0, 0.5)]) == -1


def test_a_program_for_other_inputs_is_refused() -> None:
    contract = kind("lowest")
    program = check("def score(x):\n    return x\n", ("x", "noise"))
    with pytest.raises(ConfigurationError, match="check it with the kind's inputs"):
        chooser(program, contract)
