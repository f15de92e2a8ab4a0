"""Dataclasses as JSON, and back by their type hints."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from types import NoneType
from typing import Any

hints_of: Callable[[Any], dict[str, Any]] = cache(typing.get_type_hints)


def to_json(value: Any) -> Any:
    """Return a value as JSON: dataclasses as objects, tuples as lists."""
    if isinstance(value, tuple):
        return [to_json(one) for one in value]
    return {one.name: to_json(getattr(value, one.name)) for one in fields(value)} if is_dataclass(value) else value


def from_json(hint: Any, value: Any) -> Any:
    """Return a JSON value as what a type hint describes; text, as in a CSV, may stand for a number.

    The hint is a plain type, a dataclass, or an optional, a tuple or a dictionary of these. Missing keys of an object get
    the defaults of its dataclass. Only structure and numbers are checked: values of str and bool pass unchanged, and a
    float given for an int is truncated.

    Raises:
        TypeError: Or ValueError, if a number cannot be parsed, or an object is expected.
    """
    return _reader(hint)(value)


@cache
def _reader(hint: Any) -> Callable[[Any], Any]:
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint):
        return partial(_object, hint)
    if NoneType in inner:
        read = _reader(inner[0])
        return lambda value: None if value is None or (value == "" and inner[0] is not str) else read(value)
    if kind is tuple:
        read = _reader(inner[0])
        return lambda value: tuple(map(read, value))
    if kind is dict:
        read = _reader(inner[1])
        return lambda value: {name: read(one) for name, one in _mapping(value).items()}
    return hint if hint in (int, float) else lambda value: value


@cache
def _readers(kind: Any) -> dict[str, Callable[[Any], Any]]:
    return {name: _reader(hint) for name, hint in hints_of(kind).items()}


def _object(kind: Any, value: Any) -> Any:
    readers = _readers(kind)
    return kind(**{name: readers[name](one) if name in readers else one for name, one in _mapping(value).items()})


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"not an object: {value!r:.40}")
    return value
