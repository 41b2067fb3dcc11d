"""What a fork does to itself before it looks at a candidate; nothing here can be undone.

The order matters: a new root and user before the rights to set them are gone, the parent-death signal
and the ban on dumps after the change of user (which undoes both), Landlock before seccomp (which forbids
its system calls).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import sys
from dataclasses import dataclass
from functools import cache

from . import seccomp
from .layers import STRICT_NEEDS, IsolationMode, Limits

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION = 0x20080522
_OWN_CAPABILITIES = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
_NO_CAPABILITIES = (ctypes.c_uint32 * 6)()
_NORMAL_PERSONALITY = 0
_CLONE_NEWUTS, _CLONE_NEWIPC, _CLONE_NEWNET = 0x04000000, 0x08000000, 0x40000000
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446
_LANDLOCK_VERSION = 1
_NOBODY = 65534
_MOST_DESCRIPTORS = 65536
_MOST_ADDRESSES = 1 << 47  # bytes of address space that a process on x86-64 can have


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """Where and how a fork is locked in.

    Attributes:
        mode: ``strict`` or ``process``.
        limits: what the candidate may use.
        memory: bytes of address space that the clean process had before the fork.
        root: an empty folder to be the file system's root.
        parent: process id of the clean process.
        separated: whether the clean process left the machine's network, IPC and host name.
        compiles: whether memory may still be made executable (a second filter ends that).
    """

    mode: IsolationMode
    limits: Limits
    memory: int
    root: str
    parent: int
    separated: bool = False
    compiles: bool = False


@cache
def libc() -> ctypes.CDLL:
    """Return the C library of this process."""
    return ctypes.CDLL(None, use_errno=True)


def address_space() -> int:
    """Return the bytes of address space in use, also where there is no ``/proc`` to read them from."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return _tried_address_space()


def _tried_address_space() -> int:
    """Find the highest limit on the address space under which not one page more can be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    page = resource.getpagesize()
    low, high = 0, (_MOST_ADDRESSES if hard == resource.RLIM_INFINITY else hard) // page
    try:
        while high - low > 1:
            middle = (low + high) // 2
            resource.setrlimit(resource.RLIMIT_AS, (middle * page, hard))
            low, high = (low, middle) if _page_fits(page) else (middle, high)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    return low * page


def _page_fits(page: int) -> bool:
    try:
        mmap.mmap(-1, page).close()
    except (OSError, MemoryError):  # a small object may need memory, too
        return False
    return True


def close_all_but(descriptor: int) -> None:
    """Point the standard streams at nothing and close every other descriptor but one (>= 3)."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, _MOST_DESCRIPTORS)


def limit(memory: int, limits: Limits) -> None:
    """Set the hard resource limits; ``memory`` is the address space already in use, in bytes."""
    wanted = {
        resource.RLIMIT_AS: memory + (limits.memory_mb << 20),
        resource.RLIMIT_CPU: limits.cpu_s,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 16,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
    }
    for which, value in wanted.items():
        _lower(which, value)


def _lower(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def separate(library: ctypes.CDLL) -> bool:
    """Leave the network, IPC and host name of the machine; return whether that was possible.

    The clean process does so, once for all its forks: making and freeing a network takes longer than all
    other layers together.
    """
    flags = _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS
    return os.geteuid() == 0 and library.unshare(flags) == 0


def change_root(root: str) -> bool:
    """Make an empty folder the root of the file system; return whether that was possible."""
    if os.geteuid() != 0:
        return False
    try:
        os.chroot(root)
        os.chdir("/")
    except OSError:
        return False
    return True


def drop_user() -> bool:
    """Become nobody, for good; return whether there was a privilege to drop and it is gone."""
    if os.geteuid() != 0:
        return False
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except OSError:
        return False
    return True


def drop_capabilities(library: ctypes.CDLL) -> bool:
    """Give up every capability, which a process that is not root may have, too; return whether that holds."""
    library.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    return bool(library.capset(_OWN_CAPABILITIES, _NO_CAPABILITIES) == 0)


def forbid_dumps(library: ctypes.CDLL) -> bool:
    """Leave no core, not even to a program that the machine pipes cores to; close memory to a debugger."""
    return bool(library.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)


def die_with_parent(library: ctypes.CDLL, parent: int) -> bool:
    """Ask to be killed when the clean process ends; leave at once if it already has."""
    if library.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0):
        return False
    if os.getppid() != parent:
        os._exit(1)
    return True


def deny_files_and_network(library: ctypes.CDLL) -> bool:
    """Forbid every file and connection with an empty Landlock ruleset; return whether it holds."""
    version = library.syscall(_LANDLOCK_CREATE, None, 0, _LANDLOCK_VERSION)
    if version < 1:
        return False
    rules = _Ruleset(_file_rights(version), 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = library.syscall(_LANDLOCK_CREATE, ctypes.byref(rules), size, 0)
    if ruleset < 0:
        return False
    held = library.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0
    os.close(ruleset)
    return bool(held)


def _file_rights(version: int) -> int:
    """Return all file rights that a version of Landlock's interface knows."""
    known = {1: 13, 2: 14, 3: 15, 4: 15}
    return (1 << known.get(version, 16)) - 1


def foresee(descriptor: int, cell: Cell) -> None:
    """Make, before the fork, what every fork would have to make for itself; kept."""
    if cell.mode == "strict" and seccomp.supported():
        seccomp.made(descriptor, compiles=cell.compiles)


def lock_down(descriptor: int, cell: Cell) -> set[str]:
    """Put every layer in force that the mode asks for; return those that hold.

    Raises:
        OSError: a layer that the mode cannot do without is missing; the message names it.
    """
    os.setsid()
    close_all_but(descriptor)
    library = libc()
    tried: dict[str, bool] = dict.fromkeys(("process", "environment", "descriptors"), True)
    if cell.mode == "strict":
        tried |= _leave(library, cell)
    limit(cell.memory, cell.limits)
    tried["rlimits"] = True
    if cell.mode == "strict":
        tried |= {"uid": drop_user(), "capabilities": drop_capabilities(library)}
    tried["parent_death"] = die_with_parent(library, cell.parent)
    tried["no_dump"] = forbid_dumps(library)
    if cell.mode == "strict":
        tried |= _give_up(library, descriptor, cell)
    return {layer for layer, holds in tried.items() if holds}


def _leave(library: ctypes.CDLL, cell: Cell) -> dict[str, bool]:
    """Leave what can be left while the rights to do so are there."""
    if sys.platform != "linux":
        raise OSError("strict isolation needs Linux")
    library.personality(_NORMAL_PERSONALITY)  # in another one, memory that is read can be executed
    return {"namespaces": cell.separated, "chroot": change_root(cell.root)}


def _give_up(library: ctypes.CDLL, descriptor: int, cell: Cell) -> dict[str, bool]:
    """Give up all that is not computing; raises OSError where that cannot be."""
    if library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError("the kernel refuses no_new_privs")
    held = {"no_new_privs": True, "landlock": deny_files_and_network(library)}
    seccomp.install(library, descriptor, compiles=cell.compiles)
    return held | {"seccomp": True}


def seal(descriptor: int, cell: Cell) -> None:
    """End a compiling fork's right to make memory executable; a no-op in mode ``process``."""
    if cell.mode == "strict":
        seccomp.install(libc(), descriptor)


def missing(held: tuple[str, ...], mode: IsolationMode) -> tuple[str, ...]:
    """Return the layers that ``mode`` needs and that do not hold."""
    return tuple(layer for layer in STRICT_NEEDS if mode == "strict" and layer not in held)
