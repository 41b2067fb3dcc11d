"""Recorded routing becomes load: by window, file after file, and nothing else is taken for it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gnomon.cli import app
from gnomon.policies.expert_placement import expert_placement
from gnomon.recorder.importers import Deployment, ImportedLoads, import_loads
from gnomon.recorder.importers._routing import _windows
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError, TraceError
from gnomon.shadow.traces.load_trace import LoadTrace
from gnomon.shadow.traces.trace import load_trace

DEPLOYMENT = Deployment(slots=12, ranks=4, window=10)


def esft(path: Path, tokens: int = 400, layers: int = 2, experts: int = 8, seed: int = 0) -> Path:
    """Write a file of routing of two experts a token."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, experts, (tokens, layers, 2)).astype(np.uint8)
    ids[0, 0, 0] = experts - 1
    np.savez_compressed(path, topk_ids=ids)
    return path


def imported(
    tmp_path: Path, *files: Path, format: str = "esft", deployment: Deployment = DEPLOYMENT
) -> ImportedLoads:
    return import_loads(TraceStore(str(tmp_path / "store")), format, files, "moe.place", deployment)


def test_every_choice_of_every_whole_window_is_counted(tmp_path: Path) -> None:
    one, two = esft(tmp_path / "a.npz", 405), esft(tmp_path / "b.npz", 209, seed=1)
    found = imported(tmp_path, one, two)
    assert found == ImportedLoads("moe.place", 60, 2, 8, 600 * 2 * 2, 14)
    trace = load_trace(tmp_path / "store")
    assert isinstance(trace, LoadTrace) and not trace.recorded and trace.policy == ""
    for file, windows in ((one, trace.counts[:40]), (two, trace.counts[40:])):
        ids = np.load(file)["topk_ids"]
        for at, counts in enumerate(windows):
            few = ids[10 * at : 10 * at + 10]
            for layer in range(2):
                assert (
                    counts[layer].tolist()
                    == np.bincount(few[:, layer].ravel(), minlength=8).tolist()
                )
    assert (trace.replicas, trace.groups, trace.nodes, trace.ranks, trace.delay) == (12, 1, 1, 4, 0)


def test_the_kind_and_its_events_are_those_that_are_written(tmp_path: Path) -> None:
    imported(tmp_path, esft(tmp_path / "a.npz"))
    rows = TraceStore(str(tmp_path / "store")).workload("moe.place").to_pylist()
    assert {(row["kind"], row["kind_version"]) for row in rows} == {
        (expert_placement.name, expert_placement.version)
    }
    for event in expert_placement.workload:
        row = next(row for row in rows if row["event"] == event.name)
        assert {name for name, _ in (*row["numbers"], *row["texts"])} == {*event.fields}


@given(st.integers(0, 50), st.integers(1, 20), st.integers(0, 2**20))
def test_windows_count_what_is_in_them(tokens: int, window: int, seed: int) -> None:
    ids = np.random.default_rng(seed).integers(0, 5, (tokens, 2, 3)).astype(np.uint8)
    found = _windows(ids, window)
    whole = tokens // window
    assert found.shape[:2] == (whole, 2)
    assert found.sum() == whole * window * 2 * 3
    for layer in range(2):
        inside = ids[: whole * window, layer].ravel()
        expected = np.bincount(inside, minlength=found.shape[2])
        assert found[:, layer].sum(axis=0).tolist() == expected.tolist()


def test_steps_of_vllm_are_summed_by_window(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).integers(0, 90, (405, 2, 8))
    path = tmp_path / "loads.json"
    path.write_text(
        json.dumps({"load_history": [{"logical_expert_load": step.tolist()} for step in steps]})
    )
    found = imported(tmp_path, path, format="eplb-json")
    assert (found.windows, found.left_over) == (40, 5)
    trace = load_trace(tmp_path / "store")
    assert isinstance(trace, LoadTrace)
    assert trace.counts.tolist() == steps[:400].reshape(40, 10, 2, 8).sum(axis=1).tolist()


def test_public_files(data: Path, tmp_path: Path) -> None:
    files = [data / "moe" / f"esft_{task}_topk_ids.npz" for task in ("intent", "law")]
    found = imported(tmp_path, *files, deployment=Deployment(slots=72, ranks=8))
    assert found == ImportedLoads("moe.place", 32, 26, 64, 32 * 512 * 26 * 6, 165)


