"""What a token becomes, and all the ways in which one is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datagate
from datagate.errors import InterfaceError, TokenRefused
from datagate.model.caller import ActorKind, Caller
from datagate.model.names import Purpose, RelationName
from tests.identity.issuer import (
    AUDIENCE,
    ISSUER,
    KEYS,
    NOON,
    STRANGER,
    claims,
    part,
    published,
    secret,
    signed,
    verifier,
)

CHECK = verifier()
MINUTE = timedelta(minutes=1)
DETAIL = {"type": "datagate_mandate", "mandate": "tax-1"}


def reason(token: str, check: datagate.JwtVerifier = CHECK) -> str:
    """Why a token is refused; what the outside reads is the same whatever the reason."""
    with pytest.raises(TokenRefused) as caught:
        Caller.from_token(token, check)
    assert caught.value.message == "the token is not accepted; log in again"
    assert caught.value.sqlstate == "28000"
    assert caught.value.__cause__ is None
    assert caught.value.audit_reason is not None
    return caught.value.audit_reason


@pytest.mark.parametrize("alg", sorted(KEYS))
def test_every_kind_of_key_verifies(alg: str) -> None:
    """RSA, elliptic curves and Ed25519: a token of the issuer's names its caller until it ends."""
    caller = Caller.from_token(signed(claims(), alg), CHECK)
    assert replace(caller, valid_until=None) == Caller.of("cora", purpose="tax")
    assert (caller.principal, caller.actor.id, caller.purpose) == ("cora", "cora", "tax")
    assert caller.actor.kind is ActorKind.PERSON
    assert caller.valid_until == NOON + 10 * MINUTE + timedelta(seconds=30)


def test_actors_nest() -> None:
    """The outermost act is who acts now; those inside it acted before, and are kept in their order."""
    act = {"sub": "bot", "actor_kind": "agent", "act": {"sub": "shop", "act": {"sub": "tom"}}}
    caller = Caller.from_token(signed(claims(act=act, authorization_details=[DETAIL])), CHECK)
    assert (caller.actor.id, caller.actor.kind, caller.prior_actors) == ("bot", ActorKind.AGENT, ("shop", "tom"))
    assert caller.mandate == "tax-1"
    assert caller.narrowing is None


def test_a_mandate_can_be_narrowed() -> None:
    """Purposes, relations, columns, parameters and validity of authorization_details come along, each with its type."""
    detail = DETAIL | {
        "purposes": ["tax"],
        "relations": {"bank.accounts": ["kind"], "bank.customers": "all"},
        "parameters": {"customer_id": 7, "since": {"date": "2026-01-31"}, "regions": ["EU"], "most": 1.5},
        "valid_until": int(NOON.timestamp()) + 60,
    }
    other = {"type": "payment", "anything": {"at": "all"}}
    caller = Caller.from_token(signed(claims(authorization_details=[other, detail])), CHECK)
    narrowing = caller.narrowing
    assert narrowing is not None
    assert narrowing.purposes == frozenset({Purpose("tax")})
    assert narrowing.relations == (
        (RelationName("bank", "accounts"), frozenset({"kind"})),
        (RelationName("bank", "customers"), None),
    )
    values = dict(narrowing.parameters)
    assert values == {
        "customer_id": 7, "since": datetime(2026, 1, 31, tzinfo=UTC).date(), "regions": ("EU",), "most": Decimal("1.5"),
    }  # fmt: skip
    assert caller.valid_until == NOON + MINUTE
    hash(caller)


def deep(levels: int) -> dict[str, object]:
    """Actors in actors."""
    act: dict[str, object] = {"sub": "a", "actor_kind": "agent"}
    for _ in range(levels - 1):
        act = {"sub": "a", "actor_kind": "agent", "act": act}
    return act


def raw(text: str) -> bytes:
    """Claims as text, with more at their end."""
    return (json.dumps(claims())[:-1] + text + "}").encode()


def headed(header: str, *, sign: bool = True) -> str:
    """A good token under another header; with its signature or none."""
    _, payload, signature = signed(claims()).split(".")
    return ".".join([part(header.encode()), payload, signature if sign else ""])


def second(**more: int) -> int:
    """A second around noon."""
    return int((NOON + timedelta(**more)).timestamp())


PUBLIC = json.dumps(KEYS["RS256"].as_dict(private=False)).encode()


