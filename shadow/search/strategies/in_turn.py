"""Proposers in turn over the search's own archive: the default, and the control arms."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ..context import Choice, Context
from ..proposers import Proposer
from ..records import Brief, Draft, Record
from .base import Makers, Mixed, Strategy


class InTurn(Strategy):
    """Asks proposers in order until one has a draft.

    Args:
        first: asked before all others for as long as they have drafts.
        then: these in random order, the heavier the earlier.
        last: asked when nobody else has a draft.
    """

    races = True

    def __init__(
        self, first: Sequence[Proposer], then: Makers = (), last: Sequence[Proposer] = ()
    ) -> None:
        self._asked = (*first, Mixed(then), *last)

    def draft(self, context: Context, rng: random.Random) -> Draft | Brief | None:
        """Return the first draft that is offered."""
        choice = chosen(context, rng)
        for proposer in self._asked:
            made = proposer.propose(choice, context, rng)
            if made is not None:
                return made
        return None

    def learn(self, record: Record) -> None:
        """Pass the record on to every proposer."""
        for proposer in self._asked:
            proposer.learn(record)


def chosen(context: Context, rng: random.Random) -> Choice:
    """Return two members of the search's archive, and all of them to tune."""
    archive = context.archive
    parent, other = archive.select(rng), archive.select(rng)
    return Choice(parent, (other,) if other is not None else (), archive.members)
