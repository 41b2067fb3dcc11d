"""Sources that are nearly valid: refused with a line and a reason, or as good as any other in every tier."""

from __future__ import annotations

import math
import warnings
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gnomon.sdk.errors import LanguageError
from gnomon.sdk.language import canonical, check, check_program, same_answer, same_bits
from gnomon.shadow.compiled import compile_score

from ..fuzz import mutate
from . import array_programs
from .test_tiers import INPUTS, agree
from .test_tiers import sources as score_sources

SEEDS = st.integers(0, 2**32)
ROWS = [(1.0, 2.0, 3.0), (0.0, -0.0, -5.0), (math.nan, 1.0, 1.0), (1e300, 5e-324, 2.0**53)]
CALLS = array_programs.drawn_arguments(3)[:2]


def changed(source: str, seed: int) -> str:
    """Return a source with a few of its tokens changed."""
    random = Random(seed)
    for _ in range(random.choice((1, 1, 2, 5))):
        source = mutate.source(source, random)
    return source


def refused_or_sound(source: str, compiled: bool = False) -> bool:
    """Return whether a score's source was accepted; assert what holds then."""
    with warnings.catch_warnings():
        # Whatever the process makes of warnings, the answer is the same.
        warnings.simplefilter("error")
        try:
            program = check(source, INPUTS, max_nodes=4000)
        except LanguageError as error:
            assert error.reason and "\n" not in str(error)
            return False
    assert isinstance(canonical(source), str)
    agree(program, ROWS, compiled)
    assert all(type(program.bind()(*row)) is float for row in ROWS)
    return True


def refused_or_answered(source: str) -> bool:
    """Return whether a program's source was accepted; assert what holds then."""
    try:
        program = check_program(source, array_programs.contract())
    except LanguageError as error:
        assert error.reason and "\n" not in str(error)
        return False
    decide = program.bind(array_programs.HOST)
    for call in CALLS:
        wanted: Any = program.interpret(*call, host=array_programs.HOST)
        assert same_answer(wanted, decide(*call)), (call, source)
    return True


@settings(max_examples=100)
@given(score_sources(), SEEDS)
def test_scores_that_are_nearly_valid(source: str, seed: int) -> None:
    refused_or_sound(changed(source, seed))


@settings(max_examples=75)
@given(array_programs.sources(), SEEDS)
def test_programs_that_are_nearly_valid(source: str, seed: int) -> None:
    refused_or_answered(changed(source, seed))


@pytest.mark.soak
@settings(max_examples=10_000, suppress_health_check=list(HealthCheck))
@given(score_sources(), array_programs.sources(), SEEDS)
def test_many_sources_that_are_nearly_valid(score: str, program: str, seed: int) -> None:
    refused_or_sound(changed(score, seed), compiled=seed % 10 == 0)
    refused_or_answered(changed(program, seed))


def test_some_changes_are_accepted() -> None:
    """Else the tests above would say nothing of the tiers."""
    source = "import math\ndef score(a, b):\n    c = a + 1\n    return c * b if a < 3 else math.exp(-c)\n"
    accepted = sum(refused_or_sound(changed(source, seed)) for seed in range(150))
    assert 15 <= accepted <= 135


#: A term and how many of it fit the limit of nodes.
CHAINS = [
    ("a / b", " and ", 130),
    ("a / b", " or ", 130),
    ("a", " and ", 390),
    ("a", " or ", 390),
    ("a", " < ", 390),
    ("a % b", " <= ", 80),
    ("a", ", ", 390),
]


@pytest.mark.parametrize(("term", "joint", "count"), CHAINS)
def test_a_chain_of_any_length_that_is_accepted_runs(term: str, joint: str, count: int) -> None:
    """The interpreter has limits of its own, of brackets and indentation; none of ours reaches them."""
    chain = joint.join([term] * count)
    text = f"max({chain})" if joint == ", " else chain
    for body in (f"return {text}", f"return 1 if {text} else 2"):
        program = check(f"def score(a, b):\n    {body}\n", INPUTS)
        for row in ROWS:
            assert same_bits(program.bind()(*row), program.interpret(*row))


DEEP = [
    "a and (" * 23 + "b / a" + ")" * 23,
    "(a / b if a % b < b / a else " * 24 + "b" + ")" * 24,
    "(not (a / b < " * 15 + "b" + "))" * 15,
    "max(a / b, " * 45 + "b" + ")" * 45,
    "-" * 44 + "a",
    "not " * 44 + "a",
    "abs(a - " * 23 + "b" + ")" * 23,
    "sum(a // b + " * 1 + "sum((a, " * 20 + "b" + "))" * 20 + " for i in range(2))",
]


@pytest.mark.parametrize("text", DEEP)
def test_a_nest_that_is_accepted_runs_in_every_tier(text: str) -> None:
    program = check(f"def score(a, b):\n    return {text}\n", INPUTS)
    agree(program, ROWS, compiled=False)


def test_a_long_chain_compiles_too() -> None:
    program = check(f"def score(a, b):\n    return {' or '.join(['a % b'] * 30)}\n", INPUTS)
    native = compile_score(program)
    for row in ROWS:
        assert same_bits(native(*row), program.interpret(*row))


@pytest.mark.parametrize(
    "text",
    ["1if a else 2", "0xfor a", "1.or a", "1_0and a", "a<1or a", ".5if a else 0", "1not in a"],
)
def test_what_a_warning_filter_would_decide_is_refused(text: str) -> None:
    with pytest.raises(LanguageError, match="a number and a word need a space between them"):
        check(f"def score(a):\n    return {text}\n", INPUTS)


def test_a_backslash_joins_lines_and_does_nothing_else() -> None:
    assert (
        check("def score(a):\n    return a + \\\n        1\n", INPUTS).bind()(1.0, 0.0, 0.0) == 2.0
    )
    for source in (
        'def score(a):\n    "\\d"\n    return a\n',
        "def score(a):\n    return a  # \\\\\n",
    ):
        with pytest.raises(LanguageError, match="a backslash stands only at the end of a line"):
            check(source, INPUTS)


def test_a_caller_far_down_the_stack_gets_a_refusal() -> None:
    source = f"def score(a):\n    return {'abs(' * 44}a{')' * 44}\n"

    def deep(levels: int) -> str:
        if levels:
            return deep(levels - 1)
        try:
            check(source, INPUTS)
        except LanguageError as error:
            return error.reason
        return "accepted"

    answers = {deep(levels) for levels in range(0, 900, 100)}
    assert "accepted" in answers
    assert answers <= {"accepted", "too deep for this interpreter; write shorter expressions",
                       "not Python that can be parsed; write shorter expressions"}  # fmt: skip


@pytest.mark.parametrize(
    "ends", ["1e17", "-1e300, 1e300", "1e19", "0, 3, 1e17", "K", "0, 5, -1e300"]
)
def test_a_range_beyond_what_is_exact_faults_even_where_it_is_constant(ends: str) -> None:
    source = f"K = 1e16\ndef score(a):\n    for i in range({ends}):\n        break\n    return 1\n"
    program = check(source, INPUTS)
    assert "range takes whole numbers" in program.fault(1.0, 0.0, 0.0)
    agree(program, ROWS, compiled=False)
    total = check(f"K = 1e16\ndef score(a):\n    return sum(1 for i in range({ends}))\n", INPUTS)
    agree(total, ROWS, compiled=False)
