"""The simulator of the ``llm_router`` kind: requests through replicas with prefix caches.

What is asked for does not depend on the policy; which blocks a replica holds does. A window is replayed
with all that came before it, so that caches and queues are as the policy would have left them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ....policies.llm_router import llm_router
from ....recorder.store import TraceStore
from ....sdk.errors import ConfigurationError
from ....sdk.kind import Kind, Order
from ...traces.prompt_trace import PromptTrace, request_trace
from ...traces.trace import decision_trace
from ..base import Choose, FloatArray, Measure, Replay, Simulator, Stream, shares, statistics
from ..load_balancer.bound import mean_under_srpt
from ..native import first_class
from . import kernel
from .built_in import chooser
from .join import joined
from .model import (
    LlmRouterCalibration,
    LlmRouterReplay,
    LlmRouterSummary,
    best_hits,
    calibration,
    drawn,
    mixed_seed,
    model_of,
    prefill_times,
    replay_of,
    restore,
    state_of,
)

__all__ = [
    "LlmRouterCalibration",
    "LlmRouterReplay",
    "LlmRouterSimulator",
    "LlmRouterSummary",
    "PromptTrace",
]

#: Decisions of which the rows are shown to those who ask what a policy sees.
_TABLES = 1024
_SHORTEST_QUEUE = "least_outstanding"


class LlmRouterSimulator(Simulator):
    """Replays requests through replicas under another policy."""

    trace_type = PromptTrace

    @property
    def kind(self) -> Kind:
        """``llm_router``."""
        return llm_router

    def load(self, stored: TraceStore, hook: str) -> PromptTrace:
        """Read a hook's requests from a store, with what became of them where that was recorded.

        Raises:
            TraceError: no replay could be faithful to them.
        """
        trace = request_trace(stored, hook)
        if not stored.decisions(hook).num_rows:
            return trace
        return joined(trace, decision_trace(stored, hook))

    def incumbent(self, trace: Any) -> str:
        """Return what was recorded; the shortest queue where nothing was."""
        return "recorded" if trace.recorded else f"baseline:{_SHORTEST_QUEUE}"

    def calibrate(self, trace: PromptTrace) -> LlmRouterCalibration:
        """Return what the trace says of its replicas, with prefills fitted where outcomes were recorded."""
        return calibration(trace)

    def draws(self, trace: PromptTrace, n: int, seed: int) -> tuple[LlmRouterCalibration, ...]:
        """Return n calibrations: fits to prefills drawn anew, or a few per cent off what was said."""
        return tuple(
            drawn(trace, np.random.default_rng((int(mixed_seed(seed)), index)))
            for index in range(n)
        )

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> LlmRouterCalibration:
        """Return the calibration that these arrays were written from."""
        return restore(arrays)

    def measures(self, trace: PromptTrace) -> tuple[Measure, ...]:
        """Return the statistics of the time to first token, and each replica's share."""
        return (*statistics(llm_router), *shares(trace.members))

    def observed(self, trace: PromptTrace) -> FloatArray:
        """Return rows that decisions of the shortest queue see, f8[n, r, F], evenly over the trace."""
        every = len(trace) // _TABLES + 1
        tables = []
        stream = self.stream(trace, self.calibrate(trace), 0)
        try:
            rows = next(stream)
            for index in range(len(trace.at)):
                if index >= trace.first and (index - trace.first) % every == 0:
                    tables.append(rows.copy())
                rows = stream.send(int(rows[:, kernel.OUTSTANDING].argmin()))
        except StopIteration:
            pass
        return np.array(tables)

    def stream(self, trace: PromptTrace, calibration: LlmRouterCalibration, seed: int) -> Stream:
        """Return a generator that asks for every decision in turn, those before the window too."""
        model = model_of(trace, calibration, seed)
        state = state_of(model, len(trace.instances))
        picked = -1
        for index in range(len(model.arrival)):
            kernel.step(model, state, index, picked)
            picked = yield state.rows
            if not 0 <= picked < len(trace.members):
                return replay_of(trace, model, state, index)
        kernel.step(model, state, len(model.arrival), picked)
        return replay_of(trace, model, state, -1)

    def compiled(
        self,
        trace: PromptTrace,
        calibration: LlmRouterCalibration,
        seed: int,
        score: Any,
        order: Order = "lowest",
    ) -> Replay:
        """Replay with a compiled score of the kind's inputs; NaN is a fault."""
        model = model_of(trace, calibration, seed)
        state = state_of(model, len(trace.instances))
        sign = 1.0 if order == "lowest" else -1.0
        fault = kernel.run(model, state, first_class(score), sign)
        return replay_of(trace, model, state, int(fault))

    def recorded(self, trace: PromptTrace, calibration: LlmRouterCalibration, seed: int) -> Replay:
        """Replay the recorded picks; requests before the first go to the shortest queue.

        Raises:
            ConfigurationError: nothing was recorded.
        """
        if not trace.recorded:
            raise ConfigurationError(
                "a workload of requests holds no picks; name its policy, such as "
                f"--incumbent baseline:{_SHORTEST_QUEUE}"
            )
        picks = iter(trace.action.tolist())

        def choose(_process: int, rows: FloatArray) -> int:
            picked = next(picks)
            return picked if picked >= 0 else int(rows[:, kernel.OUTSTANDING].argmin())

        return self._driven(choose, trace, calibration, seed)

    def replay_built_in(
        self, name: str, trace: PromptTrace, calibration: LlmRouterCalibration, seed: int
    ) -> Replay:
        """Replay under ``cache_aware``; raises ConfigurationError for any other name."""
        return self._driven(self.built_in(name, trace, seed), trace, calibration, seed)

    def _driven(
        self, choose: Choose, trace: PromptTrace, calibration: LlmRouterCalibration, seed: int
    ) -> Replay:
        stream = self.stream(trace, calibration, seed)
        try:
            rows = next(stream)
            for process in trace.instance.tolist():
                rows = stream.send(choose(process, rows))
        except StopIteration as stop:
            replay: Replay = stop.value
            return replay
        raise AssertionError("a stream ends with its trace")

    def built_in(self, name: str, trace: PromptTrace, seed: int) -> Choose:
        """Return ``cache_aware``; raises ConfigurationError for any other name."""
        return chooser(name)

    def figures(self, trace: PromptTrace, replay: Replay) -> dict[str, float]:
        """Return the share of blocks that were hit, the mean time to the last token, and imbalance."""
        if not isinstance(replay, LlmRouterReplay) or replay.state is None or not len(replay.time):
            return {}
        counted = slice(trace.first, trace.first + len(replay.time))
        blocks = np.diff(np.concatenate(([0], trace.high)))[counted].sum()
        work = np.bincount(replay.action, replay.state.new[counted], replay.members)
        return {
            "hit_ratio": float(replay.extra["hit_blocks"].sum() / blocks) if blocks else 0.0,
            "mean_e2e_ms": float(replay.extra["e2e_ms"].mean()),
            "imbalance": float(work.max() / work.mean()),
        }

    def bound(self, trace: PromptTrace, calibration: LlmRouterCalibration, seed: int) -> float:
        """Return a mean time to first token in ms that no policy beats; ``-inf`` without requests.

        Proof: whichever replica a request goes to, its cache holds only blocks of earlier requests, so it
        hits at most as many leading blocks as had been sent to anybody before, and at least the rest
        of its tokens is prefilled, after its arrival and with its own draw. *Alone*, that takes the shortest that it takes
        on any replica. *Pooled*, a replica prefills one prompt at a time: the proof of
        :mod:`~gnomon.shadow.simulators.load_balancer.bound` holds with replicas of one slot, a clip included. The
        larger counts.
        """
        model = model_of(trace, calibration, seed)
        if not len(trace):
            return float("-inf")
        at = np.arange(trace.first, len(model.arrival))
        fewest = np.maximum(model.tokens - best_hits(model) * model.block_tokens, 1.0)[at]
        times = prefill_times(model, fewest, at)
        alone_ms = float(np.minimum(times.min(axis=0) * 1e3, model.clip_ms).mean())
        typical = times.mean(axis=1)
        if not (typical > 0.0).all():
            return alone_ms
        work, speed = (times / typical[:, None]).min(axis=0), float((1.0 / typical).sum())
        pooled = mean_under_srpt(trace.time, work, speed, model.clip_ms / 1e3)
        return max(alone_ms, pooled * 1e3)
