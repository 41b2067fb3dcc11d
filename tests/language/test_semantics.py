"""What sources mean, by example: each runs in the Python tier and in the reference interpreter."""

from __future__ import annotations

import math

import pytest

from gnomon.sdk.language import check, same_bits

INPUTS = ("a", "b")
WHOLE = 2.0**53

VALUES = [
    # expression, a, b, value
    ("a + b * 2", 1.0, 3.0, 7.0),
    ("-a", 0.0, 0.0, -0.0),
    ("a / b", 1.0, 8.0, 0.125),
    ("a // b", -7.0, 2.0, -4.0),
    ("a % b", -7.0, 2.0, 1.0),
    ("a % b", 4.0, -2.0, 0.0),
    ("a // b", -0.0, 2.0, 0.0),
    ("a ** b", 2.0, 10.0, 1024.0),
    ("a ** b", -8.0, 3.0, -512.0),
    ("True + True", 0.0, 0.0, 2.0),
    ("a < b", 1.0, 2.0, 1.0),
    ("a < b < 3", 1.0, 2.0, 1.0),
    ("a < b < 3", 1.0, 4.0, 0.0),
    ("not a", 0.0, 0.0, 1.0),
    ("a and b", 2.0, 3.0, 3.0),
    ("a and b", 0.0, 3.0, 0.0),
    ("a or b", 2.0, 3.0, 2.0),
    ("a or b", 0.0, 3.0, 3.0),
    ("1 if a else 2", 0.0, 0.0, 2.0),
    ("round(a)", 2.5, 0.0, 2.0),
    ("round(a)", 3.5, 0.0, 4.0),
    ("round(a)", -0.4, 0.0, 0.0),
    ("int(a)", -2.7, 0.0, -2.0),
    ("math.floor(a)", -2.2, 0.0, -3.0),
    ("math.ceil(a)", -0.5, 0.0, 0.0),
    ("math.floor(a)", WHOLE, 0.0, WHOLE),
    ("min(a, b)", 0.0, -0.0, 0.0),
    ("max(a, b, 5)", 1.0, 2.0, 5.0),
    ("min((a, b))", 1.0, 2.0, 1.0),
    ("sum((1e16, a, -1e16))", 1.0, 0.0, 0.0),
    ("sum(())", 0.0, 0.0, 0.0),
    ("sum(i * a for i in range(4))", 2.0, 0.0, 12.0),
    ("sum(i for i in range(5, 0, -2) if i > 1)", 0.0, 0.0, 8.0),
    ("min(abs(i - a) for i in range(5))", 2.5, 0.0, 0.5),
    ("sum(1 for i in range(a))", 3.0, 0.0, 3.0),
    ("math.pow(a, b)", 9.0, 0.5, 3.0),
    ("math.copysign(a, b)", 3.0, -0.0, -3.0),
    ("math.exp(a)", -746.0, 0.0, 0.0),
    ("math.sqrt(a)", 0.0, 0.0, 0.0),
    ("math.log1p(a) + math.expm1(a)", 0.0, 0.0, 0.0),
    ("math.fabs(a) + abs(b)", -1.0, -2.0, 3.0),
    ("math.log(math.e) + math.log2(8) + math.log10(1000)", 0.0, 0.0, 7.0),
]


@pytest.mark.parametrize(("expression", "a", "b", "value"), VALUES)
def test_value(expression: str, a: float, b: float, value: float) -> None:
    program = check(f"import math\ndef score(a, b):\n    return {expression}\n", INPUTS)
    assert same_bits(program.bind()(a, b), value)
    assert same_bits(program.interpret(a, b), value)
    assert program.fault(a, b) == ""


