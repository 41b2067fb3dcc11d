"""One prompt from what is known of a program: the same facts give the same bytes, within a limit of size.

What does not fit is cut in this order: other programs (the last first), what became of other changes (the
oldest first), lessons of earlier candidates, stretches of time beyond the five worst, descriptions of
inputs, hints (the oldest first), the strategy's note. The problem, the rules of the language, the program
to change, what its evaluation said and how to answer are never cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from .....sdk.errors import ConfigurationError
from ...records import MOST_FEEDBACK, Outcome, Prompt, Record, digest
from .quoting import line, visible
from .statement import Statement
from .templates import PARTS, Templates

Mode = Literal["change", "cross", "fix", "fresh"]
Edit = Literal["diff", "full"]

#: Of a prompt, and what is always left for all but the program to change.
TOKENS, LEAST_TOKENS = 8_000, 2_000
CHARACTERS_PER_TOKEN = 4
#: Characters of a program; a longer one is shown cut and has to be written anew.
MOST_SOURCE = 60_000
_MOST_REASON, _MOST_LESSON, _MOST_HINT, _MOST_NOTE = 300, 400, 1_000, 2_000
_MOST_METRICS, _MOST_NAME = 20, 60
_SEGMENTS, _FEWER_SEGMENTS = 24, 5


@dataclass(frozen=True, slots=True)
class Request:
    """What one prompt is asked for, and on what.

    Attributes:
        mode: ``change`` the parent, ``cross`` it with others, ``fix`` what is wrong with it, or ``fresh``.
        edit: in which form to answer.
        parent: the program to change; None only for ``fresh``.
        others: further programs, the most important first.
        best, incumbent: to compare with; None when there is none.
        failures: what became of recent changes to the parent and was no good, the latest first.
        segments: indices of stretches of time to attend to.
        note: the strategy's words.
        hints: of people, the oldest first.
    """

    mode: Mode
    edit: Edit
    parent: Record | None = None
    others: tuple[Record, ...] = ()
    best: Record | None = None
    incumbent: Record | None = None
    failures: tuple[Record, ...] = ()
    segments: tuple[int, ...] = ()
    note: str = ""
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """What the templates see of a request."""

    mode: Mode
    edit: Edit


@dataclass(frozen=True, slots=True)
class Program:
    """What the templates see of a record: visible text of bounded length only."""

    program: str
    source: str
    outcome: str
    scored: bool
    score: float
    nodes: int
    reason: str
    feedback: str
    metrics: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the recorded time: scores there, and whether the strategy wants it looked at."""

    index: int
    own: float
    best: float | None
    incumbent: float | None
    attended: bool

    @property
    def loss(self) -> float:
        """By how much the program is behind the better of the others."""
        known = [value for value in (self.best, self.incumbent) if value is not None]
        return self.own - min(known) if known else self.own


class Prompts:
    """Builds the prompts of one search.

    Args:
        templates: read from files.
        statement: of the problem.
        lessons: what earlier candidates were refused for, the most important first.
        tokens: most tokens of a prompt, at four characters each. A program to change that is longer than
            what is left of them is shown whole all the same, with :data:`LEAST_TOKENS` for the rest.

    Raises:
        ConfigurationError: a template does not work, or its fixed parts leave no room.
    """

    def __init__(
        self,
        templates: Templates,
        statement: Statement,
        *,
        lessons: Sequence[str] = (),
        tokens: int = TOKENS,
    ) -> None:
        if tokens < LEAST_TOKENS:
            raise ConfigurationError(f"prompts of {tokens} tokens; give {LEAST_TOKENS} or more")
        self.statement = statement
        self.tokens = tokens
        self.lessons = tuple(line(lesson, _MOST_LESSON) for lesson in lessons)
        self._templates = templates
        self._environment = templates.environment()
        self._uses: dict[str, frozenset[str]] = {}
        self._last: dict[str, tuple[dict[str, Any], str]] = {}  # what a part was made of, and it
        for part in PARTS:
            with self._blaming(part):
                self._uses |= templates.uses(self._environment, part)
        for request in _samples():
            size = sum(len(text) for _, text in self.build(request).messages)
            if size > tokens * CHARACTERS_PER_TOKEN:
                raise ConfigurationError(
                    f"what is never cut of a prompt takes {size // CHARACTERS_PER_TOKEN} tokens, at most "
                    f"{tokens} are allowed: shorten the templates or what they say"
                )

    @property
    def digest(self) -> str:
        """sha256 hex of all that prompts are made from, besides the run's own records."""
        return digest(f"{self._templates.digest}\n{self.statement}\n{self.lessons}\n{self.tokens}")

    def build(self, request: Request) -> Prompt:
        """Return the prompt of a request; raises ConfigurationError when a template fails."""
        values = self._values(request)
        parts = self._rendered(values)
        source = values["parent"].source if values["parent"] else ""
        room = max(
            self.tokens * CHARACTERS_PER_TOKEN,
            len(source) + LEAST_TOKENS * CHARACTERS_PER_TOKEN,
        )
        for smaller in _cuts(values):
            if _size(parts) <= room:
                break
            parts = self._rendered(smaller)
        user = "\n\n".join(text for part, text in parts.items() if text and part != "system")
        return Prompt.of(("system", parts["system"]), ("user", user))

    def _values(self, request: Request) -> dict[str, Any]:
        sign = -1.0 if self.statement.higher else 1.0
        parent, best, incumbent = (
            _program(record, sign) if record is not None else None
            for record in (request.parent, request.best, request.incumbent)
        )
        cut = parent is not None and len(parent.source) > MOST_SOURCE - 1
        segments = _segments(request, sign)
        return {
            "problem": self.statement,
            "task": Task(request.mode, "full" if cut or parent is None else request.edit),
            "parent": parent,
            "best": best,
            "incumbent": incumbent,
            "others": tuple(_program(record, sign) for record in request.others),
            "failures": tuple(_program(record, sign) for record in request.failures),
            "lessons": self.lessons,
            "segments": _worst(segments, _SEGMENTS, sign),
            "fewer": len(segments) > _SEGMENTS,
            "described": True,
            "note": visible(request.note, _MOST_NOTE),
            "hints": tuple(line(hint, _MOST_HINT) for hint in request.hints),
            "sign": sign,
        }

    def _rendered(self, values: dict[str, Any]) -> dict[str, str]:
        return {part: self._part(part, values) for part in PARTS}

    def _part(self, part: str, values: dict[str, Any]) -> str:
        """Return a part; where nothing changed that it reads, that of the last time."""
        uses = self._uses.get(part, values.keys())
        read = {name: values[name] for name in uses if name in values}
        last = self._last.get(part)
        if last is not None and last[0] == read:
            return last[1]
        with self._blaming(part):
            text = self._environment.get_template(part).render(values).strip("\n")
        self._last[part] = (read, text)
        return text

    @contextmanager
    def _blaming(self, part: str) -> Iterator[None]:
        """Turn what a template raises into an error that names its file."""
        from jinja2 import TemplateError

        place = self._templates.places[part]
        try:
            yield
        except TemplateError as error:
            line_number = getattr(error, "lineno", None)
            at = f", line {line_number}" if line_number else ""
            raise ConfigurationError(
                f"{place}{at}: {error.message or type(error).__name__}; repair the template, or delete it "
                "to have the shipped one"
            ) from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"{place}: {type(error).__name__}: {error}; repair the template, or delete it to have "
                "the shipped one"
            ) from error


