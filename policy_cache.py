"""``gnomon.PolicyCache``: the mapping of ``sdk.cache`` bound to the kind that it asks under."""

from __future__ import annotations

from typing import TypeVar

from .policies.cache import SAMPLE, cache
from .sdk.cache.mapping import HookedCache

K = TypeVar("K")
V = TypeVar("V")


class PolicyCache(HookedCache[K, V]):
    """A cache whose accesses are recorded and whose eviction and admission are a hook.

    A mapping with the interface of ``cachetools``: ``PolicyCache(n, name=...)`` behaves as
    ``cachetools.LRUCache(n)`` does, with ``ttl=`` as ``TTLCache``, until a policy is shipped to it.
    Under a shipped policy an object may not be admitted: it can be missing right after it was set.

    Args:
        maxsize: most that is held, in the unit of sizes.
        name: of the hook, unique in the service among what is alive.
        getsizeof: value to its size; 1 each by default.
        ttl: time that an object has, in the unit of ``timer``; None for ever.
        timer: what the time is.
        threadsafe: whether threads may share it; False saves the lock.
        incumbent: policy in the service's own source: ``lru``, ``fifo`` or ``lfu``.
        sample: share of keys whose accesses are recorded, times the process's own.
        limits: when a policy is taken back in this process; by default those of ``configure``.

    Raises:
        ValueError: maxsize is negative.
        ConfigurationError: another hook has the name, no such incumbent, or a bad share.
    """

    _kind = cache
    _residents = SAMPLE