FAULTS = [
    # expression, a, b, reason
    ("a / b", 1.0, 0.0, "division by zero"),
    ("a / b", 1.0, -0.0, "division by zero"),
    ("a // b", 1.0, 0.0, "division by zero"),
    ("a % b", 1.0, 0.0, "division by zero"),
    ("a * b", 1e200, 1e200, "overflow"),
    ("a * b - a * b", 1e200, 1e200, "overflow"),
    ("1 / (a * b)", 1e200, 1e200, "overflow"),
    ("(a * b > 1) * 0", 1e200, 1e200, "overflow"),
    ("math.exp(-a * b)", 1e200, 1e200, "overflow"),
    ("math.sqrt(a * b)", 1e200, 1e200, "overflow"),
    ("math.log(a * b)", 1e200, 1e200, "overflow"),
    ("math.tanh(a * b)", 1e200, 1e200, "overflow"),
    ("math.atan2(1, a * b)", 1e200, 1e200, "overflow"),
    ("min(1, a * b)", 1e200, 1e200, "overflow"),
    ("(a * b) ** 0", 1e200, 1e200, "overflow"),
    ("1 % (a * b)", 1e200, 1e200, "overflow"),
    ("1 // (a * b)", 1e200, 1e200, "overflow"),
    ("(a * b) % 2", 1e200, 1e200, "overflow"),
    ("1 if a * b else 2", 1e200, 1e200, "overflow"),
    ("not a * b", 1e200, 1e200, "overflow"),
    ("a * b or 1", 1e200, 1e200, "overflow"),
    ("int(a * b)", 1e200, 1e200, "overflow"),
    ("sum(i for i in range(a * b))", 1e200, 1e200, "overflow"),
    ("sum((a * b, -a * b))", 1e200, 1e200, "overflow"),
    ("max(a * i * b for i in range(2))", 1e200, 1e200, "overflow"),
    ("a / b", 1e300, 1e-300, "overflow"),
    ("a ** b", 10.0, 400.0, "overflow"),
    ("a ** b", -8.0, 0.5, "outside the domain of **"),
    ("a ** b", 0.0, -1.0, "outside the domain of **"),
    ("math.pow(a, b)", 0.0, -1.0, "outside the domain of pow"),
    ("math.exp(a)", 710.0, 0.0, "overflow"),
    ("math.expm1(a)", 710.0, 0.0, "overflow"),
    ("math.log(a)", 0.0, 0.0, "outside the domain of log"),
    ("math.log1p(a)", -1.0, 0.0, "outside the domain of log1p"),
    ("math.sqrt(a)", -1e-9, 0.0, "outside the domain of sqrt"),
    ("int(a)", WHOLE + 2, 0.0, "rounding beyond 2**53"),
    ("a // b", 1e300, 1.0, "rounding beyond 2**53"),
    ("math.ceil(a)", -1e300, 0.0, "rounding beyond 2**53"),
    ("sum(i for i in range(a))", 1.5, 0.0, "range takes whole numbers, not 1.5"),
    ("sum(i for i in range(0, 3, a))", 0.0, 0.0, "range with step 0"),
    ("min(i for i in range(a))", 0.0, 0.0, "min of nothing"),
    ("b", math.nan, 1.0, "input 'a' is not finite"),
    ("1 if b else a", -math.inf, 1.0, "input 'a' is not finite"),
    ("0 * a", math.inf, 1.0, "input 'a' is not finite"),
]


@pytest.mark.parametrize(("expression", "a", "b", "reason"), FAULTS)
def test_fault(expression: str, a: float, b: float, reason: str) -> None:
    program = check(f"import math\ndef score(a, b):\n    return {expression}\n", INPUTS)
    assert math.isnan(program.bind()(a, b))
    assert math.isnan(program.interpret(a, b))
    assert program.fault(a, b).removeprefix("line 3: ") == reason


LAZY = [
    "0 if b == 0 else a / b",
    "b and a / b",
    "1 or a / b",
    "b != 0 and a / b > 1",
    "b > 0 < a / b",
    "not (b == 0 or a / b > 1)",
    "sum(a / i for i in range(3) if i)",
]


