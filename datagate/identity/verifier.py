"""Checks a token, claim by claim, and makes the caller that it names (RFC 7519, 8693, 8725, 9068, 9396)."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from joserfc import jws
from joserfc.errors import JoseError, SecurityWarning

from datagate.errors import InterfaceError
from datagate.identity.compact import Compact, Json, read, refusal
from datagate.identity.details import granted
from datagate.identity.keys import ASYMMETRIC, SYMMETRIC, KeySource
from datagate.model.caller import Actor, ActorKind, Caller
from datagate.model.names import PrincipalId, Purpose

ALGORITHMS = frozenset({"RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519"})
_FORBIDDEN_HEADERS = frozenset({"jku", "x5u", "jwk", "x5c", "crit", "b64", "zip", "enc", "epk", "apu", "apv", "p2c"})
_MOST_ACTORS = 8
_MOST_AUDIENCES = 32
_LONGEST_NAME = 255
_LAST_SECOND = 253_402_300_799


class JwtVerifier:
    """Turns a JWT into the caller that it names; thread-safe, and needs no gate.

    ``sub`` is the principal; ``act`` (RFC 8693) who acts, those before it nested inside; an entry of
    ``authorization_details`` (RFC 9396) of type ``datagate_mandate`` the mandate, and what of it is left.

    Args:
        keys: The issuer's keys.
        issuer: What ``iss`` must be.
        audience: What ``aud`` must be, or hold.
        algorithms: Those that are accepted; ``none`` never is. Symmetric ones only by themselves.
        types: What ``typ`` may be, without regard to case.
        leeway: By how much clocks may differ. A caller's rights end at ``exp`` plus this.
        max_lifetime: The longest time from ``iat`` to ``exp``.
        purpose_claim: The claim that names the purpose.
        kind_claim: The claim that says what acts: ``person``, ``service`` or ``agent``; inside of ``act``, where there
            is one, else beside ``sub``.
        direct_kind: What acts where nobody acts for another and the token does not say.
        actor_kind: The same for ``act``; without it, such a token must say.
        clock: What time it is.

    Raises:
        InterfaceError: Algorithms that must not be accepted, or not together.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        issuer: str,
        audience: str,
        algorithms: Collection[str] = ALGORITHMS,
        types: Collection[str] = ("at+jwt", "JWT"),
        leeway: timedelta = timedelta(seconds=30),
        max_lifetime: timedelta = timedelta(hours=24),
        purpose_claim: str = "purpose",
        kind_claim: str = "actor_kind",
        direct_kind: ActorKind = ActorKind.PERSON,
        actor_kind: ActorKind | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not issuer or not audience:
            raise InterfaceError("a verifier needs the issuer and the audience that tokens must name")
        self._algorithms = frozenset(algorithms)
        if not self._algorithms or not (self._algorithms <= ASYMMETRIC or self._algorithms <= SYMMETRIC):
            raise InterfaceError(f"algorithms are some of {sorted(ASYMMETRIC)}, or else some of {sorted(SYMMETRIC)}")
        self._keys = keys
        self._issuer, self._audience = issuer, audience
        self._types = frozenset(each.lower() for each in types)
        self._leeway, self._max_lifetime = leeway, max_lifetime
        self._purpose_claim, self._kind_claim = purpose_claim, kind_claim
        self._direct_kind, self._actor_kind = direct_kind, actor_kind
        self._clock = clock

    def caller(self, token: str) -> Caller:
        """The caller that a token names; TokenRefused, with the reason for the audit, if it is not accepted."""
        compact = read(token)
        self._check_signature(token, compact.header)
        valid_until = self._check_claims(compact)
        return self._caller(compact.claims, valid_until)

    def _check_signature(self, token: str, header: dict[str, Json]) -> None:
        forbidden = sorted(_FORBIDDEN_HEADERS & header.keys())
        if forbidden:
            raise refusal(f"header {forbidden[0]} is not accepted")
        alg = header.get("alg")
        if not isinstance(alg, str) or alg not in self._algorithms:
            raise refusal(f"algorithm {alg!r:.40} is not accepted")
        typ = header.get("typ")
        if not isinstance(typ, str) or typ.lower().removeprefix("application/") not in self._types:
            raise refusal(f"type {typ!r:.40} is not accepted")
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise refusal("the key id is no text")
        key = self._keys.find(kid, alg)
        registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
        registry.max_header_length = registry.max_payload_length = registry.max_signature_length = len(token)
        try:
            with warnings.catch_warnings():
                # joserfc warns of EdDSA, which it would rather see called Ed25519 (RFC 9864).
                warnings.simplefilter("ignore", SecurityWarning)
                jws.deserialize_compact(token, key, registry=registry)
        except (JoseError, ValueError) as error:
            raise refusal(f"the signature does not hold ({type(error).__name__})") from None

    def _check_claims(self, compact: Compact) -> datetime:
        """Who made the token, for whom, and when; the instant at which it ends."""
        claims = compact.claims
        if claims.get("iss") != self._issuer:
            raise refusal(f"issued by {claims.get('iss')!r:.80}")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if len(audiences) > _MOST_AUDIENCES or not all(isinstance(each, str) for each in audiences):
            raise refusal("the audience is neither a text nor a short list of texts")
        if self._audience not in audiences:
            raise refusal(f"meant for {audiences!r:.80}")
        now = self._clock()
        issued, expires = _instant(claims, "iat"), _instant(claims, "exp")
        begins = _instant(claims, "nbf") if "nbf" in claims else issued
        if expires - issued > self._max_lifetime:
            raise refusal(f"it lives longer than {self._max_lifetime}")
        if expires <= issued:
            raise refusal("it ends before it was issued")
        if issued > now + self._leeway or begins > now + self._leeway:
            raise refusal(f"not valid before {max(issued, begins)}")
        if expires + self._leeway <= now:
            raise refusal(f"expired at {expires}")
        return expires + self._leeway

    def _caller(self, claims: dict[str, Json], valid_until: datetime) -> Caller:
        principal = name_of(claims.get("sub"), "sub")
        actors = _actors(claims.get("act"))
        acting, kind_said = (actors[0][0], actors[0][1].get(self._kind_claim)) if actors else (principal, None)
        if not actors:
            kind_said = claims.get(self._kind_claim)
        mandate, narrowing = granted(claims.get("authorization_details"))
        purpose = claims.get(self._purpose_claim)
        if narrowing is not None and narrowing.valid_until is not None:
            valid_until = min(valid_until, narrowing.valid_until)
        return Caller(
            principal=principal,
            actor=Actor(acting, self._kind(kind_said, self._actor_kind if actors else self._direct_kind)),
            mandate=mandate,
            purpose=None if purpose is None else Purpose(name_of(purpose, self._purpose_claim)),
            narrowing=narrowing,
            valid_until=valid_until,
            prior_actors=tuple(name for name, _ in actors[1:]),
        )

    def _kind(self, said: Json, default: ActorKind | None) -> ActorKind:
        if said is None:
            if default is None:
                raise refusal(f"act does not say what acts ({self._kind_claim})")
            return default
        try:
            return ActorKind(said)
        except ValueError:
            raise refusal(f"{self._kind_claim} is {said!r:.40}") from None


