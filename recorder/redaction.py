"""Redaction: what the recorder takes out of records, or turns into keyed digests, before anything is written.

A request is made anew from what it holds of Gnomon's own records: events, attributes and resource that the
store has no column for are left out, as is what other instrumentations sent. The same request with the
same key always becomes the same bytes, so that repeated batches are still known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from ..sdk.errors import ConfigurationError, TraceError
from ..sdk.telemetry import names

HASH = "hash"
DROP = "drop"
#: Fields with names of their own; others are ``outcome.METRIC`` and ``workload.FIELD``.
FIELDS = ("unit", "items", "trace", "detail")
_LEAST_KEY = 16
_DIGEST = 16
_MEMBERS = "members"
_NAMES = "names"
#: What a record of an event may keep: all that the store has a column for, and the prefixes of more.
_ALWAYS = (names.SCHEMA, names.FLAG_KEY, names.FLAG_VARIANT)
#: Bytes of a resource's names, above which none of its records is good.
_SERVICE_BYTES = 4096
_KEPT: Mapping[str, tuple[frozenset[str], tuple[str, ...]]] = {
    names.DECISION: (
        frozenset(
            {
                *(*_ALWAYS, names.DECISION_ID, names.DECISION_DURATION, names.DECISION_UNIT),
                *(names.DECISION_REASON, names.DECISION_DETAIL, names.FLAG_VERSION),
                *(names.DECISION_EPOCH, names.DECISION_BLOCK, names.DECISION_ACTION),
                *(names.DECISION_ITEMS, names.DECISION_FEATURES, names.DECISION_PROPENSITY),
                names.DECISION_INCLUSION,
            }
        ),
        (),
    ),
    names.OUTCOME: (
        frozenset(
            {
                *(*_ALWAYS, names.DECISION_ID, names.DECISION_BLOCK, names.OUTCOME_OK),
                *(names.OUTCOME_STATUS, names.OUTCOME_DELAY),
            }
        ),
        (names.OUTCOME_VALUE,),
    ),
    names.WORKLOAD: (
        frozenset(
            {
                *(*_ALWAYS, names.WORKLOAD_ID, names.WORKLOAD_EVENT, names.WORKLOAD_COUNT),
                names.WORKLOAD_TIMES,
            }
        ),
        (names.WORKLOAD_VALUE, names.WORKLOAD_COLUMN),
    ),
}
_SCALARS = ("string_value", "bytes_value")
#: What is done with an attribute: nothing, or it is left out (None), or its value is changed in place.
Action = Callable[[Any], None] | None


@dataclass(frozen=True, slots=True)
class Redacted:
    """A request without what was to be taken out.

    Attributes:
        payload: the new request; empty when nothing of Gnomon's was in it.
        foreign: log records of other instrumentations that were left out.
    """

    payload: bytes
    foreign: int


@dataclass(frozen=True, slots=True)
class Redaction:
    """What is taken out of records, and how.

    Attributes:
        rules: ``hash`` or ``drop`` by field: ``unit``, ``items`` (names of items in ``members`` events),
            ``trace`` (trace and span ids), ``detail``, ``outcome.METRIC``, ``workload.FIELD``.
        key: of the digests; at least 16 bytes when anything is hashed.
    """

    rules: Mapping[str, str]
    key: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        for name, how in self.rules.items():
            _check(name, how)
        if HASH in self.rules.values() and len(self.key) < _LEAST_KEY:
            raise ConfigurationError(
                f"a redaction key of {len(self.key)} bytes can be guessed; name a file of at least "
                f"{_LEAST_KEY} random bytes with --redact-key"
            )
        object.__setattr__(self, "key", hashlib.blake2b(self.key, digest_size=32).digest())

    @property
    def tag(self) -> str:
        """Eight hex digits: the same for the same rules and key only."""
        text = "\n".join(f"{name}={how}" for name, how in sorted(self.rules.items()))
        return self._digest(text.encode(), 4).hex()

    def apply(self, data: bytes) -> Redacted:
        """Return a serialised ``ExportLogsServiceRequest`` without what is to be taken out.

        Raises:
            TraceError: the bytes are no such message.
        """
        try:
            message = ExportLogsServiceRequest.FromString(data)
        except DecodeError as error:
            raise TraceError(f"not an OTLP logs request ({error}); send OTLP logs here") from error
        message.DiscardUnknownFields()
        made, foreign, count = ExportLogsServiceRequest(), 0, 0
        actions: dict[tuple[str, bool, str], Action] = {}
        for resource_logs in message.resource_logs:
            target = made.resource_logs.add()
            target.resource.attributes.extend(
                _plain(resource_logs.resource.attributes, (names.SERVICE_NAME,))
            )
            for scope_logs in resource_logs.scope_logs:
                logs = [log for log in scope_logs.log_records if log.event_name in _KEPT]
                foreign += len(scope_logs.log_records) - len(logs)
                count += len(logs)
                if logs:
                    scope = target.scope_logs.add()
                    scope.scope.name = names.SCOPE
                    scope.scope.attributes.extend(
                        _plain(scope_logs.scope.attributes, (names.SCHEMA, names.BATCH_ID))
                    )
                    scope.log_records.extend(self._log(log, actions) for log in logs)
        return Redacted(made.SerializeToString() if count else b"", foreign)

    def _log(self, log: LogRecord, actions: dict[tuple[str, bool, str], Action]) -> LogRecord:
        made = LogRecord(
            time_unix_nano=log.time_unix_nano,
            event_name=log.event_name,
            trace_id=self._identifier(log.trace_id, 16),
            span_id=self._identifier(log.span_id, 8),
        )
        event = log.event_name
        members = event == names.WORKLOAD and any(
            pair.key == names.WORKLOAD_EVENT and pair.value.string_value == _MEMBERS
            for pair in log.attributes
        )
        kept = []
        for pair in log.attributes:
            at = (event, members, pair.key)
            if at not in actions:
                actions[at] = self._action(*at)
            action = actions[at]
            if action is None:
                continue
            if action is not _nothing:
                action(pair.value)
            kept.append(pair)
        made.attributes.extend(kept)
        return made

    def _action(self, event: str, members: bool, key: str) -> Action:
        """Return what is to be done with an attribute of an event."""
        exact, prefixes = _KEPT[event]
        if key not in exact and not key.startswith(prefixes or ("\0",)):
            return None
        rule, hashing = self._rule(key, members)
        if rule is None:
            return _nothing
        return None if rule == DROP else hashing

    def _rule(self, key: str, members: bool) -> tuple[str | None, Callable[[Any], None]]:
        """Return the rule for an attribute, and how a value of it is hashed."""
        if key == names.DECISION_UNIT:
            return self.rules.get("unit"), self._hash
        if key == names.DECISION_DETAIL:
            return self.rules.get("detail"), self._hash
        if members and key == names.WORKLOAD_VALUE + _NAMES and "items" in self.rules:
            return self.rules["items"], self._hash_lines
        for prefix, room in (
            (names.OUTCOME_VALUE, "outcome."),
            (names.WORKLOAD_VALUE, "workload."),
            (names.WORKLOAD_COLUMN, "workload."),
        ):
            if key.startswith(prefix):
                hashing = self._hash_column if prefix == names.WORKLOAD_COLUMN else self._hash
                return self.rules.get(room + key[len(prefix) :]), hashing
        return None, self._hash

    def _identifier(self, value: bytes, size: int) -> bytes:
        rule = self.rules.get("trace")
        if rule is None or not value:
            return value
        return self._digest(value, size) if rule == HASH else b""

    def _digest(self, value: bytes, size: int = _DIGEST) -> bytes:
        return hashlib.blake2b(value, digest_size=size, key=self.key).digest()

    def _hash(self, value: Any) -> None:
        """Hash a value in its place: a text to a text, a number to a number, anything else to nothing."""
        which = value.WhichOneof("value")
        if which == "string_value":
            if value.string_value:  # nothing stays nothing
                value.string_value = self._digest(value.string_value.encode()).hex()
        elif which == "double_value":
            value.double_value = self._number(np.float64(value.double_value).tobytes())
        else:
            value.Clear()

    def _hash_lines(self, value: Any) -> None:
        lines = value.string_value.split("\n") if value.string_value else []
        value.string_value = "\n".join(self._digest(line.encode()).hex() for line in lines)

    def _hash_column(self, value: Any) -> None:
        """Hash every number of a workload batch's column: equal ones stay equal."""
        column = value.bytes_value
        if value.WhichOneof("value") != "bytes_value" or len(column) % 8:
            value.Clear()
            return
        distinct, at = np.unique(np.frombuffer(column, "<u8"), return_inverse=True)
        hashed = np.array([self._number(each.tobytes()) for each in distinct], "<f8")
        value.bytes_value = hashed[at].tobytes()

    def _number(self, data: bytes) -> float:
        """Return a whole number below 2^53 for the eight bytes of a number."""
        return float(int.from_bytes(self._digest(data, 8), "big") >> 11)


