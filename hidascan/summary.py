"""A finding in words, for people: the verdict card of panel, report, print and page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hidascan import notes
from hidascan.calibration import ERRORS
from hidascan.finding import Finding, RunInfo
from hidascan.image.provenance.claim import AIGC_LABEL, DESCRIBED, NO_NAME, SOME_SERVICE, UNNAMED, Claim, claim_strength
from hidascan.image.provenance.source_types import CAMERA, OTHERS, label_of
from hidascan.phrases import heatmap_in_words, percent
from hidascan.regions import WHOLE

HEADLINES = {"ai": "Likely AI-generated", "real": "No sign of AI found", "inconclusive": "Cannot tell"}
PART, FAILED = "Part of it looks AI-made", "Could not be scanned"
BELOW, REACHED = "Below your threshold", "Reaches your threshold"
DISPUTED = "Little sign of AI, but the heatmap disagrees"
ONLY_PIXELS = "No sign of AI in the pixels"  # of a file that declares AI
TEXTS = ("headline", "sentence", "why", "reliability", "weaknesses", "next_steps")  # of a card, in JSON
ZONES = {"real": "no sign", "inconclusive": "cannot tell", "ai": "AI"}
_OWN_ZONES = {**ZONES, "real": "below your threshold", "ai": "from your threshold"}

_PREVIEW, _SMALL = 400, 250_000  # pixels: longer side of a preview; area of a small picture
_NAME = 80  # characters of a name from the file
_PLAIN_QUOTES = str.maketrans("“”", "''")
_LOW_QUALITY = 70  # IJG quality below which traces are weak
_PARTLY = (notes.DAMAGED_ONLY, notes.ONLY, notes.STOPPED_EARLY)  # starts of notes on pixels that were not examined
_AGAIN = "correct the cause, then scan the file again"  # a next step
_ORIGINAL = "ask for the original file with metadata"  # a next step


@dataclass(frozen=True)
class Zone:
    """A zone of the scale of scores: those from `low` to below `high` (to 1 in the last zone) have one verdict."""

    name: str
    verdict: str
    low: float
    high: float


@dataclass(frozen=True)
class Card:
    """The result of one image in words."""

    headline: str  # verdict in a few words
    verdict: str  # "ai", "real", "inconclusive" or "error", for colours and filters
    sentence: str  # reconciles score, heatmap, claims of the file and earlier JPEG saves
    why: str  # reason why a score between the bounds gives no verdict; "" for other findings
    zones: tuple[Zone, ...]  # zones of the scale, from 0 to 1; empty for an unreadable file
    reliability: str  # frequency of errors of this verdict
    weaknesses: tuple[str, ...]  # properties of the picture that make the result less reliable
    next_steps: tuple[str, ...]  # advice on what to do next

    def record(self) -> dict[str, str | list[str]]:
        """Return the texts as a JSON object; verdict and bounds are separate keys of a row."""
        return {name: value if isinstance(value := getattr(self, name), str) else list(value) for name in TEXTS}


def summary(finding: Finding, run: RunInfo | None) -> Card:
    """Summarise a finding; the configuration of the scan gives bounds and error rates, None if unknown."""
    if finding.verdict is None or finding.score is None:
        reason = finding.error or "unknown reason"
        damaged = reason.startswith(notes.DAMAGED_IMAGE)
        steps = ("open it in another program, save it as PNG and scan the copy", _ORIGINAL) if damaged else (_AGAIN,)
        return Card(
            headline=FAILED,
            verdict="error",
            sentence=f"{reason[:1].upper()}{reason[1:]}.",
            why="",
            zones=(),
            reliability="",
            weaknesses=(),
            next_steps=steps,
        )
    weaknesses = tuple(_weaknesses(finding))
    clauses = (_pixels(finding, finding.score, run), _claims(finding), _earlier_save(finding))
    return Card(
        headline=_headline(finding, finding.verdict, run),
        verdict=finding.verdict,
        sentence="; ".join(filter(None, clauses)) + ".",
        why=_why(finding, run),
        zones=zones(run),
        reliability=_reliability(finding.verdict, run, weak=bool(weaknesses)),
        weaknesses=weaknesses,
        next_steps=tuple(_next_steps(finding)),
    )


def _headline(finding: Finding, verdict: str, run: RunInfo | None) -> str:
    if (verdict, finding.scope) == ("ai", "part"):
        return PART
    own_threshold = run is not None and run.options.threshold is not None
    if verdict == "ai" and own_threshold and not finding.regions:
        return REACHED
    if verdict == "real" and own_threshold:
        return BELOW
    if verdict == "real" and finding.regions:
        return DISPUTED
    if verdict == "real" and finding.claims and finding.claims[0].kind == "ai":
        return ONLY_PIXELS
    return HEADLINES[verdict]


def zones(run: RunInfo | None) -> tuple[Zone, ...]:
    """Return the zones of the scale that contain scores; none if the bounds are unknown."""
    if run is None:
        return ()
    bounds = (0.0, run.real_below, run.ai_from, 1.0)
    names = ZONES if run.options.threshold is None else _OWN_ZONES
    named = zip(names.items(), bounds, bounds[1:], strict=False)
    return tuple(Zone(name, verdict, low, high) for (verdict, name), low, high in named if low < high)


def _pixels(finding: Finding, score: float, run: RunInfo | None) -> str:
    """Reconcile score and heatmap."""
    heatmap = heatmap_in_words(finding) if finding.regions or run is None or run.has_heatmap else ""
    own = run.options.threshold if run else None
    if own is not None and finding.verdict != "inconclusive":
        side = "reaches" if finding.verdict == "ai" else "is below"
        return f"The score ({score:.3f}) {side} your threshold ({own:g}){_also(heatmap)}"
    if finding.verdict == "inconclusive":
        return _inconclusive(finding, score, run, heatmap)
    if finding.verdict == "real":
        if finding.regions:
            return (
                f"The score ({score:.3f}) shows no sign of AI; {heatmap}: not enough to outweigh such a low score, but worth"
                " checking"
            )
        if finding.ai_area is None:
            return f"The pixels show no sign of AI (score {score:.3f}){_also(heatmap)}"
        return f"Neither the score ({score:.3f}) nor the heatmap shows a sign of AI"
    if finding.ai_area is None:
        return f"The picture, or a part of it, looks AI-made (score {score:.3f}){_also(heatmap)}"
    if not finding.regions:
        return f"The picture, or a part of it, looks AI-made (score {score:.3f}); {heatmap}, which can happen with AI pictures"
    if finding.scope == "whole":
        return f"Score ({score:.3f}) and heatmap agree: {heatmap}"
    return f"The score ({score:.3f}) indicates AI, and {heatmap}; the rest of the picture may be AI-made, too"


def _inconclusive(finding: Finding, score: float, run: RunInfo | None, heatmap: str) -> str:
    if _has_no_content(finding):
        return f"{_missing_content(finding)}; its score ({score:.3f}) has no meaning"
    if _copies_conflict(finding):
        return (
            "Among the picture and its re-saved, resized and cropped copies, some count as AI and others as free of AI"
            f" (score of the picture itself: {score:.3f}){_also(heatmap)}"
        )
    if finding.regions and run is not None and score < run.real_below:
        alone = "is below your threshold" if run.options.threshold is not None else "alone indicates no AI"
        which = "of the largest area " if len(finding.regions) > 1 else ""
        return (
            f"The score ({score:.3f}) {alone}, but {heatmap}, mean heatmap value {which}{finding.regions[0].score:.2f}: too"
            " much to clear it, too little to call it AI"
        )
    alone = ", but that alone is not enough" if finding.regions else ""
    return f"The score ({score:.3f}) is too high to clear the picture and too low to call it AI{_also(heatmap)}{alone}"


def _has_no_content(finding: Finding) -> bool:
    return any(note.startswith(notes.NO_CONTENT) for note in finding.notes)


def _missing_content(finding: Finding) -> str:
    """Return the reason of the note on missing content as the beginning of a sentence."""
    reason = next(
        note.removeprefix(f"{notes.NO_CONTENT}: ") for note in finding.notes if note.startswith(notes.NO_CONTENT)
    )
    return "The picture is too small to judge" if reason[:1].isdigit() else reason[:1].upper() + reason[1:]


def _copies_conflict(finding: Finding) -> bool:
    return any(note.endswith(notes.CONFLICT) for note in finding.notes)


def _also(clause: str) -> str:
    return f"; {clause}" if clause else ""


def _why(finding: Finding, run: RunInfo | None) -> str:
    """Explain the bounds to the reader of a score between them."""
    if run is None or finding.score is None or finding.verdict != "inconclusive":
        return ""
    between = run.real_below <= finding.score < run.ai_from
    if not between or _has_no_content(finding) or _copies_conflict(finding):
        return ""
    bounds = f"a picture counts as AI from {run.ai_from:.3f}, and as free of AI below {run.real_below:.3f}"
    if run.reliability is None:
        return f"Why no verdict: {bounds}; between these, either verdict would be wrong too often."
    accused, missed = ERRORS[run.options.profile]
    return (
        f"Why no verdict: {bounds}. These bounds were chosen so that about {_frequency(accused)} real pictures would be"
        f" accused, and about {_frequency(missed)} AI pictures missed."
    )


def _frequency(share: float) -> str:
    whole = 100 if round(100 * share, 6).is_integer() else 1000
    return f"{share * whole:.0f} in {whole:,}"


def _claims(finding: Finding) -> str:
    """Compare the strongest claim of the file with the verdict; of broken Content Credentials, another one."""
    if finding.c2pa is None or finding.c2pa.signature != "broken":
        return _claim(finding, finding.claims[0]) if finding.claims else _no_claims(finding)
    broken = "the file's Content Credentials are broken: it was changed after signing, or the signature is wrong"
    declared = next((one for one in finding.claims if one.source == "c2pa" and one.kind == "ai"), None)
    if declared:
        what = "a part of the picture" if declared.part else "the picture"
        by = "" if declared.text == UNNAMED else f": {_named(declared)}"
        broken += f"; they declare {what} AI-made{by}"
    others = [claim for claim in finding.claims if claim.source != "c2pa"]
    return f"{broken}; {_claim(finding, others[0])}" if others else broken


def _quotable(name: str) -> str:
    """Return a name from the file, in which no quotation marks may end the quotation."""
    return name[:_NAME].translate(_PLAIN_QUOTES)


def _named(claim: Claim) -> str:
    """Quote the name in a claim, IPTC's words for a source type, or a statement without a name."""
    text = claim.text.removesuffix(AIGC_LABEL)
    if text in DESCRIBED:
        return text
    if text == NO_NAME and claim.source != "c2pa":
        text = claim.detail or text
    return f"“{_quotable(label_of(text))}”"