def detailed(**more: object) -> str:
    """A token whose mandate says more."""
    return signed(claims(authorization_details=[DETAIL | more]))


ATTACKS: dict[str, tuple[str, str]] = {
    # What the header says.
    "alg none": (headed('{"alg":"none","typ":"JWT"}', sign=False), "not signed"),
    "alg none, signed": (headed('{"alg":"none","typ":"JWT","kid":"rsa"}'), "'none'"),
    "alg NoNe": (headed('{"alg":"NoNe","typ":"JWT"}'), "'NoNe'"),
    "public key as secret": (signed(claims(), "HS256", secret(PUBLIC), kid="rsa"), "'HS256'"),
    "RSA token for an EC key": (signed(claims(), "RS256", kid="ec"), "no such key"),
    "EC token for an RSA key": (signed(claims(), "ES256", kid="rsa"), "no such key"),
    "PS512 not listed": (signed(claims(), "PS512", KEYS["RS256"]), "'PS512'"),
    "alg is a list": (headed('{"alg":["RS256"],"typ":"JWT"}'), "algorithm"),
    "no alg": (headed('{"typ":"JWT"}'), "algorithm None"),
    "jku": (signed(claims(), jku="https://evil.example/keys"), "header jku"),
    "x5u": (signed(claims(), x5u="https://evil.example/cert"), "header x5u"),
    "x5c": (signed(claims(), x5c=["MIIB"]), "header x5c"),
    "jwk": (signed(claims(), "RS256", STRANGER, jwk=STRANGER.as_dict(private=False)), "header jwk"),
    "crit": (signed(claims(), crit=["exp"]), "header crit"),
    "b64": (signed(claims(), b64=False), "header b64"),
    "zip": (signed(claims(), zip="DEF"), "header zip"),
    "kid of a path": (signed(claims(), kid="../../../../dev/null"), "no such key"),
    "kid of SQL": (signed(claims(), kid="x' OR '1'='1"), "no such key"),
    "kid is a number": (signed(claims(), kid=1), "key id is no text"),
    "no kid, two keys fit": (signed(claims(), "RS256", kid=None), ""),
    "no typ": (signed(claims(), typ=None), "type None"),
    "typ of a logout token": (signed(claims(), typ="logout+jwt"), "'logout+jwt'"),
    "another's key": (signed(claims(), "RS256", STRANGER), "signature"),
    "header twice": (headed('{"alg":"RS256","alg":"none","typ":"JWT"}'), "twice"),
    # What the claims say.
    "wrong issuer": (signed(claims(iss="https://evil.example")), "issued by"),
    "issuer with a slash": (signed(claims(iss=ISSUER + "/")), "issued by"),
    "issuer is a list": (signed(claims(iss=[ISSUER])), "issued by"),
    "no issuer": (signed(claims(iss=None)), "issued by"),
    "wrong audience": (signed(claims(aud="other")), "meant for"),
    "audience in part": (signed(claims(aud=AUDIENCE + "-test")), "meant for"),
    "audience list without us": (signed(claims(aud=["a", "b"])), "meant for"),
    "audience list of numbers": (signed(claims(aud=[AUDIENCE, 1])), "audience"),
    "audience list too long": (signed(claims(aud=[AUDIENCE, *map(str, range(40))])), "audience"),
    "no audience": (signed(claims(aud=None)), "audience"),
    "expired": (signed(claims(exp=second(seconds=-30))), "expired"),
    "no exp": (signed(claims(exp=None)), "exp is missing"),
    "exp is true": (signed(claims(exp=True)), "exp is no number"),
    "exp is a text": (signed(claims(exp=str(second(hours=1)))), "exp is no number"),
    "exp is huge": (signed(claims(exp=10**20)), "exp is no time"),
    "exp of a thousand digits": (signed(raw(f', "x": {"9" * 1000}')), "too many digits"),
    "exp is infinite": (signed(json.dumps(claims()).replace(str(second(minutes=10)), "Infinity").encode()), "Infinity"),
    "exp is 1e400": (signed(json.dumps(claims()).replace(str(second(minutes=10)), "1e400").encode()), "out of range"),
    "exp is negative": (signed(claims(exp=-1)), "exp is no time"),
    "no iat": (signed(claims(iat=None)), "iat is missing"),
    "iat to come": (signed(claims(iat=second(minutes=2))), "not valid before"),
    "nbf to come": (signed(claims(nbf=second(minutes=2))), "not valid before"),
    "nbf is null": (signed(raw(', "nbf": null')), "nbf is missing"),
    "ends before it begins": (signed(claims(iat=second(seconds=20), exp=second(seconds=10))), "ends before"),
    "lives for years": (signed(claims(exp=second(days=900))), "lives longer"),
    "sub twice": (signed(raw(', "sub": "root"')), "twice"),
    "no sub": (signed(claims(sub=None)), "sub is no text"),
    "empty sub": (signed(claims(sub="")), "sub is no text"),
    "sub is a number": (signed(claims(sub=7)), "sub is no text"),
    "sub is a list": (signed(claims(sub=["cora"])), "sub is no text"),
    "sub too long": (signed(claims(sub="x" * 256)), "sub is no text"),
    "sub in another normal form": (signed(claims(sub="zoe\u0308")), "one spelling"),
    "sub of compatibility letters": (signed(claims(sub=" cora")), "one spelling"),
    "sub with NUL": (signed(claims(sub="co\0ra")), "one spelling"),
    "sub with a line break": (signed(claims(sub="cora\n")), "one spelling"),
    "sub with a hidden space": (signed(claims(sub="co\u200bra")), "one spelling"),
    "sub turned round": (signed(claims(sub="co\u202era")), "one spelling"),
    "sub of half a pair": (signed(raw("").replace(b'"cora"', b'"\\ud800"')), "one spelling"),
    "purpose is a list": (signed(claims(purpose=["tax"])), "purpose is no text"),
    "kind unknown": (signed(claims(actor_kind="root")), "actor_kind"),
    "kind is true": (signed(claims(actor_kind=True)), "actor_kind"),
    # Delegation.
    "act without a kind": (signed(claims(act={"sub": "bot"})), "does not say what acts"),
    "act without sub": (signed(claims(act={"actor_kind": "agent"})), "act.sub"),
    "act is a text": (signed(claims(act="bot")), "act is no object"),
    "act is a list": (signed(claims(act=[{"sub": "bot"}])), "act is no object"),
    "act nine deep": (signed(claims(act=deep(9))), "more than 8 actors"),
    "act a thousand deep": (signed(raw(', "act": ' + '{"act":' * 1000 + "1" + "}" * 1000)), "nested more than"),
    "lists a hundred thousand deep": (signed(raw(', "x": ' + "[" * 5000 + "]" * 5000)), ""),
    "details are an object": (signed(claims(authorization_details=DETAIL)), "no short list"),
    "details without type": (signed(claims(authorization_details=[{"mandate": "x"}])), "no type"),
    "two mandates": (signed(claims(authorization_details=[DETAIL, DETAIL])), "more than one mandate"),
    "mandate without id": (signed(claims(authorization_details=[{"type": "datagate_mandate"}])), "mandate is no text"),
    "a member that is not known": (detailed(Columns=[]), "'Columns'"),
    "purposes are a text": (detailed(purposes="tax"), "purposes"),
    "purposes are null": (detailed(purposes=None), "purposes"),
    "relations are null": (detailed(relations=None), "relations"),
    "columns are null": (detailed(relations={"a.b": None}), "columns"),
    "relation without schema": (detailed(relations={"b": "all"}), "schema.name"),
    "parameter is null": (detailed(parameters={"a": None}), "parameter"),
    "parameters are a list": (detailed(parameters=[1]), "no object"),
    "validity is true": (detailed(valid_until=True), "no time"),
    # What is no token.
    "empty": ("", "three parts"),
    "JWE": ("a.b.c.d.e", "JWE"),
    "two parts": ("a.b", "three parts"),
    "padded": (signed(claims()) + "==", "base64url"),
    "standard base64": (signed(claims()).replace("_", "/").replace("-", "+") + "+", "base64url"),
    "white space": (" " + signed(claims()), "base64url"),
    "too long": (signed(claims(x="y" * 20_000)), "longer than"),
    "claims are a list": (signed(b"[]"), "not a JSON object"),
    "claims are no UTF-8": (signed(b'{"sub": "\xff"}'), "no UTF-8"),
    "claims with NaN": (signed(raw(', "x": NaN')), "NaN"),
    "two claims sets": (signed(json.dumps(claims()).encode() * 2), "Extra data"),
}  # fmt: skip
NOT_REFUSED = {"no kid, two keys fit"}


