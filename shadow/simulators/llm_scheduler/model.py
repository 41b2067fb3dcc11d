"""The LLM server's parameters, and how a replay starts from them and is summed up."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ....policies.llm_scheduler import llm_scheduler
from ....sdk.errors import TraceError
from ...traces.job_trace import RequestTrace
from ..base import FloatArray, IntArray, Replay
from ..fitted import Fitted
from ..native import native
from . import kernel

CLIP_MS = llm_scheduler.objective.clip


@dataclass(frozen=True, eq=False)
class LlmCalibration(Fitted):
    """Fitted parameters.

    Attributes:
        engine: tokens and requests of a step, blocks of KV memory, tokens of a block, steps in advance,
            i8[5].
        cost: seconds per step, per token, per token of context that is read, and per pair of a token of a
            prompt and one before it, f8[4].
        error_s: root mean square of the recorded times less the replayed ones, seconds, f8[1].
    """

    engine: IntArray
    cost: FloatArray
    error_s: FloatArray

    def describe(self) -> dict[str, Any]:
        """Return the parameters as JSON values."""
        names = (
            "max_num_batched_tokens",
            "max_num_seqs",
            "kv_blocks",
            "block_tokens",
            "steps_in_advance",
        )
        step, token, context, pair = (self.cost * 1e6).tolist()
        return dict(zip(names, self.engine.tolist(), strict=True)) | {
            "step_us": round(step, 3),
            "token_us": round(token, 4),
            "context_token_us": round(context, 6),
            "prompt_pair_us": round(pair, 6),
            "error_s": round(float(self.error_s[0]), 4),
        }


def restore(arrays: Mapping[str, npt.NDArray[Any]]) -> LlmCalibration:
    """Return the calibration that was written as these arrays."""
    return LlmCalibration(**dict(arrays))


def mixed_seed(seed: int) -> np.uint64:
    """Spread a small seed over 64 bits."""
    return np.uint64(int.from_bytes(hashlib.sha256(b"llm%d" % seed).digest()[:8], "little"))


def parts_of(trace: RequestTrace) -> list[IntArray]:
    """Return the requests of every process that has any, by arrival."""
    owners = np.unique(trace.instance)
    return [np.flatnonzero(trace.instance == owner) for owner in owners]


def model_of(
    trace: RequestTrace, rows: IntArray, calibration: LlmCalibration, seed: int
) -> kernel.Model:
    """Return the constants of the replay of one process.

    Raises:
        TraceError: a request does not fit into the engine, however empty.
    """
    engine = calibration.engine
    tokens = trace.prompt[rows] + trace.output[rows]
    most = int(engine[kernel.BLOCKS] * engine[kernel.BLOCK])
    if (tokens > most).any():
        raise TraceError(
            f"a request of trace {trace.hook!r} has {int(tokens.max())} tokens and the KV memory holds "
            f"{most}; no engine of these settings answered it"
        )
    luck = np.random.default_rng(int(mixed_seed(seed))).integers(
        0, 2**64, len(trace.arrival), np.uint64
    )
    return kernel.Model(
        arrival=trace.arrival[rows],
        prompt=trace.prompt[rows],
        output=trace.output[rows],
        expected=trace.expected[rows],
        priority=trace.priority[rows],
        due=trace.due[rows],
        luck=luck[rows],
        held=trace.held[rows],
        engine=engine,
        cost=calibration.cost,
        since=max(trace.since, float(trace.arrival[rows[0]])),
        seed=mixed_seed(seed),
    )


def state_of(trace: RequestTrace, rows: IntArray, model: kernel.Model) -> kernel.State:
    """Return the engine as decisions begin: with the requests that are held, else empty."""
    state = _empty(model)
    held = np.flatnonzero(trace.held[rows])
    for request in held[np.argsort(trace.admitted[rows][held], kind="stable")].tolist():
        _hold(state, model, request, trace, int(rows[request]))
    return state


def _hold(
    state: kernel.State, model: kernel.Model, request: int, trace: RequestTrace, row: int
) -> None:
    """Put a request into the engine that was admitted before, as far as it had come at an even pace."""
    first, done = trace.answered[row], trace.done[row]
    spent = (model.since - first) / max(done - first, 1e-9) if np.isfinite(first) else -1.0
    made = min(
        max(int(spent * model.output[request]), int(spent >= 0.0)), model.output[request] - 1
    )
    tokens = int(model.prompt[request]) + made if made else 0
    blocks = -(-tokens // int(model.engine[kernel.BLOCK]))
    if blocks > state.cursor[kernel.FREE]:
        return  # it waits, as one whose memory was taken would, and is the first to be admitted
    state.running[state.cursor[kernel.RUNNING]] = request
    state.cursor[kernel.RUNNING] += 1
    state.cursor[kernel.FREE] -= blocks
    state.blocks[request], state.made[request] = blocks, made
    state.computed[request] = max(tokens - 1, 0)
    state.admitted[request] = trace.admitted[row]
    if made:
        state.first[request] = first


def _empty(model: kernel.Model) -> kernel.State:
    n = len(model.arrival)
    cursor = np.zeros(kernel.CURSOR, np.int64)
    cursor[kernel.FREE] = cursor[kernel.LEAST_FREE] = model.engine[kernel.BLOCKS]
    return kernel.State(
        waiting=np.zeros(n, np.int64),
        running=np.zeros(n, np.int64),
        computed=np.zeros(n, np.int64),
        made=np.zeros(n, np.int64),
        share=np.zeros(n, np.int64),
        blocks=np.zeros(n, np.int64),
        joined=np.zeros(n, np.int64),
        admitted=np.full(n, np.nan),
        first=np.full(n, np.nan),
        last=np.full(n, np.nan),
        cursor=cursor,
        clock=np.array([model.since, -np.inf, 0.0]),
        work=np.zeros(3),
        spent=np.zeros((2, 4)),
        slope=np.zeros((n, 3, 4)),
    )


@dataclass(frozen=True, slots=True)
class RequestSummary:
    """What a replay-level invariant of an LLM server sees; requests before a window included.

    Attributes:
        requests, completions: how many there were, and how many were answered.
        in_order: whether each arrived, was admitted, had its first and its last token in this order.
        latencies_s: sum, as reported.
        jobs_over_time_s: integral of the number of requests in the system over time.
        most_tokens, token_limit: of a step.
        most_running, seat_limit: requests of a step.
        fewest_free_blocks, blocks_left, block_limit: of KV memory: ever, at the end, in all.
        tokens_made, tokens_asked: of the answers.
        busy_s: sum of the steps.
        occupied_s: time with a request in the system.
        most_overtaken: the most requests that came after one and were admitted before it.
        most_waiting: the most that waited at a time, where that was.
    """

    requests: int
    completions: int
    in_order: bool
    latencies_s: float
    jobs_over_time_s: float
    most_tokens: int
    token_limit: int
    most_running: int
    seat_limit: int
    fewest_free_blocks: int
    blocks_left: int
    block_limit: int
    tokens_made: int
    tokens_asked: int
    busy_s: float
    occupied_s: float
    most_overtaken: int = 0
    most_waiting: int = 0


@dataclass(frozen=True, eq=False)
class RequestCourse:
    """What the requests of one process went through: the model, the state at the end, the latencies.

    Attributes:
        model, state: see ``kernel``.
        latency_s: as reported, not clipped, f8[n].
    """

    model: kernel.Model
    state: kernel.State
    latency_s: FloatArray


@dataclass(frozen=True, kw_only=True)
class RequestReplay(Replay):
    """A replay that also knows what every request went through.

    Attributes:
        courses: one per process.
    """

    courses: tuple[RequestCourse, ...]

    def summary(self) -> RequestSummary:
        """Return the sums that the laws of queues relate, over all processes."""
        found = [_summary(each) for each in self.courses]
        total = {
            name: sum(getattr(each, name) for each in found)
            for name in (
                "requests",
                "completions",
                "latencies_s",
                "jobs_over_time_s",
                "blocks_left",
                "block_limit",
                "tokens_made",
                "tokens_asked",
                "busy_s",
                "occupied_s",
            )
        }
        worst = max(
            found,
            key=lambda each: each.most_overtaken / max(each.most_waiting, 1),
            default=None,
        )
        return RequestSummary(
            **total,
            most_overtaken=worst.most_overtaken if worst else 0,
            most_waiting=worst.most_waiting if worst else 0,
            in_order=all(each.in_order for each in found),
            most_tokens=max((each.most_tokens for each in found), default=0),
            token_limit=max((each.token_limit for each in found), default=0),
            most_running=max((each.most_running for each in found), default=0),
            seat_limit=max((each.seat_limit for each in found), default=0),
            fewest_free_blocks=min((each.fewest_free_blocks for each in found), default=0),
        )


def _summary(course: RequestCourse) -> RequestSummary:
    model, state = course.model, course.state
    answered = np.isfinite(state.last)
    arrival, last = model.arrival[answered], state.last[answered]
    present_s, _ = _present(arrival, last)
    _, occupied_s = _present(np.maximum(arrival, model.since), last)
    in_order = (
        (model.arrival <= state.admitted)
        & (state.admitted < state.first)
        & (state.first <= state.last)
    )
    return RequestSummary(
        requests=len(answered),
        completions=int(answered.sum()),
        in_order=bool(in_order[answered].all()),
        latencies_s=float(course.latency_s[answered].sum()),
        jobs_over_time_s=present_s,
        most_tokens=int(state.cursor[kernel.MOST_TOKENS]),
        token_limit=int(model.engine[kernel.BUDGET]),
        most_running=int(state.cursor[kernel.MOST_RUNNING]),
        seat_limit=int(model.engine[kernel.SEATS]),
        fewest_free_blocks=int(state.cursor[kernel.LEAST_FREE]),
        blocks_left=int(state.cursor[kernel.FREE]),
        block_limit=int(model.engine[kernel.BLOCKS]),
        tokens_made=int(state.made.sum()),
        tokens_asked=int(model.output.sum()),
        busy_s=float(state.clock[kernel.BUSY]),
        occupied_s=occupied_s,
        most_overtaken=int(_most_overtaken(model.arrival, state.admitted)),
        most_waiting=int(_most_waiting(model.arrival, state.admitted)),
    )


@native
def _most_overtaken(arrival: FloatArray, admitted: FloatArray) -> int:
    """Return the most requests that arrived after one and were admitted before it.

    Requests are in order of arrival, those that arrived together among themselves in no order. Counted in a
    Fenwick tree over the order of admission, from the last arrival to the first.
    """
    n = len(arrival)
    when = np.where(np.isnan(admitted), np.inf, admitted)
    rank = np.searchsorted(np.sort(when), when)  # how many were admitted strictly before
    tree, most, later = np.zeros(n + 1, np.int64), 0, n
    for index in range(n - 1, -1, -1):
        while later > index + 1 and arrival[later - 1] > arrival[index]:
            later -= 1
            place = rank[later] + 1
            while place <= n:
                tree[place] += 1
                place += place & -place
        place, before = rank[index], 0
        while place > 0:
            before += tree[place]
            place -= place & -place
        most = max(most, before)
    return int(most)


def _most_waiting(arrival: FloatArray, admitted: FloatArray) -> int:
    """Return the most requests that waited at a time; who is admitted at once waited alone."""
    left = np.where(np.isnan(admitted), np.inf, admitted)
    time = np.concatenate((arrival, left))
    order = np.argsort(time, kind="stable")  # an arrival before whoever leaves then
    steps = np.concatenate((np.ones(len(arrival)), -np.ones(len(left))))
    return int(np.cumsum(steps[order]).max(initial=0.0))


def _present(arrival: FloatArray, last: FloatArray) -> tuple[float, float]:
    """Return the integral of the number in the system, and the time for which it was not 0."""
    if not len(arrival):
        return 0.0, 0.0
    time = np.concatenate((arrival, last))
    order = np.argsort(time, kind="stable")
    steps = np.concatenate((np.ones(len(arrival)), -np.ones(len(last))))
    present = np.cumsum(steps[order])[:-1]
    length = np.diff(time[order])
    return float(present @ length), float(length[present > 0.5].sum())


def replay_of(
    trace: RequestTrace, parts: list[IntArray], courses: list[RequestCourse], fault: int
) -> RequestReplay:
    """Return the replay of the requests that count, by arrival; at a fault those that were answered."""
    n = len(trace.arrival)
    columns = np.full((4, n), np.nan)
    for rows, course in zip(parts, courses, strict=False):
        state = course.state
        columns[:, rows] = course.latency_s, state.admitted, state.first, state.last
    counted = trace.counted
    if fault >= 0:
        counted = counted[np.isfinite(columns[3, counted])]
    latency_s, admitted, first, last = columns[:, counted]
    arrival, tokens = trace.arrival[counted], trace.output[counted]
    lost = ~trace.ok[counted] & (trace.latency_ms[counted] >= CLIP_MS)
    return RequestReplay(
        time=arrival,
        outcome=np.where(lost, CLIP_MS, np.minimum(latency_s * 1e3, CLIP_MS)),
        ok=trace.ok[counted],
        action=np.zeros(len(counted), np.int64),
        members=0,
        fault=fault,
        extra={
            "queue_ms": (admitted - arrival) * 1e3,
            "ttft_ms": (first - arrival) * 1e3,
            "tpot_ms": (last - first) / np.maximum(tokens - 1, 1) * 1e3,
            "late": (last > trace.due[counted]).astype(np.float64),
        },
        courses=tuple(courses),
    )
