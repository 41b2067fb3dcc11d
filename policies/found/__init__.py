"""Policies that a search found, shipped with where they come from.

A folder per kind. ``NAME.py`` is a policy in the policy language, no module: it is read and checked like
any file that a user names, and runs isolated like one. ``NAME.json`` beside it says how it was found, on
which data, and what the gates answered. A policy that a person wrote is a baseline and lies with its kind.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ...sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...sdk.kind import Kind

#: What stands before a name where a policy is named.
FOUND = "found:"
ROOT = Path(__file__).parent
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Found:
    """A policy that a search found.

    Attributes:
        kind: name of the kind that it decides for.
        name: as ``found:NAME`` names it.
        path: of its source.
        provenance: how it was found, as JSON values.
    """

    kind: str
    name: str
    path: Path
    provenance: Mapping[str, Any]

    @property
    def source(self) -> str:
        """The policy in the policy language."""
        return self.path.read_text(encoding="ascii")


def found(kind: Kind) -> tuple[Found, ...]:
    """Return what was found for a kind, by name; a kind from elsewhere has nothing here."""
    return tuple(_read(path, kind) for path in sorted((ROOT / kind.name).glob("*.py")))


def found_at(text: str, kind: Kind) -> Path:
    """Return the file that a text names: ``found:NAME``, or a path.

    Raises:
        ConfigurationError: nothing of that name was found for the kind.
    """
    if not text.startswith(FOUND):
        return Path(text)
    name = text.removeprefix(FOUND)
    path = ROOT / kind.name / f"{name}.py"
    if _NAME.fullmatch(name) and path.is_file():
        return path
    known = ", ".join(each.name for each in found(kind)) or "none"
    raise ConfigurationError(
        f"no policy {name!r} was found for kind {kind.name!r}; there are: {known}"
    )


def _read(path: Path, kind: Kind) -> Found:
    said = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return Found(kind.name, path.stem, path, MappingProxyType(said))
