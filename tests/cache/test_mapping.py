"""PolicyCache without a policy is what cachetools has under the same name."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import cachetools
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import gnomon
from gnomon.sdk.runtime import RUNTIME
from gnomon.testing import recording

from .common import cache, install, program

KEYS = st.integers(0, 7)
VALUES = st.integers(0, 6)
PEERS: dict[str, Any] = {
    "lru": cachetools.LRUCache,
    "fifo": cachetools.FIFOCache,
    "lfu": cachetools.LFUCache,
}


class _Clock:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class Alike(RuleBasedStateMachine):
    """One cache of each make, the same calls, the same answers."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = _Clock()

    @initialize(
        incumbent=st.sampled_from(sorted(PEERS)),
        maxsize=st.integers(0, 8),
        sized=st.booleans(),
        timed=st.booleans(),
        threadsafe=st.booleans(),
        recorded=st.booleans(),
    )
    def make(
        self,
        incumbent: str,
        maxsize: int,
        sized: bool,
        timed: bool,
        threadsafe: bool,
        recorded: bool,
    ) -> None:
        size = (lambda value: value) if sized else None
        given: dict[str, Any] = {"getsizeof": size, "threadsafe": threadsafe}
        self.context = recording() if recorded else None
        if self.context:
            self.context.__enter__()
        if timed:  # what cachetools times is an LRU
            self.peer: Any = cachetools.TTLCache(maxsize, 3, timer=self.clock, getsizeof=size)
            self.own = cache(maxsize, ttl=3, timer=self.clock, **given)
        else:
            self.peer = PEERS[incumbent](maxsize, getsizeof=size)
            self.own = cache(maxsize, incumbent=incumbent, **given)

    def teardown(self) -> None:
        if getattr(self, "context", None):
            self.context.__exit__(None, None, None)  # type: ignore[union-attr]
        if hasattr(self, "own"):
            self.own.close()

    def both(self, call: Any) -> None:
        answers = []
        for one in (self.peer, self.own):
            try:
                answers.append(("value", call(one)))
            except (KeyError, ValueError) as error:
                text = str(error) if isinstance(error, ValueError) else ""
                answers.append((type(error).__name__, text))
        assert answers[0] == answers[1]

    @rule(key=KEYS)
    def getitem(self, key: int) -> None:
        self.both(lambda one: one[key])

    @rule(key=KEYS)
    def get(self, key: int) -> None:
        self.both(lambda one: one.get(key, "none"))

    @rule(key=KEYS, value=VALUES)
    def setitem(self, key: int, value: int) -> None:
        self.both(lambda one: one.__setitem__(key, value))

    @rule(key=KEYS)
    def delete(self, key: int) -> None:
        self.both(lambda one: one.__delitem__(key))

    @rule(key=KEYS)
    def pop(self, key: int) -> None:
        self.both(lambda one: one.pop(key))
        self.both(lambda one: one.pop(key, "none"))

    @rule()
    def popitem(self) -> None:
        self.both(lambda one: one.popitem())

    @rule(key=KEYS, value=VALUES)
    def setdefault(self, key: int, value: int) -> None:
        self.both(lambda one: one.setdefault(key, value))

    @rule()
    def clear(self) -> None:
        self.both(lambda one: one.clear())

    @rule(key=KEYS)
    def contains(self, key: int) -> None:
        self.both(lambda one: key in one)

    @rule(by=st.integers(1, 2))
    def wait(self, by: int) -> None:
        self.clock.now += by

    @rule()
    def expire(self) -> None:
        if isinstance(self.peer, cachetools.TTLCache):
            self.both(lambda one: sorted(one.expire()))

    @invariant()
    def same_contents(self) -> None:
        if hasattr(self, "own"):
            self.both(set)

    @rule()
    def same_measures(self) -> None:
        self.both(lambda one: (one.maxsize, one.currsize, len(one), dict(one.items())))


Alike.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
test_alike = Alike.TestCase


def test_it_works_under_cached() -> None:
    calls = []

    @cachetools.cached(cache(2), key=cachetools.keys.typedkey, lock=threading.Lock())
    def double(number: int) -> int:
        calls.append(number)
        return 2 * number

    assert [double(n) for n in (1, 2, 1, 3, 2)] == [2, 4, 2, 6, 4]
    assert calls == [1, 2, 3, 2]


def test_a_subclass_may_fetch_what_is_missing() -> None:
    class Squares(gnomon.PolicyCache[int, int]):
        def __missing__(self, key: int) -> int:
            self[key] = value = key * key
            return value

    squares = Squares(2, name="squares")
    assert [squares[3], squares.get(4), squares[3]] == [9, None, 9]
    assert dict(squares.items()) == {3: 9}


def test_a_subclass_may_measure_values() -> None:
    class Texts(gnomon.PolicyCache[int, str]):
        def getsizeof(self, value: str) -> float:
            return len(value)

    texts = Texts(5, name="texts")
    texts[1] = "four"
    texts[2] = "two"
    assert dict(texts) == {2: "two"}
    assert texts.currsize == 3


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_cache_cannot_be_copied(how: Any) -> None:
    with pytest.raises(TypeError, match=r"use dict\(cache\)"):
        how(cache(1))


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"incumbent": "arc"}, "incumbent='arc'.*fifo, lfu, lru"),
        ({"sample": 1.5}, "sample is 1.5"),
    ],
)
def test_mistakes_are_named(given: dict[str, Any], what: str) -> None:
    with pytest.raises(gnomon.ConfigurationError, match=what):
        gnomon.PolicyCache(1, name="wrong", **given)
    assert "wrong" not in RUNTIME.hooks


def test_a_negative_maxsize_is_refused_as_cachetools_does() -> None:
    with pytest.raises(ValueError, match="maxsize must be non-negative"):
        gnomon.PolicyCache(-1, name="wrong")


def test_a_value_that_is_too_large_leaves_the_old_one() -> None:
    own = cache(3, getsizeof=len)
    own["key"] = "ab"
    with pytest.raises(ValueError, match="value too large"):
        own["key"] = "abcd"
    assert own["key"] == "ab"


def test_a_newcomer_may_be_refused_and_setdefault_still_answers() -> None:
    own = cache(2)
    with recording():
        never = program("def score(resident):\n    return resident\n")
        install(own, "full", candidate=never)
        own[1] = own[2] = "kept"
        own[3] = "refused"
        assert set(own) == {1, 2}
        assert own.setdefault(4, "answered") == "answered"
        assert 4 not in own


@pytest.mark.parametrize("source", [None, "hyperbolic"])
def test_threads_share_it(source: str | None) -> None:
    own = cache(50)
    with recording(ring_size=100_000) as records:
        if source:
            install(own, "full", candidate=program(source))
        start = threading.Barrier(4)

        def work(seed: int) -> None:
            start.wait()
            for i in range(2_000):
                key = (i * (seed + 3)) % 97
                if own.get(key) is None:
                    own[key] = key + 1
                elif i % 50 == 0:
                    own.pop(key, None)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(own[key] == key + 1 for key in list(own))
        assert own.currsize == len(own) <= 50
        assert len(records.workload) == own.hook.counters["recorded"] + 1
        assert own.hook.counters["lookups"] >= 8_000
