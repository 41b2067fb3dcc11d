"""What the check of the program form refuses, and what programs mean, by example in both tiers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gnomon.sdk.errors import ConfigurationError, LanguageError
from gnomon.sdk.language import (
    Answer,
    HostOperation,
    Parameter,
    ProgramContract,
    check_program,
    same_answer,
)

from .array_programs import HELPERS, HOST, contract


def body(*lines: str) -> str:
    """Return a program of these statements, which returns a number."""
    inner = "".join(f"    {line}\n" for line in (*lines, "return 0"))
    return f"import math\ndef decide(x, k, v, w, m, out, put):\n{inner}"


def helper(*lines: str) -> str:
    """Return a program with a helper 'f' of two arguments, and its calls."""
    return "def f(p, q):\n    {}\n".format("\n    ".join(lines))


REFUSED = [
    # names and shapes of arrays
    (body("a = v"), "two names; write copy(v)", 3),
    (body("a, b = x, v"), "two names; write copy(v)", 3),
    (body("a = b = zeros(3)"), "assigned to one name", 3),
    (body("out = zeros(3)"), "'out' was given as an array; write into it", 3),
    (body("v = 1"), "'v' was given as an array", 3),
    (body("a = 1", "a = zeros(3)"), "'a' is a number and cannot become a vector", 4),
    (body("a = zeros(3)", "a = zeros(3, 3)"), "'a' is a vector and cannot become a matrix", 4),
    (body("a = m[0]", "a = m[0, 0]"), "'a' is a vector and cannot become a number", 4),
    (body("a: float = zeros(3)"), "annotated as float is a number", 3),
    (body("a = v + m"), "a vector and a matrix cannot be combined", 3),
    (body("a = (v, w)"), "a tuple is no value", 3),
    (body("a = [1, 2]"), "'List' is not allowed", 3),
    (body("a = [i for i in range(3)]"), "'ListComp'", 3),
    (body("x = out if k else v"), "an operand of this expression is a number, not a vector", 3),
    (body("a = v and w"), "not a vector", 3),
    (body("a = not v"), "not a vector", 3),
    (body("a = +v"), "not a vector", 3),
    (body("a = 0 < v < 1"), "not a vector", 3),
    (body("if v:", "    x = 1"), "a condition is a number, not a vector; see any and all", 3),
    (body("while v > 0:", "    x = 1"), "a condition is a number", 3),
    (body("a = sum(v for i in range(3))"), "an item of a generator is a number", 3),
    (body("a = max((v, 1))"), "an item is a number", 3),
    (body("for i in range(v):", "    x = 1"), "an argument of range is a number", 3),
    (body("for i in v:", "    x = 1"), "range(...) only", 3),
    (body("a = zeros(2)", "b = sum(a for a in range(3))"), "'a' is a vector and cannot count", 4),
    # indexing
    (body("a = v[0][0]"), "only a named array can be indexed", 3),
    (body("a = zeros(3)[0]"), "only a named array can be indexed", 3),
    (body("a = m[0][1]"), "write a[i, j]", 3),
    (body("a = x[0]"), "a number does not have 1 indices", 3),
    (body("a = v[0, 0]"), "a vector does not have 2 indices", 3),
    (body("a = m[0, 0, 0]"), "one or two indices", 3),
    (body("a = v[()]"), "one or two indices", 3),
    (body("a = v[-1]"), "a negative index", 3),
    (body("a = v[w]"), "an index is a number, not a vector; see take", 3),
    (body("a = v[::2]"), "a slice is a[low:high] of a vector", 3),
    (body("a = m[:, 0]"), "a slice is a[low:high] of a vector", 3),
    (body("a = m[0:1]"), "a slice is of a vector, not of a matrix", 3),
    (body("a = x[:]"), "a slice is of a vector, not of a number", 3),
    (body("a = v[w:]"), "a bound of a slice is a number", 3),
    (body("a = v['x']"), "a constant of type str", 3),
    (body("a = v[lambda: 1]"), "'Lambda'", 3),
    (body("a = unknown[0]"), "unknown name 'unknown'", 3),
    (body("a = decide[0]"), "'decide' is not a number", 3),
    # writing
    (body("v[0] = 1"), "'v' is an input and may not be written; copy it first", 3),
    (body("v += 1"), "'v' is an input and may not be written", 3),
    (body("m[0, 0] -= 1"), "'m' is an input and may not be written", 3),
    (body("w[:] = 1"), "'w' is an input and may not be written", 3),
    (body("out[0] = v"), "a vector does not fit where a number is written", 3),
    (body("out[:] = m"), "a matrix does not fit where a vector is written", 3),
    (body("put[0] = m"), "a matrix does not fit where a vector is written", 3),
    (body("out += m"), "cannot be combined into a vector", 3),
    (body("x += v"), "a vector cannot be combined into a number", 3),
    (body("out[0:2] = 1"), "only a[:] is written whole", 3),
    (body("out[:] += 1"), "write a += b", 3),
    (body("out[0] |= 1"), "operator 'BitOr'", 3),
    (body("out.x = 1"), "only names", 3),
    (body("out[0], x = 1"), "a tuple display of the same length", 3),
    (body("del out[0]"), "'Delete'", 3),
    (body("a[0] = 1"), "unknown name 'a'", 3),
    (body("if x:", "    a = zeros(2)", "a[0] = 1"), "'a' may be read before it is assigned", 5),
    (body("K[0] = 1"), "unknown name", 3),
    # operations
    (body("a = zeros()"), "zeros takes 1 or 2 arguments, not 0", 3),
    (body("a = zeros((2, 3))"), "'Tuple' is not allowed", 3),
    (body("a = zeros(v)"), "zeros takes (number) or (number, number), not (vector)", 3),
    (body("a = argsort(m)"), "argsort takes (vector), not (matrix)", 3),
    (body("a = argsort(v, 1)"), "argsort takes 1 arguments, not 2", 3),
    (body("a = take(v, 1)"), "take takes (matrix, vector) or (vector, vector)", 3),
    (body("a = dot(m, m)"), "dot takes", 3),
    (body("a = len(x)"), "len takes (matrix) or (vector), not (number)", 3),
    (body("a = sum(x)"), "sum takes an array or a tuple", 3),
    (body("a = min(v, w)"), "see minimum and maximum", 3),
    (body("a = minimum(x, 1)"), "minimum takes", 3),
    (body("a = math.pow(v, 2)"), "pow takes numbers, not (vector, number)", 3),
    (body("a = float(v)"), "float takes numbers", 3),
    (body("a = sort(v, reverse=1)"), "keyword arguments", 3),
    (body("a = v.sum()"), "method 'sum'", 3),
    (body("a = v.shape"), "attribute 'shape'", 3),
    (body("a = v @ w"), "operator 'MatMult'", 3),
    (body("a = x in v"), "comparison 'In'", 3),
    (body("a = sorted(v)"), "'sorted' is not an allowed function", 3),
    (body("a = list(v)"), "'list'", 3),
    (body("a = numpy.zeros(3)"), "method 'zeros'", 3),
    (body("len = 1"), "'len' is built in", 3),
    (body("take = 1"), "'take' is built in and may not be bound", 3),
    (body("cost = 1"), "'cost' is built in and may not be bound", 3),
    ("def sort(p):\n    return p\n" + body(), "'sort' is built in", 1),
    ("mean = 1\n" + body(), "'mean' is built in", 1),
    (body("a = cost(v)"), "cost takes 2 arguments, not 1", 3),
    (body("a = cost(x, v)"), "cost takes (vector, number)", 3),
    (body("a = path(v)"), "path takes (matrix)", 3),
    # statements, helpers and flow
    (body("v"), "an expression is no statement", 3),
    (body("sort(v)"), "the value of 'sort' is not used", 3),
    (body("cost(v, 1)"), "the value of 'cost' is not used", 3),
    (body("math.sqrt(x)"), "an expression is no statement", 3),
    (helper("return 1") + body("f(v, x)"), "the value of the call is not used", 5),
    (helper("p[0] = q") + body("a = f(out, x)"), "returns nothing has no value", 5),
    (helper("p[0] = q", "return 1") + body("a = f(out, x)"), "may not write into what it is", 1),
    (helper("p[0] = q") + body("f(v, x)"), "'v' is an input and may not be written", 5),
    (helper("return p") + body("a = f(v, x)"), "'p' was given and cannot be returned", 2),
    (helper("p = q") + body("f(v, w)"), "'p' was given as an array", 2),
    (helper("return q") + body("a = f(v, 1)", "b = f(m, 1)"), "called with (vector, number)", 6),
    (helper("if q:", "    return 1", "return") + body("f(v, 1)"), "different things", 4),
    (helper("if q:", "    return 1") + body("a = f(v, 1)"), "ends without return", 1),
    (helper("return f(p, q)") + body("a = f(v, 1)"), "recursion", 1),
    ("def decide(x):\n    pass\n", "'decide' must return a number", 1),
    ("def decide(x):\n    return zeros(x)\n", "'decide' must return a number", 1),
    ("def decide(x, y):\n    return x\n", "'y' is no parameter of this kind; there are x, k", 1),
    ("def decide(v: float):\n    return 1\n", "'v' is a vector, not a float", 1),
    ("def decide(*v):\n    return 1\n", "plain names", 1),
    ("def choose(x):\n    return x\n", "no function 'decide'", 0),
    # size
    (body("a = 1" + " + v[0]" * 60), "nested deeper", 2),
    (body(*["out[0] = x + 1"] * 1200), "characters", 0),
    (body(*["k=x"] * 1600), "statements and expressions; at most 4000", 0),
]


@pytest.mark.parametrize(("source", "reason", "line"), REFUSED, ids=range(len(REFUSED)))
def test_refused_with_reason_and_line(source: str, reason: str, line: int) -> None:
    with pytest.raises(LanguageError) as caught:
        check_program(source, contract(max_nodes=4000))
    assert reason in caught.value.reason
    assert not line or caught.value.line == line
    assert "\n" not in str(caught.value)


# by example

V = [3.0, 1.0, 2.0, 1.0]
W = [0, 3, 1, 1]
M = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0], [0.0, -1.0, -2.0]]
ARGUMENTS = (2.5, 2, V, W, M, [0.0, 0.0, 0.0], [[0] * 3] * 4)


def answers(source: str, *arguments: Any) -> Answer:
    """Return the answer on which both tiers agree."""
    program = check_program(source, contract())
    given_ = arguments or ARGUMENTS
    answer = program.bind(HOST)(*given_)
    assert same_answer(answer, program.interpret(*given_, host=HOST))
    assert answer.ok is not bool(program.fault(*given_, host=HOST))
    return answer


NUMBERS: list[tuple[str, float]] = [
    ("v[0]", 3.0),
    ("v[len(v) - 1]", 1.0),
    ("m[1, 2]", 6.0),
    ("m[k, k]", 9.0),
    ("len(v) + 10 * len(m) + 100 * shape0(m) + 1000 * shape1(m)", 3444.0),
    ("sum(v)", 7.0),
    ("min(m)", -2.0),
    ("max(v) + min(x, 1) + max((1, 2))", 6.0),
    ("mean(m)", 42 / 12),
    ("sum(v[i] * w[i] for i in range(len(v)) if v[i] > 1)", 2.0),
    ("argmin(v)", 1.0),
    ("argmax(w)", 1.0),
    ("any(v > 2) + 10 * all(v > 1) + 100 * any(zeros(0)) + 1000 * all(zeros(0))", 1001.0),
    ("dot(v, w)", 6.0),
    ("cost(v, x)", 17.5),
    ("sum(zeros(0))", 0.0),
    ("abs(x) + math.sqrt(4)", 4.5),
    ("v[1] if k > 1 else v[99]", 1.0),
    ("k < 2 and v[99]", 0.0),
]


@pytest.mark.parametrize(("expression", "value"), NUMBERS)
def test_numbers(expression: str, value: float) -> None:
    source = f"import math\ndef decide(x, k, v, w, m):\n    return {expression}\n"
    assert answers(source).value == value


VECTORS: list[tuple[str, list[float]]] = [
    ("v", V),
    ("m[1]", M[1]),
    ("v[1:3]", [1.0, 2.0]),
    ("v[k:]", [2.0, 1.0]),
    ("v[:]", V),
    ("zeros(2)", [0.0, 0.0]),
    ("ones(k)", [1.0, 1.0]),
    ("full(2, x)", [2.5, 2.5]),
    ("arange(3)", [0.0, 1.0, 2.0]),
    ("argsort(v)", [1.0, 3.0, 2.0, 0.0]),
    ("sort(v)", [1.0, 1.0, 2.0, 3.0]),
    ("reverse(v)", [1.0, 2.0, 1.0, 3.0]),
    ("cumsum(v)", [3.0, 4.0, 6.0, 7.0]),
    ("clip(v, 1.5, x)", [2.5, 1.5, 2.0, 1.5]),
    ("where(v > w, v, w)", [3.0, 3.0, 2.0, 1.0]),
    ("where(v > 1, 9, 0)", [9.0, 0.0, 9.0, 0.0]),
    ("minimum(v, 2)", [2.0, 1.0, 2.0, 1.0]),
    ("maximum(v, w)", [3.0, 3.0, 2.0, 1.0]),
    ("bincount(w, 4)", [1.0, 2.0, 0.0, 1.0]),
    ("bincount(w, v, 4)", [3.0, 3.0, 0.0, 1.0]),
    ("take(v, w)", [3.0, 1.0, 1.0, 1.0]),
    ("concat(v, w)", [*V, 0.0, 3.0, 1.0, 1.0]),
    ("nonzero(w)", [1.0, 2.0, 3.0]),
    ("repeat(v, w)", [1.0, 1.0, 1.0, 2.0, 1.0]),
    ("flatten(m)", [cell for row in M for cell in row]),
    ("column(m, 1)", [2.0, 5.0, 8.0, -1.0]),
    ("row_sums(m)", [6.0, 15.0, 24.0, -3.0]),
    ("column_sums(m)", [12.0, 14.0, 16.0]),
    ("dot(m, m[0])", [14.0, 32.0, 50.0, -8.0]),
    ("v + w * 2", [3.0, 7.0, 4.0, 3.0]),
    ("1 - v", [-2.0, 0.0, -1.0, 0.0]),
    ("-v / 2", [-1.5, -0.5, -1.0, -0.5]),
    ("v // 2 + v % 2", [2.0, 1.0, 1.0, 1.0]),
    ("2 ** v", [8.0, 2.0, 4.0, 2.0]),
    ("v == 1", [0.0, 1.0, 0.0, 1.0]),
    ("math.sqrt(v * v)", V),
    ("round(v / 2)", [2.0, 0.0, 1.0, 0.0]),
    ("path(m)", [3.0, 6.0, 9.0, 0.0]),
    ("flatten(transpose(m))", [row[j] for j in range(3) for row in M]),
    ("flatten(reshape(v, 2, 2))", V),
    ("flatten(take(m, v[1:2]))", M[1]),
    ("flatten(m + m * 0)", [cell for row in M for cell in row]),
]


@pytest.mark.parametrize(("expression", "wanted"), VECTORS)
def test_vectors(expression: str, wanted: list[float]) -> None:
    """The vector is sent out element by element, as the value of as many programs."""
    source = (
        "import math\ndef decide(x, k, v, w, m):\n"
        f"    a = copy({expression})\n    return len(a) + 100 * {{}}\n"
    )
    for index, value in enumerate(wanted):
        assert answers(source.format(f"a[{index}]")).value == len(wanted) + 100 * value


def test_operations_equal_numpy() -> None:
    rng = np.random.default_rng(1)
    v, w = rng.integers(-5, 5, 8).astype(float), rng.integers(0, 5, 8).astype(float)
    m, out = rng.normal(size=(8, 6)), np.zeros(6)
    numpy_says: dict[str, np.ndarray] = {
        "cumsum(v)[0:6]": np.cumsum(v),
        "argsort(v)": np.argsort(v, kind="stable"),
        "bincount(w, 6)": np.bincount(w.astype(int), minlength=6),
        "take(v, w)": v[w.astype(int)],
        "v // 3": v // 3,
        "v % 3": v % 3,
        "clip(v, -1, 2)": np.clip(v, -1, 2),
        "column(m, 2)": m[:, 2],
        "v ** 2": v**2,
    }
    for text, wanted in numpy_says.items():
        text = text.split("[")[0]
        source = f"def decide(v, w, m, out):\n    a = {text}\n    out[:] = a[0:6]\n    return 0\n"
        answer = answers(source, 0, 0, v, w, m, out, np.zeros((8, 6)))
        assert answer.outputs["out"] == wanted[:6].tolist()


def test_writes() -> None:
    source = body(
        "out[0] = 5", "out[k] += x", "out[1], out[2] = out[2], out[1]", "out *= 2",
        "put[0, 1] = 7", "put[1] = 3", "put[2] = m[0]", "put[2] -= m[0]", "put[3] += 1",
        "a = copy(out)", "a[0] = 99", "row = put[1]", "row[0] = 99", "put[1] = put[3] + put[1]",
    )  # fmt: skip
    answer = answers(source)
    assert answer.outputs["out"] == [10.0, 5.0, 0.0]
    assert answer.outputs["put"] == [[0, 7, 0], [4, 4, 4], [0, 0, 0], [1, 1, 1]]
    assert all(type(cell) is int for row in answer.outputs["put"] for cell in row)


def test_targets_are_written_from_left_to_right() -> None:
    source = body("i = 2", "i, out[i] = 0, i + 5", "out[1] = i = 8", "x = out[2] = i + 1")
    assert answers(source).outputs["out"] == [7.0, 8.0, 9.0]


def test_a_loops_name_is_a_number_too() -> None:
    """It is only assigned where it is read; each of these reads it in another way."""
    assert answers(body("i = 7", "for i in range(3):", "    out[i] = 1", "x = v[i]")).ok
    after = body("i = 9", "for i in range(len(out)):", "    out[i] = 1", "i += 1", "out[0] = i")
    assert answers(after).outputs["out"] == [3.0, 1.0, 1.0]
    bumped = body("for i in range(2):", "    i += 1", "    out[i] = i")
    assert answers(bumped).outputs["out"] == [0.0, 1.0, 2.0]
    augmented = body("i = 1e308", "for i in range(3):", "    out[i] = 1", "i *= 10")
    assert answers(augmented).ok
    nested = body("for i in range(3):", "    for j in range(i):", "        out[j] += i")
    assert answers(nested).outputs["out"] == [3.0, 2.0, 0.0]
    shadowed = body("for i in range(3):", "    out[i] = sum(v[i] for i in range(len(v))) + i")
    assert answers(shadowed).outputs["out"] == [7.0, 8.0, 9.0]


def test_an_index_is_only_left_untested_where_it_cannot_be_out_of_range() -> None:
    lines = ["a = ones(4)", "for i in range(len(a)):", "    a = ones(2)", "    x = a[i]"]
    assert not answers(body(*lines)).ok
    assert not answers(body("for i in range(len(v)):", "    x = out[i]")).ok
    assert not answers(body("for i in range(len(m)):", "    x = m[0, i]")).ok
    assert not answers(body("for i in range(1 + len(v)):", "    x = v[i]")).ok
    lowered = check_program(body("for i in range(len(v)):", "    x = v[i]"), contract()).lowered
    assert lowered.splitlines()[1:5] == [
        " for _1 in range(len(v)):",
        "  _m.fuel -= 6",
        "  if _m.fuel < 0: raise _Fault",
        "  x = v[_1]",
    ]


def test_arrays_share_no_elements() -> None:
    lines = [
        "a = take(m, zeros(2))", "a[0, 0] = 70", "put[0, 0] = m[0, 0]", "put[0, 1] = a[1, 0]",
        "b = copy(m)", "b[0, 0] = 70", "c = transpose(transpose(m))", "c[0, 0] = 70",
        "put[0, 2] = m[0, 0]", "d = zeros(2, 2)", "d[0] = 1", "put[1, 0] = d[1, 1]",
        "e = ones(2)", "d[0] = e", "d[1] = e", "e[0] = 70", "d[0, 1] = 70", "put[1, 1] = d[1, 1]",
        "put[2] = put[0]", "put[2, 0] = 9", "f = copy(put)", "f[:] = put", "f[0, 0] = 70",
    ]  # fmt: skip
    wanted = [[1, 1, 1], [0, 1, 0], [9, 1, 1], [0, 0, 0]]
    assert answers(body(*lines)).outputs["put"] == wanted


def test_whole_results_are_never_a_negative_zero() -> None:
    answer = answers(body("out[:] = v[0:3] % -1", "out += int(v[0:3] * -0.1) + -v[0:3] // 8 + 1"))
    assert repr(answer.outputs["out"]) == "[0.0, 0.0, 0.0]"
    assert repr(answers(body("out[:] = v[0:3] % -1")).outputs["out"]) == "[0.0, 0.0, 0.0]"


def test_helpers_write_into_what_they_are_given() -> None:
    source = (
        "def fill(p, q):\n    for i in range(len(p)):\n        if i > q:\n            return\n"
        "        p[i] = q\n"
        "def both(p, q):\n    fill(p, 1)\n    fill(q, 0)\n"
        "def decide(out):\n    a = zeros(3)\n    both(a, out)\n    both(out, a)\n"
        "    out[2] = a[0] + 10 * a[1]\n    return 0\n"
    )
    assert answers(source).outputs["out"] == [1.0, 1.0, 10.0]


FAULTS = [
    ("v[4]", "index 4 out of range; there are 4"),
    ("v[k - 3]", "index -1 out of range; there are 4"),
    ("v[x]", "index 2.5 is not whole"),
    ("v[1e300]", "out of range; there are 4"),
    ("v[1e200 * 1e200]", "overflow"),
    ("m[0, 3]", "index 3 out of range; there are 3"),
    ("m[4, 0]", "index 4 out of range"),
    ("sum(m[4])", "index 4 out of range"),
    ("sum(v[3:2])", "slice 3 out of range"),
    ("sum(v[0:5])", "slice 5 out of range; there are 5"),
    ("sum(v[x:])", "slice 2.5 is not whole"),
    ("sum(v + m[0])", "shapes differ: (4,) and (3,)"),
    ("sum(m + transpose(m))", "shapes differ: (4, 3) and (3, 4)"),
    ("dot(v, m[0])", "shapes do not fit: (4,) and (3,)"),
    ("sum(dot(m, v))", "shapes do not fit: (4, 3) and (4,)"),
    ("sum(where(v > 0, v, m[0]))", "shapes differ"),
    ("min(zeros(0))", "min of nothing"),
    ("argmax(zeros(0))", "argmax of nothing"),
    ("mean(zeros(0, 3))", "mean of nothing"),
    ("sum(zeros(-1))", "length -1 out of range"),
    ("sum(zeros(x))", "length 2.5 is not whole"),
    ("sum(zeros(401))", "out of elements"),
    ("sum(zeros(20, 21))", "out of elements"),
    ("sum(zeros(0, 401))", "out of elements"),
    ("sum(zeros(401, 0))", "out of elements"),
    ("sum(zeros(2 ** 52))", "out of elements"),
    ("sum(repeat(v, w * 200))", "out of elements"),
    ("sum(arange(1e9))", "out of elements"),
    ("sum(bincount(w, 1e9))", "out of elements"),
    ("sum(take(m, zeros(200)))", "out of elements"),
    ("sum(repeat(v, -w))", "length -3 out of range"),
    ("sum(repeat(v, m[0]))", "shapes differ"),
    ("sum(bincount(w, 3))", "bin 3 out of range; there are 3"),
    ("sum(bincount(v / 2, 3))", "bin 1.5 is not whole"),
    ("sum(bincount(w, m[0], 4))", "shapes differ"),
    ("sum(take(v, v * 2))", "index 6 out of range"),
    ("sum(column(m, 3))", "index 3 out of range"),
    ("sum(reshape(v, 3, 2))", "4 elements do not make 3 x 2"),
    ("sum(reshape(zeros(0), 3, 0))", "0 elements do not make 3 x 0"),
    ("sum(clip(v, 2, 1))", "clip from 2.0 to 1.0"),
    ("sum(v / (v - 1))", "division by zero"),
    ("sum(v * 1e308)", "overflow"),
    ("sum(full(3, 1e308))", "overflow"),
    ("sum(cumsum(full(3, 1e308)))", "overflow"),
    ("sum(column_sums(full(3, 2, 1e308)))", "overflow"),
    ("dot(full(2, 1e200), full(2, 1e200))", "overflow"),
    ("sum(math.sqrt(v - 2))", "outside the domain of sqrt"),
    ("sum(math.exp(v * 500))", "overflow"),
    ("sum((v - 2) ** 0.5)", "outside the domain of **"),
    ("sum(int(v * 1e300))", "rounding beyond 2**53"),
    ("sum((v * 1e300) // 1)", "rounding beyond 2**53"),
    ("cost(v * 1e308, 1)", "overflow"),
    ("cost(full(3, 1e308), 1)", "'cost' gave a number that is not finite"),
]


@pytest.mark.parametrize(("expression", "reason"), FAULTS)
def test_fault(expression: str, reason: str) -> None:
    source = f"import math\ndef decide(x, k, v, w, m):\n    return {expression}\n"
    program = check_program(source, contract())
    assert reason in program.fault(*ARGUMENTS, host=HOST)
    assert program.fault(*ARGUMENTS, host=HOST).startswith("line 3: ")
    assert program.bind(HOST)(*ARGUMENTS) == program.interpret(*ARGUMENTS, host=HOST)
    assert program.bind(HOST)(*ARGUMENTS) == Answer(False, None, {}, 0)


STATEMENT_FAULTS = [
    (["out[3] = 1"], "index 3 out of range"),
    (["out[:] = v"], "shape (4,) written over (3,)"),
    (["put[0] = v"], "4 elements written over 3"),
    (["put[0, 0] = 0.5"], "output 'put' holds a number that is not whole"),
    (["put += 2 ** 60"], "output 'put' holds a number that is not whole"),
    (["put[:] = 0.5", "out[0] = v[9]"], "index 9 out of range"),
    (["a = zeros(390)", "b = zeros(11)"], "out of elements"),
    (["a = zeros(100)", "a = zeros(300)", "b = zeros(101)"], "out of elements"),
    (["a = zeros(300)", "a = zeros(100)", "b = zeros(101)"], "out of elements"),
    (["while True:", "    x = 1"], "out of fuel"),
    (["a = zeros(200)", "while True:", "    a = a + 1"], "out of fuel"),
    (["a = zeros(200)", "for i in range(100):", "    a[:] = sort(a)"], "out of fuel"),
    (["a = zeros(300)", "a = a + 1"], "out of elements"),
    (["for i in range(1000):", "    a = cost(v, 1)"], "out of fuel"),
]


@pytest.mark.parametrize(("lines", "reason"), STATEMENT_FAULTS)
def test_statements_fault(lines: list[str], reason: str) -> None:
    program = check_program(body(*lines), contract())
    assert reason in program.fault(*ARGUMENTS, host=HOST)
    assert not answers(body(*lines)).ok


def test_names_hold_their_largest_array() -> None:
    lines = ["a = zeros(200)", "for i in range(9):", "    a = a + i", "b = zeros(200)"]
    assert answers(body(*lines)).ok
    assert not answers(body(*lines, "c = zeros(1)")).ok


def test_fuel_of_operations_is_what_they_read_and_make() -> None:
    def fuel(*lines: str) -> int:
        return answers(body(*lines)).fuel

    base = fuel("a = 1")
    made = fuel("a = zeros(50)")
    # Statements and expressions, names included (of what is called, too), then elements.
    assert made - base == 2 + 10 + 50
    assert fuel("a = zeros(50)", "b = a + a") - made == 5 + 10 + 50 + 50 + 50
    assert fuel("a = ones(50)", "b = a % a") - made == 5 + 20 + 10 + 20 * 100 + 50
    assert fuel("a = zeros(50)", "b = sort(a)") - made == 5 + 10 + 50 * 6 + 50
    assert fuel("a = zeros(50)", "b = len(a)") - made == 5
    # Without columns a matrix still has rows, and the other way round.
    assert fuel("a = zeros(0, 50)") == fuel("a = zeros(50, 0)") == fuel("a = zeros(5, 10)")
    assert fuel("a = zeros(50, 0)", "b = transpose(a)") - fuel("a = zeros(50, 0)") == 5 + 10 + 100
    assert fuel("a = cost(v, x)") - base == 3 + 10 + len(V)


# the border


@pytest.mark.parametrize("convert", [list, tuple, np.asarray], ids=["list", "tuple", "numpy"])
def test_arguments_may_be_sequences_or_numpy(convert: Callable[[Any], Any]) -> None:
    source = body("out[0] = sum(v) + sum(m) + x")
    arguments = tuple(convert(a) if isinstance(a, list) else a for a in ARGUMENTS)
    assert answers(source, *arguments).outputs["out"] == [51.5, 0.0, 0.0]


def replaced(index: int, value: Any) -> tuple[Any, ...]:
    """Return arguments with one other than it should be."""
    return (*ARGUMENTS[:index], value, *ARGUMENTS[index + 1 :])


@pytest.mark.parametrize(
    ("index", "value", "reason"),
    [
        (0, "one", "'x' must be a number"),
        (0, [1.0], "'x' must be a number"),
        (1, 0.5, "'k' holds a number that is not whole"),
        (2, 3.0, "'v' must be a sequence of numbers"),
        (2, [[1.0]], "'v' must be a sequence of numbers"),
        (2, [1.0, None], "'v' must be a sequence of numbers"),
        (2, [1.0], "'w' has 4 rows, another argument 1"),
        (2, [1.0] * 9, "'v' has 9 rows; there may be 1 to 8"),
        (3, [0, 1, 2, 2**60], "'w' holds a number that is not whole"),
        (4, [1.0, 2.0], "'m' must be a sequence of rows"),
        (4, [[1.0], [1.0, 2.0]], "'m' has rows of different lengths"),
        (4, [[1.0]] * 4, "'out' has 3 columns, another argument 1"),
        (4, [], "'m' has 0 rows"),
    ],
)
def test_a_host_that_breaks_the_contract_is_told(index: int, value: Any, reason: str) -> None:
    program = check_program(body(), contract())
    for call in (program.bind(HOST), lambda *a: program.interpret(*a, host=HOST)):
        with pytest.raises(ConfigurationError, match=re.escape(reason)):
            call(*replaced(index, value))
        with pytest.raises(ConfigurationError, match="6 arguments; the contract has 7"):
            call(*ARGUMENTS[:6])


@pytest.mark.parametrize(("index", "name"), [(0, "x"), (2, "v"), (4, "m"), (5, "out")])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_inputs_that_are_not_finite_fault(index: int, name: str, bad: float) -> None:
    value: Any = [bad] * 3 if name == "out" else [*V[:3], bad] if name == "v" else bad
    arguments = replaced(index, [*M[:3], [bad] * 3] if name == "m" else value)
    program = check_program(body(), contract())
    assert program.fault(*arguments, host=HOST) == f"input '{name}' is not finite"
    assert not answers(body(), *arguments).ok


def test_host_operations_must_be_those_of_the_contract() -> None:
    program = check_program(body(), contract())
    with pytest.raises(ConfigurationError, match="are cost, path; given were cost"):
        program.bind({"cost": HOST["cost"]})
    calls = check_program(body("x = cost(v, 1)"), contract())
    with pytest.raises(ConfigurationError, match="the result of 'cost' must be a number"):
        calls.bind(HOST | {"cost": lambda values, factor: values})(*ARGUMENTS)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"parameters": (Parameter("min", "", "", 0, 1),)}, "'min' cannot be used"),
        ({"parameters": (Parameter("a__b", "", "", 0, 1),)}, "'a__b' cannot be used"),
        ({"parameters": (Parameter("a", "", "", 0, 1),) * 2}, "'a' is declared twice"),
        ({"parameters": (Parameter("decide", "", "", 0, 1),)}, "'decide' is declared twice"),
        ({"parameters": (Parameter("a", "", "", 2, 1),)}, "low is above high"),
        ({"parameters": (Parameter("a", "", "", 0, 1, ("n",)),)}, "dimension 'n' needs a range"),
        ({"parameters": (Parameter("a", "", "", 0, 1, writable=True),)}, "an output 1 or 2"),
        ({"parameters": (Parameter("a", "", "", 0, 1, ("n",) * 3),)}, "0 to 2 dimensions"),
        ({"parameters": (), "operations": (HostOperation("f", "", (3,)),)}, "ranks are 0 to 2"),
    ],
)
def test_contracts_are_checked(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(reason)):
        ProgramContract(**fields)


def test_a_bound_program_sees_nothing_but_operations_and_the_hosts() -> None:
    decide = check_program(body(), contract()).bind(HOST)
    names = decide.args[1].__globals__  # type: ignore[attr-defined]
    assert set(names["__builtins__"]) == {"abs", "int", "len", "range"}
    assert not any(hasattr(value, "__path__") for value in names.values())


# any text


def accepts_or_refuses(source: str) -> None:
    try:
        check_program(source, contract())
    except LanguageError:
        return


_VALID = [
    body("out[0] = v[0] + m[0, 1]", "put[0] = m[1]", "a = sort(v)"),
    HELPERS + "def decide(x, v, out):\n    mark(out, v, x)\n    return spread(v, x)\n",
    body("for i in range(len(v)):", "    out[i % 3] += v[i]", "x = cost(v, k)"),
]
_PIECES = st.sampled_from(
    ["v", "m", "out", "[", "]", "[0]", "[:]", "(", ")", ":", ",", "=", "+=", "sort", "zeros", "len", "x"]
    + ["-", "*", "if", "else", "for i in range(3):", "\n", "\n    ", "return", "f", "def f(p):", "1", "0.5"]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(_VALID), st.data())
def test_a_mutated_program_is_accepted_or_refused(source: str, data: st.DataObject) -> None:
    check_program(source, contract())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(source)))
        end = data.draw(st.integers(start, min(len(source), start + 8)))
        middle = data.draw(st.one_of(_PIECES, st.just(source[start:end] * 2), st.text(max_size=3)))
        source = source[:start] + middle + source[end:]
    accepts_or_refuses(source)


@given(st.lists(_PIECES, max_size=30))
def test_any_pieces_are_accepted_or_refused(pieces: list[str]) -> None:
    accepts_or_refuses("def decide(v, m, out):\n    " + " ".join(pieces))


def test_documented_programs_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "policy-language.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    programs = [block for block in blocks if "def decide" in block]
    declared = [block for block in blocks if "ProgramContract(" in block]
    assert len(programs) == len(declared) == 1
    monkeypatch.chdir(tmp_path)
    Path("longest.py").write_text(programs[0])
    names: dict[str, Any] = {}
    exec(declared[0], names)  # noqa: S102 - the page's own example
    assert names["answer"].ok
