"""A cache under manifests, kills and faulty policies at random stays a cache: what is in it was put there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

import gnomon
from gnomon.sdk.assignment import Assignment
from gnomon.sdk.config import Settings
from gnomon.sdk.runtime import RUNTIME
from gnomon.testing import FakeClock, Recording

from .common import program, switchback

SOURCES = (
    "def score(resident):\n    return resident\n",
    "def score(recency):\n    return -recency\n",
    "def score(size):\n    return 1.0 / (size - size)\n",
    "def score(noise, frequency):\n    return noise + frequency\n",
)
PROGRAMS = [program(source) for source in SOURCES]
POLICIES = st.sampled_from([None, *PROGRAMS])
SIZE = 5
NOWHERE = Path("/nonexistent-gnomon-state")


class Cache(RuleBasedStateMachine):
    """A cache of numbered values and a dictionary of the last value that each key was given."""

    @initialize(sized=st.booleans())
    def begin(self, sized: bool) -> None:
        self.clock = FakeClock()
        told = Settings(clock=self.clock.clock(), flush_interval_s=600.0, seed=1, state_dir=NOWHERE)
        RUNTIME.configure(told, [Recording()])
        getsizeof = (lambda value: 1 + value % 3) if sized else None
        self.cache: Any = gnomon.PolicyCache(SIZE, name="machine.cache", getsizeof=getsizeof)
        self.given: dict[int, int] = {}
        self.epoch = 0

    def teardown(self) -> None:
        gnomon.unkill()
        self.cache.close()
        RUNTIME.round()
        RUNTIME.shutdown()
        RUNTIME.hooks.pop("machine.cache", None)

    @rule(
        phase=st.sampled_from(["stable", "shadow", "canary", "full", "killed"]),
        candidate=st.sampled_from(PROGRAMS),
        stable=POLICIES,
        again=st.booleans(),
    )
    def install(self, phase: Any, candidate: Any, stable: Any, again: bool) -> None:
        self.epoch += not (again and self.epoch)
        assignment = Assignment(
            epoch=self.epoch, phase=phase, candidate=candidate, candidate_digest="c" * 64,
            stable=stable, stable_digest="s" * 64 if stable else "incumbent",
            switchback=switchback(0.5),
            lease_until_ns=self.clock.monotonic + 10 * 10**9, shadow_rate=0.5,
        )  # fmt: skip
        self.cache.hook.install(assignment)

    @rule()
    def kill(self) -> None:
        gnomon.kill(self.cache, reason="x")

    @rule()
    def unkill(self) -> None:
        gnomon.unkill()

    @rule(seconds=st.sampled_from([0.5, 20.0]))
    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def drain(self) -> None:
        RUNTIME.round()

    @rule(key=st.integers(0, 12), value=st.integers(0, 100))
    def put(self, key: int, value: int) -> None:
        before = self.cache.hook.counters
        self.cache[key] = value
        self.given[key] = value
        after = self.cache.hook.counters
        if gnomon.kills():
            assert key in self.cache, "the incumbents take in whatever fits"
            for name in ("decisions", "shadow_decisions", "faults"):
                assert after[name] == before[name]

    @rule(key=st.integers(0, 12))
    def get(self, key: int) -> None:
        assert self.cache.get(key, -1) in (-1, self.given.get(key, -1))

    @rule(key=st.integers(0, 12))
    def remove(self, key: int) -> None:
        self.cache.pop(key, None)
        self.given.pop(key, None)
        assert key not in self.cache

    @invariant()
    def what_is_in_it_was_put_there(self) -> None:
        if not hasattr(self, "cache"):
            return
        held = {key: self.cache._contents.peek(key) for key in self.cache}
        assert all(self.given.get(key) == value for key, value in held.items())
        assert self.cache.currsize <= SIZE
        counters = self.cache.hook.counters
        assert counters["fallbacks"] == counters["faults"] + counters["violations"]


def test_it_stays_a_cache() -> None:
    run_state_machine_as_test(
        Cache, settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )
