"""A problem folder: the program to start from, its evaluator, and its settings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ...sdk.errors import ConfigurationError, LanguageError
from ...sdk.files import read_regular
from ..search.authors.blocks import Marked, cut
from .settings import MOST_BYTES, ProblemSettings, read_settings
from .spans import tree_of

PROGRAM = "initial_program.py"
CONFIG = "config.yaml"
#: Where an evaluator may lie; the folders are SkyDiscover's.
EVALUATORS = ("evaluator.py", "evaluator/evaluator.py", "eval/evaluator.py")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is searched on.

    Attributes:
        folder: absolute.
        program: source to start from.
        evaluator: absolute path of the file with ``evaluate(path)``.
        settings: of ``config.yaml``.
        digest: of program, evaluator and settings; files that the evaluator reads are not in it.
    """

    folder: Path
    program: str
    evaluator: Path
    settings: ProblemSettings
    digest: str

    @classmethod
    def read(cls, folder: str | Path) -> Problem:
        """Read a folder; runs nothing of it.

        Raises:
            ConfigurationError: a file is missing or unreadable, marks do not match, or the program is no
                Python; names the file and what to do.
        """
        root = Path(folder).resolve()
        if not root.is_dir():
            raise ConfigurationError(
                f"--problem {folder}: no such folder; name the one that holds {PROGRAM}"
            )
        program, evaluator = _text(root / PROGRAM), _evaluator(root)
        _require_program(root / PROGRAM, program)
        settings = read_settings(root / CONFIG)
        known = (program, _text(evaluator), json.dumps(asdict(settings), sort_keys=True))
        digest = hashlib.sha256("\0".join(known).encode()).hexdigest()
        return cls(root, program, evaluator, settings, digest)

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.name

    @property
    def marked(self) -> Marked:
        """The program taken apart at its marks."""
        return cut(self.program)


def _evaluator(root: Path) -> Path:
    for place in EVALUATORS:
        if (root / place).is_file():
            return root / place
    raise ConfigurationError(
        f"{root} has no evaluator; write {EVALUATORS[0]} with a function evaluate(program_path)"
    )


def _text(path: Path) -> str:
    """Return a file's text as it is, line ends included."""
    try:
        data = read_regular(path, MOST_BYTES)
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path.parent} has no {path.name}; a problem folder holds {PROGRAM} and {EVALUATORS[0]}"
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error.strerror}); give a file of at most {MOST_BYTES:,} bytes"
        ) from error
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path} is no UTF-8 (byte {error.start} is {data[error.start]:#04x}); save it as UTF-8"
        ) from error


def _require_program(path: Path, source: str) -> None:
    try:
        cut(source)
    except ValueError as error:
        raise ConfigurationError(
            f"{path}: marks that do not match ({error}); end every block before the next"
        ) from error
    try:
        tree_of(source)
    except LanguageError as error:
        raise ConfigurationError(f"{path} is no Python program ({error}); repair it") from error
