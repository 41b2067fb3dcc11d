"""A seccomp filter written by hand: an allow-list of system calls for a process that only computes.

Everything that is not listed fails with EPERM; a foreign architecture or the x32 table kills. Reads and
writes are allowed on one descriptor only, new memory only without the right to execute it.
"""

from __future__ import annotations

import ctypes
import platform
import sys

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _EPERM = 0x7FFF0000, 0x80000000, 0x00050001
_AUDIT_ARCH_X86_64 = 0xC000003E
_X32 = 0x40000000
_OFFSET_NUMBER, _OFFSET_ARCH = 0, 4
_PROT_EXEC = 4

_READ, _WRITE, _MMAP, _MPROTECT, _PRCTL = 0, 1, 9, 10, 157
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_COMPUTING = {
    "close": 3,
    "munmap": 11,
    "brk": 12,
    "rt_sigreturn": 15,
    "sched_yield": 24,
    "mremap": 25,
    "madvise": 28,
    "exit": 60,
    "futex": 202,
    "clock_gettime": 228,
    "exit_group": 231,
}


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def _argument(index: int) -> int:
    """Return the offset of the low word of a system call's argument."""
    return 16 + 8 * index


def _only_if_equal(number: int, argument: int, value: int) -> list[tuple[int, int, int, int]]:
    return [
        (_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _argument(argument)),
        (_EQUAL, 0, 1, value),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _EPERM),
    ]


def _only_without_bits(number: int, argument: int, bits: int) -> list[tuple[int, int, int, int]]:
    return [
        (_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _argument(argument)),
        (_ANY_BIT, 1, 0, bits),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _EPERM),
    ]


def program(descriptor: int, *, executable_memory: bool = False) -> list[tuple[int, int, int, int]]:
    """Return the filter as (code, jump if true, jump if false, value) instructions.

    Args:
        descriptor: the one descriptor that may be read and written.
        executable_memory: whether memory may be made executable, as a compiler needs, and a further
            filter be installed that forbids it.
    """
    code = [
        (_LOAD, 0, 0, _OFFSET_ARCH),
        (_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    allowed = list(_COMPUTING.values()) + ([_MMAP, _MPROTECT] if executable_memory else [])
    for number in allowed:
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    for number in (_READ, _WRITE):
        code += _only_if_equal(number, 0, descriptor)
    for number in (_MMAP, _MPROTECT):
        code += _only_without_bits(number, 2, _PROT_EXEC)
    if executable_memory:  # a second filter, without this right, follows
        code += _only_if_equal(_PRCTL, 0, _PR_SET_SECCOMP)
    return [*code, (_RETURN, 0, 0, _EPERM)]


def supported() -> bool:
    """Return whether this machine has the system call table that the filter is written for."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and sys.maxsize > 2**32


def install(libc: ctypes.CDLL, descriptor: int, *, executable_memory: bool = False) -> None:
    """Put the filter in force for this process, for good; needs no_new_privs.

    Raises:
        OSError: the kernel refuses, or this machine is not Linux on x86-64.
    """
    if not supported():
        raise OSError("the seccomp filter is written for Linux on x86-64")
    code = program(descriptor, executable_memory=executable_memory)
    filled = (_Instruction * len(code))(*(_Instruction(*line) for line in code))
    filter_ = _Program(len(code), filled)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_), 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel refuses a seccomp filter")
