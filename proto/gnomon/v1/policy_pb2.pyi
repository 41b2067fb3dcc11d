from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Arms(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARMS_UNSPECIFIED: _ClassVar[Arms]
    ARMS_SWITCHBACK: _ClassVar[Arms]
    ARMS_STICKY: _ClassVar[Arms]
    ARMS_PAIRED: _ClassVar[Arms]

class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHASE_UNSPECIFIED: _ClassVar[Phase]
    PHASE_STABLE: _ClassVar[Phase]
    PHASE_SHADOW: _ClassVar[Phase]
    PHASE_CANARY: _ClassVar[Phase]
    PHASE_FULL: _ClassVar[Phase]
ARMS_UNSPECIFIED: Arms
ARMS_SWITCHBACK: Arms
ARMS_STICKY: Arms
ARMS_PAIRED: Arms
PHASE_UNSPECIFIED: Phase
PHASE_STABLE: Phase
PHASE_SHADOW: Phase
PHASE_CANARY: Phase
PHASE_FULL: Phase

class Envelope(_message.Message):
    __slots__ = ("payload_type", "payload", "signatures")
    PAYLOAD_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SIGNATURES_FIELD_NUMBER: _ClassVar[int]
    payload_type: str
    payload: bytes
    signatures: _containers.RepeatedCompositeFieldContainer[Signature]
    def __init__(self, payload_type: _Optional[str] = ..., payload: _Optional[bytes] = ..., signatures: _Optional[_Iterable[_Union[Signature, _Mapping]]] = ...) -> None: ...

class Signature(_message.Message):
    __slots__ = ("keyid", "sig")
    KEYID_FIELD_NUMBER: _ClassVar[int]
    SIG_FIELD_NUMBER: _ClassVar[int]
    keyid: str
    sig: bytes
    def __init__(self, keyid: _Optional[str] = ..., sig: _Optional[bytes] = ...) -> None: ...

class Bundle(_message.Message):
    __slots__ = ("hook", "kind", "kind_version", "form", "source", "inputs", "vector_inputs", "vector_outputs", "evidence_digest", "provenance", "profile")
    class ProvenanceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    HOOK_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    KIND_VERSION_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    VECTOR_INPUTS_FIELD_NUMBER: _ClassVar[int]
    VECTOR_OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    hook: str
    kind: str
    kind_version: int
    form: str
    source: str
    inputs: _containers.RepeatedScalarFieldContainer[str]
    vector_inputs: _containers.RepeatedScalarFieldContainer[float]
    vector_outputs: _containers.RepeatedScalarFieldContainer[float]
    evidence_digest: str
    provenance: _containers.ScalarMap[str, str]
    profile: Profile
    def __init__(self, hook: _Optional[str] = ..., kind: _Optional[str] = ..., kind_version: _Optional[int] = ..., form: _Optional[str] = ..., source: _Optional[str] = ..., inputs: _Optional[_Iterable[str]] = ..., vector_inputs: _Optional[_Iterable[float]] = ..., vector_outputs: _Optional[_Iterable[float]] = ..., evidence_digest: _Optional[str] = ..., provenance: _Optional[_Mapping[str, str]] = ..., profile: _Optional[_Union[Profile, _Mapping]] = ...) -> None: ...

class Profile(_message.Message):
    __slots__ = ("trace", "features", "decisions", "until_unix_ns")
    TRACE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    trace: str
    features: _containers.RepeatedCompositeFieldContainer[FeatureProfile]
    decisions: int
    until_unix_ns: int
    def __init__(self, trace: _Optional[str] = ..., features: _Optional[_Iterable[_Union[FeatureProfile, _Mapping]]] = ..., decisions: _Optional[int] = ..., until_unix_ns: _Optional[int] = ...) -> None: ...

class FeatureProfile(_message.Message):
    __slots__ = ("name", "edges", "shares")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    name: str
    edges: _containers.RepeatedScalarFieldContainer[float]
    shares: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, name: _Optional[str] = ..., edges: _Optional[_Iterable[float]] = ..., shares: _Optional[_Iterable[float]] = ...) -> None: ...

class Upkeep(_message.Message):
    __slots__ = ("expires_after_ns", "drift_limit", "grace_ns", "then", "window_ns", "windows")
    EXPIRES_AFTER_NS_FIELD_NUMBER: _ClassVar[int]
    DRIFT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    GRACE_NS_FIELD_NUMBER: _ClassVar[int]
    THEN_FIELD_NUMBER: _ClassVar[int]
    WINDOW_NS_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    expires_after_ns: int
    drift_limit: float
    grace_ns: int
    then: str
    window_ns: int
    windows: int
    def __init__(self, expires_after_ns: _Optional[int] = ..., drift_limit: _Optional[float] = ..., grace_ns: _Optional[int] = ..., then: _Optional[str] = ..., window_ns: _Optional[int] = ..., windows: _Optional[int] = ...) -> None: ...

class Guardrail(_message.Message):
    __slots__ = ("name", "metric", "statistic", "margin", "relative")
    NAME_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    STATISTIC_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_FIELD_NUMBER: _ClassVar[int]
    name: str
    metric: str
    statistic: str
    margin: float
    relative: bool
    def __init__(self, name: _Optional[str] = ..., metric: _Optional[str] = ..., statistic: _Optional[str] = ..., margin: _Optional[float] = ..., relative: bool = ...) -> None: ...

