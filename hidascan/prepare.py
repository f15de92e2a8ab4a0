"""Prepare images for the network: decode, read metadata, cut into views. Without torch.

This stage can run in threads beside the network, or on other machines of a fleet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hidascan.errors import NO_MEMORY, ImageError, UsageError, reason_of
from hidascan.finding import Finding
from hidascan.geometry import Box, ViewPlan, patch_grid
from hidascan.image.content import content_problem, detail_problem
from hidascan.image.decode import DecodedImage, check_size
from hidascan.image.formats import LARGEST_FILE
from hidascan.image.identity import file_state, identify
from hidascan.image.isolation import decoders
from hidascan.image.jpeg_history import JpegSave, JpegTrace, jpeg_trace
from hidascan.image.perturb import STRESS
from hidascan.image.provenance.claim import Claim
from hidascan.image.sources import Unreadable, copy_stream, is_stream
from hidascan.image.views import MIN_SIDE, Views, cut_views
from hidascan.notes import EARLIER_SAVE, ONLY
from hidascan.options import ScanOptions
from hidascan.temporary import temporary_folder

_CHANGED = "the file changed during the scan: hash and result may not describe the same content"
_MIN_QUALITY_DROP = 5  # from header to trace, if saved before; the trace is exact to 2


@dataclass
class Job:
    """One image to scan."""

    finding: Finding  # without the detector's results
    views: Views | None = None  # None once taken, and for unreadable files
    # boxes of the views with attributions: the only one, or all but the thumbnail
    boxes: list[Box] = field(default_factory=list)
    count: int = 0  # number of views
    copies: dict[str, Job] = field(default_factory=dict)  # copies of a stress test, by name of the perturbation
    has_content: bool = True  # if not, the verdict is `inconclusive`
    encoded: int = 0  # number of views encoded, for progress
    missing: int | None = None  # number of views still to be encoded; None before the first

    def take_views(self) -> Views | None:
        """Return the views and drop them from the job, so that their pixels can be freed early."""
        views, self.views = self.views, None
        return views

    def progress(self) -> tuple[int, int, int]:
        """Return the numbers of patches, encoded and missing views of the image and its copies together."""
        parts = (self, *self.copies.values())
        patches = sum(part.finding.patches or 0 for part in parts)
        missing = (part.count if part.missing is None else part.missing for part in parts)
        return patches, sum(part.encoded for part in parts), sum(missing)


@dataclass(frozen=True)
class Preparer:
    """Makes jobs of files and arrays; small and picklable."""

    whole_plan: ViewPlan  # division of images into views, without the limits of the options
    has_heatmap: bool  # whether a scan of all patches yields a heatmap
    options: ScanOptions

    @property
    def plan(self) -> ViewPlan:
        """Division of images into views."""
        return self.whole_plan.limited(self.options.patches)

    def file(self, path: str, admit: Callable[[int], None] = lambda pixels: None) -> Job:
        """Prepare a file; for an unreadable one, the finding of the job holds the error.

        `admit` gets the number of pixels before they are decoded, and may block.
        """
        if isinstance(path, Unreadable):
            return Job(Finding(str(path), "error", error=path.reason))
        if is_stream(path):  # decoders are other processes, with streams of their own
            return self.copied(path, copy_stream, admit)
        started, before = time.perf_counter(), file_state(path)
        try:
            image = decoders().decode(path, self.options.max_pixels, admit, self.options.c2pa_trust)
            job = self._with_copies(self._prepare(path, image, started), image)
        except ImageError as error:
            job = Job(Finding(path, "error", error=str(error)))
        except MemoryError:
            job = Job(Finding(path, "error", error=NO_MEMORY))
        seconds = time.perf_counter() - started
        too_large = before is not None and before[0] > LARGEST_FILE  # a sparse file would take hours to hash
        job.finding = replace(job.finding, seconds=seconds, file=None if too_large else identify(path))
        if file_state(path) != before:
            job.finding = replace(job.finding, notes=(*job.finding.notes, _CHANGED))
        return job

    def copied(
        self, path: str, copy: Callable[[str, Path], Path], admit: Callable[[int], None] = lambda pixels: None
    ) -> Job:
        """Prepare a file that `copy` first copies into a folder; it returns the copy, or raises ImageError."""
        try:
            with temporary_folder() as folder:
                job = self.file(str(copy(path, folder)), admit)
        except ImageError as error:
            return Job(Finding(path, "error", error=str(error)))
        except OSError as error:
            return Job(Finding(path, "error", error=f"cannot be copied: {reason_of(error)}"))
        file = job.finding.file and replace(job.finding.file, modified="")  # the time of our copy is meaningless
        job.finding = replace(job.finding, path=path, file=file)
        return job

    def array(self, name: str, pixels: np.ndarray) -> Job:
        """Prepare pixels (H, W, 3) uint8 RGB in memory; too large an array costs a finding with an error, like a file.

        Raises:
            UsageError: For any other array.
        """
        if not isinstance(pixels, np.ndarray):
            raise UsageError(f"scan_array takes (H, W, 3) uint8 RGB, not {type(pixels).__name__}")
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise UsageError(f"scan_array takes (H, W, 3) uint8 RGB, not {pixels.shape} {pixels.dtype}")
        try:
            check_size(pixels.shape[1], pixels.shape[0], self.options.max_pixels)
            image = DecodedImage(pixels, "array", trace=jpeg_trace(pixels))
            return self._with_copies(self._prepare(name, image, time.perf_counter()), image)
        except ImageError as error:
            return Job(Finding(name, "error", error=str(error)))

    def _prepare(self, path: str, image: DecodedImage, started: float) -> Job:
        """Cut an image into views, and add notes for the reader."""
        side = self.plan.side or MIN_SIDE
        height, width = image.pixels.shape[:2]
        if max(height, side) * max(width, side) > self.options.max_pixels:
            raise ImageError(f"{width}x{height} is too narrow: padded to {side} px it would exceed the pixel limit")
        views, unfit = cut_views(image.pixels, self.plan, image.orientation), content_problem(image.pixels)
        finding = Finding(
            path=path,
            status="ok",
            width=width,
            height=height,
            format=image.format,
            patches=views.patches,
            jpeg_quality=image.jpeg.quality if image.jpeg else None,
            jpeg_saved=image.jpeg,
            jpeg_trace=image.trace,
            provenance=_strongest(image.claims),
            claims=image.claims,
            c2pa=image.manifest,
            capture=image.capture,
            seconds=time.perf_counter() - started,
            orientation=image.orientation,
            notes=(*image.notes, *filter(None, [unfit or detail_problem(image.pixels)]), *self._notes(image, views)),
        )
        boxes = views.boxes[int(views.thumbnail and len(views) > 1) :]
        return Job(finding, views, boxes, len(views), has_content=not unfit)

    def _notes(self, image: DecodedImage, views: Views) -> Iterator[str]:
        side = self.plan.side or MIN_SIDE
        if min(image.pixels.shape[:2]) < side and (views.patches or self.plan.side is None):
            yield f"shorter side below {side} px: padded by mirroring"
        if earlier := _earlier_save(image.trace, image.jpeg):
            yield earlier
        height, width = image.pixels.shape[:2]
        total = len(patch_grid(height, width, side))
        if self.plan.side and not views.patches and total > 1:
            yield "a thumbnail of the whole and no patches examined, as always by this detector"
        if views.grid is None and 0 < views.patches < total:
            if self.plan == self.whole_plan:
                yield f"{views.patches} of {total} patches examined, as always by this detector"
                return
            why = ": no heatmap" if self.has_heatmap else ""
            yield f"{ONLY}{views.patches} of {total} patches examined{why}"

    def _with_copies(self, job: Job, image: DecodedImage) -> Job:
        """Add the copies of a stress test to a job, except those that their format cannot hold."""
        for name, perturb in (STRESS if self.options.stress else {}).items():
            try:
                pixels = perturb(image.pixels)
                copy = replace(image, pixels=pixels, trace=jpeg_trace(pixels))
                made = self._prepare(name, copy, time.perf_counter())
                if job.has_content and not made.has_content:
                    raise ImageError("too small or blank to judge")
                job.copies[name] = made
            except (ValueError, OSError, ImageError):
                job.finding = replace(
                    job.finding, notes=(*job.finding.notes, f"stress: the copy {name} could not be made")
                )
        return job


def _strongest(claims: tuple[Claim, ...]) -> str:
    """Return the strongest claim of origin in short, and whether it is about a part only; "" if there is none."""
    if not claims:
        return ""
    return f"{claims[0].short()} (part)" if claims[0].part else claims[0].short()


def _earlier_save(trace: JpegTrace | None, saved: JpegSave | None) -> str:
    """Describe an earlier JPEG save that is not in the header; "" if there is none."""
    if trace is None:
        return ""
    note = f"{EARLIER_SAVE} (quality {trace.quality})"
    if (trace.top, trace.left) != (0, 0):
        moved = "then cropped, turned, flipped or placed in another picture"
        return f"{note}, {moved}: JPEG blocks start at x {trace.left}, y {trace.top}"
    if saved is None:
        return note
    harder = saved.tables == "IJG" and trace.quality <= saved.quality - _MIN_QUALITY_DROP
    return f"{note}, now at quality {saved.quality}" if harder else ""
