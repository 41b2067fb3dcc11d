"""What the language check refuses, with which reason, and that it never does anything else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gnomon.sdk.errors import ConfigurationError, LanguageError
from gnomon.sdk.language import check

INPUTS = ("load", "cost", "weight", "since_picked", "noise")


def body(*lines: str) -> str:
    """Return a policy of these statements."""
    return "import math\ndef score(load, cost):\n" + "".join(f"    {line}\n" for line in lines)


def returns(expression: str) -> str:
    """Return a policy of one expression."""
    return body(f"return {expression}")


REFUSED = [
    # reaching out
    ("import os\n" + returns("1"), "'Import' is not allowed", 1),
    ("from math import exp\n" + returns("1"), "'ImportFrom'", 1),
    ("import math as m\n" + returns("1"), "'Import' is not allowed", 1),
    ("import math, os\n" + returns("1"), "'Import' is not allowed", 1),
    (body("import os", "return 1"), "'Import' is not allowed", 3),
    (returns("open(1)"), "'open' is not an allowed function", 3),
    (returns("eval(1)"), "'eval' is not an allowed function", 3),
    (returns("print(load)"), "'print' is not an allowed function", 3),
    (returns("getattr(load, cost)"), "'getattr'", 3),
    (returns("type(load)"), "'type'", 3),
    (returns("globals()"), "'globals'", 3),
    (returns("load.real"), "attribute 'real'", 3),
    (returns("load.hex()"), "method 'hex'", 3),
    (returns("().__class__"), "two underscores", 3),
    (returns("math.__dict__"), "two underscores", 3),
    (returns("'{0.real}'.format(load)"), "method 'format'", 3),
    (returns("math.exp.real"), "attribute 'real'", 3),
    (returns("(lambda: 1)()"), "only a function's name", 3),
    (returns("score"), "'score' is not a number", 3),
    (returns("math"), "'math' is not a number", 3),
    (returns("abs"), "'abs' is not a number", 3),
    (returns("load(1)"), "'load' is not an allowed function", 3),
    # values other than numbers
    (returns("'1'"), "a constant of type str", 3),
    (returns("b'1'"), "a constant of type bytes", 3),
    (returns("1j"), "a constant of type complex", 3),
    (returns("None"), "a constant of type NoneType", 3),
    (returns("..."), "a constant of type ellipsis", 3),
    (returns("f'{load}'"), "'JoinedStr'", 3),
    (returns("[load]"), "'List'", 3),
    (returns("(load, cost)"), "'Tuple'", 3),
    (returns("{load}"), "'Set'", 3),
    (returns("{load: cost}"), "'Dict'", 3),
    (returns("[x for x in range(3)]"), "'ListComp'", 3),
    (returns("{x for x in range(3)}"), "'SetComp'", 3),
    (returns("load[0]"), "'Subscript'", 3),
    (returns("1e999"), "not finite", 3),
    (returns("9007199254740993"), "beyond 2**53", 3),
    (returns("9" * 5000), "not Python", 0),
    (returns("math.inf"), "math.inf", 3),
    (returns("math.nan"), "math.nan", 3),
    # operators and calls that differ between tiers or have no float64 meaning
    (returns("load << 2"), "operator 'LShift'", 3),
    (returns("load & 2"), "operator 'BitAnd'", 3),
    (returns("~load"), "operator 'Invert'", 3),
    (returns("load @ cost"), "operator 'MatMult'", 3),
    (returns("load is cost"), "comparison 'Is'", 3),
    (returns("load in (1, 2)"), "comparison 'In'", 3),
    (returns("math.hypot(load, cost)"), "math.hypot", 3),
    (returns("math.fmod(load, cost)"), "math.fmod", 3),
    (returns("math.factorial(load)"), "math.factorial", 3),
    (returns("math.log(load, 2)"), "math.log takes 1", 3),
    (returns("round(load, 2)"), "round takes 1", 3),
    (returns("min()"), "min takes 1 or more", 3),
    (returns("min(())"), "min of nothing", 3),
    (returns("max(load)"), "max takes a tuple, list or generator", 3),
    (returns("sum(load, cost)"), "sum takes 1", 3),
    (returns("pow(load, cost)"), "'pow'", 3),
    (returns("max(load, key=abs)"), "keyword arguments", 3),
    (returns("max(*(load, cost))"), "tuple, list or generator", 3),
    (returns("abs(*(load, cost))"), "'Starred'", 3),
    (returns("sum(i for i in range(3) for j in range(3))"), "one 'for'", 3),
    (returns("sum(i for i in (1, 2))"), "range(...) only", 3),
    (returns("sum(i for i in range(i))"), "may be read before", 3),
    (returns("range(3)"), "'range' is not an allowed function", 3),
    # statements
    (body("class A: pass", "return 1"), "'ClassDef'", 3),
    (body("try:", "    return 1", "except ValueError:", "    return 2"), "'Try'", 3),
    (body("raise load"), "'Raise'", 3),
    (body("with load:", "    return 1"), "'With'", 3),
    (body("assert load", "return 1"), "'Assert'", 3),
    (body("del load", "return 1"), "'Delete'", 3),
    (body("global load", "return 1"), "'Global'", 3),
    (body("def inner():", "    return 1", "return 1"), "'FunctionDef'", 3),
    (body("load", "return 1"), "'Expr'", 3),
    (body("yield load"), "'Expr'", 3),
    (body("return (x := load)"), "'NamedExpr'", 3),
    (body("match load:", "    case _:", "        return 1"), "'Match'", 3),
    (body("load.x = 1", "return 1"), "only names", 3),
    (body("load[0] = 1", "return 1"), "only names", 3),
    (body("load[0] += 1", "return 1"), "only names", 3),
    (body("load |= 1", "return 1"), "operator 'BitOr'", 3),
    (body("a, b = load", "return 1"), "tuple display of the same length", 3),
    (body("a, *b = load, 1", "return 1"), "only names", 3),
    (body("a = 1, 2", "return 1"), "not a number", 3),
    (body("a: int = 1", "return a"), "the only annotation is float", 3),
    (body("a: float", "return 1"), "annotated assignment", 3),
    (body("for i in (1, 2):", "    pass", "return 1"), "range(...) only", 3),
    (body("for i in range(2):", "    pass", "else:", "    pass", "return 1"), "else after", 3),
    (body("for i in range(1, 2, 3, 4):", "    pass", "return 1"), "range takes", 3),
    (body("for i, j in range(2):", "    pass", "return 1"), "only names", 3),
    (body("break", "return 1"), "belong in a loop", 3),
    (body("async def f(): pass", "return 1"), "'AsyncFunctionDef'", 3),
    # names
    (returns("unknown"), "unknown name 'unknown'", 3),
    (body("_x = 1", "return 1"), "starts with an underscore", 3),
    (body("min = 1", "return 1"), "built in", 3),
    (body("math = 1", "return 1"), "built in", 3),
    (body("range = 1", "return 1"), "built in", 3),
    (body("score = 1", "return 1"), "already a name of the module", 3),
    ("K = 1\ndef score(load):\n    K = 2\n    return K\n", "already a name", 3),
    ("K = 1\nK = 2\ndef score(load):\n    return K\n", "defined twice", 2),
    ("def score(load):\n    return 1\ndef score(load):\n    return 2\n", "defined twice", 3),
    (
        "def exp(load):\n    return math.exp(load)\ndef score():\n    return 1\n",
        "without 'import",
        2,
    ),
    # flow
    (body("pass"), "ends without return", 2),
    (body("return"), "return needs a value", 3),
    (body("if load:", "    return 1"), "ends without return", 2),
    (body("while load:", "    return 1"), "ends without return", 2),
    (body("while True:", "    break"), "ends without return", 2),
    (body("if load:", "    x = 1", "return x"), "'x' may be read before", 5),
    (body("for i in range(3):", "    x = 1", "return x"), "'x' may be read before", 5),
    (body("for i in range(3):", "    pass", "return i"), "'i' may be read before", 5),
    (body("x += 1", "return x"), "'x' may be read before", 3),
    (body("a, b = b, 1", "return a"), "'b' may be read before", 3),
    # functions
    ("def pick(load):\n    return load\n", "no function 'score'", 0),
    ("", "no function 'score'", 0),
    ("def score(speed):\n    return speed\n", "'speed' is not a feature", 1),
    ("def score(load=1):\n    return load\n", "without defaults", 1),
    ("def score(*load):\n    return 1\n", "plain names", 1),
    ("def score(load, /):\n    return 1\n", "plain names", 1),
    ("def score(**load):\n    return 1\n", "plain names", 1),
    ("@abs\ndef score(load):\n    return 1\n", "decorators", 1),
    ("def score(load: int):\n    return load\n", "only annotation", 1),
    ("def score(load):\n    return score(load)\n", "recursion", 1),
    ("def f(x):\n    return g(x)\ndef g(x):\n    return f(x)\n" + returns("f(1)"), "recursion", 1),
    ("def f(x):\n    return x\n" + returns("f(1, 2)"), "f takes 1 arguments, not 2", 5),
    # top level
    ("K = load\n" + returns("K"), "unknown name", 1),
    ("K = 1 / 0\n" + returns("K"), "has no value", 1),
    ("K = L\nL = 1\n" + returns("K"), "before it is defined", 1),
    ("K = L = 1\n" + returns("K"), "NAME = number", 1),
    ("def f():\n    return 1\nK = f()\n" + returns("K"), "'f' is not an allowed function", 3),
    ("while True: pass\n" + returns("1"), "'While'", 1),
    ("load\n" + returns("1"), "'Expr'", 1),
    # size and text
    (returns("-" * 50_000 + "1"), "characters", 0),
    (returns("-" * 15_000 + "1"), "", 0),
    (returns("(" * 60 + "1" + ")" * 60), "brackets nested", 3),
    (returns("not " * 100 + "1"), "nested deeper", 2),
    (returns("+".join(["1"] * 60)), "nested deeper", 2),
    (returns("max(" + ", ".join(["1"] * 400) + ")"), "statements and expressions", 0),
    (returns("1") + "#" * 20_000, "characters", 0),
    (returns("1") + "\x00", "U+0000", 4),
    (returns("\uff4coad"), "U+FF4C", 3),
    (returns("1") + "# \u202e", "U+202E", 4),
    (returns("1").replace("\n", "\r\n"), "U+000D", 1),
    (returns("1 +"), "not Python", 3),
    ("def score(load)\n", "not Python", 1),
]


@pytest.mark.parametrize(("source", "reason", "line"), REFUSED, ids=range(len(REFUSED)))
def test_refused_with_reason_and_line(source: str, reason: str, line: int) -> None:
    with pytest.raises(LanguageError) as caught:
        check(source, INPUTS)
    assert reason in caught.value.reason
    if line:
        assert caught.value.line == line
    assert "\n" not in str(caught.value)


ACCEPTED = [
    returns("load"),
    "def score():\n    return 1\n",
    '"""A policy."""\nimport math\ndef score(noise):\n    """Random."""\n    return noise\n',
    "def score(cost: float, load: float) -> float:\n    x: float = cost\n    return x\n",
    "K = 2 * 3.5\nimport math\nL: float = -K + math.pi\ndef score(load):\n    return load + L\n",
    returns("math.floor(load) + math.trunc(cost) + int(load) + round(cost)"),
    returns("min(load, cost, 3) + max((load, cost)) + sum([1, load]) + sum(())"),
    returns("sum(i * load for i in range(3) if i % 2 if i > 0)"),
    body("a = b = load", "a, b = b, a", "a **= 2", "return a if a < b < 3 else not b"),
    body("while True:", "    load -= 1", "    if load < 0:", "        return cost"),
    body("while 1:", "    if load:", "        x = 2", "        break", "return x"),
    body("if load:", "    x = 1", "else:", "    return 2", "return x"),
    body("return load", "x = 1"),
]


@pytest.mark.parametrize("source", ACCEPTED, ids=range(len(ACCEPTED)))
def test_accepted(source: str) -> None:
    program = check(source, INPUTS)
    assert program.source == source
    assert program.bind()(3.0, 2.0, 1.0, 1.0, 0.5) == program.interpret(3.0, 2.0, 1.0, 1.0, 0.5)


def test_documented_policies_are_accepted() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "policy-language.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL)
    policies = [block for block in blocks if "def score" in block and "gnomon" not in block]
    assert len(policies) == 3
    for policy in policies:
        program = check(policy, ("inflight", "ewma_ms", "weight", "noise"))
        assert program.fault(4.0, 12.0, 1.0, 0.5) == ""


def test_limits_are_the_callers() -> None:
    source = returns("load + cost")
    assert check(source, INPUTS, max_nodes=5).nodes == 5
    with pytest.raises(LanguageError, match="5 statements and expressions; at most 4"):
        check(source, INPUTS, max_nodes=4)
    with pytest.raises(LanguageError, match="more than 3 fuel"):
        check(source, INPUTS, max_fuel=3)
    assert check("def pick(load):\n    return load\n", INPUTS, entry="pick").entry == "pick"


@pytest.mark.parametrize("name", ["_index", "min", "lambda", "é", "two words", "math", "twice"])
def test_inputs_that_cannot_be_names_are_a_configuration_error(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot name a feature"):
        check(returns("1"), ("load", "cost", "twice", name))


def test_helpers_that_double_each_others_work_are_refused() -> None:
    doubling = "def f0(x):\n    return x\n"
    for level in range(1, 13):
        doubling += f"def f{level}(x):\n    return f{level - 1}(x) + f{level - 1}(x)\n"
    with pytest.raises(LanguageError, match="fuel"):
        check(doubling + "def score(load):\n    return f12(load)\n", INPUTS)


def test_long_chains_of_helpers_are_refused() -> None:
    chain = "def f0(x):\n    return x\n"
    for level in range(1, 60):
        chain += f"def f{level}(x):\n    return f{level - 1}(x)\n"
    with pytest.raises(LanguageError, match="calls nested deeper"):
        check(chain + "def score(load):\n    return f59(load)\n", INPUTS)


def test_deeply_nested_loops_are_refused() -> None:
    lines = [" " * level + f"for i{level} in range(1):" for level in range(12)]
    with pytest.raises(LanguageError, match="loops nested deeper than 10"):
        check(body(*lines, " " * 12 + "pass", "return 1"), INPUTS)


def accepts_or_refuses(source: str) -> None:
    try:
        check(source, INPUTS)
    except LanguageError:
        return


@given(st.text(max_size=200))
def test_any_text_is_accepted_or_refused(source: str) -> None:
    accepts_or_refuses(source)


_TOKENS = st.sampled_from(
    [
        "score",
        "load",
        "cost",
        "def",
        "return",
        "if",
        "else",
        "elif",
        "while",
        "for",
        "in",
        "range",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ":",
        ",",
        ".",
        "=",
        "==",
        "<",
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "**",
        "0",
        "1",
        "2.5",
        "1e308",
        "True",
        "None",
        "lambda",
        "yield",
        "import",
        "math",
        "sum",
        "min",
        "not",
        "and",
        "or",
        "\n",
        "\n\t",
        "pass",
        "break",
        "@",
        "~",
        ":=",
        "*",
        "'",
        "#",
        "",
    ]
)


@given(st.lists(_TOKENS, max_size=40))
def test_any_tokens_are_accepted_or_refused(tokens: list[str]) -> None:
    accepts_or_refuses(" ".join(tokens))
    accepts_or_refuses("def score(load):\n\treturn " + " ".join(tokens))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(ACCEPTED), st.data())
def test_a_mutated_policy_is_accepted_or_refused(source: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(source)))
        end = data.draw(st.integers(start, min(len(source), start + 12)))
        middle = data.draw(
            st.one_of(st.just(""), st.text(max_size=5), st.just(source[start:end] * 2))
        )
        source = source[:start] + middle + source[end:]
    accepts_or_refuses(source)


def test_a_parser_that_miscounts_its_depth_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def miscounting(source: str) -> ast.Module:
        asked.append(source)
        if len(asked) < 3:
            raise SystemError("AST constructor recursion depth mismatch (before=68, after=70)")
        return compile(source, "<text>", "exec", ast.PyCF_ONLY_AST)

    monkeypatch.setattr("gnomon.sdk.language._text.ast.parse", miscounting)
    assert check("def score(x):\n    return x\n", ("x",)).bind()(2.0) == 2.0
    assert len(asked) == 3
