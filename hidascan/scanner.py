"""Paths in, Findings out: the one place where the stages meet."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from hidascan import __version__
from hidascan.detectors.checkpoint import load_detector, sha256_of
from hidascan.detectors.weights import find_weights
from hidascan.engine import Engine, ImageOutput, choose_device, choose_dtype, default_batch_size
from hidascan.errors import ImageError, UsageError
from hidascan.finding import Attribution, Finding
from hidascan.geometry import CELL, Box, patch_grid
from hidascan.image.decode import DecodedImage
from hidascan.image.evidence import evidence_of
from hidascan.image.isolation import decoders
from hidascan.image.jpeg_header import JpegSave
from hidascan.image.jpeg_trace import JpegTrace, jpeg_trace
from hidascan.image.perturb import STRESS
from hidascan.image.provenance import conflict
from hidascan.image.sources import expand
from hidascan.image.views import SMALLEST, Views, cut_views
from hidascan.options import ScanOptions
from hidascan.prefetch import prefetch
from hidascan.regions import find_regions
from hidascan.run import RunInfo

_PIXELS_AHEAD = 64_000_000
_HARDER_BY = 5  # quality, between header and trace, that tells of an earlier save: the trace is exact to two


@dataclass
class _Job:
    """One image on its way through: a Finding that still lacks what the detector says, its views, and its copies."""

    finding: Finding
    views: Views | None = None
    boxes: list[Box] = field(default_factory=list)  # of all views but the thumbnail
    copies: dict[str, _Job] = field(default_factory=dict)

    def take_views(self) -> Views | None:
        """Hand the views over and forget them: the job waits for its batch, the pixels need not."""
        views, self.views = self.views, None
        return views


class Scanner:
    """Loads a detector once and scans any number of images with it.

    Attributes:
        options: How to scan.
        run: What it scans with.
        header: What the weights say of themselves.
        detector: The network.
        plan: How images are cut: the detector's plan, limited by the options.
        encode: What encodes batches of views: the network, or what stands in for it.
        device: Where it runs.
        dtype: What its costly layers compute in.
    """

    def __init__(self, options: ScanOptions = ScanOptions()):  # noqa: B008 - frozen
        """Load the weights.

        Raises:
            CheckpointError: Or DeviceError or UsageError, if the options cannot be met.
        """
        self.options = options
        self._decoders = decoders()  # the first starts while the network loads
        device, precision = options.device, options.precision
        if options.backend == "openvino":  # its bf16 rounds the residual stream too: only for those who ask for it
            device = "cpu" if device == "auto" else device
            precision = "fp32" if precision == "auto" else precision
        self.device = choose_device(device)
        self.dtype = choose_dtype(precision, self.device)
        weights = find_weights(options.weights)
        loaded_in = self.dtype if options.backend == "torch" else torch.float32
        self.detector, self.header = load_detector(weights, loaded_in)
        digest = sha256_of(weights)
        key = " ".join((digest, *(part.sha256 for part in self.header.parts)))
        self.encode = self.detector.runtime(options.backend, self.device, self.dtype, key)
        self.plan = self.detector.plan.limited(options.patches)
        self.run = RunInfo(
            version=__version__,
            weights=self.header.name,
            digest=digest,
            detector=self.header.architecture,
            dtype=str(self.dtype).removeprefix("torch."),
            real_below=self._thresholds()[0],
            ai_from=self._thresholds()[1],
            has_heatmap=self.detector.has_heatmap,
            options=options,
        )
        batch_size = options.batch_size or default_batch_size(self.device)
        self._engine = Engine(self.detector, self.encode, self.device, batch_size, options.explain)

    @property
    def batch_size(self) -> int:
        """Views a batch."""
        return self._engine.batch_size

    def _thresholds(self) -> tuple[float, float]:
        own = self.options.threshold
        return self.header.calibration.thresholds[self.options.profile] if own is None else (own, own)

    def scan(
        self,
        paths: Iterable[str | os.PathLike[str]],
        on_batch: Callable[[int], None] = lambda views: None,
        without: Collection[str] = (),
    ) -> Iterator[Finding]:
        """Scan files and folders (recursively), and yield Findings in order, as they are ready.

        A file that cannot be read gives a Finding with status "error"; the scan goes on.

        Args:
            paths: Files and folders.
            on_batch: Told the number of views that the device has finished, for a progress bar.
            without: Files to pass over.
        """
        files = expand(os.fspath(path) for path in paths)
        yield from self.scan_files((file for file in files if file not in without), on_batch)

    def scan_files(
        self, files: Iterable[str], on_batch: Callable[[int], None] = lambda views: None
    ) -> Iterator[Finding]:
        """Scan files as they come, and yield a Finding for each, in order; as `scan`, but no folders, and any number."""
        threads = max(1, min(8, (os.cpu_count() or 2) - 1))
        yield from self._findings(prefetch(self._prepare_file, files, threads, _PIXELS_AHEAD), on_batch)

    def scan_array(self, pixels: np.ndarray, name: str = "<array>") -> Finding:
        """Scan pixels in memory.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            name: What the finding calls them.

        Raises:
            UsageError: For an array of any other kind.
        """
        return next(self.scan_arrays([(name, pixels)]))

    def scan_arrays(self, arrays: Iterable[tuple[str, np.ndarray]]) -> Iterator[Finding]:
        """Scan (name, pixels) in order, in full batches across images; pixels as of `scan_array`."""
        yield from self._findings(self._prepare_array(name, pixels) for name, pixels in arrays)

    def _findings(
        self, jobs: Iterator[_Job | None], on_batch: Callable[[int], None] = lambda views: None
    ) -> Iterator[Finding]:
        """Yield Findings of jobs in order; the copies of an image go through right after it, and into its Finding.

        A None among jobs says that the next is not there yet: what is there must not wait for it.
        """
        outputs = self._engine.run(_queued(jobs), on_batch)
        for job, output in outputs:
            finding = job.finding if output is None else self._complete(job, output)
            copies = {name: self._complete_copy(*next(outputs)) for name in job.copies}
            yield _stressed(finding, copies) if copies else finding

    def _complete_copy(self, job: _Job, output: ImageOutput | None) -> Finding:
        return job.finding if output is None else self._complete(job, output)

    def _prepare_file(self, path: str, admit: Callable[[int], None]) -> _Job:
        started = time.perf_counter()
        try:
            image = self._decoders.decode(path, self.options.max_pixels, admit)
            job = self._with_copies(self._prepare(path, image, started), image)
        except ImageError as error:
            job = _Job(Finding(path, "error", error=str(error)))
        except MemoryError:
            job = _Job(Finding(path, "error", error="too large for the memory of this machine"))
        seconds = time.perf_counter() - started
        job.finding = replace(job.finding, seconds=seconds, file=evidence_of(path))
        return job

    def _prepare_array(self, name: str, pixels: np.ndarray) -> _Job:
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise UsageError(f"scan_array takes (H, W, 3) uint8 RGB, not {pixels.shape} {pixels.dtype}")
        image = DecodedImage(pixels, "array")
        return self._with_copies(self._prepare(name, image, time.perf_counter()), image)

    def _prepare(self, path: str, image: DecodedImage, started: float) -> _Job:
        """Cut an image into views, and note what a reader should know."""
        side = self.plan.side or SMALLEST
        height, width = image.pixels.shape[:2]
        if max(height, side) * max(width, side) > self.options.max_pixels:
            raise ImageError(
                f"{width}x{height} is too thin: mirrored to {side} px it would be over the limit of pixels"
            )
        trace = jpeg_trace(image.pixels)
        views = cut_views(image.pixels, self.plan, image.orientation)
        finding = Finding(
            path=path,
            status="ok",
            width=width,
            height=height,
            format=image.format,
            patches=views.patches,
            jpeg_quality=image.jpeg.quality if image.jpeg else None,
            jpeg_saved=image.jpeg,
            jpeg_trace=trace,
            provenance=image.claims[0].short() if image.claims else "",
            claims=image.claims,
            seconds=time.perf_counter() - started,
            orientation=image.orientation,
            notes=(*image.notes, *self._notes(image, trace, views)),
        )
        return _Job(finding, views, views.boxes[int(views.thumbnail and len(views) > 1) :])

    def _notes(self, image: DecodedImage, trace: JpegTrace | None, views: Views) -> Iterator[str]:
        side = self.plan.side or SMALLEST
        if min(image.pixels.shape[:2]) < side and (views.patches or self.plan.side is None):
            yield f"a side is under {side} px: extended by mirroring"
        if earlier := _earlier_save(trace, image.jpeg):
            yield earlier
        if self.plan != self.detector.plan and views.grid is None and views.patches:
            height, width = image.pixels.shape[:2]
            total = len(patch_grid(height, width, side))
            why = ", so there is no heatmap" if self.detector.has_heatmap else ""
            yield f"only {views.patches} of {total} patches were looked at{why}"

    def _with_copies(self, job: _Job, image: DecodedImage) -> _Job:
        """Add the copies of a stress test to a job; those that their format cannot hold are left out."""
        for name, perturb in (STRESS if self.options.stress else {}).items():
            try:
                copy = replace(image, pixels=perturb(image.pixels))
                job.copies[name] = self._prepare(name, copy, time.perf_counter())
            except (ValueError, OSError, ImageError):
                job.finding = replace(job.finding, notes=(*job.finding.notes, f"stress: no copy as {name}"))
        return job

    def _complete(self, job: _Job, output: ImageOutput) -> Finding:
        finding, calibration = job.finding, self.header.calibration
        score = calibration.score(output.logit)
        verdict = calibration.verdict(score, self.options.profile, self.options.threshold)
        notes = [*finding.notes, *filter(None, (conflict(finding.claims, verdict), _outside_photos(output.domain)))]
        boxes = job.boxes if output.attributions else []
        effects = zip(boxes, output.attributions, strict=True)
        return replace(
            finding if output.heatmap is None else self._located(finding, output.heatmap),
            verdict=verdict,
            notes=tuple(notes),
            score=score,
            logit=output.logit,
            uncertainty=output.uncertainty,
            domain=output.domain,
            family=output.family if verdict == "ai" else None,
            jpeg_quality_estimated=float(finding.jpeg_trace.quality) if finding.jpeg_trace else output.quality,
            attributions=tuple(Attribution(*box, effect=effect) for box, effect in effects),
            seconds=(finding.seconds or 0.0) + output.seconds,
        )

    def _located(self, finding: Finding, heatmap: np.ndarray) -> Finding:
        """Add a heatmap, and its regions over the threshold."""
        least = self.header.calibration.localisation
        regions = find_regions(heatmap, least, finding.width or 0, finding.height or 0, CELL)
        return replace(finding, heatmap=heatmap, ai_area=float((heatmap >= least).mean()), regions=regions)


def _outside_photos(domain: str | None) -> str:
    """Put into words that an image does not look like a photo; "" if it does, or may."""
    if domain in (None, "photo", "unknown"):
        return ""
    article = "an" if domain == "artwork" else "a"
    return f"looks like {article} {domain}, not a photo: verdicts on these are less sure"


def _earlier_save(trace: JpegTrace | None, saved: JpegSave | None) -> str:
    """Put a save as JPEG into words that the file itself does not tell of; "" where there is none."""
    if trace is None:
        return ""
    note = f"the pixels were a JPEG of quality {trace.quality} before"
    if (trace.top, trace.left) != (0, 0):
        return f"{note}, and were cropped since: its blocks start at x {trace.left}, y {trace.top}"
    if saved is None:
        return note
    harder = saved.tables == "IJG" and trace.quality <= saved.quality - _HARDER_BY
    return f"{note}, lower than the {saved.quality} it is saved at now" if harder else ""


def _queued(jobs: Iterator[_Job | None]) -> Iterator[tuple[_Job, Views | None] | None]:
    for job in jobs:
        if job is None:
            yield None
            continue
        for one in (job, *job.copies.values()):
            yield one, one.take_views()


def _stressed(finding: Finding, copies: dict[str, Finding]) -> Finding:
    """Add what the copies say; the verdict is `inconclusive` where one of them is ai and another real."""
    verdicts = {finding.verdict, *(copy.verdict for copy in copies.values())}
    scores = {name: copy.score or 0.0 for name, copy in copies.items()}
    everything = [finding.score or 0.0, *scores.values()]
    flips = {"ai", "real"} <= verdicts
    note = f"stress: score {min(everything):.3f}..{max(everything):.3f}" + (", the verdict flips" if flips else "")
    return replace(
        finding,
        verdict="inconclusive" if flips else finding.verdict,
        stress={name: round(score, 6) for name, score in scores.items()},
        notes=(*finding.notes, note),
        seconds=(finding.seconds or 0.0) + sum(copy.seconds or 0.0 for copy in copies.values()),
    )
