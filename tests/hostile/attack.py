"""What the hostile corpus is made of: attacks, and the layers that stop them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Form = Literal["score", "program", "raw", "frame", "answer", "delivery"]

#: What stops an attack, from the source's text to production: what each does in a sentence.
LAYERS: Mapping[str, str] = {
    "language": "the check of the source refuses it, with line and reason",
    "arithmetic": "a checked operation faults, and a fault is never a number",
    "fuel": "the call runs out of fuel, which is a fault",
    "invariants": "the gate finds item tables or questions on which an invariant breaks",
    "determinism": "the gate asks twice and in every tier, and the answers differ",
    "fidelity": "the gate finds that the simulator does not do what was recorded",
    "sampled replay": "the gate sees gross damage, a fault or a broken invariant in a first part",
    "full replay": "the gate sees no gain under some calibration, or a broken law of a replay",
    "holdout": "the gate sees no gain, or a worse guardrail, on traffic that no search has seen",
    "budget": "the gate finds that a decision takes too long",
    "kernel": "the layers of the kernel that the raw attacks are about",
    "limits": "deadline, memory or the end of its own process",
    "seccomp": "the kernel refuses the system call",
    "landlock": "the kernel refuses the file, the connection or the signal",
    "chroot": "there is no file to be found",
    "uid": "the process has no right to it",
    "capabilities": "rights beyond those of any user are given up",
    "namespaces": "the machine that it sees is an empty one",
    "rlimits": "memory, descriptors, processes or file size run out",
    "no_dump": "it leaves no core, and its memory is closed to others",
    "environment": "the process was executed without the host's variables",
    "descriptors": "every descriptor but one was closed, and the standard streams lead nowhere",
    "process": "what it changes or ends is a fork of its own",
    "border": "all that crosses is numbers; nothing worth having is inside",
    "deadline": "the host waits so long and then kills",
    "frames": "the host takes nothing but a frame of the right code, size and range",
    "guard": "the answer is checked on the request path, and the incumbent answers instead",
    "breaker": "a program that fails too often in a process is taken back there",
    "signature": "no trusted key signed exactly these bytes",
    "contract": "it is made for another hook, kind or version",
    "golden": "the service's own arithmetic gives other answers to the golden questions",
    "epoch": "an older or a changed manifest is refused",
    "plan": "the publisher's signed plan does not allow it",
    "finals": "a score of the compiled tier only ranks; the host scores every finalist again",
    "freshness": "it is too old, or from the future",
}


@dataclass(frozen=True, slots=True)
class Attack:
    """One hostile candidate, process or message.

    Attributes:
        name: in the corpus, unique.
        form: ``score`` and ``program``: a source; ``raw``: Python past the language check, in a locked
            fork; ``frame``: what a fork that was taken over sends; ``answer``: what a program gives on
            the request path; ``delivery``: what is sent to a service.
        aims: what it is after.
        source: text of the attack; of the form ``delivery`` the name of what is done.
        stopped_by: the first layer that stops it.
        also: layers that stop it where the first is taken away.
        under: where it needs particular surroundings, which.
    """

    name: str
    form: Form
    aims: str
    source: str
    stopped_by: str
    also: tuple[str, ...] = ()
    under: str = ""


def named(
    form: Form,
    aims: str,
    stopped_by: str,
    sources: Mapping[str, str],
    also: Iterable[str] = (),
    under: str = "",
) -> tuple[Attack, ...]:
    """Return attacks that have everything but name and source in common."""
    return tuple(
        Attack(name, form, aims, source, stopped_by, tuple(also), under)
        for name, source in sources.items()
    )
