"""Phrases about a finding, for summary, terminal, HTML report and heatmap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hidascan import notes
from hidascan.finding import Attribution, Finding, RunInfo
from hidascan.geometry import Box
from hidascan.image.provenance.claim import Claim
from hidascan.regions import MAX_REGIONS, WHOLE, place_of

NOTABLE = 0.2  # log-odds of the score: influence of a patch from which it is shown
_NO_JPEG = 98  # estimated quality from which a picture may never have been a JPEG
_FAMILIES = {
    "other_open": "other open models", "early": "early generators", "gan": "GANs", "sd": "Stable Diffusion",
    "sdxl": "Stable Diffusion XL", "openai": "OpenAI", "google": "Google", "adobe": "Adobe", "flux": "FLUX",
    "leonardo": "Leonardo", "midjourney": "Midjourney",
}  # fmt: skip


def percent(share: float) -> str:
    """Write a share, 0..1, as a percentage: `8 %`, `0.4 %`, `less than 0.1 %`."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    return f"{100 * share:.1f} %".replace(".0 %", " %") if share < 0.0995 else f"{100 * share:.0f} %"


def regions_in_words(finding: Finding) -> list[str]:
    """Name the place and size of each region: `upper left, 8 % of the picture`."""
    width, height = finding.width or 1, finding.height or 1
    lines = []
    for one in finding.regions:
        place = f"{place_of(one.box, width, height, finding.orientation)}, {percent(one.area)} of the picture"
        lines.append(_whole(one.area) if one.area >= WHOLE else place)
    return lines


def _whole(area: float) -> str:
    extent = (
        "the whole picture" if area > 0.995 else "nearly the whole picture" if area >= 0.9 else "most of the picture"
    )
    return f"{extent} ({percent(area)})"


def heatmap_in_words(finding: Finding) -> str:
    """Describe the heatmap, as the text alternative of its picture."""
    if finding.ai_area is None:
        return "no heatmap was made"
    if not finding.regions:
        return "the heatmap marks no area"
    if finding.ai_area >= WHOLE:
        return f"the heatmap marks {_whole(finding.ai_area)}"
    first, count = regions_in_words(finding)[0], len(finding.regions)
    if count == 1:
        return f"the heatmap marks one area ({first})"
    least = "at least " if count == MAX_REGIONS else ""
    return f"the heatmap marks {least}{count} areas (largest: {first})"


def scale_in_words(run: RunInfo) -> str:
    """State the bounds of the zones: `no sign of AI below 0.160, AI from 0.931, cannot tell in between`."""
    if run.options.threshold is not None:
        return f"your threshold: {run.options.threshold:g}"
    between = ", cannot tell in between" if run.real_below < run.ai_from else ""
    return f"no sign of AI below {run.real_below:.3f}, AI from {run.ai_from:.3f}{between}"


def jpeg_history(finding: Finding) -> str:
    """Describe the JPEG compression of an image: `quality 95 in the header (IJG tables, 4:2:0), 75 in the pixels`."""
    seen = None if finding.jpeg_quality_estimated is None else round(finding.jpeg_quality_estimated)
    estimated = "no estimate from the pixels" if seen is None else f"{seen} in the pixels"
    saved = finding.jpeg_saved
    if saved is None and finding.jpeg_trace is None and seen is not None and seen >= _NO_JPEG:
        return "hardly any trace of JPEG in the pixels"
    if saved is None:
        return estimated if seen is None else f"quality {estimated}"
    tables = ", ".join(filter(None, (f"{saved.tables} tables", saved.subsampling)))
    return f"quality {saved.quality} in the header ({tables}), {estimated}"


def extent_in_words(finding: Finding) -> str:
    """Describe the scanned part: `6 patches`, or the whole image for a detector without patches."""
    if not finding.patches:
        return "scanned as a whole"
    return f"{finding.patches} patch{'es' * (finding.patches > 1)}"


def attributions_by_influence(finding: Finding) -> list[Attribution]:
    """Sort the patches by their influence on the score, for or against AI, the largest first."""
    return sorted(finding.attributions, key=lambda one: -abs(one.effect))


def influences_in_words(finding: Finding) -> list[str]:
    """Describe the influence of patches on the log-odds of the score, the largest first.

    A line reads `upper left, at x 0, y 224: +0.412 for AI`; x and y are those of the file as stored.
    Patches of less than 0.2 are omitted; if all are, one line states so. The list is empty without attributions.
    """
    width, height = finding.width or 1, finding.height or 1
    stored = "" if finding.orientation == 1 else " as stored"  # the place is that of the upright picture
    lines = []
    for one in attributions_by_influence(finding):
        if abs(one.effect) < NOTABLE:
            break
        box = Box(one.left, one.top, one.width, one.height)
        place = place_of(box, width, height, finding.orientation)
        lines.append(
            f"{place}, at x {one.left}, y {one.top}{stored}: {one.effect:+.3f}"
            f" {'for' if one.effect > 0 else 'against'} AI"
        )
    if finding.attributions and not lines:
        return [f"no single area changes the log-odds of the score by {NOTABLE} or more"]
    return lines


def copies_in_words(finding: Finding) -> str:
    """Summarise the scores of the copies of a stress test; "" without them."""
    return next((note.capitalize() for note in finding.notes if note.startswith(notes.STRESS)), "")


def score_in_words(finding: Finding) -> str:
    """Return the score, with its standard deviation if estimated: `0.912 ± 0.031`."""
    spread = "" if finding.uncertainty is None else f" ± {finding.uncertainty:.3f}"
    return f"{finding.score:.3f}{spread}"


def camera_in_words(finding: Finding) -> str:
    """Return the camera named by make and model in EXIF, or else by its lens; "" if neither names one."""
    lenses = (claim.text for claim in finding.claims if claim.kind == "camera" and "Lens" in claim.field)
    return (finding.capture.camera if finding.capture else "") or next(lenses, "")


def kind_in_words(finding: Finding) -> str:
    """Name the kind of picture and, for AI, the most similar generators; "" if unknown."""
    parts = []
    if finding.domain not in (None, "unknown"):
        parts.append(finding.domain or "")
    if finding.family not in (None, "unknown"):
        parts.append(f"most similar generators: {_FAMILIES.get(finding.family or '', finding.family)} (a guess)")
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
    return f"{claim.kind}{' (part of the picture)' if claim.part else ''}: {claim.text}"