def _nothing(_value: Any) -> None:
    """Leave a value as it is."""


def _plain(pairs: Iterable[KeyValue], wanted: tuple[str, ...]) -> list[KeyValue]:
    """Return the attributes of these names that are texts or bytes and nothing that holds more."""
    return [
        pair for pair in pairs if pair.key in wanted and pair.value.WhichOneof("value") in _SCALARS
    ]


def without(data: bytes, good: Callable[[bytes], bool]) -> bytes:
    """Return a request with those records only that are good as the only record of a request.

    Args:
        data: a serialised ``ExportLogsServiceRequest``.
        good: told a request with one record.
    """
    message = ExportLogsServiceRequest.FromString(data)
    for resource_logs in message.resource_logs:
        # All that a record is judged by beside itself; it is copied for each of them.
        named = [
            pair for pair in resource_logs.resource.attributes if pair.key == names.SERVICE_NAME
        ]
        service = named if sum(pair.ByteSize() for pair in named) <= _SERVICE_BYTES else None
        for scope_logs in resource_logs.scope_logs:
            every = list(scope_logs.log_records)
            kept = [log for log in every if service is not None and good(_alone(service, log))]
            del scope_logs.log_records[:]
            scope_logs.log_records.extend(kept)
    return message.SerializeToString()


