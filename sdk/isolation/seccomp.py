"""A seccomp filter written by hand: an allow-list of system calls for a process that only computes.

Everything that is not listed fails with EPERM; a foreign architecture or the x32 table kills. What is
listed, and as narrow as a Python process that computes can do with:

* ``read``, ``write``: on one descriptor;
* ``mmap``, ``mprotect``: private memory that cannot be executed, no huge pages, nothing locked or shared;
* ``munmap``, ``brk``, ``mremap``, and ``madvise`` to give memory back: what an allocator does;
* ``futex``, to wait and to wake and no more: the locks of the interpreter and of the C library;
* ``clock_gettime``, which the interpreter's locks call where the clock cannot be read without a call;
* ``sched_yield``, ``close``, ``exit``, ``exit_group``.

A process that compiles first may make memory executable and install one more filter: this one without
these two rights.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from functools import cache

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_ALLOW, _KILL, _EPERM = 0x7FFF0000, 0x80000000, 0x00050001
_AUDIT_ARCH_X86_64 = 0xC000003E
_X32 = 0x40000000
_OFFSET_NUMBER, _OFFSET_ARCH = 0, 4
_ALL_BITS = 0xFFFFFFFF
_PROT_EXEC = 4
#: MAP_SHARED, MAP_GROWSDOWN, MAP_LOCKED, MAP_HUGETLB.
_UNUSUAL_MEMORY = 0x1 | 0x100 | 0x2000 | 0x40000
_GIVEN_BACK = (4, 8)  # MADV_DONTNEED, MADV_FREE
_WAIT_OR_WAKE = (0, 1, 9, 10)  # and the two with a bit set; not the priority-inheriting ones
_FUTEX_COMMAND = 0x7F

_READ, _WRITE, _MMAP, _MPROTECT, _MADVISE, _PRCTL, _FUTEX = 0, 1, 9, 10, 28, 157, 202
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_COMPUTING = {
    "close": 3,
    "munmap": 11,
    "brk": 12,
    "sched_yield": 24,
    "mremap": 25,
    "exit": 60,
    "clock_gettime": 228,
    "exit_group": 231,
}
_Code = list[tuple[int, int, int, int]]


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


def _only_if(number: int, *conditions: _Code) -> _Code:
    """Allow a system call whose arguments meet all conditions; each ends on EPERM or falls through."""
    body = [line for condition in conditions for line in condition] + [(_RETURN, 0, 0, _ALLOW)]
    return [(_EQUAL, 0, len(body), number), *body]


def _one_of(argument: int, values: tuple[int, ...], mask: int = _ALL_BITS) -> _Code:
    looked = [(_LOAD, 0, 0, _argument(argument)), (_AND, 0, 0, mask)]
    # a value that is found jumps over what is left of the list, and over the refusal
    tests = [(_EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [*looked, *tests, (_RETURN, 0, 0, _EPERM)]


def _without(argument: int, bits: int) -> _Code:
    return [(_LOAD, 0, 0, _argument(argument)), (_ANY_BIT, 0, 1, bits), (_RETURN, 0, 0, _EPERM)]


def program(descriptor: int, *, compiles: bool = False) -> _Code:
    """Return the filter as (code, jump if true, jump if false, value) instructions.

    Args:
        descriptor: the one descriptor that may be read and written.
        compiles: whether memory may be made executable, as a compiler needs, and a further filter be
            installed that forbids it.
    """
    code = [
        (_LOAD, 0, 0, _OFFSET_ARCH),
        (_EQUAL, 1, 0, _AUDIT_ARCH_X86_64),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _OFFSET_NUMBER),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    executable = [] if compiles else [_without(2, _PROT_EXEC)]
    code += _only_if(_READ, _one_of(0, (descriptor,)))
    code += _only_if(_WRITE, _one_of(0, (descriptor,)))
    code += _only_if(_MMAP, _without(3, _UNUSUAL_MEMORY), *executable)
    code += _only_if(_MPROTECT, *executable)
    code += _only_if(_MADVISE, _one_of(2, _GIVEN_BACK))
    code += _only_if(_FUTEX, _one_of(1, _WAIT_OR_WAKE, _FUTEX_COMMAND))
    if compiles:
        code += _only_if(_PRCTL, _one_of(0, (_PR_SET_SECCOMP,)))
    for number in _COMPUTING.values():
        code += _only_if(number)
    return [*code, (_RETURN, 0, 0, _EPERM)]


def supported() -> bool:
    """Return whether this machine has the system call table that the filter is written for."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and sys.maxsize > 2**32


@cache
def made(descriptor: int, *, compiles: bool = False) -> ctypes.Structure:
    """Return the filter of :func:`program` as the kernel takes it."""
    code = program(descriptor, compiles=compiles)
    return _Program(len(code), (_Instruction * len(code))(*(_Instruction(*line) for line in code)))


def install(libc: ctypes.CDLL, descriptor: int, *, compiles: bool = False) -> None:
    """Put the filter in force for this process, for good; needs no_new_privs.

    Raises:
        OSError: the kernel refuses, or this machine is not Linux on x86-64.
    """
    if not supported():
        raise OSError("the seccomp filter is written for Linux on x86-64")
    filter_ = made(descriptor, compiles=compiles)
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_), 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel refuses a seccomp filter")
