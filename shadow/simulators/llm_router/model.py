"""An LLM router's parameters, how a replay starts from them, and what it comes to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ....policies.llm_router import llm_router
from ....sdk.errors import TraceError
from ...traces.prompt_trace import PromptTrace
from ..base import FloatArray, IntArray, Replay, ReplaySummary
from ..fitted import Fitted
from ..load_balancer.books import between
from ..native import native, uniform
from . import kernel
from .fit import Sample, everything, prefills

#: Relative standard deviation of speeds that somebody named, in draws.
SPEED_SPREAD = 0.05


@dataclass(frozen=True, eq=False)
class LlmRouterCalibration(Fitted):
    """What replicas are; r of them.

    Attributes:
        prefill_base_s: that every prefill takes beside its tokens, f8[r].
        prefill_tokens_per_s: f8[r].
        prefill_residual_s: quantiles of what a prefill takes beside both, ascending, f8[r, k].
        decode_s: per token of an answer, f8[r].
        slots: requests that run at once, i8[r].
        cache_blocks: of the prefix cache, i8[r].
        block_tokens: f8[1].
    """

    prefill_base_s: FloatArray
    prefill_tokens_per_s: FloatArray
    prefill_residual_s: FloatArray
    decode_s: FloatArray
    slots: IntArray
    cache_blocks: IntArray
    block_tokens: FloatArray

    def describe(self) -> dict[str, Any]:
        """Return speeds, slots and caches per replica, as JSON values."""
        return {
            "prefill_base_ms": (self.prefill_base_s * 1e3).round(3).tolist(),
            "prefill_tokens_per_s": self.prefill_tokens_per_s.round(1).tolist(),
            "prefill_residual_p99_ms": np.quantile(self.prefill_residual_s * 1e3, 0.99, axis=1)
            .round(3)
            .tolist(),
            "decode_ms": (self.decode_s * 1e3).round(3).tolist(),
            "slots": self.slots.tolist(),
            "cache_blocks": self.cache_blocks.tolist(),
            "block_tokens": float(self.block_tokens[0]),
        }


def restore(arrays: Mapping[str, npt.NDArray[Any]]) -> LlmRouterCalibration:
    """Return the calibration that was written as these arrays."""
    return LlmRouterCalibration(**dict(arrays))


def calibration(trace: PromptTrace) -> LlmRouterCalibration:
    """Return what the trace says of its replicas, speeds of prefill fitted where outcomes are recorded."""
    return _made(trace, everything)


def _made(trace: PromptTrace, sample: Sample) -> LlmRouterCalibration:
    said = trace.replicas
    r = len(trace.members)
    base, rate = np.zeros(r), np.full(r, said["prefill_tokens_per_s"])
    residual = np.zeros((r, 1))
    if trace.recorded:
        base, rate, residual = prefills(trace, said["prefill_tokens_per_s"], sample)
    return LlmRouterCalibration(
        prefill_base_s=base,
        prefill_tokens_per_s=rate,
        prefill_residual_s=residual,
        decode_s=np.full(r, said["decode_ms"] / 1e3),
        slots=np.full(r, int(said["slots"]), np.int64),
        cache_blocks=np.full(r, int(said["cache_blocks"]), np.int64),
        block_tokens=np.array([said["block_tokens"]]),
    )


def drawn(trace: PromptTrace, rng: np.random.Generator) -> LlmRouterCalibration:
    """Return replicas whose speeds are fitted to prefills drawn with replacement.

    Speeds that were only said differ by a few per cent, each replica's on its own.
    """
    found = _made(trace, lambda count: rng.integers(0, count, count))
    r = len(trace.members)
    prefill, decode = np.exp(rng.normal(0.0, SPEED_SPREAD, (2, r)))
    return replace(
        found,
        prefill_tokens_per_s=found.prefill_tokens_per_s * (1.0 if trace.recorded else prefill),
        decode_s=found.decode_s * decode,
    )


def mixed_seed(seed: int) -> np.uint64:
    """Spread a small seed over 64 bits."""
    return np.uint64(int.from_bytes(hashlib.sha256(b"llm%d" % seed).digest()[:8], "little"))


def model_of(trace: PromptTrace, calibration: LlmRouterCalibration, seed: int) -> kernel.Model:
    """Return the constants of a replay; raises TraceError when the replicas differ in number."""
    if len(calibration.slots) != len(trace.members):
        raise TraceError(
            f"the calibration is of {len(calibration.slots)} replicas, trace {trace.hook!r} has "
            f"{len(trace.members)}; calibrate on this trace"
        )
    return kernel.Model(
        arrival=np.ascontiguousarray(trace.at),
        process=trace.instance.astype(np.int64),
        tokens=trace.tokens,
        output=trace.output,
        low=np.concatenate(([0], trace.high))[:-1].astype(np.int64),
        high=trace.high,
        block=trace.block.astype(np.int64),
        base=calibration.prefill_base_s,
        rate=calibration.prefill_tokens_per_s,
        residual=calibration.prefill_residual_s,
        decode=calibration.decode_s,
        slots=np.minimum(calibration.slots, max(len(trace.at), 1)),  # more than requests never fill
        capacity=calibration.cache_blocks,
        block_tokens=float(calibration.block_tokens[0]),
        clip_ms=llm_router.objective.clip,
        seed=mixed_seed(seed),
    )


def state_of(model: kernel.Model, processes: int) -> kernel.State:
    """Return empty queues and caches."""
    n, r = len(model.arrival), len(model.slots)
    distinct = int(model.block.max(initial=-1)) + 1
    newer = np.full((r, distinct + 1), -1, np.int32)
    newer[:, -1] = distinct
    return kernel.State(
        newer=newer,
        older=newer.copy(),
        held=np.zeros(r, np.int64),
        queued=np.zeros(r),
        active=np.zeros(r),
        link=np.zeros(n, np.int64),
        ends=np.full((r, 2), -1, np.int64),
        open=np.zeros((r, n + 1), np.int64),
        outstanding=np.zeros(r, np.int64),
        free=np.full((r, int(model.slots.max())), -np.inf),
        prefilled=np.full(r, -np.inf),
        last=np.full((processes, r), -1.0),
        decided=np.zeros(processes),
        begun=np.zeros(n),
        first=np.zeros(n),
        finish=np.zeros(n),
        hit=np.zeros(n, np.int64),
        new=np.zeros(n),
        outcome=np.zeros(n),
        action=np.zeros(n, np.int64),
        rows=np.zeros((r, kernel.INPUTS)),
    )


@dataclass(frozen=True, slots=True)
class LlmRouterSummary(ReplaySummary):
    """What a replay-level invariant of the kind sees.

    Attributes:
        excess_hits: requests that hit more leading blocks than had ever been sent before.
        late_starts: requests that did not begin, or whose prompt was not prefilled, when it should.
        most_over_slots: the most that a replica ran at once beyond its slots.
        present_s: time integral of the number of requests in the system, from its events.
        sojourn_s: sum of the requests' times in the system; equal, by Little's law.
    """

    excess_hits: int = 0
    late_starts: int = 0
    most_over_slots: int = 0
    present_s: float = 0.0
    sojourn_s: float = 0.0


@dataclass(frozen=True)
class LlmRouterReplay(Replay):
    """What a policy did to a trace's requests; ``extra`` holds ``e2e_ms`` and ``hit_blocks``.

    Attributes:
        model: constants of the replay, of the requests before those that count too.
        state: what it came to.
        decided: how many were decided, those included.
    """

    model: kernel.Model | None = None
    state: kernel.State | None = None
    decided: int = 0

    def summary(self) -> Any:
        """Return what replay-level invariants see."""
        plain = super().summary()
        assert self.model is not None
        assert self.state is not None
        model, state, end = self.model, self.state, self.decided
        excess = state.hit[:end] > best_hits(model)[:end]
        late, over, present = 0, 0.0, 0.0
        for replica in range(self.members):
            at = np.flatnonzero(state.action[:end] == replica)
            late += int(_late(model, state, at, replica))
            gone = np.sort(state.finish[at])
            present += between(model.arrival[at], gone)[0]
            over = max(over, between(state.begun[at], gone)[1] - model.slots[replica])
        return LlmRouterSummary(
            plain.decisions,
            plain.completions,
            plain.picks,
            plain.longest_unpicked,
            plain.lowest_outcome,
            excess_hits=int(excess.sum()),
            late_starts=late,
            most_over_slots=int(over),
            present_s=present,
            sojourn_s=float((state.finish[:end] - model.arrival[:end]).sum()),
        )


def best_hits(model: kernel.Model) -> IntArray:
    """Return, per request, how many leading blocks had been sent before it, to any replica, i8[n]."""
    distinct = int(model.block.max(initial=-1)) + 1
    return _best_hits(model.low, model.high, model.block, np.zeros(distinct, np.bool_))


@native
def _best_hits(
    low: IntArray, high: IntArray, block: IntArray, seen: npt.NDArray[np.bool_]
) -> IntArray:
    best = np.zeros(len(low), np.int64)
    for index in range(len(low)):
        place = low[index]
        while place < high[index] and seen[block[place]]:
            place += 1
        best[index] = place - low[index]
        for each in range(low[index], high[index]):
            seen[block[each]] = True
    return best


def prefill_times(model: kernel.Model, new: FloatArray, at: IntArray) -> FloatArray:
    """Return the seconds that these requests' prefills take on every replica, f8[r, len(at)].

    Args:
        model: of the replay.
        new: tokens of each that are prefilled.
        at: indices of the requests.
    """
    column = _columns(model.seed, at, len(model.slots), model.residual.shape[1])
    times: FloatArray = np.maximum(
        model.base[:, None] + new / model.rate[:, None] + model.residual[:, column], 0.0
    )
    return times


@native
def _columns(seed: np.uint64, at: IntArray, replicas: int, quantiles: int) -> IntArray:
    column = np.empty(len(at), np.int64)
    for place in range(len(at)):
        column[place] = int(uniform(seed, at[place], replicas) * quantiles)
    return column


def _late(model: kernel.Model, state: kernel.State, at: IntArray, replica: int) -> int:
    """Count requests that begin, get their first token or finish at another time than they should."""
    new = np.maximum(model.tokens[at] - state.hit[at] * model.block_tokens, 1.0)
    prefill = prefill_times(model, new, at)[replica]
    rest = np.maximum(model.output[at] - 1.0, 0.0) * model.decode[replica]
    times = (state.begun[at], state.first[at], state.finish[at])
    return int(_mistimed(model.arrival[at], *times, prefill, rest, int(model.slots[replica])))


@native
def _mistimed(
    arrival: FloatArray,
    begun: FloatArray,
    first: FloatArray,
    finish: FloatArray,
    prefill: FloatArray,
    rest: FloatArray,
    slots: int,
) -> int:
    wrong, before = 0, -np.inf
    left = np.full(slots, -np.inf)  # the largest last tokens so far, descending
    for k in range(len(arrival)):
        should = max(arrival[k], before, left[slots - 1])
        if begun[k] != should or first[k] != should + prefill[k] or finish[k] != first[k] + rest[k]:
            wrong += 1
        before, value = first[k], finish[k]
        for place in range(slots):
            if value > left[place]:
                value, left[place] = left[place], value
    return wrong


def replay_of(
    trace: PromptTrace, model: kernel.Model, state: kernel.State, fault: int
) -> LlmRouterReplay:
    """Return what has come of the requests that count so far."""
    end = len(model.arrival) if fault < 0 else fault
    counted = slice(min(trace.first, end), end)
    e2e_ms = (state.finish - model.arrival)[counted] * 1e3
    return LlmRouterReplay(
        time=model.arrival[counted],
        outcome=state.outcome[counted],
        ok=np.ones(end - counted.start, np.bool_),
        action=state.action[counted],
        members=len(model.slots),
        fault=fault,
        extra={
            "e2e_ms": np.minimum(e2e_ms, llm_router.metrics[0].clip),
            "hit_blocks": state.hit[counted].astype(np.float64),
        },
        model=model,
        state=state,
        decided=end,
    )