def _claim(finding: Finding, claim: Claim) -> str:
    name = f"{_named(claim)} ({claim_strength(claim)})"
    from_sidecar = claim.source == "c2pa" and any(note.startswith(notes.FROM_SIDECAR) for note in finding.notes)
    subject = "its sidecar" if from_sidecar else "the file"
    if claim.kind == "ai":
        what = "a part of the picture" if claim.part else "the picture"
        start = subject if from_sidecar else f"{subject} itself"
        start += ", however," if finding.verdict == "real" else ""
        if claim.text.endswith(AIGC_LABEL):
            unnamed = claim.text.removesuffix(AIGC_LABEL) == SOME_SERVICE
            producer = f" ({claim_strength(claim)})" if unnamed else f": {name}"
            return f"{start} carries China's label for AI-generated or AI-edited content{producer}"
        outweighs = ", which outweighs this result" if _outweighs(claim, finding) else ""
        return f"{start} declares {what} AI-made: {name}{outweighs}"
    if claim.kind == "camera":
        start = f"{subject}, however," if finding.verdict == "ai" else subject
        signed = claim.strength in ("trusted", "signed") and claim.signature != "broken"
        what = "names a camera or scanner for a part of the picture:" if claim.part else "names a camera or scanner:"
        names_the_camera = claim.field.endswith(", Model")
        if claim.field.startswith("C2PA ") and not names_the_camera:  # but the app or library that signed
            what = f"declares a camera as the source of {'a part' if claim.part else 'the picture'}, as stated by"
        if claim.text in CAMERA:
            what = "declares the source of a part of the picture as" if claim.part else "declares its source as"
        return f"{start} {what} {name}{'' if signed else ', which is easily faked'}"
    if claim.source == "c2pa" and claim.text == UNNAMED:
        return f"{subject} has Content Credentials that name no software"
    if claim.text.endswith(AIGC_LABEL):
        return f"{subject} carries China's label for {_quotable(claim.text.removesuffix(AIGC_LABEL))} content ({claim_strength(claim)})"
    if claim.text in OTHERS or "DigitalSource" in claim.field:
        return f"{subject} declares its source as {name}"
    return f"{subject} names software: {name}; that alone does not show whether AI was used"


