"""What a flush has left in memory of a mapped object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import ColumnProperty, InstanceState

    from sigra_forward_sqlalchemy._layout import Layout


def values_of(state: InstanceState[Any], layout: Layout) -> dict[str, Any] | None:
    """
    Return what the fields and extra columns of *layout* hold, each under its name, without asking the database.

    ``None``: not all of it is in memory, because the database has filled it in, or the class maps no such column.
    """
    attributes = {_name(attribute.columns[0]): attribute for attribute in state.mapper.column_attrs}
    values = {}
    for name, column in (*layout.fields.items(), *((f"extra {name}", column) for name, column in layout.extra.items())):
        attribute = attributes.get(_name(column))
        if attribute is None:
            return None
        if attribute.key in state.dict:
            values[name] = state.dict[attribute.key]
        elif _is_filled_in(attribute, state):
            return None
        else:
            values[name] = None  # which is what was written
    return values


def _name(column: ColumnElement[Any]) -> str:
    name: str = getattr(column, "name", "")
    return name


def _is_filled_in(attribute: ColumnProperty[Any], state: InstanceState[Any]) -> bool:
    column: Any = attribute.columns[0]
    defaults = (getattr(column, name, None) for name in ("default", "server_default", "computed", "identity"))
    return attribute.key in state.expired_attributes or any(default is not None for default in defaults)
