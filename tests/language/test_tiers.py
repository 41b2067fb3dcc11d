"""Interpreter, Python tier and compiled tier decide alike, bit for bit, faults included."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from random import Random

import numba
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gnomon.sdk.errors import LanguageError
from gnomon.sdk.language import Program, check, same_bits
from gnomon.shadow.compiled import compile_score, scorer_type

INPUTS = ("a", "b", "c")
FUEL = 300

EDGES = [
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, 2.0, 3.0, 7.0, math.pi, 1e-9, 1e-300, 5e-324, 100.0,
    1e15, 2.0**53 - 1, 2.0**53, 2.0**53 + 2, -(2.0**53) - 2, 4503599627370495.5, 1e154, 1e300, 1.7e308,
    -1.7e308, 709.782712893384, 709.7827128933841, -745.0, -746.0, math.inf, -math.inf, math.nan,
]  # fmt: skip


def drawn_rows(seed: int) -> list[tuple[float, ...]]:
    """Return 40 rows of edges, small whole numbers and numbers of every magnitude."""
    random = Random(seed)

    def value() -> float:
        return random.choice(
            [random.choice(EDGES), float(random.randint(-20, 20)), random.gauss(0, 10),
             math.ldexp(random.uniform(-1, 1), random.randint(-60, 60))]
        )  # fmt: skip

    return [(value(), value(), value()) for _ in range(40)]


ROWS = st.integers(0, 2**32).map(drawn_rows)

ONE = ["abs", "int", "round", "float", *(f"math.{name}" for name in (
    "atan", "ceil", "cos", "exp", "expm1", "fabs", "floor", "log", "log10", "log1p", "log2", "sin", "sqrt",
    "tanh", "trunc",
))]  # fmt: skip
TWO = ["min", "max", "math.pow", "math.atan2", "math.copysign"]
NUMBERS = ["0", "1", "2", "0.5", "3.0", "1e-3", "1e200", "709.5", "True", "K", "math.pi"]


class Writer:
    """Writes a random policy, statement by statement, from Hypothesis's choices."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.helpers: list[tuple[str, int]] = []
        self.fresh = 0

    def one_of(self, options: list[str]) -> str:
        return self.draw(st.sampled_from(options))

    def number(self, names: list[str], depth: int) -> str:
        shapes = ["name", "name", "constant"]
        if depth:
            shapes += [
                "binary",
                "binary",
                "binary",
                "one",
                "two",
                "if",
                "logic",
                "sum",
                "compare",
                "sign",
            ]
            shapes += ["generator", "helper"] if self.helpers else ["generator"]
        return getattr(self, f"_{self.one_of(shapes)}")(names, depth - 1)

    def _name(self, names: list[str], depth: int) -> str:
        return self.one_of(names)

    def _constant(self, names: list[str], depth: int) -> str:
        return self.one_of(NUMBERS)

    def _binary(self, names: list[str], depth: int) -> str:
        symbol = self.one_of(["+", "-", "*", "/", "//", "%", "**", "+", "*"])
        return f"({self.number(names, depth)} {symbol} {self.number(names, depth)})"

    def _one(self, names: list[str], depth: int) -> str:
        return f"{self.one_of(ONE)}({self.number(names, depth)})"

    def _two(self, names: list[str], depth: int) -> str:
        return f"{self.one_of(TWO)}({self.number(names, depth)}, {self.number(names, depth)})"

    def _sign(self, names: list[str], depth: int) -> str:
        return f"({self.one_of(['-', '+', 'not '])}{self.number(names, depth)})"

    def _if(self, names: list[str], depth: int) -> str:
        test = self.test(names, depth)
        return f"({self.number(names, depth)} if {test} else {self.number(names, depth)})"

    def _logic(self, names: list[str], depth: int) -> str:
        word = self.one_of(["and", "or"])
        return "(" + f" {word} ".join(self.number(names, depth) for _ in range(3)) + ")"

    def _compare(self, names: list[str], depth: int) -> str:
        return f"({self.test(names, depth)})"

    def _sum(self, names: list[str], depth: int) -> str:
        name = self.one_of(["sum", "min", "max"])
        return f"{name}(({', '.join(self.number(names, depth) for _ in range(3))}))"

    def _generator(self, names: list[str], depth: int) -> str:
        self.fresh += 1
        item = f"g{self.fresh}"
        limit = self.one_of(["3", "5, 0, -2", *names])
        test = f" if {self.test([*names, item], 0)}" if self.draw(st.booleans()) else ""
        name = self.one_of(["sum", "min", "max"])
        return f"{name}({self.number([*names, item], depth)} for {item} in range({limit}){test})"

    def _helper(self, names: list[str], depth: int) -> str:
        name, arity = self.draw(st.sampled_from(self.helpers))
        return f"{name}({', '.join(self.number(names, depth) for _ in range(arity))})"

    def test(self, names: list[str], depth: int) -> str:
        symbols = ["<", "<=", ">", ">=", "==", "!="]
        parts = [self.number(names, depth), self.one_of(symbols), self.number(names, depth)]
        if self.draw(st.booleans()):
            parts += [self.one_of(symbols), self.number(names, depth)]
        text = " ".join(parts)
        return f"not {text}" if self.draw(st.integers(0, 4)) == 0 else text

    def block(self, names: list[str], depth: int, pad: str, loop: bool) -> list[str]:
        lines = []
        for _ in range(self.draw(st.integers(1, 3))):
            shapes = ["set", "set", "augmented", "return"] if depth else ["set"]
            shapes += ["if", "if", "for", "while", "swap"] if depth else []
            shapes += ["jump"] if loop else []
            made, names = getattr(self, f"_s_{self.one_of(shapes)}")(names, depth - 1, pad, loop)
            lines += made
        return lines

    def _s_set(
        self, names: list[str], depth: int, pad: str, loop: bool
    ) -> tuple[list[str], list[str]]:
        self.fresh += 1
        name = self.one_of([*[n for n in names if n != "K"], f"x{self.fresh}"])
        return [f"{pad}{name} = {self.number(names, 2)}"], [*names, name]

    def _s_swap(
        self, names: list[str], depth: int, pad: str, loop: bool
    ) -> tuple[list[str], list[str]]:
        left, right = self.one_of(names), self.one_of(names)
        return [f"{pad}{left}, {right} = {self.number(names, 1)}, {self.number(names, 1)}"], names

    def _s_augmented(
        self, names: list[str], depth: int, pad: str, loop: bool
    ) -> tuple[list[str], list[str]]:
        symbol = self.one_of(["+", "-", "*", "/", "//", "%", "**"])
        return [f"{pad}{self.one_of(names)} {symbol}= {self.number(names, 1)}"], names

    def _s_return(
        self, names: list[str], depth: int, pad: str, loop: bool
    ) -> tuple[list[str], list[str]]:
        lines = [f"{pad}if {self.test(names, 1)}:", f"{pad} return {self.number(names, 2)}"]
        return lines, names

    def _s_jump(
        self, names: list[str], depth: int, pad: str, loop: bool
    ) -> tuple[list[str], list[str]]:
        word = self.one_of(["break", "continue"])
        return [f"{pad}if {self.test(names, 1)}:", f"{pad} {word}"], names

    def _s_if(
        self, names: list[str], depth: int, pad: str, loop: bool
    ) -> tuple[list[str], list[str]]:
        lines = [f"{pad}if {self.test(names, 1)}:", *self.block(names, depth, pad + " ", loop)]
        if self.draw(st.booleans()):
            lines += [f"{pad}else:", *self.block(names, depth, pad + " ", loop)]
        return lines, names

    def _s_for(
        self, names: list[str], depth: int, pad: str, loop: bool
    ) -> tuple[list[str], list[str]]:
        self.fresh += 1
        item = f"i{self.fresh}"
        limit = self.one_of(
            ["3", "1, 6, 2", "2, -2, -1", f"abs({names[0]}) // 1", ", ".join(names[:3]), *names]
        )
        lines = [f"{pad}for {item} in range({limit}):"]
        return [*lines, *self.block([*names, item], depth, pad + " ", True)], names

    def _s_while(
        self, names: list[str], depth: int, pad: str, loop: bool
    ) -> tuple[list[str], list[str]]:
        lines = [f"{pad}while {self.one_of(['True', self.test(names, 1), self.test(names, 2)])}:"]
        lines += self.block(names, depth, pad + " ", True)
        return [*lines, f"{pad} if {self.test(names, 1)}:", f"{pad}  break"], names


