"""Derive the status of each signature from the codes of a C2PA report, and build the tree of its manifests.

The library validates on this machine, and lists for each ingredient only differences to the results that the maker of
the file recorded. A record can be forged, so it never makes a signature valid; a recorded failure counts unless the
library contradicts it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from hidascan.image.provenance.manifest import Manifest, Statement
from hidascan.image.provenance.statements import (
    actions_of,
    claim_generator_of,
    opened_in,
    plain,
    source_type_of,
    statements_of,
)

_MANIFEST_OF = re.compile(r"(?:^|/)c2pa/([^/]+)")
_TRUSTED, _UNTRUSTED = "signingCredential.trusted", "signingCredential.untrusted"
_SIGNED = "claimSignature.validated"
_HASH_MATCHES, _HASH_DIFFERS = "assertion.dataHash.match", "assertion.dataHash.mismatch"
_PASSED = (".validated", ".match", ".trusted", ".insideValidity", ".notRevoked", ".accessible")  # as recorded
BINDINGS = ("assertion.dataHash.", "assertion.bmffHash.", "assertion.boxesHash.")  # bindings of a manifest to its file

_CHANGED = frozenset(
    (
        "claimSignature.missing", "claim.missing", "claim.multiple", "claim.hardBindings.missing",
        "assertion.missing", "assertion.undeclared", "assertion.outsideManifest", "assertion.notRedacted",
        "assertion.dataHash.match",  # as a failure: the library's code for a hash that does not match
        "assertion.boxesHash.unknownBox", "assertion.collectionHash.incorrectFileCount",
    )
)  # fmt: skip
_CHANGED_UNLESS_SIGNED = ("claim.malformed", "claim.cbor.invalid", "claim.required.missing", "manifest.compressed.")
# Additions by third parties, and errors of the maker that the signature covers: no sign of later changes.
_NO_CHANGE = ("cawg.", "timeStamp.", "signingCredential.", "assertion.action.")
_MAX_DEPTH, _MAX_INGREDIENTS = 8, 100  # levels of ingredients; number of all ingredients
_MAX_STATEMENTS, _MAX_CODES = 500, 50


@dataclass
class Codes:
    """Status codes of one manifest.

    Attributes:
        success: Codes of passed checks.
        failure: Codes of failed checks.
    """

    success: set[str] = field(default_factory=set)
    failure: dict[str, None] = field(default_factory=dict)  # in their order

    def add(self, kind: str, code: str) -> None:
        """Add a code of a kind, unless it is informational."""
        if kind == "success":
            self.success.add(code)
        elif kind == "failure":
            self.failure[code] = None


class Validation:
    """Validation results of the signature of each manifest in a report."""

    def __init__(self, report: Mapping[str, Any], trusting: bool):
        """Sort the codes of a report by manifest.

        Args:
            report: JSON of the library's reader.
            trusting: Whether the user gave a list of trusted signers.
        """
        self._trusting = trusting
        self._found: defaultdict[str, Codes] = defaultdict(Codes)
        self._recorded: defaultdict[str, Codes] = defaultdict(Codes)
        active = str(report.get("active_manifest"))
        _sort(report.get("validation_results"), active, self._found)
        for kind, code in _bindings(report):
            self._found[active].add(kind, code)
        for manifest in report["manifests"].values():
            for ingredient in manifest.get("ingredients") or ():
                label = str(ingredient.get("active_manifest"))
                _sort(ingredient.get("validation_results"), label, self._recorded)
                for status in ingredient.get("validation_status") or ():  # C2PA version 1; also has passed checks
                    if not status.get("success") and not (code := plain(status.get("code"))).endswith(_PASSED):
                        self._recorded[_label(status, label)].add("failure", code)
        self._recorded.pop(active, None)  # its codes are all from this machine

    def codes(self, label: str) -> tuple[str, ...]:
        """Return the codes of failed checks of a manifest."""
        found, recorded = self._found[label], self._recorded[label]
        stood = (code for code in recorded.failure if not _refuted(code, found.success))
        return tuple(dict.fromkeys((*found.failure, *stood)))

    def signature(self, label: str) -> str:
        """Return "valid", "unverified" or "broken"."""
        codes, found = self.codes(label), self._found[label]
        signed = _SIGNED in found.success | self._recorded[label].success
        if any(means_change(code, signed) and not self._only_covers_less(label, code) for code in codes):
            return "broken"
        sound = signed and all(code.startswith("cawg.") for code in codes)
        return "valid" if self._trusting and sound and self._is_trusted(label) else "unverified"

    def _only_covers_less(self, label: str, code: str) -> bool:
        """Return whether the hash of the file matches, and the failure is only that it leaves out more than the manifest.

        Truepic's cameras sign so: their hash leaves out EXIF, too, but no pixel.
        """
        lists = [codes for codes in (self._found[label], self._recorded[label]) if code in codes.failure]
        return code == _HASH_DIFFERS and all(_HASH_MATCHES in codes.success for codes in lists)

    def _is_trusted(self, label: str) -> bool:
        """Return whether this machine found the signer on the trust list.

        Codes recorded by the maker are not repeated. If only a success is recorded, this machine had the same result;
        otherwise its failure would be listed.
        """
        found, recorded = self._found[label], self._recorded[label]
        if _TRUSTED in found.success:
            return True
        return _TRUSTED in recorded.success and _UNTRUSTED not in {*recorded.failure, *found.failure}


def means_change(code: str, signed: bool) -> bool:
    """Return whether a code means a changed file or a wrong signature, not merely an incomplete check.

    Args:
        code: Status code of a failure.
        signed: Whether the signature of the claim itself matches.
    """
    if code.startswith(_NO_CHANGE):
        return False
    if code.startswith(_CHANGED_UNLESS_SIGNED):
        return not signed
    return code in _CHANGED or code.lower().endswith("mismatch")


def _refuted(code: str, success: set[str]) -> bool:
    """Return whether a check that passed on this machine contradicts a recorded failure."""
    against = {_UNTRUSTED: _TRUSTED, "claimSignature.mismatch": _SIGNED}
    return against.get(code) in success


def _bindings(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (kind, code) of the bindings to the file.

    Those of an update manifest of C2PA, which has none of its own, are listed under the manifest that it updates.
    """
    results = (report.get("validation_results") or {}).get("activeManifest")
    codes = ((kind, plain(status.get("code"))) for kind, status in _statuses({"activeManifest": results}))
    yield from ((kind, code) for kind, code in codes if code.startswith(BINDINGS))


