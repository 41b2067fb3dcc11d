"""Golden vectors: the same rows everywhere, edges among them, and a mismatch is named."""

from __future__ import annotations

import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from gnomon.sdk.kind import HOST_FEATURES, Feature
from gnomon.sdk.language import check, golden_vectors, replay_vectors, same_bits

FEATURES = (
    Feature("inflight", "{request}", "Requests in flight.", 0.0, 1e4, integer=True),
    Feature("ewma_ms", "ms", "Smoothed latency.", 0.0, 6e4),
    *HOST_FEATURES,
)
NAMES = tuple(feature.name for feature in FEATURES)
PROGRAM = check("def score(inflight, ewma_ms):\n    return (inflight + 1) * ewma_ms\n", NAMES)


def test_rows_are_reproducible_and_hold_the_edges() -> None:
    vectors = golden_vectors(PROGRAM, FEATURES)
    assert len(vectors.rows) == len(vectors.outputs) == 256
    assert vectors.rows == golden_vectors(PROGRAM, FEATURES).rows
    assert vectors.rows != golden_vectors(PROGRAM, FEATURES, seed=1).rows
    columns = list(zip(*vectors.rows, strict=True))
    assert all(value.is_integer() for value in columns[0])
    assert {0.0, 1.0, 1e4, 2.0**53 - 1} <= set(columns[0])
    assert {0.0, 6e4, 2.0**-1060, 1e-9} <= set(columns[1])
    assert any(left == right for left, right in zip(columns[0], columns[1], strict=True))
    inside = sum(0.0 <= value <= 6e4 for value in columns[1])
    assert inside > 200


def test_rows_do_not_depend_on_the_machine() -> None:
    """Made by this function on CPython 3.11, x86-64; a change of it invalidates shipped bundles."""
    vectors = golden_vectors(PROGRAM, FEATURES, count=4)
    assert [row[:2] for row in vectors.rows] == EXPECTED


EXPECTED = [
    (5000.0, 1.0),
    (0.0, 0.022081803439950604),
    (9634.0, 9634.0),
    (220.0, 0.7339732188000184),
]


def test_replay_accepts_its_own_outputs() -> None:
    vectors = golden_vectors(PROGRAM, FEATURES)
    assert replay_vectors(PROGRAM, *vectors) == ""


def test_replay_names_the_first_mismatch() -> None:
    rows, outputs = golden_vectors(PROGRAM, FEATURES, count=8)
    other = check("def score(inflight, ewma_ms):\n    return inflight * ewma_ms\n", NAMES)
    assert replay_vectors(other, rows, outputs).startswith("vector ")
    assert replay_vectors(PROGRAM, rows, outputs[:-1]) == "8 rows but 7 outputs"
    assert replay_vectors(PROGRAM, [(1.0,)], [1.0]) == "vector 0 has 1 values, not 4"


def test_faults_are_outputs_too() -> None:
    program = check("def score(inflight):\n    return 1 / inflight\n", NAMES)
    vectors = golden_vectors(program, FEATURES)
    assert any(math.isnan(output) for output in vectors.outputs)
    assert replay_vectors(program, *vectors) == ""
    hidden = [0.0 if math.isnan(output) else output for output in vectors.outputs]
    assert "not 0.0" in replay_vectors(program, vectors.rows, hidden)


@given(st.floats(), st.integers(0, 63))
def test_one_flipped_bit_is_seen(value: float, bit: int) -> None:
    (bits,) = struct.unpack("<Q", struct.pack("<d", value))
    (other,) = struct.unpack("<d", struct.pack("<Q", bits ^ 1 << bit))
    assert same_bits(value, value)
    assert same_bits(value, other) == (math.isnan(value) and math.isnan(other))
