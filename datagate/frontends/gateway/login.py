"""One client's way in: which proof it is asked for, and what it proves. Without sockets.

Law: a wrong password, an unknown name, a locked one and one that has to wait take the same road with the same work, and
end in the same words. A name that does not exist is given a verifier that no password fits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from datagate.errors import DatagateError, OperationalError, ProtocolViolation
from datagate.frontends.gateway.attempts import Attempts
from datagate.frontends.gateway.identity import Identity, TokenVerifier
from datagate.frontends.gateway.protocol import backend, frontend
from datagate.frontends.gateway.protocol.scram import PLAIN, PLUS, ScramServer, Verifier
from datagate.frontends.gateway.users import User, UserFile

OAUTH = "OAUTHBEARER"
LOGIN = "datagate.login"
"""The start-up setting by which a client says that its password is a token: ``token``."""

Proved = tuple[Identity, bytes]
"""Who it is, and what it is told last."""
Exchange = Generator[bytes, bytes, Proved]
"""Yields messages for the client, is sent the body of each answer, returns who it is."""
_Attempt = Generator[bytes, bytes, Proved | None]


@dataclass(frozen=True, slots=True)
class Channel:
    """What is known of the connection: its address, whether it is safe, its certificates."""

    address: str
    encrypted: bool
    binding: bytes | None = None
    certificate_name: str | None = None


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """What all logins of a gateway share.

    ``secret``: makes the verifiers of names that do not exist. ``nonce``: gives fresh nonces.
    """

    users: UserFile
    attempts: Attempts
    secret: bytes
    nonce: Callable[[], bytes]
    tokens: TokenVerifier | None = None

    def exchange(self, name: str, wants_token: bool, channel: Channel) -> Exchange:
        """Have a client prove who it is.

        Raises:
            OperationalError: It has not (28P01).
            ProtocolViolation: It does not keep to the exchange.
        """
        keys = (f"name {name}", f"address {channel.address}")
        allowed = self.attempts.may_try(*keys)
        user = self.users.find(name)
        try:
            if wants_token:
                proved = yield from self._token_as_password()
            elif user is not None and user.certificate and channel.certificate_name == name:
                proved = None if user.locked else (Identity.of_user(user), b"")
            else:
                proved = yield from self._sasl(name, user, channel)
        except ProtocolViolation:
            self.attempts.failed(*keys)
            raise
        if proved is None or not allowed:
            self.attempts.failed(*keys)
            raise OperationalError(f'password authentication failed for user "{name}"', sqlstate="28P01")
        self.attempts.succeeded(keys[0])
        return proved

    def _token_as_password(self) -> _Attempt:
        body = yield backend.CLEARTEXT_PASSWORD
        return self._of_token(frontend.read_password(body))

    def _of_token(self, token: bytes) -> Proved | None:
        if self.tokens is None:
            return None
        try:
            return Identity.of_token(self.tokens.caller(token.decode("ascii"))), b""
        except (DatagateError, UnicodeDecodeError):
            return None

    def _sasl(self, name: str, user: User | None, channel: Channel) -> _Attempt:
        offered = [PLAIN] if channel.binding is None else [PLUS, PLAIN]
        if self.tokens is not None and channel.encrypted:
            offered.append(OAUTH)
        mechanism, first = frontend.read_sasl_initial((yield backend.sasl(offered)))
        if mechanism not in offered:
            raise ProtocolViolation("client selected an invalid SASL authentication mechanism")
        if mechanism == OAUTH:
            return (yield from self._bearer(first or b""))
        if first is None:
            first = yield backend.sasl_continue(b"")
        known = user.verifier if user is not None else None
        verifier = known if known is not None else Verifier.mock(self.secret, name)
        scram = ScramServer(verifier, self.nonce(), channel.binding)
        final = yield backend.sasl_continue(scram.challenge(mechanism, first))
        signature = scram.proof(final)
        if signature is None or user is None or user.locked or known is None:
            return None
        return Identity.of_user(user), backend.sasl_final(signature)

    def _bearer(self, first: bytes) -> _Attempt:
        """RFC 7628: the token after ``auth=Bearer``; where it does not convince, a JSON object, and a byte back."""
        parts = dict(part.partition(b"=")[::2] for part in first.split(b"\x01") if b"=" in part)
        scheme, _, token = parts.get(b"auth", b"").partition(b" ")
        proved = self._of_token(token.strip()) if scheme.lower() == b"bearer" and token else None
        if proved is None:
            yield backend.sasl_continue(b'{"status":"invalid_token"}')
        return proved
