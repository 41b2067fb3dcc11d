"""The whole corpus, in the order in which an attack would meet the layers."""

from __future__ import annotations

from .attack import Attack
from .frame_attacks import FRAME
from .gate_attacks import GATES
from .language_attacks import LANGUAGE
from .program_attacks import PROGRAM
from .raw_attacks import RAW
from .service_attacks import ANSWER, DELIVERY

CORPUS: tuple[Attack, ...] = (*LANGUAGE, *PROGRAM, *GATES, *RAW, *FRAME, *ANSWER, *DELIVERY)
