"""How far the newest traffic in a trace store has moved away from what justified a policy."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..policies.rollout.upkeep import LEAST_COUNT, stability_index
from ..sdk.errors import ConfigurationError
from ..sdk.profile import check_profile
from .profiles import counts_of, newest_ns, rows_of
from .report.shown import Part, Shown, Table, plain

if TYPE_CHECKING:
    from gnomon.v1 import policy_pb2

    from ..recorder.store import TraceStore
    from ..sdk.kind import Kind


@dataclass(frozen=True, slots=True)
class Moved:
    """One feature: its name, its population stability index, and how many decisions that is of."""

    name: str
    index: float
    count: int


@dataclass(frozen=True, slots=True, repr=False)
class Drift(Shown):
    """The newest traffic of a hook against a profile.

    Attributes:
        hook: name.
        trace: digest of the justifying trace.
        from_ns, until_ns: Unix time of the traffic that was looked at.
        age_s: seconds from its newest decision until now.
        limit: of the index.
        features: of the profile.
    """

    hook: str
    trace: str
    from_ns: int
    until_ns: int
    age_s: float
    limit: float
    features: tuple[Moved, ...]

    @property
    def answer(self) -> str:
        """``drifted``, ``same``, or ``inconclusive`` where too little was recorded to say."""
        if not self.features or max(each.count for each in self.features) < LEAST_COUNT:
            return "inconclusive"
        return "drifted" if any(each.index > self.limit for each in self.features) else "same"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values, with the answer."""
        values: dict[str, Any] = plain(asdict(self))
        return values | {"answer": self.answer}

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: a feature a line, and the answer."""
        rows = tuple(
            (
                each.name,
                f"{each.index:.3f}",
                str(each.count),
                "yes" if each.index > self.limit else "no",
            )
            for each in self.features
        )
        few = f" (fewer than {LEAST_COUNT} decisions)" if self.answer == "inconclusive" else ""
        return (
            Table(("feature", "index", "decisions", "moved"), rows, self.hook),
            f"{self.answer}{few}; limit {self.limit:g}, newest decision {self.age_s / 3600:.1f} h ago",
        )


def drift_of(
    store: TraceStore,
    hook: str,
    kind: Kind,
    profile: policy_pb2.Profile,
    *,
    limit: float = 0.25,
    last_s: float = 86_400.0,
    clock: Callable[[], int] = time.time_ns,
) -> Drift:
    """Return how far the newest traffic in a store is from a profile.

    Args:
        store: holds the decisions.
        hook: name of the hook.
        kind: of it.
        profile: of the justifying trace.
        limit: of the index of any feature.
        last_s: seconds of traffic, up to the newest decision.
        clock: Unix nanoseconds.

    Raises:
        ConfigurationError: the profile holds no features, or limit or time are no such numbers.
        TraceError: no such store or hook, or a damaged file.
        TrustError: the profile makes no sense.
    """
    if not 0.0 < limit < math.inf:
        raise ConfigurationError(f"limit {limit:g} must be above 0 and finite; 0.25 is usual")
    if not 0.0 < last_s < math.inf:
        raise ConfigurationError(f"the last {last_s:g} s hold no traffic; give more, such as 1d")
    check_profile(profile)
    if not profile.features:
        raise ConfigurationError(
            f"no profile of features to compare {hook!r} with; verify again on a trace that holds decisions"
        )
    until = newest_ns(store, hook) + 1
    start = until - round(last_s * 1e9)
    counts = counts_of(rows_of(store, hook, kind, start, until), profile, kind)
    moved = [
        Moved(
            each.name,
            stability_index(counts[each.name], each.shares, int(profile.decisions)),
            sum(counts[each.name]),
        )
        for each in profile.features
        if each.name in counts
    ]
    age_s = (clock() - until) / 1e9
    return Drift(hook, profile.trace, start, until, age_s, limit, tuple(moved))
