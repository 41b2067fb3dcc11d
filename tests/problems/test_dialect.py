"""Changes of plain Python: inside the marks alone, always Python, always within limits."""

from __future__ import annotations

import ast
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.sdk.errors import LanguageError
from gnomon.shadow.problems.dialect import BlockDialect
from gnomon.shadow.problems.folder import Problem
from gnomon.shadow.problems.operators import OPERATORS, written
from gnomon.shadow.problems.space import ProblemSpace
from gnomon.shadow.problems.spans import Text
from gnomon.shadow.search.authors.blocks import cut

from .conftest import FOLDERS, NAMES, Write

STOCK = {name: Problem.read(FOLDERS / name) for name in NAMES}
SPACES = {name: ProblemSpace(problem) for name, problem in STOCK.items()}
WIDE = '''"""Everything that a program may hold."""
import math  # é

# EVOLVE-BLOCK-START
LIMIT = 3.5
NAMES = {"a": 1.0, "é": 2.5}


class Thing:
    """A thing."""

    scale: float = 0.75

    @property
    def size(self):
        """Its size."""
        return max(self.scale * 2.0, 1.0)


def pick(items, *, most=10, key=lambda v: v * 2.0):
    """Return the best."""
    best, count = None, 0
    for i, item in enumerate(items):
        if item < LIMIT and (count < most or not best):
            count += 1; best = item
        elif item == 0:
            continue
        else:
            best = min(item, best or 0.5)
    try:
        found = [x ** 0.5 + items[0] for x in items if x > 1.0]
    except ValueError as error:
        raise RuntimeError(f"no root of {items!r:>{10}}") from error
    match count:
        case 0:
            return 0.0
        case 1 | 2:
            return -1.5
    with open(__file__) as file:
        text = file.read(  # comment
            100
        )
    return sum(found[1:3]) / (len(found) + 1) + (best if best else 0.25) % 7, text[-1]
# EVOLVE-BLOCK-END


def fixed():
    return pick([1.0, 2.0])[0] * 2.0
'''


def space_of(write: Write, program: str) -> ProblemSpace:
    return ProblemSpace(write(program))


def outside(source: str) -> tuple[str, ...]:
    return cut(source).fixed


@given(st.sampled_from(NAMES), st.integers(0, 10**6))
def test_a_mutation_is_another_program_within_the_marks(name: str, seed: int) -> None:
    space, source = SPACES[name], STOCK[name].program
    dialect, rng = space.dialect, random.Random(seed)
    for _ in range(4):
        made = dialect.mutated(source, space, rng)
        assert made is not None
        child, how = made
        assert child != source and set(how.split("+")) <= set(OPERATORS)
        assert outside(child) == outside(STOCK[name].program)
        assert dialect.nodes(child) > 0
        compile(child, "child", "exec")
        source = child
    again = random.Random(seed)
    first = dialect.mutated(STOCK[name].program, space, again)
    assert first == dialect.mutated(STOCK[name].program, space, random.Random(seed))


@given(st.sampled_from(NAMES), st.integers(0, 10**6))
def test_a_crossover_is_made_of_both(name: str, seed: int) -> None:
    space, source = SPACES[name], STOCK[name].program
    dialect, rng = space.dialect, random.Random(seed)
    father = source
    for _ in range(3):
        made = dialect.mutated(father, space, rng)
        father = made[0] if made else father
    child = dialect.crossed(source, father, space, rng)
    if child is not None:
        assert child not in (source, father)
        assert outside(child) == outside(source)
        assert dialect.nodes(child) > 0


def test_every_operator_takes_on_a_program_with_everything(write: Write) -> None:
    space = space_of(write, WIDE)
    counts: Counter[str] = Counter()
    source = WIDE
    for seed in range(150):
        made = space.dialect.mutated(WIDE, space, random.Random(seed))
        assert made is not None
        counts.update(made[1].split("+"))
        source = (space.dialect.crossed(source, made[0], space, random.Random(seed))) or source
        assert outside(made[0]) == outside(WIDE)
        assert "# é" in made[0] and "raise RuntimeError(f" in made[0] or "drop" in made[1]
    assert set(counts) == set(OPERATORS)
    assert source != WIDE and outside(source) == outside(WIDE)


