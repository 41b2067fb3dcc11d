"""What may happen in a fleet, for histories that :mod:`.history` looks at."""

from __future__ import annotations

from dataclasses import dataclass

CONTROL = "control"
INCUMBENT = "incumbent"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        time_ns: true Unix time, whatever any process's clock says.
        process: instance of a service's process, or ``control``.
    """

    time_ns: int
    process: str


@dataclass(frozen=True, slots=True)
class Planned(Event):
    """A publisher approved a plan; from here on the control plane may carry it out."""

    hook: str
    rollout: str
    stable: str
    candidate: str
    weights: tuple[float, ...]
    lease_ns: int
    not_after_ns: int


@dataclass(frozen=True, slots=True)
class Published(Event):
    """The control plane sent a manifest.

    Attributes:
        content: digest of its payload.
        plan_by, by: keyids of who signed the plan, and of who signed the manifest.
    """

    hook: str
    rollout: str
    epoch: int
    content: str
    stable: str
    candidate: str
    phase: str
    weight: float
    kill: bool
    issued_ns: int
    plan_by: tuple[str, ...] = ()
    by: str = ""


@dataclass(frozen=True, slots=True)
class Installed(Event):
    """A process put a manifest in force; ``resumed`` one comes from its own disk."""

    hook: str
    epoch: int
    content: str
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Acked(Event):
    """A process acknowledged a manifest."""

    hook: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Nacked(Event):
    """A process refused a resource."""

    hook: str
    epoch: int
    error: str


@dataclass(frozen=True, slots=True)
class Decided(Event):
    """A hook decided: which policy answered, under which epoch, for which arm."""

    hook: str
    epoch: int
    arm: str
    digest: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class LeaseEnded(Event):
    """A process noticed that its lease had run out."""

    hook: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Restarted(Event):
    """A process, or the control plane, began another life; ``kept`` says whether with its state."""

    kept: bool = True


@dataclass(frozen=True, slots=True)
class Restored(Event):
    """Somebody put an older copy of the control plane's files in their place; what came after it is lost."""


@dataclass(frozen=True, slots=True)
class Ordered(Event):
    """Somebody sent an order; its reason is the request's id, so that it is found again."""

    request: str
    rollout: str
    action: str


@dataclass(frozen=True, slots=True)
class Answered(Event):
    """The control plane answered an order: carried out, or refused."""

    request: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Moved(Event):
    """Somebody was shown the ``number``-th transition of a rollout, counted from 0."""

    rollout: str
    number: int
    before: str
    after: str
    cause: str


@dataclass(frozen=True, slots=True)
class Settled(Event):
    """All transitions of a rollout at the end of the history: (before, after, cause)."""

    rollout: str
    moves: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Counted(Event):
    """What a rollout's newest attempt has judged: since when it runs, and when that evidence begins."""

    rollout: str
    attempt: int
    begun_ns: int
    since_ns: int


@dataclass(frozen=True, slots=True)
class Entry(Event):
    """One entry of the ledger as it stands at the end; ``event`` is the store's number, 0 for none."""

    seq: int
    previous: str
    hash: str
    kind: str
    subject: str
    event: int = 0
    before: str = ""
    after: str = ""
    cause: str = ""
    order: str = ""


@dataclass(frozen=True, slots=True)
class Signed(Event):
    """A publisher signed a policy's bundle, for the first time or again."""

    digest: str
    by: str


@dataclass(frozen=True, slots=True)
class Trusted(Event):
    """A process, or the control plane, trusts these publisher keys from now on, and has heard what is revoked."""

    publishers: tuple[str, ...]
    revoked: frozenset[str] = frozenset()
