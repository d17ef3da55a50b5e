"""``datagate user`` says who may log in to the gateway."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datagate.errors import StateError
from datagate.model.caller import ActorKind

if TYPE_CHECKING:
    from datagate.frontends.gateway.users import UserFile

USERS = Path("users.json")

Users = Annotated[
    Path, typer.Option("--users", envvar="DATAGATE_USERS", metavar="FILE", help="The file of those who may log in.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The user's name: the principal.")]

user = typer.Typer(help="Who may log in to the gateway: names with SCRAM verifiers, never passwords.")


@user.command("add")
def add(
    name: Name,
    users: Users = USERS,
    purpose: Annotated[
        list[str] | None, typer.Option("--purpose", help="What they may use data for; the first is the usual one.")
    ] = None,
    kind: Annotated[ActorKind, typer.Option("--kind", help="What connects.")] = ActorKind.PERSON,
    certificate: Annotated[
        list[str] | None,
        typer.Option(
            "--certificate",
            metavar="KIND:NAME",
            help="A client certificate with this name is enough: cn:…, email:…, dns:…, uri:….",
        ),
    ] = None,
) -> None:
    """Add a user, or replace one; the password is asked for, or read from standard input."""
    from datagate.frontends.gateway.protocol.scram import Verifier
    from datagate.frontends.gateway.users import User, certificate_name

    try:
        certificates = frozenset(map(certificate_name, certificate or ()))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--certificate") from None
    password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    if not password and not certificates:
        raise StateError("an empty password lets nobody in; give one, or --certificate")
    verifier = Verifier.of(password, os.urandom(16)) if password else None
    _users(users).put(
        User(
            name=name,
            verifier=verifier,
            purposes=tuple(purpose or ()),
            kind=kind,
            certificates=certificates,
        )
    )


@user.command("lock")
def lock(name: Name, users: Users = USERS) -> None:
    """Let nobody in under this name any more."""
    _users(users).lock(name, locked=True)


@user.command("unlock")
def unlock(name: Name, users: Users = USERS) -> None:
    """Let them in again."""
    _users(users).lock(name, locked=False)


def _users(path: Path) -> UserFile:
    from datagate.frontends.gateway.users import UserFile

    return UserFile(path)
