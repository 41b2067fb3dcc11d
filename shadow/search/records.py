"""What passes between the stages of a search: drafts, proposals and the records of what became of them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from ..evaluation import Evaluation, Status, Trial

#: The author of what was made without a model, an agent or a person.
KEYLESS = "keyless"
#: Characters of feedback that a record keeps.
MOST_FEEDBACK = 2000
#: Characters of a program; what is longer is no program, and would make a log that nobody reads again.
MOST_PROGRAM = 1_000_000


class Outcome(StrEnum):
    """What became of one proposal; every proposal has exactly one."""

    OK = "ok"
    INVALID = "invalid"  # outside the policy language or the kind's limits; never evaluated
    DUPLICATE = "duplicate"  # the same program, up to names, was proposed before; never evaluated
    UNANSWERED = "unanswered"  # a writer gave no program; nothing to evaluate
    NOT_NOVEL = "not_novel"  # too like an earlier program for the strategy; never evaluated
    STOPPED = "stopped"  # its evaluation ended early: certainly not as good as was asked for
    REJECTED = "rejected"  # the evaluator's own check refused it
    FAULT = "fault"
    VIOLATION = "violation"
    TIMEOUT = "timeout"
    DIED = "died"
    EVALUATOR_ERROR = "evaluator_error"


#: Outcomes of proposals that cost no evaluation.
FREE = frozenset({Outcome.INVALID, Outcome.DUPLICATE, Outcome.UNANSWERED, Outcome.NOT_NOVEL})
#: How the operators begin of programs that were told by an agent or a person.
TOLD = "told:"


@dataclass(frozen=True, slots=True)
class Draft:
    """What a proposer made, before anybody looked at it.

    Attributes:
        source: of the policy.
        operator: how it was made, for example ``wrap`` or ``seed:peak_ewma``.
        parents: program ids that it was made from.
        author: ``keyless``, a model's name, or who told it.
        place: where the strategy will put it, for example an island.
        trial: how far its evaluation has to go; None for all the way.
    """

    source: str
    operator: str
    parents: tuple[str, ...] = ()
    author: str = KEYLESS
    place: str = ""
    trial: Trial | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a writer reads.

    Attributes:
        messages: (role, text) in order.
        digest: SHA-256 of all of them, in hex.
    """

    messages: tuple[tuple[str, str], ...]
    digest: str

    @classmethod
    def of(cls, *messages: tuple[str, str]) -> Prompt:
        """Return the prompt of these messages."""
        return cls(messages, digest(repr(messages)))


@dataclass(frozen=True, slots=True)
class Brief:
    """What a writer is asked for.

    Attributes:
        operator: how the program will have been made, for example ``rewrite``.
        prompt: what the writer reads.
        author: whose turn it is: a model's name.
        edit: whether the answer is a whole program, or changes to the first parent.
        parents: program ids that the prompt is about, the one to change first.
        reserve: dollars that the call can cost at most.
        place, trial: as of a draft.
        max_tokens: of the answer.
        seed: for the model, where it takes one.
    """

    operator: str
    prompt: Prompt
    author: str
    edit: Literal["diff", "full"] = "full"
    parents: tuple[str, ...] = ()
    reserve: float = 0.0
    place: str = ""
    trial: Trial | None = None
    max_tokens: int = 2048
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a brief.

    Attributes:
        source: of the whole program, the edit applied; empty when there is none.
        error: why there is none.
        cost: in dollars; None when the price or the use is not known.
        tokens_in, tokens_out: of the prompt and of the answer.
        author: who answered, where it is not who was asked.
        cached: whether it was known from an earlier call.
    """

    source: str = ""
    error: str = ""
    cost: float | None = None
    tokens_in: int = 0
    tokens_out: int = 0
    author: str = ""
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Spend:
    """What a proposal cost before its evaluation.

    Attributes:
        cost: dollars; None when unknown.
        tokens_in, tokens_out: of the model.
        prompt: digest of what the writer read; empty where nobody wrote.
    """

    cost: float | None = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A program that waits for its evaluation.

    Attributes:
        step: position in the log, from 0.
        program: id, see :func:`program_id`.
        key: digest of the canonical form; two programs that differ in names alone share it.
        draft: what the proposer made.
        nodes: size of the syntax tree.
        spend: what it has cost so far.
    """

    step: int
    program: str
    key: str
    draft: Draft
    nodes: int
    spend: Spend = Spend()


