"""Every event, attribute and instrument name that Gnomon puts on the wire, in one place.

``gnomon.*`` are Gnomon's own; ``feature_flag.*`` and ``service.*`` are OpenTelemetry's semantic
conventions and keep their meaning. The table with types and defaults is docs/reference/events.md.
"""

from __future__ import annotations

SCOPE = "gnomon"

# Events (the event_name of a log record).
DECISION = "gnomon.decision"
OUTCOME = "gnomon.outcome"
WORKLOAD = "gnomon.workload"

# Semantic conventions.
SERVICE_NAME = "service.name"
SERVICE_INSTANCE_ID = "service.instance.id"
FLAG_KEY = "feature_flag.key"  # the hook's name
FLAG_VARIANT = "feature_flag.result.variant"  # the arm
FLAG_REASON = "feature_flag.result.reason"
FLAG_VERSION = "feature_flag.version"  # the policy's digest
FLAG_PROVIDER = "feature_flag.provider.name"

# On every record, and on the instrumentation scope of a batch.
SCHEMA = "gnomon.schema"  # KIND/VERSION: what the features, metrics and fields mean
BATCH_ID = "gnomon.batch.id"

# Decisions; those marked + also on outcomes.
DECISION_ID = "gnomon.decision.id"  # +
DECISION_DURATION = "gnomon.decision.duration"
DECISION_UNIT = "gnomon.decision.unit"
DECISION_REASON = "gnomon.decision.reason"
DECISION_DETAIL = "gnomon.decision.detail"
DECISION_EPOCH = "gnomon.decision.epoch"
DECISION_BLOCK = "gnomon.decision.block"  # +
DECISION_ACTION = "gnomon.decision.action"
DECISION_ITEMS = "gnomon.decision.items"
DECISION_FEATURES = "gnomon.decision.features"
DECISION_PROPENSITY = "gnomon.decision.propensity"
DECISION_INCLUSION = "gnomon.decision.inclusion"

# Outcomes.
OUTCOME_OK = "gnomon.outcome.ok"
OUTCOME_STATUS = "gnomon.outcome.status"
OUTCOME_DELAY = "gnomon.outcome.delay"  # from the decision to the outcome
OUTCOME_VALUE = "gnomon.outcome.value."  # + the metric's name

# Workload events.
WORKLOAD_ID = "gnomon.workload.id"
WORKLOAD_EVENT = "gnomon.workload.event"
WORKLOAD_VALUE = "gnomon.workload.value."  # + the field's name
# Of many events in one record:
WORKLOAD_COUNT = "gnomon.workload.count"
WORKLOAD_TIMES = "gnomon.workload.times"
WORKLOAD_COLUMN = "gnomon.workload.column."  # + the field's name

#: ``feature_flag.result.reason`` has a closed list of values; Gnomon's reasons map into it.
FLAG_REASONS = {
    "static": "static",
    "shadow": "static",
    "split": "split",
    "explore": "split",
    "fallback": "error",
}

# Instruments.
METRIC_DECISIONS = "gnomon.decisions"
METRIC_DROPPED = "gnomon.records.dropped"
METRIC_FALLBACKS = "gnomon.fallbacks"
METRIC_VIOLATIONS = "gnomon.invariant.violations"
METRIC_OUTCOMES_MISSING = "gnomon.outcomes.missing"
METRIC_STALENESS = "gnomon.policy.staleness"
METRIC_TRIPS = "gnomon.breaker.trips"
METRIC_KILLED = "gnomon.policy.killed"
METRIC_EXPORTED = "gnomon.records.exported"

# Attributes of instruments.
METRIC_REASON = "gnomon.reason"
METRIC_FATE = "gnomon.fate"
METRIC_SINK = "gnomon.sink"
