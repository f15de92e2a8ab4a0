"""Findings as JSON lines, the columns of the CSV and nested data; and the JSON Schema of a line."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any

from hidascan.finding import COLUMNS, KEYS, Finding, RunInfo
from hidascan.image.provenance.claim import Claim
from hidascan.image.provenance.manifest import Manifest
from hidascan.records import hints_of
from hidascan.regions import SCOPES
from hidascan.report.reporter import TextReport
from hidascan.summary import TEXTS, Card, summary

_FIRST_KEYS = re.compile(
    rb'\{"path": "(?:[^"\\]|\\.)*", "status": "(?:ok|error)", "verdict": (?:null|"[a-z]+"), "score": (?:null|[\d.e-]+),'
)


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


def json_row(finding: Finding, run: RunInfo) -> dict[str, Any]:
    """Return a finding as a JSON object: its record, `scan`, the configuration, and `summary`, the card in words."""
    return {**finding.record(), "scan": finding.scan or run.record(), "summary": summary(finding, run).record()}


class JsonlReport(TextReport):
    """JSON Lines report: one object per line, by `json_row`."""

    START = b'{"path": "'

    def add(self, finding: Finding) -> None:
        """Write a line."""
        self._file.write(json.dumps(json_row(finding, self._run)) + "\n")
        self._file.flush()

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return whether a file is a hidascan report, by the start of its first line."""
        return bool(_FIRST_KEYS.match(head))

    @staticmethod
    def complete_records(path: str) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the complete records of a file, each with its end offset in bytes."""
        end = 0
        with open(path, "rb") as file:
            for line in file:
                end += len(line)
                try:
                    record = json.loads(line) if line.endswith(b"\n") else None
                except ValueError:
                    return
                if not isinstance(record, dict) or not {*COLUMNS} <= record.keys():
                    return
                yield record, end


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a line, from type hints; additional keys of later versions are allowed."""
    properties = {key: _field_schema(Finding, name) for name, key in KEYS.items()}
    scan = {name: {"type": "string"} for name in ("version", "weights", "weights_name", "detector", "precision")}
    properties["scan"] = _object(scan)
    properties["summary"] = _object({name: _field_schema(Card, name) for name in TEXTS})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A hidascan row",
        **_object(properties),
        "$defs": {"manifest": _dataclass_schema(Manifest)},
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _dataclass_schema(kind: Any) -> dict[str, Any]:
    return _object({field.name: _field_schema(kind, field.name) for field in fields(kind)})


def _field_schema(kind: type, name: str) -> dict[str, Any]:
    return _SPECIAL.get((kind, name)) or _hint_schema(hints_of(kind)[name])


def _hint_schema(hint: Any) -> dict[str, Any]:
    """Return the schema of a type hint: a scalar, a dataclass, an optional, a list or a dictionary of these."""
    inner = typing.get_args(hint)
    if hint is Manifest:  # holds others of its kind
        return {"$ref": "#/$defs/manifest"}
    if is_dataclass(hint):
        return _dataclass_schema(hint)
    if typing.get_origin(hint) in (list, tuple):
        return {"type": "array", "items": _hint_schema(inner[0])}
    if typing.get_origin(hint) is dict:
        return {"type": "object", "additionalProperties": _hint_schema(inner[1])}
    if NoneType not in inner:
        return {"type": _SCALARS[hint]}
    known = _hint_schema(inner[0])
    return {"type": [known["type"], "null"]} if inner[0] in _SCALARS else {"anyOf": [known, {"type": "null"}]}
