"""Ed25519 keys as files: a private PEM that only its owner can read, and a public PEM beside it."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from .errors import ConfigurationError

Role = Literal["publisher", "rollout"]

PRIVATE_SUFFIX = ".pem"
PUBLIC_SUFFIX = ".pub"
REVOKED_SUFFIX = ".revoked"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ROLE = re.compile(r"^Gnomon-Role: (publisher|rollout)$", re.MULTILINE)


class KeyFile(NamedTuple):
    """A public key as found in a folder.

    Attributes:
        name: of the file, without its suffix.
        role: ``publisher``, ``rollout`` or an empty string where the file does not say.
        keyid: SHA-256 of the raw public key, hexadecimal.
        path: of the public key's file.
        private: whether the private key lies beside it.
    """

    name: str
    role: str
    keyid: str
    path: Path
    private: bool


def generate() -> Ed25519PrivateKey:
    """Return a new private key from the operating system's randomness."""
    return Ed25519PrivateKey.generate()


def raw(public: Ed25519PublicKey) -> bytes:
    """Return the 32 bytes of a public key."""
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def from_raw(data: bytes) -> Ed25519PublicKey:
    """Return the public key of 32 raw bytes; raises ConfigurationError for any other length."""
    if len(data) != 32:
        raise ConfigurationError(f"a raw ed25519 public key has 32 bytes, not {len(data)}")
    return Ed25519PublicKey.from_public_bytes(data)


def keyid(public: Ed25519PublicKey) -> str:
    """Return the SHA-256 of the raw public key, as 64 hex digits."""
    return hashlib.sha256(raw(public)).hexdigest()


def valid(public: Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    """Return whether ``signature`` over ``message`` was made by the key's private half."""
    try:
        public.verify(signature, message)
    except InvalidSignature:
        return False
    return True


def save(private: Ed25519PrivateKey, folder: Path, name: str, role: Role) -> tuple[Path, Path]:
    """Write ``NAME.pem`` (mode 0600) and ``NAME.pub`` into a folder and return both paths.

    Raises:
        ConfigurationError: the name is no plain file name, or one of the files exists already.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"key name {name!r} is no plain file name; use letters, digits, . _ -"
        )
    secret, public = folder / (name + PRIVATE_SUFFIX), folder / (name + PUBLIC_SUFFIX)
    for path in (secret, public):
        if path.exists():
            raise ConfigurationError(
                f"{path} exists; choose another name, keys are never overwritten"
            )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _create(secret, _private_pem(private), 0o600)
    _create(public, _public_pem(private.public_key(), role), 0o644)
    return secret, public


def load_private(path: str | os.PathLike[str]) -> Ed25519PrivateKey:
    """Read a private key file.

    Raises:
        ConfigurationError: it is missing, others may read it, or it holds no ed25519 private key.
    """
    file = Path(path)
    data = _read(file)
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"{file} holds no private key in unencrypted PEM; give the .pem file"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{file} holds no ed25519 key; make one with: gnomon keys new")
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise ConfigurationError(f"private key {file} is open to others; run: chmod 600 {file}")
    return key


def load_public(path: str | os.PathLike[str], role: Role | None = None) -> Ed25519PublicKey:
    """Read a public key file.

    Args:
        path: of the ``.pub`` file.
        role: that the key must have; a file whose heading names none is taken at its word.

    Raises:
        ConfigurationError: it is missing, holds no ed25519 public key, or has another role.
    """
    file = Path(path)
    data = _read(file)
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"{file} holds no public key in PEM; give the .pub file"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigurationError(f"{file} holds no ed25519 key; make one with: gnomon keys new")
    stated = _stated_role(data)
    if role and stated not in ("", role):
        raise ConfigurationError(f"{file} is a {stated} key; give the {role} key's .pub file")
    return key


def load_publics(
    paths: Iterable[str | os.PathLike[str]], role: Role | None = None
) -> tuple[Ed25519PublicKey, ...]:
    """Read several public key files, in order, as :func:`load_public` reads one."""
    return tuple(load_public(path, role) for path in paths)


def check_separate(rollout: Ed25519PublicKey, publishers: Iterable[Ed25519PublicKey]) -> None:
    """Refuse one key in both roles: who holds the control plane could then sign policies.

    Raises:
        ConfigurationError: the rollout key is also a publisher's.
    """
    if raw(rollout) in map(raw, publishers):
        raise ConfigurationError(
            f"key {keyid(rollout)[:16]} is named as rollout and as publisher key; make another "
            "with: gnomon keys new NAME --role rollout"
        )


def describe(path: str | os.PathLike[str]) -> KeyFile:
    """Read a public key file and what its heading says of it."""
    file = Path(path)
    public = load_public(file)
    private = file.with_suffix(PRIVATE_SUFFIX).exists()
    return KeyFile(file.stem, _stated_role(_read(file)), keyid(public), file, private)


def revoke(path: Path) -> Path:
    """Rename a public key's file so that it revokes the key wherever it lies; return its new path.

    Raises:
        ConfigurationError: it holds no public key, or cannot be renamed.
    """
    load_public(path)
    revoked = path.with_suffix(REVOKED_SUFFIX)
    try:
        path.rename(revoked)
    except OSError as error:
        raise ConfigurationError(f"cannot rename {path} to {revoked}: {error.strerror}") from error
    return revoked


def listing(folder: Path) -> list[KeyFile]:
    """Return the public keys in a folder by name; an absent folder holds none."""
    return [describe(path) for path in sorted(folder.glob("*" + PUBLIC_SUFFIX))]


def _stated_role(data: bytes) -> str:
    """Return the role in a public key file's heading, or an empty string."""
    role = _ROLE.search(data.decode("utf-8", "replace"))
    return role.group(1) if role else ""


def _private_pem(private: Ed25519PrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _public_pem(public: Ed25519PublicKey, role: Role) -> bytes:
    """Return the PEM under a heading; RFC 7468 lets text stand before the first boundary."""
    body = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return f"Gnomon-Role: {role}\nGnomon-Key-Id: {keyid(public)}\n".encode() + body


def _create(path: Path, data: bytes, mode: int) -> None:
    """Write a new file that never had wider permissions than ``mode``."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"cannot read key {path}: {error.strerror}; make one with: gnomon keys new"
        ) from error
