"""What kind of failure a run showed: one sentence each, from the records and the finalists alone.

The kinds are those that published runs of program search fail by: early convergence, overfitting, drift,
a gamed objective, and budget that buys nothing (duplicates, invalid programs, answers that never came).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ...models.breaker import silence
from ..records import FREE, KEYLESS, Outcome, Record
from .account import by_author, improvements
from .finalist import Finalist
from .gains import EQUAL, LEAST_SEGMENTS, gain

#: Part of a run after which something better is expected, and evaluations below which nothing is.
EARLY = 0.25
ENOUGH = 40
#: Part of the stretches that a gain must not hang on.
FEW = 0.1
#: A stretch this much below the best that was ever seen elsewhere on it is not believed.
IMPOSSIBLE = 0.1
#: Part of all proposals that may be repetitions, and of a model's answers that may be missing.
REPEATED = 1 / 3
UNANSWERED = 1 / 2
#: Proposals of one author, and answers of one model, below which a failure is chance.
LEAST_PROPOSALS = 5
LEAST_ANSWERS = 3
#: Evaluations that the evaluator itself may fail.
FAULTY = 0.1


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a diagnosis is made from.

    Attributes:
        records: of all proposals, by step.
        finalists: all of them, best on validation first.
        winner: of the finalists, or None.
        baseline: best published policy on validation, or None.
        incumbent: scores of the policy in production, or None when they are not known.
    """

    records: Sequence[Record]
    finalists: Sequence[Finalist]
    winner: Finalist | None
    baseline: Finalist | None
    incumbent: Finalist | None


def diagnosis(seen: Evidence) -> tuple[str, ...]:
    """Return what kind of failure a run showed, one sentence each."""
    found = (
        nothing_won(seen.winner, seen.incumbent) or _only_published(seen.winner),
        *(sentence for kind in _KINDS for sentence in kind(seen)),
    )
    return tuple(sentence for sentence in found if sentence)


def nothing_won(winner: Finalist | None, incumbent: Finalist | None) -> str:
    """Return why the incumbent is to be kept, or an empty string."""
    if winner is None:
        return "nothing won: no program could be scored on validation; keep the incumbent"
    if incumbent is not None and not gain(incumbent.validation, winner.validation) > EQUAL:
        return "nothing won: no program beats the incumbent on validation; keep the incumbent"
    return ""


def _only_published(winner: Finalist | None) -> str:
    if winner is None or winner.name in {"evolved", "incumbent"}:
        return ""
    return f"search added nothing over the published policy {winner.name}"


def about_authors(records: Sequence[Record]) -> tuple[str, ...]:
    """Return which models did not answer, and whose programs never got a score, one sentence each."""
    return (*_silent_models(records), *_fruitless_authors(records))


def _overfitted(seen: Evidence) -> Iterator[str]:
    baseline = seen.baseline
    evolved = [f for f in seen.finalists if f.name == "evolved" and math.isfinite(f.train)]
    if baseline is None or not evolved:
        return
    best = min(evolved, key=lambda f: f.train)
    train, validation = gain(baseline.train, best.train), gain(baseline.validation, best.validation)
    if not train > 2 * EQUAL or validation >= train / 2 or math.isnan(baseline.validation):
        return
    there = "is without a score" if math.isnan(best.validation) else f"{validation:.1%}"
    yield (
        f"overfitting: the best on train gains {train:.1%} over {baseline.name} there and "
        f"{there} on validation; record a longer trace"
    )


def _drifted(seen: Evidence) -> Iterator[str]:
    known = [f for f in seen.finalists if f.name != "evolved" and f.sound]
    if len(known) < 2:
        return
    before, after = min(known, key=lambda f: f.train), min(known, key=lambda f: f.validation)
    lost = gain(after.validation, before.validation)
    if not lost < -4 * EQUAL:
        return
    yield (
        f"drift: {before.name} is the best published policy on train and {after.name} on "
        f"validation, by {-lost:.1%}: the workload changed, or it was luck"
    )


def _converged_early(seen: Evidence) -> Iterator[str]:
    records, best = seen.records, improvements(seen.records)
    evaluated = sum(record.outcome not in FREE for record in records)
    if not best or evaluated < ENOUGH or best[-1][0] > EARLY * len(records):
        return
    yield (
        f"early convergence: nothing better on train after step {best[-1][0]} of {len(records)}; "
        "another seed or a richer start may help, more budget will not"
    )


