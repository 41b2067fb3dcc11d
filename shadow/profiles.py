"""The profile of a trace: how the features of its decisions are distributed, to notice when traffic moves away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..sdk.profile import BINS
from .traces.trace import DecisionTrace, FloatArray, Trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gnomon.v1 import policy_pb2

    from ..recorder.store import TraceStore
    from ..sdk.kind import Kind

#: Decisions that are kept of a store; of more, every second, fourth ... one is.
MOST_ROWS = 1 << 18
_COLUMNS = ("time", "n_items", "features", "inclusion", "policy")


def profile_of(trace: Trace, kind: Kind, store: TraceStore | None = None) -> dict[str, Any]:
    """Return the profile of a trace as JSON values.

    It is of the kind's own features: what the host adds (``since_picked``, ``noise``) says nothing of a
    workload. Of every decision one item counts, drawn with a fixed seed, as in a service.

    Args:
        trace: that justifies a policy.
        kind: of its hook.
        store: that it was read from. Only traces of decisions hold features themselves; those of other
            workloads (jobs, requests, accesses) are looked up here, within the time of the trace.

    Returns:
        ``decisions``, ``until_ns`` (Unix time of the newest) and ``features``, each with ``name``,
        ``edges`` and ``shares``; no features where none were recorded.
    """
    first, last = (trace.start_ns + round(float(trace.time[at]) * 1e9) for at in (0, -1))
    if isinstance(trace, DecisionTrace):
        rows = _of_items(trace.features, len(kind.features))
    elif store is not None:
        rows = rows_of(store, trace.hook, kind, first, last + 1)
    else:
        rows = np.empty((0, len(kind.features)))
    return {"decisions": len(rows), "until_ns": last, "features": _features(rows, kind)}


def message(profile: Mapping[str, Any], trace: str) -> policy_pb2.Profile | None:
    """Return the message of a profile; None where a verdict holds none.

    Args:
        profile: of a verdict.
        trace: its digest.
    """
    from gnomon.v1 import policy_pb2

    if not profile:
        return None
    return policy_pb2.Profile(
        trace=trace,
        features=[policy_pb2.FeatureProfile(**each) for each in profile["features"]],
        decisions=profile["decisions"],
        until_unix_ns=profile["until_ns"],
    )


def rows_of(
    store: TraceStore, hook: str, kind: Kind, from_ns: int, until_ns: int, policy: str = ""
) -> FloatArray:
    """Return the kind's own features of one item of each sampled decision of a stretch of time, f8[n, F].

    Args:
        store: holds the decisions.
        hook: name of the hook.
        kind: of it.
        from_ns, until_ns: Unix time; the end is not included.
        policy: digest of the one that decided; all when empty.

    Raises:
        TraceError: no such store or hook, or a damaged file.
    """
    rng, stride = np.random.default_rng(0), 1
    kept: list[FloatArray] = []
    for batch in store.batches("decisions", hook, _COLUMNS):
        if policy:
            batch = batch.filter(pc.equal(batch["policy"], policy))
        kept.append(_of_batch(batch, kind, from_ns, until_ns, rng)[::stride])
        while sum(map(len, kept)) > MOST_ROWS:
            kept, stride = [np.concatenate(kept)[::2]], stride * 2
    return np.concatenate(kept) if kept else np.empty((0, len(kind.features)))


def newest_ns(store: TraceStore, hook: str) -> int:
    """Return the Unix time of the newest decision of a hook; 0 where there is none."""
    times: Iterator[int] = (
        pc.max(batch["time"]).as_py() or 0 for batch in store.batches("decisions", hook, ("time",))
    )
    return max(times, default=0)


def first_ns(store: TraceStore, hook: str, policy: str) -> int:
    """Return the Unix time of the first decision of a policy on a hook; 0 where there is none."""
    times = (
        pc.min(batch["time"].filter(pc.equal(batch["policy"], policy))).as_py()
        for batch in store.batches("decisions", hook, ("time", "policy"))
    )
    return min((at for at in times if at is not None), default=0)


def counts_of(rows: FloatArray, profile: policy_pb2.Profile, kind: Kind) -> dict[str, list[int]]:
    """Return how often each feature of a profile falls into its bins, by name.

    Args:
        rows: f8[n, F], as of :func:`rows_of`.
        profile: checked.
        kind: names the columns.
    """
    names = [feature.name for feature in kind.features]
    return {
        each.name: _counts(rows[:, names.index(each.name)], np.array(each.edges)).tolist()
        for each in profile.features
        if each.name in names
    }


def _of_items(features: FloatArray, own: int) -> FloatArray:
    """Return the first columns of one item of every decision."""
    n, items, _ = features.shape
    picked = np.random.default_rng(0).integers(0, items, n)
    found: FloatArray = features[np.arange(n), picked, :own]
    return found


def _of_batch(
    batch: pa.RecordBatch, kind: Kind, from_ns: int, until_ns: int, rng: np.random.Generator
) -> FloatArray:
    width, lists = len(kind.inputs), batch["features"]
    time = batch["time"].to_numpy(zero_copy_only=False)
    items = pc.fill_null(batch["n_items"], 0).to_numpy(zero_copy_only=False).astype(np.int64)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    sampled = pc.equal(batch["inclusion"], "sampled").to_numpy(zero_copy_only=False).astype(bool)
    use = sampled & (items > 0) & (lengths == items * width)
    use &= (time >= from_ns) & (time < until_ns)
    start = lists.offsets.to_numpy()[:-1][use] + rng.integers(0, items[use]) * width
    flat: FloatArray = lists.values.to_numpy(zero_copy_only=False)
    found: FloatArray = flat[start[:, None] + np.arange(len(kind.features))].astype(np.float64)
    return found


def _features(rows: FloatArray, kind: Kind) -> tuple[dict[str, Any], ...]:
    found = []
    for column, feature in enumerate(kind.features):
        values = rows[:, column][np.isfinite(rows[:, column])]
        if len(values):
            edges = _edges(values)
            shares = _counts(values, edges) / len(values)
            bins = {"edges": tuple(edges.tolist()), "shares": tuple(shares.tolist())}
            found.append({"name": feature.name, **bins})
    return tuple(found)


def _edges(values: FloatArray) -> FloatArray:
    """Return edges of quantile bins; ties make fewer, and a constant is a bin of its own between two empty ones."""
    edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS, method="inverted_cdf"))
    edges = edges[edges < values.max()]
    if len(edges):
        return np.asarray(edges, np.float64)
    low, high = float(values.min()), float(values.max())
    return np.array([np.nextafter(low, -np.inf), high])


def _counts(values: FloatArray, edges: FloatArray) -> npt.NDArray[np.int64]:
    finite = values[~np.isnan(values)]
    bins = np.searchsorted(edges, finite, side="left")
    counts: npt.NDArray[np.int64] = np.bincount(bins, minlength=len(edges) + 1)
    return counts
