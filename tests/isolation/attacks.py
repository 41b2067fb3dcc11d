"""The hostile corpus as the tests of isolation ask for it; the attacks are in :mod:`tests.hostile`."""

from __future__ import annotations

from ..hostile.language_attacks import LANGUAGE
from ..hostile.raw_attacks import ENDINGS, KERNEL

STOPPED_BY_LANGUAGE = {attack.name: attack.source for attack in LANGUAGE}
STOPPED_BY_KERNEL = {attack.name: attack.source for attack in KERNEL}
#: How each of these ends, whatever the layers.
STOPPED_BY_LIMITS = {
    attack.name: (attack.source, {"deadline": "timeout", "process": "died"}[attack.stopped_by])
    for attack in ENDINGS
    if attack.stopped_by in ("deadline", "process")
}
MEMORY = next(attack.source for attack in ENDINGS if attack.stopped_by == "rlimits")
