"""A service's own LoggerProvider gets the very events that our OTLP encoding holds, and is accounted for."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry._logs import NoOpLoggerProvider
from opentelemetry._logs._internal import ProxyLoggerProvider
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.sdk import _logs as sdk_logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

import gnomon
from gnomon.recorder.decode import decode
from gnomon.sdk.configure import configure
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.records import Record
from gnomon.sdk.runtime import RUNTIME
from gnomon.sdk.telemetry import LoggerProviderSink, OtlpSink
from gnomon.sdk.telemetry.encode import Encoder, request, resource

from ..fakes import FakeHook, accesses, decision, outcome, records, texts


class Kept:
    """An exporter that keeps what it is given."""

    def __init__(self) -> None:
        self.logs: list[Any] = []
        self.shut = False

    def export(self, batch: Any) -> Any:
        self.logs.extend(batch)

    def shutdown(self) -> None:
        self.shut = True


def provided(exporter: Any) -> LoggerProvider:
    provider = LoggerProvider(Resource({"service.name": "router"}), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    return provider


def through_sdk(hook: FakeHook, items: list[Record]) -> ExportLogsServiceRequest:
    """Return the request that the OpenTelemetry SDK's own encoder makes of our events."""
    kept = Kept()
    sink = LoggerProviderSink(provided(kept))
    sink.write(hook, items)
    account = sink.account()
    assert account.acknowledged == account.recorded
    message: ExportLogsServiceRequest = encode_logs(kept.logs)
    return message


def plain(message: ExportLogsServiceRequest) -> list[Any]:
    """Return every log record without what the SDK adds; attributes sorted, as they are a map.

    It always sets an observed time, and a body, which is empty.
    """
    found = []
    for resource_logs in message.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            assert scope_logs.scope.name == "gnomon"
            for log in scope_logs.log_records:
                assert log.body.WhichOneof("value") is None
                log.ClearField("body")
                log.ClearField("observed_time_unix_nano")
                pairs = sorted(log.attributes, key=lambda pair: str(pair.key))
                del log.attributes[:]
                log.attributes.extend(pairs)
                found.append(log.SerializeToString(deterministic=True))
    return found


@given(st.lists(records, max_size=6), texts.filter(bool))
def test_both_ways_give_equal_log_records(items: list[Record], name: str) -> None:
    """Apart from the resource and the scope's batch id."""
    hook = FakeHook(name=name)
    encoder = Encoder(hook)
    ours = request(resource({}), map(encoder.encode, items), b"b" * 16)
    assert plain(through_sdk(hook, items)) == plain(ExportLogsServiceRequest.FromString(ours))


def test_ill_formed_text_is_replaced_in_both_alike() -> None:
    items: list[Record] = [decision(0, unit="a\ud800b")]
    encoder = Encoder(FakeHook())
    ours = request(resource({}), map(encoder.encode, items), b"")
    assert plain(through_sdk(FakeHook(), items)) == plain(ExportLogsServiceRequest.FromString(ours))


def test_the_recorder_reads_what_the_sdk_wrote() -> None:
    made = decision(3, trace_id=5, span_id=6, detail="fault", epoch=4, unit="ü")
    items: list[Record] = [made, outcome(made), accesses(0, 50)]
    (batch,) = decode(through_sdk(FakeHook(), items).SerializeToString()).batches
    ((source, back),) = batch.records.items()
    assert (source.service, source.process, source.hook) == (
        "router",
        FakeHook().process_id,
        "router.pick",
    )
    assert back == items


def test_a_large_batch_is_cut_and_every_event_counted() -> None:
    kept = Kept()
    sink = LoggerProviderSink(provided(kept))
    sink.write(FakeHook(), [accesses(0, 70_000)])
    assert sink.account().acknowledged == 70_000
    sizes = [log.log_record.attributes["gnomon.workload.count"] for log in kept.logs]
    assert sum(sizes) == 70_000
    assert max(sizes) <= 65_536


def test_a_span_of_whoever_drains_is_no_matter() -> None:
    kept = Kept()
    sink = LoggerProviderSink(provided(kept))
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
    with tracer.start_as_current_span("flushing"):
        sink.write(FakeHook(), [decision(0), decision(1, trace_id=7, span_id=8)])
    ids = [(log.log_record.trace_id, log.log_record.span_id) for log in kept.logs]
    assert ids == [(0, 0), (7, 8)]


@pytest.mark.parametrize("bad", [{"features": ("x",)}, {"unit": 3}, {"time_ns": "now"}])
def test_a_record_that_cannot_be_encoded_costs_only_itself(bad: dict[str, Any]) -> None:
    kept = Kept()
    sink = LoggerProviderSink(provided(kept))
    sink.write(FakeHook(), [decision(0), decision(1, **bad), decision(2)])
    broken = accesses(2, 9)._replace(times=b"short")
    sink.write(FakeHook(), [broken, *[accesses(0, 4)]])
    account = sink.account()
    assert (account.acknowledged, dict(account.reasons)) == (6, {"not encodable": 1})
    assert len(kept.logs) == 3


@pytest.mark.parametrize("provider", [NoOpLoggerProvider(), ProxyLoggerProvider()])
def test_a_provider_that_is_off_takes_nothing(provider: Any) -> None:
    sink = LoggerProviderSink(provider)
    sink.write(FakeHook(), [decision(0)])
    sink.close(0.1)
    assert dict(sink.account().reasons) == {"provider off": 1}


