"""Mooncake traces: what is in a file comes out as requests, and what is no such file is said to be none."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gnomon.commands import traces as command
from gnomon.recorder.importers import REPLICAS, import_mooncake
from gnomon.recorder.importers._mooncake import packed
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError, TraceError
from gnomon.shadow.simulators.llm_router.simulator import PromptTrace
from gnomon.shadow.traces.prompt_trace import SETTINGS, _hashes
from gnomon.shadow.traces.trace import load_trace


def line(time: float = 0, tokens: float = 600, output: float = 3, hashes: Any = (1, 2)) -> str:
    request = {
        "timestamp": time,
        "input_length": tokens,
        "output_length": output,
        "hash_ids": list(hashes) if isinstance(hashes, tuple) else hashes,
    }
    return json.dumps(request) + "\n"


def many(n: int = 250) -> str:
    return "".join(line(10 * k, 1 + k, k % 5, (k // 3, 1000 + k)) for k in range(n))


def written(folder: Path, content: str | bytes, name: str = "trace.jsonl") -> Path:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def loaded(folder: Path) -> PromptTrace:
    trace = load_trace(folder / "traces", "llm.pick")
    assert isinstance(trace, PromptTrace)
    return trace


@given(st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 9), max_size=30))
def test_hashes_survive_packing(hashes: list[int]) -> None:
    assert _hashes(packed(tuple(hashes)), "h").tolist() == hashes


def test_runs_of_hashes_are_packed() -> None:
    assert packed((17, 18, 19, 40, 3, 4)) == "17+3,40,3+2"
    assert packed(()) == ""


@pytest.mark.parametrize("name", ["trace.jsonl", "trace.jsonl.gz"])
def test_requests_come_out_as_they_were(tmp_path: Path, name: str) -> None:
    content = many().encode()
    file = written(tmp_path, gzip.compress(content) if name.endswith(".gz") else content, name)
    store = TraceStore(tmp_path / "traces")
    found = import_mooncake(store, file, "llm.pick", {"count": "3"})
    assert (found.requests, found.blocks, found.turned_back) == (250, 500, 0)
    assert found.span_s == pytest.approx(2.49)
    trace = loaded(tmp_path)
    assert trace.members == ("replica-0", "replica-1", "replica-2")
    assert trace.replicas == dict(REPLICAS) | {"count": 3.0}
    assert tuple(REPLICAS) == SETTINGS
    assert trace.at == pytest.approx(np.arange(250) * 0.01)
    assert trace.tokens.tolist() == list(range(1, 251))
    assert trace.output.tolist() == [k % 5 for k in range(250)]
    assert trace.high.tolist() == list(range(2, 502, 2))
    shared = trace.block[::2]
    assert [shared[k] == shared[k - 1] for k in range(1, 250)] == [
        k % 3 != 0 for k in range(1, 250)
    ]


def test_equal_times_keep_their_order_and_those_that_go_back_are_counted(tmp_path: Path) -> None:
    lines = [line(5, 100 + k, 1, (k,)) for k in range(200)]
    lines[100] = line(1, 7, 1, (9,))
    found = import_mooncake(
        TraceStore(tmp_path / "traces"), written(tmp_path, "".join(lines)), "llm.pick"
    )
    assert found.turned_back == 1
    trace = loaded(tmp_path)
    assert (np.diff(trace.at) >= 0.0).all()
    assert trace.tokens[:101].tolist() == [*range(100, 200), 7]


def test_a_limit_and_prompts_without_blocks(tmp_path: Path) -> None:
    content = "".join(line(k, 10, 0, ()) for k in range(300))
    store = TraceStore(tmp_path / "traces")
    assert import_mooncake(store, written(tmp_path, content), "llm.pick", limit=220).requests == 220
    trace = loaded(tmp_path)
    assert len(trace) == 220
    assert len(trace.block) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no requests"),
        ("not json\n", "line 1 .* is no request"),
        ("[1]\n", "line 1 .* is no request"),
        (line() + '{"timestamp": 1}\n', "line 2 .*input_length"),
        (line(hashes=["a"]), "one of which is none"),
        (line(hashes=(-1,)), "one of which is none"),
        (line(hashes=(2**63,)), "one of which is none"),
        (line(hashes=7), "one of which is none"),
        (line(tokens=0), "0 tokens of prompt"),
        (line(output=-1), "-1 of answer"),
        (line(time=-5), "timestamp -5"),
        (b"\xff\xfe\n", "cannot be read"),
    ],
)
def test_what_is_no_request_is_refused_and_nothing_stays(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    store = TraceStore(tmp_path / "traces")
    with pytest.raises(TraceError, match=message):
        import_mooncake(store, written(tmp_path, content), "llm.pick")
    assert not list((tmp_path / "traces").rglob("*.parquet"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replicas": "3"}, "no setting of replicas"),
        ({"count": "0"}, "whole number above 0"),
        ({"count": "2.5"}, "whole number above 0"),
        ({"decode_ms": "fast"}, "number above 0"),
        ({"prefill_tokens_per_s": "-1"}, "number above 0"),
        ({"slots": "inf"}, "whole number above 0"),
    ],
)
def test_settings_that_are_none_are_refused(
    tmp_path: Path, settings: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        import_mooncake(TraceStore(tmp_path / "t"), written(tmp_path, many()), "llm.pick", settings)
    with pytest.raises(ConfigurationError, match="give 1 or more"):
        import_mooncake(TraceStore(tmp_path / "t"), tmp_path / "x", "llm.pick", limit=0)


def test_too_few_requests_and_a_hook_that_exists_are_refused(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "traces")
    import_mooncake(store, written(tmp_path, many(20)), "llm.pick")
    with pytest.raises(TraceError, match="20 requests, too little"):
        loaded(tmp_path)
    with pytest.raises(TraceError, match="already"):
        import_mooncake(store, tmp_path / "trace.jsonl", "llm.pick")


def run(*words: object) -> Any:
    app = typer.Typer()
    command.register(app)
    app.command("other")(lambda: None)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_imports_and_says_what_for(tmp_path: Path) -> None:
    file, out = written(tmp_path, many()), tmp_path / "traces"
    done = run(
        "traces", "import", "mooncake", file, "--hook", "llm.pick", "--out", out,
        "--set", "count=4", "--set", "decode_ms=20", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["requests"] == 250
    assert (said["replicas"]["count"], said["replicas"]["decode_ms"]) == (4.0, 20.0)
    again = run("traces", "import", "mooncake", file, "--hook", "other", "--out", out)
    assert "250 requests of 500 blocks over 2.490 s as hook other" in " ".join(again.stdout.split())


@pytest.mark.parametrize(
    "words", [("mooncake", "--set", "count"), ("ids",), ("mooncake", "--set", "count=none")]
)
def test_the_command_refuses_settings_that_are_none(tmp_path: Path, words: tuple[str, ...]) -> None:
    form, *rest = words
    done = run(
        "traces", "import", form, written(tmp_path, many()), "--hook", "h", *rest, "--out", tmp_path
    )
    assert done.exit_code == 2


def test_the_public_trace_is_imported(data: Path, tmp_path: Path) -> None:
    file = data / "llm" / "mooncake_synthetic_trace.jsonl.gz"
    store = TraceStore(tmp_path / "traces")
    found = import_mooncake(store, file, "llm.pick", limit=1000)
    assert (found.requests, found.turned_back) == (1000, 0)
    trace = loaded(tmp_path)
    assert np.diff(trace.high, prepend=0).max() * 512 >= trace.tokens.max() - 512


def test_more_replicas_than_a_replay_holds_are_refused(tmp_path: Path) -> None:
    store = TraceStore(tmp_path / "traces")
    import_mooncake(store, written(tmp_path, many()), "llm.pick", {"count": "1000000"})
    with pytest.raises(TraceError, match=r"count=1e\+06 replicas; a replay holds 4096 at most"):
        loaded(tmp_path)
