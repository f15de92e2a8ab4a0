"""Detection measured on a label table, by the same figures as `../shared/tools/score.py`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hidascan.finding import Finding
from hidascan.lab.data import LabelledImage
from hidascan.lab.metrics import auc, balanced_accuracy, tpr_at_fpr
from hidascan.scanner import Scanner


@dataclass(frozen=True)
class GroupFigures:
    """One row of the table: `right` counts verdicts that name the class, `median` is of the scores."""

    label: int
    group: str
    source: str
    count: int
    right: float
    ai: float
    inconclusive: float
    median: float


@dataclass(frozen=True)
class Evaluation:
    """figures: name -> value. groups: by label, group and source."""

    figures: dict[str, float]
    groups: list[GroupFigures]

    def worst(self) -> GroupFigures:
        """The group, of 5 images or more where there is one, with the fewest right verdicts."""
        large = [g for g in self.groups if g.count >= 5] or self.groups
        return min(large, key=lambda g: g.right)


def evaluate(
    scanner: Scanner,
    images: list[LabelledImage],
    on_finding: Callable[[Finding], None] = lambda finding: None,
    on_batch: Callable[[int], None] = lambda views: None,
) -> Evaluation:
    """Scan every image of a table. One that cannot be read counts as wrong: score 0 if AI, 1 if real."""
    found = {}
    for finding in scanner.scan((str(image.path) for image in images), on_batch):
        found[finding.path] = finding
        on_finding(finding)
    findings = [found[str(image.path)] for image in images]
    labels = np.array([image.label for image in images])
    ok = [f.status == "ok" for f in findings]
    scores = np.array([f.score if o else 1.0 - y for f, o, y in zip(findings, ok, labels, strict=True)])
    verdicts = np.array(
        [f.verdict if o else ("real" if y else "ai") for f, o, y in zip(findings, ok, labels, strict=True)]
    )
    return Evaluation(_figures(labels, scores, verdicts, findings), _groups(images, scores, verdicts))


def _figures(labels: np.ndarray, scores: np.ndarray, verdicts: np.ndarray, findings: list[Finding]) -> dict[str, float]:
    known = [f for f in findings if f.jpeg_quality is not None and f.jpeg_quality_estimated is not None]
    errors = [abs(f.jpeg_quality_estimated - f.jpeg_quality) for f in known]
    figures = {
        "auc": auc(labels, scores),
        "balanced_accuracy_at_half": balanced_accuracy(labels, scores, 0.5),
        "tpr_at_1pct_fpr": tpr_at_fpr(labels, scores, 0.01),
        "tpr_at_5pct_fpr": tpr_at_fpr(labels, scores, 0.05),
        "verdict_ai_on_ai": float((verdicts[labels == 1] == "ai").mean()),
        "verdict_ai_on_real": float((verdicts[labels == 0] == "ai").mean()),
        "inconclusive": float((verdicts == "inconclusive").mean()),
        "brier": float(((scores - labels) ** 2).mean()),
        "quality_mae_against_tables": float(np.mean(errors)) if errors else float("nan"),
    }
    counts = {"n": len(labels), "ai": int(labels.sum()), "missing": sum(f.status != "ok" for f in findings)}
    return counts | {name: round(value, 4) for name, value in figures.items()}


def _groups(images: list[LabelledImage], scores: np.ndarray, verdicts: np.ndarray) -> list[GroupFigures]:
    members = defaultdict(list)
    for number, image in enumerate(images):
        members[image.label, image.group, image.source].append(number)
    rows = []
    for (label, group, source), numbers in sorted(members.items()):
        said = verdicts[numbers]
        right = (said == ("ai" if label else "real")).mean()
        shares = (float(x) for x in (right, (said == "ai").mean(), (said == "inconclusive").mean()))
        rows.append(GroupFigures(label, group, source, len(numbers), *shares, float(np.median(scores[numbers]))))
    return rows


def as_markdown(evaluation: Evaluation) -> str:
    """Per-group table, the worst group in bold."""
    worst = evaluation.worst()
    lines = [
        "| label | group | source | n | right | ai | inconclusive | median score |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for g in evaluation.groups:
        cells = ["AI" if g.label else "real", g.group, g.source, str(g.count)]
        cells += [f"{g.right:.2f}", f"{g.ai:.2f}", f"{g.inconclusive:.2f}", f"{g.median:.3f}"]
        lines.append("| " + " | ".join(f"**{c}**" if g == worst else c for c in cells) + " |")
    return "\n".join(lines)
