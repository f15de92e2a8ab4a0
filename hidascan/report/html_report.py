"""Findings as one HTML file that needs nothing else: no network, no server, no other file.

Rows are written as they are ready, so that memory stays flat and an interrupted scan leaves a page that opens.
"""

from __future__ import annotations

import base64
import io
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from hidascan.errors import HidascanError, ImageError
from hidascan.finding import Finding
from hidascan.image.views import upright
from hidascan.printable import printable
from hidascan.report.overlay import attribution_colours, colours, shrink_to
from hidascan.report.reporter import close_text, open_text, pixels_of
from hidascan.report.words import (
    claim_in_words,
    claim_strength,
    claims_by_statement,
    extent_in_words,
    jpeg_history,
    kind_in_words,
    score_in_words,
)
from hidascan.run import RunInfo

_SIDE = 400  # longest, of a preview, pixels


def _shown(value: Any) -> Any:
    """Escape what does not print in any text that a template is given; what macros made is markup already."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
_WORDS = (
    claim_in_words, claim_strength, claims_by_statement, jpeg_history, kind_in_words, extent_in_words, score_in_words,
)  # fmt: skip
_PAGES.filters |= {words.__name__: words for words in _WORDS}


class HtmlReport:
    """A page with a row for each image, its picture under its maps, filters and an order."""

    def __init__(self, target: str, run: RunInfo, append: bool = False):
        """Open it and write its head.

        Raises:
            UsageError: If the file cannot be written.
        """
        self._file, self._number = open_text(target, recognises=self.recognises), 0
        made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        self._write("head.html", run=run, made=made)

    def add(self, finding: Finding) -> None:
        """Write a row; without its picture, if that cannot be read any more.

        Raises:
            HidascanError: In that case, when the row is written.
        """
        self._number += 1
        layers: dict[str, str] = {}
        try:
            if finding.status == "ok":
                layers = pictures(finding)
        except (ImageError, cv2.error) as error:  # OpenCV has limits of its own for sides
            raise HidascanError(f"no picture in the report: {error}") from None
        finally:
            self._write("row.html", finding=finding, number=self._number, layers=layers)

    def close(self) -> None:
        """Write the end and close the file."""
        self._write("tail.html")
        close_text(self._file)

    @staticmethod
    def recognises(head: bytes) -> bool:
        """Recognise a page by what it says made it; one of version 0.2.0 or before has only its title."""
        begin = head[: head.find(b"<style>")] if b"<style>" in head else b""
        marks = (b'<meta name="generator" content="hidascan ', b"<title>hidascan report</title>")
        return begin.startswith(b"<!doctype html>") and any(mark in begin for mark in marks)

    def _write(self, template: str, **values: object) -> None:
        text = render(template, **values)
        if not (self._file.encoding or "").lower().startswith("utf"):  # stdout; the page says that it is UTF-8
            text = text.encode("ascii", "xmlcharrefreplace").decode()
        self._file.write(text)
        self._file.flush()


def render(template: str, **values: object) -> str:
    """Fill in one of the templates."""
    return _PAGES.get_template(template).render(**values)


def pictures(finding: Finding) -> dict[str, str]:
    """Make data URIs of the upright image, shrunk, and of its heatmap and attributions, where it has them."""
    pixels = pixels_of(finding)
    small = shrink_to(pixels, _SIDE)
    layers = {"preview": _uri(small, finding, "WEBP", quality=75)}
    if finding.heatmap is not None:
        layers["heat"] = _uri(colours(finding.heatmap).astype(np.uint8), finding, "PNG")
    if finding.attributions:
        painted = attribution_colours(finding.attributions, pixels.shape[:2], small.shape[:2])
        layers["effects"] = _uri(painted, finding, "PNG")
    return layers


def _uri(pixels: np.ndarray, finding: Finding, format: str, **options: object) -> str:
    file = io.BytesIO()
    turned = np.ascontiguousarray(upright(pixels, finding.orientation))
    Image.fromarray(turned).save(file, format, **options)
    return f"data:image/{format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