def _no_claims(finding: Finding) -> str:
    """Describe a file without claims; it may still have other data, or Content Credentials that could not be used."""
    if finding.c2pa is None and any(note.startswith(notes.CREDENTIALS) for note in finding.notes):
        return "the file's Content Credentials could not be used"
    return "the file names no generator, camera or software"


def _outweighs(claim: Claim, finding: Finding) -> bool:
    return claim.strength == "trusted" and claim.signature == "valid" and finding.verdict != "ai"


def _earlier_save(finding: Finding) -> str:
    """Mention an earlier JPEG save, which the header does not show."""
    if finding.jpeg_trace is None or not any(note.startswith(notes.EARLIER_SAVE) for note in finding.notes):
        return ""
    shifted = (finding.jpeg_trace.top, finding.jpeg_trace.left) != (0, 0)
    moved = ", then cropped, turned, flipped or placed in another picture" if shifted else ""
    return f"the picture was saved as JPEG before (quality about {finding.jpeg_trace.quality}){moved}"


def _reliability(verdict: str, run: RunInfo | None, weak: bool) -> str:
    """State how often a verdict is wrong; for pictures with weaknesses, on delivered copies."""
    if verdict == "inconclusive":
        return "No verdict was given, so no error rate applies."
    mistake = "called AI" if verdict == "ai" else "called free of AI"
    if run is None or run.reliability is None:
        chosen = "at your threshold" if run and run.options.threshold is not None else "with these weights"
        return f"How often pictures are wrongly {mistake} {chosen} was not measured."
    rates = run.reliability.delivered if weak else run.reliability.as_published
    what = f"{'real' if verdict == 'ai' else 'AI'} pictures"
    seen = f"re-saved, resized or otherwise processed {what}" if weak else f"{what} as published"
    rate, count = (
        (rates.real_called_ai, rates.real_images) if verdict == "ai" else (rates.ai_called_real, rates.ai_images)
    )
    share = f"{percent(rate)} of {count:,}" if rate else f"none of {count:,}"
    more = "; with the weaknesses named here, errors may be more frequent" if weak else ""
    more += "; AI edits of real photos are easier to miss" if verdict == "real" else ""
    return f"In tests on sources not used in training, {share} {seen} were wrongly {mistake}{more}."


