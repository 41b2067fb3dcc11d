"""Where and how to export, from arguments and the standard ``OTEL_*`` variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..errors import ConfigurationError

_PREFIXES = ("OTEL_EXPORTER_OTLP_LOGS_", "OTEL_EXPORTER_OTLP_")
_DEFAULT_ENDPOINT = "http://localhost:4317"
_TRUE = {"true", "1", "yes"}
_FALSE = {"false", "0", "no"}


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

    Times are seconds, as in OpenTelemetry's own Python exporter.

    Args:
        environ: for example ``os.environ``.
        endpoint: instead of the variables' endpoint; a URL, or host:port for plain text.

    Raises:
        ConfigurationError: a variable or the endpoint makes no sense.
    """
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


def _variable(environ: Mapping[str, str], name: str) -> str:
    for prefix in _PREFIXES:
        if value := environ.get(prefix + name, "").strip():
            return value
    return ""


def _endpoint(given: str | None, environ: Mapping[str, str]) -> tuple[str, bool]:
    stated = given or _variable(environ, "ENDPOINT") or _DEFAULT_ENDPOINT
    if "://" not in stated:
        return stated, not (given or _insecure(environ))
    url = urlsplit(stated)
    if url.scheme not in ("http", "https") or not url.netloc:
        raise ConfigurationError(
            f"OTLP endpoint {stated!r} is no http:// or https:// URL; give one such as "
            f"{_DEFAULT_ENDPOINT}"
        )
    default_port = "" if _has_port(url.netloc) else ":4317"
    return url.netloc + default_port, url.scheme == "https"


def _has_port(netloc: str) -> bool:
    return netloc.rpartition(":")[2].isdigit()


def _insecure(environ: Mapping[str, str]) -> bool:
    stated = _variable(environ, "INSECURE").lower()
    if stated and stated not in _TRUE | _FALSE:
        raise ConfigurationError(f"OTEL_EXPORTER_OTLP_INSECURE is {stated!r}; set true or false")
    return stated in _TRUE


def _headers(stated: str) -> tuple[tuple[str, str], ...]:
    headers = []
    for pair in filter(None, (part.strip() for part in stated.split(","))):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigurationError(
                "OTEL_EXPORTER_OTLP_HEADERS has an entry without '='; write key=value,key=value"
            )
        headers.append((unquote(key.strip()).lower(), unquote(value.strip())))
    return tuple(headers)


def _compression(stated: str) -> bool:
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
