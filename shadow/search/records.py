"""What passes between the stages of a search: drafts, proposals and the records of what became of them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from enum import StrEnum

from ..evaluation import Evaluation, Status


class Outcome(StrEnum):
    """What became of one proposal; every proposal has exactly one."""

    OK = "ok"
    INVALID = "invalid"  # outside the policy language or the kind's limits; never evaluated
    DUPLICATE = "duplicate"  # the same program, up to names, was proposed before; never evaluated
    REJECTED = "rejected"  # the evaluator's own check refused it
    FAULT = "fault"
    VIOLATION = "violation"
    TIMEOUT = "timeout"
    DIED = "died"
    EVALUATOR_ERROR = "evaluator_error"


@dataclass(frozen=True, slots=True)
class Draft:
    """What a proposer made, before anybody looked at it.

    Attributes:
        source: of the policy.
        operator: how it was made, for example ``wrap`` or ``seed:peak_ewma``.
        parents: program ids that it was made from.
    """

    source: str
    operator: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """A program that waits for its evaluation.

    Attributes:
        step: position in the log, from 0.
        program: id, see :func:`program_id`.
        key: digest of the canonical form; two programs that differ in names alone share it.
        draft: what the proposer made.
        nodes: size of the syntax tree.
    """

    step: int
    program: str
    key: str
    draft: Draft
    nodes: int


@dataclass(frozen=True, slots=True)
class Record:
    """One proposal and what became of it, as the log keeps it.

    Attributes:
        step: position in the log, from 0.
        program, key: ids of the source and of its canonical form.
        source, operator, parents: of the draft.
        nodes: size of the syntax tree; 0 when the source is invalid.
        outcome: what became of it.
        score: on train, lower is better; NaN unless ``outcome`` is ``ok``.
        segments: per-segment scores on train; empty unless ``ok``.
        reason: why it is invalid, or an empty string.
        feedback: what the evaluation said, for the next prompt; at most 2,000 characters.
        metrics: further numbers by name.
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
    feedback: str = ""
    metrics: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a writer is told: (role, text) of every message, and the sha256 of all in hex."""

    messages: tuple[tuple[str, str], ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Budget:
    """Hard limits of one search.

    Attributes:
        evaluations: most programs evaluated on train; the finalists' validation comes on top.
        proposals: most proposals of any outcome; 0 means ten for every evaluation, and 100.
        seconds: wall time of the whole run, finalists included; infinite when none is set.
    """

    evaluations: int = 300
    proposals: int = 0
    seconds: float = math.inf

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


def evaluated(proposal: Proposal, evaluation: Evaluation) -> Record:
    """Return the record of an evaluated proposal.

    The evaluation's detail stays out: it may hold times and machine properties, and the log must be the
    same however often a seed is run. Its layers are those of the log's header, or it is not believed.
    """
    draft = proposal.draft
    fine = evaluation.status is Status.OK and math.isfinite(evaluation.score)
    outcome = Outcome(evaluation.status.value)
    return Record(
        step=proposal.step,
        program=proposal.program,
        key=proposal.key,
        source=draft.source,
        operator=draft.operator,
        parents=draft.parents,
        nodes=proposal.nodes,
        outcome=Outcome.EVALUATOR_ERROR if outcome is Outcome.OK and not fine else outcome,
        score=evaluation.score if fine else math.nan,
        segments=evaluation.segments if fine else (),
    )


def unevaluated(step: int, draft: Draft, outcome: Outcome, key: str, reason: str = "") -> Record:
    """Return the record of a proposal that was refused before any evaluation."""
    return Record(
        step=step,
        program=program_id(draft.source),
        key=key,
        source=draft.source,
        operator=draft.operator,
        parents=draft.parents,
        nodes=0,
        outcome=outcome,
        reason=reason,
    )
