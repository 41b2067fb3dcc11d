"""Sizes, durations and backends of a run: every number of the demo that is not measured."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class BackendSpec:
    """One HTTP backend.

    Attributes:
        name: of the backend.
        service_ms: mean service time, in ms.
        slots: requests served at once; the others wait in order of arrival.
        weight: what the service's configuration says, set "last month".
        spells: whether the backend has slow spells.
    """

    name: str
    service_ms: float
    slots: int
    weight: float
    spells: bool = False


#: Unequal speeds (spread 2.8x). The weights were right once: since then "cedar" and "dogwood" moved
#: to older machines and "aspen" to a newer one.
UNEQUAL = (
    BackendSpec("aspen", 22.0, 2, 2.0),
    BackendSpec("birch", 28.0, 2, 3.0, spells=True),
    BackendSpec("cedar", 42.0, 2, 3.4),
    BackendSpec("dogwood", 60.0, 2, 2.5),
)

EQUAL = tuple(BackendSpec(name, 34.0, 2, 1.0) for name in ("aspen", "birch", "cedar", "dogwood"))


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """Everything that a run of the demo fixes beforehand.

    Attributes:
        seed: of traffic, backends and search.
        backends: the four backends.
        rate: requests per second, Poisson.
        capture_s: seconds of production traffic recorded before anything else.
        budget: evaluations of the search.
        block_s, burn_in_s, skew_s: of the switchback blocks.
        min_pairs, max_pairs: of the good canary; undecided at ``max_pairs`` is inconclusive.
        soak_s: seconds at full weight before a policy is stable.
        shadow_decisions: of live shadow before a canary.
        degrade_factor: how much slower the first backend gets before the second policy is shipped.
        settle_s: seconds between that and the shipping.
        null: equal backends and an equal policy, to see that it is not promoted.
        lag_ms: generator lag above which a block is left out of both arms.
    """

    seed: int = 0
    backends: tuple[BackendSpec, ...] = field(default=UNEQUAL)
    rate: float = 115.0
    capture_s: float = 50.0
    budget: int = 240
    block_s: float = 2.0
    burn_in_s: float = 0.4
    skew_s: float = 0.05
    min_pairs: int = 8
    max_pairs: int = 30
    soak_s: float = 8.0
    shadow_decisions: int = 300
    degrade_factor: float = 5.0
    settle_s: float = 4.0
    null: bool = False
    lag_ms: float = 5.0

    @property
    def incumbent(self) -> str:
        """What the service does before anything is tuned, in words."""
        if self.null:
            return "least outstanding requests"
        return "smooth weighted round robin with last month's weights"

    @property
    def block_ns(self) -> int:
        """Length of a switchback block in ns."""
        return int(self.block_s * 1e9)


def plan_for(seed: int, *, quick: bool = False, null: bool = False) -> DemoPlan:
    """Return the plan of a full, a quick (shorter capture, search and canary) or a null run."""
    plan = DemoPlan(seed=seed)
    if quick:
        plan = replace(
            plan, capture_s=36.0, budget=120, block_s=1.5, burn_in_s=0.3, max_pairs=24, soak_s=4.0
        )
    if null:
        plan = replace(plan, backends=EQUAL, null=True, min_pairs=8, max_pairs=24)
    return plan
