"""Public formats: what an importer takes is a trace that can be loaded, and anything else is refused in one line.

The first byte names the format, the second the compression; the rest is the file.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np

from gnomon.recorder.importers import (
    Columns,
    Deployment,
    JobRequest,
    Request,
    RequestImport,
    import_envoy,
    import_jobs,
    import_loads,
    import_mooncake,
    import_requests,
    import_trace,
)
from gnomon.recorder.store import TraceStore
from gnomon.sdk.errors import ConfigurationError, TraceError
from gnomon.shadow.traces.trace import load_trace

from . import mutate as _mutate

HOOK = "some.hook"
Take = Callable[[TraceStore, Path], object]


def _accesses(form: str) -> Take:
    columns = Columns("key", "time", "size")
    return lambda store, file: import_trace(
        store, Request(form, file, HOOK, "50%", columns=columns)
    )


def _requests(form: str) -> Take:
    return lambda store, file: import_requests(store, RequestImport(form, file, HOOK))


def _loads(form: str) -> Take:
    deployment = Deployment(slots=4, ranks=2, window=2)
    return lambda store, file: import_loads(store, form, [file], HOOK, deployment)


FORMATS: tuple[tuple[str, Take], ...] = (
    *((form, _accesses(form)) for form in ("oracleGeneral", "arc", "ids", "csv")),
    ("mooncake", lambda store, file: import_mooncake(store, file, HOOK)),
    *((form, _requests(form)) for form in ("azure-llm", "vllm-requests", "burstgpt")),
    ("envoy", lambda store, file: import_envoy(store, file, HOOK)),
    ("swf", lambda store, file: import_jobs(store, JobRequest(file, HOOK))),
    *((form, _loads(form)) for form in ("esft", "eplb-json")),
)
SUFFIXES = ("", ".gz", ".xz", ".zst")
_TEXTS = {"arc", "csv", "azure-llm", "envoy", "swf"}
_LINES = {"mooncake", "vllm-requests"}


def TestOneInput(data: bytes) -> None:
    if len(data) < 2:
        return
    _, take = FORMATS[data[0] % len(FORMATS)]
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / f"trace{SUFFIXES[data[1] % len(SUFFIXES)]}"
        file.write_bytes(data[2:])
        store = TraceStore(Path(name) / "traces")
        try:
            take(store, file)
        except (TraceError, ConfigurationError) as error:
            assert "\n" not in str(error), error
            assert not list((Path(name) / "traces").rglob("*.parquet")), "half an import is left"
            return
        try:
            assert len(load_trace(Path(name) / "traces", HOOK)) > 0
        except TraceError as error:
            assert "\n" not in str(error), error


def _packed(content: bytes, suffix: int) -> bytes:
    if suffix == 1:
        return gzip.compress(content, mtime=0)
    return lzma.compress(content) if suffix == 2 else content


def _examples() -> Iterator[tuple[str, bytes]]:
    rows = [(100, 7, 512, 2), (100, 8, 4096, -1), (103, 7, 512, -1)]
    yield "oracleGeneral", b"".join(struct.pack("<IQIq", *row) for row in rows)
    yield "arc", b"10 3 0 1\n7 1 0 2\n"
    yield "ids", struct.pack(">4I", 1, 2, 1, 2**32 - 1)
    yield "csv", b"time,key,size,more\n1,a,10,x\n2.5,17,20,y\n2,a,,z\n"
    request = {"timestamp": 5, "input_length": 600, "output_length": 3, "hash_ids": [1, 2, 40]}
    yield (
        "mooncake",
        b"".join(json.dumps(request | {"timestamp": at}).encode() + b"\n" for at in (0, 7)),
    )
    yield (
        "azure-llm",
        (
            b"TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:50.9951690,396,109\r\n"
            b"2023-11-16 18:15:46.6805900,374,44\r\n"
        ),
    )
    served = {
        "input_toks": 100, "output_toks": 10, "arrival_time": 1.7e9, "queued_ts": 50.0,
        "scheduled_ts": 50.2, "first_token_ts": 50.5, "last_token_ts": 51.0,
    }  # fmt: skip
    yield (
        "vllm-requests",
        "\n".join(json.dumps(served | {"arrival_time": 1.7e9 + at}) for at in (0, 1)).encode(),
    )
    asked = {
        "record_time": 100.0, "in_len": 20, "out_len": 300, "out_len_expected": 100,
        "first_chunk_time": 0.2, "total_chunk_time": 1.5,
    }  # fmt: skip
    yield "burstgpt", json.dumps({"0": asked, "1": asked | {"record_time": 101.0}}).encode()
    line = (
        '[2023-11-14T22:13:20.{at}Z] "POST /api HTTP/2" 200 - 154 0 {ms} 100 "10.0.35.28" "nsq2http" '
        '"cc21d9b0-cf5c-432b-8c7e-98aeb7988cd2" "locations" "{host}"\n'
    )
    hosts = (("010", 20, "b:80"), ("020", 7, "a:80"), ("030", 9, "-"))
    yield "envoy", "".join(line.format(at=at, ms=ms, host=host) for at, ms, host in hosts).encode()
    job = "1 {at} 0 5 1 -1 -1 1 10 -1 1 3 1 -1 1 -1 -1 -1\n"
    yield (
        "swf",
        (
            "; UnixStartTime: 1000000000\n;MaxProcs: 4\n" + job.format(at=0) + job.format(at=9)
        ).encode(),
    )
    archive = io.BytesIO()
    np.savez_compressed(archive, topk_ids=np.arange(16).reshape(4, 2, 2) % 4)
    yield "esft", archive.getvalue()
    loads = [{"logical_expert_load": [[1, 2, 3, 4], [4, 3, 2, 1]]}] * 4
    yield "eplb-json", json.dumps({"load_history": loads}).encode()


def seeds() -> Iterator[bytes]:
    names = [name for name, _ in FORMATS]
    for name, content in _examples():
        for suffix in (0, 1, 2) if name in ("csv", "swf") else (0,):
            yield bytes([names.index(name), suffix]) + _packed(content, suffix)


def mutate(data: bytes, random: Random) -> bytes:
    if len(data) < 3:
        return data + b"\0"
    name, content = FORMATS[data[0] % len(FORMATS)][0], _unpacked(data[2:], data[1])
    if name in _TEXTS:
        text = _mutate.source(content.decode("latin-1"), random)
        content = text.encode("latin-1", "replace")
    elif name in _LINES:
        lines = content.split(b"\n")
        at = random.randrange(len(lines))
        lines[at] = _mutate.json_bytes(lines[at], random)
        content = b"\n".join(lines)
    elif name in ("burstgpt", "eplb-json"):
        content = _mutate.json_bytes(content, random)
    elif content:
        changed = bytearray(content)
        changed[random.randrange(len(changed))] = random.choice((0, 1, 127, 128, 255))
        content = bytes(changed)
    return data[:2] + _packed(content, data[1] % len(SUFFIXES))


def _unpacked(content: bytes, suffix: int) -> bytes:
    try:
        if suffix % len(SUFFIXES) == 1:
            return zlib.decompressobj(31).decompress(content, 1 << 16)
        if suffix % len(SUFFIXES) == 2:
            return lzma.LZMADecompressor().decompress(content, 1 << 16)
    except (zlib.error, lzma.LZMAError, EOFError):
        pass
    return content
