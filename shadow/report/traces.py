"""What a trace store holds, as a result that shows itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .shown import Part, Shown, Table, plain

if TYPE_CHECKING:
    from ...recorder.accesses import Accesses
    from ...recorder.inventory import Inventory
    from ...recorder.summary import HookSummary


@dataclass(frozen=True, slots=True, repr=False)
class Traces(Shown):
    """A trace store, hook by hook.

    Attributes:
        store: its folder or URI.
        hooks: what it holds of each.
    """

    store: str
    hooks: tuple[HookSummary, ...]

    @property
    def damaged(self) -> tuple[str, ...]:
        """One line per file that cannot be read."""
        return tuple(line for hook in self.hooks for line in hook.damaged)

    def as_json(self) -> dict[str, Any]:
        """Return the summaries as JSON values."""
        return {"store": self.store, "hooks": [plain(asdict(hook)) for hook in self.hooks]}

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: a table for every hook."""
        if not self.hooks:
            return (f"{self.store} holds no hooks yet",)
        return tuple(Table(("", ""), tuple(_lines(hook)), hook.hook) for hook in self.hooks)


def _lines(of: HookSummary) -> list[tuple[str, str]]:
    lines = [
        ("kind", ", ".join(of.kinds)),
        ("processes", str(of.processes)),
        ("from", _time(of.first)),
        ("to", _time(of.last)),
        *(_decisions(of) if of.decisions else ()),
        ("workload events", _counted(of.workload) or "none"),
        *_accesses(of.accesses),
        ("size", _size(of)),
        ("compaction", _layout(of.layout)),
    ]
    if of.duplicates:
        lines.append(("duplicates", f"{of.duplicates} left out"))
    return lines + [("damaged", line) for line in of.damaged]


def _decisions(of: HookSummary) -> list[tuple[str, str]]:
    """Return what is shown of decisions and their outcomes."""
    lines = [
        ("decisions", f"{of.decisions}, {of.rate:.1f}/s"),
        ("arms", _counted(of.arms)),
        ("reasons", _counted(of.reasons)),
        ("recorded because", _counted(of.inclusions)),
        ("outcomes", f"{of.matched} matched, {of.missing} missing, {of.open} open"),
        ("", f"{of.late} stored after their decision, {of.orphans} of them without one"),
        ("failures", str(of.failures)),
        ("share per item", ", ".join(f"{k}: {share:.1%}" for k, share in of.shares.items())),
    ]
    for name, q in of.metrics.items():
        lines.append((name, f"p50 {q.p50:.4g}, p90 {q.p90:.4g}, p99 {q.p99:.4g}"))
    return lines


def _accesses(of: Accesses | None) -> list[tuple[str, str]]:
    """Return what is shown of a cache."""
    if of is None:
        return []
    hits = f"{of.hits} of them hits: {of.hit_ratio:.2%}" if of.policy else "hits unknown"
    lines = [
        ("lookups", f"{of.lookups}, {hits}"),
        ("accesses", f"{of.rate:.1f}/s, {of.insertions} insertions, {of.removals} removals"),
        ("keys", f"{of.distinct} different, of size {of.size:.0f} together"),
    ]
    if of.capacity:
        policy = f", policy {of.policy}" if of.policy else ""
        lines.append(("cache", f"capacity {of.capacity:.0f}{policy}"))
    if of.sampled < 1.0:
        lines.append(("recorded keys", f"{of.sampled:.1%}"))
    return lines


def _size(of: HookSummary) -> str:
    each = {"decision": of.bytes_per_decision, "workload event": of.bytes_per_event}
    per = "".join(f", {size:.1f} a {name}" for name, size in each.items() if size)
    return f"{of.bytes} bytes in {of.files} files{per}"


def _layout(of: Inventory) -> str:
    left = f", {of.replaced} replaced files to be removed" if of.replaced else ""
    merged = f"{of.merged} files merged, {of.uncompacted} of {of.hours} hours to be compacted"
    return merged + left


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items())


def _time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(" ", "milliseconds")
