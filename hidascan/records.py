"""Dataclasses as JSON, and back by their type hints."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType
from typing import Any

hints_of: Callable[[Any], dict[str, Any]] = cache(typing.get_type_hints)


def to_json(value: Any) -> Any:
    """Return a value as JSON: dataclasses as objects, tuples as lists."""
    if is_dataclass(value):
        return {one.name: to_json(getattr(value, one.name)) for one in fields(value)}
    return [to_json(one) for one in value] if isinstance(value, tuple) else value


def from_json(hint: Any, value: Any) -> Any:
    """Return a JSON value as what a type hint describes; text, as in a CSV, may stand for a number.

    Args:
        hint: A plain type, a dataclass, or an optional, a tuple or a dictionary of these.
        value: Value; missing keys of an object get the defaults of its dataclass.

    Raises:
        TypeError: Or ValueError, for a value of another kind.
    """
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if NoneType in inner:
        return None if value is None or value == "" else from_json(inner[0], value)
    if kind is tuple:
        return tuple(from_json(inner[0], one) for one in value)
    if (kind is dict or is_dataclass(hint)) and not isinstance(value, Mapping):
        raise TypeError(f"not an object: {value!r:.40}")
    if kind is dict:
        return {name: from_json(inner[1], one) for name, one in value.items()}
    if is_dataclass(hint):
        hints = hints_of(hint)
        return hint(**{name: from_json(hints.get(name), one) for name, one in value.items()})  # type: ignore[operator]
    return hint(value) if hint in (int, float) else value
