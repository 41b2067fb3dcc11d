"""Anchors of the control plane's ledger that this process was told, kept so that a rewritten ledger shows.

An anchor is ``SEQ:HASH`` of the ledger's last entry at some moment. The control plane sends its newest with
every resource; each answer returns the newest that was held *before*, so that a ledger which was cut or
written anew meets what its own past said. Some of the older ones are kept as well, ever fewer the older they
are: the first and the last always.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import NamedTuple

from .state import locked, write_atomically

_log = logging.getLogger("gnomon.delivery")

FILE = Path("delivery", "anchors")
#: Anchors that are kept; beyond them every second one of the older half goes.
MAX_ANCHORS = 64
#: Between two writes of the file; a crash forgets no more than that.
WRITE_NS = 1_000_000_000
_LINE = re.compile(r"(\d{1,18}):([0-9a-f]{64}) (\d{1,19})")


class Anchor(NamedTuple):
    """A head of the ledger at some moment.

    Attributes:
        seq: number of the entry.
        hash: its hash, 64 hexadecimal digits.
        time_ns: Unix time at which this process was first told.
    """

    seq: int
    hash: str
    time_ns: int

    @property
    def text(self) -> str:
        """``SEQ:HASH``."""
        return f"{self.seq}:{self.hash}"


def parsed(line: str) -> Anchor | None:
    """Return the anchor of ``SEQ:HASH TIME``; None where it is none."""
    found = _LINE.fullmatch(line)
    return Anchor(int(found[1]), found[2], int(found[3])) if found else None


def read_anchors(folder: Path) -> list[Anchor]:
    """Return the anchors in a service's state folder, oldest first; lines that are none are left out.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        lines = (folder / FILE).read_text("ascii", "replace").splitlines()
    except FileNotFoundError:
        return []
    return sorted(anchor for anchor in map(parsed, lines) if anchor is not None)


class Witness:
    """The anchors of one process; not for several threads.

    Args:
        folder: state folder, which processes may share; None keeps them in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._kept: list[Anchor] = []
        self._written_ns = 0
        self._dirty = False
        try:
            self._kept = read_anchors(folder) if folder else []
        except OSError as error:
            _log.warning("cannot read %s: %s", folder and folder / FILE, error.strerror)

    @property
    def newest(self) -> str:
        """The anchor with the highest number; of two the one that was told first. Empty before any."""
        return max(self._kept, key=lambda a: (a.seq, -a.time_ns)).text if self._kept else ""

    def told(self, text: str, time_ns: int) -> None:
        """Keep an anchor that the control plane told; what is none is ignored.

        Args:
            text: ``SEQ:HASH``.
            time_ns: Unix time.
        """
        anchor = parsed(f"{text} {max(0, time_ns)}")
        if anchor is not None and all(anchor[:2] != each[:2] for each in self._kept):
            self._kept = _thinned([*self._kept, anchor])
            self._dirty = True
        if time_ns - self._written_ns >= WRITE_NS:
            self.write(time_ns)

    def write(self, time_ns: int) -> None:
        """Write what was not written yet; a disk that refuses costs a line in the log."""
        if not self._dirty or self._folder is None:
            return
        path = self._folder / FILE
        self._written_ns, self._dirty = time_ns, False
        try:
            with locked(path):
                known = {each[:2]: each for each in (*self._kept, *read_anchors(self._folder))}
                kept = _thinned(list(known.values()))
                lines = "".join(f"{each.text} {each.time_ns}\n" for each in kept)
                write_atomically(path, lines.encode())
        except OSError as error:
            _log.warning(
                "cannot write %s: %s; anchors are kept in memory only", path, error.strerror
            )


def _thinned(anchors: list[Anchor]) -> list[Anchor]:
    """Return anchors in order of time, every second one of the older half left out beyond the limit."""
    ordered = sorted(anchors, key=lambda anchor: (anchor.time_ns, anchor.seq))
    half = MAX_ANCHORS // 2
    while len(ordered) > MAX_ANCHORS:
        highest = max(
            ordered, key=lambda anchor: anchor.seq
        )  # what a cut ledger denies, however old
        older = [each for n, each in enumerate(ordered[:half]) if n % 2 == 0 or each is highest]
        ordered = [*older, *ordered[half:]]
    return ordered
