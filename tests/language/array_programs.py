"""Random policies in program form, and the contract that they are checked against."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import strategies as st

from gnomon.sdk.language import HostOperation, Parameter, ProgramContract

OPERATIONS = (
    HostOperation("cost", "A number from a vector and a number.", (1, 0), 0, fuel=10),
    HostOperation("path", "A vector from a matrix.", (2,), 1, fuel=10),
)


def contract(**limits: Any) -> ProgramContract:
    """A contract with every kind of parameter."""
    return ProgramContract(
        parameters=(
            Parameter("x", "1", "A number.", -5, 5),
            Parameter("k", "1", "A small whole number.", 0, 6, integer=True),
            Parameter("v", "1", "A vector.", -9, 9, ("rows",)),
            Parameter("w", "1", "Whole numbers.", 0, 6, ("rows",), integer=True),
            Parameter("m", "1", "A matrix.", -9, 9, ("rows", "columns")),
            Parameter("out", "1", "A vector to write.", -9, 9, ("columns",), writable=True),
            Parameter("put", "1", "A matrix to write.", 0, 9, ("rows", "columns"), True, True),
        ),
        dimensions={"rows": (1, 8), "columns": (1, 6)},
        operations=OPERATIONS,
        returns=True,
        **({"max_nodes": 6000, "max_fuel": 20_000, "max_elements": 400} | limits),
    )


def cost(values: list[float], factor: float) -> float:
    """A host operation that writes into what it is given, which must not matter."""
    total = sum(values) * factor
    values.clear()
    return total


def path(rows: list[list[float]]) -> list[float]:
    """Largest of each row."""
    return [max(row, default=-1.0) for row in rows]


HOST = {"cost": cost, "path": path}

EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, 3.0, 1e-300, 5e-324, 2.0**53, 1e200, -1.7e308, 710.0]


def drawn_arguments(seed: int) -> list[tuple[Any, ...]]:
    """Return a few calls' arguments: small whole numbers, ties, edges."""
    random = Random(seed)

    def number() -> float:
        pick = random.random()
        if pick < 0.03:
            return random.choice(EDGES)
        return float(random.randint(-2, 6)) if pick < 0.6 else random.gauss(0, 4)

    calls = []
    for _ in range(4):
        rows = columns = random.randint(1, 6)
        if random.random() < 0.3:
            rows = random.randint(1, 8)
        whole = [float(random.randint(0, 6)) for _ in range(rows)]
        matrix = [[number() for _ in range(columns)] for _ in range(rows)]
        put = [[float(random.randint(0, 9)) for _ in range(columns)] for _ in range(rows)]
        vector = [number() for _ in range(rows)]
        out = [number() for _ in range(columns)]
        calls.append((number(), float(random.randint(0, 6)), vector, whole, matrix, out, put))
    return calls


ARGUMENTS = st.integers(0, 2**32).map(drawn_arguments)

UNARY = ["math.sqrt", "math.log1p", "math.floor", "math.exp", "abs", "int", "round", "math.tanh"]
SYMBOLS = ["+", "-", "*", "+", "-", "*", "/", "//", "%", "**"]
TESTS = ["<", "<=", ">", ">=", "==", "!="]
NUMBERS = ["0", "1", "2", "3", "7", "0.5", "True", "K"]