def test_blocks_are_exchanged_whole() -> None:
    space, words = SPACES["words"], STOCK["words"].program
    father = words.replace("least = 2", "least = 1").replace("word[:6]", "word[:9]")
    children = {
        space.dialect.crossed(words, father, space, random.Random(seed)) for seed in range(60)
    }
    assert words.replace("least = 2", "least = 1") in children
    assert words.replace("word[:6]", "word[:9]") in children


def test_constants_come_in_the_order_of_the_text(write: Write) -> None:
    program = (
        "# EVOLVE-BLOCK-START\nX = 0.5\nY = -3\nZ = [1, 2, 40]\n"
        "def f(a, rows=7, axis=9):\n    return a[5] + sum(a, axis=3) - -2.5 ** 4 + len(range(12))\n"
        "# EVOLVE-BLOCK-END\nW = 0.125\n"
    )
    dialect = space_of(write, program).dialect
    # what indexes, counts in range() or names an axis stays, and so do 0, 1 and 2
    assert dialect.constants(program) == (0.5, -3.0, 40.0, 7.0, 9.0, 2.5, 4.0)
    other = dialect.with_constants(program, [0.25, -4.4, 41.6, -7.0, 9, -1 / 3, 4])
    assert "X = 0.25\nY = -4\nZ = [1, 2, 42]\ndef f(a, rows=(-7), axis=9)" in other
    assert "- -(-0.333333) ** 4" in other and "a[5]" in other and "W = 0.125" in other
    assert dialect.skeleton(program) == dialect.skeleton(other)
    assert dialect.skeleton(program) != dialect.skeleton(program.replace("sum", "max"))


@given(st.sampled_from(NAMES), st.integers(0, 10**6))
def test_constants_can_be_written_and_read_back(name: str, seed: int) -> None:
    dialect, source = SPACES[name].dialect, STOCK[name].program
    rng = random.Random(seed)
    values = [rng.gauss(0.0, 10.0 ** rng.randint(-3, 6)) for _ in dialect.constants(source)]
    child = dialect.with_constants(source, values)
    assert dialect.with_constants(child, dialect.constants(child)) == child or len(
        dialect.constants(child)
    ) < len(values)  # a whole number that became small is none of them any more
    assert outside(child) == outside(source)
    assert dialect.with_constants(source, dialect.constants(source)) == source


def test_many_constants_are_a_table(write: Write) -> None:
    table = ", ".join(f"{i}.5" for i in range(500))
    program = f"# EVOLVE-BLOCK-START\nT = [{table}]\n# EVOLVE-BLOCK-END\n"
    assert len(space_of(write, program).dialect.constants(program)) == 48


@pytest.mark.parametrize(
    ("value", "whole", "text"),
    [
        (3.0, False, "3.0"),
        (1e20, False, "1e+20"),
        (-0.1234567, False, "-0.123457"),
        (2.6, True, "3"),
        (-1e3, True, "-1000"),
    ],
)
def test_literals(value: float, whole: bool, text: str) -> None:
    assert written(value, whole=whole) == text
    assert ast.literal_eval(text) == pytest.approx(value, rel=0.2)


def test_two_sources_of_one_tree_are_one_program() -> None:
    dialect, source = SPACES["valley"].dialect, STOCK["valley"].program
    other = source.replace("  # colder", "  # other").replace(
        '"""Return the lowest', '"""Give the lowest'
    )
    assert dialect.key(other) == dialect.key(source)
    assert dialect.key(source.replace("reach", "step")) != dialect.key(source)
    assert dialect.key(source.replace("0.97", "0.98")) != dialect.key(source)


