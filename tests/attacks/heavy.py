"""Long and deep texts, and a program that sends them by both doors: a crash of it, or a limit, is seen from outside.

``python -m tests.attacks.heavy <connection string> <share> <folder>`` prints what each came to, one JSON line each.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg

from datagate.audit import MemorySink
from datagate.errors import DatagateError
from datagate.frontends import driver
from datagate.gate import Gate
from datagate.model.caller import Caller
from datagate.stores.keyring import Keyring
from tests.frontends.gateway.running import Running

POLICIES = Path(__file__).parents[2] / "policies"
MEMORY, SECONDS, STACK = 6 << 30, 400, 8 << 20
"""Address space, CPU time, and the stack of the thread that drives: all that a deep text may need, and no more."""

FROM = "from bank.customers"


def long_texts(share: int) -> Mapping[str, tuple[str, Sequence[str] | None]]:
    """What honest programs may send, or a share of it, with parameters; the answer is one row that holds true."""
    texts = {
        "or": f"select count(*) > 0 {FROM} where " + " or ".join(["region = 'EU'"] * (5_000 // share)),
        "and": f"select count(*) > 0 {FROM} where " + " and ".join(["region = 'EU'"] * (5_000 // share)),
        "concatenation": "select length(" + "||".join(["region"] * 2_000) + f") > 3999 {FROM} limit 1",
        "sum": "select " + "+".join(["balance"] * 2_000) + f" > 0 {FROM} where balance > 0 limit 1",
        "union": "select count(*) > 400 from ("
        + " union all ".join([f"select region {FROM}"] * (2_000 // share))
        + ") as u",
        "in": f"select count(*) > 0 {FROM} where region not in ("
        + ",".join(f"'{n}'" for n in range(100_000 // share))
        + ")",
        "values": f"select count(*) = {20_000 // share} from (values "
        + ",".join(["(1)"] * (20_000 // share))
        + ") as v",
        "cases": "select case" + " when balance = -1 then false" * (5_000 // share) + f" else true end {FROM} limit 1",
        "nested cases": "select " + "case when region > '' then " * 800 + "true" + " end" * 800 + f" {FROM} limit 1",
        "calls": "select " + "upper(" * 1_500 + "region" + ")" * 1_500 + f" > '' {FROM} limit 1",
        "parentheses": "select " + "(" * 4_000 + "true" + ")" * 4_000 + f" {FROM} limit 1",
        "negations": "select " + "not " * 4_000 + f"region > '' {FROM} limit 1",
        "casts": "select region" + "::text" * 3_000 + f" > '' {FROM} limit 1",
        "subqueries": "select " + "(select " * 500 + "region > ''" + ")" * 500 + f" {FROM} limit 1",
        "derived tables": "select r > '' from "
        + "(select * from " * 300
        + f"(select region as r {FROM}) q"
        + ") q" * 300
        + " limit 1",
        "statements": f"select count(*) > 0 {FROM}; " * (1_000 // share),
        "a comment": f"select count(*) > 0 /*{'x' * 900_000}*/ {FROM}",
        "a name": f'select count(*) > 0 as "{"x" * 900_000}" {FROM}',
        "a string": f"select length('{'x' * 900_000}') = 900000 {FROM} limit 1",
    }
    number = 65_000 // share
    parameters = f"select count(*) > 0 {FROM} where region in ({', '.join(['%s'] * number)})"
    return {**{name: (text, None) for name, text in texts.items()}, "parameters": (parameters, ["EU"] * number)}


DEEP: Mapping[str, str] = {
    "parentheses": "select " + "(" * 100_000 + "1" + ")" * 100_000,
    "ten megabytes": "select '" + "x" * 10_000_000 + "'",
    "ten megabytes of comment": "select 1 /*" + "x" * 10_000_000 + "*/",
    "nested comments": "/*" * 100_000 + "*/" * 100_000 + "select 1",
    "operators": "select 1 " + "+" * 500_000 + " 1",
    "signs": "select " + "- " * 100_000 + "1",
    "casts": "select 1" + "::int" * 190_000,
    "sum": "select " + "+".join(["1"] * 100_000),
    "set operations": "select 1, 2" + " union select 1, 2" * 20_000,
    "joins": f"select 1 {FROM} a" + " join bank.customers on true and true" * 20_000,
    "negations": "select " + "not " * 100_000 + "true",
    "between": "select " + "1 between 1 and not " * 20_000 + "true",
    "cases": "select " + "case when true then " * 20_000 + "1" + " end" * 20_000,
    "subqueries": "select " + "(select " * 100_000 + "1" + ")" * 100_000,
    "rows": "select " + "row(" * 100_000 + "1" + ")" * 100_000,
    "arrays": "select " + "array[" * 100_000 + "1" + "]" * 100_000,
    "WITH": "with x as (" * 20_000 + "select 1" + ") select 1" * 20_000,
    "tests for NULL": "select 1" + " is null" * 100_000,
    "collations": "select ''" + ' collate "C"' * 60_000,
    "explain": "explain " * 100_000 + "select 1",
    "copy": "copy (" * 100_000 + "select 1" + ") to stdout" * 60_000,
    "dollars": "select $" + "a" * 500_000,
    "quotes": "select '" + "'" * 500_000,
    "dots": "select a" + ".a" * 400_000,
    "too many parameters": f"select 1 {FROM} where zip in (" + ", ".join(f"${n}" for n in range(1, 65_536)) + ")",
    "a parameter far off": "select $2147483647",
    "an interval as time zone": "set time zone interval '1' hour to minute",
}
"""What nobody needs: refused in words."""


def _answer(connection: psycopg.Connection[Any], text: str, parameters: Sequence[str] | None = None) -> list[str]:
    try:
        return ["", repr(connection.execute(text.encode(), parameters).fetchall())]
    except DatagateError as error:
        return [error.sqlstate, str(error)]
    except psycopg.Error as error:
        return [error.sqlstate or "", str(error.diag.message_primary)]


def _run(door: str, connection: psycopg.Connection[Any], share: int) -> None:
    found = {f"long: {name}": _answer(connection, *asked) for name, asked in long_texts(share).items()}
    found.update((f"deep: {name}", _answer(connection, text)) for name, text in DEEP.items())
    found["afterwards"] = _answer(connection, "select true")
    for name, (state, told) in found.items():
        sys.stdout.write(json.dumps([door, name, state, told[:300]]) + "\n")


def main(dsn: str, share: int, folder: str) -> None:
    """Send them all, by the driver, or (where there is a folder for its files) through a gateway."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    if folder:
        with Running(dsn, Path(folder)) as gateway, gateway.connect("ana") as wired:
            _run("gateway", wired, share)
        return
    gate = Gate.open(dsn, policies=POLICIES, keyring=Keyring({"default": b"k" * 32}), audit=MemorySink())
    caller = Caller.of("ana", purpose="analytics")
    with driver.connect(dsn, caller=caller, gate=gate, autocommit=True) as driven:
        _run("driver", driven, share)
    gate.close()


if __name__ == "__main__":
    # A stack as threads have it by default.
    threading.stack_size(STACK)
    worker = threading.Thread(target=main, args=(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
    worker.start()
    worker.join()
