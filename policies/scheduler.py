"""The ``scheduler`` kind: which of the queued jobs a free worker runs next, so that latency is lowest.

The simulator that answers for this kind is ``shadow/simulators/scheduler/simulator.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..sdk.invariant import Invariant
from ..sdk.kind import Baseline, Feature, Guardrail, Kind, Metric, WorkloadEvent

#: Largest wait, size and slack that are passed on; the slack of a job without a deadline.
LONGEST_MS = 86_400_000.0
NO_DEADLINE_MS = LONGEST_MS
#: A wait is starvation when it is this many times the longest that serving in order of arrival gives.
STARVED = 30.0
#: Relative error of an identity between sums of the same times, added up in another order.
ROUNDING = 1e-6

WAIT = Feature("wait_ms", "ms", "Since the job arrived.", 0.0, LONGEST_MS)
SIZE = Feature(
    "size_ms",
    "ms",
    "Work of the job as known or predicted: the time that one worker is expected to take.",
    0.001,
    LONGEST_MS,
)
PRIORITY = Feature(
    "priority", "1", "Weight of the job: what a ms of its wait costs.", 0.001, 1000.0
)
SLACK = Feature(
    "slack_ms",
    "ms",
    "Until the job's deadline; below 0 after it, and 86,400,000 for a job without one.",
    -LONGEST_MS,
    LONGEST_MS,
)
QUEUED = Feature("queued", "{job}", "Jobs in the queue, this one included.", 1.0, 1e6, integer=True)


def conservation(summary: Any) -> bool:
    """Return whether every job ran exactly once and to its end, none before it arrived, and is reported so."""
    return bool(
        summary.completions == summary.jobs
        and summary.shortest_wait_ms >= 0.0
        and summary.wrong_outcomes == 0
    )


def littles_law(summary: Any) -> bool:
    """Return whether the jobs in the system, over time, add up to the latencies: L = lambda W."""
    return bool(
        abs(summary.jobs_over_time_s - summary.latencies_s) <= ROUNDING * summary.latencies_s
    )


def busy_time(summary: Any) -> bool:
    """Return whether the workers were busy for as long as the jobs took, with one job at a time each."""
    slack = ROUNDING * summary.work_s
    return bool(abs(summary.busy_s - summary.work_s) <= slack and summary.overlap_s <= slack)


def work_conservation(summary: Any) -> bool:
    """Return whether no worker idled while a job waited, but for the time that dispatching takes."""
    return bool(summary.idle_s <= summary.dispatching_s + ROUNDING * summary.work_s)


def no_starvation(summary: Any) -> bool:
    """Return whether no job waited more than ``STARVED`` times the longest wait of first come, first served."""
    return bool(
        summary.longest_wait_ms
        <= STARVED * summary.longest_in_order_ms + summary.longest_service_ms
    )


def _baselines(*baselines: Baseline) -> Mapping[str, Baseline]:
    return MappingProxyType({baseline.name: baseline for baseline in baselines})


FCFS = Baseline(
    "fcfs",
    "def score(wait_ms):\n    return -wait_ms\n",
    "first come, first served; the queue of nearly every thread pool",
)
SJF = Baseline(
    "sjf",
    "def score(size_ms):\n    return size_ms\n",
    "shortest job first without preemption; Conway, Maxwell and Miller, Theory of Scheduling, 1967",
)
EDF = Baseline(
    "edf",
    "def score(slack_ms):\n    return slack_ms\n",
    "earliest deadline first; Liu and Layland, JACM 20 (1), 1973",
)
PRIORITY_FIRST = Baseline(
    "priority",
    "def score(priority, wait_ms):\n    return -priority * 1e9 - wait_ms\n",
    "highest priority first, in order of arrival within one",
)
WEIGHTED_SJF = Baseline(
    "weighted_sjf",
    "def score(size_ms, priority):\n    return size_ms / priority\n",
    "the c-mu rule: most weight per ms of work first; Cox and Smith, Queues, 1961",
)
AGING = Baseline(
    "aging",
    "def score(size_ms, wait_ms):\n    return size_ms - 0.5 * wait_ms\n",
    "shortest job first, where half of the wait is taken off the size: no job waits for ever",
)
RESPONSE_RATIO = Baseline(
    "highest_response_ratio",
    "def score(size_ms, wait_ms):\n    return -(wait_ms + size_ms) / size_ms\n",
    "highest response ratio next; Brinch Hansen, 1971",
)
WEIGHTED_FAIR = Baseline(
    "weighted_fair",
    None,
    "self-clocked fair queueing over the classes of equal priority, each by its weight; Golestani, "
    "INFOCOM 1994",
)
SRPT = Baseline(
    "srpt",
    None,
    "shortest remaining processing time with preemption; Schrage, Operations Research 16 (3), 1968",
)
PROCESSOR_SHARING = Baseline(
    "processor_sharing",
    None,
    "all jobs at once, each at an equal share of the workers; Kleinrock, JACM 14 (2), 1967",
)


def invariants() -> tuple[Invariant, ...]:
    """Return what holds for every queue before a few workers, over a whole replay."""
    asked = (
        (
            conservation,
            "Every job runs once and to its end, not before it arrived, and counts as what it was.",
        ),
        (littles_law, "The jobs in the system, over time, add up to the latencies."),
        (busy_time, "The workers are busy for as long as the jobs take, one job at a time each."),
        (work_conservation, "No worker idles while a job waits, but to dispatch it."),
        (
            no_starvation,
            f"No job waits more than {STARVED:g} times the longest wait of first come, first served.",
        ),
    )
    return tuple(
        Invariant(holds.__name__, holds, scope="replay", description=text) for holds, text in asked
    )


scheduler = Kind(
    name="scheduler",
    version=1,
    description="Picks the queued job that a free worker runs next.",
    features=(WAIT, SIZE, PRIORITY, SLACK, QUEUED),
    order="lowest",
    objective=Metric(
        "latency_ms", "ms", 60_000.0, "From the arrival of the picked job until it is complete."
    ),
    metrics=(
        Metric("wait_ms", "ms", 60_000.0, "From the arrival of the picked job until it is run."),
        Metric("slowdown", "1", 1e6, "Latency over the time that the job ran."),
    ),
    guardrails=(
        Guardrail("failures", "latency_ms", "failure_rate", 0.005),
        Guardrail("tail", "latency_ms", "p99", 0.10, relative=True),
    ),
    workload=(
        WorkloadEvent("dispatch", "decision", description="A worker is free and jobs are queued."),
        WorkloadEvent(
            "completion",
            "outcome",
            description="The job is complete; ok is false where it failed or missed its deadline.",
        ),
        WorkloadEvent(
            "arrival",
            "event",
            ("job", "size_ms", "priority", "deadline_ms"),
            "A job is queued: its id, its work, its weight, and from when on it is late (in ms after its "
            "arrival; 86,400,000 for never). What an import holds; a service need not record it, because "
            "its decisions show every job.",
        ),
        WorkloadEvent(
            "served",
            "event",
            ("job", "wait_ms", "service_ms", "failed"),
            "What came of a job of an import: its wait, for how long it ran, and 1 where it failed; below "
            "0 where that is unknown.",
        ),
        WorkloadEvent(
            "workers", "event", ("workers",), "How many workers the queue of an import has."
        ),
    ),
    invariants=invariants(),
    baselines=_baselines(
        FCFS,
        SJF,
        EDF,
        PRIORITY_FIRST,
        WEIGHTED_SJF,
        AGING,
        RESPONSE_RATIO,
        WEIGHTED_FAIR,
        SRPT,
        PROCESSOR_SHARING,
    ),
    arms="switchback",
    outcome_deadline_s=60.0,
    has_bound=True,
)
