"""Mutation, crossover and simplification: what comes out is a policy of the language."""

from __future__ import annotations

import ast
import math
import random
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnomon.policies.cache import cache
from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import LanguageError
from gnomon.sdk.language import Program, check
from gnomon.shadow.search.archive import Archive
from gnomon.shadow.search.context import Choice, Context
from gnomon.shadow.search.keyless.grammar import condition, expression
from gnomon.shadow.search.keyless.mutation import (
    OPERATORS,
    bare,
    crossed,
    drop,
    extended,
    movable,
    mutated,
    probing,
)
from gnomon.shadow.search.keyless.simplify import simplified
from gnomon.shadow.search.keyless.trees import (
    CLOSED,
    EXCHANGEABLE,
    FIXED,
    Slot,
    function,
    literal,
    names,
    number,
    render,
    size,
    slots,
    type_of,
    wrapped,
)
from gnomon.shadow.search.keyless.tuning import constants
from gnomon.shadow.search.proposers import Bare
from gnomon.shadow.search.records import program_id
from gnomon.shadow.search.space import Space, seeds

SPACE = Space(load_balancer, {"ewma_ms": 40.0, "inflight": 2.0})
INPUTS = load_balancer.input_names
RICH = '''"""Peaks first."""
import math

CUT = 3.0


def damped(x, by):
    return x / (1.0 + by)


def score(inflight, ewma_ms, weight, noise):
    """Return the score."""
    load = inflight + 1.0
    for step in range(3):
        load += damped(load, -2.5) * step
    if inflight > CUT and not weight < 0.5:
        load *= 2.0
    elif ewma_ms > 100.0:
        return math.log1p(ewma_ms) * load ** -0.5
    return load * ewma_ms + sum(i * weight for i in range(2)) if load > 2.0 else -load
'''
SOURCES = [*seeds(SPACE, "library").values(), RICH]
rngs = st.integers(0, 2**32).map(random.Random)


def checked(source: str) -> Program:
    return check(source, INPUTS, max_nodes=400)


@given(st.sampled_from(SOURCES), rngs, st.integers(1, 5))
def test_mutants_of_valid_programs_are_valid(source: str, rng: random.Random, rounds: int) -> None:
    limit = max(SPACE.limit, size(ast.parse(source)))
    for _ in range(rounds):
        child = mutated(source, SPACE, rng)
        assert child is not None
        source, operators = child
        assert set(operators.split("+")) <= OPERATORS.keys()
        assert checked(source).nodes <= limit
        assert isinstance(checked(source).interpret(1.0, 40.0, 1.0, 3.0, 0.5), float)


@given(st.sampled_from(SOURCES), st.sampled_from(SOURCES), rngs)
def test_children_of_two_programs_are_valid(mother: str, father: str, rng: random.Random) -> None:
    child = crossed(mother, father, SPACE, rng)
    if child is not None:
        assert child not in (mother, father)
        parents = [size(ast.parse(source)) for source in (mother, father)]
        assert checked(child).nodes <= max(SPACE.limit, *parents)


@given(st.sampled_from(sorted(OPERATORS)), st.sampled_from(SOURCES), rngs)
def test_every_operator_keeps_types(operator: str, source: str, rng: random.Random) -> None:
    tree = ast.parse(source)
    OPERATORS[operator][1](tree, SPACE, rng)
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            assert all(type_of(side) == "number" for side in (node.left, *node.comparators))
        if isinstance(node, ast.IfExp | ast.If):
            assert type_of(node.test) == "bool"
        if isinstance(node, ast.BinOp):
            assert type_of(node.left) == type_of(node.right) == "number"


@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_every_operator_does_something(operator: str) -> None:
    changed = 0
    for seed in range(40):
        tree = ast.parse(RICH)
        applied = OPERATORS[operator][1](tree, SPACE, random.Random(seed))
        changed += applied and render(tree, INPUTS) != render(ast.parse(RICH), INPUTS)
    assert changed >= 25


def test_dropping_takes_out_whole_statements_and_never_the_last() -> None:
    guarded = "def score(recency, resident):\n    if resident < 0.5:\n        return 1e300\n    return recency\n"
    tree = ast.parse(guarded)
    assert drop(tree, SPACE, random.Random(0))
    assert [type(node) for node in function(tree).body] == [ast.Return]
    assert not drop(tree, SPACE, random.Random(0))
    alone = ast.parse(
        "def score(noise):\n    while noise > 1.0:\n        noise -= 1.0\n    return noise\n"
    )
    assert drop(alone, SPACE, random.Random(0))
    assert [type(node) for node in function(alone).body] == [ast.Return]


