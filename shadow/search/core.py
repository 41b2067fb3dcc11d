"""The search: ``ask`` for work, do it, ``tell`` or ``answer`` with the result; the caller owns the loop.

The step ``s`` knows the results of all steps up to ``s - window`` and of none after, however many
evaluations run at once and in whatever order they end. Programs are let through in the order of their
steps, too: one that a writer is still at holds back those behind it. Random numbers are derived from the
seed, the step and their purpose. Hence the log is a function of the configuration, of the writers' answers
and of the results alone, and a search is resumed by asking again and taking both from the log.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from ...sdk.errors import LanguageError, TraceError
from ..evaluation import Evaluation, Trial
from .archive import Archive
from .context import Context, Known
from .log import RunLog
from .purse import Purse
from .records import (
    FREE,
    MOST_FEEDBACK,
    MOST_PROGRAM,
    TOLD,
    Assignment,
    Brief,
    Budget,
    Draft,
    Outcome,
    Proposal,
    Record,
    Reply,
    Spend,
    digest,
    evaluated,
    program_id,
    unevaluated,
)
from .space import SearchSpace
from .strategies import Strategy

WINDOW = 8
Trials = Callable[[Context], Trial | None]


class Search:
    """One search.

    Args:
        space: the programs that are considered.
        strategy: fresh; the search owns it from here on.
        log: open; what it holds already is replayed, neither written nor evaluated again.
        budget: all but ``seconds``, which the caller keeps.
        seed: of all random numbers.
        window: how many proposals may be under way without knowing of each other.
        trials: how far the evaluation of a program has to go that says nothing of it itself.

    Attributes:
        archive: of the results that the next step knows of.
        counts: proposals by outcome, committed or not.
        records: committed, by step.
        admitted: proposals that were let through, by step.
        exhausted: whether the strategy has nothing more to propose.
        hints: words for the writers of all later programs.
    """

    def __init__(
        self,
        space: SearchSpace,
        strategy: Strategy,
        log: RunLog,
        *,
        budget: Budget,
        seed: int = 0,
        window: int = WINDOW,
        trials: Trials = lambda _: None,
    ) -> None:
        self.space = space
        self.budget = budget
        self.archive = Archive()
        self.counts: Counter[Outcome] = Counter()
        self.records: list[Record] = []
        self.admitted: list[Proposal] = []
        self.exhausted = False
        self.hints: list[str] = []
        self.purse = Purse(budget.dollars)
        self._strategy = strategy
        self._log = log
        self._seed = seed
        self._window = window
        self._trials = trials
        self._past = log.records
        self._past_hints = deque(log.hints)
        self._told: deque[Draft] = deque()
        self._line: deque[_Placed] = deque()  # placed, not let through yet
        self._ready: deque[Proposal] = deque()
        self._writing: dict[int, Assignment] = {}
        self._open: dict[int, Proposal] = {}
        self._knew: dict[int, int] = {}  # of what was told
        self._results: dict[int, Record] = {}
        self._known_programs: dict[str, Record] = {}
        self._seen: set[str] = set()
        self._next = self._known = self._wanted = self._asked = self._paid_for = 0
        self._last_brief = -1

    @property
    def spent(self) -> str:
        """Which limit is reached: ``evaluations``, ``proposals``, ``dollars`` or ``exhausted``; else ''."""
        if self.exhausted:
            return "dollars" if self.purse.refused else "exhausted"
        if self._asked >= self.budget.evaluations:
            return "evaluations"
        return "proposals" if self._next >= self.budget.most_proposals else ""

    @property
    def steps(self) -> int:
        """How many proposals there have been, those under way included."""
        return self._next

    @property
    def ready(self) -> bool:
        """Whether :meth:`ask` returns a program to evaluate at once."""
        return bool(self._ready)

    @property
    def standing(self) -> str:
        """Where the strategy says it stands; may be empty."""
        return self._strategy.words()

    @property
    def writing(self) -> tuple[Assignment, ...]:
        """What waits for its writer."""
        return tuple(self._writing.values())

    def ask(self) -> Proposal | Assignment | None:
        """Return the next program to evaluate, or the next one to be written.

        None when the budget is spent (see :attr:`spent`), or when the results of earlier proposals
        have to be told or answered first.

        Raises:
            TraceError: the log that is resumed was not made by this search.
        """
        while not self._ready and not self.spent:
            if not self._know(max(self._next - self._window + 1, self._wanted)):
                return None
            made = None if self._full() else self._made()
            if made is None:
                self.exhausted = self._known == self._next
                self._wanted = self._known + 1
                continue
            assignment = self._place(made)
            if assignment is not None:
                return assignment
        return self._ready.popleft() if self._ready else None

    def answer(self, assignment: Assignment, reply: Reply) -> None:
        """Take what a writer made of an assignment, in any order.

        Raises:
            RuntimeError: the assignment was not asked for, or has been answered already.
        """
        if self._writing.get(assignment.step) != assignment:
            raise RuntimeError(
                f"answer() of step {assignment.step} without ask(), or twice; "
                f"open steps: {sorted(self._writing)}"
            )
        del self._writing[assignment.step]
        for placed in self._line:
            if placed.step == assignment.step:
                placed.take(reply)
        self._let_through()

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
        self._settle(evaluated(proposal, evaluation, self._knew.get(proposal.step, -1)))

    def offer(self, draft: Draft) -> None:
        """Let a program of an agent's or a person's take the next step; its operator begins with ``told:``."""
        if not draft.operator.startswith(TOLD):
            draft = replace(draft, operator=TOLD + draft.operator)
        self._told.append(draft)
        self.exhausted = False
        self._wanted = 0  # it needs no more results than are known

    def hint(self, text: str) -> None:
        """Let the writers of all later programs read some words; the log keeps them."""
        last = self._past_hints[-1][0] if self._past_hints else 0
        step = max(self._next, len(self._past), last)  # what is replayed was written without it
        self._log.hint(step, text)
        self._past_hints.append((step, text))

    def finish(self) -> None:
        """Put all committed results into the archive; the search asks for nothing afterwards."""
        self._know(len(self.records))
        self.exhausted = True

    def _full(self) -> bool:
        """Return whether what is under way may already spend the budget.

        Where a writer is among the steps nobody knows of, whether those cost an evaluation depends on how
        far they got; so all of them count.
        """
        if self._last_brief < self._known:
            return False  # spent() has looked at the exact count
        return self._paid_for + self._next - self._known >= self.budget.evaluations

    def _made(self) -> Draft | Brief | None:
        """Return what takes the next step: what was told, or what the strategy makes."""
        past = self._past[self._next] if self._next < len(self._past) else None
        self._take_hints()
        if past is not None and past.known >= 0:
            return self._told_before(past)
        if past is None and self._told:
            self._knew[self._next] = self._known
            return self._told.popleft()
        context = self._context()
        made = self._strategy.draft(context, self._rng("draft"))
        if isinstance(made, Brief) and not self.purse.affords(made.reserve):
            return None
        if made is not None and made.trial is None:
            return replace(made, trial=self._trials(context))
        return made

    def _told_before(self, past: Record) -> Draft:
        if not self._know(past.known):
            _refuse(past, "does not know as much")
        self._knew[self._next] = past.known
        return _drafted(past)

    def _take_hints(self) -> None:
        while self._past_hints and self._past_hints[0][0] <= self._next:
            self.hints.append(self._past_hints.popleft()[1])

    def _context(self) -> Context:
        return Context(
            space=self.space,
            archive=self.archive,
            step=self._next,
            settled=self._known == self._next,
            records=Known(self.records, self._known),
            by_program=self._known_programs,
            money=self.purse.left,
            hints=tuple(self.hints),
            evaluations_left=self.budget.evaluations - self._paid_for - self._next + self._known,
        )

    def _rng(self, purpose: str) -> random.Random:
        name = f"{self._seed}/{self._next}/{self._known}/{purpose}"
        return random.Random(hashlib.sha256(name.encode()).digest())

    def _place(self, made: Draft | Brief) -> Assignment | None:
        """Give a draft or a brief its step; return what has to be written first."""
        step, self._next = self._next, self._next + 1
        past = self._past[step] if step < len(self._past) else None
        assignment = None
        placed = _Placed(step, made if isinstance(made, Draft) else None, Spend(), past)
        if isinstance(made, Brief):
            self._last_brief = step
            self.purse.reserve(step, made.reserve)
            placed.brief = made
            if past is None:
                parent = self._known_programs.get(made.parents[0]) if made.parents else None
                assignment = self._writing[step] = Assignment(step, made, parent)
            else:
                placed.remember(past)
        self._line.append(placed)
        self._let_through()
        return assignment

    def _let_through(self) -> None:
        """Let the programs through that no unwritten one is before."""
        while self._line and self._line[0].draft is not None:
            self._admit(self._line.popleft())

    def _admit(self, placed: _Placed) -> None:
        judged = self._examined(placed)
        past = placed.past
        if past is not None and (past.program, past.key) != (judged.program, judged.key):
            _refuse(past, f"proposes {judged.program}")
        if isinstance(judged, Record):
            self._settle(past or judged)
            return
        self._seen.add(judged.key)
        self.admitted.append(judged)
        self._asked += 1
        if past is not None:
            self._settle(past)
            return
        self._open[judged.step] = judged
        self._ready.append(judged)

    def _examined(self, placed: _Placed) -> Proposal | Record:
        draft, step, spend = placed.draft, placed.step, placed.spend
        assert draft is not None, "only what is written is let through"
        known = self._knew.get(step, -1)
        if len(draft.source) > MOST_PROGRAM:
            placed.error = f"{len(draft.source)} characters, at most {MOST_PROGRAM} are a program"
            draft = replace(draft, source="")
        if placed.error:
            return unevaluated(step, draft, Outcome.UNANSWERED, "", placed.error, spend, known)
        dialect = self.space.dialect
        try:
            nodes = dialect.nodes(draft.source)
            key = digest(dialect.key(draft.source))[:16]
        except LanguageError as error:
            return unevaluated(step, draft, Outcome.INVALID, "", str(error), spend, known)
        if key in self._seen:
            return unevaluated(step, draft, Outcome.DUPLICATE, key, "", spend, known)
        why = "" if known >= 0 else self._strategy.refuses(draft, self.admitted)
        if why:
            return unevaluated(step, draft, Outcome.NOT_NOVEL, key, why, spend, known)
        return Proposal(step, program_id(draft.source), key, draft, nodes, spend)

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
            self._paid_for += record.outcome not in FREE
            self.purse.settle(record.step, record.cost)
            self.archive.add(record)
            if record.outcome not in FREE or record.program not in self._known_programs:
                self._known_programs[record.program] = record  # a duplicate says nothing of it
            self._strategy.learn(record)
            if record.outcome is Outcome.EVALUATOR_ERROR:
                self._seen.discard(record.key)  # our fault: the program may come again
        return True


@dataclass(slots=True)
class _Placed:
    """What has a step and waits for those before it to be let through."""

    step: int
    draft: Draft | None  # None until it is written
    spend: Spend
    past: Record | None
    brief: Brief | None = None
    error: str = ""

    def take(self, reply: Reply) -> None:
        """Turn the brief into what its writer made of it."""
        brief = self.brief
        assert brief is not None, "only a brief is answered"
        error = reply.error[:MOST_FEEDBACK] or "the writer gave nothing"
        self.error = "" if reply.source else error
        self.spend = Spend(reply.cost, reply.tokens_in, reply.tokens_out, brief.prompt.digest)
        author = reply.author or brief.author
        source = reply.source or ""
        self.draft = Draft(source, brief.operator, brief.parents, author, brief.place, brief.trial)

    def remember(self, past: Record) -> None:
        """Take the answer from the log, where the same was asked."""
        brief = self.brief
        assert brief is not None, "only a brief is answered"
        if past.prompt != brief.prompt.digest:
            _refuse(past, "asks for another program")
        self.error = past.reason if past.outcome is Outcome.UNANSWERED else ""
        self.spend = Spend(past.cost, past.tokens_in, past.tokens_out, past.prompt)
        self.draft = _drafted(past)


def _drafted(past: Record) -> Draft:
    return Draft(past.source, past.operator, past.parents, past.author, past.place)


def _refuse(past: Record, what: str) -> NoReturn:
    raise TraceError(
        f"the log's step {past.step} holds program {past.program}, this search {what}: "
        "another version made the log; start a new run with another --out"
    )
