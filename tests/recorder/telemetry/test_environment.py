"""The standard variables do here what they do in the OpenTelemetry SDK's own exporter, or the table says why not.

The table is in docs/how-to/collector.md.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.resources import Resource

import gnomon
from gnomon.sdk.configure import configure
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.runtime import RUNTIME
from gnomon.sdk.telemetry import OtlpSink
from gnomon.sdk.telemetry.export import _resource
from gnomon.sdk.telemetry.settings import Settings, read_settings, switched_off

from ..fakes import FakeHook, decision
from .receivers import Authority, Receiver, serving

_OTLP = "OTEL_EXPORTER_OTLP_"
Environ = dict[str, str]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(RUNTIME, "hooks", {})


def prefixed(environ: Environ) -> Environ:
    return {_OTLP + name: value for name, value in environ.items()}


def theirs(monkeypatch: pytest.MonkeyPatch, environ: Environ) -> dict[str, Any]:
    """Return what the SDK's own exporter makes of an environment."""
    for name, value in prefixed(environ).items():
        monkeypatch.setenv(name, value)
    exporter: Any = OTLPLogExporter()
    found = {
        "target": exporter._endpoint,
        "secure": not exporter._insecure,
        "headers": dict(exporter._headers),
        "timeout_s": exporter._timeout,
        "gzip": exporter._compression is grpc.Compression.Gzip,
    }
    exporter.shutdown()
    return found


