"""Canonical texts: equal for the same policy in other words, different for different policies."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.errors import LanguageError
from gnomon.sdk.language import canonical, check, examine, same_bits

BASE = """\
import math
K = 2
def g(p, q):
    return p * q + K
def score(load, cost):
    '''Doc.'''
    t = load
    t += 1
    for i in range(3):
        t = t + i * cost
    if t > cost:
        return g(t, cost)
    return math.fabs(-t)
"""

SAME = [
    ("t", "total"),
    ("i", "step"),
    ("K", "TWO"),
    ("    '''Doc.'''\n", "    # a comment\n"),
    ("t += 1", "t = 1.0 + t"),
    ("t > cost", "cost < t"),
    ("p * q + K", "2.0 + q * p"),
    ("t = load", "t: float = float(load)"),
    ("math.fabs(-t)", "abs(-(+t))"),
    ("score(load, cost)", "score(cost, load)"),
    ("score(load, cost)", "score(load, cost, noise)"),
    ("K = 2\n", "K = 1 + 1\nUNUSED = 3\n"),
    ("def g", "def unused(x):\n    return x\ndef g"),
    ("(t, cost)\n    return", "(t, cost)\n    pass\n    return"),
]
OTHER = [
    ("K = 2", "K = 3"),
    ("t += 1", "t -= 1"),
    ("range(3)", "range(4)"),
    ("t > cost", "t >= cost"),
    ("t > cost", "t < cost"),
    ("p * q + K", "p * q - K"),
    ("g(t, cost)", "g(cost, cost)"),
    ("t = load", "t = cost"),
    ("math.fabs(-t)", "math.floor(-t)"),
]


def reworded(source: str, old: str, new: str) -> str:
    """Return a source with words exchanged, whole words where they are names."""
    pattern = rf"\b{re.escape(old)}\b" if old.isidentifier() else re.escape(old)
    text, count = re.subn(pattern, lambda _: new, source)
    assert count
    return text


@pytest.mark.parametrize(("old", "new"), SAME)
def test_other_words_for_the_same_policy(old: str, new: str) -> None:
    assert canonical(reworded(BASE, old, new)) == canonical(BASE)


@pytest.mark.parametrize(("old", "new"), OTHER)
def test_another_policy(old: str, new: str) -> None:
    assert canonical(reworded(BASE, old, new)) != canonical(BASE)


def test_a_local_is_no_input_of_that_name() -> None:
    local = "def score(x, v0):\n    y = x\n    return y\n"
    other = "def score(x, v0):\n    y = x\n    return v0\n"
    assert canonical(local) != canonical(other)


def test_refuses_what_is_outside_the_language() -> None:
    for source in (
        "import os\n",
        "def score(x):\n    return open(x)\n",
        "def pick(x):\n    return x\n",
    ):
        with pytest.raises(LanguageError):
            canonical(source)


_LEAVES = st.sampled_from(["x", "y", "1", "2.5"])
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "<", "==", ">="]), inner).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        st.tuples(inner, inner).map(lambda parts: f"min({', '.join(parts)})"),
        st.tuples(inner, inner).map(lambda parts: f"({' and '.join(parts)})"),
    ),
    max_leaves=4,
)


@given(_TREES, _TREES)
def test_equal_texts_score_alike(left: str, right: str) -> None:
    sources = [f"def score(x, y):\n    return {text}\n" for text in (left, right)]
    first, second = (check(source, ("x", "y")).bind() for source in sources)
    if canonical(sources[0]) == canonical(sources[1]):
        for row in [(0.0, 1.0), (1.0, 0.0), (2.0, 3.0), (-1.5, 2.5), (3.0, -0.0)]:
            assert same_bits(first(*row), second(*row))


@given(_TREES)
def test_examining_finds_what_the_check_and_the_text_say(text: str) -> None:
    source = f"def score(x, y):\n    return {text}\n"
    assert examine(source, ("x", "y")) == (check(source, ("x", "y")).nodes, canonical(source))


@pytest.mark.parametrize(
    "source",
    [
        "import os\n",
        "def score(z):\n    return z\n",
        "def score(x):\n    return open(x)\n",
        "def score(x):\n    return x + x + x + x + x + x\n",
        "def score(x):\n    for i in range(9):\n        x = x + math.exp(x)\n    return x\n",
        "def score(x):\n    y = 1.0 if x else y\n    return y\n",
    ],
)
def test_examining_refuses_as_the_check_does(source: str) -> None:
    messages = []
    for asked in (check, examine):
        with pytest.raises(LanguageError) as caught:
            asked(source, ("x",), max_nodes=12, max_fuel=20)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
