"""Whether a search has stopped getting better."""

from __future__ import annotations

from ..records import Outcome, Record


class Stagnation:
    """Counts proposals since the last better one, whatever became of them.

    AdaEvolve (arXiv 2602.20133) counts only those that its archive takes, so that it never notices that
    nothing is taken any more.

    Args:
        patience: proposals without an improvement after which it fires.
        least: fraction of the best score by which a better one has to be lower.
    """

    def __init__(self, patience: int, least: float = 1e-3) -> None:
        self.patience = patience
        self.waited = 0
        self._least = least
        self._best: float | None = None

    def heard(self, record: Record) -> bool:
        """Take a record; return whether the patience is over, and if so begin to wait anew."""
        if record.outcome is Outcome.OK and self._better(record.score):
            self._best = record.score
            self.waited = 0
            return False
        self.waited += 1
        if self.waited < self.patience:
            return False
        self.waited = 0
        return True

    def _better(self, score: float) -> bool:
        return self._best is None or score < self._best - self._least * abs(self._best)
