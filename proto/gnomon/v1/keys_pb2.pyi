from gnomon.v1 import policy_pb2 as _policy_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SignedRequest(_message.Message):
    __slots__ = ("hook",)
    HOOK_FIELD_NUMBER: _ClassVar[int]
    hook: str
    def __init__(self, hook: _Optional[str] = ...) -> None: ...

class InForce(_message.Message):
    __slots__ = ("hook", "rollout", "plan", "bundles")
    HOOK_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    hook: str
    rollout: str
    plan: _policy_pb2.Envelope
    bundles: _containers.RepeatedCompositeFieldContainer[_policy_pb2.Envelope]
    def __init__(self, hook: _Optional[str] = ..., rollout: _Optional[str] = ..., plan: _Optional[_Union[_policy_pb2.Envelope, _Mapping]] = ..., bundles: _Optional[_Iterable[_Union[_policy_pb2.Envelope, _Mapping]]] = ...) -> None: ...

class SignedResponse(_message.Message):
    __slots__ = ("hooks", "rollout_keyids")
    HOOKS_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_KEYIDS_FIELD_NUMBER: _ClassVar[int]
    hooks: _containers.RepeatedCompositeFieldContainer[InForce]
    rollout_keyids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, hooks: _Optional[_Iterable[_Union[InForce, _Mapping]]] = ..., rollout_keyids: _Optional[_Iterable[str]] = ...) -> None: ...

class ResignRequest(_message.Message):
    __slots__ = ("hook", "plan", "bundles", "actor")
    HOOK_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    hook: str
    plan: _policy_pb2.Envelope
    bundles: _containers.RepeatedCompositeFieldContainer[_policy_pb2.Envelope]
    actor: str
    def __init__(self, hook: _Optional[str] = ..., plan: _Optional[_Union[_policy_pb2.Envelope, _Mapping]] = ..., bundles: _Optional[_Iterable[_Union[_policy_pb2.Envelope, _Mapping]]] = ..., actor: _Optional[str] = ...) -> None: ...