def ours(environ: Environ, endpoint: str | None = None) -> dict[str, Any]:
    settings = read_settings(prefixed(environ), endpoint)
    return {
        "target": settings.target,
        "secure": settings.secure,
        "headers": dict(settings.headers),
        "timeout_s": settings.timeout_s,
        "gzip": settings.gzip,
    }


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"ENDPOINT": "http://a:1"},
        {"ENDPOINT": "https://a:1"},
        {"ENDPOINT": "HTTPS://a:1"},
        {"ENDPOINT": "http://a:1", "LOGS_ENDPOINT": "https://b:2"},
        {"ENDPOINT": "http://a:1/v1/logs"},
        {"ENDPOINT": "http://[::1]:4317"},
        {"ENDPOINT": "a:1"},
        {"ENDPOINT": "a:1", "INSECURE": "true"},
        {"ENDPOINT": "a:1", "INSECURE": "TRUE"},
        {"ENDPOINT": "a:1", "INSECURE": "false"},
        {"LOGS_ENDPOINT": "a:1", "LOGS_INSECURE": "true"},
        {"LOGS_ENDPOINT": "a:1", "INSECURE": "true", "LOGS_INSECURE": "false"},
        {"ENDPOINT": "https://a:1", "INSECURE": "true"},
        {"ENDPOINT": "unix:/run/otel.sock", "INSECURE": "true"},
        {"ENDPOINT": "unix:///run/otel.sock", "INSECURE": "true"},
        {"ENDPOINT": "dns:///a:1", "INSECURE": "true"},
        {"HEADERS": "a=b, C=d%20e"},
        {"HEADERS": "a=b", "LOGS_HEADERS": "x=y"},
        {"HEADERS": "authorization=Basic abc=="},
        {"HEADERS": "a="},
        {"TIMEOUT": "2.5"},
        {"TIMEOUT": "2", "LOGS_TIMEOUT": "3"},
        {"COMPRESSION": "gzip"},
        {"COMPRESSION": "GZIP"},
        {"LOGS_COMPRESSION": "gzip"},
    ],
    ids=str,
)
def test_as_in_the_sdk(monkeypatch: pytest.MonkeyPatch, environ: Environ) -> None:
    """Compression apart: ours is on unless it is switched off."""
    expected = theirs(monkeypatch, environ)
    if not any("COMPRESSION" in name for name in environ):
        expected["gzip"] = True
    assert ours(environ) == expected


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        # The specification's own value, which the SDK refuses.
        ({"COMPRESSION": "none"}, {"gzip": False}),
        ({"COMPRESSION": "gzip", "LOGS_COMPRESSION": "none"}, {"gzip": False}),
        # OTLP's port, where gRPC would take 443.
        ({"ENDPOINT": "http://a"}, {"target": "a:4317", "secure": False}),
        # By the specification the scheme goes first; the SDK lets INSECURE win over http.
        ({"ENDPOINT": "http://a:1", "INSECURE": "false"}, {"secure": False}),
    ],
    ids=str,
)
def test_otherwise_than_in_the_sdk(environ: Environ, expected: dict[str, Any]) -> None:
    found = ours(environ)
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"ENDPOINT": "ftp://a:1"}, "'ftp://a:1' is no http:// or https:// URL"),
        ({"ENDPOINT": "http://a:99999"}, "is no http:// or https:// URL"),
        ({"ENDPOINT": "http://me:secret@a:1"}, "at a holds a user name"),
        ({"HEADERS": "novalue"}, "an entry without '='"),
        ({"HEADERS": "bad key=1"}, "has the name 'bad key'"),
        ({"HEADERS": "trace-bin=1"}, "has the name 'trace-bin'"),
        ({"HEADERS": "a=%0Ab"}, "the value of 'a' is not printable ASCII"),
        ({"HEADERS": "a=%C3%BC"}, "the value of 'a' is not printable ASCII"),
        ({"INSECURE": "yes", "ENDPOINT": "a:1"}, "INSECURE is 'yes'"),
        ({"TIMEOUT": "0"}, "TIMEOUT is '0'"),
        ({"COMPRESSION": "deflate"}, "COMPRESSION is 'deflate'"),
        ({"PROTOCOL": "http/protobuf"}, "is 'http/protobuf' and Gnomon sends OTLP over gRPC only"),
        ({"LOGS_PROTOCOL": "http/json"}, "is 'http/json' and Gnomon sends OTLP over gRPC only"),
    ],
    ids=str,
)
def test_what_the_sdk_passes_over_is_named_here(environ: Environ, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ours(environ)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_protocol_of_another_endpoint_is_no_matter() -> None:
    assert (
        ours({"PROTOCOL": "http/protobuf", "LOGS_PROTOCOL": "grpc"})["target"] == "localhost:4317"
    )
    assert ours({"PROTOCOL": "http/protobuf"}, "http://a:1")["target"] == "a:1"


def test_tls_files_are_those_of_the_environment(tmp_path: Path) -> None:
    """With LOGS_ variants before the others; a client's own certificate works without CERTIFICATE too."""
    authority = Authority()
    key, certificate = authority.pair("router")
    for name, data in (("ca", authority.pem), ("key", key), ("cert", certificate)):
        (tmp_path / name).write_bytes(data)
    environ = prefixed(
        {
            "CERTIFICATE": str(tmp_path / "missing"),
            "LOGS_CERTIFICATE": str(tmp_path / "ca"),
            "CLIENT_KEY": str(tmp_path / "key"),
            "CLIENT_CERTIFICATE": str(tmp_path / "cert"),
        }
    )
    credentials = grpc.ssl_server_credentials(
        [authority.pair()], authority.pem, require_client_auth=True
    )
    receiver = Receiver()
    with serving(receiver, credentials) as target:
        endpoint = f"https://localhost:{target.rpartition(':')[2]}"
        sink = OtlpSink(settings=read_settings({**environ, _OTLP + "ENDPOINT": endpoint}))
        sink.write(FakeHook(), [decision(0)])
        sink.close(20)
    assert sink.account().acknowledged == 1
    assert receiver.peer["x509_common_name"] == [b"router"]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_SERVICE_NAME": "checkout"},
        {"OTEL_RESOURCE_ATTRIBUTES": "service.name=a,deployment.environment.name=t%20u"},
        {"OTEL_RESOURCE_ATTRIBUTES": "service.name=a", "OTEL_SERVICE_NAME": "b"},
        {"OTEL_RESOURCE_ATTRIBUTES": "senseless"},
    ],
    ids=str,
)
def test_the_resource_is_the_sdks(
    monkeypatch: pytest.MonkeyPatch, environ: Environ, caplog: pytest.LogCaptureFixture
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    expected = dict(LoggerProvider(shutdown_on_exit=False).resource.attributes)
    found = dict(_resource({}))
    for each in (expected, found):
        each.pop("service.instance.id", None)  # later versions of the SDK draw one
    assert found == expected
    assert Resource.create({}).attributes["telemetry.sdk.name"] == found["telemetry.sdk.name"]


def test_a_name_given_to_configure_wins() -> None:
    assert _resource({"service.name": "given"})["service.name"] == "given"


@pytest.mark.parametrize(
    ("environ", "given", "off"),
    [
        ({}, False, ""),
        ({"OTEL_SDK_DISABLED": "true"}, False, "OTEL_SDK_DISABLED=true"),
        ({"OTEL_SDK_DISABLED": "True"}, True, "OTEL_SDK_DISABLED=true"),
        ({"OTEL_SDK_DISABLED": "1"}, False, ""),  # only "true" is true
        ({"OTEL_LOGS_EXPORTER": "none"}, False, "OTEL_LOGS_EXPORTER=none"),
        ({"OTEL_LOGS_EXPORTER": "none"}, True, ""),
        ({"OTEL_LOGS_EXPORTER": "console"}, False, "OTEL_LOGS_EXPORTER=console"),
        ({"OTEL_LOGS_EXPORTER": "console, otlp"}, False, ""),
        ({"OTEL_LOGS_EXPORTER": "otlp"}, False, ""),
    ],
    ids=str,
)
def test_switched_off(environ: Environ, given: bool, off: str) -> None:
    assert switched_off(environ, given=given) == off


def exporting() -> list[str]:
    """Configure as a service does that says nothing about OTLP; return the sinks."""
    try:
        configure(service="s")
        return list(RUNTIME.accounts())
    finally:
        gnomon.shutdown()


def test_configure_obeys_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert exporting() == []
    monkeypatch.setenv(_OTLP + "ENDPOINT", "http://127.0.0.1:1")
    assert exporting() == ["otlp"]
    monkeypatch.setenv("OTEL_LOGS_EXPORTER", "none")
    with caplog.at_level(logging.INFO, "gnomon"):
        assert exporting() == []
    assert "not exported over OTLP: OTEL_LOGS_EXPORTER=none" in caplog.text


def test_an_endpoint_of_the_environment_without_scheme_means_tls_through_configure_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Settings] = []
    real = OtlpSink.__init__

    def remember(self: OtlpSink, *arguments: Any, **more: Any) -> None:
        real(self, *arguments, **more)
        made.append(self._settings)

    monkeypatch.setattr(OtlpSink, "__init__", remember)
    monkeypatch.setenv(_OTLP + "ENDPOINT", "collector:4317")
    exporting()
    try:
        configure(otlp_endpoint="127.0.0.1:4317")
    finally:
        gnomon.shutdown()
    assert [(each.target, each.secure) for each in made] == [
        ("collector:4317", True),
        ("127.0.0.1:4317", False),
    ]
