"""How the features of a hook's decisions are distributed, in bins that a bundle's profile names.

A profile is made of the trace that justified a policy. A service counts its own decisions into the same
bins, and the control plane compares the two.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from math import isfinite, isnan
from typing import NamedTuple, Protocol

from gnomon.v1 import delivery_pb2, policy_pb2

from .errors import TrustError
from .records import Decision, Record

#: Quantile bins of a feature; where values are tied, there are fewer.
BINS = 10
#: A profile with more is refused.
MOST_BINS = 64
MOST_FEATURES = 64
#: One decision in so many is counted.
EVERY = 8

_MIX, _WORD = 0x9E3779B97F4A7C15, (1 << 64) - 1


def mixed(number: int) -> int:
    """Return 32 bits that look random for neighbouring numbers (Fibonacci hashing, Knuth 6.4)."""
    return (number * _MIX & _WORD) >> 32


def bin_of(edges: Sequence[float], value: float) -> int:
    """Return the index of the bin that a value lies in; an edge belongs to the bin below it."""
    return bisect_left(edges, value)


def check_profile(profile: policy_pb2.Profile) -> None:
    """Refuse a profile that nothing can be counted by.

    Raises:
        TrustError: too many features or bins, or edges and shares that do not fit; names the feature.
    """
    if len(profile.features) > MOST_FEATURES:
        raise TrustError(
            f"profile of {len(profile.features)} features; at most {MOST_FEATURES} are watched"
        )
    names = [feature.name for feature in profile.features]
    for feature in profile.features:
        if problem := _problem(feature) or (names.count(feature.name) > 1 and "it is there twice"):
            raise TrustError(f"profile of feature {feature.name[:64]!r}: {problem}")


def _problem(feature: policy_pb2.FeatureProfile) -> str:
    edges, shares = feature.edges, feature.shares
    if not 2 <= len(shares) <= MOST_BINS or len(edges) != len(shares) - 1:
        return (
            f"{len(edges)} edges and {len(shares)} bins; 2 to {MOST_BINS} bins, an edge between two"
        )
    if not all(map(isfinite, edges)) or list(edges) != sorted(set(edges)):
        return "its edges must be finite and ascend"
    if not all(0.0 <= share <= 1.0 for share in shares) or abs(sum(shares) - 1.0) > 1e-6:
        return f"its shares add up to {sum(shares):g}, not to 1"
    return ""


class _Counted(NamedTuple):
    """One feature that is counted: where it stands in an item's row, its edges, and its counts."""

    name: str
    column: int
    edges: tuple[float, ...]
    counts: list[int]


class FeatureCounter:
    """Counts the features of one hook's decisions into the bins of a profile.

    One decision in :data:`EVERY` is counted, and of it one item, drawn by a hash of its number: items of one
    decision resemble each other, so more of them would only feign evidence. Only sampled
    decisions count; those that are recorded for a fault or a violation are no sample of anything.
    One thread may add while another reads.

    Args:
        names: of the columns of an item's row, in order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._lock = threading.Lock()
        self._digest = ""
        self._counted: tuple[_Counted, ...] = ()
        self._epoch = 0

    def follow(self, digest: str, profile: policy_pb2.Profile | None, epoch: int) -> None:
        """Count by another policy's profile, from 0 on; the policy in force goes on where it was.

        Args:
            digest: of the stable policy.
            profile: of its bundle; None counts nothing.
            epoch: of the manifest; decisions of an earlier one do not count.
        """
        with self._lock:
            if digest == self._digest:
                return
            self._digest, self._epoch = digest, epoch
            features = profile.features if profile is not None else ()
            self._counted = tuple(
                _Counted(f.name, self._names.index(f.name), tuple(f.edges), [0] * len(f.shares))
                for f in features
                if f.name in self._names
            )

    def add(self, record: Record) -> None:
        """Take one drained record into account."""
        if not self._counted or not isinstance(record, Decision):
            return
        drawn = mixed(record.seq)
        if drawn % EVERY or record.inclusion != "sampled" or record.epoch < self._epoch:
            return
        width, n_items = len(self._names), record.n_items
        if n_items < 1 or len(record.features) != width * n_items:
            return
        row = (drawn // EVERY) % n_items * width
        with self._lock:
            for _, column, edges, counts in self._counted:
                value = record.features[row + column]
                if not isnan(value):
                    counts[bin_of(edges, value)] += 1

    def counts(self) -> list[delivery_pb2.FeatureCounts]:
        """Return how often each feature fell into each bin since this policy became stable here."""
        with self._lock:
            return [
                delivery_pb2.FeatureCounts(name=each.name, counts=each.counts)
                for each in self._counted
            ]


class _Taker(Protocol):
    def add(self, record: Record) -> None: ...


class Takers:
    """Hands every drained record to each of several takers.

    Attributes:
        takers: in this order.
    """

    def __init__(self, takers: Iterable[_Taker]) -> None:
        self.takers = tuple(takers)
        self._adds = tuple(taker.add for taker in self.takers)

    def add(self, record: Record) -> None:
        """Hand one record on."""
        for add in self._adds:
            add(record)
