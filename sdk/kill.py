"""The kill switch: the services' own functions decide, whatever was shipped, until somebody lifts it.

It needs no control plane. Kills come from the process itself, from its environment, and from one file in
the state folder that every process on the host looks at. Any of them is enough, and a file that cannot be
read kills everything: whoever wrote it wanted something stopped.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import ConfigurationError
from .spec import check_name

Source = Literal["call", "file", "environment"]
#: Name of the file in the state folder; empty, or anything unreadable, it kills every hook.
FILE = "KILL"
_FORMAT = "gnomon kill 1"
_MOST_BYTES, _MOST_CHARS = 1 << 20, 200
#: Seconds that a change waits for another one; whoever has to stop something cannot wait for ever.
_LOCK_S = 5.0
_WHAT = ("hook", "reason", "by", "since_ns")


@dataclass(frozen=True, slots=True)
class Kill:
    """One order that policies may not decide.

    Attributes:
        hook: name of the hook; empty for every hook.
        reason: why.
        by: who gave the order.
        since_ns: Unix time of it.
        source: ``call`` (:func:`gnomon.kill` in this process), ``file`` (for the host) or
            ``environment`` (``GNOMON_KILL``).
    """

    hook: str = ""
    reason: str = ""
    by: str = ""
    since_ns: int = 0
    source: Source = "call"

    def covers(self, hook: str) -> bool:
        """Return whether a hook may not be decided by a policy."""
        return self.hook in ("", hook)

    @property
    def words(self) -> str:
        """The order in one line, for logs and reports."""
        by = f" by {self.by}" if self.by else ""
        return f"killed ({self.source}){by}: {self.reason or 'no reason given'}"


class KillFile:
    """The kills of a host, in one file of the state folder.

    Args:
        folder: the state folder; made absolute at once, for a service may change its own.

    Attributes:
        path: of the file.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder).absolute() / FILE
        self._seen: object = self
        self._read: tuple[Kill, ...] = ()

    def kills(self) -> tuple[Kill, ...]:
        """Return what the file orders; read only where it changed. Never raises."""
        seen = self._signature()
        if seen != self._seen:
            self._read, self._seen = self._kills(), seen
        return self._read

    def listed(self) -> tuple[Kill, ...]:
        """Return what the file orders, to whoever asks by the folder's name.

        Raises:
            ConfigurationError: there is no such folder, so that no service can have it.
        """
        self._check_folder()
        return self.kills()

    def add(self, kill: Kill) -> tuple[Kill, ...]:
        """Write one more order, in place of an earlier one for the same hook; return all.

        Raises:
            ConfigurationError: no such folder, or it cannot be written; or the file cannot be read, and
                so kills everything already.
        """
        with self._changing() as held:
            kept = [each for each in held if each.hook != kill.hook]
            return self._written((*kept, kill))

    def lift(self, hook: str = "") -> tuple[Kill, ...]:
        """Take back the order for one hook, or all of them; return those that stay.

        Raises:
            ConfigurationError: there is no such order; or as for :meth:`add`, but an unreadable file can
                be lifted as a whole.
        """
        if not hook:
            with self._locked():
                self.path.unlink(missing_ok=True)
            return ()
        with self._changing() as held:
            kept = tuple(each for each in held if each.hook != hook)
            if len(kept) == len(held):
                names = ", ".join(each.hook or "all hooks" for each in held) or "nothing"
                raise ConfigurationError(
                    f"{self.path} kills {names}, not {hook!r}; lift what it names, or all of it"
                )
            return self._written(kept)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[tuple[Kill, ...]]:
        with self._locked():
            try:
                held = _decoded(self.path)
            except FileNotFoundError:
                held = ()
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    f"{self.path} kills every hook, because it cannot be read ({error}); mend it, or lift "
                    "all of it"
                ) from error
            yield held

    def _check_folder(self) -> None:
        folder = self.path.parent
        if not folder.is_dir():
            raise ConfigurationError(
                f"there is no state folder {folder}; name the one of the service (GNOMON_STATE_DIR), or "
                "make it first"
            )

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        import fcntl  # as the readers below: a service that nobody stops needs none of them

        self._check_folder()
        until = time.monotonic() + _LOCK_S
        try:
            with open(self.path.with_suffix(".lock"), "ab") as file:
                while not _took(lambda: fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)):
                    if time.monotonic() > until:
                        raise ConfigurationError(
                            f"{self.path} is just being changed by another process, for {_LOCK_S:g} s "
                            f"already; end that, or stop everything with: touch {self.path}"
                        )
                    time.sleep(0.01)
                yield
        except OSError as error:
            raise ConfigurationError(
                f"{self.path} cannot be changed ({error.strerror}); change it as the service's user"
            ) from error

    def _written(self, kills: tuple[Kill, ...]) -> tuple[Kill, ...]:
        if not kills:
            self.path.unlink(missing_ok=True)
            return ()
        import json

        from .state import write_atomically

        orders = [{name: asdict(kill)[name] for name in _WHAT} for kill in kills]
        text = json.dumps({"format": _FORMAT, "kills": orders}, indent=1)
        # Whoever gives the order may be another user than the service, which has to read it.
        write_atomically(self.path, text.encode() + b"\n", mode=0o644)
        return kills

    def _signature(self) -> object:
        try:
            found = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            return error.errno
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _kills(self) -> tuple[Kill, ...]:
        try:
            return _decoded(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return ()
        except (OSError, ValueError) as error:
            odd = f"{self.path} cannot be read ({error}), so it kills every hook"
            return (Kill(reason=odd, since_ns=time.time_ns(), source="file"),)


def _took(lock: Callable[[], object]) -> bool:
    """Return whether nobody else holds a lock that is not waited for."""
    try:
        lock()
    except BlockingIOError:
        return False
    return True


def _decoded(path: Path) -> tuple[Kill, ...]:
    """Return the orders of a file; raises OSError or ValueError for one that is not as written."""
    from .files import read_regular, strict_json

    data = read_regular(path, _MOST_BYTES)
    if not data.strip():
        raise ValueError("it is empty")
    try:
        found = strict_json(data)
    except ValueError as error:
        raise ValueError(f"no JSON: {str(error)[:_MOST_CHARS]}") from error
    whole = isinstance(found, dict) and found.keys() == {"format", "kills"}
    if not whole or found["format"] != _FORMAT or not isinstance(found["kills"], list):
        raise ValueError(f"it is no list of kills of the format {_FORMAT!r}")
    return tuple(map(_order, found["kills"]))


def _order(given: Any) -> Kill:
    if not isinstance(given, dict) or set(given) != {*_WHAT}:
        raise ValueError(f"a kill has {', '.join(_WHAT)}")
    hook, reason, by, since_ns = (given[name] for name in _WHAT)
    texts = all(isinstance(text, str) for text in (hook, reason, by))
    if not texts or type(since_ns) is not int or not 0 <= since_ns < 1 << 63:
        raise ValueError("a kill's fields are three texts and Unix nanoseconds")
    try:
        if hook:
            check_name(hook)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error
    return Kill(hook, _plain(reason), _plain(by), since_ns, "file")


def of_environment(names: Sequence[str]) -> tuple[Kill, ...]:
    """Return the kills that ``GNOMON_KILL`` orders: hook names, of which an empty one stands for all."""
    return tuple(
        Kill(name, "GNOMON_KILL is set", "", time.time_ns(), "environment") for name in names
    )


def ordered(hook: str, reason: str, by: str) -> Kill:
    """Return an order as somebody gives it now.

    Raises:
        ConfigurationError: no hook can have the name, or there is no reason.
    """
    if hook:
        check_name(hook)
    if not isinstance(reason, str) or not reason.strip():
        raise ConfigurationError("a kill needs a reason; say why, for those who find it")
    return Kill(hook, _plain(reason), _plain(by), time.time_ns(), "call")


def _plain(text: str) -> str:
    """Return a text on one line, not too long."""
    line = " ".join(str(text).split())
    return "".join(c if c.isprintable() else "?" for c in line)[:_MOST_CHARS]


class KillSwitch:
    """What is killed in this process, from wherever; safe for threads.

    Attributes:
        lock: held for every change and while it is applied, so that the last change is what holds.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._calls: dict[str, Kill] = {}
        self._others: dict[Source, tuple[Kill, ...]] = {}

    @property
    def kills(self) -> tuple[Kill, ...]:
        """Every order in force; those of the process itself first."""
        with self.lock:
            others = (kill for kills in self._others.values() for kill in kills)
            return (*self._calls.values(), *others)

    def why(self, hook: str) -> str:
        """Return why a hook is killed, or an empty text."""
        return next((kill.words for kill in self.kills if kill.covers(hook)), "")

    def add(self, kill: Kill) -> None:
        """Take an order of the process itself."""
        with self.lock:
            self._calls[kill.hook] = kill

    def lift(self, hook: str = "") -> None:
        """Take back an order of the process itself, or all of them."""
        with self.lock:
            if hook:
                self._calls.pop(hook, None)
            else:
                self._calls.clear()

    def take(self, source: Source, kills: tuple[Kill, ...]) -> bool:
        """Set what another source orders; return whether that is something new."""
        with self.lock:
            before = self._others.get(source, ())
            self._others[source] = kills
            return kills != before
