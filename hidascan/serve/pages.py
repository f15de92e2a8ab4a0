"""HTML of the service: its page, rows of results, and pictures that browsers cannot show themselves."""

from __future__ import annotations

import base64
import io
import json
import re
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from hidascan.errors import ImageError
from hidascan.finding import Finding, RunInfo
from hidascan.geometry import CELL
from hidascan.image.formats import suffixes
from hidascan.image.isolation import decoders
from hidascan.image.perturb import shrink_to
from hidascan.image.sources import ATTRIBUTIONS_SUFFIX, HEATMAP_SUFFIX, RAW_HEATMAP_SUFFIX
from hidascan.image.views import upright
from hidascan.printable import printable
from hidascan.report import html_report
from hidascan.report.heatmap import draw_heatmap
from hidascan.report.jsonl_report import json_row
from hidascan.report.reporter import pixels_of
from hidascan.serve.requests import Limits, Upload

_FOLDER = Path(__file__).parent / "page"
_REPORT = Path(html_report.__file__).parent / "templates"  # the page includes the style of rows
_PAGES = Environment(loader=FileSystemLoader([_FOLDER, _REPORT]), autoescape=True, trim_blocks=True, lstrip_blocks=True)
_PREVIEW_SIDE = 3000  # pixels
_MAX_DESCRIPTION = 32 << 20  # bytes; that of 100 megapixels has about a tenth
ASSETS = {"page.css": "text/css", "page.js": "text/javascript", "favicon.svg": "image/svg+xml"}


def page(run: RunInfo, limits: Limits, local: bool, keeps: bool, low_fpr: RunInfo | None) -> str:
    """Render the page.

    Args:
        run: Configuration of the scan.
        limits: Limits of the service.
        local: True if only this computer can reach the service.
        keeps: True if uploads are kept.
        low_fpr: Configuration with fewer false alarms to offer, if any.
    """
    return _PAGES.get_template("page.html").render(
        run=run,
        weights=printable(run.weights),
        megabytes=limits.body >> 20,
        megapixels=run.options.max_pixels / 1e6,
        token=bool(limits.token),
        local=local,
        keeps=keeps,
        files=limits.files,
        low_fpr=low_fpr,
        suffixes=",".join(sorted(suffixes())),
        own=",".join((HEATMAP_SUFFIX, RAW_HEATMAP_SUFFIX, ATTRIBUTIONS_SUFFIX)),
        blank=_blank(run),
    )


def asset(name: str) -> str:
    """Return the text of a file of the page, one of ASSETS."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def message(text: str) -> str:
    """Render a page with an error message, for browsers without JavaScript."""
    return _PAGES.get_template("message.html").render(text=text)


def frame(run: RunInfo, made: str, other: RunInfo | None = None) -> dict[str, str]:
    """Render the parts of a report before and after its rows; `other` is a profile that some of them have."""
    head = html_report.render("head.html", run=run, made=made, other=other)
    return {"head": head, "tail": html_report.render("tail.html")}


def results(run: RunInfo, lines: list[dict[str, Any]]) -> str:
    """Render a page of results."""
    made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    parts = frame(run, made)
    return "".join([parts["head"], *(line["html"] for line in lines), parts["tail"]])


def line(run: RunInfo, upload: Upload, finding: Finding, with_page: bool, number: int = 0) -> dict[str, Any]:
    """Build the answer for one upload: its `row`, and with `with_page` its `html` and its `heatmap`."""
    file = finding.file and replace(finding.file, modified="")  # the time of the upload is meaningless
    named = replace(finding, path=printable(upload.name), file=file)
    row = json_row(named, run)
    if not with_page:
        return {"row": row}
    layers: dict[str, str] = {}
    with suppress(ImageError, cv2.error):
        layers = html_report.pictures(finding) if finding.status == "ok" else {}
    html = html_report.render("row.html", finding=named, number=number, layers=layers, run=run)
    return {"row": row, "html": html, "heatmap": None if finding.heatmap is None else _packed(finding.heatmap)}


def figure(upload: Upload, described: Upload, run: RunInfo, threshold: float) -> bytes:
    """Draw the figure of `--heatmap` as PNG.

    Args:
        upload: Picture.
        described: JSON object with the `row` and `heatmap` of its line.
        run: Configuration of the scan.
        threshold: Heatmap value from which a cell is marked.

    Raises:
        ImageError: If the picture cannot be read, or is not that of the row.
        ValueError: Or KeyError or TypeError, if the description is malformed.
    """
    if described.path.stat().st_size > _MAX_DESCRIPTION:
        raise ValueError("the description is too large")
    values = json.loads(described.path.read_bytes())
    finding = replace(Finding.from_record(values["row"]), path=str(upload.path))
    height, width = finding.height or 0, finding.width or 0
    if not 0 < height * width <= run.options.max_pixels:
        raise ImageError("the picture is larger than this service accepts")
    heatmap = _unpacked(values["heatmap"], height, width)
    ai_area = float((heatmap >= threshold).mean())  # unrounded, unlike in a row
    finding = replace(finding, heatmap=heatmap, ai_area=ai_area)
    file = io.BytesIO()
    draw_heatmap(pixels_of(finding), finding, run).save(file, "PNG")
    return file.getvalue()


def preview(upload: Upload, max_pixels: int) -> bytes:
    """Draw a picture upright, shrunk to at most 3000 px a side, as JPEG.

    Raises:
        ImageError: If it cannot be read.
    """
    image = decoders().decode(str(upload.path), max_pixels)
    small = upright(shrink_to(image.pixels, _PREVIEW_SIDE), image.orientation)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(small)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _blank(run: RunInfo) -> dict[str, Any]:
    """Return the line of a file that never reached the scanner, with placeholders for its name and the reason."""
    finding = Finding("%NAME%", "error", error="%REASON%")
    html = html_report.render("row.html", finding=finding, number=0, layers={}, run=run)
    html = re.sub(r"<details.*?</details>", "", html, flags=re.DOTALL)  # advice on unreadable files
    row = json_row(finding, run)
    row["summary"]["next_steps"] = []
    row["scan"] = {**row["scan"], "c2pa_trust": None}  # a path of the operator's, on a page that needs no token
    return {"row": row, "html": html}


def _packed(heatmap: np.ndarray) -> str:
    return base64.b64encode(heatmap.astype("<f4").tobytes()).decode()


def _unpacked(text: str, height: int, width: int) -> np.ndarray:
    """Return the packed heatmap of a picture of a given size."""
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(-(-height // CELL), -(-width // CELL))
