"""The ``lanes`` kind: which lane's oldest job a free worker serves next, so that waiting costs least.

The simulator that answers for this kind is ``simulator.py`` beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from gnomon import Baseline, Feature, Guardrail, Invariant, Kind, Metric, WorkloadEvent
from gnomon.policies.registry import register

#: The service's own average of service times: ``average += GAIN (service - average)``, the first as is.
GAIN = 0.1

WAITING = Feature("waiting", "{job}", "Jobs that wait in the lane.", 0.0, 100_000.0, integer=True)
OLDEST = Feature(
    "oldest_wait_ms", "ms", "For how long its oldest job has waited; 0 without any.", 0.0, 600_000.0
)
PRIORITY = Feature(
    "priority", "1", "Cost of a millisecond that a job of this lane waits.", 0.001, 1000.0
)
SERVICE = Feature(
    "service_ms",
    "ms",
    "The service's own moving average of what a job of this lane takes; 0 before the first.",
    0.0,
    600_000.0,
)


def no_empty_lane(items: Sequence[Any], picked: Any) -> bool:
    """Return whether a job waits in the picked lane, if one waits anywhere."""
    return bool(picked.waiting >= 1.0 or all(item.waiting < 1.0 for item in items))


def every_job_served(summary: Any) -> bool:
    """Return whether every job was served once, in its own lane, and none before it arrived."""
    return bool(summary.served == summary.arrived and summary.shortest_wait_ms >= 0.0)


PRIORITY_FIRST = Baseline(
    "priority_first",
    "def score(waiting, priority):\n    return min(waiting, 1.0) * priority\n",
    "strict priority; the `prio` queueing discipline of Linux",
)
LONGEST_WAIT_FIRST = Baseline(
    "longest_wait_first",
    "def score(waiting, oldest_wait_ms):\n    return min(waiting, 1.0) * (oldest_wait_ms + 1.0)\n",
    "first come, first served over all lanes",
)
DEFICIT_ROUND_ROBIN = Baseline(
    "deficit_round_robin",
    None,
    "Efficient Fair Queuing Using Deficit Round-Robin, IEEE/ACM Transactions on Networking 4 (3), "
    "1996; the quantum of a lane is its priority",
)

lanes = register(
    Kind(
        name="lanes",
        version=1,
        description="Picks the lane whose oldest job a free worker serves next.",
        features=(WAITING, OLDEST, PRIORITY, SERVICE),
        order="highest",
        objective=Metric(
            "weighted_wait_ms", "ms", 2000.0, "Wait of the served job times its lane's priority."
        ),
        guardrails=(
            Guardrail("failures", "weighted_wait_ms", "failure_rate", 0.02),
            Guardrail("tail", "weighted_wait_ms", "p99", 0.20, relative=True),
        ),
        workload=(
            WorkloadEvent("start", "decision", description="A worker takes a lane's oldest job."),
            WorkloadEvent(
                "job",
                "event",
                ("lane", "wait_ms", "service_ms"),
                "A job is done: its lane, how long it had waited when it was taken, what it took.",
            ),
        ),
        invariants=(
            Invariant(
                "no_empty_lane",
                no_empty_lane,
                description="No empty lane is picked while a job waits in another.",
            ),
            Invariant(
                "every_job_served",
                every_job_served,
                scope="replay",
                description="Every job is served once, in its lane, and none before it arrived.",
            ),
        ),
        baselines=MappingProxyType(
            {b.name: b for b in (PRIORITY_FIRST, LONGEST_WAIT_FIRST, DEFICIT_ROUND_ROBIN)}
        ),
        arms="switchback",
        outcome_deadline_s=1.0,
    )
)
