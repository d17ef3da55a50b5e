"""Leaves the columns that a caller does not see out of the SELECTs that the ORM makes of mapped classes.

The caller's own words are never touched: who names a hidden column in a query gets what a misspelt name gets. Only the
list that the ORM itself draws up where a query names a class is shortened; the attribute counts as not loaded, and
`datagate.frontends.orm.attributes` says so when it is asked for.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy.orm import ColumnProperty, Mapper
from sqlalchemy.orm.context import _ORMSelectCompileState
from sqlalchemy.orm.interfaces import CompileStateOption, LoaderStrategy, MapperProperty
from sqlalchemy.sql.base import CompileState
from sqlalchemy.sql.visitors import InternalTraversal

from datagate.errors import UndefinedColumn
from datagate.frontends.orm.outlook import Outlook

_KEY = "datagate_hidden"
_STRATEGY = ((_KEY, True),)


class Hide(CompileStateOption):
    """Put on a statement by the session; statements of callers who see the same columns share compiled forms."""

    __slots__ = ("_outlook", "number")
    _traverse_internals: Any = [("number", InternalTraversal.dp_plain_obj)]
    propagate_to_loaders = False

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self.number = outlook.number

    def process_compile_state(self, compile_state: Any) -> None:
        """Answer, wherever the ORM looks for a column's loader: this one is not loaded."""
        compile_state.global_attributes[_KEY] = self._outlook.hidden
        compile_state.attributes = _Hiding(compile_state.attributes, self._outlook.hidden)

    def process_compile_state_replaced_entities(self, compile_state: Any, mapper_entities: Any) -> None:  # noqa: ARG002
        """As above, where Query has replaced its entities."""
        self.process_compile_state(compile_state)


def hide(statement: Any, mapper: Mapper[Any], outlook: Outlook) -> Any:
    """A statement about mapped classes, without the columns that are hidden."""
    if not outlook.hidden:
        return statement
    asked = getattr(getattr(statement, "_compile_options", None), "_only_load_props", None)
    if asked and all(key in mapper.attrs and mapper.attrs[key] in outlook.hidden for key in asked):
        # What is to be read again is hidden, all of it; the ORM needs a column to see that the row is there.
        key = frozenset(mapper.get_property_by_column(column).key for column in mapper.primary_key)
        statement = statement._clone()
        statement._compile_options += {"_only_load_props": key}
    return statement.options(Hide(outlook))


@CompileState.plugin_for("orm", "select")
class _Nested(_ORMSelectCompileState):
    """Hides in SELECTs inside of others too; without the option, it is what SQLAlchemy's own is."""

    def _init_global_attributes(self, *args: Any, **kwargs: Any) -> None:
        super()._init_global_attributes(*args, **kwargs)  # type: ignore[no-untyped-call]
        hidden = self.global_attributes.get(_KEY)
        if hidden is not None:
            self.attributes = _Hiding(self.attributes, hidden)


class _Hiding(dict[Any, Any]):
    """What a statement being compiled knows of loaders: by path, and by property for those that are hidden."""

    __slots__ = ("hidden",)

    def __init__(self, known: dict[Any, Any], hidden: frozenset[MapperProperty[object]]) -> None:
        super().__init__(known)
        self.hidden = hidden

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or self._is_hidden(key)

    def __getitem__(self, key: Any) -> Any:
        return _HIDDEN if self._is_hidden(key) else super().__getitem__(key)

    def _is_hidden(self, key: object) -> bool:
        if type(key) is not tuple or key[0] != "loader":
            return False
        last = key[1][-1]
        return isinstance(last, ColumnProperty) and last in self.hidden


class _HiddenLoad:
    """What stands in the place of a loader option."""

    strategy = _STRATEGY
    local_opts: ClassVar[dict[str, object]] = {}
    _extra_criteria = ()


_HIDDEN = _HiddenLoad()


@ColumnProperty.strategy_for(datagate_hidden=True)  # type: ignore[no-untyped-call,untyped-decorator,unused-ignore]
class _HiddenColumnLoader(LoaderStrategy):
    """Loads nothing; where the row has no such column, the ORM counts the attribute as not loaded."""

    def setup_query(self, *_args: Any, **_kwargs: Any) -> None:
        """Add no column to the statement.

        Raises:
            UndefinedColumn: The column is the key; without it the ORM could not tell one row from another.
        """
        prop: Any = self.parent_property
        if any(column in prop.parent.primary_key for column in prop.columns):
            raise UndefinedColumn(
                f"{prop} is the key of its class, and the caller of this session does not see it; "
                "query the columns that he sees instead of the class"
            )

    def create_row_processor(self, *arguments: Any) -> None:
        """Count the attribute as not loaded."""
        populators = arguments[-1]
        populators["expire"].append((self.key, True))
