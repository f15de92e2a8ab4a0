"""Write heatmaps: drawn over the image for people, and as numbers for programs."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from hidascan.atomic import written_whole
from hidascan.errors import HidascanError, ImageError
from hidascan.finding import Finding
from hidascan.image.sources import ATTRIBUTIONS_SUFFIX, HEATMAP_SUFFIX, RAW_HEATMAP_SUFFIX
from hidascan.image.views import upright
from hidascan.report.overlay import draw_attributions, draw_heatmap
from hidascan.report.reporter import free_name, output_folder, pixels_of


class HeatmapReport:
    """Draws NAME.heatmap.png for each readable image that has one; never over a file that is there.

    Where patches have attributions, NAME.effects.png is drawn like the heatmap.
    """

    def __init__(self, folder: str | None, overlay: bool, raw: bool):
        """Prepare the folder.

        Args:
            folder: Folder for heatmaps; None for the current folder.
            overlay: Whether to draw them over the picture.
            raw: Whether to write them as numbers.

        Raises:
            UsageError: If the folder cannot be made.
        """
        self._folder, self._overlay, self._raw = output_folder(folder or ".", "--heatmap-dir"), overlay, raw

    def add(self, finding: Finding) -> None:
        """Draw what there is of an image.

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

    def close(self) -> None:
        """Do nothing: every file is whole."""

    def _drawn(self, finding: Finding) -> dict[str, Image.Image]:
        try:
            pixels = pixels_of(finding)
            pages = {HEATMAP_SUFFIX: draw_heatmap(pixels, finding)}
            if finding.attributions:
                pages[ATTRIBUTIONS_SUFFIX] = draw_attributions(pixels, finding)
        except (ImageError, cv2.error) as error:  # OpenCV has limits of its own for sides
            raise HidascanError(f"no heatmap: {error}") from None
        return pages


def _save(image: Image.Image, target: Path) -> None:
    try:
        with written_whole(target, replace=False) as partial:
            image.save(partial, "PNG")
    except OSError as error:
        raise HidascanError(f"{target}: {(error.strerror or str(error)).lower()}") from None