@dataclass(frozen=True, slots=True)
class Record:
    """One proposal and what became of it, as the log keeps it.

    Attributes:
        step: position in the log, from 0.
        program, key: ids of the source and of its canonical form.
        source, operator, parents, author, place: of the draft.
        nodes: size of the syntax tree; 0 when the source is invalid.
        outcome: what became of it.
        score: on train, lower is better; NaN unless ``outcome`` is ``ok``.
        segments: per-segment scores on train; empty unless ``ok``.
        reason: why it was not evaluated, or an empty string.
        cost, tokens_in, tokens_out, prompt: as of its spend.
        feedback: the evaluator's words for whoever writes the next program.
        metrics: what else the evaluator measured, by name.
        known: how many results the search knew of when this was told; -1 where it was not told.
    """

    step: int
    program: str
    key: str
    source: str
    operator: str
    parents: tuple[str, ...]
    nodes: int
    outcome: Outcome
    score: float = math.nan
    segments: tuple[float, ...] = ()
    reason: str = ""
    author: str = KEYLESS
    place: str = ""
    cost: float | None = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    prompt: str = ""
    feedback: str = ""
    metrics: tuple[tuple[str, float], ...] = ()
    known: int = -1


@dataclass(frozen=True, slots=True)
class Assignment:
    """A brief that waits for its writer.

    Attributes:
        step: position in the log that the program will have.
        brief: what is asked for.
        parent: the program to change, or None.
    """

    step: int
    brief: Brief
    parent: Record | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """Hard limits of one search.

    Attributes:
        evaluations: most programs evaluated on train; the finalists' validation comes on top.
        proposals: most proposals of any outcome; 0 means ten for every evaluation, and 100.
        seconds: wall time of the whole run, finalists included; infinite when none is set.
        dollars: most that models may cost, calls under way included; infinite when none is set.
    """

    evaluations: int = 300
    proposals: int = 0
    seconds: float = math.inf
    dollars: float = math.inf

    @property
    def most_proposals(self) -> int:
        """The limit on proposals that is in force."""
        return self.proposals or 10 * self.evaluations + 100


def digest(text: str) -> str:
    """Return the SHA-256 of a text's UTF-8 bytes in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def program_id(source: str) -> str:
    """Return the id of a program: the first 16 hex digits of its source's digest."""
    return digest(source)[:16]


def evaluated(proposal: Proposal, evaluation: Evaluation, known: int = -1) -> Record:
    """Return the record of an evaluated proposal.

    The evaluation's detail stays out: it may hold times and machine properties, and the log must be the
    same however often a seed is run. Its layers are those of the log's header, or it is not believed.
    """
    fine = evaluation.status is Status.OK and math.isfinite(evaluation.score)
    outcome = Outcome(evaluation.status.value)
    return replace(
        _unjudged(proposal.step, proposal.draft, proposal.key, proposal.spend),
        nodes=proposal.nodes,
        outcome=Outcome.EVALUATOR_ERROR if outcome is Outcome.OK and not fine else outcome,
        score=evaluation.score if fine else math.nan,
        segments=evaluation.segments if fine else (),
        feedback=evaluation.feedback[:MOST_FEEDBACK],
        metrics=evaluation.metrics,
        known=known,
    )


def unevaluated(
    step: int,
    draft: Draft,
    outcome: Outcome,
    key: str = "",
    reason: str = "",
    spend: Spend = Spend(),
    known: int = -1,
) -> Record:
    """Return the record of a proposal that was refused before any evaluation."""
    plain = _unjudged(step, draft, key, spend)
    return replace(plain, outcome=outcome, reason=reason, known=known)


def _unjudged(step: int, draft: Draft, key: str, spend: Spend) -> Record:
    return Record(
        step=step,
        program=program_id(draft.source),
        key=key,
        source=draft.source,
        operator=draft.operator,
        parents=draft.parents,
        nodes=0,
        outcome=Outcome.INVALID,
        author=draft.author,
        place=draft.place,
        cost=spend.cost,
        tokens_in=spend.tokens_in,
        tokens_out=spend.tokens_out,
        prompt=spend.prompt,
    )
