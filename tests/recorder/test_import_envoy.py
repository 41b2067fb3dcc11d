"""Envoy's access logs: requests come out as decisions with their outcomes, and what is no such log is refused."""

from __future__ import annotations

import gzip
import json
import lzma
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gnomon.commands import traces as command
from gnomon.policies.load_balancer import load_balancer
from gnomon.recorder.importers import _envoy, import_envoy
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError, TraceError
from gnomon.shadow.fidelity import fidelity
from gnomon.shadow.policy import RecordedPolicy, baseline_policy
from gnomon.shadow.simulators import simulator_for
from gnomon.shadow.traces.trace import DecisionTrace, load_trace

#: The example of Envoy's documentation has these fields in this order.
LINE = (
    '[{at}Z] "{method} /api/v1/locations {protocol}" {code} {flags} 154 0 {ms} 100 "10.0.35.28" '
    '"{agent}" "cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "{host}"'
)
BEGAN_MS = 1_700_000_000_000


def line(at_ms: int, took: int | str, host: str, code: int = 200, **said: str) -> str:
    stamp = datetime.fromtimestamp((BEGAN_MS + at_ms) // 1000, UTC)
    at = f"{stamp:%Y-%m-%dT%H:%M:%S}.{(BEGAN_MS + at_ms) % 1000:03d}"
    fields = {"at": at, "method": "POST", "protocol": "HTTP/2", "flags": "-", "agent": "nsq2http"}
    return LINE.format(**fields | said, code=code, ms=took, host=host)


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def written(folder: Path, lines: list[str], name: str = "access.log") -> Path:
    content = "".join(each + "\n" for each in lines).encode()
    pack = {"gz": gzip.compress, "xz": lzma.compress, "zst": zstd}.get(
        name.rpartition(".")[2], bytes
    )
    (folder / name).write_bytes(pack(content))
    return folder / name


def decisions(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = TraceStore(folder / "traces").decisions("lb").to_pylist()
    return found


def features(row: dict[str, Any]) -> list[list[float]]:
    return np.reshape(row["features"], (row["n_items"], 5)).tolist()


@pytest.mark.parametrize("name", ["access.log", "access.log.gz", "access.log.xz", "access.log.zst"])
def test_requests_become_decisions_in_order_of_their_beginning(tmp_path: Path, name: str) -> None:
    lines = [
        line(10, 20, "b:80"),
        line(5, 100, "a:80", 503, flags="UC"),
        line(50, 60, "-", 503, flags="UH"),
        line(105, 7, "b:80", agent='odd " "quoted" "name'),
        line(110, 8, "a:80", 0, flags="DC"),
        line(120, 0, "b:80", 499),
    ]
    found = import_envoy(TraceStore(tmp_path / "traces"), written(tmp_path, lines, name), "lb")
    assert (found.requests, found.members, found.unsent) == (5, ("a:80", "b:80"), 1)
    assert (found.failures, found.span_s) == (2, 0.115)
    rows = decisions(tmp_path)
    assert [row["time"] // 10**6 - BEGAN_MS for row in rows] == [5, 10, 105, 110, 120]
    assert [row["action"] for row in rows] == [0, 1, 1, 0, 1]
    assert [dict(row["values"])["latency_ms"] for row in rows] == [100, 20, 7, 8, 0]
    assert [row["ok"] for row in rows] == [False, True, True, False, True]
    assert rows[0]["outcome_time"] // 10**6 - BEGAN_MS == 105
    seen = [features(row) for row in rows]
    gain = _envoy.GAIN
    # inflight, ewma_ms, weight, since_picked of both members; the answer of ms 105 has come by then
    assert [[member[:4] for member in row] for row in seen] == [
        [[0, 0, 1, 1], [0, 0, 1, 1]],
        [[1, 0, 1, 1], [0, 0, 1, 2]],
        [[0, 100, 1, 2], [0, 20, 1, 1]],
        [[0, 100, 1, 3], [1, 20, 1, 1]],
        [[0, 100 + gain * (8 - 100), 1, 1], [0, pytest.approx(20 + gain * (7 - 20)), 1, 2]],
    ]
    noise = [member[4] for row in seen for member in row]
    assert all(0.0 <= each < 1.0 for each in noise) and len({*noise}) == 10


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 25), st.integers(0, 3)),
        min_size=1,
        max_size=30,
    )
)
def test_features_are_those_of_a_count_by_hand(
    tmp_path_factory: pytest.TempPathFactory, requests: list[tuple[int, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    ended = sorted(requests, key=lambda each: each[0] + each[1])
    file = written(folder, [line(at, took, f"h{host}") for at, took, host in ended])
    import_envoy(TraceStore(folder / "traces"), file, "lb")
    order = sorted(ended, key=lambda each: each[0])  # stable: ties as the log has them
    names = sorted({host for _, _, host in requests})
    for at, row in enumerate(decisions(folder)):
        now, before = order[at][0], order[:at]
        for place, name in enumerate(names):
            mine = [(i, each) for i, each in enumerate(before) if each[2] == name]
            seen = features(row)[place]
            assert seen[0] == sum(begun + took > now for _, (begun, took, _) in mine)
            assert seen[3] == at - max((i for i, _ in mine), default=-1)
            answers = sorted((begun + took, i, took) for i, (begun, took, _) in mine)
            average = 0.0
            for end, _, took in answers:
                if end <= now:
                    average += (_envoy.GAIN if average else 1.0) * (took - average)
            assert seen[1] == pytest.approx(average)


# --- what is refused ------------------------------------------------------------------------------

GOOD = line(0, 5, "a:80")


@pytest.mark.parametrize(
    "wrong",
    [
        "no such line",
        GOOD[:-1],
        GOOD[: GOOD.rindex(' "')],
        GOOD.replace("HTTP/2", ""),
        GOOD.replace(" 154 ", " -154 "),
        GOOD.replace(".000Z", "Z"),
        line(0, 5, ""),
        line(0, 5, "two words"),
        "\x00" * 40,
        "[" * 2_000_000,
    ],
)
def test_a_line_of_another_format_is_named(tmp_path: Path, wrong: str) -> None:
    file = written(tmp_path, [GOOD, "", wrong])
    with pytest.raises(TraceError, match=r"line 3 of .*access\.log is none of Envoy's default"):
        import_envoy(TraceStore(tmp_path / "traces"), file, "lb")
    assert not (tmp_path / "traces").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (GOOD.replace("2023-11-14", "2023-02-30"), "time 2023-02-30T.* one of which is none"),
        (GOOD.replace("2023-11-14", "1969-02-03"), "one of which is none"),
        (line(0, "-", "a:80"), "duration -, one of which is none"),
        (line(0, "9999999999999", "a:80"), "one of which is none"),
        (line(0, 5, "a:80", 0, method="-", protocol="-"), "of a connection and not of a request"),
    ],
)
def test_values_that_are_none_are_named(tmp_path: Path, wrong: str, said: str) -> None:
    file = written(tmp_path, [GOOD, wrong])
    with pytest.raises(TraceError, match=f"line 2 of .*{said}"):
        import_envoy(TraceStore(tmp_path / "traces"), file, "lb")


def test_logs_that_hold_nothing_or_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TraceStore(tmp_path / "traces")
    with pytest.raises(TraceError, match=r"no request that reached a host \(2 did not\)"):
        import_envoy(store, written(tmp_path, [line(0, "-", "-", 404, flags="NR")] * 2), "lb")
    with pytest.raises(TraceError, match=r"no request that reached a host \(0 did not\)"):
        import_envoy(store, written(tmp_path, []), "lb")
    with pytest.raises(ConfigurationError, match="a limit of 0 requests"):
        import_envoy(store, tmp_path / "access.log", "lb", limit=0)
    cut = written(tmp_path, [GOOD] * 200, "cut.log.gz")
    cut.write_bytes(cut.read_bytes()[:-9])
    with pytest.raises(TraceError, match="cannot be read"):
        import_envoy(store, cut, "lb")
    monkeypatch.setattr(_envoy, "MOST_HOSTS", 2)
    many = written(tmp_path, [line(0, 5, f"h{host}") for host in range(3)])
    with pytest.raises(TraceError, match="more than 2 upstream hosts"):
        import_envoy(store, many, "lb")
    import_envoy(store, written(tmp_path, [GOOD]), "lb")
    with pytest.raises(TraceError, match="already"):
        import_envoy(store, tmp_path / "access.log", "lb")


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = TraceStore(tmp_path / "traces")
    file = written(tmp_path, [line(at, 5, "a:80") for at in range(30)])
    monkeypatch.setattr(_envoy, "_CELLS", 50)  # ten decisions a file

    def interrupted(said: str) -> None:
        if said.startswith("20 "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_envoy(store, file, "lb", progress=interrupted)
    assert not list((tmp_path / "traces").rglob("*.parquet"))
    assert import_envoy(store, file, "lb", limit=25).requests == 25
    assert [row["action"] for row in decisions(tmp_path)] == [0] * 25


# --- a log of known servers -----------------------------------------------------------------------


class Played(NamedTuple):
    """Requests as they happened: seconds, seconds, member, and what was in flight at each member."""

    began: list[float]
    took: list[float]
    member: list[int]
    inflight: list[list[int]]


def play(means: tuple[float, ...], slots: int, rate: float, seconds: float, seed: int) -> Played:
    """Play Poisson arrivals through the shortest queue to FIFO servers of so many slots."""
    rng = random.Random(seed)
    free = [[0.0] * slots for _ in means]
    open_until: list[list[float]] = [[] for _ in means]
    played, now = Played([], [], [], []), 0.0
    while (now := now + rng.expovariate(rate)) < seconds:
        open_until = [[end for end in ends if end > now] for ends in open_until]
        queues = [len(ends) for ends in open_until]
        member = min(range(len(means)), key=lambda each: (queues[each], rng.random()))
        begin = max(now, min(free[member]))
        end = begin + means[member] * rng.lognormvariate(-0.08, 0.4)
        free[member][free[member].index(min(free[member]))] = end
        open_until[member].append(end)
        for column, value in zip(played, (now, end - now, member, queues), strict=True):
            column.append(value)
    return played


@pytest.fixture(scope="module")
def played() -> Played:
    return play((0.02, 0.03, 0.045), slots=2, rate=110.0, seconds=40.0, seed=3)


@pytest.fixture(scope="module")
def imported(played: Played, tmp_path_factory: pytest.TempPathFactory) -> DecisionTrace:
    folder = tmp_path_factory.mktemp("played")
    rows = [
        (int(began * 1e3), int(took * 1e3), f"10.0.0.{member + 1}:8080")
        for began, took, member, _ in zip(*played, strict=True)
    ]
    ended = sorted(rows, key=lambda row: row[0] + row[1])
    file = written(folder, [line(*row) for row in ended])
    import_envoy(TraceStore(folder / "traces"), file, "lb")
    found = load_trace(folder / "traces", "lb")
    assert isinstance(found, DecisionTrace)
    return found


def test_what_was_played_is_read_back(played: Played, imported: DecisionTrace) -> None:
    assert imported.members == tuple(f"10.0.0.{at}:8080" for at in (1, 2, 3))
    assert len(imported) == len(played.began)
    assert 0.0 <= 1e3 * np.mean(played.took) - imported.outcome.mean() <= 1.0
    same = (imported.features[:, :, 0] == np.array(played.inflight)).all(1)
    assert same.mean() > 0.8  # but for what began and ended within one millisecond


def test_the_balancer_of_a_log_is_reproduced(imported: DecisionTrace) -> None:
    simulator = simulator_for(load_balancer)
    fitted = simulator.calibrate(imported)
    assert fitted.ewma_rule[0] == pytest.approx(_envoy.GAIN, abs=0.01)
    for policy in (RecordedPolicy(), baseline_policy("least_outstanding", load_balancer)):
        found = fidelity(imported, policy, simulator, fitted, replicas=5)
        assert found.answer == "ok", [row for row in found.rows if row.answer != "ok"]
    other = fidelity(imported, baseline_policy("round_robin", load_balancer), simulator, fitted)
    assert other.answer == "beyond tolerance"


# --- the command ----------------------------------------------------------------------------------


def run(*words: object) -> Any:
    app = typer.Typer()
    command.register(app)
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_imports_and_says_what_was_left_out(tmp_path: Path) -> None:
    lines = [line(at, 5, "a:80") for at in range(4)] + [line(9, 0, "-", 503, flags="UH")]
    words = ("traces", "import", "envoy", written(tmp_path, lines), "--out", tmp_path / "traces")
    done = run(*words, "--hook", "lb", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["requests"], said["members"], said["unsent"]) == (4, ["a:80"], 1)
    shown = " ".join(run(*words, "--hook", "other").stdout.split())
    assert "4 requests to 1 hosts over 0.003 s as hook other" in shown
    assert "1 requests reached no host and are left out" in shown


@pytest.mark.parametrize("words", [("--set", "count=3"), ("--capacity", "3"), ("--ignore-size",)])
def test_the_command_refuses_what_says_nothing_of_a_log(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = written(tmp_path, [GOOD])
    done = run("traces", "import", "envoy", file, "--hook", "lb", "--out", tmp_path / "t", *words)
    assert (done.exit_code, "leave it out" in " ".join(done.stderr.split())) == (2, True)
