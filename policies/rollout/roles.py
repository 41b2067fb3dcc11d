"""Who may ask the control plane for what: roles by client certificate, enforced for every method.

Without mutual TLS nobody can be told apart: on loopback whoever reaches the port has every role, and is who they say.
"""

from __future__ import annotations

import hashlib
import ssl
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from ...sdk.errors import ConfigurationError, TrustError
from ...sdk.files import read_regular

PUBLISHER, OPERATOR, SERVICE, AUDITOR = "publisher", "operator", "service", "auditor"
ROLES = frozenset({PUBLISHER, OPERATOR, SERVICE, AUDITOR})
_PEOPLE = frozenset({PUBLISHER, OPERATOR, AUDITOR})
_MOST_BYTES = 1 << 20

#: Roles of which one is enough, by method. A method without a line here is refused to everybody.
RULES: Mapping[str, frozenset[str]] = {
    "/gnomon.v1.Delivery/Connect": frozenset({SERVICE}),
    "/gnomon.v1.Rollouts/Create": frozenset({PUBLISHER}),
    "/gnomon.v1.Rollouts/Get": _PEOPLE,
    "/gnomon.v1.Rollouts/List": _PEOPLE,
    "/gnomon.v1.Rollouts/Watch": _PEOPLE,
    "/gnomon.v1.Rollouts/Reverify": frozenset({PUBLISHER}),
    "/gnomon.v1.Rollouts/Act": frozenset({OPERATOR}),
    "/gnomon.v1.Rollouts/Exclude": frozenset({OPERATOR}),
    "/gnomon.v1.Rollouts/ListClients": _PEOPLE,
    "/gnomon.v1.Keys/Signed": frozenset({PUBLISHER}),
    "/gnomon.v1.Keys/Resign": frozenset({PUBLISHER}),
    "/gnomon.v1.Audit/Export": frozenset({OPERATOR, AUDITOR}),
    "/gnomon.v1.Audit/Verify": frozenset({OPERATOR, AUDITOR}),
    "/gnomon.v1.Audit/Anchors": frozenset({OPERATOR, AUDITOR}),
    "/gnomon.v1.Audit/Accept": frozenset({OPERATOR}),
}
#: Open to whoever may connect: they tell nothing about rollouts.
OPEN = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, as their certificate says.

    Attributes:
        name: for the ledger: the first of their names that the roles' file knows, else the first.
        roles: what they may be; empty for nothing.
        services: that a process with this certificate may say it belongs to; ``*`` for any.
    """

    name: str
    roles: frozenset[str] = ROLES
    services: frozenset[str] = frozenset({"*"})


#: Of the call that is being answered; None where nobody has to show a certificate.
CALLER: ContextVar[Caller | None] = ContextVar("gnomon_caller", default=None)


def actor(said: str) -> str:
    """Return who asks, for the ledger: the certificate's name, else what the caller says."""
    caller = CALLER.get()
    return caller.name if caller is not None else said


def check_service(name: str) -> None:
    """Refuse a process that says it belongs to a service that its certificate is not for.

    Raises:
        TrustError: it does.
    """
    caller = CALLER.get()
    if caller is not None and not caller.services & {name, "*"}:
        bound = ", ".join(sorted(caller.services)) or "none"
        raise TrustError(
            f"certificate {caller.name!r} is for service {bound}, not for {name[:100]!r}; see the roles' file"
        )


