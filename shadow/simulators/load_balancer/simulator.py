"""The simulator of the ``load_balancer`` kind.

Backends are FIFO queues before a few slots each; a service time is a draw from the backend's own
distribution times the level (slow spell) that the backend was recorded in at that time. Levels
belong to the workload: they are replayed when they happened, whatever a policy does. Every draw is a
function of seed and decision, so that two policies meet the same luck.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ....policies.load_balancer import load_balancer
from ....sdk.kind import Kind, Order
from ...traces.trace import DecisionTrace
from ..base import Choose, Replay, Simulator, Stream
from ..native import first_class, reads
from . import fit, kernel
from .books import LoadBalancerReplay, LoadBalancerSummary, figures, replay_of
from .bound import lowest_mean
from .built_in import chooser, run
from .model import LoadBalancerCalibration, mixed_seed, model_of, restore, state_of

__all__ = [
    "LoadBalancerCalibration",
    "LoadBalancerReplay",
    "LoadBalancerSimulator",
    "LoadBalancerSummary",
]


class LoadBalancerSimulator(Simulator):
    """Replays recorded arrivals through calibrated backends under another policy."""

    @property
    def kind(self) -> Kind:
        """``load_balancer``."""
        return load_balancer

    def calibrate(self, trace: DecisionTrace) -> LoadBalancerCalibration:
        """Fit slots, overhead, service times, slow spells and the service's moving average.

        Raises:
            TraceError: a member was picked too seldom to say anything about it.
        """
        return fit.calibration(fit.evidence(trace, load_balancer.objective.clip))

    def draws(self, trace: DecisionTrace, n: int, seed: int) -> tuple[LoadBalancerCalibration, ...]:
        """Return n calibrations from a bootstrap over blocks of time."""
        evidence = fit.evidence(trace, load_balancer.objective.clip)
        return tuple(
            fit.drawn(evidence, np.random.default_rng((int(mixed_seed(seed)), index)))
            for index in range(n)
        )

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> LoadBalancerCalibration:
        """Return the calibration that these arrays were written from."""
        return restore(arrays)

    def stream(
        self, trace: DecisionTrace, calibration: LoadBalancerCalibration, seed: int
    ) -> Stream:
        """Return a generator that asks for every decision in turn."""
        model = model_of(trace, calibration, seed)
        state = state_of(trace, calibration)
        picked = -1
        for index in range(len(trace)):
            kernel.step(model, state, index, picked)
            picked = yield state.rows
            if not 0 <= picked < len(trace.members):
                return replay_of(model, state, index)
        kernel.step(model, state, len(trace), picked)
        return replay_of(model, state, -1)

    def compiled(
        self,
        trace: DecisionTrace,
        calibration: LoadBalancerCalibration,
        seed: int,
        score: Any,
        order: Order = "lowest",
    ) -> Replay:
        """Replay with a compiled score of the kind's inputs; NaN is a fault."""
        model = model_of(trace, calibration, seed)
        state = state_of(trace, calibration)
        sign = 1.0 if order == "lowest" else -1.0
        fault = kernel.run(model, state, first_class(score), sign, _reads(score, model))
        return replay_of(model, state, int(fault))

    def built_in(self, name: str, trace: DecisionTrace, seed: int) -> Choose:
        """Return ``power_of_two_choices``, ``join_idle_queue`` or ``smooth_weighted_round_robin``.

        Raises:
            ConfigurationError: there is none of this name, or it sees more than the rows.
        """
        return chooser(name, len(trace.instances), seed)

    def replay_built_in(
        self, name: str, trace: DecisionTrace, calibration: LoadBalancerCalibration, seed: int
    ) -> Replay:
        """Replay in a compiled loop under one of those, or ``peak_ewma_finagle``.

        Raises:
            ConfigurationError: there is none of this name.
        """
        model = model_of(trace, calibration, seed)
        state = state_of(trace, calibration)
        run(name, model, state, seed)
        return replay_of(model, state, -1)

    def bound(self, trace: DecisionTrace, calibration: LoadBalancerCalibration, seed: int) -> float:
        """Return a mean outcome in ms that no policy beats.

        The proof is with :mod:`~gnomon.shadow.simulators.load_balancer.bound`: every request alone on its
        fastest backend, or all backends as one server under preemptive SRPT; the larger counts.
        """
        return lowest_mean(model_of(trace, calibration, seed))

    def figures(self, trace: DecisionTrace, replay: Replay) -> dict[str, float]:
        """Return imbalance (busy time per slot, most over mean) and the longest and the mean queue."""
        return figures(replay)


def _reads(score: Any, model: kernel.Model) -> int:
    """Return what a score reads; weights that differ between processes on one view count as a change."""
    if reads(score, "noise"):
        return kernel.LUCK
    one_view = bool(
        (model.watch != model.process).any() and (model.weight != model.weight[0]).any()
    )
    return kernel.COUNT if one_view or reads(score, "since_picked") else kernel.SHOWN
