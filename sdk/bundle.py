"""Bundles: a policy as shipped, and the checks that a service makes before it may run one."""

from __future__ import annotations

import hashlib
import math
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from google.protobuf.message import DecodeError

from gnomon.v1 import policy_pb2

from . import dsse
from .errors import ConfigurationError, LanguageError, TrustError
from .files import read_regular
from .kind import Kind
from .state import write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from .isolation.layers import IsolationMode
    from .language import ArrayProgram, Program

#: Golden vectors in every bundle of score form; fewer is refused.
VECTORS = 256
SUFFIX = ".bundle"
_MOST_BYTES = 4 << 20  # of a bundle's file; delivery carries no more either


def build_bundle(
    program: Program | ArrayProgram,
    hook: str,
    kind: Kind,
    evidence_digest: str,
    provenance: Mapping[str, str],
    *,
    seed: int = 0,
    profile: policy_pb2.Profile | None = None,
) -> bytes:
    """Return the payload of a bundle with its golden vectors (of a program, cases); equal arguments give
    equal bytes.

    Args:
        program: checked against ``kind.input_names``, or against ``kind.program``.
        hook: that it is for.
        kind: contract that it was verified against.
        evidence_digest: of the verdict that accepted it, hexadecimal.
        provenance: where it came from, free words.
        seed: of the vectors' draws.
        profile: of the trace that justifies it; None where there is none.

    Raises:
        ConfigurationError: the program was checked against other inputs than the kind's.
    """
    golden = golden_of(program, kind, seed)
    bundle = policy_pb2.Bundle(
        hook=hook,
        kind=kind.name,
        kind_version=kind.version,
        form=kind.form,
        source=program.source,
        inputs=_inputs(kind),
        vector_inputs=golden.asked,
        vector_outputs=golden.answered,
        evidence_digest=evidence_digest,
        provenance=provenance,
        profile=profile,
    )
    return bundle.SerializeToString(deterministic=True)


class Golden(NamedTuple):
    """Golden vectors of a score, or golden cases of a program, as a bundle holds them.

    Attributes:
        asked: rows, one after the other; of a program, the seed of its questions.
        answered: a score for each row, NaN for a fault; of a program, its cases' numbers.
    """

    asked: list[float]
    answered: list[float]

    @property
    def digest(self) -> str:
        """sha256 hex of all of it."""
        counts = struct.pack("<QQ", len(self.asked), len(self.answered))
        numbers = struct.pack(f"<{sum(map(len, self))}d", *self.asked, *self.answered)
        return hashlib.sha256(counts + numbers).hexdigest()


def golden_of(program: Program | ArrayProgram, kind: Kind, seed: int = 0) -> Golden:
    """Return what a bundle of this policy asks and what must be answered, as answered here.

    Raises:
        ConfigurationError: the program was checked against other inputs than the kind's.
    """
    read = getattr(program, "inputs", ())
    if tuple(read) != (() if kind.form == "program" else kind.input_names):
        raise ConfigurationError(
            f"program reads {', '.join(read)}; check it against kind {kind.name!r}"
        )
    if kind.form == "program":
        from .programs.golden import golden_numbers

        return golden_cases(golden_numbers(cast("ArrayProgram", program), kind, seed), seed)
    from .language import golden_vectors

    vectors = golden_vectors(cast("Program", program), kind.inputs, VECTORS, seed)
    asked = [value for row in vectors.rows for value in row]
    return Golden(asked, [_canonical(value) for value in vectors.outputs])


def golden_cases(numbers: Sequence[float], seed: int = 0) -> Golden:
    """Return a program's golden cases, whoever has asked it."""
    return Golden([float(seed)], [_canonical(value) for value in numbers])


def golden_in(bundle: policy_pb2.Bundle) -> Golden:
    """Return the golden vectors that a bundle holds."""
    return Golden(list(bundle.vector_inputs), list(map(_canonical, bundle.vector_outputs)))


def _inputs(kind: Kind) -> tuple[str, ...]:
    """Return the names of what a policy is given."""
    if kind.program is None:
        return kind.input_names
    return tuple(parameter.name for parameter in kind.program.parameters)


def bundle_digest(payload: bytes) -> str:
    """Return the digest that names a bundle: SHA-256 of its payload, as 64 hex digits."""
    return hashlib.sha256(payload).hexdigest()


def open_bundle(
    envelope: policy_pb2.Envelope,
    keys: Sequence[Ed25519PublicKey],
    hook: str,
    kind: Kind,
    isolation: IsolationMode = "strict",
) -> tuple[policy_pb2.Bundle, Program | ArrayProgram]:
    """Verify a bundle for a hook and return it with its program.

    In this order: signed by one of the publisher's keys, made for this hook and this version of
    its kind, within the policy language as checked here, and the same result here as there on
    every golden vector; of program form, in a process of its own and within the kind's limits.

    Args:
        envelope: as it came.
        keys: of publishers.
        hook, kind: what it has to be for.
        isolation: of that process.

    Raises:
        TrustError: one of these does not hold; the message is fit for a NACK.
    """
    bundle = read_bundle(dsse.verify(envelope, dsse.BUNDLE_TYPE, keys))
    _check_contract(bundle, hook, kind)
    if kind.form == "program":
        return bundle, _check_array_program(bundle, kind, isolation)
    return bundle, _check_program(bundle, kind)


