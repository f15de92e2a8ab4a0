"""Where: the token map over the image, as a picture for people and as numbers for programs."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from hidascan.errors import HidascanError, ImageError, UsageError
from hidascan.finding import Finding
from hidascan.image.decode import upright
from hidascan.image.sources import EFFECTS_SUFFIX, HEATMAP_SUFFIX, RAW_HEATMAP_SUFFIX
from hidascan.report.overlay import draw_effects, draw_overlay
from hidascan.report.reporter import pixels_of


class HeatmapReport:
    """Writes NAME.heatmap.png for each readable image, beside it or into `folder`; with `raw`, the token map too.
    Where patches have effects, NAME.effects.png is drawn like the heatmap.

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
            self._draw(finding)
        if self._raw:
            values = upright(finding.token_map, finding.orientation)
            sixteen = np.rint(np.clip(values, 0, 1) * 65535).astype(np.uint16)
            _save(Image.fromarray(sixteen), self._target(finding.path, RAW_HEATMAP_SUFFIX))

    def close(self) -> None:
        pass

    def _draw(self, finding: Finding) -> None:
        try:
            pixels = pixels_of(finding)
            pages = {HEATMAP_SUFFIX: draw_overlay(pixels, finding)}
            if finding.effects:
                pages[EFFECTS_SUFFIX] = draw_effects(pixels, finding)
        except (ImageError, cv2.error) as error:  # OpenCV has limits of its own for sides
            raise HidascanError(f"no heatmap: {error}") from None
        for suffix, page in pages.items():
            _save(page, self._target(finding.path, suffix))

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


def _save(image: Image.Image, target: Path) -> None:
    """Written beside its place and moved there whole."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        image.save(partial, "PNG")
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise HidascanError(f"{target}: {(error.strerror or str(error)).lower()}") from None
