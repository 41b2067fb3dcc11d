"""Which cell holds which key, and how objects change cells without anybody waiting for it.

When the routing changes nothing is moved at once. A lookup that misses its cell looks into the cells
that may still hold the key; what it finds moves over and is a hit. What nobody asks for leaves first
when room is needed, so that all cells together never hold more than the cache may.

In a canary a share of the keys, by hash, is the candidate's: real objects under its policy. Beside that
cell a ghost, keys only, runs the stable policy on the same lookups with the same capacity; both begin
empty, see the same accesses in the same order and take moved objects in alike, so that equal policies
give equal counts. In live shadow it is the candidate that has the ghost, beside the stable cell.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from ..assignment import Switchback
from .blocks import Blocks
from .cell import MISSING, Cell
from .ordered import INCUMBENTS
from .scored import Ask, ScoredCell
from .timed import TimedCell

#: A share of keys is compared with so many bits of their hash.
_BITS = 20
_SALT = "gnomon cell"  # keeps a share apart from whatever else the service does with hashes
#: Missed lookups that may wait for their insertion; an older one's counts as an access of its own.
_PENDING = 1 << 16
#: CPU time of live shadow: a burst, and then this share of all time.
_BURST_NS = 2_000_000
_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Rule:
    """What governs a cell.

    Attributes:
        program: compared by identity; None for the incumbent.
        ready: generator of a cell to what its program is asked through; None for the incumbent.
    """

    program: Any = None
    ready: Callable[[random.Random], Ask] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Who governs what from now on.

    Attributes:
        main: of all keys, or of those outside the share.
        side: of the share, in a canary.
        beside: of the ghost: the stable arm in a canary, the candidate in live shadow.
        share: of keys, 0 to 1.
        switchback: blocks to count lookups in; None counts none.
        lease_ns: monotonic time at which this plan ends; 0 for never.
        fell_back: whether another policy stands in for the candidate's.
    """

    main: Rule = Rule()
    side: Rule | None = None
    beside: Rule | None = None
    share: float = 0.0
    switchback: Switchback | None = None
    lease_ns: int = 0
    fell_back: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """What all cells of a cache have in common.

    Attributes:
        maxsize: most that is held.
        sized: whether sizes differ.
        incumbent: name of the policy in the service's own source.
        sample: residents that a decision looks at.
        ttl: time that an object has; None for ever.
        timer: what the time is.
        ended: called with the key of a real object whose time was over.
    """

    maxsize: float
    sized: bool
    incumbent: str
    sample: int
    ttl: Any
    timer: Callable[[], Any]
    ended: Callable[[Hashable], object]

    def cell(self, capacity: float, rule: Rule, seed: int, ghost: bool = False) -> Cell:
        """Return an empty cell under a rule."""
        inner: Cell
        if rule.ready is None:
            inner = INCUMBENTS[self.incumbent](capacity, self.sized)
        else:
            scored = ScoredCell(capacity, self.sample, random.Random(seed))
            scored.ask = rule.ready(scored.generator)
            inner = scored
        if self.ttl is None:
            return inner
        timed = TimedCell(inner, self.ttl, self.timer)
        timed.ended = None if ghost else self.ended
        return timed


@dataclass(slots=True)
class Governed:
    """A cell and its rule."""

    cell: Cell
    rule: Rule

    def renew(self, rule: Rule) -> Governed:
        """Ask through another guard of the same program."""
        self.rule = rule
        inner = self.cell.inner if isinstance(self.cell, TimedCell) else self.cell
        if isinstance(inner, ScoredCell) and rule.ready is not None:
            inner.ask = rule.ready(inner.generator)
        return self


