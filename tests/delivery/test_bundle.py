"""Bundles: built the same twice, and refused for every reason there is."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.sdk import bundle as bundles
from gnomon.sdk import dsse
from gnomon.sdk.errors import ConfigurationError, TrustError
from gnomon.sdk.language import check
from gnomon.v1 import policy_pb2

from ..fuzz.signing import changed_bundle

SOURCE = """import math
def score(inflight, ewma_ms):
    return (inflight + 1) * ewma_ms + math.log(inflight - 5)
"""
HOOK = "router.pick"


@pytest.fixture
def payload(world) -> bytes:
    program = check(SOURCE, world.kind.input_names)
    return bundles.build_bundle(program, HOOK, world.kind, "e" * 64, {"strategy": "test"})


@pytest.fixture
def signed(world):
    """Return a signer of bundle payloads and of changed bundles."""

    def sign(payload: bytes, signer=None, **changes) -> policy_pb2.Envelope:
        payload = changed_bundle(payload, **changes)
        return dsse.sign(dsse.BUNDLE_TYPE, payload, signer or world.publisher)

    return sign


@pytest.fixture
def opened(world):
    """Return an opener with what this service trusts and runs."""
    return lambda envelope, kind=world.kind: bundles.open_bundle(
        envelope, world.anchors.publishers, HOOK, kind
    )


def test_what_was_built_opens_to_the_same_program(world, payload, signed, opened) -> None:
    message, program = opened(signed(payload))
    assert program.source == SOURCE
    assert (message.hook, message.kind, message.kind_version) == (HOOK, "pick", 3)
    assert len(message.vector_outputs) == 256
    assert message.provenance["strategy"] == "test"
    row = (7.0, 20.0, 1.0, 0.5)
    assert program.bind()(*row) == 8 * 20.0 + math.log(2)


def test_faults_are_golden_too(payload) -> None:
    outputs = bundles.read_bundle(payload).vector_outputs
    assert any(math.isnan(value) for value in outputs)
    assert any(math.isfinite(value) for value in outputs)


def test_equal_arguments_give_equal_bytes(world, payload) -> None:
    program = check(SOURCE, world.kind.input_names)
    again = bundles.build_bundle(program, HOOK, world.kind, "e" * 64, {"strategy": "test"})
    other = bundles.build_bundle(program, HOOK, world.kind, "f" * 64, {"strategy": "test"})
    assert again == payload
    assert bundles.bundle_digest(again) == bundles.bundle_digest(payload)
    assert bundles.bundle_digest(other) != bundles.bundle_digest(payload)


def test_a_program_for_other_inputs_is_no_bundle(world) -> None:
    program = check("def score(a):\n    return a\n", ("a",))
    with pytest.raises(ConfigurationError, match="check it against kind"):
        bundles.build_bundle(program, HOOK, world.kind, "", {})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"hook": "cache"}, "for hook 'cache'"),
        ({"kind": "cache"}, "for kind 'cache v3'"),
        ({"kind_version": 2}, "for kind 'pick v2'"),
        ({"form": "program"}, "for form 'program'"),
        ({"inputs": ["ewma_ms", "inflight", "since_picked", "noise"]}, "for inputs"),
        ({"source": SOURCE.replace("+ 1", "+ 2")}, "golden vectors differ"),
        ({"source": "import os\ndef score(inflight):\n    return 1.0\n"}, "language check"),
        ({"source": ""}, "language check"),
        ({"vector_outputs": [], "vector_inputs": []}, "0 golden vectors"),
        ({"vector_inputs": [1.0]}, "columns"),
    ],
)
def test_each_promise_is_checked_even_when_signed(payload, signed, opened, changes, reason) -> None:
    with pytest.raises(TrustError, match=reason):
        opened(signed(payload, **changes))


def test_limits_are_those_of_the_services_kind(world, payload, signed, opened) -> None:
    strict = dataclasses.replace(world.kind, max_nodes=5)
    with pytest.raises(TrustError, match="language check"):
        opened(signed(payload), strict)


def test_unsigned_or_wrongly_signed_is_refused(world, payload, signed, opened) -> None:
    with pytest.raises(TrustError, match="not a trusted key"):
        opened(signed(payload, signer=world.rollout))
    with pytest.raises(TrustError, match="signatures on"):
        opened(policy_pb2.Envelope(payload_type=dsse.BUNDLE_TYPE, payload=payload))
    with pytest.raises(TrustError, match="no bundle"):
        opened(signed(b"\xff\xff\xff"))


@settings(max_examples=30)
@given(data=st.data())
def test_any_flipped_bit_of_a_payload_is_refused(make_world, data) -> None:
    world = make_world()
    program = check("def score(inflight):\n    return inflight\n", world.kind.input_names)
    payload = bundles.build_bundle(program, HOOK, world.kind, "", {})
    envelope = dsse.sign(dsse.BUNDLE_TYPE, payload, world.publisher)
    bit = data.draw(st.integers(0, 8 * len(payload) - 1))
    altered = bytearray(payload)
    altered[bit // 8] ^= 1 << bit % 8
    envelope.payload = bytes(altered)
    with pytest.raises(TrustError, match="does not match the payload"):
        bundles.open_bundle(envelope, world.anchors.publishers, HOOK, world.kind)


def test_files_keep_an_envelope(tmp_path, payload, signed, opened) -> None:
    path = tmp_path / "deep" / "winner.bundle"
    bundles.save_bundle(path, signed(payload))
    assert opened(bundles.load_bundle(path))[1].source == SOURCE
    assert [found.name for found in path.parent.iterdir()] == ["winner.bundle"]


def test_files_that_are_no_bundles_are_named(world, tmp_path, payload, signed) -> None:
    path = tmp_path / "x.bundle"
    with pytest.raises(ConfigurationError, match=r"cannot read bundle .*x\.bundle"):
        bundles.load_bundle(path)
    whole = signed(payload).SerializeToString()
    for data in (b"\xff\xff", whole[: len(whole) // 2], world.plan().SerializeToString()):
        path.write_bytes(data)
        with pytest.raises(ConfigurationError, match="no bundle file"):
            bundles.load_bundle(path)
