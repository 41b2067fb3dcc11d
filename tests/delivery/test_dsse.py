"""Envelopes: what is signed, and that nothing else passes."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk import dsse, keys
from gnomon.sdk.errors import TrustError
from gnomon.v1 import policy_pb2

ALICE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
BOB = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
TYPE = dsse.BUNDLE_TYPE


def test_encoding_is_the_example_of_the_specification() -> None:
    encoded = dsse.pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@pytest.mark.parametrize(
    ("payload_type", "payload", "encoded"),
    [
        ("", b"", b"DSSEv1 0  0 "),
        ("t", b"\x00\xff", b"DSSEv1 1 t 2 \x00\xff"),
        ("é", b" ", b"DSSEv1 2 \xc3\xa9 1  "),
    ],
)
def test_lengths_count_bytes(payload_type: str, payload: bytes, encoded: bytes) -> None:
    assert dsse.pae(payload_type, payload) == encoded


texts, blobs = st.text(max_size=20), st.binary(max_size=40)


@given(texts, blobs, texts, blobs)
def test_encoding_tells_every_two_inputs_apart(type1, payload1, type2, payload2) -> None:
    same = dsse.pae(type1, payload1) == dsse.pae(type2, payload2)
    assert same == ((type1, payload1) == (type2, payload2))


@given(st.binary(max_size=200))
def test_what_was_signed_verifies(payload: bytes) -> None:
    envelope = dsse.sign(TYPE, payload, ALICE)
    trusted = [BOB.public_key(), ALICE.public_key()]
    assert dsse.verify(envelope, TYPE, trusted) == payload
    assert envelope.signatures[0].keyid == keys.keyid(ALICE.public_key())


def test_who_signed_is_who_is_trusted_and_really_did() -> None:
    envelope = dsse.sign(TYPE, b"bundle", ALICE)
    forged = policy_pb2.Signature(keyid=keys.keyid(BOB.public_key()), sig=b"0" * 64)
    envelope.signatures.append(forged)
    trusted = [BOB.public_key(), ALICE.public_key()]
    assert dsse.signers(envelope, trusted) == (keys.keyid(ALICE.public_key()),)
    assert dsse.signers(envelope, trusted[:1]) == ()


@given(st.binary(min_size=1, max_size=60), st.data())
def test_any_flipped_bit_is_refused(payload: bytes, data) -> None:
    wire = bytearray(dsse.sign(TYPE, payload, ALICE).SerializeToString())
    bit = data.draw(st.integers(0, 8 * len(wire) - 1))
    wire[bit // 8] ^= 1 << bit % 8
    try:
        envelope = policy_pb2.Envelope.FromString(bytes(wire))
    except Exception as error:  # noqa: BLE001 - protobuf's parser refused the bytes first
        assert type(error).__name__ == "DecodeError"
        return
    with pytest.raises(TrustError):
        dsse.verify(envelope, TYPE, [ALICE.public_key()])


def test_wrong_type_is_refused_even_when_signed() -> None:
    envelope = dsse.sign(dsse.PLAN_TYPE, b"x", ALICE)
    with pytest.raises(TrustError, match="payload type"):
        dsse.verify(envelope, TYPE, [ALICE.public_key()])
    envelope.payload_type = TYPE
    with pytest.raises(TrustError, match="does not match"):
        dsse.verify(envelope, TYPE, [ALICE.public_key()])


def test_wrong_key_is_refused() -> None:
    envelope = dsse.sign(TYPE, b"x", BOB)
    with pytest.raises(TrustError, match="not a trusted key"):
        dsse.verify(envelope, TYPE, [ALICE.public_key()])
    with pytest.raises(TrustError, match="not a trusted key"):
        dsse.verify(envelope, TYPE, [])


def test_a_borrowed_keyid_does_not_help() -> None:
    envelope = dsse.sign(TYPE, b"x", BOB)
    envelope.signatures[0].keyid = keys.keyid(ALICE.public_key())
    with pytest.raises(TrustError, match="does not match"):
        dsse.verify(envelope, TYPE, [ALICE.public_key(), BOB.public_key()])


def test_one_good_signature_among_others_is_enough() -> None:
    envelope = dsse.sign(TYPE, b"x", BOB)
    envelope.signatures.extend(dsse.sign(TYPE, b"x", ALICE).signatures)
    assert dsse.verify(envelope, TYPE, [ALICE.public_key()]) == b"x"


def test_none_or_too_many_signatures_are_refused() -> None:
    envelope = dsse.sign(TYPE, b"x", ALICE)
    signature = envelope.signatures[0]
    unsigned = policy_pb2.Envelope(payload_type=TYPE, payload=b"x")
    crowded = policy_pb2.Envelope(
        payload_type=TYPE, payload=b"x", signatures=[signature] * (dsse.MAX_SIGNATURES + 1)
    )
    for bad in (unsigned, crowded):
        with pytest.raises(TrustError, match="signatures on"):
            dsse.verify(bad, TYPE, [ALICE.public_key()])


def test_a_huge_payload_is_refused_before_it_is_hashed() -> None:
    envelope = dsse.sign(TYPE, bytes(dsse.MAX_PAYLOAD + 1), ALICE)
    with pytest.raises(TrustError, match="exceeds"):
        dsse.verify(envelope, TYPE, [ALICE.public_key()])
