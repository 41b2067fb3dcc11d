"""Traces in files and folders: mapped, shared, unchanged from version to version, and never trusted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from gnomon.policies.load_balancer import load_balancer
from gnomon.sdk.errors import TraceError
from gnomon.shadow.policy import baseline_policy
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.traces.trace import DecisionTrace, saved_kind

from .accesses import lookups
from .queueing import demo

SIX = ("time", "instance", "action", "features", "outcome", "ok")


@pytest.fixture(scope="module")
def trace() -> DecisionTrace:
    return demo(seed=5, seconds=4.0)


@pytest.fixture(scope="module")
def explored(trace: DecisionTrace) -> DecisionTrace:
    propensity = np.where(np.arange(len(trace)) % 2, 0.9, 0.05)
    return dataclasses.replace(trace, propensity=propensity)


@pytest.mark.parametrize("name", ["t.trace", "t.npz"])
def test_columns_come_back_bit_for_bit(name: str, explored: DecisionTrace, tmp_path: Path) -> None:
    explored.save(tmp_path / name)
    again = DecisionTrace.load(tmp_path / name)
    assert again.digest == explored.digest
    for column in DecisionTrace.COLUMNS:
        assert np.array_equal(getattr(again, column), getattr(explored, column))
    assert saved_kind(tmp_path / name) == "load_balancer"


def test_a_folder_is_mapped_and_its_files_are_never_written(
    trace: DecisionTrace, tmp_path: Path
) -> None:
    path = tmp_path / "t.trace"
    trace.save(path)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    again = DecisionTrace.load(path)
    mapped = again.features
    while isinstance(mapped, np.ndarray) and not isinstance(mapped, np.memmap):
        mapped = mapped.base
    assert isinstance(mapped, np.memmap)
    again.features[0, 0, 0] += 1.0  # this process's own page
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before
    assert DecisionTrace.load(path).features[0, 0, 0] == trace.features[0, 0, 0]


def test_compiled_code_takes_mapped_columns_as_it_takes_others(
    trace: DecisionTrace, tmp_path: Path
) -> None:
    trace.save(tmp_path / "t.trace")
    mapped, simulator = DecisionTrace.load(tmp_path / "t.trace"), simulator_for(load_balancer)
    policy = baseline_policy("peak_ewma", load_balancer)
    fitted = simulator.calibrate(trace)
    one, other = (policy.replay(simulator, each, fitted, 3) for each in (trace, mapped))
    assert np.array_equal(one.outcome, other.outcome)
    assert type(mapped.time) is np.ndarray
    assert (
        mapped.time.flags.aligned and mapped.time.flags.writeable
    )  # else another type: another compile


def test_a_trace_without_exploration_has_the_digest_that_it_always_had(
    trace: DecisionTrace, tmp_path: Path
) -> None:
    """As the second format has it: holdouts are counted by it."""
    head = {name: getattr(trace, name) for name in DecisionTrace.HEAD}
    text = json.dumps({"format": 2, "type": "decisions"} | head, sort_keys=True)
    digest = hashlib.sha256(text.encode())
    for name in SIX:
        digest.update(np.ascontiguousarray(getattr(trace, name)).tobytes())
    assert trace.digest == digest.hexdigest()
    columns = {name: getattr(trace, name) for name in SIX}
    np.savez(tmp_path / "old.npz", head=text, digest=digest.hexdigest(), **columns)
    old = DecisionTrace.load(tmp_path / "old.npz")
    assert (old.propensity == 1.0).all()
    assert old.digest == trace.digest


def test_exploration_changes_the_digest(trace: DecisionTrace, explored: DecisionTrace) -> None:
    assert explored.digest != trace.digest
    ones = dataclasses.replace(explored, propensity=np.ones(len(explored)))
    assert ones.digest == trace.digest


@pytest.mark.parametrize("value", [0.0, -0.1, 1.1, np.nan])
def test_a_propensity_is_a_probability(value: float, trace: DecisionTrace) -> None:
    with pytest.raises(TraceError, match="propensities outside of"):
        dataclasses.replace(trace, propensity=np.full(len(trace), value))


def _no_head(folder: Path) -> None:
    (folder / "head.json").unlink()


def _other_head(folder: Path) -> None:
    (folder / "head.json").write_text('{"head": 7, "digest": []}')


def _no_column(folder: Path) -> None:
    (folder / "features.npy").unlink()


def _pickled(folder: Path) -> None:
    np.save(folder / "ok.npy", np.array([{}], object), allow_pickle=True)


def _link(folder: Path) -> None:
    (folder / "ok.npy").rename(folder.parent / "elsewhere.npy")
    (folder / "ok.npy").symlink_to(folder.parent / "elsewhere.npy")


def _short(folder: Path) -> None:
    path = folder / "features.npy"
    path.write_bytes(path.read_bytes()[:-64])


def _texts(folder: Path) -> None:
    np.save(folder / "ok.npy", np.array(["yes"] * 9))


def _swapped(folder: Path) -> None:
    np.save(folder / "time.npy", np.load(folder / "time.npy").astype(">f8"))


def _transposed(folder: Path) -> None:
    np.save(folder / "features.npy", np.asfortranarray(np.load(folder / "features.npy")))


def _changed(folder: Path) -> None:
    path = folder / "outcome.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_no_head, "no head.json"),
        (_other_head, "not a saved trace"),
        (_no_column, "'features'"),
        (_pickled, "not a saved trace"),
        (_link, "is a link"),
        (_short, "not a saved trace"),
        (_texts, "column 'ok' is of type"),
        (_swapped, "column 'time' is of type >f8"),
        (_transposed, "another order"),
        (_changed, "was changed"),
    ],
)
def test_a_folder_that_is_no_whole_trace_is_refused(
    harm: object, message: str, trace: DecisionTrace, tmp_path: Path
) -> None:
    path = tmp_path / "t.trace"
    trace.save(path)
    harm(path)  # type: ignore[operator]
    with pytest.raises(TraceError, match=message):
        DecisionTrace.load(path)


def test_a_folder_is_whole_or_not_there(trace: DecisionTrace, tmp_path: Path) -> None:
    trace.save(tmp_path / "t.trace")
    with pytest.raises(TraceError, match="exists already"):
        trace.save(tmp_path / "t.trace")
    assert [each.name for each in tmp_path.iterdir()] == ["t.trace"]


def test_a_caches_trace_can_be_a_folder_too(tmp_path: Path) -> None:
    trace = lookups([1, 2, 3, 1, 2, 4], 2)
    trace.save(tmp_path / "c.trace")
    assert type(trace).load(tmp_path / "c.trace").digest == trace.digest
