"""A recorded system and, on it, cases that gates can be asked about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.policies.rollout.ledger import Ledger
from gnomon.sdk.invariant import Invariant
from gnomon.sdk.isolation.zygote import Zygote
from gnomon.sdk.language import check
from gnomon.shadow.gates.case import Case, Target, VerifyOptions
from gnomon.shadow.isolation.lockstep import lockstep_zygote
from gnomon.shadow.policy import ScorePolicy
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.traces.trace import DecisionTrace

from ..isolation.systems import recorded

PEAK = load_balancer.baselines["peak_ewma"].source or ""
#: As above, and what was not picked for long goes first, so that no luck of a replay starves a backend.
PROBING = (
    "def score(inflight, ewma_ms, since_picked):\n"
    "    return (inflight + 1.0) * ewma_ms if since_picked < 100.0 else -1e9\n"
)
ROUND_ROBIN = load_balancer.baselines["round_robin"].source or ""
INPUTS = load_balancer.input_names


@pytest.fixture(scope="session")
def trace() -> DecisionTrace:
    return recorded(40.0, seed=1)


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    with lockstep_zygote() as zygote:
        yield zygote


@pytest.fixture(scope="session")
def calibrations(trace: DecisionTrace) -> tuple[Any, ...]:
    # a worst of three instead of eight; the whole verifications here draw all of them
    return simulator_for(load_balancer).draws(trace, 3, 0)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.db", clock=lambda: 1)


def target(*extra: Invariant, incumbent: str = ROUND_ROBIN) -> Target:
    invariants = (*load_balancer.invariants, *extra)
    return Target(
        "router.pick", load_balancer, ScorePolicy("incumbent", incumbent, load_balancer), invariants
    )


@pytest.fixture
def make(
    trace: DecisionTrace, zygote: Zygote, calibrations: tuple[Any, ...], ledger: Ledger
) -> Callable[..., Case]:
    """Return a maker of cases: ``make(source, target=..., against=..., options=...)``."""

    def build(
        source: str,
        wanted: Target | None = None,
        against: dict[str, str] | None = None,
        options: VerifyOptions | None = None,
    ) -> Case:
        case = Case(
            wanted or target(),
            source,
            trace,
            {
                "train": trace.window(0, 20),
                "validation": trace.window(20, 30),
                "holdout": trace.window(30, 41),
            },
            simulator_for(load_balancer),
            zygote,
            ledger,
            against or {},
            options or VerifyOptions(),
        )
        case.__dict__["calibrations"] = calibrations  # the fit is the same for every case here
        try:
            case.program = check(source, INPUTS)
        except Exception:  # noqa: BLE001 - a case for the language gate
            case.program = None
        return case

    return build
