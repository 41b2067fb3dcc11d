"""The marks that say which lines of a program may change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# As OpenEvolve 0.4.1 reads them: after any comment sign at the start of a line, or after code and a #.
_MARK = re.compile(r"\W*EVOLVE-BLOCK-(START|END)\b")
_AFTER_CODE = re.compile(r"# EVOLVE-BLOCK-(START|END)")


@dataclass(frozen=True, slots=True)
class Regions:
    """A source cut at its marks; ``outside[0] + blocks[0] + outside[1] + ...`` is the source again.

    Attributes:
        outside: texts that stay as they are, marks included; one more than there are blocks.
        blocks: texts between a start and its end.
    """

    outside: tuple[str, ...]
    blocks: tuple[str, ...]

    def joined(self, blocks: Sequence[str]) -> str:
        """Return the source with other blocks, as many as there are."""
        pairs = zip(self.outside, (*blocks, ""), strict=True)
        return "".join(part for pair in pairs for part in pair)

    def spans(self) -> tuple[tuple[int, int], ...]:
        """Return where every block begins and ends, in bytes of UTF-8."""
        found, at = [], 0
        for outside, block in zip(self.outside, self.blocks, strict=False):
            first = at + len(outside.encode())
            at = first + len(block.encode())
            found.append((first, at))
        return tuple(found)


def regions(source: str) -> Regions:
    """Cut a source at its marks; one without marks is one block.

    Raises:
        ValueError: a block is not ended, ended twice, or begins within another; says on which line.
    """
    outside: list[str] = []
    blocks: list[str] = []
    part: list[str] = []
    opened = 0
    for number, line in enumerate(_lines(source), 1):
        mark = _mark(line)
        if mark == ("START" if opened else "END"):
            raise ValueError(_unbalanced(mark, number, opened))
        if mark == "END":
            blocks.append("".join(part))
            part, opened = [], 0
        part.append(line)
        if mark == "START":
            outside.append("".join(part))
            part, opened = [], number
    if opened:
        raise ValueError(f"line {opened}: this EVOLVE-BLOCK-START has no EVOLVE-BLOCK-END")
    if not blocks:
        return Regions(("", ""), (source,))
    return Regions((*outside, "".join(part)), tuple(blocks))


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
