"""The ``datagate`` program: its commands, and how errors end it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import psycopg
import typer

from datagate.errors import DatagateError, PolicyError
from datagate.frontends.cli import gateway, lifecycle, policies, showing, state, statements, users, why
from datagate.frontends.cli.audit import audit
from datagate.frontends.cli.demo import demo
from datagate.frontends.cli.doctor import doctor
from datagate.frontends.cli.effect import effect

app = typer.Typer(
    name="datagate",
    help="Row and column filtering for every SQL statement, decided at the moment it runs.",
    epilog="DSN, policies and state may come from DATAGATE_DSN, DATAGATE_POLICIES and DATAGATE_STATE.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("demo")(demo)
app.command("draft")(policies.draft)
app.command("check")(policies.check)
app.command("test")(policies.prove)
app.command("schema")(policies.schema)
app.command("query")(statements.query)
app.command("explain")(statements.explain)
app.command("effect")(effect)
app.command("why")(why.why_row)
app.command("reload")(why.reload)
app.command("init")(state.init)
app.command("gateway")(gateway.gateway)
app.add_typer(users.user, name="user")
app.command("doctor")(doctor)
app.add_typer(showing.entitle, name="entitle")
app.add_typer(showing.consent, name="consent")
app.add_typer(state.mandate, name="mandate")
app.add_typer(audit, name="audit")
app.add_typer(lifecycle.caller, name="caller")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("datagate"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command: exits 0; 1 where it fails, and one line on standard error says why; 2 for a wrong usage."""
    try:
        app(arguments)
    except PolicyError as error:
        _fail(str(error))
    except DatagateError as error:
        _fail(f"datagate: {_one_line(error.message)}")
    except psycopg.Error as error:
        _fail(f"datagate: {_one_line(str(error))}")


def _one_line(message: str) -> str:
    """The message without line breaks, and with what to do where the state is not there, or not to be read."""
    line = " ".join(message.split())
    if "does not exist" in line and "datagate." in line:
        line += "; create the state with: datagate init"
    if line.startswith("the state database failed: permission denied"):
        line += "; give with --state a connection that may read entitlements and mandates"
    return line


def _fail(message: str) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(1)
