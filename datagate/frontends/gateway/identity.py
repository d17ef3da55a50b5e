"""Who has logged in, and which caller such a one may choose to be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from datagate.errors import Refused
from datagate.frontends.gateway.users import User
from datagate.model.caller import Actor, ActorKind, Caller
from datagate.model.names import MandateId, PrincipalId, Purpose
from datagate.model.policy import PolicySet

PURPOSE = "datagate.purpose"
ON_BEHALF_OF = "datagate.on_behalf_of"
MANDATE = "datagate.mandate"
END_USER = "datagate.end_user"
WISHES = (PURPOSE, ON_BEHALF_OF, MANDATE, END_USER)
"""The settings by which a client says who is calling; SET changes them later, but for the end user."""

NOT_PERMITTED = f"setting {END_USER} to this value is not permitted to this login"


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has logged in.

    ``caller``: who that is unless something else is chosen. ``purposes``: those that may be chosen. ``purposes_with``:
    those that a service may choose in the name of an end user; None: of no such. ``fixed``: a token said who it is, or
    a service did, and only a purpose is to be chosen.
    """

    caller: Caller
    purposes: tuple[str, ...]
    purposes_with: Callable[[str], tuple[str, ...]] | None = None
    fixed: bool = False

    @classmethod
    def of_user(cls, user: User, known: Callable[[str], User | None]) -> Identity:
        """A user of the gateway's own store.

        Whom a service may speak for is said by a policy alone: who may log in is no word on who is believed. Where an
        end user has a place of its own in the store, it must not be locked, and its purposes count too.
        """
        principal = PrincipalId(user.name)

        def purposes_with(name: str) -> tuple[str, ...]:
            end_user = known(name)
            if end_user is None:
                return user.purposes
            return () if end_user.locked else tuple(each for each in user.purposes if each in end_user.purposes)

        caller = Caller(principal, Actor(principal, user.kind), None, _first(user.purposes))
        return cls(caller, user.purposes, purposes_with if user.kind is ActorKind.SERVICE else None)

    @classmethod
    def of_token(cls, caller: Caller, known: User | None) -> Identity:
        """Whom a token names.

        Its purposes are the one that it names; else those that it leaves of a mandate; else, without a mandate, those
        of the user of that name, where the store has one.
        """
        if caller.purpose is not None:
            return cls(caller, (caller.purpose,), fixed=True)
        if caller.narrowing is not None and caller.narrowing.purposes is not None:
            left: tuple[str, ...] = tuple(sorted(caller.narrowing.purposes))
            # Of several none is the usual one.
            return cls(replace(caller, purpose=_first(left) if len(left) == 1 else None), left, fixed=True)
        purposes = known.purposes if known is not None and caller.mandate is None else ()
        return cls(replace(caller, purpose=_first(purposes)), purposes, fixed=True)

    def settled(self, wishes: Mapping[str, str], policies: PolicySet) -> tuple[Identity, dict[str, str]]:
        """What a session begins as, and the wishes that are left: whom a service speaks for is said once.

        Later statements may be an end user's own words, and must not make it another's. Whether the end user has a role
        for which the service is trusted, decisions tell.

        Raises:
            Refused: The service may not speak for that end user.
        """
        end_user, on_behalf_of = wishes.get(END_USER, ""), wishes.get(ON_BEHALF_OF, "")
        asserted = self.purposes_with is not None and bool(on_behalf_of) and not wishes.get(MANDATE)
        if not end_user and not asserted:
            return replace(self, purposes_with=None), dict(wishes)
        service, named = self.caller.actor.id, {name for name in (end_user, on_behalf_of) if name}
        trust = policies.services.get(service)
        if len(named) != 1 or wishes.get(MANDATE) or trust is None or self.purposes_with is None:
            raise Refused(NOT_PERMITTED)
        principal = PrincipalId(named.pop())
        purposes = tuple(
            each for each in self.purposes_with(principal) if not trust.purposes.isdisjoint(_lineage(policies, each))
        )
        if not purposes or (principal not in trust.principals and not trust.roles):
            raise Refused(NOT_PERMITTED)
        caller = Caller(
            principal, Actor(principal), None, _first(purposes), prior_actors=(service,), asserted_by=service
        )
        left = {name: value for name, value in wishes.items() if name == PURPOSE}
        return Identity(caller, purposes, fixed=True), left

    def check(self, wishes: Mapping[str, str]) -> None:
        """Hold what is asked for at the start to what can be; later on, one SET comes after the other.

        Raises:
            Refused: A principal without a mandate, or the other way round.
        """
        if not self.fixed and bool(wishes.get(ON_BEHALF_OF)) != bool(wishes.get(MANDATE)):
            raise Refused(f"{ON_BEHALF_OF} and {MANDATE} go together: whose rights, and by which mandate")

    def choose(self, wishes: Mapping[str, str]) -> Caller:
        """The caller that the settings of a session ask for.

        Of a principal and a mandate one may be set before the other: no such caller has any rights.

        Raises:
            Refused: It is not among those that this login may be; the message tells no more than was asked.
        """
        on_behalf_of, mandate = wishes.get(ON_BEHALF_OF, ""), wishes.get(MANDATE, "")
        if wishes.get(END_USER):
            raise Refused(f"setting {END_USER} is not permitted to this login, or after its start")
        purpose = self._purpose(wishes.get(PURPOSE, ""))
        if self.fixed:
            said = (self.caller.principal, self.caller.mandate or "")
            if (on_behalf_of and on_behalf_of != said[0]) or (mandate and mandate != said[1]):
                raise Refused("who is calling was said at the login, and cannot be chosen")
            return replace(self.caller, purpose=purpose)
        principal = PrincipalId(on_behalf_of) if on_behalf_of else self.caller.principal
        return Caller(principal, self.caller.actor, MandateId(mandate) if mandate else None, purpose)

    def _purpose(self, wished: str) -> Purpose | None:
        if not wished:
            return self.caller.purpose
        if wished not in self.purposes:
            mine = ", ".join(self.purposes) or "no purpose"
            raise Refused(f"setting {PURPOSE} to this value is not permitted to this login, which may use: {mine}")
        return Purpose(wished)


def _lineage(policies: PolicySet, purpose: str) -> tuple[Purpose, ...]:
    known = Purpose(purpose)
    return policies.purposes.chain(known) if known in policies.purposes else ()


def _first(purposes: tuple[str, ...]) -> Purpose | None:
    return Purpose(purposes[0]) if purposes else None
