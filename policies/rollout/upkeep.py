"""What becomes of a promoted policy: how old its justification is, and whether its traffic moved away.

Pure, as the state machine that holds it. Drift is the population stability index (PSI, as credit scoring
uses it: Siddiqi, *Credit Risk Scorecards*, 2006; below 0.1 the same, above 0.25 another population) of
the counts of one window against two references: the trace that the verdict rests on, and the first whole
window after the promotion. The smaller one counts. What a policy sees depends on what it does (queues
of a better balancer are shorter), so distance from the trace alone, which another policy was recorded on,
is no drift; and traffic that comes back to what the trace held is none either.

With counts n and m over k bins, PSI between two samples of one distribution is about
``(k - 1) * (1/n + 1/m)`` (it is a sum of squares there, chi-squared with k - 1 degrees of freedom), which is
taken off. Silence is neither drift nor proof: a window goes on until it has enough counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from gnomon.v1 import delivery_pb2, policy_pb2

Counts = tuple[tuple[int, ...], ...]

#: Decisions that a window must count of every feature before it says anything.
LEAST_COUNT = 200
_MOST = 1 << 53


@dataclass(frozen=True, slots=True)
class Terms:
    """What the publisher wants; times in nanoseconds.

    Attributes:
        expires_ns: after the promotion, or the last verification; 0 for never.
        drift_limit: of the index of any feature; 0 does not watch.
        grace_ns: time to verify again.
        then: ``keep`` or ``incumbent``.
        window_ns: that one index is taken over.
        windows: in a row beyond the limit before it counts.
    """

    expires_ns: int = 0
    drift_limit: float = 0.0
    grace_ns: int = 0
    then: str = "keep"
    window_ns: int = 0
    windows: int = 0


#: Of a plan that says nothing of it.
NOTHING = Terms()


@dataclass(frozen=True, slots=True)
class Reference:
    """How one feature is distributed in the justifying trace.

    Attributes:
        name: of the feature.
        shares: of the bins.
        count: decisions that these are of.
    """

    name: str
    shares: tuple[float, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Index:
    """How far one feature was from the references in one window.

    Attributes:
        name: of the feature.
        trace, first: index against the trace, and against the first window; None in that window itself.
    """

    name: str
    trace: float
    first: float | None

    @property
    def value(self) -> float:
        """The smaller one, which counts; 0 before there are both."""
        return 0.0 if self.first is None else min(self.trace, self.first)


@dataclass(frozen=True, slots=True)
class Notice:
    """A policy has to be verified again.

    Attributes:
        cause: ``expired`` or ``drifted``.
        text: with the numbers.
        time_ns, due_ns: Unix time of the notice, and until when.
    """

    cause: str
    text: str
    time_ns: int
    due_ns: int


@dataclass(frozen=True, slots=True)
class Watch:
    """What is watched of one policy.

    Attributes:
        digest: of the policy.
        terms: that the publisher signed.
        profile: of the justifying trace; empty where its bundle holds none.
        evidence: digest of the verdict that it rests on.
        trace_until_ns: Unix time of that trace's newest decision; 0 where it is not known.
        since_ns: Unix time of the promotion, or of the last verification; 0 before it.
        opened_ns: when the window at hand began.
        counts: of it, by feature as in the profile; empty for nothing yet.
        first: of the first whole window; empty before.
        indices: of the last whole window.
        over, calm: windows in a row beyond the limit, and within it.
        notice: that was given; None for none.
    """

    digest: str
    terms: Terms
    profile: tuple[Reference, ...] = ()
    evidence: str = ""
    trace_until_ns: int = 0
    since_ns: int = 0
    opened_ns: int = 0
    counts: Counts = ()
    first: Counts = ()
    indices: tuple[Index, ...] = ()
    over: int = 0
    calm: int = 0
    notice: Notice | None = None

    @property
    def expires_ns(self) -> int:
        """Unix time at which the justification is too old; 0 for never."""
        return self.since_ns + self.terms.expires_ns if self.terms.expires_ns else 0

    @property
    def unwatched(self) -> str:
        """Why drift is not watched; empty where it is."""
        if not self.terms.drift_limit:
            return "the plan does not ask for it"
        return "" if self.profile else "the bundle holds no profile of its trace"


def stability_index(counts: Sequence[int], shares: Sequence[float], of: int) -> float:
    """Return the population stability index of counts against a reference, less what chance adds.

    Every bin is smoothed by half a decision (Jeffreys), so an empty one is no infinity.

    Args:
        counts: by bin.
        shares: of the reference, by bin.
        of: decisions that the shares are of.

    Returns:
        at least 0; 0 where either holds nothing.
    """
    n, bins = sum(counts), len(counts)
    if not n or not of:
        return 0.0
    index = 0.0
    for count, share in zip(counts, shares, strict=True):
        now, then = (count + 0.5) / (n + 0.5 * bins), (share * of + 0.5) / (of + 0.5 * bins)
        index += (now - then) * math.log(now / then)
    return max(0.0, index - (bins - 1) * (1.0 / n + 1.0 / of))


def references(profile: policy_pb2.Profile) -> tuple[Reference, ...]:
    """Return the references of a profile that was checked."""
    count = min(int(profile.decisions), _MOST)
    return tuple(Reference(f.name, tuple(f.shares), count) for f in profile.features)


def counted(
    found: Iterable[delivery_pb2.FeatureCounts], profile: Sequence[Reference]
) -> Counts | None:
    """Return a process's counts by feature as in the profile; None where they are of another one."""
    known = {each.name: tuple(each.counts) for each in found}
    if not profile or any(len(known.get(r.name, ())) != len(r.shares) for r in profile):
        return None
    counts = tuple(known[reference.name] for reference in profile)
    return None if any(sum(each) > _MOST for each in counts) else counts


