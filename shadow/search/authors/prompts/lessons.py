"""What earlier candidates for a hook were refused for, read from what the gates left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .....sdk.errors import ConfigurationError, TraceError
from .....sdk.files import read_regular, strict_json
from ....gates.regressions import Regression, Regressions
from ...log import read_run

MOST = 12
_MOST_BYTES = 16_000_000
_MOST_QUESTION = 200


def lessons(
    hook: str, kind: str, regressions: Path | None, verdicts: Path | None
) -> tuple[str, ...]:
    """Return one sentence for each of the latest refusals, the latest first; at most :data:`MOST`.

    They are words for a prompt and decide nothing: a file that cannot be read, or that is about another
    hook, is left out.

    Args:
        hook, kind: whose candidates.
        regressions: folder of decisions that candidates got wrong.
        verdicts: folder of verdicts.
    """
    found = [*_counterexamples(hook, kind, regressions), *_refusals(hook, kind, verdicts)]
    found.sort(key=lambda each: (-each[0], each[1]))
    return tuple(dict.fromkeys(text for _, text in found))[:MOST]


def begun_with(folder: Path) -> tuple[str, ...] | None:
    """Return the lessons that a run's prompts began with, for it to be resumed with; None where there are none.

    What the gates refused meanwhile would change the prompts, and with them the log.

    Args:
        folder: of the run; what is wrong with its log is for whoever resumes it to say.
    """
    try:
        config = read_run(folder / "log.jsonl").config
    except (ConfigurationError, TraceError):
        return None
    written = config.get("authors", {}).get("written", {})
    found = written.get("lessons")
    return tuple(map(str, found)) if isinstance(found, list) else None


def _counterexamples(hook: str, kind: str, folder: Path | None) -> Iterator[tuple[int, str]]:
    for stored in Regressions(folder).of(hook) if folder is not None else ():
        if stored.case is not None and stored.case.kind == kind:
            yield stored.case.created_ns, _told(stored.case)


def _told(case: Regression) -> str:
    asked = json.dumps(case.question, separators=(",", ":"))
    shown = f"; {','.join(case.inputs)} = {asked}" if len(asked) <= _MOST_QUESTION else ""
    what = f"broke {case.invariant}" if case.invariant else "answered the same question in two ways"
    return f"{case.gate}: {what}: {case.detail}{shown}"


def _refusals(hook: str, kind: str, folder: Path | None) -> Iterator[tuple[int, str]]:
    for path in sorted(folder.glob("*.json")) if folder is not None and folder.is_dir() else ():
        said = _read(path)
        if (
            said.get("hook") == hook
            and said.get("kind") == kind
            and said.get("decision") == "refused"
        ):
            made, summary = said.get("created_ns"), said.get("summary")
            if isinstance(made, int) and isinstance(summary, str):
                yield made, summary


def _read(path: Path) -> dict[str, Any]:
    try:
        said = strict_json(read_regular(path, _MOST_BYTES))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