def name_of(value: Json, what: str) -> PrincipalId:
    """A name that is spelled in one way only: NFC, without characters that are not seen; TokenRefused for others."""
    if not isinstance(value, str) or not value or len(value) > _LONGEST_NAME:
        raise refusal(f"{what} is no text of 1 to {_LONGEST_NAME} characters")
    if value != value.strip() or not value.isprintable() or unicodedata.normalize("NFC", value) != value:
        raise refusal(f"{what} is not in its one spelling: {value!a:.80}")
    return PrincipalId(value)


def _actors(act: Json) -> list[tuple[PrincipalId, dict[str, Json]]]:
    """Who acts, then who acted before, with what is said of each (RFC 8693, 4.1)."""
    found: list[tuple[PrincipalId, dict[str, Json]]] = []
    while act is not None:
        if not isinstance(act, dict):
            raise refusal("act is no object")
        if len(found) == _MOST_ACTORS:
            raise refusal(f"more than {_MOST_ACTORS} actors")
        found.append((name_of(act.get("sub"), "act.sub"), act))
        act = act.get("act")
    return found


def _instant(claims: dict[str, Json], name: str) -> datetime:
    """A NumericDate (RFC 7519, 2)."""
    value = claims.get(name)
    # bool is an int in Python.
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise refusal(f"{name} is missing" if value is None else f"{name} is no number")
    if not 0 < value <= _LAST_SECOND:
        raise refusal(f"{name} is no time")
    return datetime.fromtimestamp(int(value), UTC)
