"""Findings as one HTML file that needs nothing else: no network, no server, no other file.

Rows are written as they are ready, so that memory stays flat and an interrupted scan leaves a page that opens.
"""

from __future__ import annotations

import base64
import io
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader
from PIL import Image

from hidascan import __version__
from hidascan.errors import HidascanError, ImageError
from hidascan.finding import Finding
from hidascan.image.decode import decode, upright
from hidascan.report.heatmap import colours
from hidascan.report.reporter import close_text, open_text

_SIDE = 400  # longest, of a preview, pixels
_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


class HtmlReport:
    """model: name of the weights. real_below, ai_from: the thresholds in use, scores in 0..1.

    Raises UsageError if the file cannot be written.
    """

    def __init__(self, target: str, model: str, real_below: float, ai_from: float):
        self._file, self._number = open_text(target), 0
        made = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
        self._write("head.html", version=__version__, model=model, real_below=real_below, ai_from=ai_from, made=made)

    def add(self, finding: Finding) -> None:
        self._number += 1
        preview = heat = ""
        if finding.status == "ok":
            try:
                preview, heat = _pictures(finding)
            except (ImageError, cv2.error) as error:  # the file has changed since
                raise HidascanError(f"no picture in the report: {error}") from None
            finally:
                self._write("row.html", finding=finding, number=self._number, preview=preview, heat=heat)
        else:
            self._write("row.html", finding=finding, number=self._number, preview="", heat="")

    def close(self) -> None:
        self._write("tail.html")
        close_text(self._file)

    def _write(self, template: str, **values: object) -> None:
        self._file.write(_PAGES.get_template(template).render(**values))
        self._file.flush()


def _pictures(finding: Finding) -> tuple[str, str]:
    """The upright image, shrunk, and its token map, as data URIs."""
    pixels = upright(decode(finding.path).pixels, finding.orientation)
    scale = min(1.0, _SIDE / max(pixels.shape[:2]))
    size = tuple(max(1, round(side * scale)) for side in (pixels.shape[1], pixels.shape[0]))
    small = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)
    cells = np.ascontiguousarray(upright(finding.token_map, finding.orientation))
    return _uri(small, "WEBP", quality=75), _uri(colours(cells).astype(np.uint8), "PNG")


def _uri(pixels: np.ndarray, format: str, **options: object) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return f"data:image/{format.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
