"""The JSON Schema (2020-12) of a line of `--jsonl`, from the type hints of a Finding."""

from __future__ import annotations

import typing
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any

from hidascan.finding import KEYS, Finding
from hidascan.image.provenance.claim import Claim
from hidascan.image.provenance.manifest import Manifest
from hidascan.records import hints_of
from hidascan.regions import SCOPES
from hidascan.summary import TEXTS, Card

_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}
_SPECIAL: dict[tuple[type, str], dict[str, Any]] = {
    (Finding, "status"): {"enum": ["ok", "error"]},
    (Finding, "verdict"): {"enum": ["ai", "real", "inconclusive", None]},
    (Finding, "score"): {"type": ["number", "null"], "minimum": 0, "maximum": 1},
    (Finding, "ai_area"): {"type": ["number", "null"], "minimum": 0, "maximum": 1},
    (Finding, "orientation"): {"type": "integer", "minimum": 1, "maximum": 8},
    (Finding, "scope"): {"enum": [*SCOPES, None]},
    (Claim, "kind"): {"enum": ["ai", "camera", "software"]},
    (Claim, "source"): {"enum": ["c2pa", "xmp", "exif", "iptc", "png", "comment", "pixels"]},
    (Claim, "signature"): {"enum": ["valid", "unverified", "broken", ""]},
    (Claim, "strength"): {"enum": ["trusted", "signed", "tag", "text", ""]},
}


def json_schema() -> dict[str, Any]:
    """Return the schema of a record; additional keys of later versions are allowed."""
    properties = {key: _of_field(Finding, name) for name, key in KEYS.items()}
    scan = {name: {"type": "string"} for name in ("version", "weights", "weights_name", "detector", "precision")}
    properties["scan"] = _object(scan)
    properties["summary"] = _object({name: _of_field(Card, name) for name in TEXTS})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A hidascan row",
        **_object(properties),
        "$defs": {"manifest": _of_dataclass(Manifest)},
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _of_dataclass(kind: Any) -> dict[str, Any]:
    return _object({field.name: _of_field(kind, field.name) for field in fields(kind)})


def _of_field(kind: type, name: str) -> dict[str, Any]:
    return _SPECIAL.get((kind, name)) or _of_hint(hints_of(kind)[name])


def _of_hint(hint: Any) -> dict[str, Any]:
    """Return the schema of a type hint: a scalar, a dataclass, an optional, a list or a dictionary of these."""
    inner = typing.get_args(hint)
    if hint is Manifest:  # holds others of its kind
        return {"$ref": "#/$defs/manifest"}
    if is_dataclass(hint):
        return _of_dataclass(hint)
    if typing.get_origin(hint) in (list, tuple):
        return {"type": "array", "items": _of_hint(inner[0])}
    if typing.get_origin(hint) is dict:
        return {"type": "object", "additionalProperties": _of_hint(inner[1])}
    if NoneType not in inner:
        return {"type": _SCALARS[hint]}
    known = _of_hint(inner[0])
    return {"type": [known["type"], "null"]} if inner[0] in _SCALARS else {"anyOf": [known, {"type": "null"}]}
