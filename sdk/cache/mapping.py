"""The cache as the service sees it: a mapping with the interface of the package ``cachetools``."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterator, MutableMapping
from datetime import timedelta
from typing import Any, ClassVar, Generic, TypeVar, overload

from ..errors import ConfigurationError
from ..kind import Kind
from ..limits import Limits, check_limits
from ..runtime import RUNTIME
from ..spec import check_name
from .cell import MISSING, Cell
from .contents import Contents, Shape
from .hook import CacheHook
from .log import DELETE, HIT, MISS, PUT
from .ordered import INCUMBENTS

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
T = TypeVar("T")
_FORK_DEADLINE_S = 1.0
_ABSENT: Any = object()


class HookedCache(MutableMapping[K, V], Generic[K, V]):
    """A cache whose eviction and admission are a hook; see ``gnomon.PolicyCache``."""

    _kind: ClassVar[Kind]
    _residents: ClassVar[int]

    def __init__(
        self,
        maxsize: float,
        *,
        name: str,
        getsizeof: Callable[[V], float] | None = None,
        ttl: Any = None,
        timer: Callable[[], Any] = time.monotonic,
        threadsafe: bool = True,
        incumbent: str = "lru",
        sample: float = 1.0,
        limits: Limits | None = None,
    ) -> None:
        check_limits(limits, f"cache {name!r}")
        _check(maxsize, name, incumbent, sample)
        self._maxsize = maxsize
        self._getsizeof = getsizeof
        self._unit = getsizeof is None and type(self).getsizeof is HookedCache.getsizeof
        self._ttl = ttl
        self._timer = timer
        self._lock = threading.RLock() if threadsafe else None
        seconds = _seconds(ttl)
        hook = CacheHook(name, self._kind, maxsize, incumbent, sample, seconds, limits)
        self.hook = hook
        self._contents = self._begin(hook, incumbent)
        self._at: Cell | Contents = self._fastest()
        self._mend = False
        RUNTIME.register(hook)
        hook.watch(self)
        _caches[id(self)] = self

    def _begin(self, hook: CacheHook, incumbent: str) -> Contents:
        me = weakref.ref(self)  # the contents must not keep the cache alive
        shape = Shape(
            self._maxsize,
            not self._unit,
            incumbent,
            self._residents,
            self._ttl,
            self._timer,
            lambda key: hook.note(key, 0.0, DELETE) if hook.note is not None else None,
        )

        def lease_over() -> None:
            cache = me()
            if cache is not None:
                cache._apply()

        return Contents(
            shape, hook.seeds(), hook.clock.monotonic_ns, hook.blocks, hook.counts, lease_over
        )

    def _fastest(self) -> Cell | Contents:
        """Return what answers: the one cell, where there is no other."""
        return self._contents.main.cell if self._contents.simple else self._contents

    def _apply(self) -> None:
        """Take up what was installed, switched on or off meanwhile."""
        hook = self.hook
        if self._mend:
            self._contents.mend()
            self._mend = False
        plan = hook.renewed()
        self._contents.serve(hook.clock.monotonic_ns, hook.blocks, hook.counts)
        self._contents.follow(plan)
        self._at = self._fastest()

    # --- one access each, under the lock where there is one ------------------------------------

    def _found(self, key: Any) -> Any:
        hook = self.hook
        if hook.changed:
            self._apply()
        try:
            value = self._at.lookup(key)
        except BaseException:
            self._torn()
            raise
        note = hook.note
        if note is not None:
            if value is MISSING:
                self._contents.await_put(key)
                note(key, 0.0, MISS)
            else:
                note(key, 1.0 if self._unit else self._at.size_of(key), HIT)
        return value

    def _store(self, key: K, value: V, size: float) -> None:
        hook = self.hook
        if hook.changed:
            self._apply()
        try:
            self._at.put(key, value, size)
        except BaseException:
            self._torn()
            raise
        if hook.note is not None:
            self._contents.pending.pop(key, None)
            hook.note(key, size, PUT)

    def _expire(self, time: Any = None) -> list[tuple[Any, Any]]:
        try:
            return self._contents.expire(time)
        except BaseException:
            self._torn()
            raise

    def _torn(self) -> None:
        """Have the next operation repair what this one, cut off by an exception, may have left."""
        self._mend = self.hook.changed = True

    def _remove(self, key: K) -> Any:
        hook = self.hook
        if hook.changed:
            self._apply()
        try:
            value = self._contents.remove(key)
        except BaseException:
            self._torn()
            raise
        if hook.note is not None:
            hook.note(key, 0.0, DELETE)  # absent ones too: under another policy it might be there
        return value

    def _size(self, value: V) -> float:
        """Return the size of a value; raises ValueError for one that can never be held."""
        size = 1 if self._unit else self.getsizeof(value)
        if size > self._maxsize:
            raise ValueError("value too large")
        if size < 0:
            raise ValueError("value size must be non-negative")
        return size

    # --- the mapping --------------------------------------------------------------------------

    def __getitem__(self, key: K) -> V:
        lock = self._lock
        if lock is None:
            value = self._found(key)
        else:
            with lock:
                value = self._found(key)
        return self.__missing__(key) if value is MISSING else value

    def __missing__(self, key: K) -> V:
        """Answer for a key that is not held; a subclass may fetch it."""
        raise KeyError(key)

    def __setitem__(self, key: K, value: V) -> None:
        size = 1 if self._unit and self._maxsize >= 1 else self._size(value)
        lock = self._lock
        if lock is None:
            self._store(key, value, size)
        else:
            with lock:
                self._store(key, value, size)

    def __delitem__(self, key: K) -> None:
        with self._held():
            value = self._remove(key)
        if value is MISSING:
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        with self._held():
            # What finds something is followed by a read, which counts; what finds nothing, by a fetch.
            return key in self._contents or self._found(key) is not MISSING

    def __iter__(self) -> Iterator[K]:
        with self._held():
            return iter(list(self._contents))

    def __len__(self) -> int:
        with self._held():
            self._expire()
            return len(self._contents)

    def __repr__(self) -> str:
        with self._held():
            self._expire()
            items = {key: self._contents.peek(key) for key in self._contents}
            held = self._contents.held
        return f"{type(self).__name__}({items!r}, maxsize={self._maxsize!r}, currsize={held!r})"

    @overload
    def get(self, key: K) -> V | None: ...
    @overload
    def get(self, key: K, default: V | T) -> V | T: ...
    def get(self, key: K, default: Any = None) -> Any:
        """Return the value and count an access; the default, and no ``__missing__``, without one."""
        lock = self._lock
        if lock is None:
            value = self._found(key)
        else:
            with lock:
                value = self._found(key)
        return default if value is MISSING else value

    def pop(self, key: K, default: Any = _ABSENT) -> Any:
        """Remove a key and return its value, or the default; that is no lookup.

        Raises KeyError without a value and without a default.
        """
        with self._held():
            value = self._remove(key)
        if value is not MISSING:
            return value
        if default is _ABSENT:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[K, V]:
        """Remove and return the object that would leave next; KeyError when the cache is empty."""
        with self._held():
            self._expire()
            try:
                key, value = self._contents.shed()
            except KeyError:
                raise KeyError(f"{type(self).__name__} is empty") from None
            self._remove(key)
            return key, value

    def setdefault(self, key: K, default: Any = None) -> Any:
        """Return the value; without one put the default, which is returned even if not admitted.

        That is a lookup, but for a key that was just missed: then it brings what was missing.
        """
        with self._held():
            contents = self._contents
            fetched = key in contents.pending and key not in contents
            value = MISSING if fetched else self._found(key)
            if value is MISSING:
                self._store(key, default, self._size(default))
                value = default
            return value

    def clear(self) -> None:
        """Remove everything."""
        with self._held():
            note = self.hook.note
            for key in list(self._contents) if note is not None else ():
                note(key, 0.0, DELETE)  # type: ignore[misc]
            self._contents.clear()

    # --- as cachetools has them ---------------------------------------------------------------

    @property
    def maxsize(self) -> float:
        """Most that is held."""
        return self._maxsize

    @property
    def currsize(self) -> float:
        """Sum of the sizes of what is held."""
        with self._held():
            self._expire()
            return self._contents.held

    def getsizeof(self, value: V) -> float:
        """Return the size of a value: 1 without ``getsizeof=``."""
        return 1 if self._getsizeof is None else self._getsizeof(value)

    @property
    def ttl(self) -> Any:
        """Time that an object has; None for ever."""
        return self._ttl

    @property
    def timer(self) -> Callable[[], Any]:
        """What the time is."""
        return self._timer

    def expire(self, time: Any = None) -> list[tuple[K, V]]:
        """Remove what is over and return it, as (key, value) pairs; nothing without ``ttl=``."""
        with self._held():
            return self._expire(time)

    def close(self) -> None:
        """Record nothing more and give the name back; the mapping goes on under its incumbent."""
        RUNTIME.release(self.hook)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            f"{type(self).__name__} belongs to its process and cannot be copied or pickled; "
            "use dict(cache) for what it holds"
        )

    def _held(self) -> Any:
        if self._mend:
            with self._lock if self._lock is not None else _UNLOCKED:
                self._apply()
        return self._lock if self._lock is not None else _UNLOCKED


class _Unlocked:
    """Stands in for the lock where the caller wants none."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        return None


