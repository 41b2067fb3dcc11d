"""Cells for the corpus: what needs no simulator is checked and run here, so that little has to be imported."""

from __future__ import annotations

import os
import struct
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import LanguageError
from gnomon.sdk.isolation.layers import Limits
from gnomon.sdk.isolation.program import ProgramProcess, program_zygote
from gnomon.sdk.isolation.status import Status
from gnomon.sdk.isolation.zygote import CandidateStopped, Zygote
from gnomon.sdk.kind import Kind
from gnomon.sdk.language import check_program
from gnomon.sdk.programs.questions import broken_by, question_of

from ..programs.jobs import kind_of
from .attack import Attack

INSIDE = str(Path(__file__).parent / "inside")
#: What a raw attack looks for in the host's environment and memory.
SECRET_VARIABLE = "GNOMON_HOSTILE_SECRET"
SECRETS = {"HOSTILE_SECRET": ["s3cret"]}  # a list, so that the collector knows of the dictionary
#: Layers of the kernel, each of which can be taken away.
REMOVABLE = (
    "seccomp", "landlock", "chroot", "uid", "namespaces", "capabilities", "no_dump", "rlimits",
)  # fmt: skip
#: Thirty jobs on two machines.
JOBS = ([3.0, 1.0, 2.0] * 10, 2, [0] * 30)
SHORT = Limits(frame_s=0.5, memory_mb=128)
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attack.

    Attributes:
        layer: that stopped it; empty where nothing did.
        loot: what it got; empty for nothing.
        said: what the product told about it.
    """

    layer: str
    loot: str = ""
    said: str = ""

    @property
    def success(self) -> bool:
        """Whether the attack got something."""
        return bool(self.loot) or not self.layer


class Cells:
    """Clean processes for what runs past the check and for programs; made as they are needed."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._raw: dict[tuple[str, ...] | None, Zygote] = {}
        self._programs: dict[str, Zygote] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def checked(self, attack: Attack) -> Outcome:
        """Ask the language check alone, of this process."""
        try:
            load_balancer.checked(attack.source)
        except LanguageError as error:
            return Outcome("language", said=str(error))
        return Outcome("")

    # programs

    def programmed(self, attack: Attack) -> Outcome:
        """Ask a program once, in its own process, and hold the answer to the kind's invariants."""
        kind = _kind(attack.under)
        zygote = self._programs.get(attack.under)
        if zygote is None:
            zygote = self._stack.enter_context(program_zygote(kind))
            self._programs[attack.under] = zygote
        try:
            with ProgramProcess(zygote, attack.source, kind) as process:
                answer = process.ask(JOBS)
        except CandidateStopped as stopped:
            layer = {Status.REJECTED: "language", Status.TIMEOUT: "deadline"}.get(
                stopped.status, ""
            )
            return Outcome(layer, said=stopped.detail)
        if not answer.ok:
            return _faulted(attack, kind)
        broken = broken_by(kind, kind.invariants, question_of(kind, JOBS), answer.outputs)
        return Outcome("" if broken is None else "invariants", said=str(broken))

    # what runs past the check

    def raw(self, only: tuple[str, ...] | None = None) -> Zygote:
        """Return a clean process that checks nothing; ``only`` names the layers that are left."""
        if only not in self._raw:
            settings = {"only": only if only is None else list(only)}
            zygote = Zygote("weakened_child", settings, limits=SHORT, paths=[INSIDE])
            self._raw[only] = self._stack.enter_context(zygote)
        return self._raw[only]

    def locked_in(self, attack: Attack, only: tuple[str, ...] | None = None) -> Outcome:
        """Run a program past the check, in a fork."""
        before = os.environ.get(SECRET_VARIABLE)
        os.environ[SECRET_VARIABLE] = SECRETS["HOSTILE_SECRET"][0]
        try:
            how, told = attacked(self.raw(only), attack.source)
        finally:
            os.environ.pop(SECRET_VARIABLE)
            if before is not None:
                os.environ[SECRET_VARIABLE] = before
        if how == "result":
            return Outcome("" if told else attack.stopped_by, told)
        layer = {"timeout": "deadline"}.get(how, attack.stopped_by)
        return Outcome("rlimits" if told.startswith("MemoryError") else layer, said=told)


def attacked(zygote: Zygote, source: str) -> tuple[str, str]:
    """Run a program in a fork of a clean process that checks nothing.

    Returns:
        how it ended (``result``, ``failed``, or the status of one that was stopped), and what it got, or
        the error.
    """
    fork = zygote.fork()
    try:
        body = source.encode("utf-8", "surrogatepass")
        fork.send(_LENGTH.pack(len(body)) + body)
        code, answer = fork.message()
        return code.name.lower(), answer.decode("ascii", "replace")
    except CandidateStopped as stopped:
        return str(stopped.status), ""
    finally:
        fork.kill()


def _kind(under: str) -> Kind:
    if under == "much fuel":
        return kind_of(max_fuel=10**10, deadline_s=0.5)
    kind = kind_of(max_fuel=200_000)
    if under != "many elements":
        return kind
    assert kind.program is not None
    return replace(kind, program=replace(kind.program, max_elements=10**9, max_fuel=10**12))


def _faulted(attack: Attack, kind: Kind) -> Outcome:
    """Say what a fault was, by the reference interpreter; where that would take all memory, it was that."""
    if attack.under:
        return Outcome("rlimits", said="it ran out of memory")
    assert kind.program is not None
    why = check_program(attack.source, kind.program).fault(*JOBS)
    return Outcome("fuel" if "out of" in why and "range" not in why else "arithmetic", said=why)
