"""Where: the token map over the image, as a picture for people and as numbers for programs."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hidascan.errors import HidascanError, ImageError, UsageError
from hidascan.finding import Finding
from hidascan.image.decode import decode, upright
from hidascan.image.sources import HEATMAP_SUFFIX, RAW_HEATMAP_SUFFIX

_LONGEST_SIDE = 1600
_SHORTEST_WIDTH = 420
_MARGIN = 12
_LEGEND = 92
_INK, _PAPER, _FAINT = (24, 24, 27), (250, 250, 249), (113, 113, 122)


class HeatmapReport:
    """Writes NAME.heatmap.png for each readable image, beside it or into `folder`; with `raw`, the token map too.

    Raises UsageError if the folder cannot be made, HidascanError if a heatmap cannot be written.
    """

    def __init__(self, folder: str | None, overlay: bool, raw: bool):
        self._folder, self._overlay, self._raw = folder and Path(folder), overlay, raw
        self._written: set[Path] = set()
        if self._folder:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"--heatmap-dir {folder}: {(error.strerror or str(error)).lower()}") from None

    def add(self, finding: Finding) -> None:
        if finding.token_map is None:
            return
        if self._overlay:
            try:
                overlay = draw_overlay(decode(finding.path).pixels, finding)
            except (ImageError, cv2.error) as error:  # the file has changed since, or is beyond OpenCV's sides
                raise HidascanError(f"no heatmap: {error}") from None
            _save(overlay, self._target(finding.path, HEATMAP_SUFFIX))
        if self._raw:
            values = upright(finding.token_map, finding.orientation)
            sixteen = np.rint(np.clip(values, 0, 1) * 65535).astype(np.uint16)
            _save(Image.fromarray(sixteen), self._target(finding.path, RAW_HEATMAP_SUFFIX))

    def close(self) -> None:
        pass

    def _target(self, path: str, suffix: str) -> Path:
        """Beside the image, or in the folder: there, images of the same name get a number."""
        source = Path(path)
        if not self._folder:
            return source.with_name(source.name + suffix)
        target, number = self._folder / (source.name + suffix), 1
        while target in self._written:
            number += 1
            target = self._folder / f"{source.name}.{number}{suffix}"
        self._written.add(target)
        return target


def draw_overlay(pixels: np.ndarray, finding: Finding) -> Image.Image:
    """The upright image, greyed, under its token map, with a legend: verdict, score and a colour bar of p(AI) 0..1.

    pixels: (H, W, 3) uint8 as stored. The picture is shrunk to at most 1600 px a side.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, _LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    values = _at_pixels(finding.token_map, (height, width), size)
    picture = Image.fromarray(np.ascontiguousarray(upright(_blend(small, values), finding.orientation)))
    page = Image.new("RGB", (max(picture.width, _SHORTEST_WIDTH), picture.height + _LEGEND), _PAPER)
    page.paste(picture, ((page.width - picture.width) // 2, 0))
    _draw_legend(page, picture.height, finding)
    return page


def _at_pixels(cells: np.ndarray, full: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The value at each pixel of the shrunk image, between the centres of the cells, which may overhang the edge."""
    cell = 16
    rows = ((np.arange(size[1]) + 0.5) * full[0] / size[1] / cell - 0.5).astype(np.float32)
    cols = ((np.arange(size[0]) + 0.5) * full[1] / size[0] / cell - 0.5).astype(np.float32)
    cols, rows = np.meshgrid(cols, rows)
    return cv2.remap(cells, cols, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _blend(pixels: np.ndarray, values: np.ndarray) -> np.ndarray:
    grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    strength = (0.25 + 0.45 * values)[..., None]
    return np.rint(grey * (1 - strength) + colours(values) * strength).astype(np.uint8)


def colours(values: np.ndarray) -> np.ndarray:
    """(H, W) in 0..1 -> (H, W, 3) float32 RGB; Turbo, which keeps its order for most colour-blind readers."""
    levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB).astype(np.float32)


def _draw_legend(page: Image.Image, top: int, finding: Finding) -> None:
    draw = ImageDraw.Draw(page)
    font, small = ImageFont.load_default(16), ImageFont.load_default(13)
    title = f"{finding.verdict.upper()}   score {finding.score:.3f}   AI area {finding.ai_area:.0%}"
    draw.text((_MARGIN, top + 8), title, _INK, font)
    bar_top, bar_width = top + 34, page.width - 2 * _MARGIN
    ramp = np.tile(np.linspace(0, 1, bar_width, dtype=np.float32), (14, 1))
    page.paste(Image.fromarray(colours(ramp).astype(np.uint8)), (_MARGIN, bar_top))
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = _MARGIN + share * bar_width
        draw.line((min(x, _MARGIN + bar_width - 1), bar_top + 14, min(x, _MARGIN + bar_width - 1), bar_top + 18), _INK)
        draw.text(
            (x, bar_top + 20), f"{share:g}", _INK, small, anchor="la" if share == 0 else "ra" if share == 1 else "ma"
        )
    draw.text((_MARGIN, bar_top + 38), "probability that the cell (16 x 16 px) holds AI-made pixels", _FAINT, small)


def _save(image: Image.Image, target: Path) -> None:
    """Written beside its place and moved there whole."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        image.save(partial, "PNG")
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise HidascanError(f"{target}: {(error.strerror or str(error)).lower()}") from None
