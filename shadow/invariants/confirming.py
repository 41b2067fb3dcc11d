"""Confirming suggestions, with an entry in a ledger, and holding a hook to what was confirmed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...policies.rollout.ledger import Ledger
from ...sdk.errors import TrustError
from ...sdk.invariant import Severity, check_words
from ...sdk.rules.file import Suggestion, Suggestions, read_suggestions

#: Kind of the ledger's entries; their subject is the confirmation's digest.
ENTRY = "invariant.confirmed"


def confirmed(
    path: Path,
    names: Sequence[str],
    by: str,
    severity: Severity,
    now_ns: int,
    ledger: Ledger | None,
) -> Suggestions:
    """Confirm suggestions of a file: in the ledger first, then in the file.

    Raises:
        ConfigurationError: no such file, suggestion or severity.
        TrustError: a suggestion was changed after it was confirmed before.
    """
    check_words("decision", severity)
    when = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with _alone(path.parent):
        file = read_suggestions(path).confirm(names, by, when, severity)
        if ledger is not None:
            for each in file.rules:
                if each.name in names and each.confirmed is not None:
                    ledger.append(ENTRY, by, each.confirmed.digest, _body(file, each))
        file.save(path)
    return file


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let nobody else confirm in a folder meanwhile: the later one would take back what the earlier one did."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # reading the file says what is wrong
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _body(file: Suggestions, each: Suggestion) -> dict[str, Any]:
    assert each.confirmed is not None
    return {
        "hook": file.hook,
        "kind": f"{file.kind} v{file.kind_version}",
        "name": each.name,
        "says": each.rule.says(),
        "rule": each.rule.as_json(),
        "severity": each.confirmed.severity,
        "trace": file.trace,
    }


def require_recorded(file: Suggestions, path: Path, ledger: Ledger) -> None:
    """Refuse confirmations that a ledger does not know.

    Raises:
        TrustError: the ledger does not hold, or has no entry of a confirmation.
    """
    check = ledger.verify()
    if not check.ok:
        raise TrustError(f"ledger {ledger.path} does not hold ({check.problem}); restore it first")
    for each in file.rules:
        told = each.confirmed
        if told is not None and not ledger.list(kind=ENTRY, subject=told.digest):
            raise TrustError(
                f"ledger {ledger.path} knows no confirmation of {each.name!r} of {path}; confirm it again "
                "with --ledger"
            )