def _hangs_on_few(seen: Evidence) -> Iterator[str]:
    """A gain that a few stretches make is luck there, or a hole in the objective."""
    pair = _compared(seen)
    if pair is None:
        return
    name, base, ours = pair
    total = gain(math.fsum(base), math.fsum(ours))
    few = max(round(FEW * len(base)), 1)
    order = sorted(range(len(base)), key=lambda i: ours[i] - base[i])
    left = order[few:]
    without = gain(math.fsum(base[i] for i in left), math.fsum(ours[i] for i in left))
    if not total > EQUAL or without > EQUAL:
        return
    yield (
        f"a gamed objective, or luck: the winner gains {total:.1%} over {name}, and {without:.1%} "
        f"without {few} of {len(base)} stretches; look at what it does there"
    )


def _too_good(seen: Evidence) -> Iterator[str]:
    pair = _compared(seen)
    if pair is None:
        return
    name, base, ours = pair
    at = [
        i for i, (b, o) in enumerate(zip(base, ours, strict=True)) if b > 0 and o < IMPOSSIBLE * b
    ]
    if not at:
        return
    yield (
        f"a gamed objective? On {len(at)} of {len(base)} stretches the winner's mean is below "
        f"{IMPOSSIBLE:.0%} of that of {name}: see whether the objective can be satisfied without the work"
    )


def _compared(seen: Evidence) -> tuple[str, Sequence[float], Sequence[float]] | None:
    """Return the best published policy's name, and its and an evolved winner's stretches of validation."""
    if seen.winner is None or seen.winner.name != "evolved" or seen.baseline is None:
        return None
    base, ours = seen.baseline.segments, seen.winner.segments
    if len(base) != len(ours) or len(base) < LEAST_SEGMENTS:
        return None
    return seen.baseline.name, base, ours


def _repeated(seen: Evidence) -> Iterator[str]:
    """Duplicates are cheap but say that the strategy has nothing new."""
    count = sum(r.outcome in {Outcome.DUPLICATE, Outcome.NOT_NOVEL} for r in seen.records)
    if len(seen.records) < ENOUGH or not count > REPEATED * len(seen.records):
        return
    yield (
        f"repetition: {count} of {len(seen.records)} proposals were proposed before or too like one that "
        "was; the strategy has run out of ideas, or the space of programs"
    )


def _silent_models(records: Sequence[Record]) -> Iterator[str]:
    for author in dict.fromkeys(record.author for record in records):
        asked = [r for r in records if r.author == author and r.prompt]
        silent = [r for r in asked if r.outcome is Outcome.UNANSWERED]
        if len(asked) < LEAST_ANSWERS:
            continue
        alone = silence([author], asked)
        if not (len(silent) > UNANSWERED * len(asked) or alone):
            continue
        why = Counter(r.reason for r in silent if r.reason).most_common(1)
        because = f", most often: {why[0][0][:120]}" if why else ""
        yield (
            f"a model that does not answer: {author} gave no program to {len(silent)} of {len(asked)} "
            f"requests{because}{'; it was left alone, and keyless search went on' if alone else ''}"
        )


def _fruitless_authors(records: Sequence[Record]) -> Iterator[str]:
    for each in by_author(records):
        if each.scored or each.proposals < LEAST_PROPOSALS or each.name == KEYLESS:
            continue
        outcomes = Counter(r.outcome for r in records if r.author == each.name)
        most = max(outcomes, key=lambda outcome: (outcomes[outcome], outcome))
        if most is not Outcome.UNANSWERED:  # that is told of above
            yield (
                f"a fruitless author: none of the {each.proposals} programs of {each.name} got a score, "
                f"most of them {most}"
            )


def _faulty_evaluator(seen: Evidence) -> Iterator[str]:
    evaluated = [r for r in seen.records if r.outcome not in FREE]
    failed = sum(r.outcome is Outcome.EVALUATOR_ERROR for r in evaluated)
    if failed < LEAST_PROPOSALS or not failed > FAULTY * len(evaluated):
        return
    yield (
        f"a faulty evaluator: it failed itself on {failed} of {len(evaluated)} evaluations; "
        "what they were of is not known, repair it and search again"
    )


def _wasted(seen: Evidence) -> Iterator[str]:
    records = seen.records
    refused = [r.outcome for r in records if r.outcome not in {Outcome.OK, Outcome.STOPPED}]
    if not records or 2 * len(refused) <= len(records):
        return
    most = max(set(refused), key=lambda outcome: (refused.count(outcome), outcome))
    yield f"{len(refused)} of {len(records)} proposals gave no score, most of them {most}"


_KINDS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    _overfitted,
    _drifted,
    _converged_early,
    _hangs_on_few,
    _too_good,
    _repeated,
    lambda seen: _silent_models(seen.records),
    lambda seen: _fruitless_authors(seen.records),
    _faulty_evaluator,
    _wasted,
)
