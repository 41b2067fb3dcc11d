"""The compiled tier: the lowered text of a score as a native function, with the same faults.

The functions of ``math`` are called through their C addresses, the very functions that CPython calls:
given their names, the optimiser would rewrite ``pow(x, 2.0)`` as ``x * x`` and take vectorised
versions that differ in the last bit.
"""

from __future__ import annotations

import ctypes
import functools
import math
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core.types.function_type import CompileResultWAP

from ..sdk.language import Program

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": False, "nogil": True}
#: A wrapper for calls from Python takes a third of a compilation.
_UNWRAPPED: dict[str, Any] = _OPTIONS | {"no_cpython_wrapper": True}
_WHOLE = 2.0**53
_UNARY = ("atan", "cos", "exp", "expm1", "log", "log10", "log1p", "log2", "sin", "tanh")
_BINARY = ("atan2", "pow")


def scorer_type(n: int) -> Any:
    """Return the numba type of a compiled score of ``n`` inputs: float64 of n float64."""
    return types.FunctionType(_signature(n))


class CompiledScore(CompileResultWAP):
    """A compiled score: a first-class function for numba, and callable from Python by its address.

    Attributes:
        py_func: what it was compiled from.
    """

    def __init__(self, compiled: Any, function: Any) -> None:
        super().__init__(compiled)
        self.py_func = function
        doubles = [ctypes.c_double] * (1 + len(compiled.signature.args))
        self._call = ctypes.CFUNCTYPE(*doubles)(self.__wrapper_address__())

    def __call__(self, *values: float) -> float:
        """Return the score of one item; NaN for a fault."""
        found: float = self._call(*values)
        return found


def compile_score(program: Program) -> CompiledScore:
    """Return a program as a native function of one float64 per input to float64.

    It can be passed to a compiled simulator as a first-class function of :func:`scorer_type`, returns
    NaN for a fault, and equals ``program.bind()`` bit for bit. About 30 ms: without what numba would
    make for a call from Python, which takes a third of its time.
    """
    names = dict(_helpers())
    exec(compile(program.lowered, f"<policy {program.source_digest[:12]}>", "exec"), names)  # noqa: S102
    for name in [name for name in names if name.startswith("_f_")]:
        names[name] = numba.njit(**_OPTIONS)(names[name])
    made = numba.njit([_signature(len(program.inputs))], **_UNWRAPPED)(names["_score"])
    (compiled,) = made.overloads.values()
    return CompiledScore(compiled, made.py_func)


def _signature(n: int) -> Any:
    return types.float64(*[types.float64] * n)


@functools.cache
def _helpers() -> dict[str, Any]:
    """Return what the lowered text calls by name, compiled once in a process."""
    library = _libm()
    helpers: dict[str, Any] = {"_NAN": math.nan}
    for name in _UNARY:
        helpers[f"_{name}"] = _native(library, name, 1)
    for name in _BINARY:
        helpers[f"_{name}"] = _native(library, name, 2)
    # At once: compiled at their first use they would ask for the current folder, behind the lock.
    for arity, functions in ((1, (_sqrt, _floor, _ceil, _trunc, _round)), (2, (_copysign,))):
        for function in functions:
            helpers[function.__name__] = numba.njit([_signature(arity)], **_OPTIONS)(function)
    return helpers


def _libm() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libm.so.6")
    except OSError:  # not glibc: what the interpreter itself is linked with
        return ctypes.CDLL(None)


def _native(library: ctypes.CDLL, name: str, arity: int) -> Any:
    function = getattr(library, name)
    function.restype = ctypes.c_double
    function.argtypes = [ctypes.c_double] * arity
    return function


def _sqrt(x: float) -> float:
    return math.sqrt(x)


def _copysign(x: float, y: float) -> float:
    return math.copysign(x, y)


def _floor(x: float) -> float:
    return float(np.floor(x)) + 0.0 if abs(x) <= _WHOLE else math.nan


def _ceil(x: float) -> float:
    return float(np.ceil(x)) + 0.0 if abs(x) <= _WHOLE else math.nan


def _trunc(x: float) -> float:
    return float(np.trunc(x)) + 0.0 if abs(x) <= _WHOLE else math.nan


def _round(x: float) -> float:
    if not abs(x) <= _WHOLE:
        return math.nan
    below = float(np.floor(x))
    rest = x - below
    if rest > 0.5 or (rest == 0.5 and below % 2.0 != 0.0):
        below += 1.0
    return below + 0.0
