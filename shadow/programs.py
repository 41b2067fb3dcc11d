"""Replays under policies of program form: whole questions, one after the other, and what breaks on them."""

from __future__ import annotations

import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..sdk.errors import ConfigurationError
from ..sdk.invariant import Invariant, warned
from ..sdk.isolation.program import ProgramProcess
from ..sdk.isolation.program_wire import pack_terms
from ..sdk.isolation.status import Status
from ..sdk.isolation.zygote import CandidateStopped
from ..sdk.kind import Kind
from ..sdk.language import Answer
from ..sdk.language._arrays import size
from ..sdk.programs.questions import Question, answer_of, copied, objected, outside, question_of
from .simulators.base import Replay

#: Outputs by name; None for a policy that failed.
Outputs: TypeAlias = Mapping[str, Any] | None
#: Arguments in the contract's order to outputs.
Answers: TypeAlias = Callable[[tuple[Any, ...]], Outputs]
#: At most so many counterexamples are kept of one replay.
_MOST_VIOLATIONS = 3
#: Elements of the questions whose answers are kept: some tens of megabytes.
_KEPT = 8_000_000


@dataclass(frozen=True, slots=True)
class ProgramViolation:
    """One answer on which an invariant did not hold.

    Attributes:
        invariant: its name.
        asked: the question, as ``kind.question_type``.
        answer: outputs by name.
        detail: what is broken, in words.
    """

    invariant: str
    asked: Any
    answer: Mapping[str, Any]
    detail: str


@dataclass
class ProgramWatch:
    """Checks the decision invariants on every answer of a replay.

    Attributes:
        kind: what is decided.
        invariants: that block.
        found: the first violations.
        warns: that warn.
        warned: how often each that warns did not hold.
    """

    kind: Kind
    invariants: Sequence[Invariant]
    found: list[ProgramViolation] = field(default_factory=list)
    warns: Sequence[Invariant] = ()
    warned: Counter[str] = field(default_factory=Counter)

    def __call__(self, question: Question, outputs: Mapping[str, Any]) -> None:
        """Keep the answer if an invariant does not hold."""
        if self.warns:
            answer = answer_of(self.kind, outputs)
            self.warned.update(warned(self.warns, copied(question.asked), answer))
        if len(self.found) < _MOST_VIOLATIONS:
            found = violation(self.kind, self.invariants, question, outputs)
            self.found += [found] if found is not None else []


def violation(
    kind: Kind, invariants: Sequence[Invariant], question: Question, outputs: Mapping[str, Any]
) -> ProgramViolation | None:
    """Return the first invariant that an answer breaks, with question and answer, or None."""
    broken = objected(kind, invariants, question, outputs)
    if broken is None:
        return None
    detail = broken.description or broken.name
    return ProgramViolation(broken.name, question.asked, dict(outputs), detail)


def as_case(kind: Kind, broken: ProgramViolation, source: str) -> dict[str, Any]:
    """Return a violation as JSON values from which the call can be made again."""
    return {
        "invariant": broken.invariant,
        "kind": kind.name,
        "question": broken.asked._asdict(),
        "answer": dict(broken.answer),
        "detail": broken.detail,
        "source": source,
    }


def drawn_questions(kind: Kind, count: int, seed: int) -> list[Question]:
    """Return questions that the kind draws.

    Raises:
        ConfigurationError: a question is none that its contract allows; that is the kind's mistake.
    """
    assert kind.questions is not None, "a kind of program form"
    drawn = []
    for index in range(count):
        question = question_of(kind, kind.questions(random.Random(f"{seed} question {index}")))
        if name := outside(kind, question):
            raise ConfigurationError(
                f"questions= of kind {kind.name!r} draws {name!r} outside of its declared range; "
                "correct one of them"
            )
        drawn.append(question)
    return drawn


def drive_program(stream: Any, answer: Answers) -> Any:
    """Run a stream to its end with what answers its questions; return its replay."""
    try:
        arguments = next(stream)
        while True:
            arguments = stream.send(answer(arguments))
    except StopIteration as stop:
        return stop.value


class Asking:
    """A program behind its contract, as a replay asks it.

    Equal questions are asked once, as far as answers are kept: replicas of one replay ask the same, and
    what an answer costs is a program's run.

    Args:
        kind: of program form.
        ask: accepted terms by name to an answer.
        watch: sees every question and answer.
        until: on the monotonic clock; a question after it stops the candidate.

    Attributes:
        asked: how many questions so far, equal ones included.
    """

    def __init__(
        self,
        kind: Kind,
        ask: Callable[[Question], Answer],
        watch: Callable[[Question, Mapping[str, Any]], None] | None = None,
        until: float = float("inf"),
    ) -> None:
        self.asked = 0
        self._kind = kind
        self._ask = ask
        self._watch = watch
        self._until = until
        self._known: dict[bytes, Answer] = {}
        self._room = _KEPT

    def __call__(self, arguments: tuple[Any, ...]) -> Outputs:
        """Return outputs by name.

        Raises:
            CandidateStopped: the program faulted, died or took too long.
            ConfigurationError: the simulator asks what the contract does not allow.
        """
        if time.monotonic() > self._until:
            raise CandidateStopped(Status.TIMEOUT, "no result within the deadline")
        question = question_of(self._kind, arguments)
        if name := outside(self._kind, question):
            raise ConfigurationError(
                f"the simulator of kind {self._kind.name!r} asks with {name!r} outside of its declared "
                "range; correct the contract or the trace"
            )
        answer = self._answer(question)
        self.asked += 1
        if not answer.ok:
            raise CandidateStopped(
                Status.FAULT, f"the program faulted at decision {self.asked - 1}"
            )
        if self._watch is not None:
            self._watch(question, answer.outputs)
        return answer.outputs

    def _answer(self, question: Question) -> Answer:
        key = hashlib.blake2b(pack_terms(question.terms.values()), digest_size=16).digest()
        found = self._known.get(key)
        if found is not None:
            return found
        found = self._ask(question)
        self._room -= sum(
            map(size, question.terms.values())
        )  # no output is larger than what it was
        if self._room > 0:
            self._known[key] = found
        return found


def asking(
    process: ProgramProcess,
    kind: Kind,
    watch: Callable[[Question, Mapping[str, Any]], None] | None = None,
    until: float = float("inf"),
) -> Asking:
    """Return what asks a program in its own process."""
    return Asking(kind, lambda question: process.ask_terms(question.terms), watch, until)


def run_program(answer: Answers, streams: Iterable[Any]) -> list[Replay]:
    """Drive replays to their ends with one program's answers, one after the other.

    Raises:
        CandidateStopped: the program faulted, died or took too long.
    """
    return [drive_program(stream, answer) for stream in streams]