@pytest.mark.parametrize("expression", LAZY)
def test_what_is_not_evaluated_cannot_fault(expression: str) -> None:
    program = check(f"def score(a, b):\n    return {expression}\n", INPUTS)
    assert program.fault(1.0, 0.0) == ""
    assert same_bits(program.bind()(1.0, 0.0), program.interpret(1.0, 0.0))


def test_a_feature_that_is_not_named_may_be_anything() -> None:
    program = check("def score(a):\n    return a\n", INPUTS)
    assert program.bind()(1.0, math.nan) == 1.0
    assert program.interpret(1.0, math.nan) == 1.0


@pytest.mark.parametrize(
    "lines",
    [
        "t = min(a, 1) if b else 0\n    return t + (a > 2)",
        "t = b and min(a, 1)\n    return t + (a > 2)",
        "t = b > 0 > min(a, 1)\n    return t + (a > 2)",
        "t = a > 0 if b else 1\n    return t",
        "t = b and a > 0\n    return t",
        "t = b == 1 == a\n    return t",
        "a = 1\n    return a + b",
        "b = b + 1\n    a = b\n    return a",
        "while b:\n        b = a\n    return 1",
        "return 1",
    ],
)
def test_every_named_input_is_tested_on_every_path(lines: str) -> None:
    program = check(f"def score(a, b):\n    {lines}\n", INPUTS)
    for bad in (math.inf, -math.inf, math.nan):
        assert program.fault(bad, 0.0) == "input 'a' is not finite"
        assert math.isnan(program.bind()(bad, 0.0))
        assert program.fault(0.0, bad) == "input 'b' is not finite"
        assert math.isnan(program.bind()(0.0, bad))


def test_parameters_come_in_any_order() -> None:
    program = check("def score(b, a):\n    return a - b\n", INPUTS)
    assert program.bind()(5.0, 3.0) == program.interpret(5.0, 3.0) == 2.0


def test_statements_run_as_in_python() -> None:
    source = """\
STEP = 0.5

def clamp(x, low, high):
    if x < low:
        return low
    return high if x > high else x

def score(a, b):
    total = best = 0
    for i in range(6):
        if i == 1:
            continue
        if i == 5:
            break
        total += i * STEP
        best, total = max(best, total), total
    else_ = total
    while else_ > 0:
        else_ -= 1
    return clamp(total, a, b) + best + else_
"""
    program = check(source, INPUTS)
    plain: dict[str, object] = {}
    exec(source, plain)  # noqa: S102 - the text above
    for row in [(0.0, 1.0), (0.0, 100.0), (50.0, 60.0)]:
        assert program.bind()(*row) == program.interpret(*row) == plain["score"](*row)  # type: ignore[operator]


def test_a_bound_score_sees_nothing_but_its_helpers() -> None:
    score = check("import math\ndef score(a):\n    return math.exp(a)\n", INPUTS).bind()
    assert set(score.__globals__["__builtins__"]) == {"abs", "int", "range"}
    assert not any(hasattr(value, "__path__") for value in score.__globals__.values())


def test_identity_of_a_program() -> None:
    source = "def score(a):\n    return a\n"
    program = check(source, INPUTS)
    assert program.source_digest == check(source, INPUTS).source_digest
    assert program.source_digest != check(source + "\n", INPUTS).source_digest
    assert (program.nodes, program.fuel_bound, program.inputs) == (3, 2, INPUTS)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("return (a + 1) * b", ["_1 = ((a + 1.0) * b)", "return _1 if _1 - _1 == 0.0 else _NAN"]),
        ("return min(a, b)", ["if a - a != 0.0: return _NAN", "if b - b != 0.0: return _NAN",
                              "return (b if b < a else a)"]),
    ],
)  # fmt: skip
def test_lowered_text_is_lean(text: str, lines: list[str]) -> None:
    lowered = check(f"def score(a, b):\n    {text}\n", INPUTS).lowered
    assert [line.strip() for line in lowered.splitlines()[1:]] == lines
