"""The template files: those that are shipped, and those that a user puts in their place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .....sdk.errors import ConfigurationError
from .....sdk.files import read_regular
from .quoting import fenced, number, quoted

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

#: Parts of a prompt in their order; the first is the system's message, the others are the user's.
PARTS = (
    "system",
    "problem",
    "constraints",
    "language",
    "inputs",
    "lessons",
    "inspirations",
    "parent",
    "feedback",
    "failures",
    "note",
    "hints",
    "task",
    "answer",
)
SUFFIX = ".j2"
MOST_BYTES = 100_000
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Templates:
    """Texts of templates.

    Attributes:
        texts: by part, all of :data:`PARTS`.
        places: file of every part, for messages.
    """

    texts: dict[str, str]
    places: dict[str, str]

    @property
    def digest(self) -> str:
        """sha256 hex of all texts: a run is resumed with the templates that it began with."""
        whole = "\0".join(f"{part}\0{self.texts[part]}" for part in PARTS)
        return hashlib.sha256(whole.encode()).hexdigest()

    def environment(self) -> SandboxedEnvironment:
        """Return what renders them: in a sandbox, without escapes, and every unknown name an error."""
        from jinja2 import DictLoader, StrictUndefined
        from jinja2.sandbox import SandboxedEnvironment

        made = SandboxedEnvironment(  # plain text for a model, never HTML
            loader=DictLoader(self.texts),
            autoescape=False,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        del made.filters["random"], made.globals["lipsum"]  # the same facts give the same bytes
        made.filters |= {"quoted": quoted, "fenced": fenced, "number": number}
        return made

    def uses(self, environment: SandboxedEnvironment, part: str) -> dict[str, frozenset[str]]:
        """Return the names that a template reads, by part; nothing where it takes in other templates.

        Raises:
            jinja2.TemplateSyntaxError: it is no template.
        """
        from jinja2 import meta

        tree = environment.parse(self.texts[part])
        if next(meta.find_referenced_templates(tree), "") != "":
            return {}
        return {part: frozenset(meta.find_undeclared_variables(tree))}


def load(folder: Path | None = None) -> Templates:
    """Read the templates; those in ``folder`` take the place of the shipped ones of the same name.

    Raises:
        ConfigurationError: there is no such folder, or a file in it is none of the templates, too long, or
            cannot be read. What is wrong inside a template shows in :class:`.builder.Prompts`.
    """
    texts, places = dict(_shipped()), {part: f"{part}{SUFFIX}" for part in PARTS}
    for path in _files(folder) if folder is not None else ():
        part = path.name.removesuffix(SUFFIX)
        if part not in texts:
            raise ConfigurationError(
                f"{path} is no template of a prompt; those are {', '.join(p + SUFFIX for p in PARTS)}"
            )
        texts[part], places[part] = _text(path), str(path)
    return Templates(texts, places)


def write(folder: Path) -> tuple[Path, ...]:
    """Write the shipped templates into a folder, to be changed there; return their files.

    Raises:
        ConfigurationError: one of them is there already.
    """
    paths = tuple(folder / f"{part}{SUFFIX}" for part in PARTS)
    there = [str(path) for path in paths if path.exists()]
    if there:
        raise ConfigurationError(f"{there[0]} is there already; name another folder, or delete it")
    folder.mkdir(parents=True, exist_ok=True)
    for part, path in zip(PARTS, paths, strict=True):
        path.write_text(_shipped()[part], encoding="utf-8")
    return paths


@cache
def _shipped() -> dict[str, str]:
    return {part: (_HERE / f"{part}{SUFFIX}").read_text(encoding="utf-8") for part in PARTS}


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: no folder of templates; see gnomon prompts")
    return sorted(path for path in folder.iterdir() if path.name.endswith(SUFFIX))


def _text(path: Path) -> str:
    try:
        return read_regular(path, MOST_BYTES).decode()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; a template is a text file") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is no UTF-8 text; save it as such") from error
