"""The options of a ramp plan, checked before anybody is asked, and named by what was typed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ..sdk.errors import ConfigurationError
from . import _rollout

if TYPE_CHECKING:
    from ..policies.rollout.shipping import Ramp

_MOST_S = 1e9
_MOST_COUNT = (1 << 31) - 1
_POSITIVE = ("--block", "--lease", "--valid", "--drift-window")


def ramp_of(
    weights: str,
    times: Mapping[str, str],
    counts: Mapping[str, int],
    *,
    alpha: float,
    shadow_rate: float | None,
    drift: float,
    then: str,
) -> Ramp:
    """Return the ramp that a command line asks for.

    Args:
        weights: as typed.
        times: by option (``--block``, ``--burn-in``, ``--skew``, ``--soak``, ``--lease``,
            ``--valid``, ``--expires``, ``--grace``, ``--drift-window``), as typed.
        counts: by option (``--min-pairs``, ``--max-pairs``, ``--slices``, ``--max-looks``,
            ``--shadow-decisions``, ``--drift-windows``).
        alpha: of promotion, and of abort.
        shadow_rate: a share; None for the default of the kind.
        drift: index of a feature beyond which the workload has moved.
        then: what follows a promotion that is not verified again, as typed.

    Raises:
        ConfigurationError: no plan can say this; names the option and the remedy.
    """
    from ..policies.rollout.shipping import Ramp

    shares = _rollout.read_weights(weights)
    lasting = {option: _seconds(option, text) for option, text in times.items()}
    problems = [*_times(times, lasting), *_counts(counts), *_shares(alpha, shadow_rate)]
    problems += _after(drift, then)
    for problem in [*_weights(weights, shares), *problems]:
        raise ConfigurationError(problem)
    return Ramp(
        weights=shares,
        block_s=lasting["--block"],
        burn_in_s=lasting["--burn-in"],
        skew_s=lasting["--skew"],
        min_pairs=counts["--min-pairs"],
        max_pairs=counts["--max-pairs"],
        slices=counts["--slices"],
        max_looks=counts["--max-looks"],
        alpha_promote=alpha,
        alpha_abort=alpha,
        shadow_decisions=counts["--shadow-decisions"],
        shadow_rate=shadow_rate,
        soak_s=lasting["--soak"],
        lease_s=lasting["--lease"],
        valid_s=lasting["--valid"],
        expires_s=lasting["--expires"],
        drift=drift,
        drift_window_s=lasting["--drift-window"],
        drift_windows=counts["--drift-windows"],
        grace_s=lasting["--grace"],
        then="keep" if then == "keep" else "incumbent",
    )


def _seconds(option: str, text: str) -> float:
    try:
        return _rollout.seconds(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"{option} {error}") from error


def _weights(text: str, shares: tuple[float, ...]) -> Iterator[str]:
    ramp = shares[:-1]
    ascending = list(ramp) == sorted(set(ramp)) and all(0.0 < share <= 0.5 for share in ramp)
    if not ramp or shares[-1] != 1.0 or not ascending:
        yield (
            f"--weights {text} must ascend, each above 0 and at most 0.5 before the last, "
            "which is 1; write 0.1,0.5,1.0"
        )


def _times(texts: Mapping[str, str], lasting: Mapping[str, float]) -> Iterator[str]:
    for option, value in lasting.items():
        if value > _MOST_S or (option in _POSITIVE and round(value * 1e9) == 0):
            least = "above 0" if option in _POSITIVE else "0 or more"
            yield f"{option} {texts[option]} must be {least} and at most {_MOST_S:g} seconds"
    if lasting["--burn-in"] + lasting["--skew"] >= lasting["--block"]:
        yield (
            f"--burn-in {texts['--burn-in']} and --skew {texts['--skew']} leave nothing of "
            f"--block {texts['--block']}; make the block longer"
        )


def _counts(counts: Mapping[str, int]) -> Iterator[str]:
    for option, count in counts.items():
        least = 0 if option == "--shadow-decisions" else 1
        if not least <= count <= _MOST_COUNT:
            yield f"{option} {count} must be a number from {least} to {_MOST_COUNT}"
    least, most = counts["--min-pairs"], counts["--max-pairs"]
    if least > most:
        yield f"--min-pairs {least} is more than --max-pairs {most}; raise --max-pairs"


def _shares(alpha: float, shadow_rate: float | None) -> Iterator[str]:
    if not 0.0 < alpha <= 0.5:
        yield f"--alpha {alpha:g} must be above 0 and at most 0.5"
    if shadow_rate is not None and not 0.0 <= shadow_rate <= 1.0:
        yield f"--shadow-rate {shadow_rate:g} must lie between 0 and 1"


def _after(drift: float, then: str) -> Iterator[str]:
    if not 0.0 <= drift < math.inf:
        yield f"--drift {drift:g} must be finite and 0 or more; 0 does not watch"
    if then not in ("keep", "incumbent"):
        yield f"--then {then} must be keep or incumbent"