def read_bundle(payload: bytes) -> policy_pb2.Bundle:
    """Parse a payload without trusting it; raises TrustError where it is no bundle."""
    try:
        return policy_pb2.Bundle.FromString(payload)
    except DecodeError as error:
        raise TrustError(f"payload of {len(payload)} bytes is no bundle") from error


def save_bundle(path: str | os.PathLike[str], envelope: policy_pb2.Envelope) -> None:
    """Write an envelope as a bundle file, whole or not at all."""
    write_atomically(Path(path), envelope.SerializeToString(deterministic=True))


def load_bundle(path: str | os.PathLike[str]) -> policy_pb2.Envelope:
    """Read a bundle file without trusting it.

    Raises:
        ConfigurationError: it is missing or holds no bundle's envelope.
    """
    try:
        data = read_regular(path, _MOST_BYTES)
    except OSError as error:
        raise ConfigurationError(f"cannot read bundle {path}: {error.strerror}") from error
    try:
        envelope = policy_pb2.Envelope.FromString(data)
    except DecodeError as error:
        raise ConfigurationError(f"{path} is no bundle file") from error
    if envelope.payload_type != dsse.BUNDLE_TYPE:
        raise ConfigurationError(f"{path} is no bundle file: it holds {envelope.payload_type!r}")
    return envelope


def _check_contract(bundle: policy_pb2.Bundle, hook: str, kind: Kind) -> None:
    _same("hook", bundle.hook, hook)
    _same("kind", f"{bundle.kind} v{bundle.kind_version}", f"{kind.name} v{kind.version}")
    _same("form", bundle.form, kind.form)
    _same("inputs", ", ".join(bundle.inputs), ", ".join(_inputs(kind)))
    rows = len(bundle.vector_outputs)
    if kind.form == "program":
        _check_cases(bundle)
        return
    if rows < VECTORS:
        raise TrustError(f"bundle has {rows} golden vectors; {VECTORS} are required")
    if len(bundle.vector_inputs) != rows * len(kind.input_names):
        raise TrustError(f"bundle's golden vectors do not have {len(kind.input_names)} columns")


def _check_cases(bundle: policy_pb2.Bundle) -> None:
    from .programs.golden import CASES, PER_CASE

    if len(bundle.vector_outputs) != CASES * PER_CASE:
        found = len(bundle.vector_outputs) // PER_CASE
        raise TrustError(f"bundle has {found} golden cases; {CASES} are required")
    if len(bundle.vector_inputs) != 1 or not bundle.vector_inputs[0].is_integer():
        raise TrustError("bundle's golden cases do not say which seed they were drawn from")


def _same(what: str, found: str, expected: str) -> None:
    if found != expected:
        raise TrustError(f"bundle is for {what} {found!r}, not {expected!r}")


def _check_program(bundle: policy_pb2.Bundle, kind: Kind) -> Program:
    from .language import check, replay_vectors

    try:
        program = check(
            bundle.source, kind.input_names, max_nodes=kind.max_nodes, max_fuel=kind.max_fuel
        )
    except LanguageError as error:
        raise TrustError(f"bundle's source fails the language check: {error}") from error
    mismatch = replay_vectors(program, _rows(bundle), list(bundle.vector_outputs))
    if mismatch:
        raise TrustError(f"golden vectors differ here: {mismatch}")
    return program


def _check_array_program(
    bundle: policy_pb2.Bundle, kind: Kind, isolation: IsolationMode
) -> ArrayProgram:
    from .language import check_program
    from .programs.golden import golden_mismatch

    assert kind.program is not None
    try:
        program = check_program(bundle.source, kind.program)
    except LanguageError as error:
        raise TrustError(f"bundle's source fails the language check: {error}") from error
    seed, numbers = int(bundle.vector_inputs[0]), tuple(bundle.vector_outputs)
    mismatch = golden_mismatch(bundle.source, kind, seed, numbers, isolation)
    if mismatch:
        raise TrustError(f"golden cases differ here: {mismatch}")
    return program


def _rows(bundle: policy_pb2.Bundle) -> list[tuple[float, ...]]:
    values, width = tuple(bundle.vector_inputs), len(bundle.inputs)
    return [values[at : at + width] for at in range(0, len(values), width)]


def _canonical(value: float) -> float:
    """Return the value with one bit pattern for every NaN, so that digests do not depend on it."""
    return struct.unpack("<d", b"\0\0\0\0\0\0\xf8\x7f")[0] if math.isnan(value) else value
