"""The file of suggested invariants, and who confirmed which: only those count.

A confirmation names who, when and of which severity, and a digest over all that makes the invariant. A
rule that is changed afterwards is therefore none that anybody confirmed, and the file is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError, TrustError
from ..files import read_regular, strict_json
from ..invariant import Invariant, Severity
from ..kind import Kind
from ..state import write_atomically
from .base import Rule
from .parse import rule_of

FORMAT = "gnomon.invariants/1"
_MOST_BYTES, _MOST_RULES = 2_000_000, 1_000
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_STRANGE, _MOST_LABEL = re.compile(r"[^a-z0-9]+"), 95  # characters; a number may follow
_WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_LONGEST = 200  # characters of a text


@dataclass(frozen=True, slots=True)
class Support:
    """What the trace says for a rule.

    Attributes:
        mined: decisions that its numbers were taken from.
        tested: later decisions that it was then asked about.
        broken: how many of those broke it.
        upper: upper limit of the share that breaks it, at 95 % for all rules of the file together.
        forbids: share of the other choices at hand that it forbids; 0 where it says nothing of them.
    """

    mined: int
    tested: int
    broken: int
    upper: float
    forbids: float


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Who says that a rule must hold.

    Attributes:
        by: who.
        when: in UTC, to the second.
        severity: of the invariant.
        digest: over the invariant, and this.
    """

    by: str
    when: str
    severity: Severity
    digest: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One rule that a trace suggests.

    Attributes:
        name: of the invariant.
        rule: what must hold.
        support: what the trace says for it.
        confirmed: by whom; None while nobody has.
    """

    name: str
    rule: Rule
    support: Support
    confirmed: Confirmation | None = None


@dataclass(frozen=True, slots=True)
class Suggestions:
    """A file of rules.

    Attributes:
        hook, kind, kind_version: what they are for.
        trace: digest of what they were mined from.
        decisions: whose: ``recorded``, or the policy that was replayed.
        rules: the most constraining first.
    """

    hook: str
    kind: str
    kind_version: int
    trace: str
    decisions: str
    rules: tuple[Suggestion, ...] = field(default=())

    def digest(self, suggestion: Suggestion, by: str, when: str, severity: str) -> str:
        """Return sha256 hex over all that a confirmation is about."""
        said = [self.hook, self.kind, self.kind_version, suggestion.name, suggestion.rule.as_json()]
        text = json.dumps([*said, by, when, severity], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def confirm(
        self, names: Sequence[str], by: str, when: str, severity: Severity = "block"
    ) -> Suggestions:
        """Return the file with some rules confirmed.

        Args:
            names: of the rules.
            by: who confirms.
            when: ``YYYY-MM-DDTHH:MM:SSZ``.
            severity: of the invariants; a rule that cannot block warns whatever this says.

        Raises:
            ConfigurationError: no such rule, nobody, or no such time.
        """
        known = {each.name for each in self.rules}
        missing = [name for name in names if name not in known]
        if missing or not names:
            raise ConfigurationError(
                f"there is no suggestion {missing[0] if missing else ''!r}; "
                f"there are {', '.join(sorted(known)) or 'none'}"
            )
        if not by.strip() or len(by) > _LONGEST or not _WHEN.fullmatch(when):
            raise ConfigurationError(f"by {by[:_LONGEST]!r} at {when!r} says not who and when")
        return replace(
            self,
            rules=tuple(
                replace(each, confirmed=self._confirmation(each, by, when, severity))
                if each.name in names
                else each
                for each in self.rules
            ),
        )

    def _confirmation(
        self, suggestion: Suggestion, by: str, when: str, severity: Severity
    ) -> Confirmation:
        held: Severity = "warn" if suggestion.rule.ONLY_WARNS else severity
        return Confirmation(by, when, held, self.digest(suggestion, by, when, held))

    def invariants(self, kind: Kind, hook: str) -> tuple[Invariant, ...]:
        """Return what was confirmed as invariants of a hook.

        Raises:
            ConfigurationError: the file is for another hook, or another version of its kind.
        """
        theirs, ours = (self.hook, self.kind, self.kind_version), (hook, kind.name, kind.version)
        if theirs != ours:
            raise ConfigurationError(
                f"these invariants are for hook {theirs[0]!r} of {theirs[1]} v{theirs[2]}, not for "
                f"{ours[0]!r} of {ours[1]} v{ours[2]}; suggest some on its own trace"
            )
        for each in self.rules:
            if each.rule.FORM != kind.form or each.rule.problem(kind):
                raise ConfigurationError(
                    f"rule {each.name!r} means nothing for kind {kind.name!r}: "
                    f"{each.rule.problem(kind) if each.rule.FORM == kind.form else each.rule.FORM + ' form'}"
                )
        return tuple(
            Invariant(
                each.name,
                each.rule.predicate(),
                severity=each.confirmed.severity,
                description=each.rule.says(),
            )
            for each in self.rules
            if each.confirmed is not None
        )

    def to_bytes(self) -> bytes:
        """Return the file: JSON for people, ASCII, sorted keys but for the order of the rules."""
        head = {name: getattr(self, name) for name in _HEAD}
        rules = [_as_json(each) for each in self.rules]
        body = {"format": FORMAT} | head | {"suggestions": rules}
        return (json.dumps(body, indent=1, allow_nan=False) + "\n").encode("ascii")

    def save(self, path: Path) -> None:
        """Write the file whole, or not at all."""
        write_atomically(path, self.to_bytes())


def name_for(label: str) -> str:
    """Return a label as a suggestion may be named; features may have capitals, other scripts and long names."""
    name = _STRANGE.sub("_", label.lower()).strip("_")
    return (name if name[:1].isalpha() else f"rule_{name}")[:_MOST_LABEL].rstrip("_")


_HEAD = tuple(each.name for each in fields(Suggestions) if each.name != "rules")


def _as_json(suggestion: Suggestion) -> dict[str, Any]:
    confirmed = suggestion.confirmed
    return {
        "name": suggestion.name,
        "says": suggestion.rule.says(),
        "rule": suggestion.rule.as_json(),
        "support": asdict(suggestion.support),
        "confirmed": None if confirmed is None else asdict(confirmed),
    }


def read_suggestions(path: str | Path) -> Suggestions:
    """Read a file of suggestions.

    Raises:
        ConfigurationError: it cannot be read, or is none; says what is wrong with it.
        TrustError: a rule is another than the one that was confirmed, or its sentence says another thing.
    """
    try:
        data = read_regular(path, _MOST_BYTES)
    except OSError as error:
        raise ConfigurationError(
            f"invariants {path} cannot be read ({error.strerror}); name another file"
        ) from error
    try:
        return parse_suggestions(data)
    except (ConfigurationError, TrustError) as error:
        raise type(error)(f"{path}: {error}") from error


def parse_suggestions(data: bytes) -> Suggestions:
    """Return what the bytes of a file say; raises as :func:`read_suggestions`."""
    if len(data) > _MOST_BYTES:
        raise ConfigurationError(f"no file of invariants has more than {_MOST_BYTES} bytes")
    try:
        value = strict_json(data)
    except ValueError as error:
        raise ConfigurationError(f"no file of invariants ({error}); suggest anew") from error
    body = _fields(value, ("format", *_HEAD, "suggestions"), "a file of invariants")
    if body["format"] != FORMAT:
        raise ConfigurationError(
            f"a file of invariants of format {str(body['format'])[:_LONGEST]!r}, this reads {FORMAT!r}; "
            "suggest anew, or upgrade"
        )
    for name in _HEAD:
        _typed(body[name], int if name == "kind_version" else str, name)
    rules = _typed(body["suggestions"], list, "suggestions")
    if len(rules) > _MOST_RULES:
        raise ConfigurationError(
            f"{len(rules)} suggestions are more than {_MOST_RULES}; leave some out"
        )
    head = Suggestions(**{name: body[name] for name in _HEAD})
    found = replace(head, rules=tuple(_suggestion(head, each) for each in rules))
    twice = [
        name for name, count in Counter(each.name for each in found.rules).items() if count > 1
    ]
    if twice:
        raise ConfigurationError(f"two suggestions are named {twice[0]!r}; rename one")
    return found


def _suggestion(head: Suggestions, value: Any) -> Suggestion:
    body = _fields(value, ("name", "says", "rule", "support", "confirmed"), "a suggestion")
    name = _typed(body["name"], str, "name")
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"a suggestion's name is {name[:_LONGEST]!r}; use small letters, digits and '_'"
        )
    rule = rule_of(body["rule"])
    if body["says"] != rule.says():
        raise TrustError(
            f"the sentence of suggestion {name!r} is not what its rule says; it must be {rule.says()!r}"
        )
    made = Suggestion(name, rule, _support(body["support"]))
    return replace(made, confirmed=_confirmed(head, made, body["confirmed"]))


def _support(value: Any) -> Support:
    names = tuple(each.name for each in fields(Support))
    body = _fields(value, names, "the support of a suggestion")
    for name in names:
        _typed(body[name], (int, float) if name in ("upper", "forbids") else int, name)
    return Support(**body)


def _confirmed(head: Suggestions, made: Suggestion, value: Any) -> Confirmation | None:
    if value is None:
        return None
    names = tuple(each.name for each in fields(Confirmation))
    body = _fields(value, names, "a confirmation")
    for name in names:
        _typed(body[name], str, name)
    told = Confirmation(**body)
    if told.severity not in ("block", "warn") or (
        told.severity == "block" and made.rule.ONLY_WARNS
    ):
        raise ConfigurationError(
            f"suggestion {made.name!r} is confirmed with severity {told.severity[:_LONGEST]!r}; "
            f"use {'warn' if made.rule.ONLY_WARNS else 'block or warn'}"
        )
    if told.digest != head.digest(made, told.by, told.when, told.severity):
        raise TrustError(
            f"suggestion {made.name!r} was changed after {told.by[:_LONGEST]!r} confirmed it; confirm "
            "it again"
        )
    return told


def _fields(value: Any, names: Sequence[str], what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or value.keys() != {*names}:
        given = sorted(str(key)[:_LONGEST] for key in value) if isinstance(value, dict) else []
        raise ConfigurationError(
            f"{what} has the fields {', '.join(names)}; this one has {', '.join(given) or 'none'}"
        )
    return value


def _typed(value: Any, kind: type | tuple[type, ...], name: str) -> Any:
    strange = not isinstance(value, kind) or isinstance(value, bool)
    if strange or (isinstance(value, float) and not math.isfinite(value)):
        raise ConfigurationError(
            f"{name} of a file of invariants is {str(value)[:_LONGEST]!r}; mend it"
        )
    return value
