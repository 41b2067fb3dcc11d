"""What a trace store holds, and its upkeep."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ..sdk.errors import ConfigurationError
from .places import LEDGER, TRACES, existing_ledger

if TYPE_CHECKING:
    from gnomon.v1 import policy_pb2

    from ..shadow.drift import Drift
    from ..shadow.report.traces import Traces
    from ..shadow.report.upkeep import Compaction, Pruning


def traces(store: str | Path = TRACES, hook: str | None = None) -> Traces:
    """Say what a trace store holds: decisions, outcomes, shares, metrics, workload, damage.

    Args:
        store: folder or URI.
        hook: only this one.

    Raises:
        TraceError: no such store or hook.
    """
    from ..recorder.store import TraceStore
    from ..recorder.summary import summarise
    from ..shadow.report.traces import Traces

    found = TraceStore(store)
    names = found.hooks()
    hooks = tuple(summarise(found, name) for name in ([hook] if hook else names))
    return Traces(found.files.root, hooks)


def compact(
    store: str | Path = TRACES,
    hook: str | None = None,
    *,
    older_than_s: float = 2 * 3600.0,
    dry_run: bool = False,
) -> Compaction:
    """Merge the small files of each closed hour into one, and join late outcomes to their decisions.

    What is read from the store stays the same; recorders and readers may go on meanwhile.

    Args:
        store: folder or URI.
        hook: only this one.
        older_than_s: only hours that ended, and were last written, at least so long ago.
        dry_run: change nothing, and say what would be merged.

    Raises:
        TraceError: no such store or hook, another compaction on this machine, or the filesystem refused.
    """
    from ..recorder import compaction
    from ..recorder.store import TraceStore
    from ..shadow.report.upkeep import Compaction

    found = TraceStore(store)
    when = compaction.When(time.time_ns(), older_than_s)
    done = compaction.compact(found, when, hook=hook, dry_run=dry_run)
    return Compaction(
        store=found.files.root,
        hours=tuple(done.hours),
        removed=done.removed,
        damaged=tuple(done.damaged),
        changed=done.changed,
        dry_run=dry_run,
    )


def prune(
    store: str | Path = TRACES,
    hook: str | None = None,
    *,
    older_than_s: float | None = None,
    max_bytes: int | None = None,
    dry_run: bool = False,
) -> Pruning:
    """Remove whole hours from a trace store, the oldest first; an hour beyond either limit goes.

    Args:
        store: folder or URI.
        hook: only this one's hours, and only its bytes count.
        older_than_s: hours whose end is longer ago.
        max_bytes: the oldest hours, until no more is left; the hour that has not ended stays.
        dry_run: remove nothing, and say what would go.

    Raises:
        ConfigurationError: no limit, or a negative one.
        TraceError: no such store or hook, or the filesystem refused.
    """
    from ..recorder import retention
    from ..recorder.store import TraceStore
    from ..shadow.report.upkeep import Pruning

    found = TraceStore(store)
    keep = retention.Keep(time.time_ns(), older_than_s, max_bytes)
    done = retention.prune(found, keep, hook=hook, dry_run=dry_run)
    return Pruning(found.files.root, done.hours, done.files, done.bytes, dry_run)


def drift(
    hook: str,
    store: str | Path = TRACES,
    *,
    against: str | Path,
    limit: float = 0.25,
    last_s: float = 7 * 86_400.0,
    ledger: str | Path = LEDGER,
) -> Drift:
    """Return how far the newest recorded traffic has moved away from what justified a policy.

    Args:
        hook: name of the hook.
        store: folder or URI of the trace store.
        against: the policy's bundle, or the verdict that accepted it.
        limit: of the population stability index of any feature.
        last_s: seconds of traffic, up to the newest decision; a week holds weekly cycles whole.
        ledger: vouches for a verdict.

    Raises:
        ConfigurationError: the file cannot be read, is for another hook, or holds no profile of features.
        TraceError: no such store or hook, or a damaged file.
        TrustError: the ledger does not vouch for the verdict, or the profile makes no sense.
    """
    from ..policies import registry
    from ..recorder.store import TraceStore
    from ..shadow.drift import drift_of

    profile, owner, kind, policy = _justified(Path(against), ledger)
    if owner != hook:
        raise ConfigurationError(f"{against} is for hook {owner!r}, not {hook!r}")
    found = TraceStore(store)
    known = registry.kind(kind)
    return drift_of(found, hook, known, profile, policy=policy, limit=limit, last_s=last_s)


def _justified(path: Path, ledger: str | Path) -> tuple[policy_pb2.Profile, str, str, str]:
    """Return the profile in a bundle or verdict, with hook, kind and the bundle's digest; empty for a verdict."""
    from gnomon.v1 import policy_pb2

    from ..sdk.bundle import SUFFIX, bundle_digest, load_bundle, read_bundle
    from ..shadow.gates.verdict import load_verdict, read_bytes
    from ..shadow.profiles import message

    if path.suffix == SUFFIX:
        payload = load_bundle(path).payload
        bundle = read_bundle(payload)
        return bundle.profile, bundle.hook, bundle.kind, bundle_digest(payload)
    read_bytes(path)
    with closing(existing_ledger(ledger)) as book:
        verdict = load_verdict(path, book)
    profile = message(verdict.profile, verdict.trace) or policy_pb2.Profile()
    return profile, verdict.hook, verdict.kind, ""