def _weaknesses(finding: Finding) -> Iterator[str]:
    width, height = finding.width or 0, finding.height or 0
    if max(width, height) <= _PREVIEW:
        yield f"preview size ({width} x {height} px): ask for the original file"
    elif width * height < _SMALL:
        yield f"a small picture ({width} x {height} px)"
    yield from (f"it {note}" for note in finding.notes if note.startswith(notes.NO_DETAIL))
    known = [quality for quality in (finding.jpeg_quality, finding.jpeg_quality_estimated) if quality is not None]
    if known and min(known) < _LOW_QUALITY:
        yield f"strong compression (JPEG quality about {min(known):.0f})"
    if finding.domain == "screenshot":
        yield "a screenshot: scan the picture itself instead"
    elif finding.domain not in (None, "photo", "unknown"):
        yield f"{notes.with_article(finding.domain)}, not a photo"
    if any(note.startswith(_PARTLY) for note in finding.notes):
        yield "only a part of the file was examined"
    damage = [note for note in finding.notes if note.startswith(notes.DAMAGED)]
    if any(notes.REDUCED_DETAIL in note for note in damage):
        yield "a damaged file: fine detail is missing"
    if any(note.endswith(notes.MAY_BE_WRONG) for note in damage):
        yield "a damaged file: a part of the picture may be wrong"


def _next_steps(finding: Finding) -> Iterator[str]:
    if finding.regions and finding.ai_area is not None and finding.ai_area < WHOLE:
        yield f"inspect the marked area{'s' * (len(finding.regions) > 1)}"
    yield "reverse image search"
    yield "scan the earliest, largest copy"
    yield _ORIGINAL
    yield "check light, shadows, hands and text"
