"""Build the tree of a file and its ingredients from the report of the C2PA library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from hidascan.image.provenance.manifest import Manifest
from hidascan.image.provenance.statements import actions_of, generator_of, plain, statements_of
from hidascan.image.provenance.validation import Validation

_MAX_DEPTH, _MAX_INGREDIENTS = 8, 100  # of nested ingredients; of all ingredients
_MAX_STATEMENTS, _MAX_CODES = 500, 50


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
        agents = [generator_of(found), *(one.agent for one in statements)]
        return Manifest(
            title=title or plain(found.get("title")),
            relationship=relationship,
            signature=self._validation.signature(label),
            signer=plain(signature_info.get("issuer")),
            agents=tuple(dict.fromkeys(filter(None, agents))),
            source_types=tuple(dict.fromkeys(one.source_type for one in statements if one.source_type)),
            actions=tuple(dict.fromkeys(name.removeprefix("c2pa.") for name in actions_of(found)[:_MAX_STATEMENTS])),
            ingredients=tuple(self._ingredients(found, depth + 1)),
            statements=statements,
            codes=self._validation.codes(label)[:_MAX_CODES],
        )

    def _ingredients(self, found: dict[str, Any], depth: int) -> Iterator[Manifest]:
        for one in found.get("ingredients") or () if depth <= _MAX_DEPTH else ():
            self._left -= 1
            if self._left < 0:
                return
            title, relationship = plain(one.get("title")), plain(one.get("relationship"))
            label = one.get("active_manifest")
            if label in self._manifests:
                yield self.manifest(label, depth, title, relationship)
            else:
                codes = self._validation.codes(label) if isinstance(label, str) else ()
                yield Manifest(title, relationship, codes=codes)
