"""What a strategy is: it chooses what the next program is made of, and whose turn it is to make it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import ClassVar, Protocol

from ..context import Choice, Context
from ..proposers import Proposer
from ..records import Brief, Draft, Proposal, Record

Makers = Sequence[tuple[float, Proposer]]


class Strategy(Protocol):
    """Solution storage and selection; a function of its arguments and of what it has learned."""

    #: Whether a program that the search's own archive would refuse is of no use to it; then the evaluation
    #: of such a program may stop early, unless a draft says otherwise.
    races: ClassVar[bool] = False

    def draft(self, context: Context, rng: random.Random) -> Draft | Brief | None:
        """Return a draft or a brief, or None when there is nothing before more results come.

        None leaves it as it was: where a told program comes between, a resumed search does not ask.
        """
        ...

    def learn(self, record: Record) -> None:
        """Hear what became of a proposal; called once per step, in order."""
        ...

    def refuses(self, draft: Draft, admitted: Sequence[Proposal]) -> str:
        """Return why a draft is not worth an evaluation, or an empty string.

        Must depend on its arguments alone: what has been learned by then differs with the writers' speed.

        Args:
            admitted: what was let through before, by step; it only grows.
        """
        return ""

    def words(self) -> str:
        """Return in a few words where it stands, for whoever watches; changes nothing."""
        return ""


class Mixed:
    """Several proposers, asked in random order, the heavier the earlier, until one has a draft.

    Args:
        makers: weights above 0, and proposers.
    """

    def __init__(self, makers: Makers) -> None:
        self._makers = makers

    def propose(self, choice: Choice, context: Context, rng: random.Random) -> Draft | Brief | None:
        """Return the first draft that is offered."""
        keyed = [(rng.random() ** (1.0 / weight), proposer) for weight, proposer in self._makers]
        for _, proposer in sorted(keyed, key=lambda pair: -pair[0]):
            made = proposer.propose(choice, context, rng)
            if made is not None:
                return made
        return None

    def learn(self, record: Record) -> None:
        """Pass the record on to every proposer."""
        for _, proposer in self._makers:
            proposer.learn(record)