def ids_of(values: Any) -> Any:
    return {"topk_ids": np.array(values)}


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"other": np.zeros(3)}, "no .npz file with topk_ids"),
        (ids_of([1, 2, 3]), "give whole numbers"),
        (ids_of(np.zeros((40, 2, 2))), "has topk_ids of float64"),
        (ids_of(np.zeros((40, 129, 2), np.uint8)), "with 1 to 128 layers"),
        (ids_of(np.full((40, 2, 2), 512)), "has an expert 512; there may be 0 to 511"),
        (ids_of(np.full((40, 2, 2), -1)), "has an expert -1"),
        (ids_of(np.zeros((40, 2, 0), np.uint8)), "give whole numbers"),
        (ids_of(np.zeros((9, 2, 2), np.uint8)), "has no window of 10"),
        ({"topk_ids": np.array([{}], object)}, "no .npz file with topk_ids"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, arrays: dict[str, Any], says: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    with pytest.raises(TraceError, match=says):
        imported(tmp_path, path)
    assert not (tmp_path / "store" / "workload").exists()


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    whole = esft(tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / "empty.npz", "w"):
        pass
    for name in ("text", "cut", "empty", "missing"):
        with pytest.raises(TraceError, match=r"no \.npz file with topk_ids"):
            imported(tmp_path, tmp_path / f"{name}.npz")


def steps_of(load: int) -> str:
    """Return ten steps of so much load; four of 2**62 wrap to nothing."""
    return json.dumps({"load_history": [{"logical_expert_load": [[load]]}] * 10})


def test_an_archive_that_nobody_can_open_is_refused(tmp_path: Path) -> None:
    """Encrypted, as the flag of its one member says."""
    data = bytearray(esft(tmp_path / "a.npz").read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 8] |= 1
    data[6] |= 1
    (tmp_path / "locked.npz").write_bytes(data)
    with pytest.raises(TraceError, match=r"no \.npz file with topk_ids"):
        imported(tmp_path, tmp_path / "locked.npz")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no json", "no JSON with load_history"),
        ('{"load_history": 3}', "no JSON with load_history"),
        ('{"load_history": [{}]}', "no JSON with load_history"),
        ('{"load_history": [{"logical_expert_load": [[1], [2, 3]]}]}', "no JSON with load_history"),
        ('{"load_history": [{"logical_expert_load": [[0.5]]}]}', "has loads of float64"),
        ('{"load_history": [{"logical_expert_load": [[-5]]}]}', "has a load of -5"),
        ('{"load_history": [{"logical_expert_load": [[]]}]}', "has loads of"),
        (steps_of(2**62 + 1), r"has a load of 4\.61169e\+18 in a window; loads are at most 1e"),
        (steps_of(2 * 10**11), "has a load of 2e.12 in a window"),
        ("[" * 100_000, "no JSON with load_history"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(TraceError, match=says):
        imported(tmp_path, tmp_path / "a.json", format="eplb-json")


@pytest.mark.parametrize(
    ("deployment", "says"),
    [
        (
            Deployment(slots=7, ranks=1),
            "7 slots on 1 ranks of 1 nodes do not fit 8 experts in 1 groups",
        ),
        (Deployment(slots=12, ranks=5), "do not fit"),
        (Deployment(slots=12, ranks=4, groups=3, nodes=3), "do not fit"),
        (Deployment(slots=12, ranks=3, groups=4, nodes=2), "do not fit"),
        (Deployment(slots=12, ranks=0), "has a number below its least"),
        (Deployment(slots=644, ranks=4), "has a number beyond its most"),
        (Deployment(slots=12, ranks=4, nodes=641), "ranks and nodes are at most 640"),
        (Deployment(slots=12, ranks=4, groups=513, nodes=2), "groups 512"),
        (Deployment(slots=12, ranks=4, delay=101), "and delay 100"),
        (Deployment(slots=12, ranks=4, window=0), "a window of 0 is none"),
    ],
)
def test_a_deployment_that_cannot_be_is_refused(
    tmp_path: Path, deployment: Deployment, says: str
) -> None:
    file = esft(tmp_path / "a.npz", 600)
    with pytest.raises(ConfigurationError, match=says):
        imported(tmp_path, file, deployment=deployment)


def test_files_of_two_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="the files have 2, 3 layers"):
        imported(tmp_path, esft(tmp_path / "a.npz"), esft(tmp_path / "b.npz", layers=3))


def test_a_hook_is_imported_once(tmp_path: Path) -> None:
    file = esft(tmp_path / "a.npz")
    imported(tmp_path, file)
    with pytest.raises(TraceError, match="holds a hook 'moe.place' already"):
        imported(tmp_path, file)


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no format 'pt'; choose one of esft, eplb-json"):
        imported(tmp_path, esft(tmp_path / "a.npz"), format="pt")


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["traces", "import", *words])


def test_the_command(tmp_path: Path) -> None:
    file = str(esft(tmp_path / "a.npz", 405))
    store = str(tmp_path / "store")
    where = ["--hook", "moe.place", "--out", store]
    settings = ["--set", "slots=12", "--set", "ranks=4", "--set", "window=10"]
    done = run("esft", file, *where, *settings, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["windows"] == 40
    assert len(load_trace(store)) == 39


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--set", "slots=12"], "how many ranks the deployment has; give --set ranks=8"),
        (["--set", "ranks=4"], "how many slots the deployment has; give --set slots=72"),
        (["--set", "slots=many"], "--set slots=many is no setting"),
        (["--set", "gpus=3"], "give NAME=N with one of slots, ranks, groups, nodes, delay, window"),
        ([], "how many slots and ranks the deployment has; give --set slots=72 --set ranks=8"),
    ],
)
def test_the_command_refuses_other_settings(tmp_path: Path, words: list[str], says: str) -> None:
    file = str(esft(tmp_path / "a.npz"))
    done = run("esft", file, "--hook", "h", "--out", str(tmp_path / "store"), *words)
    assert done.exit_code == 2 and says in done.stderr.replace("\n", " ")


def test_caches_still_need_what_they_need(tmp_path: Path) -> None:
    done = run("ids", "a.bin", "--hook", "h", "--out", str(tmp_path))
    assert done.exit_code == 2 and "give --capacity" in done.stderr
    done = run("ids", "a", "b", "--hook", "h", "--capacity", "3", "--out", str(tmp_path))
    assert done.exit_code == 2 and "is read from one file, not 2" in done.stderr
