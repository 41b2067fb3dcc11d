"""A scored cell decides as its rules say: beside a plain model that follows them one by one."""

from __future__ import annotations

import random
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gnomon
from gnomon.sdk.cache.cell import MISSING
from gnomon.sdk.cache.scored import ScoredCell
from gnomon.sdk.guard import Guarded, Host, preparer
from gnomon.sdk.language import chooser
from gnomon.sdk.limits import Breaker, Limits
from gnomon.testing import recording

from .common import cache, fetch, install, program

POLICIES = ("sampled_lru", "sampled_lfu", "hyperbolic", "frequency_per_size", "random")
MIXED = (
    "def score(recency, frequency, age, gap, size, resident, since_picked, noise):\n"
    "    return frequency * 3 - recency - age / 7 + gap - size * 2 + since_picked / 5 + noise\n"
)


@dataclass
class Resident:
    key: Any
    size: float
    last: int
    entered: int
    entered_decision: int
    frequency: int = 1
    gap: int = 0


class Model:
    """The rules in plain words; scores by calling the policy's own function."""

    def __init__(self, capacity: float, source: str, seed: int) -> None:
        self.capacity = capacity
        self.score = _function(source)
        self.draw = random.Random(seed)
        self.clock = self.decisions = 0
        self.residents: list[Resident] = []

    def find(self, key: Any) -> Resident | None:
        return next((r for r in self.residents if r.key == key), None)

    def access(self, resident: Resident) -> None:
        resident.gap = self.clock - resident.last
        resident.last = self.clock
        resident.frequency += 1

    def lookup(self, key: Any) -> bool:
        self.clock += 1
        found = self.find(key)
        if found is not None:
            self.access(found)
        return found is not None

    def put(self, key: Any, size: float, completes: bool) -> bool:
        self.clock += not completes
        found = self.find(key)
        others = sum(r.size for r in self.residents if r is not found)
        if found is not None and others + size <= self.capacity:
            self.access(found)
            found.size = size
            return True
        if found is not None:
            self.leave(found)
        if size > self.capacity:
            return False
        while sum(r.size for r in self.residents) + size > self.capacity:
            leaver = self.decide(size)
            if leaver is None:
                return False
            self.leave(leaver)
        self.residents.append(Resident(key, size, self.clock, self.clock, self.decisions))
        return True

    def leave(self, leaver: Resident) -> None:
        """The last resident takes the place of the one that leaves."""
        place = self.residents.index(leaver)
        last = self.residents.pop()
        if last is not leaver:
            self.residents[place] = last

    def decide(self, size: float) -> Resident | None:
        n = len(self.residents)
        asked: list[Resident | None] = [
            self.residents[int(self.draw.random() * n)] for _ in range(16)
        ]
        asked.append(None)
        scores = []
        for item in asked:
            row = self.row(item, size)
            noise = self.draw.random()
            scores.append((self.score(*row, noise), noise))
        self.decisions += 1
        return asked[scores.index(min(scores))]

    def row(self, item: Resident | None, size: float) -> tuple[float, ...]:
        if item is None:
            return (0, 1, 0, 0, size, 0, 1)
        since = max(1, self.decisions - item.entered_decision)
        clock = self.clock
        return (
            clock - item.last, item.frequency, clock - item.entered, item.gap, item.size, 1, since,
        )  # fmt: skip


def _function(source: str) -> Any:
    """Return the policy as plain Python over all inputs, floats as the host gives them."""
    space: dict[str, Any] = {}
    exec(source, space)  # noqa: S102 - the tests' own text
    wanted = space["score"].__code__.co_varnames[: space["score"].__code__.co_argcount]
    names = gnomon.cache.input_names

    def score(*values: float) -> float:
        given = dict(zip(names, map(float, values), strict=True))
        return float(space["score"](*(given[name] for name in wanted)))

    return score


