"""What of a plain Python program may change, and as what: numbers, truth values, names, statements.

Python has no types to go by, so a place counts as a number only where its neighbours say so: arithmetic,
comparisons by size, calls that return numbers.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..search.keyless.trees import literal
from .spans import Span, Text

Sort = Literal["literal", "number", "bool", "name", "other"]
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
#: Functions whose result is a number, or an array of them, by their last name.
_NUMERIC = frozenset(
    [
        "abs",
        "ceil",
        "cos",
        "exp",
        "float",
        "floor",
        "hypot",
        "int",
        "len",
        "log",
        "log10",
        "log1p",
        "log2",
        "max",
        "maximum",
        "mean",
        "median",
        "min",
        "minimum",
        "pow",
        "prod",
        "random",
        "round",
        "sin",
        "sqrt",
        "std",
        "sum",
        "tan",
        "tanh",
        "uniform",
        "var",
    ]
)
#: Functions whose arguments are counts and shapes.
_COUNTING = frozenset(
    [
        "arange",
        "empty",
        "full",
        "linspace",
        "ones",
        "randint",
        "range",
        "randrange",
        "reshape",
        "zeros",
    ]
)
#: Keyword arguments that name a way to do something, by a number.
_NAMING = frozenset(["axis", "axes", "dtype", "ndim", "order", "out", "random_state", "seed"])


@dataclass(frozen=True, slots=True)
class Around:
    """Where the visit stands.

    Attributes:
        function: name of the innermost function, or an empty string.
        whole: whether the place counts, indexes or sizes something.
        number: whether the neighbours are numbers.
        inner: whether it is inside a comprehension or a lambda, whose names end with it.
    """

    function: str = ""
    whole: bool = False
    number: bool = False
    inner: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """An expression that may change.

    Attributes:
        node: of the tree; not to be changed.
        span: where it stands.
        sort: what it is.
        around: where that is.
    """

    node: ast.expr
    span: Span
    sort: Sort
    around: Around


@dataclass(frozen=True, slots=True)
class Body:
    """Statements that follow each other.

    Attributes:
        lines: whole lines of each statement.
        nodes: the statements.
        function: name of the innermost function, or an empty string.
    """

    lines: tuple[Span, ...]
    nodes: tuple[ast.stmt, ...]
    function: str


class Places:
    """All places of a source that lie within its blocks.

    Args:
        text: the source.
        blocks: where they are.

    Attributes:
        expressions: outermost first.
        bodies: statements with lines of their own.
        functions: every function in a block, by its dotted name.
    """

    def __init__(self, text: Text, blocks: Sequence[tuple[int, int]]) -> None:
        self.text = text
        self._blocks = blocks
        self.expressions = [place for place in self._statements(text.tree.body, Around())]
        self.bodies = list(self._bodies(text.tree, ""))
        self.functions = dict(self._functions(text.tree, ""))

    def inside(self, span: Span) -> bool:
        """Return whether a stretch lies within a block."""
        return any(first <= span.start and span.end <= last for first, last in self._blocks)

    def of(self, *sorts: Sort) -> list[Place]:
        """Return the expressions of some sorts."""
        return [place for place in self.expressions if place.sort in sorts]

    def numbers(self, function: str) -> list[str]:
        """Return the variables that a function calculates with, sorted; none of a comprehension."""
        found = (place for place in self.of("name") if place.around.function == function)
        return sorted(
            {
                place.node.id
                for place in found
                if place.around.number
                and not place.around.inner
                and isinstance(place.node, ast.Name)
            }
        )

    def _functions(self, owner: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
        for node in ast.iter_child_nodes(owner):
            if isinstance(node, ast.FunctionDef) and self.inside(self.text.span(node)):
                yield prefix + node.name, node
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield from self._functions(node, f"{prefix}{node.name}.")

    def _bodies(self, owner: ast.AST, function: str) -> Iterator[Body]:
        for field in ("body", "orelse", "finalbody"):
            value = getattr(owner, field, None)
            nodes = value if isinstance(value, list) else []  # of a lambda it is no list
            found = [(node, lines) for node in nodes if (lines := self._own_lines(node))]
            if found:
                yield Body(tuple(l for _, l in found), tuple(n for n, _ in found), function)
        for node in ast.iter_child_nodes(owner):
            if isinstance(node, _BLOCKS):
                within = f".{node.name}" if isinstance(node, ast.FunctionDef) else ""
                yield from self._bodies(node, function + within)

    def _own_lines(self, node: ast.stmt) -> Span | None:
        span = self.text.span(node)
        for decorator in getattr(node, "decorator_list", ()):
            span = Span(min(span.start, self.text.span(decorator).start - 1), span.end)
        lines = self.text.lines(span)
        if lines is None or not self.inside(lines) or self.text.text(span).startswith("elif"):
            return None
        return lines

    def _statements(self, nodes: Sequence[ast.AST], around: Around) -> Iterator[Place]:
        for node in nodes:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                within = Around(f"{around.function}.{node.name}")
                yield from self._statements([*node.args.defaults, *node.body], within)
            elif isinstance(node, ast.ClassDef):
                yield from self._statements(node.body, around)
            elif isinstance(node, ast.expr):
                yield from self._expression(node, around)
            elif not isinstance(node, _CLOSED):
                yield from self._statements(list(_children(node)), around)

    def _expression(self, node: ast.expr, around: Around) -> Iterator[Place]:
        if isinstance(node, ast.JoinedStr | ast.Starred):
            return  # CPython 3.11 does not know where the parts of the one stand
        span = self.text.span(node)
        if self.inside(span):
            yield Place(node, span, _sort(node, around), around)
        if literal(node) is None:
            for child, within in _inner(node, replace(around, number=False)):
                yield from self._expression(child, within)


#: What holds statements.
_BLOCKS = (ast.stmt, ast.ExceptHandler, ast.match_case)
#: Statements that hold nothing to change.
_CLOSED = (ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal, ast.Delete, ast.pattern)
_TARGETS = {
    (ast.Assign, "targets"),
    (ast.AugAssign, "target"),
    (ast.AnnAssign, "target"),
    (ast.AnnAssign, "annotation"),
    (ast.For, "target"),
    (ast.AsyncFor, "target"),
    (ast.withitem, "optional_vars"),
    (ast.ExceptHandler, "type"),
}


def _children(node: ast.AST) -> Iterator[ast.AST]:
    for field, value in ast.iter_fields(node):
        if (type(node), field) not in _TARGETS:
            found = value if isinstance(value, list) else [value]
            yield from (each for each in found if isinstance(each, ast.AST))


def _sort(node: ast.expr, around: Around) -> Sort:
    if literal(node) is not None:
        return "literal"
    if isinstance(node, ast.Compare | ast.BoolOp):
        return "bool"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return "bool"
    if numeric(node):
        return "number"
    if isinstance(node, ast.Name):
        return "name"
    plain = isinstance(node, ast.Call | ast.Subscript | ast.Attribute | ast.IfExp)
    return "number" if plain and around.number else "other"


def numeric(node: ast.expr) -> bool:
    """Return whether an expression by itself shows that it is a number, or an array of them."""
    if literal(node) is not None:
        return True
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub | ast.UAdd)
    if isinstance(node, ast.Call):
        return _last_name(node.func) in _NUMERIC
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, _ARITHMETIC):
        return False
    if isinstance(node.op, ast.Sub | ast.Div | ast.FloorDiv | ast.Pow):
        return True  # the others mean something for texts and lists, too
    return numeric(node.left) or numeric(node.right)


def _last_name(callee: ast.expr) -> str:
    if isinstance(callee, ast.Attribute):
        return callee.attr
    return callee.id if isinstance(callee, ast.Name) else ""


def _inner(node: ast.expr, around: Around) -> Iterator[tuple[ast.expr, Around]]:
    """Yield the parts of an expression that may change, with where they stand."""
    if isinstance(node, ast.Call):
        yield from _arguments(node, around)
    elif isinstance(node, ast.Subscript):
        yield node.value, around
        yield from _index(node.slice, replace(around, whole=True))
    elif isinstance(node, ast.Lambda):
        yield node.body, replace(around, inner=True)
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp):
        yield from _comprehension(node, replace(around, inner=True))
    elif isinstance(node, ast.Dict):
        yield from ((value, around) for value in node.values)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return  # mostly a module's name
    else:
        number = isinstance(node, ast.BinOp) and numeric(node)
        number |= isinstance(node, ast.Compare) and isinstance(node.ops[0], _ORDER)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield child, replace(around, number=number)


def _arguments(node: ast.Call, around: Around) -> Iterator[tuple[ast.expr, Around]]:
    if isinstance(node.func, ast.Attribute) and not isinstance(node.func.value, ast.Name):
        yield node.func.value, around
    counts = _last_name(node.func) in _COUNTING
    for argument in node.args:
        yield argument, replace(around, whole=around.whole or counts)
    for keyword in node.keywords:
        if keyword.arg not in _NAMING:
            yield keyword.value, replace(around, whole=around.whole or counts)


def _index(node: ast.expr, around: Around) -> Iterator[tuple[ast.expr, Around]]:
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    for part in parts:
        bounds = [part.lower, part.upper, part.step] if isinstance(part, ast.Slice) else [part]
        yield from ((bound, around) for bound in bounds if bound is not None)


def _comprehension(
    node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, around: Around
) -> Iterator[tuple[ast.expr, Around]]:
    results = [node.value] if isinstance(node, ast.DictComp) else [node.elt]
    for result in results:
        yield result, around
    for part in node.generators:
        yield part.iter, around
        yield from ((condition, around) for condition in part.ifs)
