"""What the demo prints: headings, progress, tables."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.syntax import Syntax
from rich.table import Table


class Screen:
    """Prints the demo for people.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()

    def stage(self, title: str, command: str = "") -> None:
        """Begin a stage; ``command`` is how one would do the same by hand."""
        passed = int(time.monotonic() - self._start)
        self._console.print()
        self._console.rule(
            f"[bold]{escape(title)}[/bold] [dim]{passed // 60}:{passed % 60:02d}[/dim]",
            align="left",
        )
        if command:
            self._console.print(f"[dim]$ {escape(command)}[/dim]")

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(escape(text), highlight=False)

    def good(self, text: str) -> None:
        """Print a line of success."""
        self._console.print(f"[green]✔[/green] {escape(text)}", highlight=False)

    def bad(self, text: str) -> None:
        """Print a line that deserves attention."""
        self._console.print(f"[yellow]●[/yellow] {escape(text)}", highlight=False)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table of text cells."""
        table = Table(*head)
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        self._console.print(table)

    def source(self, text: str) -> None:
        """Print a policy's source."""
        self._console.print(Syntax(text.rstrip(), "python", background_color="default"))

    @contextmanager
    def progress(self, label: str) -> Iterator[Callable[[float, str], None]]:
        """Show a bar while the block runs; yields a function of the share done and a note."""
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"))
        with Progress(*columns, console=self._console, transient=True) as bars:
            task = bars.add_task(label, total=1.0, note="")

            def show(share: float, note: str) -> None:
                bars.update(task, completed=min(share, 1.0), note=note)

            yield show


def percent(value: float) -> str:
    """Return a signed percentage."""
    return f"{value:+.1%}" if math.isfinite(value) else "unknown"


def interval(estimate: float, low: float, high: float) -> str:
    """Return a relative change with its interval."""
    return f"{percent(estimate)} ({percent(low)} to {percent(high)})"


def ms(value: float) -> str:
    """Return milliseconds."""
    return f"{value:.1f} ms"