def _sort(results: Any, label: str, into: defaultdict[str, Codes]) -> None:
    for kind, status in _statuses(results):
        into[_label(status, label)].add(kind, plain(status.get("code")))


def _statuses(results: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(results, dict):
        return
    deltas = (delta.get("validationDeltas") for delta in results.get("ingredientDeltas") or ())
    for group in (results.get("activeManifest"), *deltas):
        for kind in ("success", "failure"):
            for status in (group or {}).get(kind) or ():
                yield kind, status


def _label(status: Mapping[str, Any], default: str) -> str:
    """Return the manifest label of a status, from its URI, which may be only a label, or relative."""
    url = str(status.get("url") or "")
    found = _MANIFEST_OF.search(url)
    if found:
        return found[1]
    return url if url.startswith("urn:") else default


class ManifestTree:
    """The manifests of a report as a tree; a malformed report may contain cycles."""

    def __init__(self, report: Mapping[str, Any], trusting: bool):
        """Index a report.

        Args:
            report: JSON of the library's reader.
            trusting: Whether the user gave a list of trusted signers.
        """
        self._manifests, self._left = report["manifests"], _MAX_INGREDIENTS
        self._validation = Validation(report, trusting)

    def manifest(self, label: str, depth: int = 0, title: str = "", relationship: str = "") -> Manifest:
        """Return the manifest with a label, including its ingredients.

        Raises:
            KeyError: If the report has no such manifest.
        """
        found = self._manifests[label]
        statements = tuple(dict.fromkeys(islice(statements_of(found), _MAX_STATEMENTS)))
        signature_info = found.get("signature_info") or {}
        agents = [claim_generator_of(found), *(one.agent for one in statements)]
        return Manifest(
            title=title or plain(found.get("title")),
            relationship=relationship,
            signature=self._validation.signature(label),
            signer=plain(signature_info.get("issuer")) or plain(signature_info.get("common_name")),
            agents=tuple(dict.fromkeys(filter(None, agents))),
            source_types=tuple(dict.fromkeys(one.source_type for one in statements if one.source_type)),
            actions=tuple(dict.fromkeys(name.removeprefix("c2pa.") for name in actions_of(found)[:_MAX_STATEMENTS])),
            ingredients=tuple(self._ingredients(found, depth + 1)),
            statements=statements,
            codes=self._validation.codes(label)[:_MAX_CODES],
        )

    def _ingredients(self, found: dict[str, Any], depth: int) -> Iterator[Manifest]:
        opened = opened_in(found)
        for one in found.get("ingredients") or () if depth <= _MAX_DEPTH else ():
            self._left -= 1
            if self._left < 0:
                return
            title, relationship = plain(one.get("title")), plain(one.get("relationship"))
            if opened & {plain(one.get("instance_id")), plain(one.get("label"))}:
                relationship = "parentOf"  # Photoshop 26 calls it componentOf
            label = one.get("active_manifest")
            if label in self._manifests:
                yield self.manifest(label, depth, title, relationship)
            else:
                codes = self._validation.codes(label) if isinstance(label, str) else ()
                declared = source_type_of(one.get("digital_source_type"))  # C2PA 2.4
                statements = (Statement("C2PA ingredient", declared),) if declared else ()
                source_types = (declared,) if declared else ()
                yield Manifest(title, relationship, codes=codes, source_types=source_types, statements=statements)
