"""How your own tests look at a hook: what it records, what a policy may do, what time does to it.

pytest examples/testing_your_hook.py
"""

from __future__ import annotations

from dataclasses import dataclass

import gnomon
from gnomon import testing


@dataclass
class Replica:
    queued: int
    average_ms: float


@gnomon.hook(
    "replicas.pick",
    kind=gnomon.load_balancer,
    items="replicas",
    item_features=lambda replica: (replica.queued, replica.average_ms, 1.0),
)
def pick(replicas: list[Replica]) -> Replica:
    return replicas[0]


@gnomon.invariant(pick)
def never_the_longest_queue(items, picked) -> bool:
    return picked.inflight < max(item.inflight for item in items)


REPLICAS = [Replica(1, 10.0), Replica(9, 2.0)]


def test_what_is_recorded() -> None:
    with testing.recording() as recorded:
        with pick.decide(REPLICAS) as decision:
            decision.outcome(latency_ms=12.5)
        assert recorded.decisions[0].action == 0
        assert recorded.outcomes[0].values == (("latency_ms", 12.5),)


def test_a_policy_may_not_break_the_invariant() -> None:
    with testing.recording() as recorded:
        testing.force(pick, "def score(ewma_ms):\n    return ewma_ms\n")
        assert pick(REPLICAS) is REPLICAS[0]  # it wanted the other one
        assert recorded.decisions[0].detail == "violation:never_the_longest_queue"


def test_an_outcome_that_never_comes_is_a_failure() -> None:
    clock = testing.FakeClock()
    with testing.recording(clock=clock) as recorded:
        with pick.decide(REPLICAS):
            pass
        clock.advance(gnomon.load_balancer.outcome_deadline_s + 1.0)
        assert recorded.outcomes[0].status == "missing"
