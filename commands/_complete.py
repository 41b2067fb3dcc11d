"""What a shell offers at the tab key: read without heavy imports, from what lies in this folder.

A shell falls back to the names of files where nothing is offered.
"""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

import typer

from ._common import add_modules

Completer = Callable[[typer.Context, str], list[str]]

TRACES = Path(".gnomon/traces")
RUNS = Path(".gnomon/runs")
LEDGERS = (Path(".gnomon/ledger.db"), Path(".gnomon/control-plane/ledger.db"))
_HOOK = "hook="
_MOST = 50
_BUSY_S = 0.1


def quiet(offer: Callable[[typer.Context], Iterable[str]]) -> Completer:
    """Return a completer that offers what fits, and nothing where anything goes wrong."""

    @functools.wraps(offer)
    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        try:
            return [text for text in offer(ctx) if text.startswith(incomplete)]
        except Exception:  # noqa: BLE001 - a traceback would end up in the user's command line
            return []

    del complete.__wrapped__  # Typer reads the signature of this one
    return complete


def words(*known: str) -> Completer:
    """Return a completer of fixed words."""
    return quiet(lambda _ctx: known)


@quiet
def hooks(ctx: typer.Context) -> Iterable[str]:
    """Offer the hooks of the trace store that the line names, or of the usual one."""
    # An option that still lacks its value hides the arguments before it: the line is looked at too.
    line = os.environ.get("COMP_WORDS", "") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    places = [*line.split(), ctx.params.get("traces") or TRACES]
    folders = (sorted(Path(place).glob(f"*/{_HOOK}*")) for place in places)
    found = next((each for each in folders if each), [])
    return sorted({unquote(path.name.removeprefix(_HOOK)) for path in found})


@quiet
def runs(ctx: typer.Context) -> Iterable[str]:
    """Offer the runs that lie at the usual place."""
    return sorted(str(log.parent.relative_to(RUNS)) for log in RUNS.rglob("log.jsonl"))[:_MOST]


@quiet
def kind_names(ctx: typer.Context) -> Iterable[str]:
    """Offer the kinds that are known."""
    from ..policies.registry import kinds

    add_modules(ctx.find_root().params.get("module") or ())
    return kinds()


@quiet
def policies(ctx: typer.Context) -> Iterable[str]:
    """Offer the published and the found policies of every kind; a file's name is completed by the shell."""
    return _named(ctx)


@quiet
def incumbents(ctx: typer.Context) -> Iterable[str]:
    """Offer what may stand for the policy in production."""
    return ["recorded", *_named(ctx)]


def _named(ctx: typer.Context) -> list[str]:
    from ..policies.found import FOUND, found
    from ..policies.registry import kind, kinds

    add_modules(ctx.find_root().params.get("module") or ())
    known = [kind(each) for each in kinds()]
    published = {f"baseline:{name}" for each in known for name in each.baselines}
    return sorted(published | {FOUND + each.name for kind in known for each in found(kind)})


@quiet
def subjects(ctx: typer.Context) -> Iterable[str]:
    """Offer digests and rollouts of a ledger's newest entries."""
    return _subjects(_ledgers(ctx))


@quiet
def rollouts(_ctx: typer.Context) -> Iterable[str]:
    """Offer the rollouts of a control plane whose state lies here."""
    return _subjects(LEDGERS[1:], "kind like 'rollout.%'")


@quiet
def entry_kinds(ctx: typer.Context) -> Iterable[str]:
    """Offer the kinds of a ledger's entries."""
    asked = "select distinct kind"
    return sorted({kind for path in _ledgers(ctx) for kind in _read(path, asked, "1")})


def _ledgers(ctx: typer.Context) -> tuple[Path, ...]:
    """Return the ledger that the line names; without one, those that lie in this folder."""
    named = Path(ctx.params.get("ledger") or LEDGERS[0])
    return LEDGERS if named == LEDGERS[0] else (named,)


def _subjects(ledgers: Iterable[Path], where: str = "1") -> list[str]:
    question = "select subject, max(seq) as newest"
    found = (
        _read(path, question, f"{where} group by subject order by newest desc") for path in ledgers
    )
    return [subject for each in found for subject in each if subject]


def _read(ledger: Path, question: str, where: str) -> list[str]:
    """Return the first column of a question to a ledger; nothing where there is none."""
    if not ledger.is_file():
        return []
    address = f"{ledger.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, timeout=_BUSY_S, uri=True)) as book:
        return [
            row[0] for row in book.execute(f"{question} from entries where {where} limit {_MOST}")
        ]
