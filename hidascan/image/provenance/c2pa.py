"""Read C2PA manifests ("Content Credentials"): what a signed file says of its making, and whether the signature holds.

A manifest lies in the file, or in a sidecar beside it: `photo.c2pa` or `photo.jpg.c2pa` for `photo.jpg`. Nothing is
ever fetched: signers are trusted by a list that the user gives, or not at all.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hidascan.errors import UsageError
from hidascan.image.formats import mime_type

_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}
_SIDECAR_BYTES = 50_000_000
_DEEPEST, _MOST = 8, 100  # ingredients of ingredients, and of all


@dataclass(frozen=True)
class Manifest:
    """The manifest of a file, or of something that went into it.

    Attributes:
        title: Of the file, as its maker called it; "" where it has none.
        relationship: Of an ingredient, such as parentOf (it was edited), componentOf (it was placed) or inputTo; "" for
            the file itself.
        signature: "valid"; "unverified", intact but by a signer on no trust list; "broken", if the file was changed
            after signing or the signature is wrong; "" for an ingredient that had no manifest.
        signer: Name of the issuer; "" where there is none.
        agents: What acted, the claim generator first.
        source_types: IPTC digital source types of its actions, such as trainedAlgorithmicMedia.
        actions: Such as created or edited.
        ingredients: What went into it.
    """

    title: str = ""
    relationship: str = ""
    signature: str = ""
    signer: str = ""
    agents: tuple[str, ...] = ()
    source_types: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    ingredients: tuple[Manifest, ...] = ()

    def all_ingredients(self) -> Iterator[Manifest]:
        """Yield ingredients, theirs, and so on."""
        for one in self.ingredients:
            yield one
            yield from one.all_ingredients()

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Manifest:
        """Build a manifest from what `dataclasses.asdict` made of it."""
        lists = {name: tuple(record[name]) for name in ("agents", "source_types", "actions")}
        within = tuple(cls.from_record(one) for one in record["ingredients"])
        return cls(**{**record, **lists, "ingredients": within})


def read_manifest(
    data: bytes, format: str, sidecar: bytes | None = None, trust: str | None = None
) -> tuple[Manifest | None, tuple[str, ...]]:
    """Read the manifest of a file, and what a reader should know of it; (None, notes) if none can be read.

    Nothing is fetched.

    Args:
        data: The bytes of the file.
        format: Its name, as Pillow has it.
        sidecar: A manifest beside it, for a file that has none within.
        trust: A file of certificates, PEM, whose signers are trusted.
    """
    embedded = b"c2pa" in data
    if not mime_type(format) or not (embedded or sidecar):
        return None, ()
    try:
        import c2pa

        context = c2pa.Context(c2pa.Settings.from_dict(_settings(trust)))
        own = None if embedded else sidecar
        with c2pa.Reader(mime_type(format), io.BytesIO(data), manifest_data=own, context=context) as reader:
            return _parse(json.loads(reader.json())), ()
    except Exception:  # a broken manifest is no manifest; the library has an exception for each way
        return None, ()


def sidecar_of(path: Path) -> bytes | None:
    """Return the bytes of the manifest beside a file; None if there is none."""
    for beside in (path.with_suffix(".c2pa"), Path(f"{path}.c2pa")):
        try:
            if beside.is_file() and beside.stat().st_size <= _SIDECAR_BYTES:
                return beside.read_bytes()
        except (OSError, ValueError):
            continue
    return None


def check_trust(path: str) -> None:
    """Check a list of trusted signers.

    Raises:
        UsageError: If it cannot be read, or holds no certificate.
    """
    try:
        if "-----BEGIN CERTIFICATE-----" not in Path(path).read_text(encoding="ascii", errors="replace"):
            raise UsageError(f"--c2pa-trust {path}: no certificates in PEM")
    except OSError as error:
        raise UsageError(f"--c2pa-trust {path}: {error.strerror}") from None


@functools.cache
def _settings(trust: str | None) -> dict[str, Any]:
    if trust is None:
        return {"verify": _OFFLINE}
    anchors = Path(trust).read_text(encoding="ascii", errors="replace")
    return {"verify": {**_OFFLINE, "verify_trust": True}, "trust": {"user_anchors": anchors}}


def _parse(report: dict[str, Any]) -> Manifest:
    within = _Tree(report)
    return within.manifest(report["active_manifest"], _signature(report.get("validation_status")), depth=0)


class _Tree:
    """The manifests of a report, put into each other; broken ones may go round in circles, and for ever."""

    def __init__(self, report: dict[str, Any]):
        self._manifests, self._left = report["manifests"], _MOST

    def manifest(self, label: str, signature: str, depth: int, title: str = "", relationship: str = "") -> Manifest:
        found = self._manifests[label]
        acts = [
            action
            for assertion in found.get("assertions", ())
            if str(assertion.get("label", "")).startswith("c2pa.actions")
            for action in assertion.get("data", {}).get("actions", ())
        ]
        agents = [_generator(found), *(_agent(action) for action in acts)]
        types = [str(act["digitalSourceType"]).rsplit("/", 1)[-1] for act in acts if act.get("digitalSourceType")]
        return Manifest(
            title or str(found.get("title") or ""),
            relationship,
            signature,
            str(found.get("signature_info", {}).get("issuer", "")),
            tuple(dict.fromkeys(filter(None, agents))),
            tuple(dict.fromkeys(types)),
            tuple(dict.fromkeys(str(act.get("action", "")).removeprefix("c2pa.") for act in acts)),
            tuple(self._ingredients(found, depth + 1)),
        )

    def _ingredients(self, found: dict[str, Any], depth: int) -> Iterator[Manifest]:
        for one in found.get("ingredients") or () if depth <= _DEEPEST else ():
            self._left -= 1
            if self._left < 0:
                return
            title, relationship = str(one.get("title") or ""), str(one.get("relationship") or "")
            label = one.get("active_manifest")
            if label in self._manifests:
                yield self.manifest(label, _signature_of_ingredient(one), depth, title, relationship)
            else:
                yield Manifest(title, relationship)


def _generator(manifest: dict[str, Any]) -> str:
    named = manifest.get("claim_generator_info") or [{}]
    return str(manifest.get("claim_generator") or named[0].get("name") or "")


def _agent(action: dict[str, Any]) -> str:
    agent = action.get("softwareAgent", "")
    return str(agent.get("name", "")) if isinstance(agent, dict) else str(agent)


def _signature_of_ingredient(ingredient: dict[str, Any]) -> str:
    told = ingredient.get("validation_results")
    if isinstance(told, dict):
        return _signature((told.get("activeManifest") or {}).get("failure"))
    return _signature(ingredient.get("validation_status"))


def _signature(statuses: list[dict[str, Any]] | None) -> str:
    failures = [str(status.get("code", "")) for status in statuses or ()]
    if not failures:
        return "valid"
    return "unverified" if all(code.startswith("signingCredential.") for code in failures) else "broken"