class Writer:
    """Writes a program of the right ranks from Hypothesis's choices; whether it faults is open."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.numbers = ["x", "k", "K"]
        self.vectors = ["v", "w", "out"]
        self.matrices = ["m", "put"]
        self.writable = ["out", "put"]
        self.counters: list[str] = []
        self.fresh = 0

    def one_of(self, options: list[str]) -> str:
        return self.draw(st.sampled_from(options))

    def name(self) -> str:
        self.fresh += 1
        return f"n{self.fresh}"

    # numbers

    def number(self, depth: int) -> str:
        shapes = ["name", "constant", "counter"]
        if depth:
            shapes += ["binary", "cell", "cell2", "fold", "place", "fold2", "choice", "test"]
            shapes += ["dot", "length", "each", "total", "cost", "helper", "pair"]
        return str(getattr(self, f"_n_{self.one_of(shapes)}")(depth - 1))

    def _n_name(self, depth: int) -> str:
        return self.one_of(self.numbers)

    def _n_constant(self, depth: int) -> str:
        return self.one_of(NUMBERS)

    def _n_counter(self, depth: int) -> str:
        return self.one_of(self.counters or self.numbers)

    def _n_binary(self, depth: int) -> str:
        return f"({self.number(depth)} {self.one_of(SYMBOLS)} {self.number(depth)})"

    def _n_cell(self, depth: int) -> str:
        return self.cell(self.one_of(self.vectors), depth)

    def _n_cell2(self, depth: int) -> str:
        return self.cell2(self.one_of(self.matrices), depth)

    def index(self, depth: int, of: str, name: str) -> str:
        """An index that is most often inside: ``of`` is the text of the length of ``name``."""
        shape = self.draw(st.integers(0, 15))
        if shape < 4:
            return self._n_counter(0) if self.counters else "0"
        if shape < 9:
            return f"{self.one_of([*self.counters, 'k'])} % {of}"
        if shape < 12 or not depth:
            return self.one_of(["0", f"{of} - 1"])
        if shape < 14:
            return f"argmin({self.vector(depth - 1)})"
        return self.one_of(["1", "k", self.number(depth - 1)])

    def cell(self, name: str, depth: int) -> str:
        return f"{name}[{self.index(depth, f'len({name})', name)}]"

    def cell2(self, name: str, depth: int) -> str:
        row = self.index(depth, f"len({name})", name)
        return f"{name}[{row}, {self.index(depth, f'shape1({name})', name)}]"

    def _n_fold(self, depth: int) -> str:
        return f"{self.one_of(['sum', 'min', 'max', 'mean', 'any', 'all'])}({self.vector(depth)})"

    def _n_fold2(self, depth: int) -> str:
        return f"{self.one_of(['sum', 'min', 'max', 'mean', 'any', 'all'])}({self.matrix(depth)})"

    def _n_place(self, depth: int) -> str:
        return f"{self.one_of(['argmin', 'argmax'])}({self.vector(depth)})"

    def _n_dot(self, depth: int) -> str:
        name = self.one_of(self.vectors)
        return f"dot({name}, {self.one_of([name, self.vector(depth)])})"

    def _n_length(self, depth: int) -> str:
        name = self.one_of(["len", "shape0", "shape1"])
        return f"{name}({self.matrix(depth) if name == 'shape1' else self.vector(depth)})"

    def _n_each(self, depth: int) -> str:
        return f"{self.one_of(UNARY)}({self.number(depth)})"

    def _n_pair(self, depth: int) -> str:
        return f"{self.one_of(['min', 'max'])}({self.number(depth)}, {self.number(depth)})"

    def _n_choice(self, depth: int) -> str:
        return f"({self.number(depth)} if {self.test(depth)} else {self.number(depth)})"

    def _n_test(self, depth: int) -> str:
        return f"({self.test(depth)} {self.one_of(['and', 'or'])} {self.number(depth)})"

    def _n_total(self, depth: int) -> str:
        item, outer = self.name(), self.counters
        limit = self.one_of(["3", "k", f"len({self.one_of(self.vectors)})"])
        self.counters = [*outer, item]
        text = f"{self.one_of(['sum', 'min', 'max'])}({self.number(depth)} for {item} in "
        text += f"range({limit})" + (f" if {self.test(0)})" if self.draw(st.booleans()) else ")")
        self.counters = outer
        return text

    def _n_cost(self, depth: int) -> str:
        return f"cost({self.vector(depth)}, {self.number(depth)})"

    def _n_helper(self, depth: int) -> str:
        return f"spread({self.vector(depth)}, {self.number(depth)})"

    def test(self, depth: int) -> str:
        return f"{self.number(depth)} {self.one_of(TESTS)} {self.number(depth)}"

    # vectors

    def vector(self, depth: int) -> str:
        shapes = ["name", "name"]
        if depth:
            shapes += ["binary", "same", "of", "made", "row", "slice", "where", "clip", "take"]
            shapes += ["bincount", "repeat", "column", "sums", "path", "each", "minimum", "helper"]
        return str(getattr(self, f"_v_{self.one_of(shapes)}")(depth - 1))

    def _v_name(self, depth: int) -> str:
        return self.one_of(self.vectors)

    def _v_binary(self, depth: int) -> str:
        left, right = self.vector(depth), self.number(depth)
        if self.draw(st.booleans()):
            left, right = right, left
        return f"({left} {self.one_of(SYMBOLS + TESTS)} {right})"

    def _v_same(self, depth: int) -> str:
        name = self.one_of(self.vectors)
        text = f"({name} {self.one_of(SYMBOLS + TESTS)} {self.vector(depth)})"
        return text if self.draw(st.booleans()) else f"(-{name} * {name})"

    def _v_of(self, depth: int) -> str:
        name = self.one_of(["copy", "argsort", "sort", "reverse", "cumsum", "nonzero"])
        return f"{name}({self.vector(depth)})"

    def _v_made(self, depth: int) -> str:
        name = self.one_of(["zeros", "ones", "arange", "full"])
        length = self.one_of(["k", "3", f"len({self.one_of(self.vectors)})", self.number(depth)])
        return f"{name}({length}{', ' + self.number(depth) if name == 'full' else ''})"

    def _v_row(self, depth: int) -> str:
        return self.cell(self.one_of(self.matrices), depth)

    def _v_slice(self, depth: int) -> str:
        low, high = self.one_of(["", "0", "1", "k"]), self.one_of(["", "1", "3", "k"])
        return f"{self.one_of(self.vectors)}[{low}:{high}]"

    def _v_where(self, depth: int) -> str:
        name = self.one_of(self.vectors)
        return f"where({name} {self.one_of(TESTS)} {self.number(depth)}, {name}, {self.number(0)})"

    def _v_clip(self, depth: int) -> str:
        return f"clip({self.vector(depth)}, {self.number(0)}, {self.number(0)})"

    def _v_minimum(self, depth: int) -> str:
        name = self.one_of(["minimum", "maximum"])
        return f"{name}({self.vector(depth)}, {self.number(depth)})"

    def _v_take(self, depth: int) -> str:
        name = self.one_of(self.vectors)
        places = self.one_of(["w", "argsort({})", "nonzero({})", "reverse(argsort({}))"])
        return f"take({name}, {places.format(name)})"

    def _v_bincount(self, depth: int) -> str:
        more = f"{self.one_of(['v', 'w'])}, " if self.draw(st.booleans()) else ""
        return f"bincount(w, {more}{self.one_of(['7', 'k', self.number(depth)])})"

    def _v_repeat(self, depth: int) -> str:
        return self.one_of(["repeat(v, w)", "concat(v, w)", "repeat(w, w)", "flatten(m)"])

    def _v_column(self, depth: int) -> str:
        name = self.one_of(self.matrices)
        return f"column({name}, {self.index(depth, f'shape1({name})', name)})"

    def _v_sums(self, depth: int) -> str:
        shape = self.one_of(["row_sums({})", "column_sums({})", "dot({}, out)", "flatten({})"])
        return shape.format(self.matrix(depth))

    def _v_path(self, depth: int) -> str:
        return f"path({self.matrix(depth)})"

    def _v_each(self, depth: int) -> str:
        return f"{self.one_of(UNARY)}({self.vector(depth)})"

    def _v_helper(self, depth: int) -> str:
        return f"scaled({self.vector(depth)}, {self.number(depth)})"

    # matrices

    def matrix(self, depth: int) -> str:
        shapes = ["name", "name"]
        if depth:
            shapes += ["binary", "made", "transpose", "reshape", "take", "each", "where"]
        return str(getattr(self, f"_m_{self.one_of(shapes)}")(depth - 1))

    def _m_name(self, depth: int) -> str:
        return self.one_of(self.matrices)

    def _m_binary(self, depth: int) -> str:
        right = self.number(depth) if self.draw(st.booleans()) else self.matrix(depth)
        return f"({self.matrix(depth)} {self.one_of(SYMBOLS + TESTS)} {right})"

    def _m_made(self, depth: int) -> str:
        name = self.one_of(["zeros", "ones", "full"])
        sizes = f"{self.one_of(['k', '2', self.number(0)])}, {self.one_of(['k', '3', '0'])}"
        return f"{name}({sizes}{', ' + self.number(depth) if name == 'full' else ''})"

    def _m_transpose(self, depth: int) -> str:
        return f"{self.one_of(['transpose', 'copy', 'abs', 'math.floor'])}({self.matrix(depth)})"

    def _m_reshape(self, depth: int) -> str:
        return self.one_of(
            ["reshape(v, 1, len(v))", "reshape(flatten(m), shape1(m), len(m))", "reshape(w, k, 2)"]
        )

    def _m_take(self, depth: int) -> str:
        return f"take({self.matrix(depth)}, {self.one_of(['w', 'nonzero(v)', 'argsort(v)'])})"

    def _m_each(self, depth: int) -> str:
        return f"{self.one_of(UNARY)}({self.matrix(depth)})"

    def _m_where(self, depth: int) -> str:
        return f"where(m > {self.number(depth)}, put, {self.number(0)})"

    # statements

    def block(self, depth: int, pad: str, loop: bool) -> list[str]:
        numbers, vectors, matrices = self.numbers, self.vectors, self.matrices
        writable = self.writable
        lines: list[str] = []
        for _ in range(self.draw(st.integers(1, 3))):
            shapes = ["set", "vector", "matrix", "write", "write", "write2", "whole", "add", "row"]
            shapes += ["swap", "call", "add2"]
            shapes += ["if", "for", "for", "while"] if depth else []
            shapes += ["jump"] if loop else []
            lines += getattr(self, f"_s_{self.one_of(shapes)}")(depth - 1, pad, loop)
        self.numbers, self.vectors, self.matrices = numbers, vectors, matrices
        self.writable = writable
        return lines

    def _s_set(self, depth: int, pad: str, loop: bool) -> list[str]:
        name, text = self.name(), self.number(2)
        self.numbers = [*self.numbers, name]
        return [f"{pad}{name} = {text}"]

    def _s_vector(self, depth: int, pad: str, loop: bool) -> list[str]:
        name, text = self.name(), self.vector(2)
        if text in self.vectors:
            text = f"copy({text})"
        self.vectors, self.writable = [*self.vectors, name], [*self.writable, name]
        return [f"{pad}{name} = {text}"]

    def _s_matrix(self, depth: int, pad: str, loop: bool) -> list[str]:
        name, text = self.name(), self.matrix(2)
        if text in self.matrices:
            text = f"copy({text})"
        self.matrices, self.writable = [*self.matrices, name], [*self.writable, name]
        return [f"{pad}{name} = {text}"]

    def written(self, options: list[str]) -> str:
        return self.one_of([name for name in options if name in self.writable])

    def _s_write(self, depth: int, pad: str, loop: bool) -> list[str]:
        symbol = self.one_of(["", "+", "-", "*"])
        target = self.written(self.vectors)
        return [f"{pad}{self.cell(target, 1)} {symbol}= {self.number(2)}"]

    def _s_write2(self, depth: int, pad: str, loop: bool) -> list[str]:
        symbol, target = self.one_of(["", "+", "//"]), self.written(self.matrices)
        value = self.one_of([self.number(1), f"int({self.number(1)})"])
        return [f"{pad}{self.cell2(target, 1)} {symbol}= {value}"]

    def _s_row(self, depth: int, pad: str, loop: bool) -> list[str]:
        symbol, target = self.one_of(["", "+", "%"]), self.written(self.matrices)
        own = self.cell(self.one_of([target, *self.matrices]), 0)
        value = self.one_of([own, f"floor({own})", self.vector(1), self.number(1)])
        value = value.replace("floor", "math.floor")
        return [f"{pad}{self.cell(target, 1)} {symbol}= {value}"]

    def _s_whole(self, depth: int, pad: str, loop: bool) -> list[str]:
        if self.draw(st.booleans()):
            name = self.written(self.vectors)
            value = self.one_of([f"sort({name})", self.vector(2), self.number(1)])
            return [f"{pad}{name}[:] = {value}"]
        name = self.written(self.matrices)
        value = self.one_of([name, f"{name} * 2", self.matrix(1), "1"])
        return [f"{pad}{name}[:] = int({value})"]

    def _s_add(self, depth: int, pad: str, loop: bool) -> list[str]:
        symbol, name = self.one_of(["+", "-", "*", "/"]), self.written(self.vectors)
        value = self.one_of([name, self.vector(1), self.number(1), f"abs({name}) + 1"])
        return [f"{pad}{name} {symbol}= {value}"]

    def _s_add2(self, depth: int, pad: str, loop: bool) -> list[str]:
        name = self.written(self.matrices)
        value = self.one_of([name, self.matrix(1), self.number(1)])
        return [f"{pad}{name} {self.one_of(['+', '*'])}= {value}"]

    def _s_swap(self, depth: int, pad: str, loop: bool) -> list[str]:
        name = self.written(self.vectors)
        here, there = self.cell(name, 1), self.cell(name, 1)
        return [f"{pad}{here}, {there} = {there}, {here}"]

    def _s_call(self, depth: int, pad: str, loop: bool) -> list[str]:
        return [f"{pad}mark({self.written(self.vectors)}, {self.vector(1)}, {self.number(1)})"]

    def _s_if(self, depth: int, pad: str, loop: bool) -> list[str]:
        lines = [f"{pad}if {self.test(1)}:", *self.block(depth, pad + " ", loop)]
        if self.draw(st.booleans()):
            lines += [f"{pad}else:", *self.block(depth, pad + " ", loop)]
        return lines

    def _s_for(self, depth: int, pad: str, loop: bool) -> list[str]:
        item, outer = self.name(), self.counters
        length = f"len({self.one_of(self.vectors)})"
        limit = self.one_of([length, length, "k", "3", "2, -2, -1"])
        self.counters = [*outer, item]
        lines = [f"{pad}for {item} in range({limit}):", *self.block(depth, pad + " ", True)]
        if self.draw(st.integers(0, 5)) == 0:
            lines.append(f"{pad} {item} += 1")
        self.counters = outer
        return lines

    def _s_while(self, depth: int, pad: str, loop: bool) -> list[str]:
        lines = [f"{pad}while {self.test(1)}:", *self.block(depth, pad + " ", True)]
        return [*lines, f"{pad} if {self.test(1)}:", f"{pad}  break"]

    def _s_jump(self, depth: int, pad: str, loop: bool) -> list[str]:
        return [f"{pad}if {self.test(1)}:", f"{pad} {self.one_of(['break', 'continue'])}"]


HELPERS = """\
import math
K = 0.1 + 0.2

def spread(p, q):
 best = 0
 for i in range(len(p)):
  if p[i] > q:
   return best + i
  best = max(best, p[i] - q)
 return best

def scaled(p, q):
 made = copy(p)
 for i in range(len(made)):
  if made[i] == q:
   return made * 2
  made[i] *= q
 return made

def mark(p, q, r):
 for i in range(min(len(p), len(q))):
  if q[i] == r:
   return
  p[i] = q[i] + r
"""


@st.composite
def sources(draw: st.DrawFn) -> str:
    """A program that the check accepts: loops, writes, helpers, operations of every kind."""
    writer = Writer(draw)
    lines = [HELPERS, "def decide(k, x, w, v, put, m, out):"]
    for _ in range(draw(st.integers(1, 3))):
        lines += writer.block(draw(st.integers(0, 2)), " ", False)
    return "\n".join([*lines, f" return {writer.number(2)}", ""])
