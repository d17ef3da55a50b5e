"""One client's way in: which proof it is asked for, and what it proves. Without sockets.

Law: a wrong password, an unknown name, a locked one and one that has to wait take the same road with the same work, and
end in the same words. A name that does not exist is given a verifier that no password fits.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

from datagate.errors import DatagateError, OperationalError, ProtocolViolation
from datagate.frontends.gateway.attempts import Attempts
from datagate.frontends.gateway.identity import Identity
from datagate.frontends.gateway.protocol import backend, frontend, oauth
from datagate.frontends.gateway.protocol.scram import PLAIN, PLUS, ScramServer, Verifier
from datagate.frontends.gateway.users import User, UserFile
from datagate.model.caller import Caller, TokenVerifier

LOGIN = "datagate.login"
"""The start-up setting by which a client says how it logs in; without it, as its library chooses."""
TOKEN, OAUTH = "token", "oauth"
"""Its values: the password is a token; OAUTHBEARER and nothing else is offered."""

Proved = tuple[Identity, bytes]
"""Who it is, and what it is told last."""
Reading = Callable[[], Caller | None]
"""Reads a token; it may ask the issuer for keys, so it is to be called where nobody waits for it."""
Exchange = Generator[bytes | Reading, bytes | Caller | None, Proved]
"""Yields messages for the client, and is sent the body of each answer; or what is to be called, and is sent what that
gives. Returns who it is."""
_Attempt = Generator[bytes | Reading, bytes | Caller | None, Proved | None]


@dataclass(frozen=True, slots=True)
class Channel:
    """What is known of the connection: its address, whether it is safe, its certificates.

    ``certificate_names``: the names that a client certificate bears, which a trusted authority has signed.
    """

    address: str
    encrypted: bool
    binding: bytes | None = None
    certificate_names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens that are taken: who reads them, and who issues them."""

    verifier: TokenVerifier
    issuer: str


@dataclass(frozen=True, slots=True)
class Doorkeeper:
    """What all logins of a gateway share. ``nonce``: gives fresh nonces."""

    users: UserFile
    attempts: Attempts
    nonce: Callable[[], bytes]
    tokens: Tokens | None = None

    def exchange(self, name: str, way: str, channel: Channel) -> Exchange:
        """Have a client prove who it is, in the way that it asked for.

        Raises:
            OperationalError: It has not (28P01).
            ProtocolViolation: It does not keep to the exchange, or there is no such way.
        """
        if way not in ("", TOKEN, OAUTH):
            raise ProtocolViolation(f"setting {LOGIN} may be {TOKEN} or {OAUTH}", sqlstate="22023")
        allowed = self.attempts.may_try(name, channel.address)
        user = self.users.find(name)
        try:
            if way == TOKEN:
                proved = yield from self._token_as_password(name)
            elif not way and user is not None and user.certificates & channel.certificate_names:
                proved = None if user.locked else (Identity.of_user(user, self.users.find), b"")
            else:
                proved = yield from self._sasl(name, user, channel, oauth_only=way == OAUTH)
        except ProtocolViolation:
            self.attempts.failed(name, channel.address)
            raise
        if proved is None or not allowed:
            self.attempts.failed(name, channel.address)
            raise _failed(name)
        self.attempts.succeeded(name, channel.address)
        return proved

    def _token_as_password(self, name: str) -> _Attempt:
        body = yield backend.CLEARTEXT_PASSWORD
        return (yield from self._of_token(name, frontend.read_password(_answer(body))))

    def _of_token(self, name: str, token: bytes) -> _Attempt:
        """Whom a token names: the name in the start-up packet must be the principal's, or the actor's."""
        tokens = self.tokens
        if tokens is None:
            return None

        def read() -> Caller | None:
            try:
                return tokens.verifier.caller(token.decode("ascii"))
            except (DatagateError, UnicodeDecodeError):
                return None

        caller = yield read
        if not isinstance(caller, Caller) or name not in (caller.principal, caller.actor.id):
            return None
        known = [self.users.find(party) for party in (caller.principal, caller.actor.id)]
        if any(user is not None and user.locked for user in known):
            return None
        return Identity.of_token(caller, known[0]), b""

    def _sasl(self, name: str, user: User | None, channel: Channel, *, oauth_only: bool) -> _Attempt:
        offered = [] if oauth_only else [PLAIN] if channel.binding is None else [PLUS, PLAIN]
        if self.tokens is not None:
            offered.append(oauth.MECHANISM)
        if not offered:
            raise ProtocolViolation("this gateway takes no tokens", sqlstate="28000")
        mechanism, first = frontend.read_sasl_initial(_answer((yield backend.sasl(offered))))
        if mechanism not in offered:
            raise ProtocolViolation("client selected an invalid SASL authentication mechanism")
        if first is None:
            first = _answer((yield backend.sasl_continue(b"")))
        if mechanism == oauth.MECHANISM:
            return (yield from self._bearer(name, first))
        known = user.verifier if user is not None else None
        # Made for everybody, so that making it tells nothing.
        mock = Verifier.mock(self.users.secret(), name)
        verifier = known if known is not None else mock
        scram = ScramServer(verifier, self.nonce(), channel.binding)
        final = _answer((yield backend.sasl_continue(scram.challenge(mechanism, first))))
        signature = scram.proof(final)
        if signature is None or user is None or user.locked or known is None:
            return None
        return Identity.of_user(user, self.users.find), backend.sasl_final(signature)

    def _bearer(self, name: str, first: bytes) -> _Attempt:
        """By OAUTHBEARER; a client that only asks where tokens come from is told so, and that is no guess."""
        token = oauth.read_bearer(first)
        proved = None if token is None else (yield from self._of_token(name, token))
        if proved is None and self.tokens is not None:
            dummy = yield backend.sasl_continue(oauth.refusal(self.tokens.issuer))
            if _answer(dummy) != oauth.DUMMY:
                raise ProtocolViolation("malformed OAUTHBEARER message")
        if token is None:
            raise _failed(name)
        return proved


def _failed(name: str) -> OperationalError:
    return OperationalError(f'password authentication failed for user "{name}"', sqlstate="28P01")


def _answer(sent: bytes | Caller | None) -> bytes:
    if not isinstance(sent, bytes):
        raise ProtocolViolation("a password was asked for, and none came")
    return sent
