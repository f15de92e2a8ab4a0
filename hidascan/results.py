"""Complete a Finding with the results of the detector: score, verdict, regions, notes; and with those of copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from hidascan.calibration import Rule
from hidascan.examination import ImageOutput
from hidascan.finding import Attribution, Finding
from hidascan.geometry import CELL
from hidascan.image.provenance.claim import conflict
from hidascan.notes import CONFLICT, SCORE_ALONE, STOPPED_EARLY, STRESS, with_article
from hidascan.prepare import Job
from hidascan.regions import Region, find_regions, scope_of


def completed(job: Job, output: ImageOutput | None, rule: Rule) -> Finding:
    """Return the finding of a job with the results of the detector; unchanged if there are none.

    Args:
        job: Prepared image.
        output: Results of the detector; None for an unreadable image, or one that is not wanted any more.
        rule: Rule from logits to scores and verdicts, with the threshold of the heatmap.
    """
    finding = job.finding
    if output is None:
        return finding
    if output.heatmap is not None and job.has_content:
        finding = _located(finding, output.heatmap, rule.calibration.localisation)
    decision = output.decision
    if not job.has_content:
        decision = decision._replace(quality=None, domain=None, family=None)
    logit, quality = float(decision.logit), _number(decision.quality)
    if not _has_estimate(decision.domain, is_jpeg=finding.jpeg_quality is not None):
        quality = None
    score = rule.score(logit)
    verdict, reason = _verdict(rule, job, score, finding.regions)
    early = _stopped_early(finding.patches, output.examined)
    notes = (*finding.notes, reason, conflict(finding.claims, verdict), _outside_photos(decision.domain), early)
    return replace(
        finding,
        verdict=verdict,
        scope=scope_of(verdict, finding.ai_area, finding.regions),
        notes=tuple(filter(None, notes)),
        patches=None if finding.patches is None else min(finding.patches, output.examined),
        score=score,
        logit=logit,
        uncertainty=_number(decision.uncertainty),
        domain=decision.domain,
        family=decision.family if verdict == "ai" else None,
        jpeg_quality_estimated=float(finding.jpeg_trace.quality) if finding.jpeg_trace else quality,
        attributions=_attributions(job, output, rule.calibration.scale) if job.has_content else (),
        seconds=(finding.seconds or 0.0) + output.seconds,
    )


def _located(finding: Finding, heatmap: np.ndarray, threshold: float) -> Finding:
    """Return the finding with a heatmap and its regions over the threshold."""
    regions = find_regions(heatmap, threshold, finding.width or 0, finding.height or 0, CELL)
    return replace(finding, heatmap=heatmap, ai_area=float((heatmap >= threshold).mean()), regions=regions)


def _number(value: Tensor | None) -> float | None:
    return None if value is None else float(value)


def _verdict(rule: Rule, job: Job, score: float, regions: tuple[Region, ...]) -> tuple[str, str]:
    """Return the verdict, and a note if score and heatmap disagree, else ""."""
    verdict = rule.verdict(score)
    if not job.has_content:
        return "inconclusive", ""  # the finding has a note on it
    if verdict != "real" or not regions:
        return verdict, ""
    where = f"an area of {100 * regions[0].area:.3g} % of the picture looks AI-made (mean heatmap value {regions[0].score:.2f})"
    if rule.contradicts(score):
        return "inconclusive", f"{SCORE_ALONE}, but {where}"
    return verdict, f"{where}, but the score is too low for that to change the verdict"


def _stopped_early(patches: int | None, examined: int) -> str:
    """Return a note if --fast skipped patches; "" if not."""
    early = patches is not None and examined < patches
    return f"{STOPPED_EARLY} after {examined} of {patches} patches: no heatmap" if early else ""


def _attributions(job: Job, output: ImageOutput, scale: float) -> tuple[Attribution, ...]:
    """Return the influence of each patch, in log-odds of the score; empty without `explain`."""
    boxes = job.boxes if output.attributions else []
    return tuple(Attribution(*box, effect=scale * one) for box, one in zip(boxes, output.attributions, strict=True))


def _has_estimate(domain: str | None, is_jpeg: bool) -> bool:
    """Return whether QFE can estimate the quality of a picture: it takes lines and flat areas for traces of JPEG."""
    return domain in (None, "photo") or (is_jpeg and domain not in ("screenshot", "document"))


def _outside_photos(domain: str | None) -> str:
    """Return a note for an image that does not look like a photo; "" if it may be one."""
    if domain in (None, "photo", "unknown"):
        return ""
    return f"looks like {with_article(domain)}, not a photo; verdicts on {domain}s are less reliable"


def stressed(finding: Finding, copies: dict[str, Finding]) -> Finding:
    """Merge the findings of copies; the verdict is `inconclusive` if some are ai and others real."""
    verdicts = {finding.verdict, *(copy.verdict for copy in copies.values())}
    scores = {name: copy.score or 0.0 for name, copy in copies.items()}
    all_scores = [finding.score or 0.0, *scores.values()]
    flips = {"ai", "real"} <= verdicts
    change = CONFLICT if flips else "; verdict unchanged" if len(verdicts) == 1 else ""
    note = f"{STRESS}: score {min(all_scores):.3f} to {max(all_scores):.3f}{change}"
    if flips:
        notes = tuple(one for one in finding.notes if one != conflict(finding.claims, finding.verdict or ""))
        scope = scope_of("inconclusive", finding.ai_area, finding.regions)
        finding = replace(finding, verdict="inconclusive", scope=scope, family=None, notes=notes)
    return replace(
        finding,
        stress={name: round(score, 6) for name, score in scores.items()},
        notes=(*finding.notes, note),
        seconds=(finding.seconds or 0.0) + sum(copy.seconds or 0.0 for copy in copies.values()),
    )