def _size(parts: dict[str, str]) -> int:
    return sum(len(text) + 2 for text in parts.values())


def _cuts(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield less and less to say, in the order of the module's docstring."""
    for name in ("others", "failures", "lessons"):
        while values[name]:
            values = values | {name: values[name][:-1]}
            yield values
    if len(values["segments"]) > _FEWER_SEGMENTS:
        few = _worst(values["segments"], _FEWER_SEGMENTS, values["sign"])
        values = values | {"segments": few, "fewer": True}
        yield values
    values = values | {"described": False}
    yield values
    while values["hints"]:
        values = values | {"hints": values["hints"][1:]}
        yield values
    yield values | {"note": ""}


def _program(record: Record, sign: float) -> Program:
    return Program(
        program=record.program,
        source=visible(record.source, MOST_SOURCE),
        outcome=record.outcome.value.replace("_", " "),
        scored=math.isfinite(record.score),
        score=sign * record.score,
        nodes=record.nodes,
        reason=line(record.reason, _MOST_REASON),
        feedback=visible(record.feedback, MOST_FEEDBACK).strip("\n"),
        metrics=tuple(
            (line(name, _MOST_NAME), value) for name, value in record.metrics[:_MOST_METRICS]
        ),
    )


def _segments(request: Request, sign: float) -> tuple[Segment, ...]:
    parent = request.parent
    if parent is None:
        return ()
    attended = frozenset(request.segments)
    return tuple(
        Segment(
            index,
            sign * own,
            _of_segment(request.best, index, parent, sign),
            _of_segment(request.incumbent, index, parent, sign),
            index in attended,
        )
        for index, own in enumerate(parent.segments)
    )


def _of_segment(record: Record | None, index: int, parent: Record, sign: float) -> float | None:
    if record is None or record.program == parent.program or index >= len(record.segments):
        return None
    return sign * record.segments[index]


def _worst(segments: tuple[Segment, ...], most: int, sign: float) -> tuple[Segment, ...]:
    """Return the segments that are attended to and those of the greatest loss, by index."""
    order = sorted(segments, key=lambda each: (not each.attended, -sign * each.loss, each.index))
    return tuple(sorted(order[:most], key=lambda each: each.index))


def _samples() -> Iterator[Request]:
    """Yield requests that have everything and nothing, to try templates with before a run."""
    text = "def score(noise):\n    return noise\n"
    name = "0" * 16
    good = Record(0, name, name, text, "sample", (), 3, Outcome.OK, 1.0, (1.0, 2.0), feedback="so")
    bad = Record(1, "1" * 16, name, text, "sample", (), 3, Outcome.INVALID, reason="line 1: no")
    yield Request("fresh", "full")
    yield Request(
        "change", "diff", good, (bad, good), bad, good, (bad,), (0,), "a note", ("a hint",)
    )
    yield Request("cross", "full", good, (good,), good)
    yield Request("fix", "diff", bad)
