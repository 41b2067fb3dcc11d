"""What a trace store holds, and its upkeep."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from .places import TRACES

if TYPE_CHECKING:
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
