"""Importers of requests: what is in a public file comes out as arrivals and measurements, or is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from gnomon.commands import traces as command
from gnomon.policies.llm_scheduler import llm_scheduler
from gnomon.recorder.importers import (
    REQUESTS,
    ImportedRequests,
    RequestImport,
    import_requests,
)
from gnomon.recorder.importers._requests import _KIND, SETTINGS
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError, TraceError
from gnomon.shadow.traces.trace import load_trace

AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:15:50.9951690,396,109\r\n"
    "2023-11-16 18:15:46.6805900,374,44\r\n"
    "2023-11-16 18:15:51.2224670,879,0\r\n"
)


def taken(folder: Path, form: str, name: str, content: bytes, **request: Any) -> ImportedRequests:
    """Import a file of this content into the store ``traces``."""
    (folder / name).write_bytes(content)
    given: dict[str, Any] = {"hook": "llm.admit"} | request
    return import_requests(
        TraceStore(folder / "traces"), RequestImport(form, folder / name, **given)
    )


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the fields of the stored events of one name, in order of time."""
    rows = TraceStore(folder / "traces").workload("llm.admit").to_pylist()
    return [
        dict(row["numbers"] or ()) | dict(row["texts"] or ())
        for row in rows
        if row["event"] == name
    ]


def vllm(n: int = 3) -> bytes:
    """Return n requests: queued at the earliest when they arrive, on another clock."""
    rows = [
        {
            "request_id": f"bench-{at}", "input_toks": 100 + at, "output_toks": 10 + at,
            "arrival_time": 1_700_000_000.0 + at, "queued_ts": 50.0 + at + 0.1 * (at > 0),
            "scheduled_ts": 50.2 + at, "first_token_ts": 50.5 + at, "last_token_ts": 51.0 + at,
        }
        for at in range(n)
    ]  # fmt: skip
    return "\n".join(map(json.dumps, rows)).encode()


def test_the_names_of_the_kind_are_those_of_the_contract() -> None:
    assert _KIND == (llm_scheduler.name, llm_scheduler.version)
    fields = {each.name: each.fields for each in llm_scheduler.workload}
    assert fields["engine"] == SETTINGS


def test_azure_requests_are_put_in_order_and_counted(tmp_path: Path) -> None:
    found = taken(tmp_path, "azure-llm", "t.csv.gz", gzip.compress(AZURE.encode()))
    assert (found.requests, found.measured, found.resized, found.turned_back) == (3, 0, 1, 1)
    assert found.span_s == pytest.approx(4.541877)
    arrivals = events(tmp_path, "arrival")
    assert [row["prompt_tokens"] for row in arrivals] == [374.0, 396.0, 879.0]
    assert [row["answered_tokens"] for row in arrivals] == [44.0, 109.0, 1.0]
    told = [row["output_tokens"] for row in arrivals]
    assert told == pytest.approx([154 / 3] * 3)  # nobody predicts
    assert events(tmp_path, "served") == []
    assert events(tmp_path, "engine") == [dict.fromkeys(SETTINGS, 0.0)]


def test_exact_lengths_are_told_where_they_are_asked_for(tmp_path: Path) -> None:
    taken(tmp_path, "azure-llm", "t.csv", AZURE.encode(), expected="exact", limit=2)
    assert [row["output_tokens"] for row in events(tmp_path, "arrival")] == [44.0, 109.0]


def test_vllm_requests_are_measured_on_the_clock_of_their_arrivals(tmp_path: Path) -> None:
    meta = {
        "engine_kwargs": {"max_num_seqs": 128, "max_num_batched_tokens": 2048},
        "kv_cache": {"num_gpu_blocks": 2588, "block_size": 16},
        "resolved_config": {"scheduler_config": {"async_scheduling": True}},
    }
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    found = taken(tmp_path, "vllm-requests", "requests.jsonl", vllm(), settings={"kv_blocks": 99})
    assert found.settings == dict(zip(SETTINGS, (2048, 128, 99, 16, 2), strict=True))
    served = events(tmp_path, "served")
    assert [row["queue_ms"] for row in served] == pytest.approx([200.0] * 3, abs=1e-3)
    assert [row["ttft_ms"] for row in served] == pytest.approx([500.0] * 3, abs=1e-3)
    assert [row["latency_ms"] for row in served] == pytest.approx([1000.0] * 3, abs=1e-3)


def test_what_was_stored_is_read_as_a_trace(tmp_path: Path) -> None:
    taken(tmp_path, "vllm-requests", "requests.jsonl", vllm(250), expected="exact")
    trace: Any = load_trace(tmp_path / "traces")
    assert (len(trace), trace.recorded, trace.engine) == (250, True, (0,) * 5)
    assert trace.prompt.tolist() == list(range(100, 350))
    assert trace.admitted - trace.arrival == pytest.approx(np.full(250, 0.2), abs=1e-6)
    assert trace.outcome == pytest.approx(np.full(250, 1000.0), abs=1e-3)
    assert np.isinf(trace.due).all()


