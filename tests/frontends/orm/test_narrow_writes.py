"""Where a caller may write fewer rows than he sees, what a session holds follows what was written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import sessionmaker

from datagate.frontends.orm import GatedSession, gate_engine, gated_sessionmaker
from datagate.gate import Gate
from fixtures.market.callers import CLERK
from fixtures.market.models import Order
from tests.frontends.orm.conftest import MARKET, Market

_SEES = "    show: all\n    insert: all\n    update: [amount, remark, person_id]\n    delete: true\n"
_WRITES_LESS = """    show: all
  - permit: clerk-writes
    to: {role: clerk}
    for: [work]
    rows: secrecy = 0
    show: all
    update: [amount]
    delete: true
"""


@pytest.fixture
def narrow(market: Market, tmp_path: Path) -> Iterator[sessionmaker[GatedSession]]:
    """Sessions of clerks who see orders of secrecy 0 and 1, and write those of 0."""
    shutil.copytree(MARKET / "policies", tmp_path / "policies")
    changed = tmp_path / "policies" / "orders.yaml"
    before = changed.read_text()
    assert before.count(_SEES) == 1
    changed.write_text(before.replace(_SEES, _WRITES_LESS))
    gate = Gate.open(market.dsn, policies=tmp_path / "policies", state=market.store, audit=market.sink)
    engine = gate_engine(market.plain, gate)
    yield gated_sessionmaker(engine)
    engine.dispose()


@pytest.mark.parametrize("how", ["auto", "evaluate", "fetch"])
def test_an_update_of_rows_that_may_not_be_written(
    market: Market, narrow: sessionmaker[GatedSession], how: str
) -> None:
    """Objects whose rows an UPDATE passed over keep what their rows hold; the others show what was written."""
    with narrow(caller=CLERK) as session:
        orders = session.scalars(sa.select(Order).where(Order.person_id == 2).order_by(Order.id)).all()
        assert [(each.secrecy, each.amount) for each in orders] == [(1, 40), (0, 60)]
        change = sa.update(Order).where(Order.person_id == 2).values(amount=7)
        changed = session.execute(change, execution_options={"synchronize_session": how})
        assert changed.rowcount == 1  # type: ignore[attr-defined]
        assert [each.amount for each in orders] == [40, 7]
        session.commit()
    assert market.sql("SELECT amount FROM market.orders WHERE person_id = 2 ORDER BY id") == [(40,), (50,), (7,)]


@pytest.mark.parametrize("how", ["auto", "evaluate", "fetch"])
def test_a_delete_of_rows_that_may_not_be_deleted(market: Market, narrow: sessionmaker[GatedSession], how: str) -> None:
    """Objects whose rows a DELETE passed over stay in the session."""
    market.sql("DELETE FROM market.order_tags")
    with narrow(caller=CLERK) as session:
        orders = session.scalars(sa.select(Order).where(Order.person_id == 2).order_by(Order.id)).all()
        gone = sa.delete(Order).where(Order.person_id == 2)
        session.execute(gone, execution_options={"synchronize_session": how})
        assert [each in session for each in orders] == [True, False]
        session.commit()
    assert market.sql("SELECT id FROM market.orders WHERE person_id = 2 ORDER BY id") == [(4,), (5,)]
