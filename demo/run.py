"""The state of one run of the demo, and how it may end."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon.v1 import rollouts_pb2

from ..policies.rollout.shipping import Ramp
from .plan import DemoPlan
from .screen import Screen
from .stack import Stack

if TYPE_CHECKING:
    from ..shadow.search.results.finalist import Finalist


class DemoExit(IntEnum):
    """How a run of the demo ended."""

    GOOD = 0  # promoted, and the wrong one taken back; of a null run: nothing was promoted
    WRONG = 1  # something that must not happen did
    INCONCLUSIVE = 3  # too noisy, or nothing won: the incumbent was kept


@dataclass
class Run:
    """State of one run.

    Attributes:
        plan: its numbers.
        folder: everything is written below it.
        screen: prints.
        stack: the live system.
        summary: every figure that was printed.
        shipped: the finalist that went through the gates.
    """

    plan: DemoPlan
    folder: Path
    screen: Screen
    stack: Stack
    summary: dict[str, Any] = field(default_factory=dict)
    shipped: Finalist | None = None

    @property
    def capture(self) -> Path:
        """The captured trace, saved apart from what is recorded later."""
        return self.folder / "capture.npz"

    @property
    def hook(self) -> str:
        """Where commands find the decorated function."""
        return f"gnomon.demo.{'router_null' if self.plan.null else 'router'}:pick"

    @property
    def ledger(self) -> Path:
        """The ledger of verdicts."""
        return self.folder / "ledger.db"

    def ramp(self) -> Ramp:
        """Return how a candidate may take over."""
        plan = self.plan
        return Ramp(
            weights=(0.5, 1.0),
            block_s=plan.block_s,
            burn_in_s=plan.burn_in_s,
            skew_s=plan.skew_s,
            min_pairs=plan.min_pairs,
            max_pairs=plan.max_pairs,
            shadow_decisions=plan.shadow_decisions,
            shadow_rate=1.0,
            soak_s=plan.soak_s,
            lease_s=6.0,
        )


@dataclass(frozen=True, slots=True)
class Shipped:
    """How one rollout in the demo ended.

    Attributes:
        found: the rollout's last state.
        state: its name.
        seconds: from shipping to the end.
        start_ns, end_ns: Unix times of that.
    """

    found: rollouts_pb2.Rollout
    state: str
    seconds: float
    start_ns: int
    end_ns: int


def write_summary(summary: dict[str, Any], path: Path) -> None:
    """Write every figure of a run; the file is the old one or the whole new one."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(_plain(summary), indent=2, sort_keys=True) + "\n")
    partial.rename(path)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return finite(value) if isinstance(value, float) else value


def finite(value: float) -> float | None:
    """Return a number that JSON has, or None."""
    return value if math.isfinite(value) else None