def test_burstgpt_answers_of_one_chunk_have_one_token(tmp_path: Path) -> None:
    row = {"out_len_expected": 1024, "in_len": 100, "record_time": 10.0}
    log = {
        "0": row | {"out_len": 400, "first_chunk_time": 0.04, "total_chunk_time": 0.042},
        "1": row | {"out_len": 960, "first_chunk_time": 0.1, "total_chunk_time": 3.0},
        "2": row | {"out_len": 99_999, "first_chunk_time": 0.1, "total_chunk_time": 9.0},
    }
    found = taken(tmp_path, "burstgpt", "log.json", json.dumps(log).encode())
    assert (found.requests, found.measured) == (3, 3)
    arrivals = events(tmp_path, "arrival")  # in order of arrival: the longest began first
    assert [row["answered_tokens"] for row in arrivals] == [1024.0, 100.0, 1.0]
    assert {row["queue_ms"] for row in events(tmp_path, "served")} == {-1.0}


BROKEN: dict[str, tuple[str, bytes]] = {
    "no columns": ("azure-llm", b"time,in,out\n1,2,3\n"),
    "a short line": ("azure-llm", AZURE.encode() + b"2023-11-16 18:15:52,1\n"),
    "no time": ("azure-llm", b"TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n"),
    "no number": ("azure-llm", b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16,x,2\n"),
    "no json": ("vllm-requests", b"{"),
    "other json": ("vllm-requests", b'{"a": 1}\n'),
    "a list": ("burstgpt", b"[1, 2]"),
    "no such field": ("burstgpt", b'{"0": {"in_len": 3}}'),
    "no text": ("burstgpt", b"\xff\xfe\x00"),
    "empty": ("azure-llm", b""),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_of_another_format_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    form, content = BROKEN[case]
    with pytest.raises(TraceError) as refused:
        taken(tmp_path, form, "file", content)
    assert "file cannot be read" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "traces").exists()


def test_a_file_without_requests_and_a_hook_that_exists_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="holds no requests"):
        taken(tmp_path, "azure-llm", "t.csv", AZURE.split("\r\n", maxsplit=1)[0].encode())
    taken(tmp_path, "azure-llm", "t.csv", AZURE.encode())
    with pytest.raises(TraceError, match="holds a hook 'llm.admit' already"):
        taken(tmp_path, "azure-llm", "t.csv", AZURE.encode())
    nowhere = RequestImport("azure-llm", tmp_path / "none.csv", "other")
    with pytest.raises(TraceError, match="no file"):
        import_requests(TraceStore(tmp_path / "traces"), nowhere)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"format": "other"}, "no format 'other'"),
        ({"limit": 0}, "a limit of 0 requests"),
        ({"settings": {"seats": 4}}, "seats=4 is no setting"),
        ({"settings": {"kv_blocks": -1}}, "kv_blocks=-1 is no setting"),
        ({"expected": "soon"}, "expected='soon'"),
        ({"hook": "no good"}, "hook name 'no good'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, given: dict[str, Any], message: str
) -> None:
    request = {"format": "azure-llm", "file": tmp_path / "t.csv", "hook": "llm.admit"} | given
    with pytest.raises(ConfigurationError, match=message):
        import_requests(TraceStore(tmp_path / "traces"), RequestImport(**request))


def run(*words: object) -> Any:
    app = typer.Typer()
    command.register(app)
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_imports_and_says_what_it_came_to(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(AZURE)
    words = ("traces", "import", "azure-llm", tmp_path / "t.csv", "--hook", "llm.admit")
    ran = run(*words, "--out", tmp_path / "one", "--set", "max_num_seqs=4", "--json")
    assert ran.exit_code == 0, ran.output
    said = json.loads(ran.stdout)
    assert (said["requests"], said["settings"]["max_num_seqs"]) == (3, 4)
    shown = run(*words, "--out", tmp_path / "two").stdout
    assert "3 requests over 4.542 s" in shown
    assert "1 prompts or answers of no token count as 1" in shown
    bad = run(*words, "--out", tmp_path / "three", "--set", "much")
    assert (bad.exit_code, "much is no setting of an LLM server" in bad.output) == (2, True)
    cache = run("traces", "import", "csv", *words[3:], "--out", tmp_path / "four")
    assert (cache.exit_code, "is a trace of a cache, which has a capacity" in cache.output) == (
        2,
        True,
    )


def test_every_format_reads_the_public_files(data: Path) -> None:
    files = {
        "azure-llm": (data / "llm" / "AzureLLMInferenceTrace_conv.csv.gz", 19_366),
        "vllm-requests": (
            data / "llm/llmservingsim_vllm/RTX4090__Llama-3.1-8B/requests.jsonl", 300,
        ),
        "burstgpt": (
            data / "llm/burstgpt_vllm_logs/detail_log_scale100_prompt500.json.gz", 500,
        ),
    }  # fmt: skip
    assert set(files) == set(REQUESTS)
    for form, (file, count) in files.items():
        found = REQUESTS[form](file)
        assert len(found.arrival) == count
        assert (found.prompt >= 1).all()