@st.composite
def sources(draw: st.DrawFn) -> str:
    """A valid policy with a constant, up to two helpers, loops and branches."""
    writer = Writer(draw)
    lines = ["import math", "K = 0.1 + 0.2"]
    for index in range(draw(st.integers(0, 2))):
        lines.append(f"def h{index}(p, q):")
        lines += writer.block(["p", "q"], draw(st.integers(0, 2)), " ", False)
        lines.append(f" return {writer.number(['p', 'q'], 2)}")
        writer.helpers.append((f"h{index}", 2))
    names = ["a", "b", "c"][: draw(st.integers(1, 3))]
    lines.append(f"def score({', '.join(reversed(names))}):")
    every = [*names, *(name for name in ("a", "b", "c") if name not in names)]
    lines += [f" {name} = {writer.one_of(NUMBERS)}" for name in every[len(names) :]]
    if draw(st.booleans()):
        lines += writer.block(every, 2, " ", False)
    return "\n".join([*lines, f" return {writer.number(every, 3)}", ""])


def checked(source: str) -> Program:
    """Check with little fuel, so that generated loops run out of it often."""
    return check(source, INPUTS, max_nodes=4000, max_fuel=4000 if "h1" in source else FUEL * 3)


def usable(source: str) -> Program | None:
    """Return the program, or None where it is too large for its fuel."""
    try:
        return checked(source)
    except LanguageError as error:
        assert "fuel" in error.reason or "nested" in error.reason, (error, source)
        return None


