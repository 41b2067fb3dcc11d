"""Settings from the environment: understood, or refused by the variable's name, in one line.

The input is lines ``VARIABLE=value``, after the first, which is an endpoint given in code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from random import Random

from gnomon.sdk import config
from gnomon.sdk.errors import ConfigurationError
from gnomon.sdk.telemetry.settings import read_settings, switched_off

from . import mutate as _mutate

#: Files are not read here: what a name leads to is none of a fuzzer's business.
_FILES = re.compile("CERTIFICATE|CLIENT_KEY")


def TestOneInput(data: bytes) -> None:
    endpoint, *lines = data.decode("utf-8", "replace").replace("\0", " ").split("\n")
    pairs = (line.partition("=") for line in lines)
    environ = {name: value for name, _, value in pairs if not _FILES.search(name)}
    try:
        made = config.Settings(**config.from_environment(environ))  # type: ignore[arg-type]
        assert 0.0 <= made.sample <= 1.0 and made.min_epoch >= 0
    except ConfigurationError as error:
        assert "\n" not in str(error), error
    try:
        read = read_settings(environ, endpoint)
        assert read.target and 0.0 < read.timeout_s < float("inf")
    except ConfigurationError as error:
        assert "\n" not in str(error), error
    assert "\n" not in switched_off(environ)


def seeds() -> Iterator[bytes]:
    named = "".join(f"{name}=1\n" for name in config.VARIABLES)
    yield f"\n{named}".encode()
    yield (
        b"https://collector.example:4317\nGNOMON_SAMPLE=0.5\nGNOMON_DISABLED=off\n"
        b"GNOMON_PUBLISHER_KEYS=a.pub, b.pub\nGNOMON_ISOLATION=process\n"
        b"OTEL_EXPORTER_OTLP_HEADERS=api-key=a%20b,x=y\nOTEL_EXPORTER_OTLP_TIMEOUT=2.5\n"
    )
    yield (
        b"unix:/run/otel.sock\nOTEL_EXPORTER_OTLP_LOGS_ENDPOINT=http://[::1]:4317/v1/logs\n"
        b"OTEL_EXPORTER_OTLP_INSECURE=true\nOTEL_EXPORTER_OTLP_COMPRESSION=none\n"
        b"OTEL_EXPORTER_OTLP_PROTOCOL=grpc\nOTEL_LOGS_EXPORTER=console, otlp\nOTEL_SDK_DISABLED=TRUE\n"
    )


def mutate(data: bytes, random: Random) -> bytes:
    return _mutate.source(data.decode("utf-8", "replace"), random).encode("utf-8", "replace")