class Contents:
    """All objects of a cache, wherever they lie.

    Args:
        shape: what the cells have in common.
        seeds: of the cells' draws.
        monotonic_ns: for leases and budgets.
        blocks: counts lookups in a canary.
        counts: takes ``shadow_diverged`` and ``shadow_shed``.
        ended: called when the plan's lease has run out; gives another plan.

    Attributes:
        main: holds every key outside the share.
        pending: keys that were missed and not put since, oldest first.
    """

    def __init__(
        self,
        shape: Shape,
        seeds: random.Random,
        monotonic_ns: Callable[[], int],
        blocks: Blocks,
        counts: Counter[str],
        ended: Callable[[], object],
    ) -> None:
        self._shape = shape
        self._seeds = seeds
        self._monotonic_ns = monotonic_ns
        self._blocks = blocks
        self._counts = counts
        self._ended = ended
        self._plan = Plan()
        self._limit = 0
        self.pending: dict[Any, None] = {}
        self._retiring: list[Governed] = []
        self._side: Governed | None = None
        self._ghost: Governed | None = None
        self._begun_ns = monotonic_ns()
        self._spent_ns = 0
        self.main = Governed(shape.cell(shape.maxsize, Rule(), 0), Rule())

    # --- who governs --------------------------------------------------------------------------

    @property
    def simple(self) -> bool:
        """Whether the main cell alone, under the incumbent, is all there is."""
        alone = not self._retiring and self._side is None and self._ghost is None
        return alone and self.main.rule.program is None and self._plan.switchback is None

    def serve(self, monotonic_ns: Callable[[], int], blocks: Blocks, counts: Counter[str]) -> None:
        """Count into these from now on."""
        if counts is not self._counts:  # switched on anew, perhaps with another clock
            self._begun_ns, self._spent_ns = monotonic_ns(), 0
        self._monotonic_ns, self._blocks, self._counts = monotonic_ns, blocks, counts

    def follow(self, plan: Plan) -> None:
        """Run on another plan; objects stay where they are until they are asked for."""
        held = [self.main, *([self._side] if self._side else []), *self._retiring]
        kept = self._keeps(plan)
        self.main = next(
            (g.renew(plan.main) for g in held if g.rule.program is plan.main.program),
            None,
        ) or self._fresh(plan.main, self._shape.maxsize, self._seeds.getrandbits(64))
        if kept and self._side is not self.main:
            self._continue(plan)
        else:
            self._begin(plan)
        self._retiring = [
            g for g in held if g is not self.main and g is not self._side and len(g.cell)
        ]
        self._plan, self._limit = plan, round(plan.share * (1 << _BITS))
        self._blocks.follow(plan.switchback)
        self._widen()

    def _keeps(self, plan: Plan) -> bool:
        """Return whether share and ghost go on: the same programs, and no key that changes back."""
        before = self._plan
        same = before.beside is not None and plan.beside is not None
        return (
            same
            and _program(before.beside) is _program(plan.beside)
            and (before.side is None) == (plan.side is None)
            and _program(before.side) is _program(plan.side)
            and plan.share >= before.share
        )

    def _continue(self, plan: Plan) -> None:
        for governed, rule in ((self._side, plan.side), (self._ghost, plan.beside)):
            if governed is not None and rule is not None:
                governed.renew(rule).cell.capacity = plan.share * self._shape.maxsize

    def _begin(self, plan: Plan) -> None:
        capacity, seed = plan.share * self._shape.maxsize, self._seeds.getrandbits(64)
        # One seed for both: where the policies are equal, so are their draws.
        self._side = self._fresh(plan.side, capacity, seed) if plan.side else None
        self._ghost = self._fresh(plan.beside, capacity, seed, ghost=True) if plan.beside else None

    def _fresh(self, rule: Rule, capacity: float, seed: int, ghost: bool = False) -> Governed:
        return Governed(self._shape.cell(capacity, rule, seed, ghost), rule)

    # --- accesses -----------------------------------------------------------------------------

    def lookup(self, key: Hashable) -> Any:
        """Return the value and count an access, or MISSING."""
        inside, to = self._route(key)
        value = to.lookup(key)
        size, deadline, moved = 0.0, None, False
        if value is MISSING:
            value, size, deadline = self._moved(key, to)
            moved = value is not MISSING
            if not moved:
                self.await_put(key)
        elif inside:
            size = to.size_of(key)
        if inside and self._ghost is not None:
            self._beside(key, value, size, deadline, moved)
        elif self._plan.switchback is not None and self._plan.side is None:
            self._blocks.lookup(value is MISSING, None, self._plan.fell_back)
        return value

    def put(self, key: Hashable, value: Any, size: float, completes: bool = False) -> bool:
        """Take an object in, or give it another value, and return whether it is held now."""
        inside, to = self._route(key)
        completes = self.pending.pop(key, self) is None
        self._lapse()
        for governed in self._others(to):
            governed.cell.remove(key)
        kept = to.put(key, value, size, completes)
        self._settle()
        if inside and self._ghost is not None:
            self._put_beside(self._ghost.cell, key, size, completes)
        return kept

    def remove(self, key: Hashable) -> Any:
        """Remove an object wherever it lies and return its value, or MISSING."""
        found: Any = MISSING
        for governed in self._all():
            value = governed.cell.remove(key)
            found = value if found is MISSING else found
        if self._ghost is not None:
            self._ghost.cell.remove(key)
        return found

    def shed(self) -> tuple[Any, Any]:
        """Remove the next object to go and return key and value; KeyError when there is none."""
        for governed in (*self._retiring, self.main, *([self._side] if self._side else [])):
            if len(governed.cell):
                return governed.cell.shed()
        raise KeyError("nothing is held")

    def clear(self) -> None:
        """Remove everything."""
        for governed in self._all():
            governed.cell.clear()
        if self._ghost is not None:
            self._ghost.cell.clear()
        self.pending.clear()
        self._settle()

    def mend(self) -> None:
        """Be consistent again after an operation that an exception cut off."""
        for governed in (*self._all(), *([self._ghost] if self._ghost else [])):
            governed.cell.mend()
        self._settle()

    def expire(self, now: Any = None) -> list[tuple[Any, Any]]:
        """Remove what is over and return it."""
        if self._shape.ttl is None:
            return []
        now = self._shape.timer() if now is None else now
        if self._ghost is not None and isinstance(self._ghost.cell, TimedCell):
            self._ghost.cell.expire(now)  # in the same order as the cell beside it
        return [
            pair
            for governed in self._all()
            if isinstance(governed.cell, TimedCell)
            for pair in governed.cell.expire(now)
        ]

    def _lapse(self) -> None:
        """Let go of all that is over before anything else has to make room."""
        if self._shape.ttl is not None:
            self.expire()

    def peek(self, key: Hashable) -> Any:
        """Return the value without an access, or MISSING."""
        found = (governed.cell.peek(key) for governed in self._all())
        return next((value for value in found if value is not MISSING), MISSING)

    def size_of(self, key: Hashable) -> float:
        """Return the size of an object; 0 when none is held."""
        return next((g.cell.size_of(key) for g in self._all() if key in g.cell), 0)

    @property
    def held(self) -> float:
        """Sum of the sizes of all real objects."""
        return sum(governed.cell.held for governed in self._all())

    def __contains__(self, key: object) -> bool:
        return any(key in governed.cell for governed in self._all())

    def __len__(self) -> int:
        return sum(len(governed.cell) for governed in self._all())

    def __iter__(self) -> Iterator[Any]:
        return (key for governed in self._all() for key in governed.cell)

    # --- moving -------------------------------------------------------------------------------

    def _all(self) -> list[Governed]:
        side = [self._side] if self._side is not None else []
        return [self.main, *side, *self._retiring]

    def _others(self, to: Cell) -> list[Governed]:
        return [governed for governed in self._all() if governed.cell is not to]

    def _route(self, key: Hashable) -> tuple[bool, Cell]:
        if self._plan.lease_ns and self._monotonic_ns() >= self._plan.lease_ns:
            self._ended()
        inside = self._limit > 0 and hash((_SALT, key)) & ((1 << _BITS) - 1) < self._limit
        return inside, self._side.cell if inside and self._side is not None else self.main.cell

    def _moved(self, key: Hashable, to: Cell) -> tuple[Any, float, Any]:
        """Have a cell take over an object that another still holds; return (value, size, deadline)."""
        for governed in self._others(to):
            value = governed.cell.peek(key)
            if value is not MISSING:
                size, deadline = governed.cell.size_of(key), _deadline(governed.cell, key)
                governed.cell.remove(key)
                self._lapse()
                self._widen()
                _adopt(to, key, value, size, deadline)
                self._settle()
                return value, size, deadline
        return MISSING, 0.0, None

    def await_put(self, key: Hashable) -> None:
        """Note that a lookup missed; the next insertion of its key belongs to it."""
        self.pending[key] = None
        if len(self.pending) > _PENDING:
            del self.pending[next(iter(self.pending))]

    def _widen(self) -> None:
        """Let the main cell have what the share does not use yet."""
        side = self._side.cell.held if self._side is not None else 0
        self.main.cell.capacity = self._shape.maxsize - side

    def _settle(self) -> None:
        """Hold no more than the cache may; what no key is routed to goes first."""
        self._retiring = [g for g in self._retiring if len(g.cell)] if self._retiring else []
        while self._retiring and self.held > self._shape.maxsize:
            self._retiring[0].cell.shed()
            self._retiring = [g for g in self._retiring if len(g.cell)]
        while self.held > self._shape.maxsize and len(self.main.cell):
            self.main.cell.shed()
        self._widen()

    # --- beside -------------------------------------------------------------------------------

    def _beside(self, key: Hashable, value: Any, size: float, deadline: Any, moved: bool) -> None:
        """Let the ghost see a lookup; what the service found it is given, as a fetch would have done."""
        assert self._ghost is not None
        ghost, hit = self._ghost.cell, value is not MISSING
        shadow = self._side is None
        if shadow and self._spent():
            return
        begin = self._monotonic_ns() if shadow else 0
        found = ghost.lookup(key) is not MISSING
        if hit and not found and moved:
            _adopt(ghost, key, None, size, deadline)
        elif hit and not found:
            ghost.put(key, None, size, True)  # with all of its time, as a fetch would have it
        if shadow:
            self._counts["shadow_diverged"] += found != hit
            self._spent_ns += self._monotonic_ns() - begin
        else:
            self._blocks.lookup(not hit, not (found or moved), self._plan.fell_back)

    def _put_beside(self, ghost: Cell, key: Hashable, size: float, completes: bool) -> None:
        """Let the ghost see an insertion; one that had the object would not have been given it again."""
        if completes and key in ghost:
            return
        if self._side is not None:
            ghost.put(key, None, size, completes)
        elif not self._spent():
            begin = self._monotonic_ns()
            ghost.put(key, None, size, completes)
            self._spent_ns += self._monotonic_ns() - begin

    def _spent(self) -> bool:
        """Return whether live shadow has used up its time; it sheds before the service notices."""
        allowed = _BURST_NS + _SHARE * (self._monotonic_ns() - self._begun_ns)
        if self._spent_ns < allowed:
            return False
        self._counts["shadow_shed"] += 1
        return True


def _program(rule: Rule | None) -> Any:
    return rule.program if rule is not None else None


def _deadline(cell: Cell, key: Hashable) -> Any:
    return cell.deadline(key) if isinstance(cell, TimedCell) else None


def _adopt(cell: Cell, key: Hashable, value: Any, size: float, deadline: Any) -> None:
    if isinstance(cell, TimedCell):
        cell.adopt(key, value, size, deadline)
    else:
        cell.put(key, value, size, True)
