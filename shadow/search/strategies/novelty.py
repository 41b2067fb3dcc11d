"""Whether a program is too like one that was let through before, found without comparing with them all."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Sequence

from ..records import Proposal
from .shapes import Shape, likeness, shape


class Novelty:
    """Finds the program that is most like another.

    An index of pieces, in the manner of prefix filtering (Chaudhuri et al. 2006): whoever is as like as
    ``threshold`` has at least one of the rarest few pieces.

    Args:
        threshold: similarity, above 0 and up to 1, from which two programs are alike.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._forget()

    def _forget(self) -> None:
        self._last: Proposal | None = None
        self._shapes: list[array[int]] = []
        self._holders: defaultdict[int, array[int]] = defaultdict(lambda: array("L"))

    def nearest(self, source: str, admitted: Sequence[Proposal]) -> tuple[Proposal, float] | None:
        """Return who is most like a source, the earliest among equals, and how much; None if nobody is.

        Args:
            admitted: to compare with; only what is new since the last call is looked at.
        """
        self._catch_up(admitted)
        wanted = shape(source)
        if not wanted:
            return None
        found = [
            (likeness(wanted, frozenset(self._shapes[index])), -index)
            for index in self._candidates(wanted)
        ]
        best, index = max(found, default=(0.0, 0))
        return (admitted[-index], best) if best >= self.threshold else None

    def _candidates(self, wanted: Shape) -> set[int]:
        """Return all that can be alike, and others."""
        least = math.ceil(self.threshold * len(wanted) - 1e-9)
        most = len(wanted) / self.threshold + 1e-9
        # who shares at least so many of n pieces has one of any n - least + 1
        rarest = sorted(wanted, key=lambda piece: (len(self._holders.get(piece, ())), piece))
        found = {
            index
            for piece in rarest[: len(wanted) - least + 1]
            for index in self._holders.get(piece, ())
        }
        return {index for index in found if least <= len(self._shapes[index]) <= most}

    def _catch_up(self, admitted: Sequence[Proposal]) -> None:
        known = len(self._shapes)
        if known > len(admitted) or (known and self._last is not admitted[known - 1]):
            self._forget()  # these are others than before
        for proposal in admitted[len(self._shapes) :]:
            pieces = shape(proposal.draft.source)
            for piece in pieces:
                self._holders[piece].append(len(self._shapes))
            self._shapes.append(array("Q", sorted(pieces)))
            self._last = proposal
