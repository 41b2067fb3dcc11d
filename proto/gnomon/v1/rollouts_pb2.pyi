from gnomon.v1 import policy_pb2 as _policy_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATE_UNSPECIFIED: _ClassVar[State]
    DRAFT: _ClassVar[State]
    SHADOW: _ClassVar[State]
    CANARY: _ClassVar[State]
    RAMP: _ClassVar[State]
    FULL: _ClassVar[State]
    STABLE: _ClassVar[State]
    HOLD: _ClassVar[State]
    ABORTED: _ClassVar[State]
STATE_UNSPECIFIED: State
DRAFT: State
SHADOW: State
CANARY: State
RAMP: State
FULL: State
STABLE: State
HOLD: State
ABORTED: State

class GuardrailStatus(_message.Message):
    __slots__ = ("name", "log_e_worse", "log_e_fine", "stable", "candidate")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LOG_E_WORSE_FIELD_NUMBER: _ClassVar[int]
    LOG_E_FINE_FIELD_NUMBER: _ClassVar[int]
    STABLE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    log_e_worse: float
    log_e_fine: float
    stable: float
    candidate: float
    def __init__(self, name: _Optional[str] = ..., log_e_worse: _Optional[float] = ..., log_e_fine: _Optional[float] = ..., stable: _Optional[float] = ..., candidate: _Optional[float] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("pairs", "excluded_stable", "excluded_candidate", "incomplete", "log_e_better", "log_e_worse", "effect", "stable_mean", "candidate_mean", "stable_decisions", "candidate_decisions", "guardrails", "shadow_decisions", "shadow_diverged", "shadow_faults", "shadow_violations", "points")
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_STABLE_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    INCOMPLETE_FIELD_NUMBER: _ClassVar[int]
    LOG_E_BETTER_FIELD_NUMBER: _ClassVar[int]
    LOG_E_WORSE_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    STABLE_MEAN_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_MEAN_FIELD_NUMBER: _ClassVar[int]
    STABLE_DECISIONS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_DECISIONS_FIELD_NUMBER: _ClassVar[int]
    GUARDRAILS_FIELD_NUMBER: _ClassVar[int]
    SHADOW_DECISIONS_FIELD_NUMBER: _ClassVar[int]
    SHADOW_DIVERGED_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FAULTS_FIELD_NUMBER: _ClassVar[int]
    SHADOW_VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    pairs: int
    excluded_stable: int
    excluded_candidate: int
    incomplete: int
    log_e_better: float
    log_e_worse: float
    effect: _policy_pb2.Interval
    stable_mean: float
    candidate_mean: float
    stable_decisions: int
    candidate_decisions: int
    guardrails: _containers.RepeatedCompositeFieldContainer[GuardrailStatus]
    shadow_decisions: int
    shadow_diverged: int
    shadow_faults: int
    shadow_violations: int
    points: _containers.RepeatedCompositeFieldContainer[PairPoint]
    def __init__(self, pairs: _Optional[int] = ..., excluded_stable: _Optional[int] = ..., excluded_candidate: _Optional[int] = ..., incomplete: _Optional[int] = ..., log_e_better: _Optional[float] = ..., log_e_worse: _Optional[float] = ..., effect: _Optional[_Union[_policy_pb2.Interval, _Mapping]] = ..., stable_mean: _Optional[float] = ..., candidate_mean: _Optional[float] = ..., stable_decisions: _Optional[int] = ..., candidate_decisions: _Optional[int] = ..., guardrails: _Optional[_Iterable[_Union[GuardrailStatus, _Mapping]]] = ..., shadow_decisions: _Optional[int] = ..., shadow_diverged: _Optional[int] = ..., shadow_faults: _Optional[int] = ..., shadow_violations: _Optional[int] = ..., points: _Optional[_Iterable[_Union[PairPoint, _Mapping]]] = ...) -> None: ...

class PairPoint(_message.Message):
    __slots__ = ("pair", "stable", "candidate", "used")
    PAIR_FIELD_NUMBER: _ClassVar[int]
    STABLE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    pair: int
    stable: float
    candidate: float
    used: str
    def __init__(self, pair: _Optional[int] = ..., stable: _Optional[float] = ..., candidate: _Optional[float] = ..., used: _Optional[str] = ...) -> None: ...

class Transition(_message.Message):
    __slots__ = ("to", "cause", "actor", "time_unix_ns", "epoch", "order")
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    TIME_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    to: State
    cause: str
    actor: str
    time_unix_ns: int
    epoch: int
    order: str
    def __init__(self, to: _Optional[_Union[State, str]] = ..., cause: _Optional[str] = ..., actor: _Optional[str] = ..., time_unix_ns: _Optional[int] = ..., epoch: _Optional[int] = ..., order: _Optional[str] = ..., **kwargs) -> None: ...

class Rollout(_message.Message):
    __slots__ = ("id", "hook", "state", "candidate", "stable", "weight", "epoch", "evidence", "transitions", "acked", "clients", "calibration", "attempt", "serving", "upkeep")
    ID_FIELD_NUMBER: _ClassVar[int]
    HOOK_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CANDIDATE_FIELD_NUMBER: _ClassVar[int]
    STABLE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    ACKED_FIELD_NUMBER: _ClassVar[int]
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    UPKEEP_FIELD_NUMBER: _ClassVar[int]
    id: str
    hook: str
    state: State
    candidate: str
    stable: str
    weight: float
    epoch: int
    evidence: Evidence
    transitions: _containers.RepeatedCompositeFieldContainer[Transition]
    acked: int
    clients: int
    calibration: str
    attempt: int
    serving: str
    upkeep: UpkeepStatus
    def __init__(self, id: _Optional[str] = ..., hook: _Optional[str] = ..., state: _Optional[_Union[State, str]] = ..., candidate: _Optional[str] = ..., stable: _Optional[str] = ..., weight: _Optional[float] = ..., epoch: _Optional[int] = ..., evidence: _Optional[_Union[Evidence, _Mapping]] = ..., transitions: _Optional[_Iterable[_Union[Transition, _Mapping]]] = ..., acked: _Optional[int] = ..., clients: _Optional[int] = ..., calibration: _Optional[str] = ..., attempt: _Optional[int] = ..., serving: _Optional[str] = ..., upkeep: _Optional[_Union[UpkeepStatus, _Mapping]] = ...) -> None: ...

class UpkeepStatus(_message.Message):
    __slots__ = ("since_unix_ns", "expires_unix_ns", "drift_limit", "indices", "over", "notice", "due_unix_ns", "then", "unwatched")
    SINCE_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    DRIFT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    INDICES_FIELD_NUMBER: _ClassVar[int]
    OVER_FIELD_NUMBER: _ClassVar[int]
    NOTICE_FIELD_NUMBER: _ClassVar[int]
    DUE_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    THEN_FIELD_NUMBER: _ClassVar[int]
    UNWATCHED_FIELD_NUMBER: _ClassVar[int]
    since_unix_ns: int
    expires_unix_ns: int
    drift_limit: float
    indices: _containers.RepeatedCompositeFieldContainer[FeatureIndex]
    over: int
    notice: str
    due_unix_ns: int
    then: str
    unwatched: str
    def __init__(self, since_unix_ns: _Optional[int] = ..., expires_unix_ns: _Optional[int] = ..., drift_limit: _Optional[float] = ..., indices: _Optional[_Iterable[_Union[FeatureIndex, _Mapping]]] = ..., over: _Optional[int] = ..., notice: _Optional[str] = ..., due_unix_ns: _Optional[int] = ..., then: _Optional[str] = ..., unwatched: _Optional[str] = ...) -> None: ...

class FeatureIndex(_message.Message):
    __slots__ = ("name", "index", "from_trace", "from_first")
    NAME_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FROM_TRACE_FIELD_NUMBER: _ClassVar[int]
    FROM_FIRST_FIELD_NUMBER: _ClassVar[int]
    name: str
    index: float
    from_trace: float
    from_first: float
    def __init__(self, name: _Optional[str] = ..., index: _Optional[float] = ..., from_trace: _Optional[float] = ..., from_first: _Optional[float] = ...) -> None: ...

class Reverification(_message.Message):
    __slots__ = ("hook", "policy", "source_digest", "evidence_digest", "profile")
    HOOK_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    hook: str
    policy: str
    source_digest: str
    evidence_digest: str
    profile: _policy_pb2.Profile
    def __init__(self, hook: _Optional[str] = ..., policy: _Optional[str] = ..., source_digest: _Optional[str] = ..., evidence_digest: _Optional[str] = ..., profile: _Optional[_Union[_policy_pb2.Profile, _Mapping]] = ...) -> None: ...

class ReverifyRequest(_message.Message):
    __slots__ = ("reverification", "actor")
    REVERIFICATION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    reverification: _policy_pb2.Envelope
    actor: str
    def __init__(self, reverification: _Optional[_Union[_policy_pb2.Envelope, _Mapping]] = ..., actor: _Optional[str] = ...) -> None: ...

class CreateRequest(_message.Message):
    __slots__ = ("bundle", "plan", "actor")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    bundle: _policy_pb2.Envelope
    plan: _policy_pb2.Envelope
    actor: str
    def __init__(self, bundle: _Optional[_Union[_policy_pb2.Envelope, _Mapping]] = ..., plan: _Optional[_Union[_policy_pb2.Envelope, _Mapping]] = ..., actor: _Optional[str] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("hook",)
    HOOK_FIELD_NUMBER: _ClassVar[int]
    hook: str
    def __init__(self, hook: _Optional[str] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("rollouts",)
    ROLLOUTS_FIELD_NUMBER: _ClassVar[int]
    rollouts: _containers.RepeatedCompositeFieldContainer[Rollout]
    def __init__(self, rollouts: _Optional[_Iterable[_Union[Rollout, _Mapping]]] = ...) -> None: ...

class ActRequest(_message.Message):
    __slots__ = ("id", "action", "actor", "reason", "request_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    action: str
    actor: str
    reason: str
    request_id: str
    def __init__(self, id: _Optional[str] = ..., action: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ExcludeRequest(_message.Message):
    __slots__ = ("hook", "from_unix_ns", "to_unix_ns", "reason", "actor")
    HOOK_FIELD_NUMBER: _ClassVar[int]
    FROM_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    TO_UNIX_NS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    hook: str
    from_unix_ns: int
    to_unix_ns: int
    reason: str
    actor: str
    def __init__(self, hook: _Optional[str] = ..., from_unix_ns: _Optional[int] = ..., to_unix_ns: _Optional[int] = ..., reason: _Optional[str] = ..., actor: _Optional[str] = ...) -> None: ...

class ExcludeResponse(_message.Message):
    __slots__ = ("blocks",)
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    blocks: int
    def __init__(self, blocks: _Optional[int] = ...) -> None: ...

class ListClientsRequest(_message.Message):
    __slots__ = ("hook",)
    HOOK_FIELD_NUMBER: _ClassVar[int]
    hook: str
    def __init__(self, hook: _Optional[str] = ...) -> None: ...

class Client(_message.Message):
    __slots__ = ("service", "instance", "cell", "epoch", "connected", "last_error", "killed")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    CELL_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    KILLED_FIELD_NUMBER: _ClassVar[int]
    service: str
    instance: str
    cell: str
    epoch: int
    connected: bool
    last_error: str
    killed: str
    def __init__(self, service: _Optional[str] = ..., instance: _Optional[str] = ..., cell: _Optional[str] = ..., epoch: _Optional[int] = ..., connected: bool = ..., last_error: _Optional[str] = ..., killed: _Optional[str] = ...) -> None: ...

class ListClientsResponse(_message.Message):
    __slots__ = ("clients",)
    CLIENTS_FIELD_NUMBER: _ClassVar[int]
    clients: _containers.RepeatedCompositeFieldContainer[Client]
    def __init__(self, clients: _Optional[_Iterable[_Union[Client, _Mapping]]] = ...) -> None: ...
