"""Agents and people: what a run asks of them, and what becomes of what they tell it.

All of this reads the log of a run, which may go on meanwhile, and writes nothing but files into its inbox.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....policies import registry
from ....sdk.errors import ConfigurationError
from ...report.shown import Part, Shown, plain
from ..archive import Archive
from ..holder import held
from ..keyless.dialect import Dialect
from ..log import History, read_run
from ..records import TOLD, Draft, Outcome, Prompt, Record, program_id
from ..space import Space
from . import inbox
from .edits import MOST_ANSWER, edited
from .inbox import Ticket
from .memory import Memory
from .prompts.builder import Mode, Prompts
from .prompts.statement import Statement, of_space
from .prompts.templates import Templates, load

_LEAST_DIGITS = 6
_NOT_YET = "waiting"
_TOO_LATE = "too late"


@dataclass(frozen=True, slots=True, repr=False)
class Asked(Shown):
    """What somebody is to write.

    Attributes:
        ticket: to be told with the program.
        parent: id of the program to change; empty when one is to be written from scratch.
        source: of that program.
        prompt: what it is about.
        folder: of the run.
        problem: the folder that is searched, where it is no kind.
    """

    ticket: str
    parent: str
    source: str
    prompt: Prompt
    folder: Path
    problem: Path | None = None

    def parts(self) -> tuple[Part, ...]:
        """Return the prompt, and what to do with the program."""
        texts = tuple(text for _, text in self.prompt.messages)
        problem = f" --problem {self.problem}" if self.problem is not None else ""
        command = f"gnomon tell {self.folder} {self.ticket} FILE{problem}"
        return (*texts, f"\nTicket {self.ticket}; with the answer in a file: {command}")

    def as_json(self) -> dict[str, Any]:
        """Return ticket, parent, its source and the messages as JSON values."""
        messages = [{"role": role, "content": text} for role, text in self.prompt.messages]
        return {
            "ticket": self.ticket,
            "parent": self.parent,
            "source": self.source,
            "messages": messages,
            "folder": str(self.folder),
        }


@dataclass(frozen=True, slots=True, repr=False)
class Told(Shown):
    """What became of what somebody told.

    Attributes:
        ticket: it was told with.
        state: an outcome of the search, ``waiting``, or ``too late`` where the run had ended.
        program: id of the source.
        score, best: of the program and of the best so far; None where there is none. Lower is better, but
            where a folder is searched: there they are the evaluator's own.
        step: in the log; -1 while it waits.
        reason, feedback: why it has no score, and what the evaluation said.
        running: whether the search goes on; None where another machine would know.
    """

    ticket: str
    state: str
    program: str = ""
    score: float | None = None
    best: float | None = None
    step: int = -1
    reason: str = ""
    feedback: str = ""
    running: bool | None = False

    @property
    def waits(self) -> bool:
        """Whether its outcome is still to come."""
        return self.state == _NOT_YET

    @property
    def scored(self) -> bool:
        """Whether it has a score."""
        return self.state == Outcome.OK.value

    def parts(self) -> tuple[Part, ...]:
        """Return the state, with score or reason, and what the evaluation said."""
        if self.waits:
            goes_on = "the running search takes it up at its next step"
            stands = "it is taken up by: gnomon evolve --resume, with the options of the run"
            return (f"{self.ticket}: waiting; {stands if self.running is False else goes_on}",)
        if self.state == _TOO_LATE:
            return (f"{self.ticket}: too late; the run ended before it was taken up",)
        score = f", score {self.score:.6g}" if self.score is not None else ""
        best = f"; the best so far has {self.best:.6g}" if self.best is not None else ""
        reason = f": {self.reason}" if self.reason else ""
        line = f"{self.ticket}: {self.state}{score}{reason} (step {self.step}{best})"
        return (line, *([self.feedback] if self.feedback else []))

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {name: plain(getattr(self, name)) for name in type(self).__dataclass_fields__}


def ask(
    folder: Path,
    number: str,
    *,
    parent: str = "",
    templates: Templates | None = None,
    lessons: Callable[[str, str], tuple[str, ...]] = lambda _hook, _kind: (),
    problem: Path | None = None,
) -> Asked:
    """Return what to write next, by the log of a run as it is now.

    Args:
        folder: of the run.
        number: eight hex digits that no other ticket has; they choose the parent, too.
        parent: id of the program to change, or its first digits; empty lets the number choose.
        templates: of the prompt; the shipped ones when None.
        lessons: returns what candidates for a hook and kind were refused for.
        problem: the folder that is searched, where it is no kind.

    Raises:
        ConfigurationError: there is no such run or program, the run has ended, or a template does not work.
        TraceError: the log was edited.
    """
    run = _going(folder)
    _, statement = _setting(run, problem)
    archive, memory = Archive(), Memory(run.records)
    for record in run.records:
        archive.add(record)
    rng = random.Random(f"{run.run}/{number}")
    chosen = _named(run, parent) if parent else archive.select(rng)
    chosen = chosen or memory.broken or memory.last_failed
    others = tuple(dict.fromkeys(archive.select(rng) or chosen for _ in range(3)))
    sound = chosen is not None and chosen.outcome is Outcome.OK
    mode: Mode = "fresh" if chosen is None else "change" if sound else "fix"
    hook = str(run.config.get("subject", {}).get("hook", ""))
    prompts = Prompts(templates or load(), statement, lessons=lessons(hook, statement.title))
    request = memory.request(
        mode,
        "full",
        chosen,
        tuple(each for each in others if each is not None),
        hints=tuple(text for _, text in run.hints),
    )
    ticket = Ticket(run.run[:8], chosen.program if chosen else "", number)
    source = chosen.source if chosen else ""
    return Asked(str(ticket), ticket.parent, source, prompts.build(request), folder, problem)


def tell(
    folder: Path, ticket: str, answer: str, author: str = "agent", problem: Path | None = None
) -> Told:
    """Leave a program for a run to take up; return what is known of it, which is that it waits.

    Args:
        folder: of the run.
        ticket: of :func:`ask`.
        answer: a whole program, bare or in a code fence, or SEARCH/REPLACE blocks.
        author: for the log.
        problem: the folder that is searched, where it is no kind.

    Raises:
        ConfigurationError: the ticket is none, of another run or told already, the run has ended, or there
            is no program in the answer.
        LanguageError: the program lies outside the policy language.
        TraceError: the log was edited.
    """
    run = _going(folder)
    word = _ticket_of(run, ticket, folder)
    parent = _named(run, word.parent) if word.parent else None
    found = edited(answer, parent.source if parent else "")
    if found.error:
        raise ConfigurationError(f"ticket {word}: {found.error}")
    _setting(run, problem)[0].nodes(found.source)
    draft = Draft(
        found.source,
        f"{TOLD}{word}",
        (parent.program,) if parent else (),
        inbox.author_named(author),
    )
    if _record_of(run, word) is not None:
        raise ConfigurationError(f"ticket {word} was told already; ask for another")
    inbox.put(folder, word, draft)
    if _record_of(read_run(folder / "log.jsonl"), word) is not None:
        inbox.taken_back(folder, word)  # its first program was taken up while we looked
        raise ConfigurationError(f"ticket {word} was told already; ask for another")
    return Told(str(word), _NOT_YET, program_id(found.source), running=held(folder))


def told(folder: Path, ticket: str) -> Told:
    """Return what became of what was told with a ticket.

    Raises:
        ConfigurationError: the ticket is none, of another run, or nothing was told with it.
        TraceError: the log was edited.
    """
    waits = inbox.waiting(
        folder, Ticket.parse(ticket)
    )  # before the log: it goes from here to there
    run = read_run(folder / "log.jsonl")
    word = _ticket_of(run, ticket, folder)
    record = _record_of(run, word)
    if record is not None:
        best = Memory(run.records).best
        sign = -1.0 if run.config.get("kind") == "problem" else 1.0
        return Told(
            str(word),
            record.outcome.value,
            record.program,
            sign * record.score if record.outcome is Outcome.OK else None,
            sign * best.score if best is not None else None,
            record.step,
            record.reason,
            record.feedback,
            held(folder),
        )
    if not waits:
        raise ConfigurationError(f"nothing was told with ticket {word}; see: gnomon tell")
    return Told(str(word), _NOT_YET if run.final is None else _TOO_LATE, running=held(folder))


def hint(folder: Path, text: str) -> str:
    """Leave words for the writers of all later programs of a run; return them as they will stand there.

    Raises:
        ConfigurationError: there are none, too many, no such run, or it has ended.
        TraceError: the log was edited.
    """
    words = " ".join(text.split())
    if not words or len(words) > inbox.MOST_HINT or not words.isprintable():
        raise ConfigurationError(
            f"a hint of {len(words)} characters: give 1 to {inbox.MOST_HINT} that can be printed"
        )
    inbox.put_hint(folder, _going(folder).run[:8], words)
    return words


def readable(data: bytes, name: str) -> str:
    """Return the text of an answer; raises ConfigurationError when it is too long, or no UTF-8."""
    if len(data) > MOST_ANSWER:
        raise ConfigurationError(
            f"{name} has more than {MOST_ANSWER} bytes; a program is far shorter: name its file"
        )
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name} is no UTF-8 text; name the program's file") from None


def _going(folder: Path) -> History:
    run = read_run(folder / "log.jsonl")
    if run.final is not None:
        raise ConfigurationError(
            f"the run in {folder} has ended ({run.final.stopped}); start a new one with another --out"
        )
    return run


def _setting(run: History, problem: Path | None) -> tuple[Dialect, Statement]:
    """Return the form of a run's programs, and what it is about."""
    name, scales = run.config.get("kind"), run.config.get("scales", {})
    if name == "problem":
        return _problem_setting(run, problem)
    kind = registry.kind(str(name))
    if kind.version != run.config.get("kind_version"):
        raise ConfigurationError(
            f"the run is of {name} version {run.config.get('kind_version')}, here is {kind.version}; use "
            "the Gnomon that began it"
        )
    space = Space(kind, scales)
    return space.dialect, of_space(space)