class Interval(_message.Message):
    __slots__ = ("estimate", "low", "high")
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    estimate: float
    low: float
    high: float
    def __init__(self, estimate: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class RampPlan(_message.Message):
    __slots__ = ("id", "hook", "candidate", "stable", "arms", "weights", "block_ns", "burn_in_ns", "skew_ns", "min_pairs", "max_pairs", "alpha_promote", "alpha_abort", "objective", "objective_clip", "guardrails", "outcome_deadline_ns", "shadow_decisions", "shadow_rate", "soak_ns", "lease_ns", "not_after_unix_ns", "rollout_keyid", "rollout_public_key", "evidence_digest", "predicted", "slices", "upkeep")
    class PredictedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Interval
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Interval, _Mapping]] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    HOOK_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    STABLE_FIELD_NUMBER: _ClassVar[int]
    ARMS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_NS_FIELD_NUMBER: _ClassVar[int]
    BURN_IN_NS_FIELD_NUMBER: _ClassVar[int]
    SKEW_NS_FIELD_NUMBER: _ClassVar[int]
    MIN_PAIRS_FIELD_NUMBER: _ClassVar[int]
    MAX_PAIRS_FIELD_NUMBER: _ClassVar[int]
    ALPHA_PROMOTE_FIELD_NUMBER: _ClassVar[int]
    ALPHA_ABORT_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_CLIP_FIELD_NUMBER: _ClassVar[int]
    GUARDRAILS_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_DEADLINE_NS_FIELD_NUMBER: _ClassVar[int]
    SHADOW_DECISIONS_FIELD_NUMBER: _ClassVar[int]
    SHADOW_RATE_FIELD_NUMBER: _ClassVar[int]
    SOAK_NS_FIELD_NUMBER: _ClassVar[int]
    LEASE_NS_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_KEYID_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    UPKEEP_FIELD_NUMBER: _ClassVar[int]
    id: str
    hook: str
    candidate: str
    stable: str
    arms: Arms
    weights: _containers.RepeatedScalarFieldContainer[float]
    block_ns: int
    burn_in_ns: int
    skew_ns: int
    min_pairs: int
    max_pairs: int
    alpha_promote: float
    alpha_abort: float
    objective: str
    objective_clip: float
    guardrails: _containers.RepeatedCompositeFieldContainer[Guardrail]
    outcome_deadline_ns: int
    shadow_decisions: int
    shadow_rate: float
    soak_ns: int
    lease_ns: int
    not_after_unix_ns: int
    rollout_keyid: str
    rollout_public_key: bytes
    evidence_digest: str
    predicted: _containers.MessageMap[str, Interval]
    slices: int
    upkeep: Upkeep
    def __init__(self, id: _Optional[str] = ..., hook: _Optional[str] = ..., candidate: _Optional[str] = ..., stable: _Optional[str] = ..., arms: _Optional[_Union[Arms, str]] = ..., weights: _Optional[_Iterable[float]] = ..., block_ns: _Optional[int] = ..., burn_in_ns: _Optional[int] = ..., skew_ns: _Optional[int] = ..., min_pairs: _Optional[int] = ..., max_pairs: _Optional[int] = ..., alpha_promote: _Optional[float] = ..., alpha_abort: _Optional[float] = ..., objective: _Optional[str] = ..., objective_clip: _Optional[float] = ..., guardrails: _Optional[_Iterable[_Union[Guardrail, _Mapping]]] = ..., outcome_deadline_ns: _Optional[int] = ..., shadow_decisions: _Optional[int] = ..., shadow_rate: _Optional[float] = ..., soak_ns: _Optional[int] = ..., lease_ns: _Optional[int] = ..., not_after_unix_ns: _Optional[int] = ..., rollout_keyid: _Optional[str] = ..., rollout_public_key: _Optional[bytes] = ..., evidence_digest: _Optional[str] = ..., predicted: _Optional[_Mapping[str, Interval]] = ..., slices: _Optional[int] = ..., upkeep: _Optional[_Union[Upkeep, _Mapping]] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("hook", "epoch", "stable", "candidate", "phase", "weight", "salt", "kill", "issued_unix_ns", "lease_ns", "plan")
    HOOK_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STABLE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    KILL_FIELD_NUMBER: _ClassVar[int]
    ISSUED_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    LEASE_NS_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    hook: str
    epoch: int
    stable: str
    candidate: str
    phase: Phase
    weight: float
    salt: bytes
    kill: bool
    issued_unix_ns: int
    lease_ns: int
    plan: Envelope
    def __init__(self, hook: _Optional[str] = ..., epoch: _Optional[int] = ..., stable: _Optional[str] = ..., candidate: _Optional[str] = ..., phase: _Optional[_Union[Phase, str]] = ..., weight: _Optional[float] = ..., salt: _Optional[bytes] = ..., kill: bool = ..., issued_unix_ns: _Optional[int] = ..., lease_ns: _Optional[int] = ..., plan: _Optional[_Union[Envelope, _Mapping]] = ...) -> None: ...
