"""Where things are kept unless the caller says otherwise, and who asks."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from ..policies.rollout.ledger import Ledger

TRACES = Path(".gnomon/traces")
LEDGER = Path(".gnomon/ledger.db")
VERDICTS = Path(".gnomon/verdicts")
RUNS = Path(".gnomon/runs")
REGRESSIONS = Path(".gnomon/regressions")
#: Where a control plane is looked for, unless ``GNOMON_CONTROL_PLANE`` says otherwise.
CONTROL_PLANE = "127.0.0.1:7400"
_LONGEST_PATH = 255  # longer names are refused by the system, and asking it would raise


def names_file(policy: str | Path) -> bool:
    """Return whether this is a file and no source; a source has more than one line."""
    if isinstance(policy, Path):
        return True
    if "\n" in policy or "\0" in policy or len(policy) > _LONGEST_PATH:
        return False
    return policy.endswith(".py") or Path(policy).is_file()


def writable(path: Path) -> Path:
    """Return a path that can be written; found out now, before a holdout is opened for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ConfigurationError(f"{path} cannot be written; name another file")
    return path


def ledger_at(path: str | Path) -> Ledger:
    """Open a ledger, made where there is none."""
    from ..policies.rollout.ledger import Ledger

    return Ledger(Path(path))


def existing_ledger(path: str | Path) -> Ledger:
    """Open a ledger that is there already; raises ConfigurationError where there is none."""
    from ..policies.rollout.ledger import Ledger

    if not Path(path).is_file():
        raise ConfigurationError(f"ledger {path} does not exist; name the right one with --ledger")
    return Ledger(path)


def usual_control_plane() -> str:
    """Return where a control plane is looked for when none is named."""
    return os.environ.get("GNOMON_CONTROL_PLANE") or CONTROL_PLANE


def acting() -> str:
    """Return who gives an order: ``$GNOMON_ACTOR``, or the name of the user."""
    try:
        return os.environ.get("GNOMON_ACTOR") or getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}"