def test_bare_programs_lack_one_statement_each() -> None:
    found = bare(RICH, SPACE)
    whole = [type(node) for node in function(ast.parse(RICH)).body if type(node) is not ast.Expr]
    for text in found:
        left = [type(node) for node in function(ast.parse(text)).body]
        assert left != whole or len(text) < len(RICH)
    assert (
        len(set(found)) == len(found) == 2
    )  # the loop and the condition; each holds one statement
    assert bare("def score(noise):\n    return noise\n", SPACE) == []


@given(st.sampled_from([*seeds(SPACE, "library").values(), RICH]), st.data())
def test_an_extended_program_orders_items_as_before(source: str, data: st.DataObject) -> None:
    found = extended(source, SPACE)
    assert found is not None
    before, after = checked(source).bind(), checked(found).bind()
    whole = st.integers(0, 40).map(float)
    rows = data.draw(
        st.lists(st.tuples(whole, whole, st.just(2.0), whole, st.floats(0.1, 0.9)), min_size=2)
    )
    for one in rows:
        for other in rows:
            low, high = before(*one), before(*other)
            if low < high - 1e-9 * abs(high):
                assert after(*one) <= after(*other)


def test_what_an_extended_program_has_to_tune_are_a_weight_for_every_feature_and_its_own() -> None:
    found = extended(
        "def score(inflight, ewma_ms):\n    return (inflight + 1.5) * ewma_ms\n", SPACE
    )
    assert found is not None
    features = [each.name for each in load_balancer.inputs if each.name != "noise"]
    assert constants(found) == (1.5, *[0.0] * len(features))
    assert all(f"0.0 * math.log1p({name})" in found for name in features)
    assert extended(found, SPACE) is None


def test_a_search_begins_with_published_policies_without_their_guards() -> None:
    space, maker = Space(cache), Bare(seeds(Space(cache), "library"))
    context, drafts = Context(space, Archive(), 0, True), []
    while (draft := maker.propose(Choice(), context, random.Random(0))) is not None:
        drafts.append(draft)
    assert {draft.operator for draft in drafts} == {
        f"bare:{name}" for name in ("sampled_lfu", "random", "hyperbolic", "frequency_per_size")
    }
    for draft in drafts:
        assert draft.parents == (program_id(space.baselines()[draft.operator[5:]]),)
        assert "1e+300" not in draft.source
        assert check(draft.source, cache.input_names).nodes > 0


def test_a_source_beyond_the_language_mutates_into_something_that_check_refuses() -> None:
    source = "def score(noise):\n    return open(noise) + 1.0\n"
    rejected = 0
    for seed in range(30):
        child = mutated(source, SPACE, random.Random(seed))
        try:
            checked(child[0] if child else source)
        except LanguageError:
            rejected += 1
    assert rejected > 5


@given(rngs, st.integers(0, 5))
def test_random_expressions_are_valid_numbers(rng: random.Random, depth: int) -> None:
    tree = wrapped(expression(SPACE, rng, depth))
    assert checked(render(tree, INPUTS)).nodes < 400
    assert type_of(condition(SPACE, rng)) == "bool"


