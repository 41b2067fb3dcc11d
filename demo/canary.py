"""Following a rollout in the demo, and what it cost the users."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gnomon.v1 import rollouts_pb2

from ..policies.rollout.client import ENDED, RolloutClient, acknowledged
from ..recorder.store import TraceStore
from ..sdk.errors import RolloutError
from .plan import DemoPlan
from .stack import HOOK, Stack

ACTOR = "demo"


@dataclass
class LateBlocks:
    """Passes the generator's late blocks on to the control plane, so that neither arm counts them.

    Attributes:
        path: file that the generator appends to.
        block_ns: length of a block.
        count: blocks passed on so far.
    """

    path: Path
    block_ns: int
    count: int = 0
    _read: int = 0

    def report(self, client: RolloutClient) -> None:
        """Exclude the blocks that were added to the file since the last time."""
        if not self.path.exists():
            return
        with self.path.open() as lines:
            lines.seek(self._read)
            fresh = [line for line in lines if line.endswith("\n")]
            self._read += sum(len(line.encode()) for line in fresh)
        for late in map(json.loads, fresh):
            start = late["block"] * self.block_ns
            reason = f"generator lag {late['lag_ms']:.1f} ms"
            client.exclude(HOOK, start, start + self.block_ns, reason, ACTOR)
            self.count += 1

    def skip(self) -> None:
        """Forget what is in the file already."""
        self._read = self.path.stat().st_size if self.path.exists() else 0


def follow(
    stack: Stack,
    client: RolloutClient,
    rollout: str,
    late: LateBlocks,
    show: Callable[[rollouts_pb2.Rollout], None],
) -> rollouts_pb2.Rollout:
    """Poll a rollout until it ends, report late blocks, watch the processes; return the last state."""
    while True:
        stack.check()
        found = client.get(rollout)
        show(found)
        if rollouts_pb2.State.Name(found.state) in ENDED:
            return acknowledged(client, found, stack.pause)
        with contextlib.suppress(
            RolloutError
        ):  # it may have ended since: nothing is left to exclude
            late.report(client)
        stack.pause(0.25)


def progress_note(found: rollouts_pb2.Rollout, plan: DemoPlan) -> tuple[float, str]:
    """Return how far a rollout is towards its horizon, and a line about it."""
    evidence = found.evidence
    state = rollouts_pb2.State.Name(found.state)
    if state in ("DRAFT", "SHADOW"):
        share = evidence.shadow_decisions / max(plan.shadow_decisions, 1)
        return 0.1 * share, f"{state}: {evidence.shadow_decisions} decisions beside the incumbent"
    note = (
        f"{state}: {evidence.pairs} pairs, e(better) {_e(evidence.log_e_better)}, "
        f"e(worse) {_e(evidence.log_e_worse)}, effect {evidence.effect.estimate:+.0%}"
    )
    return 0.1 + 0.9 * evidence.pairs / plan.max_pairs, note


def _e(log_e: float) -> str:
    return f"{np.exp(min(log_e, 20.0)):.3g}"


def extra_latency(store: Path, start_ns: int, end_ns: int) -> dict[str, float]:
    """Return what a candidate's requests cost beyond the stable arm's mean, from the trace.

    Returns:
        ``requests`` that the candidate decided, their ``mean_ms``, the stable arm's
        ``stable_mean_ms`` and ``extra_ms_requests``, the sum of the differences (ms x requests).
    """
    arms, latencies = _recorded(store, start_ns, end_ns)
    candidate = latencies[arms == "candidate"]
    stable = latencies[arms != "candidate"]
    base = float(stable.mean()) if len(stable) else 0.0
    return {
        "requests": len(candidate),
        "mean_ms": float(candidate.mean()) if len(candidate) else 0.0,
        "stable_mean_ms": base,
        "extra_ms_requests": float((candidate - base).sum()),
    }


def _recorded(store: Path, start_ns: int, end_ns: int) -> tuple[Any, Any]:
    table = TraceStore(store).decisions(HOOK, start_ns, end_ns)
    arms, latencies = [], []
    for arm, values in zip(table["arm"].to_pylist(), table["values"].to_pylist(), strict=True):
        latency = dict(values or ()).get("latency_ms")
        if latency is not None:
            arms.append(arm)
            latencies.append(latency)
    return np.array(arms), np.array(latencies)
