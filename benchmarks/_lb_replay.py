"""Replaying a load balancer: ours compiled, the same loop in plain Python, and SimPy, on one workload.

Poisson arrivals at 0.9 of what eight backends of one slot can serve, exponential service of 1 ms. Three
scores, as in ``SCORES``; what counts is the geometric mean of their rates, checks and fuel compiled in.
The plain loop must pick and answer exactly as the compiled one, or the comparison is refused.
"""

from __future__ import annotations

import importlib
import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from typing import Any

import numpy as np
from results import Peer, Row

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.language import check
from gnomon.shadow.compiled import compile_score
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.simulators.load_balancer.model import mixed_seed
from gnomon.shadow.simulators.load_balancer.simulator import LoadBalancerCalibration
from gnomon.shadow.simulators.native import uniform
from gnomon.shadow.traces.trace import DecisionTrace

BACKENDS = 8
LOAD = 0.9
SERVICE_S = 0.001
GAIN = 0.1
SEED = 1
TARGET_PER_S = 8e6
SCORES = {
    "jsq": "def score(inflight, weight):\n    return inflight / weight\n",
    "ewma": (
        "def score(inflight, ewma_ms, weight):\n    return (inflight + 1.0) * ewma_ms / weight\n"
    ),
    "mix": (
        "import math\n\n\ndef score(inflight, ewma_ms, weight):\n"
        "    s = math.log1p(inflight) + 0.3 * math.sqrt(ewma_ms) / weight\n"
        "    if inflight > 8.0:\n        s += (inflight - 8.0) ** 2\n    return s\n"
    ),
}


def workload(decisions: int, backends: int = BACKENDS) -> DecisionTrace:
    """Return arrivals and nothing else: outcomes come from the calibration."""
    gaps = np.random.default_rng(0).exponential(SERVICE_S / LOAD / backends, decisions)
    features = np.zeros((decisions, backends, len(load_balancer.inputs)))
    features[:, :, 1:4] = 1.0
    return DecisionTrace(
        hook="bench.pick",
        kind=load_balancer.name,
        start_ns=1_700_000_000_000_000_000,
        members=tuple(f"backend-{index}" for index in range(backends)),
        instances=("0" * 16,),
        time=np.cumsum(gaps),
        instance=np.zeros(decisions, np.int32),
        action=np.zeros(decisions, np.int32),
        features=features,
        outcome=np.zeros(decisions),
        ok=np.ones(decisions, bool),
    )


def calibration(backends: int = BACKENDS) -> LoadBalancerCalibration:
    """Return equal backends of one slot with exponential service."""
    at = -np.log1p(-(np.arange(512) + 0.5) / 512) * SERVICE_S
    return LoadBalancerCalibration(
        slots=np.ones(backends, np.int64),
        overhead_s=np.zeros(backends),
        service_s=np.tile(at, (backends, 1)),
        level_from_s=np.tile([-np.inf, np.inf], (backends, 1)),
        level=np.ones((backends, 1)),
        lost=np.zeros(backends),
        failed=np.zeros(backends),
        ewma_rule=np.array([GAIN, GAIN]),
        ewma_fit=np.ones(1),
        clip_ms=np.array([load_balancer.objective.clip]),
    )


def compiled_rate(trace: DecisionTrace, source: str, repeats: int) -> list[float]:
    """Return decisions per CPU second of the calling thread, compiling left out, one per repeat."""
    simulator, fitted = simulator_for(load_balancer), calibration(len(trace.members))
    score = compile_score(check(source, load_balancer.input_names))
    simulator.compiled(trace.rows(slice(0, 100)), fitted, SEED, score)
    return [
        len(trace) / _seconds(lambda: simulator.compiled(trace, fitted, SEED, score))
        for _ in range(repeats)
    ]


def plain_rate(trace: DecisionTrace, source: str) -> float:
    """Return decisions per CPU second of the plain loop; raises ValueError when it answers otherwise."""
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 - a constant of this module
    score, inputs = names["score"], source.partition("(")[2].partition(")")[0].split(", ")
    called = (
        score if len(inputs) == 3 else lambda inflight, _ewma_ms, weight: score(inflight, weight)
    )
    noise, service = _draws(len(trace), len(trace.members))
    times = trace.time.tolist()
    answered: list[float] = []
    spent = _seconds(lambda: answered.extend(_plain(times, service, noise, called)))
    ours = simulator_for(load_balancer).compiled(
        trace,
        calibration(len(trace.members)),
        SEED,
        compile_score(check(source, load_balancer.input_names)),
    )
    if not np.array_equal(np.minimum(answered, load_balancer.objective.clip), ours.outcome):
        raise ValueError("the plain loop and the compiled replay differ; correct one of them")
    return len(trace) / spent