@given(st.sampled_from(SOURCES), rngs, st.integers(0, 4))
def test_simplification_keeps_every_score(source: str, rng: random.Random, rounds: int) -> None:
    for _ in range(rounds):
        source = (mutated(source, SPACE, rng) or (source,))[0]
    tree = ast.parse(source)
    root = next(slot for slot in slots(tree) if slot.type == "number")
    neutral = ast.BinOp(ast.BinOp(root.node, ast.Mult(), number(1.0)), ast.Add(), number(0.0))
    root.put(ast.UnaryOp(ast.USub(), ast.UnaryOp(ast.USub(), neutral)))
    before = checked(render(tree, INPUTS))
    after = checked(render(simplified(ast.parse(before.source)), INPUTS))
    assert after.nodes < before.nodes
    for row in ((0.0, 0.0, 1.0, 1.0, 0.5), (7.0, 33.0, 2.0, 9.0, 0.25)):
        left, right = before.interpret(*row), after.interpret(*row)
        assert left == right or (math.isnan(left) and math.isnan(right))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2.0 * 3.0 + noise", "6.0 + noise"),
        ("noise - 0.0", "noise"),
        ("0.0 + noise * 1.0", "noise"),
        ("1.0 * noise / 1.0", "noise"),
        ("noise ** 1.0", "noise"),
        ("1.0 / 0.0 + noise", "1.0 / 0.0 + noise"),
        ("1e308 * 10.0 + noise", "1e+308 * 10.0 + noise"),
        ("2.0 - 5.0 + noise", "-3.0 + noise"),
        ("max(noise, noise)", "noise"),
        ("min(noise, weight)", "min(noise, weight)"),
        ("abs(abs(noise))", "abs(noise)"),
        ("noise if weight > 2.0 else noise", "noise"),
        ("- -noise", "noise"),
        ("2.0 ** 3.0", "2.0 ** 3.0"),
    ],
)
def test_simplification_by_example(before: str, after: str) -> None:
    tree = simplified(ast.parse(f"def score(noise, weight):\n    return {before}\n"))
    assert ast.unparse(function(tree).body[0]) == f"return {after}"


def test_rendering_brings_parameters_and_imports_up_to_date() -> None:
    tree = ast.parse('"""Old."""\nimport math\ndef score(noise):\n    "Old."\n    return noise\n')
    slots(tree)[0].put(ast.Name("weight", ast.Load()))
    assert render(tree, INPUTS) == "def score(weight):\n    return weight\n"
    assert "import math" in render(ast.parse(RICH), INPUTS)


def test_only_expressions_of_features_move_between_programs() -> None:
    bound = {"load", "step", "w", "CUT", "damped"}
    moving = movable(ast.parse(RICH))
    assert moving
    assert all(not names(slot.node) & bound for slot in moving)


@given(st.floats(-1e9, 1e9))
def test_literals_come_back_through_any_surroundings(value: float) -> None:
    tree = wrapped(ast.BinOp(number(value), ast.Pow(), number(value)))
    again = ast.parse(render(tree, INPUTS))
    found = [literal(slot.node) for slot in slots(again) if literal(slot.node) is not None]
    assert found == [float(f"{value:.4g}")] * 2


def test_size_counts_as_the_language_does() -> None:
    for source in seeds(SPACE, "library").values():
        plain = source.replace("import math\n", "")
        assert abs(size(ast.parse(plain)) - checked(source).nodes) <= 2


@given(
    st.sampled_from(SOURCES),
    st.integers(2, 1000),
    st.lists(st.floats(0.001, 1000.0), min_size=5, max_size=5),
)
def test_a_probe_goes_before_every_score_and_changes_no_other(
    source: str, decisions: int, row: list[float]
) -> None:
    made = probing(source, SPACE, decisions)
    if made is None:
        assert source == RICH  # several returns
        return
    recent, long_ago = ([*row[:3], since, row[4]] for since in (decisions - 1.0, float(decisions)))
    before, after = checked(source).bind(), checked(made).bind()
    assert after(*recent) == before(*recent) or math.isnan(before(*recent))
    assert after(*long_ago) == -1e300


def nested(tree: ast.Module) -> list[Slot]:
    """All places of a tree, by plain recursion over every field."""

    def below(owner: ast.AST) -> Iterator[Slot]:
        for field, value in ast.iter_fields(owner):
            for index, node in enumerate(value) if isinstance(value, list) else ((-1, value),):
                if (type(owner), field) in FIXED:
                    continue
                if isinstance(node, ast.stmt):
                    yield from below(node)
                elif isinstance(node, ast.expr):
                    plain = literal(node) is not None
                    if plain or isinstance(node, EXCHANGEABLE):
                        yield Slot(owner, field, index, node, type_of(node))
                    if not plain and not isinstance(node, CLOSED):
                        yield from below(node)

    return [slot for statement in function(tree).body for slot in below(statement)]


@given(rngs)
def test_places_are_those_that_plain_recursion_finds(rng: random.Random) -> None:
    source = rng.choice(SOURCES)
    for _ in range(rng.randint(0, 4)):
        child = mutated(source, SPACE, rng)
        source = child[0] if child else source
    tree = ast.parse(source)
    assert slots(tree) == nested(tree)
    assert size(tree) == sum(isinstance(n, ast.expr | ast.stmt) for n in ast.walk(tree))
    assert names(tree) == {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
