"""Who has a run's folder, told without touching its lock.

Whoever holds the lock signs it with host, process id and the time the process began, so that a reader can
tell a run that goes on from one that was killed: an id that was given to another process began later. To try
the lock itself could turn away a run that begins in that moment.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TextIO

LOCK = "lock"
_MOST = 1000


def sign(handle: TextIO) -> None:
    """Write who we are into a lock that we hold."""
    handle.truncate(0)
    handle.write(f"{socket.gethostname()} {os.getpid()} {_began(os.getpid())}\n")
    handle.flush()


def unsign(handle: TextIO) -> None:
    """Leave a lock without a name, just before it is released."""
    handle.truncate(0)


def held(folder: Path) -> bool | None:
    """Return whether a process has a run's folder; None where that is on another machine."""
    try:
        words = (folder / LOCK).read_bytes()[:_MOST].decode("utf-8", "replace").split()
    except OSError:
        return False
    if len(words) != 3 or not words[1].isdecimal():
        return False
    if words[0] != socket.gethostname():
        return None
    return _alive(int(words[1])) and _began(int(words[1])) == words[2]


def _alive(process: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(process, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True


def _began(process: int) -> str:
    """Return when a process began, in the machine's ticks; a dash where the system does not say."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(errors="replace")
    except OSError:
        return "-"
    return text.rpartition(")")[2].split()[19]