_UNLOCKED = _Unlocked()


def _check(maxsize: float, name: str, incumbent: str, sample: float) -> None:
    if maxsize < 0:
        raise ValueError("maxsize must be non-negative")
    check_name(name)
    if incumbent not in INCUMBENTS:
        known = ", ".join(sorted(INCUMBENTS))
        raise ConfigurationError(f"incumbent={incumbent!r} of cache {name!r}: use {known}")
    if not 0.0 <= sample <= 1.0:
        raise ConfigurationError(f"sample is {sample} for cache {name!r}; it must lie in 0 to 1")


def _seconds(ttl: Any) -> float:
    """Return what is recorded of a ttl: the number as given, 0 without one."""
    if isinstance(ttl, timedelta):
        return ttl.total_seconds()
    return 0.0 if ttl is None else float(ttl)


#: By identity: mappings have no hash.
_caches: weakref.WeakValueDictionary[int, HookedCache[Any, Any]] = weakref.WeakValueDictionary()
_locked: list[threading.RLock] = []


def _before_fork() -> None:
    """Let every operation end, so that no child gets contents in the midst of a change."""
    for cache in list(_caches.values()):
        lock = cache._lock
        if lock is not None and lock.acquire(timeout=_FORK_DEADLINE_S):
            _locked.append(lock)


def _after_fork_in_parent() -> None:
    while _locked:
        _locked.pop().release()


def _after_fork_in_child() -> None:
    _locked.clear()
    for cache in list(_caches.values()):
        cache._lock = threading.RLock() if cache._lock is not None else None


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
