"""A run and those who write programs for it by hand: ask, tell, told, hint."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .places import REGRESSIONS, VERDICTS, names_file

if TYPE_CHECKING:
    from ..shadow.search.authors.telling import Asked, Told

_PAUSE_S = 0.25


def ask(
    run: str | Path,
    *,
    parent: str = "",
    prompts: str | Path | None = None,
    regressions: str | Path | None = REGRESSIONS,
    verdicts: str | Path | None = VERDICTS,
    problem: str | Path | None = None,
    number: str = "",
) -> Asked:
    """Return what to write next for a run, with the ticket to tell it with; nothing of the run is changed.

    Args:
        run: its folder; the search may go on meanwhile.
        parent: id of the program to change, or its first six digits or more; else one is drawn.
        prompts: folder of templates that take the place of the shipped ones.
        regressions, verdicts: where the gates left what candidates were refused for; None looks nowhere.
        problem: the folder that is searched, of a run with ``--problem``.
        number: eight hex digits, by which the parent is drawn; fresh ones when empty.

    Raises:
        ConfigurationError: there is no such run or program, the run has ended, or a template does not work.
        TraceError: the log was edited.
    """
    from ..shadow.search.authors.prompts.lessons import lessons
    from ..shadow.search.authors.prompts.templates import load
    from ..shadow.search.authors.telling import ask as asked

    def said(hook: str, kind: str) -> tuple[str, ...]:
        folders = (Path(each) if each is not None else None for each in (regressions, verdicts))
        return lessons(hook, kind, *folders)

    templates = load(Path(prompts) if prompts is not None else None)
    number = number or secrets.token_hex(4)
    where = Path(problem) if problem is not None else None
    return asked(Path(run), number, parent=parent, templates=templates, lessons=said, problem=where)


def tell(
    run: str | Path,
    ticket: str,
    answer: str | Path,
    *,
    author: str = "agent",
    problem: str | Path | None = None,
) -> Told:
    """Give a program to a run, which takes it up at its next step, or when it is resumed.

    Args:
        run: its folder.
        ticket: of :func:`ask`; each is good for one program.
        answer: a file, as for :func:`verify`, or the text itself: a whole program, bare or in a code fence,
            or SEARCH/REPLACE blocks.
        author: for the log: ``agent``, ``person`` or a name.
        problem: as for :func:`ask`.

    Raises:
        ConfigurationError: the ticket is none, of another run or told already, the run has ended, or there
            is no program in the answer.
        LanguageError: the program lies outside the policy language; with line and reason.
        TraceError: the log was edited.
    """
    from ..sdk.errors import ConfigurationError
    from ..sdk.files import read_regular
    from ..shadow.search.authors.edits import MOST_ANSWER
    from ..shadow.search.authors.telling import readable
    from ..shadow.search.authors.telling import tell as telling

    text = str(answer)
    if names_file(answer):
        try:
            text = readable(read_regular(answer, MOST_ANSWER), str(answer))
        except OSError as error:
            raise ConfigurationError(
                f"{answer}: {error.strerror}; name the program's file"
            ) from error
    return telling(Path(run), ticket, text, author, Path(problem) if problem is not None else None)


def told(
    run: str | Path,
    ticket: str,
    *,
    wait_s: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Told:
    """Return what became of what was told with a ticket.

    Args:
        run: its folder.
        ticket: of :func:`ask`.
        wait_s: seconds to wait for its outcome, where it still waits itself.
        clock, sleep: in seconds.

    Raises:
        ConfigurationError: the ticket is none, of another run, or nothing was told with it.
        TraceError: the log was edited.
    """
    from ..shadow.search.authors.telling import told as found

    until = clock() + wait_s
    while True:
        state = found(Path(run), ticket)
        if not state.waits or clock() >= until:
            return state
        sleep(_PAUSE_S)


def hint(run: str | Path, text: str) -> str:
    """Give words to the writers of all later programs of a run; return them as they will stand there.

    Args:
        run: its folder.
        text: one sentence or a few, at most 1,000 characters.

    Raises:
        ConfigurationError: there is nothing to say or too much, no such run, or it has ended.
        TraceError: the log was edited.
    """
    from ..shadow.search.authors.telling import hint as hinted

    return hinted(Path(run), text)
