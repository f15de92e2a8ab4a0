"""Draw the heatmap, or the influence of each patch, over a picture."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hidascan.finding import Attribution, Finding
from hidascan.geometry import CELL
from hidascan.image.views import upright
from hidascan.report.words import score_in_words

_MAX_SIDE = 1600
_MIN_WIDTH = 420
_MARGIN = 12
_LEGEND = 92
_INK, _PAPER, _FAINT = (24, 24, 27), (250, 250, 249), (113, 113, 122)
_FOR_AI, _FOR_REAL = (197, 38, 29), (28, 103, 201)


def draw_heatmap(pixels: np.ndarray, finding: Finding) -> Image.Image:
    """Draw the heatmap over the upright, grey image, above verdict, score and a colour bar of p(AI), 0..1.

    Args:
        pixels: (H, W, 3) uint8 as stored; the picture is shrunk to sides of at most 1600 px.
        finding: Finding with a heatmap.
    """
    small = shrink_to(pixels, _MAX_SIDE)
    values = _at_pixels(_known(finding.heatmap), pixels.shape[:2], small.shape[:2])
    area = "" if finding.ai_area is None else f"   AI area {finding.ai_area:.0%}"
    ramp = colours(np.linspace(0, 1, 256, dtype=np.float32)[None])
    scale = ("0", "0.25", "0.5", "0.75", "1")
    picture = upright(_blend(small, colours(values), 0.25 + 0.45 * values), finding.orientation)
    return _page(
        picture, _title(finding) + area, ramp, scale, "probability that a cell (16 x 16 px) contains AI-made pixels"
    )


def draw_attributions(pixels: np.ndarray, finding: Finding) -> Image.Image:
    """Draw the influence of each patch in the same way: red for AI, blue for real, averaged where patches overlap."""
    small = shrink_to(pixels, _MAX_SIDE)
    painted = attribution_map(finding.attributions, pixels.shape[:2], small.shape[:2])
    largest = float(np.abs([attribution.effect for attribution in finding.attributions]).max())
    strength = np.abs(painted) / max(largest, 1e-9)
    picture = upright(_blend(small, _signed(painted), 0.7 * strength), finding.orientation)
    ends = np.linspace(-1, 1, 256, dtype=np.float32)[None]
    ramp = 255 + (_signed(ends) - 255) * np.abs(ends)[..., None]
    title = f"{_title(finding)}   {len(finding.attributions)} patches"
    scale = (f"{-largest:.2g} real", "0", f"AI {largest:+.2g}")
    return _page(picture, title, ramp, scale, "influence of a patch on the logit: with all patches minus without it")


def _title(finding: Finding) -> str:
    return f"{(finding.verdict or '').upper()}   score {score_in_words(finding)}"


def _known(heatmap: np.ndarray | None) -> np.ndarray:
    if heatmap is None:
        raise ValueError("the finding has no heatmap")
    return heatmap


def shrink_to(pixels: np.ndarray, longest: int) -> np.ndarray:
    """Shrink a picture (H, W, 3) uint8 to sides of at most `longest` px."""
    height, width = pixels.shape[:2]
    scale = min(1.0, longest / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)


def colours(values: np.ndarray) -> np.ndarray:
    """Colour (H, W) in 0..1 as (H, W, 3) float32 RGB by Turbo, whose order most colour-blind readers can see."""
    levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB).astype(np.float32)


def attribution_map(attributions: tuple[Attribution, ...], full: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    """Average the effects of patches at each pixel of an image of (H, W) = full, shrunk to `size`, float32."""
    total, count = np.zeros(size, np.float32), np.zeros(size, np.float32)
    rows, cols = size[0] / full[0], size[1] / full[1]
    for one in attributions:
        top, left = int(one.top * rows), int(one.left * cols)
        bottom, right = np.ceil([(one.top + one.height) * rows, (one.left + one.width) * cols]).astype(int)
        total[top:bottom, left:right] += one.effect
        count[top:bottom, left:right] += 1
    return total / np.maximum(count, 1)


def attribution_colours(
    attributions: tuple[Attribution, ...], full: tuple[int, ...], size: tuple[int, ...]
) -> np.ndarray:
    """Colour the map as (h, w, 4) uint8 RGBA: red for AI, blue for real, with opacity by strength."""
    painted = attribution_map(attributions, full, size)
    alpha = np.abs(painted) / max(np.abs(painted).max(), 1e-9) * 255
    return np.dstack([_signed(painted), alpha]).astype(np.uint8)


def _signed(values: np.ndarray) -> np.ndarray:
    """Colour (H, W) by sign, (H, W, 3) float32."""
    return np.where(values[..., None] > 0, np.asarray(_FOR_AI, np.float32), np.asarray(_FOR_REAL, np.float32))


def _at_pixels(cells: np.ndarray, full: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    """Interpolate cells, which may extend beyond the edge, at each pixel of the shrunk image."""
    rows = ((np.arange(size[0]) + 0.5) * full[0] / size[0] / CELL - 0.5).astype(np.float32)
    cols = ((np.arange(size[1]) + 0.5) * full[1] / size[1] / CELL - 0.5).astype(np.float32)
    cols, rows = np.meshgrid(cols, rows)
    return cv2.remap(cells, cols, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _blend(pixels: np.ndarray, over: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Blend colours (H, W, 3) over the grey picture with opacity `strength`, (H, W) in 0..1; uint8."""
    grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    return np.rint(grey * (1 - strength[..., None]) + over * strength[..., None]).astype(np.uint8)


def _page(picture: np.ndarray, title: str, ramp: np.ndarray, scale: tuple[str, ...], caption: str) -> Image.Image:
    """Put a picture above its legend: a ramp (1, N, 3) of colours with an evenly spaced scale."""
    height, width = picture.shape[:2]
    page = Image.new("RGB", (max(width, _MIN_WIDTH), height + _LEGEND), _PAPER)
    page.paste(Image.fromarray(np.ascontiguousarray(picture)), ((page.width - width) // 2, 0))
    draw = ImageDraw.Draw(page)
    font, small = ImageFont.load_default(16), ImageFont.load_default(13)
    draw.text((_MARGIN, height + 8), title, _INK, font)
    bar_top, bar_width = height + 34, page.width - 2 * _MARGIN
    page.paste(Image.fromarray(ramp.astype(np.uint8)).resize((bar_width, 14)), (_MARGIN, bar_top))
    for number, text in enumerate(scale):
        x = _MARGIN + min(number * bar_width // (len(scale) - 1), bar_width - 1)
        anchor = "la" if number == 0 else "ra" if number == len(scale) - 1 else "ma"
        draw.line((x, bar_top + 14, x, bar_top + 18), _INK)
        draw.text((x, bar_top + 20), text, _INK, small, anchor=anchor)
    draw.text((_MARGIN, bar_top + 38), caption, _FAINT, small)
    return page
