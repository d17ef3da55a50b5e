"""The command line: ``datagate --help``. It translates options into the other rooms' calls, and decides nothing."""

from datagate.frontends.cli.application import app, main

__all__ = ["app", "main"]
