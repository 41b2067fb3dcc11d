"""The search: ``ask`` for a proposal, evaluate it, ``tell`` the result; the caller owns the loop.

The step ``s`` knows the results of all steps up to ``s - window`` and of none after, however many
evaluations run at once and in whatever order they end. Random numbers are derived from the seed, the
step and their purpose. Hence the log is a function of the configuration and of the results alone, and
a search is resumed by asking again and taking the results from the log.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter

from ...sdk.errors import LanguageError, TraceError
from ..evaluation import Evaluation
from .archive import Archive
from .log import RunLog
from .proposers import Context
from .records import (
    Budget,
    Draft,
    Outcome,
    Proposal,
    Record,
    digest,
    evaluated,
    program_id,
    unevaluated,
)
from .space import Space
from .strategies import Strategy

WINDOW = 8


class Search:
    """One search.

    Args:
        space: the programs that are considered.
        strategy: fresh; the search owns it from here on.
        log: open; what it holds already is replayed and not evaluated again.
        budget: of which ``evaluations`` and ``proposals`` are kept here, ``seconds`` by the caller.
        seed: of all random numbers.
        window: how many proposals may be under way without knowing of each other.
    """

    def __init__(
        self,
        space: Space,
        strategy: Strategy,
        log: RunLog,
        *,
        budget: Budget,
        seed: int = 0,
        window: int = WINDOW,
    ) -> None:
        self.space = space
        self.budget = budget
        self.archive = Archive()
        self.counts: Counter[Outcome] = Counter()
        self.records: list[Record] = []  # committed, by step
        self.exhausted = False
        self._strategy = strategy
        self._log = log
        self._seed = seed
        self._window = window
        self._past = log.records
        self._open: dict[int, Proposal] = {}
        self._results: dict[int, Record] = {}
        self._seen: set[str] = set()
        self._next = self._known = self._wanted = self._asked = 0

    @property
    def spent(self) -> str:
        """Which limit has been reached, ``evaluations`` or ``proposals``, or ``exhausted``; else ''."""
        if self.exhausted:
            return "exhausted"
        if self._asked >= self.budget.evaluations:
            return "evaluations"
        return "proposals" if self._next >= self.budget.most_proposals else ""

    @property
    def steps(self) -> int:
        """How many proposals there have been, those under way included."""
        return self._next

    def ask(self) -> Proposal | None:
        """Return the next program to evaluate.

        None when the budget is spent (see :attr:`spent`), or when the results of earlier proposals
        have to be told first.

        Raises:
            TraceError: the log that is resumed was not made by this search.
        """
        while not self.spent:
            if not self._know(max(self._next - self._window + 1, self._wanted)):
                return None
            draft = self._draft()
            if draft is None:
                self.exhausted = self._known == self._next
                self._wanted = self._known + 1
                continue
            proposal = self._admit(draft)
            if proposal is not None:
                return proposal
        return None

    def tell(self, proposal: Proposal, evaluation: Evaluation) -> None:
        """Take the result of a proposal, in any order.

        Raises:
            RuntimeError: the proposal was not asked for, or has been told already.
        """
        if self._open.get(proposal.step) != proposal:
            raise RuntimeError(
                f"tell() of step {proposal.step} without ask(), or twice; "
                f"open steps: {sorted(self._open)}"
            )
        del self._open[proposal.step]
        self._settle(evaluated(proposal, evaluation))

    def finish(self) -> None:
        """Put all committed results into the archive; the search asks for nothing afterwards."""
        self._know(len(self.records))
        self.exhausted = True

    def score_of(self, key: str) -> Record | None:
        """Return the committed record, with a score, of a program by its canonical key."""
        return next((r for r in self.records if r.key == key and r.outcome is Outcome.OK), None)

    def _draft(self) -> Draft | None:
        settled = self._known == self._next
        context = Context(self.space, self.archive, self._next, settled)
        return self._strategy.draft(context, self._rng("draft"))

    def _rng(self, purpose: str) -> random.Random:
        name = f"{self._seed}/{self._next}/{self._known}/{purpose}"
        return random.Random(hashlib.sha256(name.encode()).digest())

    def _admit(self, draft: Draft) -> Proposal | None:
        """Give a draft its step; return it as a proposal if it is worth an evaluation."""
        proposal = self._examined(draft)
        past = self._past[self._next] if self._next < len(self._past) else None
        self._next += 1
        if isinstance(proposal, Record):
            self._settle(_same(past, proposal) if past else proposal)
            return None
        self._seen.add(proposal.key)
        self._asked += 1
        if past is None:
            self._open[proposal.step] = proposal
            return proposal
        self._settle(_same(past, proposal))
        return None

    def _examined(self, draft: Draft) -> Proposal | Record:
        dialect = self.space.dialect
        try:
            nodes = dialect.nodes(draft.source)
            key = digest(dialect.key(draft.source))[:16]
        except LanguageError as error:
            return unevaluated(self._next, draft, Outcome.INVALID, "", str(error))
        if key in self._seen:
            return unevaluated(self._next, draft, Outcome.DUPLICATE, key)
        return Proposal(self._next, program_id(draft.source), key, draft, nodes)

    def _settle(self, record: Record) -> None:
        self._results[record.step] = record
        self.counts[record.outcome] += 1
        while len(self.records) in self._results:
            committed = self._results.pop(len(self.records))
            if committed.step >= len(self._past):
                self._log.append(committed)
            self.records.append(committed)

    def _know(self, steps: int) -> bool:
        """Let the strategy know of the first ``steps`` results; False when one is not there yet."""
        while self._known < steps:
            if self._known == len(self.records):
                return False
            record = self.records[self._known]
            self._known += 1
            self.archive.add(record)
            self._strategy.learn(record)
            if record.outcome is Outcome.EVALUATOR_ERROR:
                self._seen.discard(record.key)  # our fault: the program may come again
        return True


def _same(past: Record, made: Proposal | Record) -> Record:
    if (past.program, past.key) != (made.program, made.key):
        raise TraceError(
            f"the log's step {past.step} holds program {past.program}, this search proposes "
            f"{made.program}: another version made the log; start a new run with another --out"
        )
    return past
