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
from .profiles import counts_of, first_ns, newest_ns, rows_of
from .report.shown import Part, Shown, Table, plain

if TYPE_CHECKING:
    from gnomon.v1 import policy_pb2

    from ..recorder.store import TraceStore
    from ..sdk.kind import Kind


#: Holds a daily and a weekly cycle whole, in seconds.
WEEK_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Moved:
    """How far one feature has moved.

    Attributes:
        name: of it.
        index: population stability index that counts: the smaller one of the two below.
        count: decisions that it is of.
        trace: index against the justifying trace.
        first: against the policy's own first stretch of traffic; None where that is not recorded.
    """

    name: str
    index: float
    count: int
    trace: float
    first: float | None


@dataclass(frozen=True, slots=True, repr=False)
class Drift(Shown):
    """The newest traffic of a hook against a profile.

    Attributes:
        hook: name.
        trace: digest of the justifying trace.
        from_ns, until_ns: Unix time of the traffic that was looked at.
        first_ns: Unix time from which a stretch as long is the second reference; 0 for none.
        age_s: seconds from its newest decision until now.
        limit: of the index.
        features: of the profile.
    """

    hook: str
    trace: str
    from_ns: int
    until_ns: int
    first_ns: int
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
                f"{each.trace:.3f}",
                "-" if each.first is None else f"{each.first:.3f}",
                str(each.count),
                "yes" if each.index > self.limit else "no",
            )
            for each in self.features
        )
        few = f" (fewer than {LEAST_COUNT} decisions)" if self.answer == "inconclusive" else ""
        return (
            Table(("feature", "index", "trace", "first", "decisions", "moved"), rows, self.hook),
            f"{self.answer}{few}; limit {self.limit:g}, newest decision {self.age_s / 3600:.1f} h ago",
        )


def drift_of(
    store: TraceStore,
    hook: str,
    kind: Kind,
    profile: policy_pb2.Profile,
    *,
    policy: str = "",
    limit: float = 0.25,
    last_s: float = WEEK_S,
    clock: Callable[[], int] = time.time_ns,
) -> Drift:
    """Return how far the newest traffic in a store is from a profile.

    What a policy sees depends on what it does, and the trace was recorded on another one; so its own first
    stretch of traffic is a second reference, and the smaller index counts, as in the control plane.

    Args:
        store: holds the decisions.
        hook: name of the hook.
        kind: of it.
        profile: of the justifying trace.
        policy: digest of the bundle that is in force; its first ``last_s`` seconds in the store are a reference,
            once the newest ones are later. Without one, the trace alone is.
        limit: of the index of any feature.
        last_s: seconds of traffic, up to the newest decision; a week holds weekly cycles whole.
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
    first = first_ns(store, hook, policy) if policy else 0
    first = first if first + (until - start) <= start else 0  # it must be another stretch
    base: dict[str, list[int]] = {}
    if first:
        own = rows_of(store, hook, kind, first, first + (until - start), policy)
        base = counts_of(own, profile, kind)
    moved = [
        _moved(each, counts[each.name], int(profile.decisions), base.get(each.name, []))
        for each in profile.features
        if each.name in counts
    ]
    age_s = (clock() - until) / 1e9
    return Drift(hook, profile.trace, start, until, first, age_s, limit, tuple(moved))


def _moved(
    reference: policy_pb2.FeatureProfile, counts: list[int], of: int, base: list[int]
) -> Moved:
    trace = stability_index(counts, reference.shares, of)
    total = sum(base)
    if total < LEAST_COUNT:
        return Moved(reference.name, trace, sum(counts), trace, None)
    first = stability_index(counts, [count / total for count in base], total)
    return Moved(reference.name, min(trace, first), sum(counts), trace, first)
