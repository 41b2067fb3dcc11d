"""Programs of which only marked blocks may change, as OpenEvolve and its relatives mark them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

START, END = "# EVOLVE-BLOCK-START", "# EVOLVE-BLOCK-END"
# As OpenEvolve 0.4.1 reads them: after any comment sign at the start of a line, or after code and a #.
_MARK = re.compile(r"\W*EVOLVE-BLOCK-(START|END)\b")
_AFTER_CODE = re.compile(r"# EVOLVE-BLOCK-(START|END)")


@dataclass(frozen=True, slots=True)
class Marked:
    """A source taken apart at its marks; the lines keep their ends.

    Attributes:
        fixed: what stands outside the blocks, marks included; one part more than there are blocks.
        inside: the blocks.
    """

    fixed: tuple[str, ...]
    inside: tuple[str, ...]

    def joined(self, inside: Sequence[str]) -> str:
        """Return the source with other blocks, as many as there are."""
        ends = (*inside, "")
        return "".join(fixed + block for fixed, block in zip(self.fixed, ends, strict=True))

    def spans(self) -> tuple[tuple[int, int], ...]:
        """Return where every block begins and ends, in bytes of UTF-8."""
        found, at = [], 0
        for fixed, block in zip(self.fixed, self.inside, strict=False):
            first = at + len(fixed.encode())
            at = first + len(block.encode())
            found.append((first, at))
        return tuple(found)


def marked(source: str) -> Marked | None:
    """Take a source apart at its marks; None where they are not balanced, see :func:`cut`."""
    try:
        return cut(source)
    except ValueError:
        return None


def cut(source: str) -> Marked:
    """Take a source apart at its marks; one without marks has one fixed part and no block.

    Raises:
        ValueError: a block is not ended, ended twice, or begins within another; says on which line.
    """
    parts: list[list[str]] = [[]]
    opened = 0
    for number, line in enumerate(_lines(source), 1):
        mark = _mark(line)
        if mark == ("START" if opened else "END"):
            raise ValueError(_unbalanced(mark, number, opened))
        if mark == "END":
            parts.append([])
            opened = 0
        parts[-1].append(line)
        if mark == "START":
            parts.append([])
            opened = number
    if opened:
        raise ValueError(f"line {opened}: this EVOLVE-BLOCK-START has no EVOLVE-BLOCK-END")
    texts = ["".join(part) for part in parts]
    return Marked(tuple(texts[::2]), tuple(texts[1::2]))


def _unbalanced(mark: str, number: int, opened: int) -> str:
    if mark == "START":
        return f"line {number}: EVOLVE-BLOCK-START within the block of line {opened}"
    return f"line {number}: EVOLVE-BLOCK-END without an EVOLVE-BLOCK-START"


def _lines(source: str) -> list[str]:
    lines = source.split("\n")
    return [line + "\n" for line in lines[:-1]] + lines[-1:]


def _mark(line: str) -> str:
    found = _MARK.match(line) or _AFTER_CODE.search(line)
    return found[1] if found else ""
