"""Programs of which only marked blocks may change, as OpenEvolve and its relatives mark them."""

from __future__ import annotations

from dataclasses import dataclass

START, END = "# EVOLVE-BLOCK-START", "# EVOLVE-BLOCK-END"


@dataclass(frozen=True, slots=True)
class Marked:
    """A source taken apart at its marks; the lines keep their ends.

    Attributes:
        fixed: what stands outside the blocks, marks included; one part more than there are blocks.
        inside: the blocks.
    """

    fixed: tuple[str, ...]
    inside: tuple[str, ...]

    def joined(self, inside: tuple[str, ...]) -> str:
        """Return the source with other blocks, as many as there are."""
        ends = (*inside, "")
        return "".join(fixed + block for fixed, block in zip(self.fixed, ends, strict=True))


def marked(source: str) -> Marked | None:
    """Take a source apart at its marks; None where they are not balanced.

    A source without marks has one fixed part and no block.
    """
    parts: list[list[str]] = [[]]
    for line in source.splitlines(keepends=True):
        begins, ends = START in line, END in line
        within = len(parts) % 2 == 0
        if (begins and ends) or (begins and within) or (ends and not within):
            return None
        if ends:
            parts.append([])
        parts[-1].append(line)
        if begins:
            parts.append([])
    if len(parts) % 2 == 0:
        return None
    texts = ["".join(part) for part in parts]
    return Marked(tuple(texts[::2]), tuple(texts[1::2]))
