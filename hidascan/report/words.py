"""Phrases shared by several reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hidascan.finding import Finding
from hidascan.image.provenance.claim import Claim
from hidascan.regions import Region, place_of

COPIES = "after re-saving"  # start of the note of a stress test
NOTABLE = 0.2  # log-odds of the score: influence of a patch from which it is shown


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
    if not finding.patches:
        return "scanned as a whole"
    return f"{finding.patches} patch{'es' * (finding.patches > 1)}"


def influences_in_words(finding: Finding) -> list[str]:
    """Describe the influence of patches on the log-odds of the score, the largest first.

    A line reads `upper left, at x 0, y 224: +0.412 for AI`. Patches of less than 0.2 are omitted; if all are, one line
    states so. The list is empty without attributions.
    """
    width, height = finding.width or 1, finding.height or 1
    lines = []
    for one in sorted(finding.attributions, key=lambda one: -abs(one.effect)):
        if abs(one.effect) < NOTABLE:
            break
        box = Region(one.left, one.top, one.left + one.width, one.top + one.height, 0, 0)
        place = place_of(box, width, height, finding.orientation)
        lines.append(
            f"{place}, at x {one.left}, y {one.top}: {one.effect:+.3f} {'for' if one.effect > 0 else 'against'} AI"
        )
    if finding.attributions and not lines:
        return [f"no single area changes the log-odds of the score by {NOTABLE} or more"]
    return lines


def copies_in_words(finding: Finding) -> str:
    """Summarise the scores of the copies of a stress test; "" without them."""
    return next((note.capitalize() for note in finding.notes if note.startswith(COPIES)), "")


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