def cell(capacity: float, source: str, seed: int) -> ScoredCell:
    made = ScoredCell(capacity, 16, random.Random(seed))
    host = Host(preparer(gnomon.cache), made.generator.random, lambda: 0, Limits(), lambda: None)
    choose = chooser(program(source), gnomon.cache)
    breaker = Breaker(Limits(), lambda reason: None)
    made.ask = Guarded(choose, gnomon.cache, (), host, breaker).ask
    return made


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["fetch", "fetch", "fetch", "lookup", "put", "remove"]),
        st.integers(0, 20),
        st.integers(0, 5),
    ),
    max_size=150,
)


@given(
    actions=ACTIONS,
    capacity=st.integers(1, 14),
    source=st.sampled_from([*POLICIES, MIXED]),
    seed=st.integers(0, 99),
)
def test_every_decision_is_the_models(
    actions: list[tuple[str, int, int]], capacity: int, source: str, seed: int
) -> None:
    baseline = gnomon.cache.baselines.get(source)
    text = baseline.source if baseline else source
    assert text is not None
    own, model = cell(capacity, source, seed), Model(capacity, text, seed)
    for action, key, size in actions:
        if action in ("fetch", "lookup"):
            hit = own.lookup(key) is not MISSING
            assert hit == model.lookup(key)
            if action == "fetch" and not hit:
                assert own.put(key, "v", size, True) == model.put(key, size, True)
        elif action == "put":
            assert own.put(key, "v", size) == model.put(key, size, False)
        else:
            own.remove(key)
            found = model.find(key)
            if found is not None:
                model.leave(found)
        assert list(own) == [r.key for r in model.residents]
        assert own.held == sum(r.size for r in model.residents) <= capacity
    assert own.decisions == model.decisions
    assert own.generator.random() == model.draw.random()


def test_the_mapping_asks_as_the_cell_does() -> None:
    """A lookup and the insertion that follows it are one access, through the mapping too."""
    with recording(seed=5):
        own = cache(8)
        install(own, "full", candidate=program(MIXED))
        own.get("first")  # takes the assignment up
        inner: Any = own._contents.main.cell
        model = Model(8, MIXED, 0)
        model.draw.setstate(inner.generator.getstate())
        model.clock = 1
        draw = random.Random(1)
        for _ in range(600):
            key = int(draw.paretovariate(0.7)) % 40
            hit = fetch(own, key)
            assert hit == model.lookup(key)
            if not hit:
                model.put(key, 1, True)
            if draw.random() < 0.1:
                other = draw.randrange(40)
                own[other] = "put"
                model.put(other, 1, False)
        assert list(own) == [r.key for r in model.residents]
        assert own.hook.counters["decisions"] == model.decisions > 100


def test_an_object_larger_than_the_cell_asks_nothing() -> None:
    own = cell(4, "sampled_lru", 0)
    assert own.put("fits", 1, 4)
    assert not own.put("large", 1, 5)
    assert "fits" in own
    assert own.decisions == 0
    assert not own.put("fits", 2, 5)  # what it was is over
    assert "fits" not in own


@pytest.mark.parametrize(
    ("choose", "counter"),
    [
        (lambda rows: 1 / 0, "faults"),
        (lambda rows: 17, "faults"),
        (lambda rows: None, "faults"),
    ],
)
def test_without_an_answer_the_least_recently_used_of_the_sample_leaves(
    choose: Any, counter: str
) -> None:
    with recording(limits=Limits(faults=1_000, window=1_000)):
        own = cache(4)
        own.hook._choosers = {}
        own.hook.chooser = lambda program: choose  # type: ignore[method-assign]
        install(own, "full", candidate=SimpleNamespace(inputs=()))
        for key in range(4):
            own[key] = key
        for _ in range(60):  # the sample of 16 of 4 misses one of them once in a hundred times
            own[0] = 0
        own["new"] = "admitted"
        assert {0, "new"} <= set(own)
        assert own.hook.counters[counter] == own.hook.counters["fallbacks"] == 1


def test_a_size_out_of_range_is_not_the_programs_fault() -> None:
    with recording(limits=Limits(faults=1)):
        own = cache(2.0**60, getsizeof=lambda value: value)
        install(own, "full", candidate=program("sampled_lru"))
        own[1] = own[2] = 2.0**59
        own[3] = 2.0**59
        assert own.hook.counters["unasked"] == 1
        assert own.hook.breaker == ""
        assert 3 in own
