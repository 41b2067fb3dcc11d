"""A ledger's entries on the wire."""

from __future__ import annotations

from gnomon.v1 import audit_pb2

from .chain import Entry, read_body


def entry_message(entry: Entry) -> audit_pb2.AuditEntry:
    """Return the message of a ledger's entry."""
    return audit_pb2.AuditEntry(
        seq=entry.seq,
        time_unix_ns=entry.time_ns,
        kind=entry.kind,
        actor=entry.actor,
        subject=entry.subject,
        body=entry.raw,
        previous=entry.previous,
        hash=entry.hash,
    )


def message_entry(message: audit_pb2.AuditEntry) -> Entry:
    """Return the entry of a message, as received: nothing about it is verified.

    Raises:
        TrustError: its body is no JSON object.
    """
    return Entry(
        message.seq,
        message.time_unix_ns,
        message.kind,
        message.actor,
        message.subject,
        read_body(message.body, message.seq),
        message.body,
        message.previous,
        message.hash,
    )
