"""The holdout's budget: how often it was opened, and how sure an answer from it must still be.

Every candidate that is judged on the same holdout gets another chance to be lucky. The k-th gets
``ALPHA / 2**k`` of the error that may be made at all, so that all of them together stay below ``ALPHA``.
Openings are counted in the ledger by the digest of the holdout's content.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..policies.rollout.ledger import Ledger
from ..sdk.errors import TrustError

#: Chance that any candidate, of all that are ever judged on one holdout, passes without being better.
ALPHA = 0.05
#: A grant below this cannot be answered by resampling; the holdout counts as spent.
LEAST_GRANT = 0.001
OPENED = "holdout.opened"


@dataclass(frozen=True, slots=True)
class Grant:
    """What one opening of a holdout may cost.

    Attributes:
        opening: which one it is, from 1.
        alpha: one-sided error that its answer may have; 0 when the holdout is spent.
    """

    opening: int
    alpha: float

    @property
    def spent(self) -> bool:
        """Whether nothing is left and a newer trace is required."""
        return self.alpha <= 0.0


def granted(opening: int) -> Grant:
    """Return the grant of the n-th opening of a holdout, from 1."""
    alpha = ALPHA / 2.0**opening
    return Grant(opening, alpha if alpha >= LEAST_GRANT else 0.0)


def open_holdout(ledger: Ledger, holdout: str, question: str, actor: str) -> Grant:
    """Count an opening before it happens, and return what it may cost.

    The same question again has the same answer, so it is granted what it was granted before.

    Args:
        ledger: where openings are counted; it must hold.
        holdout: digest of the holdout's content.
        question: digest of everything that the answer depends on besides the holdout.
        actor: who asks.

    Raises:
        TrustError: the ledger was tampered with.
    """
    check = ledger.verify()
    if not check.ok:
        raise TrustError(f"ledger {ledger.path} does not hold ({check.problem}); restore it first")
    earlier = ledger.list(kind=OPENED, subject=holdout)
    for entry in earlier:
        if entry.body.get("question") == question:
            return granted(int(entry.body["opening"]))
    grant = granted(len(earlier) + 1)
    if not grant.spent:
        body = {"question": question, "opening": grant.opening, "alpha": grant.alpha}
        ledger.append(OPENED, actor, holdout, body)
    return grant
