"""Programs as search sees them: values inside may change, whatever an index or a length depends on by
writing alone may not, and the language check has the last word on every child."""

from __future__ import annotations

import ast
import math
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ....sdk.errors import LanguageError
from ....sdk.language import check_program, syntax_tree
from .trees import FIXED, Slot, call, literal, name, number, size

if TYPE_CHECKING:
    from ....sdk.kind import Kind
    from ....sdk.language import ProgramContract
    from ..space import Space

_TRIES = 16
#: A child may outgrow its largest ancestor among the seeds by so much.
_GROWTH = 1.25
_SWAPPED: dict[str, tuple[str, ...]] = {
    "argmin": ("argmax",),
    "argmax": ("argmin",),
    "min": ("max", "mean"),
    "max": ("min", "mean"),
    "mean": ("max", "min"),
    "minimum": ("maximum",),
    "maximum": ("minimum",),
}
_ARITHMETIC: tuple[type[ast.operator], ...] = (ast.Add, ast.Sub, ast.Mult)
_COMPARISONS: tuple[type[ast.cmpop], ...] = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_VALUES = (ast.BinOp, ast.Call, ast.Name, ast.Subscript, ast.UnaryOp)
#: Whose place in the tree is no value of its own.
_FIXED = FIXED | {
    (ast.Subscript, "value"),
    (ast.Subscript, "slice"),
    (ast.FunctionDef, "args"),
}
Operator = Callable[[ast.Module, random.Random], bool]


class ProgramDialect:
    """Program form.

    Args:
        kind: whose contract a program keeps to.
    """

    def __init__(self, kind: Kind) -> None:
        assert kind.program is not None, "a kind of program form"
        self._contract: ProgramContract = kind.program
        sources = [each.source for each in kind.baselines.values() if each.source is not None]
        largest = max((size(syntax_tree(source)) for source in sources), default=0)
        self._limit = min(self._contract.max_nodes, int(_GROWTH * largest) + 20)

    def nodes(self, source: str) -> int:
        """Check any source and return its size; raises LanguageError."""
        return check_program(source, self._contract).nodes

    def key(self, source: str) -> str:
        """Return the tree's text with names of the program's own in the order of their first use."""
        return normal(source, self._contract.entry)

    def mutated(self, source: str, space: Space, rng: random.Random) -> tuple[str, str] | None:
        """Return a program after one to three changes of values, operators, names or statements."""
        weights = [weight for weight, _ in OPERATORS.values()]
        for _ in range(_TRIES):
            tree = syntax_tree(source)
            count = rng.choices((1, 2, 3), (0.7, 0.2, 0.1))[0]
            chosen = rng.choices(list(OPERATORS), weights, k=count)
            applied = [operator for operator in chosen if OPERATORS[operator][1](tree, rng)]
            child = self._fit(tree, source) if applied else None
            if child is not None:
                return child, "+".join(applied)
        return None

    def crossed(self, mother: str, father: str, space: Space, rng: random.Random) -> str | None:
        """Return the mother with a function or an expression of the father's."""
        for _ in range(_TRIES):
            tree, other = syntax_tree(mother), syntax_tree(father)
            way = _function_from if rng.random() < 0.5 else _expression_from
            child = self._fit(tree, mother, father) if way(tree, other, rng) else None
            if child is not None:
                return child
        return None

    def probing(self, source: str, space: Space, decisions: int) -> str | None:
        """Return None: a program picks no items that it could avoid."""
        return None

    def bare(self, source: str, space: Space) -> list[str]:
        """Return nothing: most programs of this form stand and fall with every statement."""
        return []

    def extended(self, source: str, space: Space) -> str | None:
        """Return None: there are no features to weigh."""
        return None

    def scratch(self, space: Space, rng: random.Random) -> str | None:
        """Return None: a random text hardly ever is a program that meets the invariants."""
        return None

    def constants(self, source: str) -> tuple[float, ...]:
        """Return the literals written as fractions; whole ones count, index and compare."""
        return tuple(_value(slot) for slot in _tunable(syntax_tree(source)))

    def with_constants(self, source: str, values: Sequence[float]) -> str:
        """Return the program with other literals, each of four significant digits."""
        tree = syntax_tree(source)
        for slot, value in zip(_tunable(tree), values, strict=True):
            slot.put(number(value))
        return _rendered(tree)

    def skeleton(self, source: str) -> str:
        """Return the tree without those literals."""
        tree = syntax_tree(source)
        for slot in _tunable(tree):
            slot.put(ast.Constant(0.0))
        return ast.dump(tree)

    def _fit(self, tree: ast.Module, *parents: str) -> str | None:
        """Return a changed tree's source, if it is another program within language and limit."""
        text = _rendered(tree)
        if size(tree) > self._limit or text in parents:
            return None
        try:
            check_program(text, self._contract)
        except LanguageError:
            return None
        return text