def _alone(service: Iterable[KeyValue], log: LogRecord) -> bytes:
    one = ExportLogsServiceRequest()
    of = one.resource_logs.add()
    of.resource.attributes.extend(service)
    of.scope_logs.add().log_records.append(log)
    return one.SerializeToString()


def parse(rules: Iterable[str], key: Path | None) -> Redaction | None:
    """Return what ``FIELD=hash`` and ``FIELD=drop`` say; None when they say nothing.

    Args:
        rules: as on the command line.
        key: file whose bytes are the key; needed for ``hash``.

    Raises:
        ConfigurationError: a rule says nothing that can be done, or the key cannot be read.
    """
    found: dict[str, str] = {}
    for rule in rules:
        name, sign, how = rule.partition("=")
        if not sign:
            raise ConfigurationError(
                f"--redact {rule!r} does not say how; write FIELD={HASH} or FIELD={DROP}"
            )
        _check(name, how)
        if found.setdefault(name, how) != how:
            raise ConfigurationError(f"--redact says {HASH} and {DROP} of {name!r}; leave one out")
    if not found:
        if key is not None:
            raise ConfigurationError("--redact-key is given and nothing to redact; add --redact")
        return None
    if HASH in found.values() and key is None:
        raise ConfigurationError(
            f"--redact with {HASH} needs a key; name a file of at least {_LEAST_KEY} random bytes "
            "with --redact-key"
        )
    return Redaction(found, _read(key) if key is not None else b"")


def _read(key: Path) -> bytes:
    try:
        return key.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {key}: {error.strerror}") from error


def _check(name: str, how: str) -> None:
    room, dot, rest = name.partition(".")
    known = name in FIELDS or (room in ("outcome", "workload") and dot and rest)
    if not known:
        raise ConfigurationError(
            f"{name!r} cannot be redacted; it is one of {', '.join(FIELDS)}, outcome.METRIC or workload.FIELD"
        )
    if how not in (HASH, DROP):
        raise ConfigurationError(f"{name}={how!r} is unknown; write {name}={HASH} or {name}={DROP}")
    if name == "items" and how == DROP:
        raise ConfigurationError(
            f"items={DROP} would leave replays nothing to tell items apart by; write items={HASH}"
        )
