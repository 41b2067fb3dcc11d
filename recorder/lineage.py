"""Which files of an hour count: what a merged file holds it replaces, for every reader, at once.

A merged file states in its metadata which written files' rows it **holds**, and with which written
files of the other table it was **joined** (decisions with the hour's outcomes, and the reverse). A
reader leaves out every written file that a merged one holds, and every merged file of which another
says at least as much. So a merged file and those that it replaces may both be there: between its
appearance and their removal, after a crash, when two processes merge the same hour, or when a recorder
writes a file again after its own crash. A written file is known by its name and its size.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .files import Found

MERGED = "merged-"
HOLDS_KEY = b"gnomon.holds"
JOINED_KEY = b"gnomon.joined"
#: Of the names that one file may state, unpacked: bytes.
_MOST = 64 << 20


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a file holds; every name is ``NAME:SIZE``, of a file in the same hour.

    Attributes:
        holds: the written files whose rows it holds; of a written file its own name.
        joined: those of the other table with which the rows were joined.
    """

    holds: frozenset[str]
    joined: frozenset[str] = frozenset()

    def covers(self, other: Lineage) -> bool:
        """Return whether this says at least as much as the other."""
        return self.holds >= other.holds and self.joined >= other.joined

    def name(self) -> str:
        """Return the name of the merged file, without suffix: the same for the same content."""
        text = "\n".join([*sorted(self.holds), "", *sorted(self.joined)])
        return MERGED + hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def metadata(self) -> dict[str, str]:
        """Return what a merged file states in its key-value metadata."""
        return {HOLDS_KEY.decode(): _packed(self.holds), JOINED_KEY.decode(): _packed(self.joined)}


def written(found: Found) -> str:
    """Return the name under which a lineage knows a written file."""
    return f"{found.name}:{found.size}"


def stated(metadata: Mapping[bytes, bytes]) -> Lineage | None:
    """Return the lineage that a file's metadata states; None for a file that was not merged.

    Raises:
        ValueError: it is damaged.
    """
    if HOLDS_KEY not in metadata:
        return None
    return Lineage(_unpacked(metadata[HOLDS_KEY]), _unpacked(metadata.get(JOINED_KEY, b"")))


def union(lineages: Iterable[Lineage]) -> frozenset[str]:
    """Return all written files that these hold."""
    return frozenset().union(*(each.holds for each in lineages))


def replaced(merged: Mapping[Found, Lineage], others: Iterable[Found]) -> set[Found]:
    """Return the files of one table and hour that do not count.

    Args:
        merged: the merged files.
        others: the written ones.
    """
    held = union(merged.values())
    gone = {each for each in others if written(each) in held}
    order = sorted(merged, key=lambda each: each.name)
    for at, each in enumerate(order):
        for other, rival in enumerate(order):
            covered = other != at and merged[rival].covers(merged[each])
            # Of two that say the same the later by name counts.
            if covered and (other > at or not merged[each].covers(merged[rival])):
                gone.add(each)
    return gone


def _packed(names: frozenset[str]) -> str:
    return base64.b85encode(zlib.compress("\n".join(sorted(names)).encode(), 9)).decode()


def _unpacked(text: bytes) -> frozenset[str]:
    if not text:
        return frozenset()
    try:
        unpacking = zlib.decompressobj()
        data = unpacking.decompress(base64.b85decode(text), _MOST)
    except (zlib.error, binascii.Error, ValueError) as error:
        raise ValueError(f"it states its origin wrongly: {error}") from error
    if not unpacking.eof:
        raise ValueError("it states its origin wrongly: cut short")
    return frozenset(data.decode().split("\n")) - {""}
