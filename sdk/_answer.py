"""A program in the policy language and the checks around it, as one function of one call's items.

Asking a program in steps (rows, ranges, host features, scores, invariants) costs ten times the steps
themselves. The generated function does them in one loop, by the one lowering that every tier runs.
Whatever is not plainly right (a value out of range, a fault, a broken invariant, an exception) starts
anew in the steps of :class:`~gnomon.sdk.guard.Guarded`, which find out what it was. For items in
``load_balancer`` and the score ``(inflight + 1.0) * ewma_ms`` it reads:

    def _answer(_items, _members, _number):
     _timed = _breaker.watched > 0 or not _number & 63
     _begin = _clock() if _timed else 0
     try:
      _seen = []
      ...
      for _item in _items:
       _index += 1
       inflight, ewma_ms, weight = _item.inflight, _item.ewma_ms, _item.weight
       ...
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ._inline import Inlined, inlined
from .guard import Guarded, Verdict
from .invariant import Invariant
from .kind import Feature, Kind
from .language._choose import keeping, scoring
from .language._runtime import namespace

if TYPE_CHECKING:
    from .language import Program
    from .members import Members

Slow = Callable[[Any, "Members", int], Verdict]
#: Fuel above which a score's own bound does not keep its answers far below the budget of time.
_SHORT = 400
_AGAIN = "return _slow(_items, _members, _number)"


def answering(
    guarded: Guarded, program: Program, kind: Kind, features: Callable[[Any], Any], slow: Slow
) -> Callable[[Any, Members, int], Verdict]:
    """Return what answers one call: (items, their members, the decision's number) to a verdict.

    Args:
        guarded: the program behind its guard.
        program: the same, checked for the kind's inputs.
        kind: of the hook.
        features: one item to the kind's own features, as the service gives them.
        slow: does the same in steps; may raise what the service's own functions raise.
    """
    before, body = scoring(program, _AGAIN)
    reading = inlined(features, ("_item",), "_f_")
    space: dict[str, Any] = namespace() | {
        "_features": features,
        "_slow": slow,
        "_guarded": guarded,
        "_breaker": guarded.breaker,
        "_clock": guarded.host.monotonic_ns,
        "_draw": guarded.host.draw,
        "_float": float,
        "_type": type,
        "_Exception": Exception,
        **(reading.space if reading is not None else {}),
    }
    checks = list(_checks(guarded.invariants, kind, space))
    lines = [*_read(kind, reading), *_host(kind), *body, *keeping(kind)]
    text = before + _text(lines, checks, program.fuel_bound > _SHORT)
    exec(compile(text, f"<answer {program.source_digest[:12]}>", "exec"), space)  # noqa: S102 - our own text
    answer: Callable[[Any, Members, int], Verdict] = space["_answer"]
    return answer


def _text(lines: Sequence[str], checks: Sequence[str], long: bool) -> str:
    loop = "".join(f"   {line}\n" for line in lines)
    after = "".join(f"  {line}\n" for line in checks)
    timed = "True" if long else "_breaker.watched > 0 or not _number & 63"
    return f"""\
def _answer(_items, _members, _number):
 _timed = {timed}
 _begin = _clock() if _timed else 0
 try:
  _seen = []
  _last = _members.last
  _index = _picked = -1
  for _item in _items:
   _index += 1
{loop}\
  if _picked < 0:
   {_AGAIN}
{after}\
 except _Exception:
  {_AGAIN}
 _breaker.answers += 1
 if not _timed:
  return _picked, "", _seen, -1
 _breaker.watched -= 1
 _spent = _clock() - _begin
 _guarded.took(_spent, _breaker.answers - 1)
 return _picked, "", _seen, _spent
"""


def _read(kind: Kind, reading: Inlined | None) -> Iterator[str]:
    """Yield statements that leave an item's own features in their names, as floats in their ranges."""
    names = [feature.name for feature in kind.features]
    if names:
        value = "_features(_item)" if reading is None else reading.text
        yield f"{', '.join(names)}, = {value}"
    for name in names:
        yield f"if _type({name}) is not _float: {name} = _float({name})"
    # Each comparison before a jump of its own: CPython has a fast instruction for those of floats.
    for feature in kind.features:
        yield f"if {' or '.join(_outside(feature))}: {_AGAIN}"


def _outside(feature: Feature) -> Iterator[str]:
    name = feature.name
    if feature.low > -math.inf:
        yield f"{name} < {float(feature.low)!r}"
    if feature.high < math.inf:
        yield f"{name} > {float(feature.high)!r}"
    yield f"{name} != {name}"  # not a number


def _host(kind: Kind) -> Iterator[str]:
    yield "since_picked = _number - _last[_index] + 0.0"
    yield "if since_picked < 1.0: since_picked = 1.0"
    yield "noise = _draw()"
    yield f"_seen.append(({', '.join(kind.input_names)}))"


def _checks(invariants: Sequence[Invariant], kind: Kind, space: dict[str, Any]) -> Iterator[str]:
    """Yield statements that test the pick, and put what they name into the space."""
    called: list[Invariant] = []
    read: set[str] = set()
    tests: list[str] = []
    for number, rule in enumerate(invariants):
        found = _inline_check(rule, kind, f"_i{number}_")
        if found is None:
            called.append(rule)
            continue
        text, used, names = found
        space |= names
        read |= used
        tests.append(f"if not ({text}): {_AGAIN}")
    if read:
        yield "_row = _seen[_picked]"
    for name in sorted(read):
        yield f"_picked_{name} = _row[{kind.input_names.index(name)}]"
    yield from tests
    if called:
        space |= {"_make": kind.item_type._make, "_map": map}
        yield "_all = [*_map(_make, _seen)]"
    for number, rule in enumerate(called):
        space[f"_holds{number}"] = rule.holds
        yield f"if not _holds{number}(_all, _all[_picked]): {_AGAIN}"


def _inline_check(
    rule: Invariant, kind: Kind, prefix: str
) -> tuple[str, set[str], dict[str, Any]] | None:
    """Return a predicate over the pick's features alone as text, which of them it reads, and its names."""
    found = inlined(rule.holds, ("_all", "_one"), prefix)
    if found is None:
        return None
    reading = _Reading(kind)
    tree = reading.visit(ast.parse(found.text, mode="eval"))
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
