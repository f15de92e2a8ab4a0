"""Write heatmaps, drawn over the image or as numbers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from hidascan.atomic import written_whole
from hidascan.errors import HidascanError, ImageError, reason_of
from hidascan.finding import Finding
from hidascan.image.sources import ATTRIBUTIONS_SUFFIX, HEATMAP_SUFFIX, RAW_HEATMAP_SUFFIX
from hidascan.image.views import upright
from hidascan.report.overlay import draw_attributions, draw_heatmap
from hidascan.report.reporter import Report, free_name, output_folder, pixels_of


class HeatmapReport(Report):
    """Heatmap files NAME.heatmap.png of readable images; existing files are never overwritten.

    With attributions, NAME.effects.png is drawn in the same way.
    """

    def __init__(self, folder: str | None, overlay: bool, raw: bool):
        """Prepare the folder, by default the current one, for heatmaps drawn over the picture, as numbers, or both.

        Raises:
            UsageError: If the folder cannot be created.
        """
        self._folder, self._overlay, self._raw = output_folder(folder or ".", "--heatmap-dir"), overlay, raw
        self._count = 0

    def add(self, finding: Finding) -> None:
        """Write the available maps of an image.

        Raises:
            HidascanError: If a heatmap cannot be drawn or written.
        """
        if finding.heatmap is None:
            return
        pages = self._drawn(finding) if self._overlay else {}
        if self._raw:
            values = upright(finding.heatmap, finding.orientation)
            pages[RAW_HEATMAP_SUFFIX] = Image.fromarray(np.rint(np.clip(values, 0, 1) * 65535).astype(np.uint16))
        name = free_name(self._folder, Path(finding.path).name, list(pages))
        for suffix, page in pages.items():
            _save(page, self._folder / (name + suffix))
        self._count += 1

    def written(self) -> str:
        """Return a line on the heatmaps written and their folder; "" if there are none."""
        number = f"{self._count} heatmap{'s' * (self._count > 1)}"
        return f"{number} in {self._folder.absolute()}" if self._count else ""

    def _drawn(self, finding: Finding) -> dict[str, Image.Image]:
        try:
            pixels = pixels_of(finding)
            pages = {HEATMAP_SUFFIX: draw_heatmap(pixels, finding)}
            if finding.attributions:
                pages[ATTRIBUTIONS_SUFFIX] = draw_attributions(pixels, finding)
        except (ImageError, cv2.error) as error:  # OpenCV limits sides
            raise HidascanError(f"no heatmap: {error}") from None
        return pages


def _save(image: Image.Image, target: Path) -> None:
    try:
        with written_whole(target, replace=False) as partial:
            image.save(partial, "PNG")
    except OSError as error:
        raise HidascanError(f"{target}: {reason_of(error)}") from None