@pytest.mark.parametrize("name", sorted(ATTACKS.keys() - NOT_REFUSED))
def test_attacks_are_refused(name: str) -> None:
    """Each attack is refused, with its reason for the audit and the same words for the outside."""
    token, why = ATTACKS[name]
    assert why in reason(token)


def test_near_misses_pass() -> None:
    """The honest neighbours of the attacks are accepted."""
    good = [
        claims(aud=["other", AUDIENCE]),
        claims(exp=second(seconds=-29)),
        claims(iat=second(seconds=29), exp=second(minutes=5)),
        claims(nbf=second(seconds=30)),
        claims(exp=second(minutes=5) + 0.5),
        claims(sub="zo\u00eb"),
        claims(sub="x" * 255),
        claims(purpose=None),
        claims(act=deep(5)),
        claims(authorization_details=[]),
        claims(x={"anything": [1, 2.5, None, True]}),
    ]
    for payload in good:
        Caller.from_token(signed(payload), CHECK)
    for header in ({"typ": "JWT"}, {"typ": "application/at+jwt"}, {"x5t": "abc"}, {"kid": None}):
        Caller.from_token(signed(claims(), **header), CHECK)


def test_a_key_is_used_for_what_it_is_for() -> None:
    """Its own alg, use and key_ops count; a short RSA key, a private set and two keys of one id do not pass."""
    rsa = KEYS["RS256"]
    token = signed(claims())
    for more in ({"use": "enc"}, {"key_ops": ["encrypt"]}, {"alg": "PS256"}, {"kty": "what"}, {"use": 7}):
        assert "no such key" in reason(token, verifier(published(rsa, **more)))
    for more in ({"use": "sig"}, {"key_ops": ["verify"]}, {"alg": "RS256"}):
        Caller.from_token(token, verifier(published(rsa, **more)))
    assert "2 keys fit" in reason(token, verifier(published(rsa, STRANGER)))
    with pytest.raises(TokenRefused) as caught:
        verifier(json.dumps({"keys": [rsa.as_dict(private=True)]}).encode())
    assert "private" in str(caught.value.audit_reason)


