"""The host's side of programs: the clean process of a kind, and one program in a fork of it.

The same for candidates in the shadow and for policies in a service: numbers go in, numbers come out,
within the kind's own limits of time and memory, and a program that is late is killed.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import struct
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..errors import ConfigurationError, IsolationError
from ..language import Answer
from ..language._arrays import Term, accept, unsuitable
from ..language._program_form import FAULT
from . import frames
from .layers import IsolationMode, Limits
from .program_wire import (
    ANSWER,
    REQUEST,
    What,
    answer_size,
    contract_words,
    pack_terms,
    unpack_answer,
)
from .status import Status
from .zygote import CandidateStopped, Zygote

if TYPE_CHECKING:
    from ..kind import Kind

_ENTRY = "gnomon.sdk.isolation.program_child"
_LENGTH = struct.Struct("<I")
#: Variables that say where libraries keep what they compiled.
_CACHES = ("NUMBA_CACHE_DIR",)
#: A program lives until it is replaced; its time in all is no limit, but processes grow old.
LIFE_S = 7 * 86_400.0
#: Seconds for the language check inside; the kind's own deadline is for answers.
_CHECK_S = 10.0
#: The reference interpreter has so many times the deadline: it is asked to compare, never to decide.
_REFERENCE = 50.0


def program_zygote(
    kind: Kind,
    mode: IsolationMode = "strict",
    *,
    total_s: float = LIFE_S,
    environment: Mapping[str, str] | None = None,
) -> Zygote:
    """Return a clean process for programs of a kind, with the kind's limits; the caller closes it.

    Args:
        kind: of program form.
        mode: ``strict`` or ``process``.
        total_s: seconds that one fork may live.
        environment: variables of the process, besides those that fix threads and hashes.

    Raises:
        ConfigurationError: a host operation of the kind cannot be imported by name.
        IsolationError: the mode cannot be had on this machine.
    """
    assert kind.program is not None, "a kind of program form"
    host = {name: _place(kind, name, function) for name, function in kind.host.items()}
    ready = "" if kind.ready is None else _place(kind, "ready", kind.ready)
    settings = {"contract": contract_words(kind.program), "host": host, "ready": ready}
    limits = Limits(frame_s=kind.deadline_s, total_s=total_s, memory_mb=kind.memory_mb)
    places = [*host.values(), ready] if ready else [*host.values()]
    folders = [_folder(place.partition(":")[0]) for place in places]
    folders += [_holding(library) for library in kind.libraries]
    paths = [*dict.fromkeys(folder for folder in folders if folder)]
    given = {name: os.environ[name] for name in _CACHES if name in os.environ and kind.libraries}
    variables = given | dict(environment or {})
    return Zygote(_ENTRY, settings, mode=mode, limits=limits, paths=paths, environment=variables)


class ProgramProcess:
    """One program in a process of its own; not for several threads at once.

    Args:
        zygote: from :func:`program_zygote` for the same kind.
        source: of the program; checked inside.
        kind: whose contract it is asked under.

    Attributes:
        layers: of isolation, in force.

    Raises:
        CandidateStopped: outside the policy language (``rejected``), or it died or hung at once.
        IsolationError: our own side failed.
    """

    def __init__(self, zygote: Zygote, source: str, kind: Kind) -> None:
        assert kind.program is not None, "a kind of program form"
        self._contract = kind.program
        self._deadline_s = kind.deadline_s
        self._fork = zygote.fork()
        self.layers = self._fork.layers
        try:
            self._introduce(source)
        except BaseException:
            self.close()
            raise

    @property
    def aged(self) -> bool:
        """Whether more than half of the time that its fork may live is over."""
        return self._fork.aged

    def ask(self, arguments: Sequence[Any], *, reference: bool = False) -> Answer:
        """Return the program's answer to one call; within the kind's deadline, or it is killed.

        Args:
            arguments: in the contract's order: numbers, sequences, numpy arrays.
            reference: ask the reference interpreter instead of the tier that decides.

        Raises:
            ConfigurationError: the arguments are not what the contract says.
            CandidateStopped: it died, took too long, or answered nonsense.
            IsolationError: a host operation raised.
        """
        return self.ask_terms(accept(self._contract, arguments), reference=reference)

    def ask_terms(
        self, terms: Mapping[str, Term], *, reference: bool = False, within_s: float | None = None
    ) -> Answer:
        """Return the answer to arguments that were accepted already, by name.

        Args:
            terms: as they were accepted.
            reference: as for :meth:`ask`.
            within_s: seconds, where some of the kind's deadline has gone by already.
        """
        if unsuitable(self._contract, terms):
            return FAULT
        slower = _REFERENCE if reference else 1.0
        until = time.monotonic() + (self._deadline_s if within_s is None else within_s) * slower
        body = pack_terms(terms.values())
        what = What.REFERENCE if reference else What.DECIDE
        self._fork.send(REQUEST.pack(what, len(body)) + body)
        return self._answer(terms, until)

    def close(self) -> None:
        """Kill the program's process; safe to call twice."""
        self._fork.kill()

    def end(self) -> None:
        """Kill the process while another thread waits for its answer, which then hears of its end."""
        self._fork.end()

    def abandon(self) -> None:
        """Forget the process, which is the parent's, in a forked child."""
        self._fork.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _answer(self, terms: Mapping[str, Term], until: float) -> Answer:
        head = self._fork.receive(frames.HEAD_SIZE, max(until - time.monotonic(), 0.0))
        code, length = REQUEST.unpack(head)
        if code == frames.Code.FAILED and length <= frames.LONGEST:
            text = self._fork.receive(length, 1.0).decode("ascii", "replace")
            self.close()
            raise IsolationError(f"a program's host operation failed: {frames.plain(text)}")
        if code != frames.Code.RESULT or length not in (
            ANSWER.size,
            answer_size(self._contract, terms),
        ):
            raise self._nonsense()
        body = self._fork.receive(length, max(until - time.monotonic(), 0.01))
        if body[0] and length != answer_size(self._contract, terms):
            raise self._nonsense()
        try:
            return unpack_answer(self._contract, terms, body)
        except ValueError:
            raise self._nonsense() from None

    def _nonsense(self) -> CandidateStopped:
        self.close()
        return CandidateStopped(Status.DIED, "its process answered what no program can")

    def _introduce(self, source: str) -> None:
        body = json.dumps(source).encode()
        self._fork.send(_LENGTH.pack(len(body)) + body)
        code, answer = self._fork.message(seconds=_CHECK_S)
        text = frames.plain(answer.decode("ascii", "replace"))
        if code is frames.Code.REJECTED:
            raise CandidateStopped(Status.REJECTED, text)
        if code is not frames.Code.READY:
            raise IsolationError(f"the isolation process failed: {text}")


def _place(kind: Kind, name: str, function: Callable[..., Any]) -> str:
    """Return where a clean process finds a function of a kind: ``module:name``."""
    module = getattr(function, "__module__", "") or ""
    within = getattr(function, "__qualname__", "")
    found: Any = None
    with contextlib.suppress(ImportError, AttributeError, ValueError):
        found = importlib.import_module(module)
        for part in within.split("."):
            found = getattr(found, part)
    if found is not function or module == "__main__":
        raise ConfigurationError(
            f"kind {kind.name!r}: host operation {name!r} ({function!r}) cannot be imported by name in "
            "another process; define it at the top of an importable module"
        )
    return f"{module}:{within}"


def _holding(library: str) -> str:
    """Return the folder that a package is imported from; nothing where it is not installed."""
    found = importlib.util.find_spec(library)
    return str(Path(found.origin).parents[1]) if found is not None and found.origin else ""


def _folder(module: str) -> str:
    """Return the folder that a module from outside of this package is imported from; else nothing."""
    root = module.partition(".")[0]
    file = getattr(sys.modules.get(root), "__file__", None)
    if root == "gnomon" or root in sys.stdlib_module_names or not file:
        return ""
    return str(Path(file).parents[Path(file).name == "__init__.py"])
