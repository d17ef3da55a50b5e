"""How the demo looks: callers, rows with the rule behind each column, refusals."""

from __future__ import annotations

from pathlib import Path, PurePath

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from datagate.errors import DatagateError
from datagate.frontends.cli.results import Result, cell
from datagate.gate.trace import Line, Trace
from datagate.model.caller import Caller
from datagate.model.source import SourceRef

_INDENT = 3
_CELL = 14
# A sample takes a cell and its gap; names, masks and places take the rest.
_SAMPLES_BY_WIDTH = ((112, 3), (96, 2), (0, 1))
_PLACE = "cyan"


class Scene:
    """Prints the demo, scene by scene."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._number = 0
        self._samples = next(samples for width, samples in _SAMPLES_BY_WIDTH if console.width >= width)

    def opening(self, version: int, customers: int, policies: Path, role: str, query: str) -> None:
        """What is set up, and the query."""
        what = f"  a bank of {customers:,} customers in a PostgreSQL {version} of its own"
        self._print(Text.assemble(("datagate demo", "bold"), what), indent=0)
        self._print(Text(f"statements run as the role {role}, which may only read"))
        self._console.print(Text(f"{' ' * _INDENT}policies in {policies}"), soft_wrap=True)
        self._console.print()
        self._print(Text.assemble("One query, eight callers:  ", (query, "bold green")), indent=0)

    def title(self, title: str, caller: Caller) -> None:
        """Who asks."""
        self._number += 1
        who = f"principal {caller.principal}"
        if caller.actor.id != caller.principal:
            who += f", actor {caller.actor.id} ({caller.actor.kind.value}), mandate {caller.mandate}"
        self._console.print()
        self._print(Text(f"{self._number}  {title}", style="bold"), indent=0)
        self._print(Text(f"{who}, for {caller.purpose}", style="dim"))

    def remark(self, text: str) -> None:
        """A line in passing."""
        self._print(Text(text))

    def answer(self, answer: Result, traced: Trace, total: int) -> None:
        """How many rows, why not more; the first of them, why they look so; what is hidden."""
        count = len(answer.rows)
        self._lines([Line(f"rule {each.name}", (each.source,)) for each in traced.rules])
        hidden = f"; {total - count:,} are hidden by the conditions" if total > count else ""
        self._print(Text.assemble((f"{count:,} of {total:,} rows", "bold yellow"), hidden))
        self._lines([Line(f"  {'  ' * line.depth}{line.text}", line.sources) for line in traced.rows])
        if count:
            self._rows(answer, traced)
        self._lines(
            [Line(f"hidden: {', '.join(each.names)}; {each.why.text}", each.why.sources) for each in traced.hidden]
        )

    def refusal(self, error: DatagateError, reason: str) -> None:
        """What the caller is told, and what the audit knows."""
        self._print(Text.assemble(("refused: ", "bold red"), error.message, (f"  (SQLSTATE {error.sqlstate})", "dim")))
        self._print(Text(f"the audit knows why: {_shortened(reason)}", style="dim"))

    def withdrawal(self, query: str, name: str, key: int, before: str, after: str) -> None:
        """The count before and after one consent was withdrawn."""
        self._console.print()
        self._print(
            Text.assemble(("Consent counts at the moment of the statement", "bold"), ("   Ines again", "dim")), 0
        )
        self._print(Text.assemble((query, "green"), " gives ", (before, "bold yellow")))
        self._print(Text(f"{name} (customer {key}) withdraws her consent to analytics"))
        self._print(Text.assemble((query, "green"), " gives ", (after, "bold yellow"), " on the same connection"))

    def closing(self, seconds: float) -> None:
        """How long it took."""
        self._console.print()
        self._print(Text(f"All of it took {seconds:.1f} s; server and files are gone.", style="dim"), indent=0)

    def _rows(self, answer: Result, traced: Trace) -> None:
        """The first rows side by side, one column of theirs a line, with the rule that shows it."""
        samples = answer.rows[: self._samples]
        wide = _CELL * self._samples // len(samples)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim underline")
        table.add_column("column", no_wrap=True)
        for number in range(1, len(samples) + 1):
            table.add_column(f"row {number}", no_wrap=True, overflow="ellipsis", max_width=wide)
        table.add_column("shown as", no_wrap=True)
        table.add_column("by", no_wrap=True)
        shown = {each.name: each.how for each in traced.shown}
        for index, column in enumerate(answer.columns):
            how = shown[column.name]
            style = "" if how.text == "as it is" else "magenta"
            values = [cell(row[index]) for row in samples]
            table.add_row(Text(column.name), *values, Text(how.text, style=style), Text(_places(how.sources), _PLACE))
        self._console.print(Padding(table, (0, 0, 0, _INDENT), expand=False))

    def _lines(self, lines: list[Line]) -> None:
        for line in lines:
            self._print(Text.assemble(line.text, "  ", (_places(line.sources), _PLACE)))

    def _print(self, text: Text, indent: int = _INDENT) -> None:
        self._console.print(Padding(text, (0, 0, 0, indent), expand=False))


def _places(sources: tuple[SourceRef, ...]) -> str:
    return ", ".join(f"{PurePath(each.file).name}:{each.line}" for each in sources)


def _shortened(reason: str) -> str:
    """The reason with files by their name."""
    return " ".join(PurePath(word).name if "/" in word else word for word in reason.split(" "))
