"""The ``load_balancer`` kind: which backend serves the next request, so that latency is lowest.

The simulator that answers for this kind is ``shadow/simulators/load_balancer/simulator.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..sdk.invariant import Invariant
from ..sdk.kind import Baseline, Feature, Guardrail, Kind, Metric, WorkloadEvent

#: A pick is a pile-up when it has more than this many times the fewest outstanding requests, plus 4.
PILE_UP = 4.0
#: Decisions, per member, for which a member may go unpicked before it counts as starved.
STARVED_AFTER = 500
#: Share of a shorter replay for which a member may go unpicked, from so many decisions per member on.
UNPICKED_SHARE = 0.9
TOLD_AFTER = 400
#: Relative error, or seconds, within which sums of times agree.
SUMS = 1e-6

INFLIGHT = Feature(
    "inflight",
    "{request}",
    "Requests that this process has sent to the backend and that are not answered yet.",
    0.0,
    100_000.0,
    integer=True,
)
EWMA = Feature(
    "ewma_ms",
    "ms",
    "The service's own moving average of the backend's latency; 0 before the first answer.",
    0.0,
    600_000.0,
)
WEIGHT = Feature(
    "weight", "1", "Configured capacity of the backend, relative to the others.", 0.001, 1000.0
)


def no_pile_up(items: Sequence[Any], picked: Any) -> bool:
    """Return whether the picked backend is not far behind the least loaded one."""
    return bool(picked.inflight <= PILE_UP * (min(item.inflight for item in items) + PILE_UP))


def conservation(summary: Any) -> bool:
    """Return whether every arrival was completed exactly once, none before it arrived, and time adds up.

    Requests begin as soon as a slot is free for them and never beyond the slots (work conservation),
    the number present over time adds up to the times in the system (Little's law), and slots are busy
    for as long as the service that was drawn. A summary without these sums is asked for the rest.
    """
    completed = (
        summary.completions == summary.decisions
        and sum(summary.picks) == summary.decisions
        and summary.lowest_outcome >= 0.0
    )
    return bool(completed and _adds_up(summary))


def _adds_up(summary: Any) -> bool:
    if not hasattr(summary, "sojourn_s"):
        return True
    exact = (summary.late_starts, summary.most_over_slots, summary.wrong_outcomes) == (0, 0, 0)
    sums = (
        (summary.present_s, summary.sojourn_s),
        *zip(summary.busy_s, summary.work_s, strict=True),
    )
    return exact and all(math.isclose(*each, rel_tol=SUMS, abs_tol=SUMS) for each in sums)


def no_starvation(summary: Any) -> bool:
    """Return whether no member waited longer than ``STARVED_AFTER`` decisions per member for a pick.

    In a replay shorter than that, a member that goes unpicked for nine tenths of it counts as starved:
    otherwise a policy would pass or fail by how long somebody recorded. A still shorter one, in which a
    single slow spell may last as long, says nothing.
    """
    members = len(summary.longest_unpicked)
    if summary.decisions < TOLD_AFTER * members:
        return True
    limit = min(STARVED_AFTER * members, UNPICKED_SHARE * summary.decisions)
    return bool(max(summary.longest_unpicked) <= limit)


def _baselines(*baselines: Baseline) -> Mapping[str, Baseline]:
    return MappingProxyType({baseline.name: baseline for baseline in baselines})


RANDOM = Baseline(
    "random",
    "def score(noise):\n    return noise\n",
    "uniform choice; the `random` policy of Envoy and HAProxy",
)
WEIGHTED_RANDOM = Baseline(
    "weighted_random",
    "import math\n\n\ndef score(noise, weight):\n"
    "    return -math.log(max(noise, 1e-12)) / weight\n",
    "choice in proportion to the weights, as a race of exponential clocks",
)
ROUND_ROBIN = Baseline(
    "round_robin",
    "def score(since_picked):\n    return -since_picked\n",
    "the default of nginx, HAProxy and Envoy: the backend that waited longest",
)
WEIGHTED_ROUND_ROBIN = Baseline(
    "weighted_round_robin",
    "def score(since_picked, weight):\n    return -since_picked * weight\n",
    "nginx `weight=`: the longest wait in units of the configured weight (approximation without state)",
)
LEAST_OUTSTANDING = Baseline(
    "least_outstanding",
    "def score(inflight):\n    return inflight\n",
    "join the shortest queue; nginx `least_conn`, Envoy `LEAST_REQUEST` over all hosts",
)
WEIGHTED_LEAST_OUTSTANDING = Baseline(
    "weighted_least_outstanding",
    "def score(inflight, weight):\n    return (inflight + 1.0) / weight\n",
    "shortest expected delay (`sed`) of the Linux Virtual Server; Envoy weighs `LEAST_REQUEST` alike",
)
LEAST_EWMA = Baseline(
    "least_ewma",
    "def score(ewma_ms):\n    return ewma_ms\n",
    "the backend with the lowest average latency; `least_time` of NGINX Plus without connections",
)
PEAK_EWMA = Baseline(
    "peak_ewma",
    "def score(inflight, ewma_ms):\n    return (inflight + 1.0) * ewma_ms\n",
    "latency times outstanding requests over all hosts, on the service's own average, which need not "
    "jump to a peak nor decay (`peak_ewma_finagle` does)",
)
POWER_OF_TWO_CHOICES = Baseline(
    "power_of_two_choices",
    None,
    "the less loaded of two backends drawn at random; The Power of Two Choices in Randomized Load "
    "Balancing, IEEE TPDS 12 (10), 2001",
)
SMOOTH_WEIGHTED_ROUND_ROBIN = Baseline(
    "smooth_weighted_round_robin",
    None,
    "nginx since 1.3.1: a current weight per backend, raised by its weight and lowered by the total",
)
JOIN_IDLE_QUEUE = Baseline(
    "join_idle_queue",
    None,
    "an idle backend if one is known, else one at random; Join-Idle-Queue, Performance Evaluation "
    "68 (11), 2011",
)
PEAK_EWMA_FINAGLE = Baseline(
    "peak_ewma_finagle",
    None,
    "the less loaded of two backends drawn at random, load being outstanding requests times an average "
    "that jumps to every peak and decays over 10 s; Finagle's and Linkerd's `peakEwma`",
)

load_balancer = Kind(
    name="load_balancer",
    version=1,
    description="Picks the backend for a request.",
    features=(INFLIGHT, EWMA, WEIGHT),
    order="lowest",
    objective=Metric("latency_ms", "ms", 2000.0, "From the decision until the answer is complete."),
    guardrails=(
        Guardrail("failures", "latency_ms", "failure_rate", 0.005),
        Guardrail("tail", "latency_ms", "p99", 0.10, relative=True),
    ),
    workload=(
        WorkloadEvent("arrival", "decision", description="A request asks for a backend."),
        WorkloadEvent("completion", "outcome", description="Its answer is complete, or failed."),
        WorkloadEvent(
            "members",
            "event",
            ("names",),
            "The backends changed; their names in the order of the items.",
        ),
    ),
    invariants=(
        Invariant(
            "no_pile_up",
            no_pile_up,
            severity="warn",
            description="The pick has at most 4 (fewest outstanding + 4) outstanding requests.",
        ),
        Invariant(
            "conservation",
            conservation,
            scope="replay",
            description="Every arrival completes exactly once and not before it arrived, service begins as "
            "soon as a slot is free, and times in the system and in service add up.",
        ),
        Invariant(
            "no_starvation",
            no_starvation,
            scope="replay",
            description="No backend goes unpicked for more than 500 decisions per backend, or nine tenths "
            "of a shorter replay.",
        ),
    ),
    baselines=_baselines(
        RANDOM,
        WEIGHTED_RANDOM,
        ROUND_ROBIN,
        WEIGHTED_ROUND_ROBIN,
        LEAST_OUTSTANDING,
        WEIGHTED_LEAST_OUTSTANDING,
        LEAST_EWMA,
        PEAK_EWMA,
        POWER_OF_TWO_CHOICES,
        SMOOTH_WEIGHTED_ROUND_ROBIN,
        JOIN_IDLE_QUEUE,
        PEAK_EWMA_FINAGLE,
    ),
    arms="switchback",
    has_bound=True,
)
