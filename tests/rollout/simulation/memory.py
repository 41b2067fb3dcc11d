"""What worlds need not work out twice: answers of pure and slow functions, once per process.

Nothing is taken for granted: a signature counts as good where it was verified, or made here with that key; a
forged one is verified by the product each time that it is new.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar
from unittest import mock

from gnomon.policies.rollout import admission, upkeep
from gnomon.sdk import bundle, delivery, dsse, keys, profile
from gnomon.sdk.kind import Kind
from gnomon.v1 import policy_pb2

_Made = TypeVar("_Made")
#: Answers of one function that are kept.
_MOST = 20_000
#: Worlds between two looks for garbage.
_WORLDS = 10


class _Memory(dict[Any, Any]):
    """Answers by what was asked; full, it begins anew."""

    def of(self, key: Any, work: Callable[[], _Made]) -> _Made:
        """Return the answer that is known, or the one that this work gives."""
        try:
            return self[key]  # type: ignore[no-any-return]  # what the same work gave
        except KeyError:
            made = work()
            self.keep(key, made)
            return made

    def keep(self, key: Any, made: Any) -> None:
        """Keep an answer."""
        if len(self) >= _MOST:
            self.clear()
        self[key] = made


_checked, _verified, _keys, _raws, _keyids, _publics = (_Memory() for _ in range(6))


@contextmanager
def remembered() -> Iterator[None]:
    """Check each signature and each program once per process.

    Drift is looked for in fewer decisions than a real service makes.
    """
    with ExitStack() as stack:
        for owner, name, made in (*_of_keys(), *_of_programs()):
            stack.enter_context(mock.patch.object(owner, name, made))
        stack.enter_context(mock.patch.object(delivery, "_version", lambda: "simulated"))
        stack.enter_context(mock.patch.object(upkeep, "LEAST_COUNT", 12))
        stack.enter_context(mock.patch.object(profile, "EVERY", 1))
        yield


def _of_keys() -> Iterator[tuple[Any, str, Any]]:
    """Yield what replaces the functions of keys; a key object is kept with its answer, so its id is its own."""
    raw, keyid, from_raw, valid, sign = keys.raw, keys.keyid, keys.from_raw, keys.valid, dsse.sign

    def raw_once(public: Any) -> bytes:
        return _raws.of(id(public), lambda: (public, raw(public)))[1]

    def keyid_once(public: Any) -> str:
        return _keyids.of(id(public), lambda: (public, keyid(public)))[1]

    def valid_once(public: Any, signature: bytes, message: bytes) -> bool:
        key = (raw_once(public), signature, message)
        return _verified.of(key, lambda: valid(public, signature, message))

    def signed(payload_type: str, payload: bytes, private: Any) -> policy_pb2.Envelope:
        envelope = sign(payload_type, payload, private)
        _, public = _publics.of(id(private), lambda: (private, raw(private.public_key())))
        for made in envelope.signatures:
            _verified.keep((public, made.sig, dsse.pae(payload_type, payload)), True)
        return envelope

    yield keys, "raw", raw_once
    yield keys, "keyid", keyid_once
    yield keys, "from_raw", lambda data: _keys.of(data, lambda: from_raw(data))
    yield keys, "valid", valid_once
    yield dsse, "sign", signed


def _of_programs() -> Iterator[tuple[Any, str, Any]]:
    """Yield what replaces the checks of programs."""
    program, version = bundle._check_program, admission.check_language

    def program_once(found: policy_pb2.Bundle, kind: Kind) -> Any:
        key = found.SerializeToString(deterministic=True)
        return _checked.of(key, lambda: program(found, kind))

    def language_once(found: policy_pb2.Bundle) -> None:
        _checked.of(b"language" + found.source.encode(), lambda: version(found))

    yield bundle, "_check_program", program_once
    yield admission, "check_language", language_once


@contextmanager
def tidied() -> Iterator[Callable[[int], None]]:
    """Look for garbage between worlds only, and never among what was there before; yields what does it.

    A history is hundreds of thousands of objects that all stay: looking through them again and again takes
    a sixth of the time.
    """
    was = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield lambda number: gc.collect() if number % _WORLDS == 0 else 0  # type: ignore[func-returns-value]
    finally:
        gc.unfreeze()
        if was:
            gc.enable()
