"""Draw heatmaps, or the influence of each patch, over pictures; write them as files, or as numbers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from hidascan.atomic import atomic_write
from hidascan.errors import HidascanError, ImageError
from hidascan.finding import Attribution, Finding, RunInfo
from hidascan.geometry import CELL
from hidascan.image.perturb import shrink_to
from hidascan.image.sources import ATTRIBUTIONS_SUFFIX, HEATMAP_SUFFIX, RAW_HEATMAP_SUFFIX
from hidascan.image.views import upright
from hidascan.phrases import NOTABLE, heatmap_in_words, score_in_words
from hidascan.printable import printable
from hidascan.regions import outlines, turned
from hidascan.report.reporter import Report, free_name, output_folder, pixels_of, write_error
from hidascan.summary import summary

_MAX_SIDE = 1600
_MIN_WIDTH = 540
_MARGIN = 12
_LEGEND = 100
_INK, _PAPER, _FAINT = (24, 24, 27), (250, 250, 249), (95, 95, 104)
_FOR_AI, _FOR_REAL = (197, 38, 29), (28, 103, 201)
_LOWEST_SHOWN = 0.5  # value of the lowest colour; lower cells are transparent
_OPACITY = 0.45  # of marked cells
STRONG = 0.5  # log-odds of the score: influence of a patch that is drawn in full colour


def draw_heatmap(pixels: np.ndarray, finding: Finding, run: RunInfo) -> Image.Image:
    """Draw the marked cells and numbered outlines of regions over the upright, grey image, above result and scale.

    Pixels are (H, W, 3) uint8 as stored; the picture is shrunk to sides of at most 1600 px. The result is that of the
    card, by the bounds of `run`.
    """
    small = shrink_to(pixels, _MAX_SIDE)
    layer = heat_layer(finding, small.shape[:2])
    picture = _blend(small, layer[..., :3].astype(np.float32), layer[..., 3] / 255, finding.orientation)
    _draw_contours(picture, contours(finding))
    ramp, scale = _heat(np.linspace(_LOWEST_SHOWN, 1, 256, dtype=np.float32)[None]), ("0.5", "0.75", "1")
    caption = "heatmap value of marked areas; not a probability"
    return _page(picture, finding, run, result=heatmap_in_words(finding), ramp=ramp, scale=scale, caption=caption)


def draw_attributions(
    pixels: np.ndarray,
    finding: Finding,
    strong: float = STRONG,
    unit: str = "log-odds of the score",
    run: RunInfo | None = None,
) -> Image.Image:
    """Draw the influence of each patch on a quantity: red for AI, blue against it, averaged where patches overlap.

    Pixels and `run` (None if unknown) are as in `draw_heatmap`; an influence of `strong` or more, above 0, is drawn in
    full colour.
    """
    small = shrink_to(pixels, _MAX_SIDE)
    painted = attribution_map(finding.attributions, pixels.shape[:2], small.shape[:2])
    strength = np.minimum(np.abs(painted) / strong, 1)
    picture = _blend(small, _signed(painted), 0.7 * strength, finding.orientation)
    ends = np.linspace(-1, 1, 256, dtype=np.float32)[None]
    ramp = 255 + (_signed(ends) - 255) * np.abs(ends)[..., None]
    count = len(finding.attributions)
    least = "" if notable(finding) else f", none of which reaches {NOTABLE}"
    result = f"influence of {count} patch{'es' * (count != 1)}{least}"
    scale = (f"-{strong:.2g} against AI", "0", f"for AI +{strong:.2g}")
    caption = f"influence on the {unit}: with all patches minus without this one"
    return _page(picture, finding, run, result=result, ramp=ramp, scale=scale, caption=caption)


def notable(finding: Finding) -> bool:
    """Return whether some patch has an influence worth showing."""
    return any(abs(one.effect) >= NOTABLE for one in finding.attributions)


def heat_layer(finding: Finding, size: tuple[int, ...]) -> np.ndarray:
    """Colour the marked cells as (*size, 4) uint8 RGBA at the pixels of a shrunk image; all others are transparent."""
    cells, marked = _known(finding.heatmap), marked_cells(finding)
    layer = np.dstack([_heat(cells), np.where(marked, 255 * _OPACITY, 0)]).astype(np.uint8)
    full = (finding.height or CELL * cells.shape[0], finding.width or CELL * cells.shape[1])
    rows, cols = (
        np.minimum(((np.arange(side) + 0.5) * whole / side / CELL).astype(int), count - 1)
        for side, whole, count in zip(size, full, cells.shape, strict=True)
    )
    return layer[rows[:, None], cols]


def marked_cells(finding: Finding) -> np.ndarray:
    """Return the cells over the localisation threshold, (h, w) bool: those with the largest values, as many as the AI area holds."""
    cells = _known(finding.heatmap)
    count = round((finding.ai_area or 0.0) * cells.size)
    return cells >= np.partition(cells, cells.size - count, axis=None)[cells.size - count] if count else cells > 1


def contours(finding: Finding) -> list[list[np.ndarray]]:
    """Return the outlines of the regions in the upright picture: closed polygons (N, 2), shares (x, y) of its sides."""
    if finding.heatmap is None:
        return []
    height, width = (side * CELL for side in finding.heatmap.shape)
    sides = (finding.width or width, finding.height or height)
    return [
        [turned(np.minimum(polygon * CELL / sides, 1), finding.orientation) for polygon in polygons]
        for polygons in outlines(marked_cells(finding))
    ]


def _draw_contours(picture: Image.Image, regions: list[list[np.ndarray]]) -> None:
    draw = ImageDraw.Draw(picture)
    side = max(1, round(max(picture.size) / 400))
    font = ImageFont.load_default(12 + 2 * side)
    for polygons in regions:
        for polygon in polygons:
            points = [tuple(point) for point in polygon * (picture.width - 1, picture.height - 1)]
            for colour, width in ((_INK, 3 * side), (_PAPER, side)):
                draw.line([*points, points[0]], colour, width)
    radius = 9 + 2 * side
    for number, polygons in enumerate(regions, 1):
        x, y = corner_of(polygons[0]) * picture.size
        x, y = (min(max(place, radius), whole - radius) for place, whole in zip((x, y), picture.size, strict=True))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), _INK, _PAPER)
        draw.text((x, y), str(number), _PAPER, font, anchor="mm")


def corner_of(polygon: np.ndarray) -> np.ndarray:
    """Return the point of a polygon that is nearest to the upper left, for its number."""
    corner: np.ndarray = polygon[polygon.sum(axis=1).argmin()]
    return corner


def _known(heatmap: np.ndarray | None) -> np.ndarray:
    if heatmap is None:
        raise ValueError("the finding has no heatmap")
    return heatmap


def _heat(values: np.ndarray) -> np.ndarray:
    """Colour heatmap values (H, W) as (H, W, 3) float32 RGB by Cividis, which is readable in grey and for the colour-blind."""
    levels = np.rint(np.clip((values - _LOWEST_SHOWN) / (1 - _LOWEST_SHOWN), 0, 1) * 255).astype(np.uint8)
    return cv2.cvtColor(cv2.applyColorMap(levels, cv2.COLORMAP_CIVIDIS), cv2.COLOR_BGR2RGB).astype(np.float32)


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
    """Colour the map as (h, w, 4) uint8 RGBA: red for AI, blue against it, with opacity by strength."""
    painted = attribution_map(attributions, full, size)
    alpha = np.minimum(np.abs(painted) / STRONG, 1) * 255
    return np.dstack([_signed(painted), alpha]).astype(np.uint8)


def _signed(values: np.ndarray) -> np.ndarray:
    """Colour (H, W) by sign, (H, W, 3) float32."""
    return np.where(values[..., None] > 0, np.asarray(_FOR_AI, np.float32), np.asarray(_FOR_REAL, np.float32))


def _blend(pixels: np.ndarray, over: np.ndarray, strength: np.ndarray, orientation: int) -> Image.Image:
    """Blend colours (H, W, 3) over the grey picture with opacity `strength`, (H, W) in 0..1, and turn it upright."""
    grey = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    blended = np.rint(grey * (1 - strength[..., None]) + over * strength[..., None]).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(upright(blended, orientation)))


def _page(
    picture: Image.Image,
    finding: Finding,
    run: RunInfo | None,
    *,
    result: str,
    ramp: np.ndarray,
    scale: tuple[str, ...],
    caption: str,
) -> Image.Image:
    """Put a picture above its legend: a ramp (1, N, 3) of colours with an evenly spaced scale."""
    page = Image.new("RGB", (max(picture.width, _MIN_WIDTH), picture.height + _LEGEND), _PAPER)
    page.paste(picture, ((page.width - picture.width) // 2, 0))
    draw = ImageDraw.Draw(page)
    font, small = ImageFont.load_default(16), ImageFont.load_default(13)
    title = f"{summary(finding, run).headline}   score {score_in_words(finding)}"
    draw.text((_MARGIN, picture.height + 5), title, _INK, font)
    draw.text((_MARGIN, picture.height + 27), result, _INK, small)
    bar_top, bar_width = picture.height + 47, page.width - 2 * _MARGIN
    page.paste(Image.fromarray(ramp.astype(np.uint8)).resize((bar_width, 14)), (_MARGIN, bar_top))
    for number, text in enumerate(scale):
        x = _MARGIN + min(number * bar_width // (len(scale) - 1), bar_width - 1)
        anchor = "la" if number == 0 else "ra" if number == len(scale) - 1 else "ma"
        draw.line((x, bar_top + 14, x, bar_top + 18), _INK)
        draw.text((x, bar_top + 18), text, _INK, small, anchor=anchor)
    draw.text((_MARGIN, bar_top + 34), caption, _FAINT, small)
    return page


class HeatmapReport(Report):
    """Heatmap files NAME.heatmap.png of readable images; existing files are never overwritten.

    With attributions, NAME.effects.png is drawn in the same way.
    """

    def __init__(self, folder: str | None, overlay: bool, raw: bool, run: RunInfo):
        """Prepare the folder, by default the current one, for heatmaps drawn over the picture, as numbers, or both.

        Raises:
            UsageError: If the folder cannot be created.
        """
        self._folder, self._overlay, self._raw = output_folder(folder or ".", "--heatmap-dir"), overlay, raw
        self._run = run
        self._count = 0

    def add(self, finding: Finding) -> None:
        """Write the available maps of an image.

        Raises:
            HidascanError: If a heatmap cannot be drawn or written.
            OSError: If the disk is full.
        """
        if finding.heatmap is None:
            return
        pages = self._drawn(finding) if self._overlay else {}
        if self._raw:
            values = upright(finding.heatmap, finding.orientation)
            pages[RAW_HEATMAP_SUFFIX] = Image.fromarray(np.rint(np.clip(values, 0, 1) * 65535).astype(np.uint16))
        while True:
            name = free_name(self._folder, Path(finding.path).name, list(pages))
            try:
                _save_all({self._folder / (name + suffix): page for suffix, page in pages.items()}, finding)
            except FileExistsError:  # another scan has taken the name meanwhile
                continue
            break
        self._count += 1

    def written(self) -> str:
        """Return a line on the heatmaps written and their folder; "" if there are none."""
        number = f"{self._count} heatmap{'s' * (self._count > 1)}"
        return f"{number} in {self._folder.absolute()}" if self._count else ""

    def _drawn(self, finding: Finding) -> dict[str, Image.Image]:
        try:
            pixels = pixels_of(finding)
            pages = {HEATMAP_SUFFIX: draw_heatmap(pixels, finding, self._run)}
            if finding.attributions:
                pages[ATTRIBUTIONS_SUFFIX] = draw_attributions(pixels, finding, run=self._run)
        except (ImageError, cv2.error) as error:  # OpenCV limits sides
            raise HidascanError(f"no heatmap: {error}") from None
        return pages


def _save_all(pages: dict[Path, Image.Image], finding: Finding) -> None:
    """Write all maps of an image, or none if a name is taken or the disk is full: they are drawn again later."""
    written: list[Path] = []
    try:
        for target, page in pages.items():
            _save(page, target, finding)
            written.append(target)
    except OSError:
        for path in written:
            path.unlink()
        raise


def _save(image: Image.Image, target: Path, finding: Finding) -> None:
    """Write a heatmap, with path and hash of its picture, as pictures of several folders may have one name."""
    about = PngInfo()
    about.add_itxt("Scanned file", printable(finding.path))
    if finding.file:
        about.add_text("SHA-256", finding.file.sha256)
    try:
        with atomic_write(target, replace=False) as partial:
            image.save(partial, "PNG", pnginfo=about)
    except FileExistsError:
        raise
    except OSError as error:
        raise write_error(target, error) from None