def normal(source: str, entry: str) -> str:
    """Return a text that two programs share only when they are the same but for names and layout.

    Docstrings go, functions are in the order of their names in use, and the names of helpers, constants
    and variables are numbered as they first come; what the host passes keeps its name.
    """
    tree = syntax_tree(source)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    given = {argument.arg for argument in functions[entry].args.args}
    functions[entry].args.args.sort(key=lambda argument: argument.arg)
    own = _own_names(tree) - given - {entry}
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        _without_text(node)
    order = [functions[entry], *(node for node in tree.body if node is not functions[entry])]
    tree.body = [node for node in order if not isinstance(node, ast.Import)]
    for node in ast.walk(tree):
        _renamed(node, own, found)
    return ast.dump(tree)


def _own_names(tree: ast.Module) -> set[str]:
    bound = {
        n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    }
    bound |= {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
    return bound | {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


def _without_text(node: ast.AST) -> None:
    body = getattr(node, "body", None)
    if isinstance(body, list):
        node.body = [each for each in body if not _is_text(each)]  # type: ignore[attr-defined]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _renamed(node: ast.AST, own: set[str], found: dict[str, str]) -> None:
    for field in ("id", "arg", "name"):
        given = getattr(node, field, None)
        if isinstance(given, str) and given in own:
            setattr(node, field, found.setdefault(given, f"%{len(found)}"))
    if isinstance(node, ast.arg):
        node.annotation = None


def _rendered(tree: ast.Module) -> str:
    for node in ast.walk(tree):
        _without_text(node)
    tree.body = [node for node in tree.body if not isinstance(node, ast.Import)]
    if any(isinstance(node, ast.Name) and node.id == "math" for node in ast.walk(tree)):
        tree.body.insert(0, ast.Import([ast.alias("math")]))
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def slots(tree: ast.Module) -> list[Slot]:
    """Return the places of all functions that hold a value: no index, length, target or loop's range."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [slot for function in functions for slot in _slots(function)]


def _slots(owner: ast.AST) -> Iterator[Slot]:
    for field, value in ast.iter_fields(owner):
        if (type(owner), field) in _FIXED:
            continue
        for index, node in enumerate(value) if isinstance(value, list) else ((-1, value),):
            if isinstance(node, ast.expr):
                if isinstance(node, _VALUES) or literal(node) is not None:
                    yield Slot(owner, field, index, node, "number")
                if literal(node) is None:
                    yield from _slots(node)
            elif isinstance(node, ast.stmt):
                yield from _slots(node)


def _tunable(tree: ast.Module) -> list[Slot]:
    return [slot for slot in slots(tree) if _is_fraction(slot.node)]


def _is_fraction(node: ast.expr) -> bool:
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    value = literal(node)
    whole = isinstance(inner, ast.Constant) and isinstance(inner.value, int)
    return value is not None and not whole and abs(value) < 1e6


def _value(slot: Slot) -> float:
    value = literal(slot.node)
    assert value is not None
    return value


def _pick(found: Sequence[Slot], rng: random.Random) -> Slot | None:
    return rng.choice(found) if found else None


def _jitter(tree: ast.Module, rng: random.Random) -> bool:
    slot = _pick(_tunable(tree), rng)
    if slot is None:
        return False
    slot.put(number((_value(slot) or 0.1) * math.exp(rng.gauss(0.0, 0.4))))
    return True


def _soften(tree: ast.Module, rng: random.Random) -> bool:
    """Turn a whole number into a fraction near it, for tuning to take up."""
    whole = [s for s in slots(tree) if literal(s.node) is not None and not _is_fraction(s.node)]
    slot = _pick(whole, rng)
    if slot is None:
        return False
    slot.put(number((_value(slot) or 0.1) * math.exp(rng.gauss(0.0, 0.2)) + 1e-3))
    return True


def _swap_operator(tree: ast.Module, rng: random.Random) -> bool:
    nodes = [node for node in ast.walk(tree) if _swaps(node)]
    if not nodes:
        return False
    node = rng.choice(nodes)
    if isinstance(node, ast.BinOp | ast.AugAssign):
        node.op = rng.choice([op for op in _ARITHMETIC if not isinstance(node.op, op)])()
    elif isinstance(node, ast.Compare):
        node.ops[0] = rng.choice([op for op in _COMPARISONS if not isinstance(node.ops[0], op)])()
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        node.func = name(rng.choice(_SWAPPED[node.func.id]))
    return True


def _swaps(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp | ast.AugAssign):
        return isinstance(node.op, _ARITHMETIC)
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _SWAPPED
    return isinstance(node, ast.Compare) and isinstance(node.ops[0], _COMPARISONS)


def _swap_name(tree: ast.Module, rng: random.Random) -> bool:
    """Read another variable of the same function."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    function = rng.choice(functions)
    used = [slot for slot in _slots(function) if isinstance(slot.node, ast.Name)]
    slot = _pick(used, rng)
    known = sorted(_own_names(ast.Module([function], [])) - {function.name})
    if slot is None or not known:
        return False
    slot.put(name(rng.choice(known)))
    return True


def _wrap(tree: ast.Module, rng: random.Random) -> bool:
    """Put a value into a larger expression that fits numbers and arrays alike."""
    slot = _pick(slots(tree), rng)
    if slot is None or literal(slot.node) is not None:
        return False
    node = slot.node
    near = number(math.exp(rng.gauss(0.0, 0.3)))
    wrapped: tuple[Callable[[], ast.expr], ...] = (
        lambda: ast.BinOp(node, ast.Mult(), near),
        lambda: ast.BinOp(node, ast.Add(), near),
        lambda: ast.BinOp(call("abs", node), ast.Pow(), near),
        lambda: call("math.sqrt", call("abs", node)),
        lambda: call("math.log1p", call("abs", node)),
        partial(_towards_mean, node, rng),
    )
    slot.put(rng.choice(wrapped)())
    return True


def _towards_mean(node: ast.expr, rng: random.Random) -> ast.expr:
    """Return a vector pulled towards its mean: what was seen of it is a sample."""
    part = rng.uniform(0.02, 0.5)
    kept = ast.BinOp(node, ast.Mult(), number(1.0 - part))
    return ast.BinOp(kept, ast.Add(), ast.BinOp(call("mean", node), ast.Mult(), number(part)))


def _hoist(tree: ast.Module, rng: random.Random) -> bool:
    """Replace a value by a part of itself."""
    parts = [(s, inner) for s in slots(tree) for inner in _slots(s.node)]
    if not parts:
        return False
    slot, inner = rng.choice(parts)
    slot.put(inner.node)
    return True


def _drop(tree: ast.Module, rng: random.Random) -> bool:
    """Leave a statement out."""
    blocks = [
        block
        for node in ast.walk(tree)
        for block in (getattr(node, "body", None), getattr(node, "orelse", None))
        if isinstance(block, list) and len(block) > 1 and not isinstance(node, ast.Module)
    ]
    if not blocks:
        return False
    block = rng.choice(blocks)
    del block[rng.randrange(len(block))]
    return True


def _function_from(tree: ast.Module, other: ast.Module, rng: random.Random) -> bool:
    """Call a helper of the father's where one of the mother's with as many parameters was called."""
    ours, theirs = _helpers(tree), _helpers(other)
    fitting = [
        (old, new)
        for old in ours.values()
        for new in theirs.values()
        if len(old.args.args) == len(new.args.args) and ast.dump(old) != ast.dump(new)
    ]
    if not fitting:
        return False
    old, new = rng.choice(fitting)
    tree.body = [
        new if node is old else node
        for node in tree.body
        if node is old or not _named(node, new.name)
    ]
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == old.name
        ):
            node.func = name(new.name)
    return True


def _named(node: ast.stmt, wanted: str) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == wanted


def _helpers(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    called = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return {each.name: each for each in functions if each.name in called}


def _expression_from(tree: ast.Module, other: ast.Module, rng: random.Random) -> bool:
    target, donor = _pick(slots(tree), rng), _pick(slots(other), rng)
    if target is None or donor is None or literal(donor.node) is not None:
        return False
    target.put(donor.node)
    return True


#: Weight and function of every operator, by the name that the log shows.
OPERATORS: dict[str, tuple[float, Operator]] = {
    "jitter": (1.0, _jitter),
    "soften": (0.5, _soften),
    "swap_operator": (1.0, _swap_operator),
    "swap_name": (1.0, _swap_name),
    "wrap": (3.0, _wrap),
    "hoist": (0.7, _hoist),
    "drop": (0.5, _drop),
}