def test_a_disabled_sdk_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    sink = LoggerProviderSink(provided(Kept()))
    sink.write(FakeHook(), [decision(0)])
    assert dict(sink.account().reasons) == {"provider off": 1}


def test_what_a_processor_raises_is_unknown_and_hurts_nobody() -> None:
    class Raises(sdk_logs.LogRecordProcessor):
        def on_emit(self, log_record: Any) -> None:
            raise RuntimeError("no")

        def shutdown(self) -> None: ...

        def force_flush(self, timeout_millis: int = 0) -> bool:
            raise RuntimeError("nor this")

    kept = Kept()
    provider = provided(kept)
    provider.add_log_record_processor(Raises())
    sink = LoggerProviderSink(provider)
    sink.write(FakeHook(), [decision(0), decision(1)])
    sink.close(5.0)
    account = sink.account()
    assert (account.unknown, account.pending, len(kept.logs)) == (2, 0, 2)


class Stuck:
    """A provider whose flush never comes back, whatever time it is given."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.flushes = 0
        self._inner = provided(Kept())

    def get_logger(self, name: str) -> Any:
        return self._inner.get_logger(name)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        self.flushes += 1
        return self.release.wait(60)


def test_a_flush_that_ignores_its_time_out_is_left_behind() -> None:
    stuck = Stuck()
    sink = LoggerProviderSink(stuck)
    sink.flush(0.01)
    assert stuck.flushes == 0  # nothing was written
    sink.write(FakeHook(), [decision(0)])
    sink.flush(0.01)
    sink.write(FakeHook(), [decision(1)])
    sink.flush(0.01)  # waits for the first, and starts no other
    sink.close(0.01)
    assert stuck.flushes == 1
    stuck.release.set()


def test_the_provider_is_flushed_and_never_shut_down() -> None:
    kept = Kept()
    sink = LoggerProviderSink(provided(kept))
    sink.write(FakeHook(), [decision(0)])
    sink.close(5.0)
    sink.write(FakeHook(), [decision(1)])
    assert not kept.shut
    assert (sink.account().acknowledged, dict(sink.account().reasons)) == (1, {"closed": 1})


def test_something_else_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="has no get_logger; pass an OpenTelemetry"):
        LoggerProviderSink(object())  # type: ignore[arg-type]


def test_configure_takes_one_way_of_opentelemetry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RUNTIME, "hooks", {})
    provider = provided(Kept())
    with pytest.raises(ConfigurationError, match="sent twice; give one of them"):
        configure(otlp_endpoint="http://c:4317", logger_provider=provider)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    try:
        gnomon.configure(service="s", logger_provider=provider)
        assert list(gnomon.accounts()) == ["logger_provider"]
    finally:
        gnomon.shutdown()


_EXITING = """
import sys, gnomon
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

class ToFile:
    def export(self, batch):
        with open(sys.argv[1], "a") as file:
            file.writelines(f"{log.log_record.event_name}\\n" for log in batch)
    def shutdown(self): ...
    def force_flush(self, timeout_millis=0): return True

@gnomon.hook("exit.pick", kind=gnomon.load_balancer, items="xs",
             item_features=lambda x: (0.0, 1.0, 1.0), outcome=lambda x: {"latency_ms": 1.0})
def pick(xs): return xs[0]

{order}
for _ in range(300): pick(["a", "b"])
"""
_PROVIDE = "provider = LoggerProvider(); provider.add_log_record_processor(BatchLogRecordProcessor(ToFile()))"
_CONFIGURE = "gnomon.configure(service='s', logger_provider=provider, flush_interval_s=60.0)"


@pytest.mark.parametrize("again", [False, True])
def test_at_exit_records_go_before_the_provider_does(tmp_path: Path, again: bool) -> None:
    """Both have a handler at exit; ours must run first, or the provider lets the last records fall."""
    order = "\n".join(itertools.chain([_PROVIDE, _CONFIGURE], [_CONFIGURE] * again))
    program = _EXITING.replace("{order}", order)
    out = tmp_path / "events"
    done = subprocess.run(
        [sys.executable, "-c", program, str(out)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = out.read_text().splitlines()
    assert written.count("gnomon.decision") == 300
    assert written.count("gnomon.outcome") == 300


def test_nothing_of_opentelemetry_is_loaded_before_a_record() -> None:
    program = (
        "import sys, gnomon\n"
        "class Provider:\n"
        "    def get_logger(self, name): raise AssertionError\n"
        "gnomon.configure(service='s', logger_provider=Provider())\n"
        "print([m for m in sys.modules if m.startswith(('opentelemetry', 'grpc', 'google'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_the_child_of_a_fork_counts_from_nothing() -> None:
    sink = LoggerProviderSink(provided(Kept()))
    sink.write(FakeHook(), [decision(0)])
    sink._reset()  # what a fork calls; a real one is in test_life.py
    assert sink.account().recorded == 0


def test_the_otlp_sink_and_the_provider_have_names() -> None:
    assert (OtlpSink("c:1").name, LoggerProviderSink(provided(Kept())).name) == (
        "otlp",
        "logger_provider",
    )
