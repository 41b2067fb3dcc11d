"""What every command shares: errors as one line, output as a table or as JSON, exit codes."""

from __future__ import annotations

import errno
import functools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from ..sdk.errors import GnomonError, UnavailableError
from ._extras import missing

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ..shadow.report.shown import Part, Shown
    from ..shadow.report.shown import Table as Shape

#: Answers that stand out on a terminal.
_STYLES = {
    "passed": "green",
    "ok": "green",
    "failed": "red",
    "fail": "red",
    "warn": "yellow",
    "not installed": "dim",
    "inconclusive": "yellow",
    "beyond tolerance": "red",
    "skipped": "dim",
}
#: Columns of what is not a terminal: no line is ever as long, so nothing is wrapped or cut.
_UNBOUNDED = 100_000
#: Columns of a table of sentences there.
_PROSE = 100


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    NEGATIVE = 1  # the answer is no: refused, not verified, held, aborted
    BAD_INPUT = 2
    INCONCLUSIVE = 3
    UNAVAILABLE = 4


def add_modules(names: Iterable[str]) -> None:
    """Add names to ``GNOMON_MODULES``, for this process and for those that it starts."""
    from ..policies.registry import MODULES, modules

    os.environ[MODULES] = ",".join(dict.fromkeys((*modules(), *names)))


def fail(message: str, code: Exit = Exit.BAD_INPUT) -> NoReturn:
    """Print one line on standard error and leave with ``code``."""
    from ..shadow.report.shown import printable

    print(f"gnomon: {printable(' '.join(message.split()))}", file=sys.stderr)
    raise typer.Exit(int(code))


def emit(data: Any, as_json: bool, show: Callable[[], None]) -> None:
    """Print ``data`` as JSON on standard output, or call ``show`` to print it for people."""
    if as_json:
        print(json.dumps(data, indent=2, sort_keys=True))
    else:
        show()


def console(*, stderr: bool = False) -> Console:
    """Return where tables and lines for people go: as wide as the terminal, else unbounded.

    What is printed is text: square brackets in a path or a name are no markup, and control characters in
    what others wrote do not reach the terminal.
    """
    from rich.console import Console

    from ..shadow.report.shown import printable

    class Plain(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)

    tty = (sys.stderr if stderr else sys.stdout).isatty()
    return Plain(stderr=stderr, width=None if tty else _UNBOUNDED, markup=False, emoji=False)


def shown(result: Shown) -> Callable[[], None]:
    """Return what prints a result for people."""

    def show() -> None:
        out = console()
        for part in result.parts():
            folds = getattr(part, "prose", False) and not out.is_terminal
            out.print(rich_part(part, out), width=_PROSE if folds else None)

    return show


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM end the block as SIGINT does, so that what was found is kept."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def rich_part(part: Part, out: Console) -> Any:
    """Return a part of a result as rich prints it; a source has colours on a terminal only."""
    from rich.syntax import Syntax

    from ..shadow.report.shown import Table, printable

    if isinstance(part, str):
        return printable(part)
    if isinstance(part, Table):
        return _rich_table(part)
    text = printable(part.text)
    return Syntax(text, "python", word_wrap=True) if out.is_terminal else text


def _rich_table(table: Shape) -> Table:
    from rich.table import Table
    from rich.text import Text

    from ..shadow.report.shown import printable

    made = Table(
        title=printable(table.title) or None, title_justify="left", show_header=any(table.head)
    )
    for name, numeric in zip(table.head, table.numeric(), strict=True):
        made.add_column(printable(name), justify="right" if numeric else "left")
    for row in table.rows:
        made.add_row(*(Text(printable(cell), _STYLES.get(cell, "")) for cell in row))
    return folded(made)


def folded(table: Table) -> Table:
    """Return a table that breaks what is too long for the terminal over lines and cuts nothing."""
    for column in table.columns:
        column.overflow, column.no_wrap = "fold", False
    return table


def handled(command: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a command so that what is expected to go wrong ends in one line and an exit code.

    That is Gnomon's own errors, files that the machine refuses, and libraries that are missing; all
    else is a fault of ours and shows where it happened.
    """

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except UnavailableError as error:
            fail(str(error), Exit.UNAVAILABLE)
        except GnomonError as error:
            fail(str(error))
        except OSError as error:
            if error.filename is None or error.errno == errno.EPIPE:
                raise
            fail(f"{error.filename}: {error.strerror}; name another path, or set its permissions")
        except ImportError as error:
            if not missing(error):
                raise
            fail(missing(error))

    return wrapper
