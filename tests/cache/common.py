"""Caches, programs and assignments for the tests."""

from __future__ import annotations

import itertools
from typing import Any

import gnomon
from gnomon.sdk.assignment import Assignment, Switchback
from gnomon.sdk.language import Program, check

SECOND = 10**9
_numbers = itertools.count()


def cache(maxsize: float, name: str = "", **given: Any) -> gnomon.PolicyCache[Any, Any]:
    """Return a cache under a name of its own; its draws depend on the name."""
    return gnomon.PolicyCache(maxsize, name=name or f"cache-{next(_numbers)}", **given)


def program(source: str) -> Program:
    """Return a program, or the one of a baseline."""
    kind = gnomon.cache
    named = kind.baselines.get(source)
    text = source if named is None else named.source
    assert text is not None
    return check(text, kind.input_names)


def switchback(weight: float, **given: Any) -> Switchback:
    """Return blocks of a second without margins."""
    whole: dict[str, Any] = {"block_ns": SECOND, "burn_in_ns": 0, "skew_ns": 0, **given}
    return Switchback(salt=b"salt", cell="default", weight=weight, paired=True, **whole)


def install(of: gnomon.PolicyCache[Any, Any], phase: Any, epoch: int = 1, **given: Any) -> None:
    """Install an assignment; ``stable`` and ``candidate`` are programs."""
    digests: dict[str, Any] = {}
    if given.get("stable") is not None:
        digests["stable_digest"] = "s" * 64
    if given.get("candidate") is not None:
        digests["candidate_digest"] = "c" * 64
    of.hook.install(Assignment(epoch=epoch, phase=phase, **digests, **given))


def fetch(of: gnomon.PolicyCache[Any, Any], key: Any) -> bool:
    """Look a key up and put it where it is missing; return whether it was a hit."""
    hit = of.get(key) is not None
    if not hit:
        of[key] = f"value of {key}"
    return hit
