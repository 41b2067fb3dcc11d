"""Where and how to export, from arguments and the standard ``OTEL_*`` variables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..errors import ConfigurationError

_PREFIXES = ("OTEL_EXPORTER_OTLP_LOGS_", "OTEL_EXPORTER_OTLP_")
_DEFAULT_ENDPOINT = "http://localhost:4317"
#: URI schemes that gRPC resolves itself.
_GRPC_SCHEMES = {"dns", "ipv4", "ipv6", "passthrough", "unix", "unix-abstract", "vsock", "xds"}
#: What gRPC sends as metadata; it answers anything else as if the receiver had failed.
_HEADER_NAME = re.compile(r"[0-9a-z_.-]+")
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach an OTLP receiver.

    Attributes:
        target: host:port, or another target that gRPC knows (``unix:/run/otel.sock``).
        secure: whether to speak TLS.
        headers: gRPC metadata sent with every request.
        gzip: whether requests are compressed.
        timeout_s: the one deadline of a batch, its retries included.
        certificate: PEM of the authorities to trust; None for the system's.
        client_certificate, client_key: PEM of the client's own, for mTLS.
    """

    target: str
    secure: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    gzip: bool = True
    timeout_s: float = 10.0
    certificate: bytes | None = None
    client_certificate: bytes | None = None
    client_key: bytes | None = None


def read_settings(environ: Mapping[str, str], endpoint: str | None = None) -> Settings:
    """Return settings from the environment; an ``OTEL_EXPORTER_OTLP_LOGS_*`` variable comes first.

    Times are seconds, as in OpenTelemetry's own Python exporter. The protocol is asked for only where
    the endpoint is a variable's too.

    Args:
        environ: for example ``os.environ``.
        endpoint: instead of the variables' endpoint; a URL, or host:port for plain text.

    Raises:
        ConfigurationError: a variable or the endpoint makes no sense, or is OTLP over HTTP.
    """
    if not endpoint:
        _require_grpc(environ)
    target, secure = _endpoint(endpoint, environ)
    return Settings(
        target=target,
        secure=secure,
        headers=_headers(_variable(environ, "HEADERS")),
        gzip=_compression(_variable(environ, "COMPRESSION")),
        timeout_s=_timeout(_variable(environ, "TIMEOUT")),
        certificate=_pem(environ, "CERTIFICATE"),
        client_certificate=_pem(environ, "CLIENT_CERTIFICATE"),
        client_key=_pem(environ, "CLIENT_KEY"),
    )


def switched_off(environ: Mapping[str, str], *, given: bool = False) -> str:
    """Return the variable, with its value, that forbids exporting logs; empty when none does.

    ``OTEL_SDK_DISABLED=true`` forbids it always, ``OTEL_LOGS_EXPORTER`` without ``otlp`` in its list only
    what was not asked for in so many words.

    Args:
        environ: for example ``os.environ``.
        given: whether an endpoint was given to a call rather than by the environment.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return "OTEL_SDK_DISABLED=true"
    exporters = environ.get("OTEL_LOGS_EXPORTER", "").strip()
    if exporters and not given and "otlp" not in exporters.replace(" ", "").split(","):
        return f"OTEL_LOGS_EXPORTER={exporters}"
    return ""


def _require_grpc(environ: Mapping[str, str]) -> None:
    protocol = _variable(environ, "PROTOCOL")
    if protocol not in ("", "grpc"):
        raise ConfigurationError(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r} and Gnomon sends OTLP over gRPC only; set "
            "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL=grpc and OTEL_EXPORTER_OTLP_LOGS_ENDPOINT (port 4317), or "
            "pass logger_provider="
        )


def _variable(environ: Mapping[str, str], name: str) -> str:
    for prefix in _PREFIXES:
        if value := environ.get(prefix + name, "").strip():
            return value
    return ""


def _endpoint(given: str | None, environ: Mapping[str, str]) -> tuple[str, bool]:
    stated = given or _variable(environ, "ENDPOINT") or _DEFAULT_ENDPOINT
    scheme, url, _ = stated.partition("://")
    if not url or scheme.lower() in _GRPC_SCHEMES:
        return stated, not (given or _insecure(environ))
    return _from_url(stated)


def _from_url(stated: str) -> tuple[str, bool]:
    try:
        url = urlsplit(stated)
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ConfigurationError(
            f"OTLP endpoint {stated!r} is no http:// or https:// URL; give one such as "
            f"{_DEFAULT_ENDPOINT}"
        )
    if "@" in url.netloc:  # not repeated: it holds a secret
        raise ConfigurationError(
            f"OTLP endpoint at {url.hostname} holds a user name; put credentials into "
            "OTEL_EXPORTER_OTLP_HEADERS"
        )
    return url.netloc.rstrip(":") + ("" if port else ":4317"), url.scheme == "https"


def _insecure(environ: Mapping[str, str]) -> bool:
    stated = _variable(environ, "INSECURE").lower()
    if stated not in ("", "true", "false"):
        raise ConfigurationError(f"OTEL_EXPORTER_OTLP_INSECURE is {stated!r}; set true or false")
    return stated == "true"


def _headers(stated: str) -> tuple[tuple[str, str], ...]:
    headers = []
    for pair in filter(None, (part.strip() for part in stated.split(","))):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigurationError(
                "OTEL_EXPORTER_OTLP_HEADERS has an entry without '='; write key=value,key=value"
            )
        headers.append(_header(unquote(key.strip()).lower(), unquote(value.strip())))
    return tuple(headers)


def _header(name: str, value: str) -> tuple[str, str]:
    """Return a header that gRPC can send; values may be secrets and are not repeated."""
    if not _HEADER_NAME.fullmatch(name) or name.endswith("-bin"):
        raise ConfigurationError(
            f"OTEL_EXPORTER_OTLP_HEADERS has the name {name!r}; use letters, digits, '_', '-', '.', and "
            "no ending in -bin"
        )
    if not _HEADER_VALUE.fullmatch(value):
        raise ConfigurationError(
            f"OTEL_EXPORTER_OTLP_HEADERS: the value of {name!r} is not printable ASCII; encode it"
        )
    return name, value


def _compression(stated: str) -> bool:
    stated = stated.lower()
    if stated not in ("", "gzip", "none"):
        raise ConfigurationError(f"OTEL_EXPORTER_OTLP_COMPRESSION is {stated!r}; set gzip or none")
    return stated != "none"


def _timeout(stated: str) -> float:
    try:
        timeout_s = float(stated or 10.0)
    except ValueError:
        timeout_s = 0.0
    if not 0.0 < timeout_s < float("inf"):
        raise ConfigurationError(
            f"OTEL_EXPORTER_OTLP_TIMEOUT is {stated!r}; set a positive number of seconds"
        )
    return timeout_s


def _pem(environ: Mapping[str, str], name: str) -> bytes | None:
    path = _variable(environ, name)
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"OTEL_EXPORTER_OTLP_{name}: cannot read {path} ({error.strerror}); give a PEM file"
        ) from error
