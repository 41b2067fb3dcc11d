"""What the commands about ledgers share: where one lies, and its entries as people read them."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from ..api import LEDGER, existing_ledger
from ..sdk.errors import ConfigurationError, TrustError
from . import _complete, _rollout
from ._common import emit

if TYPE_CHECKING:
    from ..policies.rollout.chain import Entry, LedgerCheck, Progress
    from ..policies.rollout.client import RolloutClient
    from ..policies.rollout.ledger import Ledger

LedgerFile = Annotated[
    Path, typer.Option("--ledger", help="Ledger's file; not with --control-plane.")
]
Address = Annotated[
    str, typer.Option("--control-plane", help="HOST:PORT; read its ledger instead.")
]
Kinds = Annotated[
    str,
    typer.Option(
        "--kind", help="Only this kind and kinds below it.", autocompletion=_complete.entry_kinds
    ),
]
Since = Annotated[
    str, typer.Option("--since", help="Only from this time on: ISO, UTC unless it says; or 2h ago.")
]

_LEAST_WIDTH, _MOST_WIDTH = 60, 120
_INDENT = "    "
_BACK = re.compile(r"(?P<time>[0-9.]+(ms|s|m|h|d))( ago)?")
_CLOCK = re.compile(r"\d{1,2}:\d{2}")


class Source(Protocol):
    """A ledger, wherever it lies."""

    def verify(self, anchors: Sequence[str], progress: Progress) -> LedgerCheck:
        """Verify the chain, and that it holds the anchors."""
        ...

    def entries(self) -> list[Entry]:
        """Return all entries in order."""
        ...

    def head(self) -> str:
        """Return ``SEQ:HASH`` of the last entry; empty where there is none."""
        ...


class Local:
    """A ledger's file."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def verify(self, anchors: Sequence[str], progress: Progress) -> LedgerCheck:
        """Verify the file."""
        return self._ledger.verify(*anchors, progress=progress)

    def entries(self) -> list[Entry]:
        """Return what is in the file."""
        return self._ledger.list()

    def head(self) -> str:
        """Return the file's head."""
        head = self._ledger.head()
        return head.anchor if head else ""


class Remote:
    """The control plane's ledger, verified here: its own word for it is not asked."""

    def __init__(self, client: RolloutClient) -> None:
        self.client = client

    def verify(self, anchors: Sequence[str], progress: Progress) -> LedgerCheck:
        """Fetch everything and verify it here."""
        from ..policies.rollout.chain import check_entries

        return check_entries(self.client.entries(), anchors, progress)

    def entries(self) -> list[Entry]:
        """Fetch everything."""
        return list(self.client.entries())

    def head(self) -> str:
        """Return the head of what is fetched and holds; raises TrustError where it does not."""
        from ..policies.rollout.chain import check_entries

        check = check_entries(self.client.entries())
        if not check.ok:
            raise TrustError(f"the control plane's ledger does not hold: {check.problem}")
        return f"{check.entries}:{check.head.hex()}" if check.entries else ""


@contextmanager
def opened(ledger: Path, control_plane: str) -> Iterator[Local | Remote]:
    """Open the ledger that the options name; raises ConfigurationError where they name two."""
    if control_plane and ledger != LEDGER:
        raise ConfigurationError(
            f"--ledger {ledger} and --control-plane {control_plane}: name one of them"
        )
    if control_plane:
        with _rollout.connect(control_plane) as client:
            yield Remote(client)
        return
    with closing(existing_ledger(ledger)) as found:
        yield Local(found)


def emit_entries(entries: Sequence[Entry], as_json: bool, when_none: str) -> None:
    """Print entries, as JSON or a block of lines each."""
    emit([entry.as_json() for entry in entries], as_json, lambda: _print(entries, when_none))


def chosen(entries: Sequence[Entry], kind: str, since: str) -> list[Entry]:
    """Return the entries of a kind and those below it, from a time on; empty words take all.

    Raises:
        ConfigurationError: the time is none.
    """
    first = when(since) if since else 0
    return [
        entry
        for entry in entries
        if entry.time_ns >= first and (not kind or f"{entry.kind}.".startswith(f"{kind}."))
    ]


