"""Every error that Gnomon raises on purpose.

    GnomonError
    ├── ConfigurationError      a setting or an argument is wrong; names the value and the remedy
    ├── LanguageError           a policy's source lies outside the policy language
    ├── TraceError              a trace or a trace store cannot be read as what it claims to be
    ├── TrustError              a signature, key, digest, epoch or lease does not hold
    ├── IsolationError          the isolation that was asked for cannot be had on this machine
    ├── CandidateError          a candidate failed; never the evaluator's own fault
    ├── UnavailableError        a peer (control plane, recorder) cannot be reached
    ├── SearchError             a search cannot go on, because its evaluator does not work
    └── RolloutError            a rollout may not do what was asked of it in its present state

Nothing here is ever raised into a decorated service's call: a hook answers with the incumbent instead.
"""

from __future__ import annotations


class GnomonError(Exception):
    """Base of all errors below; its message is one line that names the thing and the remedy."""


class ConfigurationError(GnomonError):
    """A setting or an argument is wrong."""


class LanguageError(GnomonError):
    """A policy's source lies outside the policy language.

    Attributes:
        line: line of the source, from 1; 0 when the fault is not in one line.
        reason: what is not allowed, and what is instead.
    """

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {reason}" if line else reason)
        self.reason = reason
        self.line = line


class TraceError(GnomonError):
    """A trace or a trace store cannot be read as what it claims to be."""


class TrustError(GnomonError):
    """A signature, key, digest, epoch or lease does not hold."""


class IsolationError(GnomonError):
    """The isolation that was asked for cannot be had on this machine."""


class CandidateError(GnomonError):
    """A candidate raised, returned nonsense, ran out of fuel or time, or its process died."""


class UnavailableError(GnomonError):
    """A peer (control plane, recorder) cannot be reached."""


class SearchError(GnomonError):
    """A search cannot go on, because its evaluator does not work; what it found is kept."""


class RolloutError(GnomonError):
    """A rollout may not do what was asked of it in its present state."""
