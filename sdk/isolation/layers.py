"""Names of the isolation layers, the two modes, and the limits a candidate runs under."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigurationError

IsolationMode = Literal["strict", "process"]

#: Every layer, weakest first; the position is its bit on the wire.
LAYERS = (
    "process",
    "environment",
    "descriptors",
    "rlimits",
    "namespaces",
    "chroot",
    "uid",
    "parent_death",
    "no_new_privs",
    "landlock",
    "seccomp",
    "capabilities",
    "no_dump",
)

#: All that the mode ``process`` has.
WEAK_LAYERS = ("process", "environment", "descriptors", "rlimits", "parent_death", "no_dump")
#: What only a process that is started as root can have.
ONLY_ROOT = ("namespaces", "chroot", "uid")
#: What a layer that is missing leaves to the others, and what would bring it.
MISSING = {
    "namespaces": ("the network and IPC of the machine are left to seccomp", "start as root"),
    "chroot": ("the file system is left to Landlock and seccomp", "start as root"),
    "uid": ("a candidate runs as this user", "start as root"),
    "parent_death": (
        "a process may outlive its host for a moment",
        "Linux on which prctl is allowed",
    ),
    "no_new_privs": ("strict does not start", "a container that allows prctl"),
    "landlock": (
        "files and connections are left to seccomp alone",
        "Linux 5.13 or later with landlock in /sys/kernel/security/lsm, and a container that allows it",
    ),
    "seccomp": ("strict does not start", "a kernel and container that allow seccomp filters"),
    "capabilities": (
        "rights of this process are left to seccomp",
        "a container that allows capset",
    ),
    "no_dump": ("a crash may leave memory in a core", "a container that allows prctl"),
}
#: Without these the mode ``strict`` does not start; the others are used where the machine has them.
STRICT_NEEDS = ("rlimits", "no_new_privs", "seccomp")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one candidate may use.

    Attributes:
        frame_s: seconds for the answer to one frame.
        total_s: seconds of wall time from its start to its last answer.
        memory_mb: address space on top of what the clean process had.
    """

    frame_s: float = 2.0
    total_s: float = 120.0
    memory_mb: int = 256

    @property
    def cpu_s(self) -> int:
        """Whole seconds of processor time; a backstop, the host's own deadlines come first."""
        return int(self.total_s) + 2


def known_mode(mode: str) -> IsolationMode:
    """Return ``mode`` if it is one of the two.

    Raises:
        ConfigurationError: it is not.
    """
    if mode == "strict":
        return "strict"
    if mode == "process":
        return "process"
    raise ConfigurationError(f"isolation {mode!r} is unknown: use strict or process")


def to_bits(layers: Iterable[str]) -> int:
    """Return a set of layers as an integer, bit i for ``LAYERS[i]``."""
    return sum(1 << LAYERS.index(layer) for layer in set(layers))


def from_bits(bits: int) -> tuple[str, ...]:
    """Return the layers of :func:`to_bits`, weakest first."""
    return tuple(layer for i, layer in enumerate(LAYERS) if bits >> i & 1)