def when(text: str, now_ns: int | None = None) -> int:
    """Return the Unix nanoseconds of a time as people write it.

    Args:
        text: ISO date, time of today (``12:03``) or both, in UTC unless it states an offset; or a
            duration back from now, such as ``90s`` or ``2h ago``.
        now_ns: Unix nanoseconds now; the system's clock when None.

    Raises:
        ConfigurationError: it is none of these.
    """
    now = datetime.fromtimestamp((time.time_ns() if now_ns is None else now_ns) / 1e9, UTC)
    try:
        if back := _BACK.fullmatch(text):
            return round(now.timestamp() * 1e9 - _rollout.seconds(back["time"]) * 1e9)
        if _CLOCK.match(text):
            text = f"{now.date().isoformat()}T{text}"
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{text!r} is no time; write 2026-11-28T12:03, 12:03 (of today), both UTC, or 2h ago"
        ) from error
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return round(found.timestamp() * 1_000_000) * 1000


def moment(time_ns: int) -> str:
    """Return a Unix time as people read it, in UTC."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def width() -> int:
    """Return how wide lines for people may be: the terminal's width within limits, 100 elsewhere."""
    known = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else 100
    return min(max(known, _LEAST_WIDTH), _MOST_WIDTH)


def _print(entries: Sequence[Entry], when_none: str) -> None:
    if not entries:
        print(when_none, end="\n" if when_none else "")
        return
    from ..shadow.report.shown import printable

    columns = width()
    for entry in entries:
        subject = entry.subject if len(entry.subject) < 40 else entry.subject[:16]
        head = f"{entry.seq}  {moment(entry.time_ns)}  {entry.kind}  {entry.actor}  {subject}"
        print(printable(head))
        for line in textwrap.wrap(printable(what(entry)), columns - len(_INDENT)):
            print(_INDENT + line)


def what(entry: Entry) -> str:
    """Return what an entry says, in a sentence."""
    body = entry.body
    if "from" in body and "to" in body:
        order = f" by {body['order']}" if body.get("order") else ""
        return f"{body['from']} -> {body['to']}{order}: {body.get('cause', '')}"
    said = _SENTENCES.get(entry.kind, lambda _body: "")(body)
    if said:
        return said
    for name in ("summary", "reason", "error", "problem", "calibration", "why"):
        if body.get(name):
            return str(body[name])
    return json.dumps(body, sort_keys=True)[:240]


def runs(body: Any) -> str:
    """Return what an epoch lets run, in short."""
    if not body:
        return "an epoch that was superseded by then"
    stable, candidate = str(body.get("stable", ""))[:16], str(body.get("candidate", ""))[:16]
    if not candidate:
        return f"{body.get('phase')}: {stable}"
    return f"{body.get('phase')}: {candidate} at {body.get('weight')} beside {stable}"


def _created(body: Any) -> str:
    candidate, stable = str(body.get("candidate", ""))[:16], str(body.get("stable", ""))[:16]
    signers = [name or keyid[:16] for keyid, name in body.get("bundle_signed_by", {}).items()]
    override = body.get("provenance", {}).get("override", "")
    past = f", past a refusal: {override}" if override else ""
    return f"{candidate} against {stable}, signed by {', '.join(signers) or 'nobody known'}{past}"


def _processes(body: Any) -> str:
    count = body.get("count", 0)
    services = ", ".join(sorted(body.get("processes", {})))
    return f"{count} process{'es' if count != 1 else ''} of {services}"


def _acknowledged(body: Any) -> str:
    return f"epoch {body.get('epoch')}, {runs(body.get('runs'))}; {_processes(body)}"


def _counted(body: Any) -> str:
    failed = ", ".join(f"{count} {name}" for name, count in body.get("failed", {}).items())
    return f"{failed} among {body.get('decisions')} decisions"


_SENTENCES = {
    "rollout.created": _created,
    "delivery.acknowledged": _acknowledged,
    "delivery.left": _processes,
    "invariant.counted": _counted,
}
