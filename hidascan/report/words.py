"""Phrases shared by several reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hidascan.finding import Finding
from hidascan.image.provenance.claim import Claim

_HOW_SURE = {
    "trusted": "signed by a trusted signer",
    "signed": "signed, signer not verified",
    "tag": "unsigned tag",
    "text": "unsigned plain text",
}


def jpeg_history(finding: Finding) -> str:
    """Describe the JPEG compression of an image: `quality 95 in the header (IJG tables, 4:2:0), 75 in the pixels`."""
    seen = None if finding.jpeg_quality_estimated is None else round(finding.jpeg_quality_estimated)
    estimated = "no estimate from the pixels" if seen is None else f"{seen} in the pixels"
    saved = finding.jpeg_saved
    if saved is None:
        return estimated if seen is None else f"quality {estimated}"
    tables = ", ".join(filter(None, (f"{saved.tables} tables", saved.subsampling)))
    return f"quality {saved.quality} in the header ({tables}), {estimated}"


def extent_in_words(finding: Finding) -> str:
    """Describe the scanned part: `6 patches`, or the whole image for a detector without patches."""
    return f"{finding.patches} patches" if finding.patches else "scanned as a whole"


def score_in_words(finding: Finding) -> str:
    """Return the score, with its standard deviation if estimated: `0.912 ± 0.031`."""
    spread = "" if finding.uncertainty is None else f" ± {finding.uncertainty:.3f}"
    return f"{finding.score:.3f}{spread}"


def kind_in_words(finding: Finding) -> str:
    """Name the kind of picture and, for AI, the most similar generators; "" if unknown."""
    parts = []
    if finding.domain not in (None, "unknown"):
        parts.append(finding.domain or "")
    if finding.family not in (None, "unknown"):
        parts.append(f"most similar generators: {finding.family} family (a guess)")
    return "; ".join(parts)


def claims_by_statement(finding: Finding) -> Iterator[Claim]:
    """Yield each claim of origin once, with all fields that contain it."""
    fields: dict[Claim, list[str]] = {}
    details: dict[Claim, str] = {}
    for claim in finding.claims:
        statement = replace(claim, field="", detail="")
        fields.setdefault(statement, []).append(claim.field)
        details.setdefault(statement, claim.detail)
    for statement, names in fields.items():
        yield replace(statement, field=", ".join(filter(None, dict.fromkeys(names))), detail=details[statement])


def claim_in_words(claim: Claim) -> str:
    """Summarise a claim: `ai: ComfyUI`, or `ai (part of the picture): Adobe Firefly`."""
    return f"{claim.kind}{' (part of the picture)' if claim.part and claim.kind == 'ai' else ''}: {claim.text}"


def claim_strength(claim: Claim) -> str:
    """Describe the reliability of a claim: `signed by a trusted signer`, `unsigned tag`."""
    return "signature broken" if claim.signature == "broken" else _HOW_SURE.get(claim.strength, "unsigned")
