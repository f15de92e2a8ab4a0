"""Findings as a self-contained HTML file.

Rows are written one by one, so that memory use is constant and an interrupted scan leaves a valid page.
"""

from __future__ import annotations

import base64
import io
import re
from collections import Counter
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from hidascan.errors import HidascanError, ImageError
from hidascan.finding import MAY_DIFFER, Finding, RunInfo
from hidascan.image.perturb import shrink_to
from hidascan.image.provenance.claim import claim_strength
from hidascan.image.views import upright
from hidascan.options import ScanOptions
from hidascan.phrases import (
    attributions_by_influence,
    camera_in_words,
    claim_in_words,
    claims_by_statement,
    copies_in_words,
    extent_in_words,
    heatmap_in_words,
    influences_in_words,
    jpeg_history,
    kind_in_words,
    percent,
    regions_in_words,
    scale_in_words,
    score_in_words,
)
from hidascan.printable import printable
from hidascan.report.heatmap import attribution_colours, contours, corner_of, heat_layer, notable
from hidascan.report.reporter import TextReport, pixels_of
from hidascan.summary import summary

_SIDE = 400  # maximum side of a preview, pixels
_NUMBER = 17  # radius of the number of a region, with its edge


def _shown(value: Any) -> Any:
    """Escape unprintable characters in text for templates; the output of macros is already markup."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)


def drawing_size(finding: Finding) -> tuple[int, int]:
    """Return width and height of the drawing of outlines: those of the upright picture, the longer one 400."""
    width, height = finding.width or 1, finding.height or 1
    scale = _SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return size if finding.orientation < 5 else size[::-1]


def outlines_in_svg(finding: Finding) -> list[tuple[str, int, int]]:
    """Return for each region its path and the centre of its number, in the units of `drawing_size`."""
    size = np.array(drawing_size(finding))
    shapes = []
    for polygons in contours(finding):
        steps = (" L".join(f"{x:.1f} {y:.1f}" for x, y in polygon * size) for polygon in polygons)
        x, y = np.maximum(np.minimum(corner_of(polygons[0]) * size, size - _NUMBER), _NUMBER)
        shapes.append(("".join(f"M{step}Z" for step in steps), int(x), int(y)))
    return shapes


def options_in_words(run: RunInfo) -> str:
    """List the options that differ from their defaults: `profile low-fpr, explain`."""
    changed = []
    for one in fields(ScanOptions):
        value = getattr(run.options, one.name)
        if value != one.default and one.name not in MAY_DIFFER:
            name = one.name.replace("_", "-")
            changed.append(name if value is True else f"{name} {value}")
    return ", ".join(changed) or "defaults"


_FILTERS = (
    attributions_by_influence, camera_in_words, claim_in_words, claim_strength, claims_by_statement, copies_in_words, drawing_size,
    extent_in_words, heatmap_in_words, influences_in_words, jpeg_history, kind_in_words, options_in_words, outlines_in_svg, percent,
    regions_in_words, scale_in_words, score_in_words, summary,
)  # fmt: skip
_PAGES.filters |= {words.__name__: words for words in _FILTERS}


class HtmlReport(TextReport):
    """HTML report: a page with a row and maps for each image, filters and sorting."""

    def __init__(self, target: str, run: RunInfo, append: bool = False, case: str = ""):
        """Open the file and write the head; `append` is ignored, as a page cannot be continued.

        Raises:
            UsageError: If the file cannot be written.
        """
        super().__init__(target, run)
        self._counts: Counter[str] = Counter()
        made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        self._write("head.html", run=run, made=made, case=case)

    def add(self, finding: Finding) -> None:
        """Write a row; without the picture, if it cannot be read again.

        Raises:
            HidascanError: If the picture cannot be read, after the row is written.
        """
        self._counts[summary(finding, self._run).headline] += 1
        layers: dict[str, str] = {}
        try:
            if finding.status == "ok":
                layers = pictures(finding)
        except (ImageError, cv2.error) as error:  # OpenCV limits sides
            raise HidascanError(f"no picture in the report: {error}") from None
        finally:
            self._write("row.html", finding=finding, run=self._run, number=self._counts.total(), layers=layers)

    def close(self) -> None:
        """Write the end and close the file."""
        self._write("tail.html", counts=self._counts, interrupted=self.interrupted)
        super().close()

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Return whether a page was made by hidascan, by its generator tag, or by its title up to version 0.2.0.

        A copy that was saved with the notes of its reader does not count, as it must not be replaced.
        """
        begin = head[: head.find(b"<style>")] if b"<style>" in head else b""
        marks = (b'<meta name="generator" content="hidascan ', b"<title>hidascan report</title>")
        is_page = begin.startswith(b"<!doctype html>") and b"<!-- copy with notes -->" not in begin
        return is_page and any(mark in begin for mark in marks)

    def _write(self, template: str, **values: object) -> None:
        text = render(template, **values)
        if not (self._file.encoding or "").lower().startswith("utf"):  # stdout; the page declares UTF-8
            text = text.encode("ascii", "xmlcharrefreplace").decode()
        self._file.write(text)
        self._file.flush()


def render(template: str, **values: object) -> str:
    """Render a template.

    Rows lose the line feeds between tags, as a page of thousands of rows then opens faster.
    """
    text = _PAGES.get_template(template).render(**values)
    return re.sub(r">\n+<", "><", text) + "\n" if template == "row.html" else text


def pictures(finding: Finding) -> dict[str, str]:
    """Return data URIs of the upright, shrunk image, of its heatmap if an area is marked, and of notable attributions."""
    pixels = pixels_of(finding)
    small = shrink_to(pixels, _SIDE)
    layers = {"preview": _uri(small, finding, "WEBP", quality=70)}
    if finding.heatmap is not None and finding.ai_area:
        layers["heat"] = _uri(heat_layer(finding, small.shape[:2]), finding, "PNG", optimize=True)
    if notable(finding):
        painted = attribution_colours(finding.attributions, pixels.shape[:2], small.shape[:2])
        layers["effects"] = _uri(painted, finding, "PNG")
    return layers


def _uri(pixels: np.ndarray, finding: Finding, format: str, **options: object) -> str:
    file = io.BytesIO()
    turned = np.ascontiguousarray(upright(pixels, finding.orientation))
    Image.fromarray(turned).save(file, format, **options)
    return f"data:image/{format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
