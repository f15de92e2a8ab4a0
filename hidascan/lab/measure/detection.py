"""Measure detection on a label table: AUC, TPR at fixed FPR, verdicts, and bootstrap intervals over sources."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from hidascan.errors import HidascanError
from hidascan.finding import Finding
from hidascan.image.decode import decode
from hidascan.image.perturb import jpeg
from hidascan.lab.artifacts import ResultFile
from hidascan.lab.data.tables import LabelledImage
from hidascan.lab.measure import markdown, metrics
from hidascan.lab.read_ahead import read_ahead
from hidascan.report.csv_report import CsvReport
from hidascan.scanner import Scanner

ALIGNED_QUALITY = 96  # JPEG quality at which both classes are saved again


@dataclass(frozen=True)
class GroupFigures:
    """One row of the table; `correct` is the share of correct verdicts, `median` the median score."""

    label: int
    names: tuple[str, ...]
    count: int
    correct: float
    ai: float
    inconclusive: float
    median: float


@dataclass(frozen=True)
class Evaluation:
    """Figures by name, 95 % intervals over sources of some figures, and figures by label, group and source."""

    figures: dict[str, float]
    groups: list[GroupFigures]
    intervals: dict[str, tuple[float, float]]


def evaluate(scanner: Scanner, images: list[LabelledImage], report: CsvReport | None = None) -> Evaluation:
    """Scan every image of a table into a report; an unreadable one counts as wrong: score 0 if AI, 1 if real."""
    by_path, paths = {}, dict.fromkeys(str(image.path) for image in images)
    for finding in tqdm(scanner.scan_files(paths), total=len(paths), desc="detection", disable=None):
        if report is not None:
            with tqdm.external_write_mode():
                report.add(finding)
        by_path[finding.path] = replace(finding, heatmap=None)  # heatmaps of all images would fill the memory
    findings = [by_path[str(image.path)] for image in images]
    pairs = [(image.label, finding) for image, finding in zip(images, findings, strict=True)]
    scores = np.array([found.score if found.status == "ok" else 1.0 - label for label, found in pairs])
    verdicts = np.array([found.verdict if found.status == "ok" else ("ai", "real")[label] for label, found in pairs])
    qualities = [(found.jpeg_quality_estimated, found.jpeg_quality) for found in findings]
    errors = [abs(estimate - header) for estimate, header in qualities if estimate is not None and header is not None]
    more: dict[str, float] = {"missing": sum(finding.status != "ok" for finding in findings)}
    if errors:  # NaN is not valid JSON
        more["quality_mae_against_tables"] = float(np.mean(errors))
    return evaluate_scores(images, scores, verdicts, more)


def scan_scores(scanner: Scanner, paths: list[str], aligned: bool, results: ResultFile) -> np.ndarray:
    """Return (n, 2): p(AI) of each file, NaN if it is unreadable, and its uncertainty, NaN if not estimated.

    Files without a stored score are scanned, saved as JPEG 96 first if `aligned`.
    """
    missing = [path for path in dict.fromkeys(paths) if results.known.get(path, {}).get("score") is None]
    found = _saved_again(scanner, missing) if aligned else ((one.path, one) for one in scanner.scan_files(missing))
    for path, finding in tqdm(found, total=len(missing), desc=scanner.header.name, disable=None):
        score, uncertainty = (None, None) if finding is None else (finding.score, finding.uncertainty)
        results.add(path, score=score, uncertainty=uncertainty)
    rows = [results.known[path] for path in paths]
    return np.array([[row["score"], row.get("uncertainty")] for row in rows], float).reshape(-1, 2)


def _saved_again(scanner: Scanner, paths: list[str]) -> Iterator[tuple[str, Finding | None]]:
    def load(number: int) -> tuple[str, np.ndarray | None]:
        try:
            return paths[number], jpeg(decode(paths[number]).pixels, ALIGNED_QUALITY)
        except HidascanError:
            return paths[number], None

    for path, pixels in read_ahead(load, len(paths), ahead=4):
        yield path, None if pixels is None else scanner.scan_array(pixels)


def evaluate_scores(
    images: list[LabelledImage], scores: np.ndarray, verdicts: np.ndarray, more: dict[str, float] | None = None
) -> Evaluation:
    """Evaluate scores (n,) and verdicts (n,) of images; `more` are additional figures.

    The intervals are by bootstrap over sources; there are none if a class is missing.
    """
    labels, sources = np.array([image.label for image in images]), [image.source for image in images]
    measures = _measures(scores, verdicts)
    main = {name: metric(labels, values) for name, (metric, values) in measures.items()}
    alike = metrics.auc(labels, scores, metrics.source_weights(labels, sources))
    figures = {"auc": main["auc"], "auc_sources_alike": alike} | main
    figures |= {"brier": float(((scores - labels) ** 2).mean())} | (more or {})
    counts = {"n": len(labels), "ai": int(labels.sum())}
    intervals = {}
    if len(set(labels.tolist())) == 2:
        for name, (metric, values) in measures.items():
            intervals[name] = metrics.interval_over_sources(metric, labels, values, sources)
    groups = figures_by(images, scores, verdicts, lambda image: (image.group, image.source))
    return Evaluation(counts | {name: round(value, 4) for name, value in figures.items()}, groups, intervals)


def _measures(scores: np.ndarray, verdicts: np.ndarray) -> dict[str, tuple[metrics.Metric, np.ndarray]]:
    """Return the main figures by name: the metric, and the values (n,) that it takes beside the labels."""
    is_ai, is_open = (verdicts == "ai").astype(float), (verdicts == "inconclusive").astype(float)
    return {
        "auc": (metrics.auc, scores),
        "balanced_accuracy_at_half": (lambda y, s: metrics.balanced_accuracy(y, s, 0.5), scores),
        "tpr_at_1pct_fpr": (lambda y, s: metrics.tpr_at_fpr(y, s, 0.01), scores),
        "tpr_at_5pct_fpr": (lambda y, s: metrics.tpr_at_fpr(y, s, 0.05), scores),
        "verdict_ai_on_ai": (lambda y, v: metrics.share(v[y == 1]), is_ai),
        "verdict_ai_on_real": (lambda y, v: metrics.share(v[y == 0]), is_ai),
        "inconclusive": (lambda y, v: float(v.mean()), is_open),
    }


def figures_by(
    images: list[LabelledImage],
    scores: np.ndarray,
    verdicts: np.ndarray,
    key: Callable[[LabelledImage], tuple[str, ...]],
) -> list[GroupFigures]:
    """Return a row for each label and each value of `key`, which returns the names of a group."""
    members = defaultdict(list)
    for number, image in enumerate(images):
        members[image.label, key(image)].append(number)
    rows = []
    for (label, names), numbers in sorted(members.items()):
        here = verdicts[numbers]
        correct, ai, open_ = (float((here == one).mean()) for one in ("ai" if label else "real", "ai", "inconclusive"))
        rows.append(GroupFigures(label, names, len(numbers), correct, ai, open_, float(np.median(scores[numbers]))))
    return rows


FIGURES = {
    "auc": "AUC",
    "auc_sources_alike": "AUC, sources weighted equally",
    "balanced_accuracy_at_half": "balanced accuracy at 0.5",
    "tpr_at_1pct_fpr": "TPR at 1 % FPR",
    "tpr_at_5pct_fpr": "TPR at 5 % FPR",
    "verdict_ai_on_ai": "`ai` on AI",
    "verdict_ai_on_real": "`ai` on real",
    "inconclusive": "inconclusive",
}


def figures_as_markdown(evaluation: Evaluation) -> str:
    """Return a table of the main figures, with 95 % intervals over sources, if any, below."""
    rows: list[list[object]] = [[evaluation.figures[name] for name in FIGURES]]
    if intervals := evaluation.intervals:
        rows.append(["{:.3f} to {:.3f}".format(*intervals[name]) if name in intervals else "" for name in FIGURES])
    n, missing = int(evaluation.figures["n"]), int(evaluation.figures.get("missing", 0))
    table = markdown.table(list(FIGURES.values()), rows)
    return f"{n} images, {missing} of them unreadable; below each figure its 95 % interval over sources.\n\n{table}"


def as_markdown(evaluation: Evaluation) -> str:
    """Return the table by group, with the worst group in bold, if possible one of 5 images or more."""
    groups = evaluation.groups
    worst = min([group for group in groups if group.count >= 5] or groups, key=lambda group: group.correct)
    return groups_as_markdown(groups, ["group", "source"], groups.index(worst))


def groups_as_markdown(groups: list[GroupFigures], names: list[str], bold: int | None, digits: int = 3) -> str:
    """Return a table of groups with named columns; `digits` are those of the median score."""
    rows = []
    for group in groups:
        shares = (f"{share:.2f}" for share in (group.correct, group.ai, group.inconclusive))
        rows.append(["AI" if group.label else "real", *group.names, group.count, *shares, group.median])
    head = ["label", *names, "n", "correct", "ai", "inconclusive", "median score"]
    return markdown.table(head, rows, bold, digits)