Change = Callable[[str], str]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.replace("def run", "def walk"), "outside the EVOLVE-BLOCK marks"),
        (lambda s: s.replace("# EVOLVE-BLOCK-END\n", ""), "has no EVOLVE-BLOCK-END"),
        (lambda s: s.replace("# EVOLVE-BLOCK-", "# "), "outside the EVOLVE-BLOCK marks"),
        (lambda s: s + "\n", "outside the EVOLVE-BLOCK marks"),
        (lambda s: s.replace("\n", "\r\n"), "outside the EVOLVE-BLOCK marks"),
        (lambda s: s.replace("steps=60", "steps="), "line"),
        (lambda s: s.replace("0.1:", "'\0':"), "null bytes|NUL"),
        (lambda s: s.replace("0.1:", "'\ud800':"), "surrogates"),
        (lambda s: s.replace("1.5", "(" * 300 + "1.5" + ")" * 300), "nested|deep"),
        (lambda s: s.replace("1.5", "1.5" + "+1" * 3000), "deep"),
        (lambda s: s.replace("# colder", "# " + "x" * 10_000), "at most 10,000"),
        (lambda s: "prose, and no program", "outside|line"),
        (lambda s: "", "outside"),
    ],
)
def test_what_is_no_program_is_refused(change: Change, said: str) -> None:
    source = change(STOCK["valley"].program)
    with pytest.raises(LanguageError, match=said):
        SPACES["valley"].dialect.nodes(source)
        SPACES["valley"].dialect.key(source)


def test_without_marks_all_of_it_may_change(write: Write) -> None:
    program = "X = 1.5\n\n\ndef f(a):\n    return a * X + 0.5\n"
    space = space_of(write, program)
    assert space.dialect.constants(program) == (1.5, 0.5)
    assert space.dialect.nodes("Y = 2.0\n") == 3
    children = {space.dialect.mutated(program, space, random.Random(i)) for i in range(20)}
    assert len(children) > 10


def test_a_long_initial_program_may_stay_as_long(write: Write) -> None:
    program = "# EVOLVE-BLOCK-START\nX = 1.5\n# EVOLVE-BLOCK-END\n" + "# long\n" * 3000
    dialect = space_of(write, program).dialect
    assert dialect.nodes(program) == 3
    with pytest.raises(LanguageError, match="at most"):
        dialect.nodes(program.replace("1.5", "1.55555"))


def test_a_program_without_anything_to_change_has_no_children(write: Write) -> None:
    program = "# EVOLVE-BLOCK-START\n# nothing\n# EVOLVE-BLOCK-END\nX = 1.5\n"
    space = space_of(write, program)
    assert space.dialect.mutated(program, space, random.Random(0)) is None
    assert space.dialect.constants(program) == ()
    assert space.dialect.probing(program, space, 3) is None
    assert space.dialect.scratch(space, random.Random(0)) is None


SOURCES = st.lists(
    st.sampled_from(
        ["x = 1.5\r\n", "é = 'ü' + f'{x}'\n", "y = x * 2\r", "# c\n", "z = (x,\n  y)\n"]
    ),
    min_size=1,
)


@given(SOURCES)
def test_spans_find_the_text_of_every_node(lines: list[str]) -> None:
    source = "x = y = 0\n" + "".join(lines)
    text = Text(source)
    for node in ast.walk(text.tree):
        if isinstance(node, ast.Name | ast.Constant) and not isinstance(
            getattr(node, "value", None), str
        ):
            found = text.text(text.span(node))
            assert found == ast.unparse(node) or "{" in source
    assert text.edited([]) == source


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_growth_of_programs_is_bounded(seed: int) -> None:
    space, source = SPACES["packing"], STOCK["packing"].program
    rng, first = random.Random(seed), space.dialect.nodes(source)
    for _ in range(30):
        made: Any = space.dialect.mutated(source, space, rng)
        source = made[0] if made else source
    assert space.dialect.nodes(source) <= 2 * first + 100
    assert len(source) <= STOCK["packing"].settings.most_characters


def test_a_dialect_is_of_its_problem() -> None:
    assert BlockDialect(STOCK["valley"]).nodes(STOCK["valley"].program) > 40
    assert SPACES["valley"].baselines() == {"initial": STOCK["valley"].program}
    assert SPACES["valley"].starts("weak") == SPACES["valley"].baselines()
    assert SPACES["valley"].identity()["problem"] == "valley"
    assert time.monotonic() > 0