def agree(program: Program, rows: list[tuple[float, ...]], compiled: bool) -> None:
    """Assert that the tiers give the same bits on every row."""
    bound = program.bind()
    native = compile_score(program) if compiled else None
    for row in rows:
        wanted = program.interpret(*row)
        assert same_bits(wanted, bound(*row)), (row, wanted, bound(*row), program.lowered)
        assert math.isnan(wanted) == bool(program.fault(*row))
        if native is not None:
            assert same_bits(wanted, native(*row)), (row, wanted, native(*row), program.lowered)


@settings(max_examples=100)
@given(sources(), ROWS)
def test_the_python_tier_equals_the_reference(source: str, rows: list[tuple[float, ...]]) -> None:
    program = usable(source)
    if program is not None:
        agree(program, rows, compiled=False)


@settings(max_examples=15, phases=[Phase.generate])
@given(sources(), ROWS)
def test_the_compiled_tier_equals_the_reference(source: str, rows: list[tuple[float, ...]]) -> None:
    program = usable(source)
    if program is not None:
        agree(program, rows, compiled=True)


@pytest.mark.soak
@settings(max_examples=1500, suppress_health_check=list(HealthCheck))
@given(sources(), ROWS)
def test_all_tiers_agree_on_many_programs(source: str, rows: list[tuple[float, ...]]) -> None:
    program = usable(source)
    if program is not None:
        agree(program, rows, compiled=True)


EVERY_OPERATION = "import math\ndef score(a, b, c):\n    return {}\n"
EXPRESSIONS = [
    *(f"{name}(a)" for name in ONE),
    *(f"{name}(a, b)" for name in TWO),
    *(f"a {symbol} b" for symbol in ("+", "-", "*", "/", "//", "%", "**")),
    "a ** 2", "a ** 0.5", "a ** -1", "2 ** a", "a ** 3", "10 ** a", "a / 3", "a // 3 + b % 7",
]  # fmt: skip


