"""Who has logged in, and which caller such a one may choose to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from datagate.errors import Refused
from datagate.frontends.gateway.users import User
from datagate.model.caller import Actor, Caller
from datagate.model.names import MandateId, PrincipalId, Purpose

PURPOSE = "datagate.purpose"
ON_BEHALF_OF = "datagate.on_behalf_of"
MANDATE = "datagate.mandate"
END_USER = "datagate.end_user"
WISHES = (PURPOSE, ON_BEHALF_OF, MANDATE, END_USER)
"""The settings by which a client says who is calling; SET changes the first three of a session."""


class TokenVerifier(Protocol):
    """What a gateway needs of whoever reads tokens."""

    def caller(self, token: str) -> Caller:
        """The caller that a token names; a DatagateError where it names none."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has logged in.

    ``caller``: who that is unless something else is chosen. ``purposes``: those that may be chosen. ``asserts``: the
    end users in whose name it may speak. ``fixed``: a token said it all, and nothing is to be chosen.
    """

    caller: Caller
    purposes: tuple[str, ...]
    asserts: tuple[str, ...] = ()
    fixed: bool = False

    @classmethod
    def of_user(cls, user: User) -> Identity:
        """A user of the gateway's own store."""
        principal = PrincipalId(user.name)
        purpose = Purpose(user.purposes[0]) if user.purposes else None
        return cls(Caller(principal, Actor(principal, user.kind), None, purpose), user.purposes, user.asserts)

    @classmethod
    def of_token(cls, caller: Caller) -> Identity:
        """Whom a token names."""
        return cls(caller, (caller.purpose,) if caller.purpose is not None else (), fixed=True)

    def choose(self, wishes: Mapping[str, str]) -> Caller:
        """The caller that the settings ask for.

        Raises:
            Refused: It is not among those that this login may be; the message tells no more than was asked.
        """
        purpose = self._purpose(wishes.get(PURPOSE, ""))
        on_behalf_of, mandate = wishes.get(ON_BEHALF_OF, ""), wishes.get(MANDATE, "")
        end_user = wishes.get(END_USER, "")
        if self.fixed:
            self._check_fixed(on_behalf_of, mandate, end_user)
            return self.caller
        if end_user:
            if end_user not in self.asserts or on_behalf_of or mandate:
                raise Refused(f"setting {END_USER} to this value is not permitted to this login")
            principal = PrincipalId(end_user)
            return Caller(principal, Actor(principal), None, purpose)
        if bool(on_behalf_of) != bool(mandate):
            raise Refused(f"{ON_BEHALF_OF} and {MANDATE} go together: whose rights, and by which mandate")
        if on_behalf_of:
            return Caller(PrincipalId(on_behalf_of), self.caller.actor, MandateId(mandate), purpose)
        return Caller(self.caller.principal, self.caller.actor, None, purpose)

    def _purpose(self, wished: str) -> Purpose | None:
        if not wished:
            return self.caller.purpose
        if wished not in self.purposes:
            raise Refused(f"setting {PURPOSE} to this value is not permitted to this login")
        return Purpose(wished)

    def _check_fixed(self, on_behalf_of: str, mandate: str, end_user: str) -> None:
        said = (self.caller.principal, self.caller.mandate or "")
        if end_user or (on_behalf_of and on_behalf_of != said[0]) or (mandate and mandate != said[1]):
            raise Refused("who is calling was said by the token, and cannot be chosen")