@dataclass(frozen=True)
class Roles:
    """A roles' file: by a certificate's name, the roles of who shows it.

    Attributes:
        path: of the file, for messages.
        granted: by name, roles and services.
        stamp: of the file when it was read.
    """

    path: Path
    granted: Mapping[str, Caller] = field(default_factory=dict)
    stamp: tuple[int, int] = (0, 0)

    @classmethod
    def read(cls, path: Path) -> Roles:
        """Read a TOML file of lines ``"NAME" = ["ROLE", "service:SERVICE"]``.

        A name is a subject alternative name (URI, e-mail, host), ``CN=`` with the common name, or ``sha256:`` with the
        certificate's fingerprint in hexadecimal.

        Raises:
            ConfigurationError: it cannot be read, or a line is no such line.
        """
        stamp = _stamp(path)
        try:
            found = tomllib.loads(read_regular(path, _MOST_BYTES).decode())
        except OSError as error:
            raise ConfigurationError(f"cannot read roles {path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, too deep, too large
            why = " ".join(str(error).split())
            raise ConfigurationError(f"roles {path} are no TOML: {why}") from error
        if not found:
            raise ConfigurationError(
                f'roles {path} name nobody; write lines such as "CN=alice" = ["operator"]'
            )
        granted = {_known(name): _granted(path, name, said) for name, said in found.items()}
        return cls(path, granted, stamp)

    def renewed(self) -> Roles:
        """Return what the file says now; raises ConfigurationError, once for every change, where it is wrong."""
        stamp = _stamp(self.path)
        if stamp == self.stamp:
            return self
        object.__setattr__(
            self, "stamp", stamp
        )  # so that a wrong file is named once, not ten times a second
        return Roles.read(self.path)

    def of(self, names: Iterable[str]) -> Caller:
        """Return who has a certificate with these names."""
        names = list(names)
        found = [self.granted[_known(name)] for name in names if _known(name) in self.granted]
        if not found:
            return Caller(names[0], frozenset(), frozenset())
        roles, services = (frozenset[str]().union(*sets) for sets in _both(found))
        return Caller(found[0].name, roles, services)


class Guard(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # gRPC is not annotated
    """Answers a call only if the caller's certificate has one of the method's roles.

    Args:
        roles: returns the roles' file in force; None gives every certificate every role.
    """

    def __init__(self, roles: Callable[[], Roles | None]) -> None:
        self._roles = roles

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """Return the method's handler behind the check."""
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(OPEN):
            return handler
        return self._guarded(handler, handler_call_details.method)

    def _guarded(self, handler: Any, method: str) -> Any:
        """Return a handler like another whose answers come after the check; of either shape."""
        if handler.response_streaming:
            asked = handler.stream_stream or handler.unary_stream

            async def streamed(request: Any, context: Any) -> AsyncIterator[Message]:
                await self._admit(method, context)
                async for answer in asked(request, context):
                    yield answer

            name = "stream_stream" if handler.request_streaming else "unary_stream"
            return handler._replace(**{name: streamed})
        answered = handler.stream_unary or handler.unary_unary

        async def answer(request: Any, context: Any) -> Message:
            await self._admit(method, context)
            found: Message = await answered(request, context)
            return found

        name = "stream_unary" if handler.request_streaming else "unary_unary"
        return handler._replace(**{name: answer})

    async def _admit(self, method: str, context: Any) -> None:
        """Note who calls, or end the call with PERMISSION_DENIED."""
        try:
            caller = permitted(method, certificate_names(context.auth_context()), self._roles())
        except TrustError as error:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        else:
            CALLER.set(caller)


def permitted(method: str, names: list[str], roles: Roles | None) -> Caller | None:
    """Return who calls a method; None where nobody has to show a certificate, and everybody may.

    Args:
        method: ``/package.Service/Method``.
        names: of the caller's certificate.
        roles: the file in force; without one every certificate has every role.

    Raises:
        TrustError: they have none of the method's roles, or the method has no rule.
    """
    if not names:
        if roles is not None:
            raise TrustError("show a client certificate: this control plane has roles")
        return None
    caller = roles.of(names) if roles is not None else Caller(names[0])
    allowed = RULES.get(method, frozenset())
    if not caller.roles & allowed:
        needed = " or ".join(sorted(allowed)) or "nobody"
        has = ", ".join(sorted(caller.roles)) or "no role"
        short = method.rpartition(".")[2]
        raise TrustError(f"{short} is for {needed}; certificate {caller.name!r} has {has}")
    return caller


def certificate_names(auth: Mapping[str, Iterable[bytes]]) -> list[str]:
    """Return the names of the certificate behind a connection; empty where none was shown.

    The common name comes first, then the subject alternative names, then the fingerprint.
    """
    shown = b"".join(auth.get("x509_pem_cert", ()))
    if not shown:
        return []
    common = [f"CN={name.decode(errors='replace')}" for name in auth.get("x509_common_name", ())]
    others = [
        name.decode(errors="replace") for name in auth.get("x509_subject_alternative_name", ())
    ]
    print_ = hashlib.sha256(ssl.PEM_cert_to_DER_cert(shown.decode())).hexdigest()
    # An alternative name that is worded as another kind of name is none: it would borrow that one's roles.
    others = [name for name in others if name and not _known(name).startswith(("CN=", "sha256:"))]
    return [name for name in common if name != "CN="] + others + [f"sha256:{print_}"]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size


def _both(found: list[Caller]) -> tuple[list[frozenset[str]], list[frozenset[str]]]:
    return [caller.roles for caller in found], [caller.services for caller in found]


def _known(name: str) -> str:
    """Return a name as it is compared: a fingerprint may be written with colons and in capitals."""
    if not name.lower().startswith("sha256:"):
        return name
    return "sha256:" + name[7:].replace(":", "").lower()


def _granted(path: Path, name: str, said: Any) -> Caller:
    words = said if isinstance(said, list) and said else [""]
    roles, services = set(), set()
    for word in words:
        role, _, service = word.partition(":") if isinstance(word, str) else ("", "", "")
        if role not in ROLES or (service and role != SERVICE):
            raise ConfigurationError(
                f"roles {path}: {name!r} = {said!r} is no list of {', '.join(sorted(ROLES))} or service:NAME"
            )
        roles.add(role)
        if role == SERVICE:
            services.add(service or "*")
    return Caller(name, frozenset(roles), frozenset(services))