def test_every_operation_agrees_on_every_pair_of_edges() -> None:
    """One policy per group of operations, picked by ``c``, so that few functions are compiled."""
    pairs = [(left, right) for left in EDGES for right in EDGES]
    for start in range(0, len(EXPRESSIONS), 12):
        group = EXPRESSIONS[start : start + 12]
        lines = [
            f"    if c == {index}:\n        return {text}\n" for index, text in enumerate(group)
        ]
        source = "import math\ndef score(a, b, c):\n" + "".join(lines) + "    return a\n"
        rows = [(*pair, float(index)) for pair in pairs for index in range(len(group))]
        agree(check(source, INPUTS), rows, compiled=True)


@functools.cache
def bound_and_compiled(source: str) -> tuple[Callable[..., float], Callable[..., float]]:
    """Compile once, not once per example."""
    program = check(source, INPUTS)
    return program.bind(), compile_score(program)


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-50, 50)), min_size=200, max_size=200))
def test_transcendental_functions_agree_in_the_last_bit(pairs: list[tuple[float, float]]) -> None:
    source = (
        "import math\ndef score(a, b):\n    return math.exp(b) + math.sin(a) * math.cos(b) + "
        "math.tanh(b) * math.log1p(abs(a)) + math.atan2(a, b) + abs(b) ** 1.7 + a ** 2\n"
    )
    bound, native = bound_and_compiled(source)
    for a, b in pairs:
        assert same_bits(bound(a, b, 0.0), native(a, b, 0.0))


LOOPS = [
    "    while 5 / a > 1:\n        pass\n    return 1\n",
    "    while a > 0 and 5 / a > 1:\n        continue\n    return 1\n",
    "    while True:\n        pass\n",
    "    while True:\n        while True:\n            a = a\n",
    "    for i in range(2 ** 53):\n        a = a\n    return a\n",
    "    return sum(i for i in range(2 ** 50))\n",
    "    return sum(max(j for j in range(1000)) for i in range(1000))\n",
    "    for i in range(10):\n        for j in range(1000):\n            a = a\n    return a\n",
    "    while a < 1e9:\n        a += spin(a)\n    return a\n",
    "    return spin(1e6)\n",
]


@pytest.mark.parametrize("loop", LOOPS)
def test_endless_work_runs_out_of_fuel_in_every_tier(loop: str) -> None:
    spin = "def spin(x):\n    while x > 0:\n        x -= 1\n    return 1\n"
    program = check(spin + "def score(a):\n" + loop, INPUTS)
    assert program.fuel_bound == 2000
    assert program.fault(1.0, 0.0, 0.0).endswith("out of fuel")
    agree(program, [(1.0, 0.0, 0.0)], compiled=True)


@given(st.integers(0, 400))
def test_fuel_ends_at_the_same_iteration_in_every_tier(turns: int) -> None:
    source = "def score(a):\n    n = 0\n    while n < a:\n        n += 1\n    return n\n"
    program = check(source, INPUTS, max_fuel=1000)
    agree(program, [(float(turns), 0.0, 0.0)], compiled=False)
    # 8 units outside the loop, 7 for each iteration.
    assert bool(program.fault(float(turns), 0.0, 0.0)) == (8 + 7 * turns > 1000)


@pytest.mark.parametrize("symbol", ["//", "%"])
def test_remainders_cost_what_they_may_take(symbol: str) -> None:
    plain = check("def score(a, b):\n    c = a + b\n    c += b\n    return c\n", INPUTS)
    source = plain.source.replace("+ b", f"{symbol} b").replace("+= b", f"{symbol}= b")
    assert check(source, INPUTS).fuel_bound == plain.fuel_bound + 2 * 20


def test_loops_of_known_length_carry_no_counter() -> None:
    source = "def score(a):\n    t = 0\n    for i in range(8):\n        t += a * i\n    return t\n"
    program = check(source, INPUTS)
    assert "_fuel" not in program.lowered
    assert program.fuel_bound < 100
    assert "_fuel" in check(source, INPUTS, max_fuel=50).lowered


def test_the_compiled_score_is_a_first_class_function() -> None:
    program = check("def score(a, c):\n    return a / c\n", INPUTS)

    @numba.njit([numba.float64(numba.float64, scorer_type(3))])
    def apply(x, score):  # type: ignore[no-untyped-def]
        return score(x, 0.0, 4.0)

    assert apply(3.0, compile_score(program)) == 0.75