def test_symmetric_keys_stand_alone() -> None:
    """HS256 passes where it alone is listed, and is refused beside asymmetric algorithms; none is never listed."""
    key = secret(b"k" * 32)
    raw_set = json.dumps({"keys": [{"kty": "oct", "k": part(b"k" * 32), "kid": "s"}]}).encode()
    token = signed(claims(), "HS256", key, kid="s")
    Caller.from_token(token, verifier(raw_set, algorithms=["HS256"]))
    assert "'HS256'" in reason(token, verifier(raw_set))
    for wrong in (["none"], ["HS256", "RS256"], [], ["RS1"]):
        with pytest.raises(InterfaceError):
            verifier(algorithms=wrong)


def test_kinds_can_be_presumed() -> None:
    """Where a deployment says what acts for others, a token need not."""
    check = verifier(actor_kind=ActorKind.AGENT)
    assert Caller.from_token(signed(claims(act={"sub": "bot"})), check).actor.kind is ActorKind.AGENT


GOOD = signed(claims(act=deep(2), authorization_details=[DETAIL | {"purposes": ["tax"]}]))
WANTED = Caller.from_token(GOOD, CHECK)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+/ \0é"


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_mutated_tokens_are_refused(data: st.DataObject) -> None:
    """Whatever is changed, left out or set in anywhere in a token, it is refused, and nothing else is raised."""
    at = data.draw(st.integers(0, len(GOOD)))
    length = data.draw(st.integers(0, 12))
    instead = data.draw(st.text(ALPHABET, max_size=12))
    mutant = GOOD[:at] + instead + GOOD[at + length :]
    if mutant != GOOD:
        reason(mutant)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
NAMES = ["iss", "aud", "sub", "iat", "exp", "nbf", "act", "purpose", "actor_kind", "authorization_details"]


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from(NAMES), JSON, min_size=1, max_size=3))
def test_any_claims_give_a_caller_or_a_refusal(changes: dict[str, object]) -> None:
    """Claims of any shape, well signed, end in a caller whose names are texts, or in a refusal."""
    token = signed(claims(**changes), "EdDSA")
    try:
        caller = Caller.from_token(token, CHECK)
    except TokenRefused:
        reason(token)
        return
    assert caller.principal
    assert caller.actor.id
    assert caller.valid_until is not None
    hash(caller)
