"""How simulators are compiled (kept on disk, without the interpreter's lock), and how they draw."""

from __future__ import annotations

import dis
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any, TypeVar

import numba as nb
import numpy as np
from numba.core.caching import IndexDataCacheFile
from numba.core.types.function_type import CompileResultWAP

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def native(function: FunctionT) -> FunctionT:
    """Compile a function that may make arrays."""
    return _compiled(function, {})


def lean(function: FunctionT) -> FunctionT:
    """Compile a function that makes no arrays, without counting references to those it is given.

    Counting them at every access to a field of a named tuple costs a load balancer's replay eight
    times its speed.
    """
    return _compiled(function, {"_nrt": False})


def inlined(function: FunctionT) -> FunctionT:
    """As :func:`lean`, and made a part of every caller.

    A named tuple of ten arrays is seventy arguments, which cost more to hand over than a cache's
    access to serve.
    """
    return _compiled(function, {"_nrt": False, "forceinline": True})


def _compiled(function: FunctionT, options: dict[str, Any]) -> FunctionT:
    njit: Any = nb.njit
    compiled: Any = njit(cache=True, nogil=True, **options)(function)
    _stamp(compiled)
    made: FunctionT = compiled
    return made


def _stamp(compiled: Any) -> None:
    """Let what is kept on disk count only for these very sources.

    numba looks at the file of a function alone. What it was compiled with from others (constants,
    functions that were made a part of it) may have changed with an upgrade, and a simulator made of
    two versions would give numbers without a word.
    """
    cache = compiled._cache
    cache._cache_file = IndexDataCacheFile(  # type: ignore[no-untyped-call]
        cache_path=cache.cache_path,
        filename_base=cache._impl.filename_base,
        source_stamp=(cache._impl.locator.get_source_stamp(), sources()),
    )


#: The package's folder, and the rooms in it that a kernel may be compiled from.
_HOUSE, _ROOMS = (
    Path(__file__).resolve().parents[2],
    ("shadow/simulators", "shadow/traces", "policies"),
)
#: A part of them that has nothing to do with kernels, and is changed often.
_ELSEWHERE = "policies/rollout"


@functools.cache
def sources(house: Path = _HOUSE) -> str:
    """Return a digest of all that a kernel may be compiled from: simulators, traces, kinds."""
    digest = hashlib.sha256()
    for room in _ROOMS:
        for path in sorted((house / room).rglob("*.py")):
            if not path.is_relative_to(house / _ELSEWHERE):
                digest.update(path.read_bytes())
    return digest.hexdigest()


def first_class(score: Any) -> Any:
    """Return a compiled score as a value of one type, so that ``run`` is compiled once for all."""
    return score if isinstance(score, CompileResultWAP) else CompileResultWAP(_only(score))


def reads(score: Any, name: str) -> bool:
    """Return whether a compiled score may read its parameter of this name; True where nobody can tell."""
    function = getattr(score, "py_func", None)
    if function is None or name not in function.__code__.co_varnames:
        return True
    return _reads(function.__code__, name)


@functools.lru_cache(maxsize=64)
def _reads(code: CodeType, name: str) -> bool:
    return any(each.argval == name for each in dis.get_instructions(code))


def _only(score: Any) -> Any:
    (overload,) = score.overloads.values()
    return overload


@lean
def uniform(seed: Any, index: Any, lane: Any) -> Any:
    """Return a draw in [0, 1) that is a pure function of its arguments (finaliser of splitmix64)."""
    x = seed + np.uint64(index) * np.uint64(0x9E3779B97F4A7C15)
    x += np.uint64(lane + 1) * np.uint64(0xD1342543DE82EF95)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return np.float64(x >> np.uint64(11)) * (1.0 / 9007199254740992.0)
