"""The standard ``OTEL_*`` variables mean what they mean elsewhere; nonsense is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.telemetry.settings import Settings, read_settings

_OTLP = "OTEL_EXPORTER_OTLP_"


@pytest.mark.parametrize(
    ("environ", "given", "target", "secure"),
    [
        ({}, None, "localhost:4317", False),
        ({"ENDPOINT": "https://collector:4317"}, None, "collector:4317", True),
        ({"ENDPOINT": "http://collector"}, None, "collector:4317", False),
        ({"ENDPOINT": "http://a:1", "LOGS_ENDPOINT": "http://b:2"}, None, "b:2", False),
        ({"ENDPOINT": "http://a:1"}, "https://c:3", "c:3", True),
        ({"ENDPOINT": "collector:4317"}, None, "collector:4317", True),
        ({"ENDPOINT": "collector:4317", "INSECURE": "true"}, None, "collector:4317", False),
        ({}, "127.0.0.1:99", "127.0.0.1:99", False),
        ({"ENDPOINT": "http://[::1]:4317"}, None, "[::1]:4317", False),
    ],
)
def test_endpoint(environ: dict[str, str], given: str | None, target: str, secure: bool) -> None:
    settings = read_settings({_OTLP + key: value for key, value in environ.items()}, given)
    assert (settings.target, settings.secure) == (target, secure)


def test_the_rest(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"PEM")
    settings = read_settings(
        {
            _OTLP + "HEADERS": "Authorization=Bearer%20x, tenant=a",
            _OTLP + "LOGS_COMPRESSION": "none",
            _OTLP + "TIMEOUT": "2.5",
            _OTLP + "CERTIFICATE": str(tmp_path / "ca.pem"),
        }
    )
    assert settings == Settings(
        "localhost:4317",
        headers=(("authorization", "Bearer x"), ("tenant", "a")),
        gzip=False,
        timeout_s=2.5,
        certificate=b"PEM",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENDPOINT", "ftp://x"),
        ("ENDPOINT", "http://"),
        ("HEADERS", "novalue"),
        ("COMPRESSION", "zstd"),
        ("TIMEOUT", "soon"),
        ("TIMEOUT", "-1"),
        ("TIMEOUT", "inf"),
        ("INSECURE", "perhaps"),
        ("CERTIFICATE", "/nowhere/ca.pem"),
    ],
)
def test_nonsense_is_named(name: str, value: str) -> None:
    environ = {_OTLP + "ENDPOINT": "collector:1", _OTLP + name: value}
    with pytest.raises(ConfigurationError) as caught:
        read_settings(environ)
    assert "\n" not in str(caught.value)
    assert value in str(caught.value) or name == "HEADERS"  # headers may hold secrets
