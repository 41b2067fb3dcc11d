"""A kind of the tests' own, items, and programs made of plain functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from gnomon.sdk.assignment import Assignment, Switchback
from gnomon.sdk.hook import Hook
from gnomon.sdk.kind import Feature, Kind, Metric

KIND = Kind(
    name="test_balancer",
    version=1,
    description="Picks an item.",
    features=(
        Feature("inflight", "{request}", "Outstanding requests.", 0.0, 1e6, integer=True),
        Feature("ewma_ms", "ms", "Smoothed latency.", 0.0, 1e6),
    ),
    objective=Metric("latency_ms", "ms", 2000.0),
    outcome_deadline_s=5.0,
)
SWITCHBACK = Switchback(b"salt", "default", 1_000_000_000, 0, 0, 0.5)


@dataclass(eq=False)
class Item:
    """What a service balances over."""

    name: str
    inflight: float = 0
    ewma_ms: float = 10.0


def items(n: int = 3) -> list[Item]:
    return [Item(f"item-{i}") for i in range(n)]


def read(item: Any) -> tuple[float, ...]:
    return (item.inflight, item.ewma_ms)


READ: dict[str, Any] = {
    "kind": KIND,
    "items": "backends",
    "item_features": read,
    "item_name": lambda item: item.name,
}

Choose = Callable[[Sequence[Sequence[float]]], Any]


def run(hook: Any, choose: Choose, *, phase: Any = "full", epoch: int = 1, **more: Any) -> None:
    """Install a plain function as candidate (``stable=`` as stable), in place of a program."""
    target = Hook.of(hook)
    target.chooser = lambda program, kind: program.choose
    candidate = SimpleNamespace(choose=choose, inputs=())
    stable = more.pop("stable", None)
    target.install(
        Assignment(
            epoch=epoch,
            phase=phase,
            candidate=candidate,  # type: ignore[arg-type]
            candidate_digest="c" * 64,
            stable=SimpleNamespace(choose=stable, inputs=()) if stable else None,  # type: ignore[arg-type]
            stable_digest="s" * 64 if stable else "incumbent",
            **more,
        )
    )


def accounted(hook: Any) -> bool:
    """Return whether every call of a hook is accounted for."""
    c = Hook.of(hook).counters
    kept = c["recorded"] + c["skipped"] + c["dropped"] + c["failed"] + c["raised"]
    return bool(c["decisions"] == kept)