def grown(before: Counts, after: Counts) -> Counts | None:
    """Return how much a process counted in between; None where it began anew."""
    grown = tuple(
        tuple(b - a for a, b in zip(old, new, strict=True))
        for old, new in zip(before, after, strict=True)
    )
    return None if any(n < 0 for each in grown for n in each) else grown


def added(one: Counts, other: Counts) -> Counts:
    """Return the sum of two; an empty one is nothing."""
    if not one or not other:
        return one or other
    return tuple(
        tuple(a + b for a, b in zip(x, y, strict=True)) for x, y in zip(one, other, strict=True)
    )


def begun(watch: Watch, now: int) -> Watch:
    """Return the watch over a policy that was promoted just now."""
    return Watch(
        watch.digest,
        watch.terms,
        watch.profile,
        watch.evidence,
        watch.trace_until_ns,
        since_ns=now,
        opened_ns=now,
    )


def verified(
    watch: Watch, profile: tuple[Reference, ...], evidence: str, until_ns: int, now: int
) -> Watch:
    """Return the watch after a fresh verdict: it begins anew, by the profile of the newer trace."""
    fresh = replace(watch, profile=profile, evidence=evidence, trace_until_ns=until_ns)
    return begun(fresh, now)


def looked(watch: Watch, seen: Counts, now: int) -> Watch:
    """Return the watch after counts and time; a notice comes and goes here.

    Args:
        watch: begun.
        seen: counted since the last look; empty for nothing.
        now: Unix time in nanoseconds.
    """
    if not watch.since_ns:
        return watch
    watch = _set_back(watch, now)
    if seen and not watch.unwatched:
        watch = replace(watch, counts=added(watch.counts, seen))
    if not watch.unwatched and now - watch.opened_ns >= watch.terms.window_ns and _enough(watch):
        watch = _judged(watch, now)
    return _noticed(watch, now)


def _set_back(watch: Watch, now: int) -> Watch:
    """Undo what a clock that ran ahead has caused, once it is set back."""
    if now < watch.opened_ns:
        watch = replace(watch, opened_ns=now)
    if now < watch.since_ns:
        watch = replace(watch, since_ns=now)
    if watch.notice is not None and now < watch.notice.time_ns:
        watch = replace(watch, notice=None)
    return watch


def _enough(watch: Watch) -> bool:
    """Return whether the window says anything; a feature that is never finite is not waited for."""
    sums = [sum(each) for each in watch.counts]
    return bool(sums) and max(sums) >= LEAST_COUNT


def _judged(watch: Watch, now: int) -> Watch:
    """Close the window at hand."""
    first = watch.first or watch.counts
    indices = tuple(
        _index(reference, counts, base if watch.first else ())
        for reference, counts, base in zip(watch.profile, watch.counts, first, strict=True)
    )
    over = any(index.value > watch.terms.drift_limit for index in indices)
    return replace(
        watch,
        opened_ns=now,
        counts=(),
        first=first,
        indices=indices,
        over=watch.over + 1 if over else 0,
        calm=0 if over else watch.calm + 1,
    )


def _index(reference: Reference, counts: tuple[int, ...], base: tuple[int, ...]) -> Index:
    trace = stability_index(counts, reference.shares, reference.count)
    total = sum(base)
    if not total:
        return Index(reference.name, trace, None)
    shares = [count / total for count in base]
    return Index(reference.name, trace, stability_index(counts, shares, total))


def _noticed(watch: Watch, now: int) -> Watch:
    terms, notice = watch.terms, watch.notice
    if notice is not None:
        # The rule that gave it, turned round: not all of so many windows are beyond the limit any more. A
        # weekly cycle may have no two calm days in a row.
        back = notice.cause == "drifted" and watch.calm > 0
        return replace(watch, notice=None) if back else watch
    if watch.expires_ns and now >= watch.expires_ns:
        days = (now - watch.since_ns) / 86_400e9
        return _given(watch, "expired", f"its justification is {days:.3g} days old", now)
    if terms.drift_limit and watch.over >= max(1, terms.windows):
        worst = max(watch.indices, key=lambda index: index.value)
        text = (
            f"its workload moved away: index of {worst.name} {worst.value:.2f} in "
            f"{watch.over} windows, limit {terms.drift_limit:g}"
        )
        return _given(watch, "drifted", text, now)
    return watch


def _given(watch: Watch, cause: str, text: str, now: int) -> Watch:
    return replace(watch, notice=Notice(cause, text, now, now + watch.terms.grace_ns))
