from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

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

class AuditAnchorsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AuditAcceptRequest(_message.Message):
    __slots__ = ("actor", "reason")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    actor: str
    reason: str
    def __init__(self, actor: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class AuditAnchorsResponse(_message.Message):
    __slots__ = ("head", "witnesses", "disputes")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    WITNESSES_FIELD_NUMBER: _ClassVar[int]
    DISPUTES_FIELD_NUMBER: _ClassVar[int]
    head: str
    witnesses: _containers.RepeatedCompositeFieldContainer[Witness]
    disputes: _containers.RepeatedCompositeFieldContainer[Dispute]
    def __init__(self, head: _Optional[str] = ..., witnesses: _Optional[_Iterable[_Union[Witness, _Mapping]]] = ..., disputes: _Optional[_Iterable[_Union[Dispute, _Mapping]]] = ...) -> None: ...

class Witness(_message.Message):
    __slots__ = ("service", "instance", "anchor", "time_unix_ns")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    ANCHOR_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    service: str
    instance: str
    anchor: str
    time_unix_ns: int
    def __init__(self, service: _Optional[str] = ..., instance: _Optional[str] = ..., anchor: _Optional[str] = ..., time_unix_ns: _Optional[int] = ...) -> None: ...

class Dispute(_message.Message):
    __slots__ = ("anchor", "problem", "instances")
    ANCHOR_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    anchor: str
    problem: str
    instances: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, anchor: _Optional[str] = ..., problem: _Optional[str] = ..., instances: _Optional[_Iterable[str]] = ...) -> None: ...