def _problem_setting(run: History, folder: Path | None) -> tuple[Dialect, Statement]:
    from ...problems.folder import Problem
    from ...problems.space import ProblemSpace
    from ...problems.statement import statement_of

    if folder is None:
        raise ConfigurationError("the run searches a folder; name it with --problem")
    problem = Problem.read(folder)
    if problem.digest != run.config.get("subject", {}).get("problem"):
        raise ConfigurationError(f"--problem {folder} is not what the run searches; name that one")
    return ProblemSpace(problem).dialect, statement_of(problem)


def _ticket_of(run: History, text: str, folder: Path) -> Ticket:
    ticket = Ticket.parse(text)
    if ticket.run != run.run[:8]:
        raise ConfigurationError(f"ticket {ticket} is of another run than {folder}; ask that one")
    return ticket


def _named(run: History, program: str) -> Record:
    """Return the record of a program, of several the one with a score."""
    found = {
        record.program: record
        for record in sorted(run.records, key=lambda each: each.outcome is Outcome.OK)
        if record.source and record.program.startswith(program)
    }
    if len(program) < _LEAST_DIGITS or len(found) != 1:
        raise ConfigurationError(
            f"program {program[:40]!r} names {len(found)} of the run; give {_LEAST_DIGITS} or more digits "
            "of one"
        )
    return next(iter(found.values()))


def _record_of(run: History, ticket: Ticket) -> Record | None:
    return next((each for each in run.records if each.operator == f"{TOLD}{ticket}"), None)
