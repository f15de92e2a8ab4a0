"""Maps over a picture, drawn for people: where the pixels look generated, and what each patch decides."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from hidascan.finding import Effect, Finding
from hidascan.image.decode import upright
from hidascan.image.tiles import CELL, PATCH

_LONGEST_SIDE = 1600
_SHORTEST_WIDTH = 420
_MARGIN = 12
_LEGEND = 92
_INK, _PAPER, _FAINT = (24, 24, 27), (250, 250, 249), (113, 113, 122)
_FOR_AI, _FOR_REAL = (197, 38, 29), (28, 103, 201)


def draw_overlay(pixels: np.ndarray, finding: Finding) -> Image.Image:
    """The upright image, greyed, under its token map, with a legend: verdict, score and a colour bar of p(AI) 0..1.

    pixels: (H, W, 3) uint8 as stored. The picture is shrunk to at most 1600 px a side.
    """
    small = shrink_to(pixels, _LONGEST_SIDE)
    values = _at_pixels(finding.token_map, pixels.shape[:2], small.shape[:2])
    title = f"{finding.verdict.upper()}   score {finding.score:.3f}   AI area {finding.ai_area:.0%}"
    ramp = colours(np.linspace(0, 1, 256, dtype=np.float32)[None])
    scale = ("0", "0.25", "0.5", "0.75", "1")
    picture = upright(_blend(small, colours(values), 0.25 + 0.45 * values), finding.orientation)
    return _page(picture, title, ramp, scale, "probability that the cell (16 x 16 px) holds AI-made pixels")


def draw_effects(pixels: np.ndarray, finding: Finding) -> Image.Image:
    """The same with the effect of each patch on the logit: red speaks for AI, blue for real; where patches overlap,
    their mean. finding: with `effects`."""
    small = shrink_to(pixels, _LONGEST_SIDE)
    painted = effect_map(finding.effects, pixels.shape[:2], small.shape[:2])
    most = np.abs([effect.effect for effect in finding.effects]).max()
    strength = np.abs(painted) / max(most, 1e-9)
    picture = upright(_blend(small, _signed(painted), 0.7 * strength), finding.orientation)
    ends = np.linspace(-1, 1, 256, dtype=np.float32)[None]
    ramp = 255 + (_signed(ends) - 255) * np.abs(ends)[..., None]
    title = f"{finding.verdict.upper()}   score {finding.score:.3f}   {len(finding.effects)} patches"
    scale = (f"{-most:.2g} real", "0", f"AI {most:+.2g}")
    return _page(picture, title, ramp, scale, "effect of a patch on the logit: with all patches, minus without it")


def shrink_to(pixels: np.ndarray, longest: int) -> np.ndarray:
    """(H, W, 3) uint8 -> the same picture with sides of at most `longest` px."""
    height, width = pixels.shape[:2]
    scale = min(1.0, longest / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(np.ascontiguousarray(pixels), size, interpolation=cv2.INTER_AREA)


def colours(values: np.ndarray) -> np.ndarray:
    """(H, W) in 0..1 -> (H, W, 3) float32 RGB; Turbo, which keeps its order for most colour-blind readers."""
    levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB).astype(np.float32)


def effect_map(effects: tuple[Effect, ...], full: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Mean effect of the patches over each pixel of an image of (H, W) = full, shrunk to size, float32."""
    total, count = np.zeros(size, np.float32), np.zeros(size, np.float32)
    rows, cols = size[0] / full[0], size[1] / full[1]
    for one in effects:
        top, left = int(one.top * rows), int(one.left * cols)
        bottom, right = np.ceil([(one.top + PATCH) * rows, (one.left + PATCH) * cols]).astype(int)
        total[top:bottom, left:right] += one.effect
        count[top:bottom, left:right] += 1
    return total / np.maximum(count, 1)


def effect_colours(effects: tuple[Effect, ...], full: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The effect map as (h, w, 4) uint8 RGBA: red for AI, blue for real, the weaker the more transparent."""
    painted = effect_map(effects, full, size)
    alpha = np.abs(painted) / max(np.abs(painted).max(), 1e-9) * 255
    return np.dstack([_signed(painted), alpha]).astype(np.uint8)


def _signed(values: np.ndarray) -> np.ndarray:
    """(H, W) -> (H, W, 3) float32: the colour of its sign."""
    return np.where(values[..., None] > 0, np.float32(_FOR_AI), np.float32(_FOR_REAL))


def _at_pixels(cells: np.ndarray, full: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The value at each pixel of the shrunk image, between the centres of the cells, which may overhang the edge."""
    rows = ((np.arange(size[0]) + 0.5) * full[0] / size[0] / CELL - 0.5).astype(np.float32)
    cols = ((np.arange(size[1]) + 0.5) * full[1] / size[1] / CELL - 0.5).astype(np.float32)
    cols, rows = np.meshgrid(cols, rows)
    return cv2.remap(cells, cols, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _blend(pixels: np.ndarray, over: np.ndarray, strength: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) over the greyed picture, as strong as (H, W) in 0..1 says; uint8."""
    grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    return np.rint(grey * (1 - strength[..., None]) + over * strength[..., None]).astype(np.uint8)


def _page(picture: np.ndarray, title: str, ramp: np.ndarray, scale: tuple[str, ...], caption: str) -> Image.Image:
    """The picture above its legend. ramp: (1, N, 3) colours. scale: what to write along it, evenly from end to end."""
    height, width = picture.shape[:2]
    page = Image.new("RGB", (max(width, _SHORTEST_WIDTH), height + _LEGEND), _PAPER)
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
