"""What more than one report says in the same words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hidascan.finding import Finding
from hidascan.image.provenance.claim import Claim

_HOW_SURE = {
    "trusted": "signed, by a trusted signer",
    "signed": "signed, but the signer is not verified",
    "tag": "a tag, unsigned",
    "text": "plain text, unsigned",
}


def jpeg_history(finding: Finding) -> str:
    """Tell how often an image was a JPEG: `quality 95 by its header (IJG tables, 4:2:0), 75 by its pixels: 20 less`."""
    seen = None if finding.jpeg_quality_estimated is None else round(finding.jpeg_quality_estimated)
    estimated = "no estimate from its pixels" if seen is None else f"{seen} by its pixels"
    saved = finding.jpeg_saved
    if saved is None:
        return estimated
    tables = ", ".join(filter(None, (f"{saved.tables} tables", saved.subsampling)))
    less = 0 if seen is None else saved.quality - seen
    difference = f": {abs(less)} {'less' if less > 0 else 'more'}" if less else ""
    return f"quality {saved.quality} by its header ({tables}), {estimated}{difference}"


def looked_at(finding: Finding) -> str:
    """Tell what was looked at: `6 patches`, or the whole image where a detector cuts none."""
    return f"{finding.patches} patches" if finding.patches else "looked at as a whole"


def score_in_words(finding: Finding) -> str:
    """Return the score with its spread, where the detector tells one: `0.912 ± 0.031`."""
    spread = "" if finding.uncertainty is None else f" ± {finding.uncertainty:.3f}"
    return f"{finding.score:.3f}{spread}"


def kind_in_words(finding: Finding) -> str:
    """Say what the image shows and, of what is called AI, whose work it resembles; "" where nobody can tell."""
    parts = []
    if finding.domain not in (None, "unknown"):
        parts.append(f"{'an' if finding.domain == 'artwork' else 'a'} {finding.domain}")
    if finding.family not in (None, "unknown"):
        parts.append(f"the nearest generators are of the family {finding.family} (a guess)")
    return "; ".join(parts)


def claims_by_statement(finding: Finding) -> Iterator[Claim]:
    """Yield each statement of a file about its origin once, with all the fields that hold it."""
    fields: dict[Claim, list[str]] = {}
    details: dict[Claim, str] = {}
    for claim in finding.claims:
        statement = replace(claim, field="", detail="")
        fields.setdefault(statement, []).append(claim.field)
        details.setdefault(statement, claim.detail)
    for statement, names in fields.items():
        yield replace(statement, field=", ".join(filter(None, dict.fromkeys(names))), detail=details[statement])


def claim_in_words(claim: Claim) -> str:
    """Say what a claim is about: `ai: ComfyUI`, or `ai, a part of it: Adobe Firefly`."""
    return f"{claim.kind}{', a part of it' if claim.part and claim.kind == 'ai' else ''}: {claim.text}"


def claim_strength(claim: Claim) -> str:
    """Say how far a claim can be relied on: `signed, by a trusted signer`, `a tag, unsigned`."""
    return "signature broken" if claim.signature == "broken" else _HOW_SURE.get(claim.strength, "unsigned")
