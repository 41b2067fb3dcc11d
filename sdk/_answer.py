"""A program in the policy language and the checks around it, as one function of one call's items.

Asking a program in steps (rows, ranges, host features, scores, invariants) costs ten times the steps
themselves. The generated function does them one item after the other, without a loop, by the one
lowering that every tier runs. Whatever is not plainly right (another number of items, a value out of
range, a fault, a broken invariant, an exception) starts anew in the steps of
:class:`~gnomon.sdk.guard.Guarded`, which find out what it was. For one item in ``load_balancer`` and the
score ``(inflight + 1.0) * ewma_ms`` it reads:

    def _answer(_items, _members, _number):
     _begin = 0 if _number & 63 else _clock()
     try:
      _item0, = _items
      inflight, ewma_ms, weight, = _item0.inflight, _item0.ewma_ms, _item0.weight
      if _type(inflight) is not _float: inflight = _float(inflight)
      ...
      _value = (inflight + 1.0) * ewma_ms
      ...
     if _begin: ...
     return _picked, "", _seen, -1
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from types import CodeType
from typing import TYPE_CHECKING, Any

from ._inline import inlined
from .guard import Guarded, Verdict
from .invariant import Invariant
from .kind import NOISE, SINCE_PICKED, Feature, Kind
from .language._choose import better, scoring, sign
from .language._runtime import namespace

if TYPE_CHECKING:
    from .language import Program
    from .members import Members

Answer = Callable[[Any, "Members", int], Verdict]
#: Items, and items times nodes of the policy, up to which a function is written out; more are answered in
#: steps. Compiling holds the interpreter for about ten microseconds a node.
_WRITTEN, _WEIGHT = 32, 1_000
#: Prefix of the names in the service's expressions; a policy can have none with two underscores in a row.
_OURS = "__"
#: Of a short score, so many answers go unmeasured for each that is; a power of two less one.
_UNTIMED = 63
#: Fuel above which a score's own bound does not keep its answers far below the budget of time.
_SHORT = 400
#: What a row holds beside the kind's own features: what the host adds only where it matters, for
#: memory that a record keeps costs as much as computing it. The drainer adds the rest.
_FULL, _DRAWN, _LEAN = "since_picked and noise", "noise", "nothing"
_AGAIN = "return _slow(_items, _members, _number)"


class Steps:
    """Answers every call in steps.

    Args:
        slow: does so.
    """

    tracks = True

    def __init__(self, slow: Answer) -> None:
        self._slow = slow

    def ready(self, items: int) -> Answer:
        """Return what answers a call with so many items."""
        return self._slow

    def of(self, items: int) -> Answer:
        """Return the same."""
        return self._slow


class Answering(Steps):
    """Makes what answers one call: (items, their members, the decision's number) to a verdict.

    Args:
        guarded: the program behind its guard.
        program: the same, checked for the kind's inputs.
        kind: of the hook.
        features: one item to the kind's own features, as the service gives them.
        slow: does the same in steps; may raise what the service's own functions raise.
        whole: whether rows hold all of the host's features in any case.
    """

    def __init__(
        self,
        guarded: Guarded,
        program: Program,
        kind: Kind,
        features: Callable[[Any], Any],
        slow: Answer,
        whole: bool = False,
    ) -> None:
        super().__init__(slow)
        self._guarded = guarded
        self._kind = kind
        self._features = features
        self._long = program.fuel_bound > _SHORT
        self._nodes = program.nodes
        self._name = f"<answer {program.source_digest[:12]}>"
        self._before, self._score = scoring(program, _AGAIN)
        self._written: dict[int, Answer] = {}
        self._space = self._names()
        self._checks, read = _checks(guarded.invariants, kind, self._space)
        self.tracks = whole or bool({SINCE_PICKED.name, NOISE.name} & (read | {*program.arguments}))

    def ready(self, items: int) -> Answer:
        """Return what answers a call with so many items, if it was made before and nothing was slow."""
        if self._guarded.breaker.watched > 0:
            return self._slow
        return self._written.get(items, self._slow)

    def of(self, items: int) -> Answer:
        """Return what answers a call with so many items; the first time, it is made."""
        if not 0 < items <= _WRITTEN or items * self._nodes > _WEIGHT:
            return self._slow
        if items not in self._written:
            tied = self._compiled(items, _FULL if self.tracks else _DRAWN, self._slow)
            self._written[items] = tied if self.tracks else self._compiled(items, _LEAN, tied)
        return self._written[items]

    def _compiled(self, items: int, form: str, tied: Answer) -> Answer:
        space = {**self._space, "_tied": tied}
        text = self._before + self._text(items, form)
        exec(_code(text, self._name), space)  # noqa: S102 - our own text
        answer: Answer = space["_answer"]
        return answer

    def _names(self) -> dict[str, Any]:
        found = inlined(self._features, ("_item",), _OURS)
        return namespace() | {
            "_features": self._features,
            "_slow": self._slow,
            "_guarded": self._guarded,
            "_clock": self._guarded.host.monotonic_ns,
            "_draw": self._guarded.host.draw,
            "_float": float,
            "_type": type,
            "_Exception": Exception,
            **(found.space if found is not None else {}),
        }

    def _text(self, items: int, form: str) -> str:
        names = [f"_item{i}" for i in range(items)]
        lines = [f"{', '.join(names)}, = _items"]
        # A score that is called takes them all the same.
        lines.append("_last = _members.last" if form == _FULL else "since_picked = 1.0")
        lines += ["noise = 0.0"] if form == _LEAN else []
        for i in range(items):
            lines += self._item(i, form)
        lines.append(f"_seen = {', '.join(f'_row{i}' for i in range(items))},")
        body = "".join(f"  {line}\n" for line in [*lines, *self._checks])
        timed = "_clock()" if self._long else f"0 if _number & {_UNTIMED} else _clock()"
        stands_for = "" if self._long else f", {_UNTIMED + 1}"
        return f"""\
def _answer(_items, _members, _number):
 _begin = {timed}
 try:
{body}\
 except _Exception:
  {_AGAIN}
 if _begin:
  _spent = _clock() - _begin
  _guarded.took(_begin, _spent, _number{stands_for})
  return _picked, "", _seen, _spent
 return _picked, "", _seen, -1
"""

    def _item(self, i: int, form: str) -> Iterator[str]:
        """Yield statements that read one item, keep what was seen, score it, and keep the best."""
        yield from self._read(f"_item{i}")
        seen = [feature.name for feature in self._kind.features]
        if form == _FULL:
            yield f"since_picked = _number - _last[{i}] + 0.0"
            yield "if since_picked < 1.0: since_picked = 1.0"
            seen.append(SINCE_PICKED.name)
        if form != _LEAN:
            yield "noise = _draw()"
            seen.append(NOISE.name)
        yield f"_row{i} = ({''.join(f'{name}, ' for name in seen)})"
        yield from self._score
        kept = f"_best = _value; _picked = {i}; _row = _row{i}"
        if form == _LEAN:
            yield f"if _value {sign(self._kind)} _best: {kept}" if i else kept
            yield "elif _value == _best: return _tied(_items, _members, _number)" if i else "pass"
        else:
            yield f"if {better(self._kind)}: {kept}; _tie = noise" if i else f"{kept}; _tie = noise"

    def _read(self, item: str) -> Iterator[str]:
        """Yield statements that leave an item's own features in their names, as floats in their ranges."""
        names = [feature.name for feature in self._kind.features]
        found = inlined(self._features, (item,), _OURS)
        if names:
            yield f"{', '.join(names)}, = {f'_features({item})' if found is None else found.text}"
        for name in names:
            yield f"if _type({name}) is not _float: {name} = _float({name})"
        # Each comparison before a jump of its own: CPython has a fast instruction for those of floats.
        for feature in self._kind.features:
            yield f"if {' and '.join(_inside(feature))}: pass"
            yield f"else: {_AGAIN}"


@lru_cache(maxsize=256)
def _code(text: str, name: str) -> CodeType:
    """Return compiled text; a lease that is renewed asks for the same again."""
    return compile(text, name, "exec")


def _inside(feature: Feature) -> Iterator[str]:
    if (
        feature.low > -math.inf or feature.high == math.inf
    ):  # of the second, to refuse what is no number
        yield f"{feature.name} >= {_literal(feature.low)}"
    if feature.high < math.inf:
        yield f"{feature.name} <= {_literal(feature.high)}"


def _literal(bound: float) -> str:
    return repr(float(bound)).replace("inf", "1e999")


def _checks(
    invariants: Sequence[Invariant], kind: Kind, space: dict[str, Any]
) -> tuple[list[str], set[str]]:
    """Return statements that test the pick, and the features that they read; what they name goes into the space."""
    called: list[Invariant] = []
    read: set[str] = set()
    tests: list[str] = []
    for number, rule in enumerate(invariants):
        found = _inline_check(rule, kind, f"{_OURS}{number}_")
        if found is None:
            called.append(rule)
            continue
        text, used, names = found
        space |= names
        read |= used
        tests.append(f"if not ({text}): {_AGAIN}")
    columns = {name: kind.input_names.index(name) for name in sorted(read)}
    lines = [f"_picked_{name} = _row[{column}]" for name, column in columns.items()] + tests
    if called:
        space |= {"_make": partial(tuple.__new__, kind.item_type), "_map": map}
        lines.append("_all = [*_map(_make, _seen)]")
        read |= {*kind.input_names}
    for number, rule in enumerate(called):
        space[f"_holds{number}"] = rule.holds
        lines.append(f"if not _holds{number}(_all, _all[_picked]): {_AGAIN}")
    return lines, read


def _inline_check(
    rule: Invariant, kind: Kind, prefix: str
) -> tuple[str, set[str], dict[str, Any]] | None:
    """Return a predicate over the pick's features alone as text, which of them it reads, and its names."""
    found = inlined(rule.holds, ("_all", "_one"), prefix)
    if found is None:
        return None
    reading = _Reading(kind)
    whole = ast.parse(found.text, mode="eval").body
    match whole:
        case ast.Call(func=ast.Name(id=name), args=[ast.expr() as tested], keywords=[]):
            # It is tested for truth anyway.
            whole = tested if name == f"{prefix}bool" else whole
    tree = reading.visit(whole)
    if reading.more:
        return None
    return ast.unparse(tree), reading.used, dict(found.space)


class _Reading(ast.NodeTransformer):
    """Turns features of the pick into plain names; notes where anything else is read of the items."""

    def __init__(self, kind: Kind) -> None:
        self.used: set[str] = set()
        self.more = False
        self._names = kind.input_names

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Replace ``picked.feature`` by the name of that feature's value."""
        own = isinstance(node.value, ast.Name) and node.value.id == "_one"
        if own and node.attr in self._names:
            self.used.add(node.attr)
            return ast.Name(f"_picked_{node.attr}", ast.Load())
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Note a use of the items, or of the pick as a whole."""
        self.more |= node.id in ("_all", "_one")
        return node
