"""The JSON Schema (2020-12) of a line of `--jsonl`."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from hidascan.finding import Attribution, Finding
from hidascan.image.evidence import FileEvidence
from hidascan.image.jpeg_header import JpegSave
from hidascan.image.jpeg_trace import JpegTrace
from hidascan.image.provenance.claim import Claim
from hidascan.image.provenance.manifest import Manifest, Statement
from hidascan.image.provenance.tags import Capture
from hidascan.regions import SCOPES, Region
from hidascan.summary import TEXTS, Card

_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}
_SPECIAL: dict[str, dict[str, Any]] = {
    "status": {"enum": ["ok", "error"]},
    "verdict": {"enum": ["ai", "real", "inconclusive", None]},
    "score": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
    "ai_area": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
    "orientation": {"type": "integer", "minimum": 1, "maximum": 8},
    "scope": {"enum": [*SCOPES, None]},
    "notes": {"type": "array", "items": {"type": "string"}},
    "stress": {"type": "object", "additionalProperties": {"type": "number"}},
    "c2pa": {"anyOf": [{"$ref": "#/$defs/manifest"}, {"type": "null"}]},
}
_OF_CLAIMS: dict[str, dict[str, Any]] = {
    "kind": {"enum": ["ai", "camera", "software"]},
    "source": {"enum": ["c2pa", "xmp", "exif", "iptc", "png", "comment", "pixels"]},
    "signature": {"enum": ["valid", "unverified", "broken", ""]},
    "strength": {"enum": ["trusted", "signed", "tag", "text", ""]},
}
_OBJECTS: dict[str, type] = {"jpeg_saved": JpegSave, "jpeg_trace": JpegTrace, "file": FileEvidence, "capture": Capture}
_LISTS: dict[str, type] = {"claims": Claim, "regions": Region, "effects": Attribution}


def json_schema() -> dict[str, Any]:
    """Return the schema of a record; additional keys of later versions are allowed."""
    hints = typing.get_type_hints(Finding)
    names = list(Finding("", "ok").record())
    properties = {name: _property(name, hints) for name in names}
    scan = {name: {"type": "string"} for name in ("version", "weights", "weights_name", "detector", "precision")}
    properties["scan"] = {"type": "object", "properties": scan, "required": list(scan)}
    texts = {name: _of_hint(hint) for name, hint in typing.get_type_hints(Card).items() if name in TEXTS}
    properties["summary"] = {"type": "object", "properties": texts, "required": list(texts)}
    nested = {"ingredients": {"$ref": "#/$defs/manifest"}, "statements": _object(Statement)}
    manifest = _object(Manifest, {name: {"type": "array", "items": items} for name, items in nested.items()})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A hidascan row",
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "$defs": {"manifest": manifest},
    }


def _property(name: str, hints: dict[str, Any]) -> dict[str, Any]:
    if name in _SPECIAL:
        return _SPECIAL[name]
    if name in _OBJECTS:
        return {"anyOf": [_object(_OBJECTS[name]), {"type": "null"}]}
    if name in _LISTS:
        return {"type": "array", "items": _object(_LISTS[name], _OF_CLAIMS if name == "claims" else {})}
    return _of_hint(hints[name])


def _object(kind: type, special: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    properties = {name: special[name] if name in special else _of_hint(hints[name]) for name in names}
    return {"type": "object", "properties": properties, "required": names}


def _of_hint(hint: Any) -> dict[str, Any]:
    """Return the schema of a type hint: a plain value, an optional one, or a list of these."""
    if typing.get_origin(hint) in (list, tuple):
        inner = [one for one in typing.get_args(hint) if one is not Ellipsis]
        return {"type": "array", "items": _of_hint(inner[0])}
    options = typing.get_args(hint) or (hint,)
    names = ["null" if option is type(None) else _SCALARS[option] for option in options if option is not Ellipsis]
    return {"type": names[0] if len(names) == 1 else names}
