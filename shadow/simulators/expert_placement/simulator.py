"""The simulator of the ``expert_placement`` kind: recorded load under other placements.

What tokens ask for does not depend on where experts are, so a window's load is the workload. A policy is
asked after window w and judged by window ``w + 1 + delay``: the load of the fullest rank over that of
the mean rank, each summed over the layers (a forward pass waits for the fullest rank of every layer in
turn), with an expert's load split evenly over its replicas. What is current when a policy is asked is
what the same policy answered before; at first, what the trace says.

Nothing is fitted. What a calibration leaves open is which tokens happened to come: its draws are a
bootstrap over the tokens of each layer and window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ....policies.expert_placement import NOBODY, expert_placement, static_row
from ....recorder.store import TraceStore
from ....sdk.errors import ConfigurationError, TraceError
from ....sdk.kind import Kind, Order
from ...traces.load_trace import LoadTrace, load_trace
from ..base import IntArray, Measure, Simulator, statistics
from . import batch, kernel
from . import eplb_kernel as eplb
from .model import (
    Judge,
    PlacementCalibration,
    PlacementReplay,
    PlacementSummary,
    accepted,
    imbalance,
    load_of,
    restore,
)

__all__ = [
    "ExpertPlacementSimulator",
    "PlacementCalibration",
    "PlacementReplay",
    "PlacementSummary",
]

#: Arguments of a policy to what it answers, ``{"placement": rows}``; None for a policy that failed.
Answers: TypeAlias = Callable[[tuple[Any, ...]], Mapping[str, Any] | None]
#: Questions that are shown to those who ask what a policy sees.
_QUESTIONS = 64
#: Of ``eplb_lazy``, as its source has it.
WORTH = 0.15
#: A placement may reach the bound, and sums of the same loads differ by rounding.
_ROUNDING = 1e-12


class ExpertPlacementSimulator(Simulator):
    """Replays recorded load under placements by another policy."""

    trace_type = LoadTrace
    compiled_programs = frozenset(expert_placement.baselines)

    @property
    def kind(self) -> Kind:
        """``expert_placement``."""
        return expert_placement

    def load(self, stored: TraceStore, hook: str) -> LoadTrace:
        """Read a hook's load from a store; raises TraceError when no replay could be faithful."""
        return load_trace(stored, hook)

    def incumbent(self, trace: Any) -> str:
        """Return the policy that the trace names; the static one for an import, which names none.

        Raises:
            ConfigurationError: it names none that can be replayed.
        """
        if not trace.policy:
            return "baseline:static"
        if trace.policy not in expert_placement.baselines:
            raise ConfigurationError(
                f"trace {trace.hook!r} was recorded under policy {trace.policy!r}, which is not "
                "published; name what to compare with by --incumbent"
            )
        return f"baseline:{trace.policy}"

    def calibrate(self, trace: LoadTrace) -> PlacementCalibration:
        """Return the load as recorded; raises TraceError where no decision could be judged."""
        _check_judged(trace)
        return PlacementCalibration(np.zeros(1, np.int64))

    def draws(self, trace: LoadTrace, n: int, seed: int) -> tuple[PlacementCalibration, ...]:
        """Return n calibrations, each with tokens of its own from a bootstrap."""
        rng = np.random.default_rng(seed)
        return tuple(PlacementCalibration(rng.integers(1, 1 << 62, 1)) for _ in range(n))

    def restore(self, arrays: Mapping[str, npt.NDArray[Any]]) -> PlacementCalibration:
        """Return the calibration that these arrays were written from."""
        return restore(arrays)

    def measures(self, trace: LoadTrace) -> tuple[Measure, ...]:
        """Return the imbalance's statistics: there are no members to have shares."""
        return statistics(expert_placement)

    def observed(self, trace: LoadTrace) -> Any:
        """Return arguments that decisions of EPLB see, at most 64 of them, evenly over the trace.

        Raises:
            TraceError: there was nothing to decide.
        """
        _check_judged(trace)
        seen: list[tuple[Any, ...]] = []
        choose: Answers = self.built_in("eplb", trace, 0)

        def watch(arguments: tuple[Any, ...]) -> Mapping[str, Any] | None:
            seen.append(arguments)
            return choose(arguments)

        answered(self.stream(trace, self.calibrate(trace), 0), watch)
        return tuple(seen[:: -(-len(seen) // _QUESTIONS)])

    def stream(self, trace: LoadTrace, calibration: PlacementCalibration, seed: int) -> Any:
        """Return a generator that asks for every placement in turn.

        It yields the arguments of ``rebalance`` in the contract's order (numpy arrays that must not be
        written, but for ``placement``) and is sent ``{"placement": rows}``, or None where the policy
        failed; what cannot be judged counts as a failure, and a failure ends the replay.
        """
        judge = Judge(trace, trace.placement)
        before = 1 + trace.delay
        for window in range(trace.first, len(trace.at)):
            arguments = _arguments(trace, window - before, judge.current, calibration)
            placement = accepted(trace, (yield arguments))
            if placement is None:
                return judge.replay(fault=window - trace.first)
            judge.take(placement, load_of(trace, window, calibration))
        return judge.replay()

    def compiled(
        self, trace: Any, calibration: Any, seed: int, score: Any, order: Order = "lowest"
    ) -> PlacementReplay:
        """Refuse: programs are not compiled, for array indexing is not safe there.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(
            "kind 'expert_placement' is of program form, which has no compiled tier; replay it in "
            "lockstep, or as a built-in policy"
        )

    def recorded(self, trace: Any, calibration: Any, seed: int) -> PlacementReplay:
        """Refuse: what was decided is too large to be recorded, only what came of it is.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(
            "placements are not recorded; name the policy, such as --incumbent baseline:eplb"
        )

    def replay_built_in(
        self, name: str, trace: LoadTrace, calibration: PlacementCalibration, seed: int
    ) -> PlacementReplay:
        """Replay under a published policy, compiled; on a GPU where torch has one, with the same result.

        Raises:
            ConfigurationError: there is none of this name.
        """
        choose = self.built_in(name, trace, seed)
        device = batch.device(len(trace)) if name in PLACED else ""
        if device:
            by_node, packing = PLACED[name]
            kept = effective(trace.groups, trace.nodes) if by_node else (1, 1)
            with suppress(RuntimeError):  # torch's: a GPU that is full, or that others have taken
                return batch.batched(trace, calibration, kept, packing, device)
        return answered(self.stream(trace, calibration, seed), choose)

    def built_in(self, name: str, trace: Any, seed: int) -> Any:
        """Return a published policy as a function of a decision's arguments, compiled.

        Its maps are those of the baseline's source in program form.

        Raises:
            ConfigurationError: there is none of this name.
        """
        if name not in expert_placement.baselines:
            known = ", ".join(sorted(expert_placement.baselines))
            raise ConfigurationError(f"no built-in policy {name!r}; there are {known}")
        return lambda arguments: {"placement": published(name, *arguments[:6])}

    def figures(self, trace: LoadTrace, replay: Any) -> dict[str, float]:
        """Return the mean balancedness (mean over fullest rank), and the mean share of slots that moved."""
        if not len(replay.outcome):
            return {}
        return {
            "balancedness": float((1.0 / replay.outcome).mean()),
            "moved": float(replay.extra["moved"].mean()),
        }

    def bound(self, trace: LoadTrace, calibration: PlacementCalibration, seed: int) -> float:
        """Return a mean imbalance that no policy can beat; ``-inf`` for a trace without judged windows.

        Per window it is the limit of :func:`~.kernel.least_fullest`, where the proof is, over the
        mean rank's load.
        """
        groups, nodes = effective(trace.groups, trace.nodes)
        least = []
        for window in range(trace.first, len(trace.at)):
            load = load_of(trace, window, calibration)
            floor = kernel.least_fullest(load, trace.replicas, trace.ranks, groups, nodes)
            least.append(imbalance(floor, float(load.sum()) / trace.ranks))
        return float(np.mean(least)) * (1.0 - _ROUNDING) if least else float("-inf")


def _check_judged(trace: LoadTrace) -> None:
    if not len(trace):
        raise TraceError(
            f"trace {trace.hook!r} has no window that a decision could be judged by; record more"
        )


def effective(groups: int, nodes: int) -> tuple[int, int]:
    """Return groups and nodes of the hierarchy; (1, 1) where groups cannot stay on nodes."""
    return (groups, nodes) if groups % nodes == 0 else (1, 1)


#: Published policies that share a skeleton: whether groups are kept on nodes, and how ranks are filled.
PLACED: Mapping[str, tuple[bool, int]] = MappingProxyType(
    {
        "eplb": (True, eplb.PACKED),
        "greedy_global": (False, eplb.PACKED),
        "snake": (True, eplb.DEALT),
    }
)


def published(
    name: str, weight: Any, replicas: int, groups: int, nodes: int, ranks: int, current: Any
) -> IntArray:
    """Return the map of a published policy, i8[layers, replicas]; arguments as of a program."""
    load = np.ascontiguousarray(weight, np.float64)
    layers, experts = load.shape
    if name in ("eplb_sticky", "eplb_lazy"):
        placement = published("eplb", load, replicas, groups, nodes, ranks, current)
        held, shape = np.ascontiguousarray(current, np.int64), effective(groups, nodes)
        eplb.keep(placement, held, experts, shape[1], ranks)
        if name == "eplb_lazy":
            eplb.keep_unless_worth(load, placement, held, *shape, ranks, WORTH)
        return placement
    if name not in PLACED:
        row = np.array(static_row(experts, replicas, groups, nodes), np.int64)
        return np.tile(row, (layers, 1))
    by_node, packing = PLACED[name]
    kept = effective(groups, nodes) if by_node else (1, 1)
    placed: IntArray = eplb.place(load, replicas, *kept, ranks, packing)
    return placed


def answered(stream: Any, choose: Answers) -> PlacementReplay:
    """Run a stream to its end with a policy of this process."""
    try:
        arguments = next(stream)
        while True:
            arguments = stream.send(choose(arguments))
    except StopIteration as stop:
        replay: PlacementReplay = stop.value
        return replay


def _arguments(
    trace: LoadTrace, window: int, current: IntArray, calibration: PlacementCalibration
) -> tuple[Any, ...]:
    weight, held = load_of(trace, window, calibration), current.view()
    weight.flags.writeable = held.flags.writeable = False
    blank = np.full((trace.layers, trace.replicas), NOBODY, np.int64)
    return weight, trace.replicas, trace.groups, trace.nodes, trace.ranks, held, blank
