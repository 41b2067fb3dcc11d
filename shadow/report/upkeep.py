"""What became of a trace store's hours, as results that show themselves."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .shown import Part, Shown, Table

if TYPE_CHECKING:
    from ...recorder.compaction import CompactedHour
    from ...recorder.retention import PrunedHour


@dataclass(frozen=True, slots=True, repr=False)
class Compaction(Shown):
    """What merging did, or would do.

    Attributes:
        store: its folder or URI.
        hours: that were merged, oldest first.
        removed: files that an earlier compaction, killed since, had replaced or left unfinished.
        damaged: one line per file that was left as it is.
        changed: hours left for the next time because another process changed them.
        dry_run: whether nothing was changed.
    """

    store: str
    hours: tuple[CompactedHour, ...]
    removed: int
    damaged: tuple[str, ...]
    changed: int
    dry_run: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "store": self.store,
            "hours": [asdict(hour) for hour in self.hours],
            "removed": self.removed,
            "damaged": list(self.damaged),
            "changed": self.changed,
            "dry_run": self.dry_run,
        }

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: the hours, and what was left."""
        lines = [f"{self.removed} leftover files removed"] if self.removed else []
        if self.changed:
            lines.append(f"{self.changed} hours changed meanwhile; compact again")
        lines += [f"left as it is: {line}" for line in self.damaged]
        return (self._table() if self.hours else f"{self.store}: nothing to compact", *lines)

    def _table(self) -> Table:
        head = ("hook", "hour (UTC)", "tables", "files", "bytes", "outcomes joined", "duplicates")
        arrow = "would become" if self.dry_run else "became"
        rows = tuple(
            (
                each.hook,
                _hour(each.hour),
                ", ".join(each.tables),
                f"{each.files_before} {arrow} {each.files_after}",
                str(each.bytes_before)
                if self.dry_run
                else f"{each.bytes_before} {arrow} {each.bytes_after}",
                str(each.joined),
                str(each.duplicates),
            )
            for each in self.hours
        )
        return Table(head, rows, self.store)


@dataclass(frozen=True, slots=True, repr=False)
class Pruning(Shown):
    """What was removed, or would be.

    Attributes:
        store: its folder or URI.
        hours: removed, oldest first.
        files, bytes: that stay, of the hooks that were looked at.
        dry_run: whether nothing was removed.
    """

    store: str
    hours: tuple[PrunedHour, ...]
    files: int
    bytes: int
    dry_run: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "store": self.store,
            "hours": [asdict(hour) for hour in self.hours],
            "files": self.files,
            "bytes": self.bytes,
            "dry_run": self.dry_run,
        }

    def parts(self) -> tuple[Part, ...]:
        """Return what is shown: the hours, and what stays."""
        stays = f"{self.bytes} bytes in {self.files} files stay"
        if not self.hours:
            return (f"{self.store}: nothing to prune; {stays}",)
        head = ("hook", "hour (UTC)", "files", "bytes")
        rows = tuple(
            (each.hook, _hour(each.hour), str(each.files), str(each.bytes)) for each in self.hours
        )
        done = "would be removed" if self.dry_run else "removed"
        return (Table(head, rows, f"{self.store}: {done}"), stays)


def _hour(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns // 10**9, UTC):%Y-%m-%d %H:00}"
