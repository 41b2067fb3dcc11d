"""Sticky arms on the control plane: sums by slice are pooled, looked at, stored, and decided on."""

from __future__ import annotations

from typing import Any

from gnomon.policies.rollout.machine import Status
from gnomon.policies.rollout.shipping import Ramp

RAMP = Ramp(
    weights=(0.5, 1.0),
    shadow_decisions=100,
    soak_s=5.0,
    lease_s=15.0,
    min_pairs=4,
    max_looks=80,
)
NAMES = [status.value for status in Status]


def better(arm: str, unit: int) -> float:
    return 14.0 if arm == "candidate" else 20.0


def worse(arm: str, unit: int) -> float:
    return 26.0 if arm == "candidate" else 20.0


def equal(arm: str, unit: int) -> float:
    return 20.0


def test_a_better_policy_goes_from_draft_to_stable(sticky: Any) -> None:
    sticky.ship(RAMP)
    assert sticky.run(120.0, better, "STABLE") == "STABLE", sticky.control.get().transitions
    state = sticky.control.get()
    assert [made.after for made in state.transitions] == ["SHADOW", "CANARY", "FULL", "STABLE"]
    assert "objective better by" in state.transitions[2].cause
    assert state.evidence.effect().high < 0.0
    print(state.transitions)