def _draws(decisions: int, backends: int) -> tuple[list[list[float]], list[float]]:
    """Return noise per decision and backend, and service times in seconds, as the replay draws them."""
    seed = mixed_seed(SEED)
    noise = [[uniform(seed, i, j) for j in range(backends)] for i in range(decisions)]
    table = calibration(1).service_s[0].tolist()
    service = [table[int(uniform(seed, i, backends) * len(table))] for i in range(decisions)]
    return noise, service


def _plain(
    times: Sequence[float],
    service: Sequence[float],
    noise: Sequence[Sequence[float]],
    score: Callable[[float, float, float], float],
) -> list[float]:
    """Return latencies in ms: every backend scored at every decision, the lowest picked."""
    backends = len(noise[0])
    queues: list[deque[tuple[float, float]]] = [deque() for _ in range(backends)]
    average, free, latencies = [1.0] * backends, [-math.inf] * backends, []
    for index, now in enumerate(times):
        best, lowest = 0, (math.inf, 0.0)
        for member, queue in enumerate(queues):
            while queue and queue[0][0] <= now:
                _, latency = queue.popleft()
                average[member] += GAIN * (latency - average[member])
            value = (score(float(len(queue)), average[member], 1.0), noise[index][member])
            if value < lowest:
                best, lowest = member, value
        answer = max(now, free[best]) + service[index]
        free[best] = answer
        latencies.append((answer - now) * 1e3)
        queues[best].append((answer, latencies[-1]))
    return latencies


def simpy_rate(times: Sequence[float], service: Sequence[float]) -> float | None:
    """Return decisions per CPU second of SimPy under join-shortest-queue; None where it is missing."""
    try:
        simpy = importlib.import_module("simpy")
    except ImportError:
        return None
    environment = simpy.Environment()
    backends = [simpy.Resource(environment) for _ in range(BACKENDS)]

    def load(backend: Any) -> int:
        return int(backend.count) + len(backend.queue)

    def request(at: float) -> Any:
        with min(backends, key=load).request() as slot:
            yield slot
            yield environment.timeout(at)

    def arrivals() -> Any:
        for now, each in zip(times, service, strict=True):
            yield environment.timeout(now - environment.now)
            environment.process(request(each))

    environment.process(arrivals())
    return len(times) / _seconds(environment.run)


def _seconds(call: Callable[[], object]) -> float:
    begin = time.thread_time()
    call()
    return max(time.thread_time() - begin, 1e-9)


def rows(decisions: int = 500_000, slow: int = 20_000, repeats: int = 5) -> list[Row]:
    """Return the figures: each score, their geometric mean, beside plain Python and SimPy.

    Args:
        decisions: of a compiled replay.
        slow: of the plain loop and of SimPy.
        repeats: of each compiled replay.
    """
    trace, short = workload(decisions), workload(slow)
    rates = {name: compiled_rate(trace, source, repeats) for name, source in SCORES.items()}
    plain = {name: plain_rate(short, source) for name, source in SCORES.items()}
    made = [
        _row(name, rates[name], None, Peer("plain Python", python_version(), plain[name]))
        for name in SCORES
    ]
    together = [statistics.geometric_mean(each) for each in zip(*rates.values(), strict=True)]
    slowly = Peer("plain Python", python_version(), statistics.geometric_mean(plain.values()))
    made.append(_row("geometric mean", together, TARGET_PER_S, slowly))
    simulated = simpy_rate(short.time.tolist(), _draws(slow, BACKENDS)[1])
    peer = Peer("SimPy", _version("simpy"), simulated) if simulated else None
    note = "" if peer else "SimPy is not installed"
    return [*made, _row("jsq, beside SimPy", rates["jsq"], None, peer, note)]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _row(
    name: str, values: Sequence[float], target: float | None, peer: Peer | None, note: str = ""
) -> Row:
    return Row(
        f"load balancer, {BACKENDS} backends, load {LOAD}: {name}",
        statistics.median(values),
        "decisions/s",
        "higher",
        target,
        (min(values), max(values)),
        peer,
        note,
    )
