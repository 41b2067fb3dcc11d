from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class AuditExportRequest(_message.Message):
    __slots__ = ("from_seq", "subject")
    FROM_SEQ_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    from_seq: int
    subject: str
    def __init__(self, from_seq: _Optional[int] = ..., subject: _Optional[str] = ...) -> None: ...

class AuditEntry(_message.Message):
    __slots__ = ("seq", "time_unix_ns", "kind", "actor", "subject", "body", "previous", "hash")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    seq: int
    time_unix_ns: int
    kind: str
    actor: str
    subject: str
    body: bytes
    previous: bytes
    hash: bytes
    def __init__(self, seq: _Optional[int] = ..., time_unix_ns: _Optional[int] = ..., kind: _Optional[str] = ..., actor: _Optional[str] = ..., subject: _Optional[str] = ..., body: _Optional[bytes] = ..., previous: _Optional[bytes] = ..., hash: _Optional[bytes] = ...) -> None: ...

class AuditVerifyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AuditVerifyResponse(_message.Message):
    __slots__ = ("ok", "entries", "head", "problem", "problem_seq")
    OK_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_SEQ_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    entries: int
    head: bytes
    problem: str
    problem_seq: int
    def __init__(self, ok: bool = ..., entries: _Optional[int] = ..., head: _Optional[bytes] = ..., problem: _Optional[str] = ..., problem_seq: _Optional[int] = ...) -> None: ...
