from gnomon.v1 import policy_pb2 as _policy_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Node(_message.Message):
    __slots__ = ("service", "instance", "cell", "version")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    CELL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    service: str
    instance: str
    cell: str
    version: str
    def __init__(self, service: _Optional[str] = ..., instance: _Optional[str] = ..., cell: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class HookState(_message.Message):
    __slots__ = ("hook", "kind", "kind_version", "epoch", "bundles")
    HOOK_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    KIND_VERSION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    hook: str
    kind: str
    kind_version: int
    epoch: int
    bundles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, hook: _Optional[str] = ..., kind: _Optional[str] = ..., kind_version: _Optional[int] = ..., epoch: _Optional[int] = ..., bundles: _Optional[_Iterable[str]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("node", "hooks")
    NODE_FIELD_NUMBER: _ClassVar[int]
    HOOKS_FIELD_NUMBER: _ClassVar[int]
    node: Node
    hooks: _containers.RepeatedCompositeFieldContainer[HookState]
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ..., hooks: _Optional[_Iterable[_Union[HookState, _Mapping]]] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("nonce", "resource", "name", "epoch", "ok", "error", "anchor")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ANCHOR_FIELD_NUMBER: _ClassVar[int]
    nonce: str
    resource: str
    name: str
    epoch: int
    ok: bool
    error: str
    anchor: str
    def __init__(self, nonce: _Optional[str] = ..., resource: _Optional[str] = ..., name: _Optional[str] = ..., epoch: _Optional[int] = ..., ok: bool = ..., error: _Optional[str] = ..., anchor: _Optional[str] = ...) -> None: ...

class BlockReport(_message.Message):
    __slots__ = ("cell", "block", "arm", "count", "sum", "failures", "missing", "unresolved", "histogram", "fallbacks")
    CELL_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    UNRESOLVED_FIELD_NUMBER: _ClassVar[int]
    HISTOGRAM_FIELD_NUMBER: _ClassVar[int]
    FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    cell: str
    block: int
    arm: str
    count: int
    sum: float
    failures: int
    missing: int
    unresolved: int
    histogram: _containers.RepeatedScalarFieldContainer[int]
    fallbacks: int
    def __init__(self, cell: _Optional[str] = ..., block: _Optional[int] = ..., arm: _Optional[str] = ..., count: _Optional[int] = ..., sum: _Optional[float] = ..., failures: _Optional[int] = ..., missing: _Optional[int] = ..., unresolved: _Optional[int] = ..., histogram: _Optional[_Iterable[int]] = ..., fallbacks: _Optional[int] = ...) -> None: ...

class SliceReport(_message.Message):
    __slots__ = ("epoch", "slices", "count", "sum", "failures", "missing", "unresolved", "fallbacks", "histograms")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    UNRESOLVED_FIELD_NUMBER: _ClassVar[int]
    FALLBACKS_FIELD_NUMBER: _ClassVar[int]
    HISTOGRAMS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    slices: int
    count: _containers.RepeatedScalarFieldContainer[int]
    sum: _containers.RepeatedScalarFieldContainer[float]
    failures: _containers.RepeatedScalarFieldContainer[int]
    missing: _containers.RepeatedScalarFieldContainer[int]
    unresolved: _containers.RepeatedScalarFieldContainer[int]
    fallbacks: _containers.RepeatedScalarFieldContainer[int]
    histograms: _containers.RepeatedCompositeFieldContainer[Histogram]
    def __init__(self, epoch: _Optional[int] = ..., slices: _Optional[int] = ..., count: _Optional[_Iterable[int]] = ..., sum: _Optional[_Iterable[float]] = ..., failures: _Optional[_Iterable[int]] = ..., missing: _Optional[_Iterable[int]] = ..., unresolved: _Optional[_Iterable[int]] = ..., fallbacks: _Optional[_Iterable[int]] = ..., histograms: _Optional[_Iterable[_Union[Histogram, _Mapping]]] = ...) -> None: ...

class Histogram(_message.Message):
    __slots__ = ("counts",)
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, counts: _Optional[_Iterable[int]] = ...) -> None: ...

class FeatureCounts(_message.Message):
    __slots__ = ("name", "counts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    counts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[str] = ..., counts: _Optional[_Iterable[int]] = ...) -> None: ...

class ShadowReport(_message.Message):
    __slots__ = ("decisions", "diverged", "faults", "violations", "shed")
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    DIVERGED_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    SHED_FIELD_NUMBER: _ClassVar[int]
    decisions: int
    diverged: int
    faults: int
    violations: int
    shed: int
    def __init__(self, decisions: _Optional[int] = ..., diverged: _Optional[int] = ..., faults: _Optional[int] = ..., violations: _Optional[int] = ..., shed: _Optional[int] = ...) -> None: ...

class HookReport(_message.Message):
    __slots__ = ("hook", "epoch", "blocks", "shadow", "counters", "breaker", "killed", "slices", "features")
    class CountersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    HOOK_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    KILLED_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    hook: str
    epoch: int
    blocks: _containers.RepeatedCompositeFieldContainer[BlockReport]
    shadow: ShadowReport
    counters: _containers.ScalarMap[str, int]
    breaker: str
    killed: str
    slices: SliceReport
    features: _containers.RepeatedCompositeFieldContainer[FeatureCounts]
    def __init__(self, hook: _Optional[str] = ..., epoch: _Optional[int] = ..., blocks: _Optional[_Iterable[_Union[BlockReport, _Mapping]]] = ..., shadow: _Optional[_Union[ShadowReport, _Mapping]] = ..., counters: _Optional[_Mapping[str, int]] = ..., breaker: _Optional[str] = ..., killed: _Optional[str] = ..., slices: _Optional[_Union[SliceReport, _Mapping]] = ..., features: _Optional[_Iterable[_Union[FeatureCounts, _Mapping]]] = ...) -> None: ...

class ClientMessage(_message.Message):
    __slots__ = ("hello", "ack", "report")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    ack: Ack
    report: HookReport
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., report: _Optional[_Union[HookReport, _Mapping]] = ...) -> None: ...

class BundlePush(_message.Message):
    __slots__ = ("digest", "envelope")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    digest: str
    envelope: _policy_pb2.Envelope
    def __init__(self, digest: _Optional[str] = ..., envelope: _Optional[_Union[_policy_pb2.Envelope, _Mapping]] = ...) -> None: ...

class ManifestPush(_message.Message):
    __slots__ = ("hook", "envelope")
    HOOK_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    hook: str
    envelope: _policy_pb2.Envelope
    def __init__(self, hook: _Optional[str] = ..., envelope: _Optional[_Union[_policy_pb2.Envelope, _Mapping]] = ...) -> None: ...

class ServerMessage(_message.Message):
    __slots__ = ("nonce", "bundle", "manifest", "anchor")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    ANCHOR_FIELD_NUMBER: _ClassVar[int]
    nonce: str
    bundle: BundlePush
    manifest: ManifestPush
    anchor: str
    def __init__(self, nonce: _Optional[str] = ..., bundle: _Optional[_Union[BundlePush, _Mapping]] = ..., manifest: _Optional[_Union[ManifestPush, _Mapping]] = ..., anchor: _Optional[str] = ...) -> None: ...
