"""Paths in, Findings out: the one place where the stages meet."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from hidascan.engine import Engine, ImageOutput, Views, ViewsPass, choose_device, choose_dtype, default_batch_size
from hidascan.errors import CheckpointError, DeviceError, ImageError, UsageError
from hidascan.finding import Effect, Finding
from hidascan.image.decode import DecodedImage, upright
from hidascan.image.isolation import decoders
from hidascan.image.jpeg import JpegSave
from hidascan.image.jpeg_trace import JpegTrace, jpeg_trace
from hidascan.image.provenance import conflict
from hidascan.image.redeliver import STRESS
from hidascan.image.sources import expand
from hidascan.image.tiles import CELL, PatchGrid, cell_map, mirror_to_patch, patch_grid, patches, spread, thumbnail
from hidascan.model.checkpoint import CheckpointHeader, load_network, sha256_of
from hidascan.model.hidanet import HiDANet
from hidascan.options import ScanOptions
from hidascan.prefetch import prefetch
from hidascan.regions import find_regions

_PIXELS_AHEAD = 64_000_000
_HARDER_BY = 5  # quality, between header and trace, that tells of an earlier save: the trace is exact to two


@dataclass
class _Job:
    """One image on its way through: a Finding that still lacks what the network says, its views, and its copies; its
    grid if all patches are looked at; where those that are begin."""

    finding: Finding
    grid: PatchGrid | None = None
    views: Views | None = None
    corners: list[tuple[int, int]] = field(default_factory=list)
    copies: dict[str, _Job] = field(default_factory=dict)

    def take_views(self) -> Views | None:
        """Hand the views over and forget them: the job waits for its batch, the pixels need not."""
        views, self.views = self.views, None
        return views


class Scanner:
    """Loads a network once and scans any number of images with it.

    Raises CheckpointError, DeviceError or UsageError if the options cannot be met.
    """

    def __init__(self, options: ScanOptions = ScanOptions()):  # noqa: B008 - frozen
        self.options = options
        self._decoders = decoders()  # the first starts while the network loads
        device, precision = options.device, options.precision
        if options.backend == "openvino":  # its bf16 rounds the residual stream too: only for those who ask for it
            device = "cpu" if device == "auto" else device
            precision = "fp32" if precision == "auto" else precision
        self.device = choose_device(device)
        self.dtype = choose_dtype(precision, self.device)
        self.network, self.header, self.views = self._load(find_weights(options.weights))
        batch_size = options.batch_size or default_batch_size(self.device)
        self._engine = Engine(self.network, self.device, batch_size, self.views, options.explain)

    def _load(self, weights: Path) -> tuple[HiDANet, CheckpointHeader, ViewsPass]:
        """The network, what its file says of it, and what runs its passes over views."""
        if self.options.backend == "torch":
            network, header = load_network(weights, self.dtype)
            if self.device.type == "cpu":
                network.pack()
            return network, header, network.views
        if self.device.type != "cpu":
            raise DeviceError(f"--backend openvino runs on the CPU, not on {self.device}")
        from hidascan.model.openvino import OpenVinoViews

        network, header = load_network(weights, torch.float32)
        key = f"{sha256_of(weights)} {header.backbone_sha256}"
        return network, header, OpenVinoViews(network, key, self.dtype)

    @property
    def batch_size(self) -> int:
        """Views a batch."""
        return self._engine.batch_size

    @property
    def thresholds(self) -> tuple[float, float]:
        """Scores in 0..1: `real` below the first, `ai` from the second on."""
        own = self.options.threshold
        return self.header.calibration.thresholds[self.options.profile] if own is None else (own, own)

    def scan(
        self,
        paths: Iterable[str | os.PathLike],
        on_batch: Callable[[int], None] = lambda views: None,
        without: Collection[str] = (),
    ) -> Iterator[Finding]:
        """Findings for files and folders (recursively), in order, as they are ready; files named in `without` are
        passed over.

        A file that cannot be read gives a Finding with status "error"; the scan goes on. on_batch is told the number
        of views that the device has finished, for a progress bar.
        """
        threads = max(1, min(8, (os.cpu_count() or 2) - 1))
        files = (file for file in expand(os.fspath(path) for path in paths) if file not in without)
        yield from self._findings(prefetch(self._prepare_file, files, threads, _PIXELS_AHEAD), on_batch)

    def scan_array(self, pixels: np.ndarray, name: str = "<array>") -> Finding:
        """Finding for pixels in memory: (H, W, 3) uint8 RGB. Raises UsageError for anything else."""
        return next(self.scan_arrays([(name, pixels)]))

    def scan_arrays(self, arrays: Iterable[tuple[str, np.ndarray]]) -> Iterator[Finding]:
        """Findings for (name, pixels) in order, in full batches across images; pixels as of `scan_array`."""
        yield from self._findings(self._prepare_array(name, pixels) for name, pixels in arrays)

    def _findings(
        self, jobs: Iterator[_Job], on_batch: Callable[[int], None] = lambda views: None
    ) -> Iterator[Finding]:
        """Findings of jobs in order; the copies of an image go through right after it, and into its finding."""
        queue = ((one, one.take_views()) for job in jobs for one in (job, *job.copies.values()))
        outputs = self._engine.run(queue, on_batch)
        for job, output in outputs:
            finding = job.finding if output is None else self._complete(job, output)
            copies = {name: self._complete(*next(outputs)) for name in job.copies}
            yield _stressed(finding, copies) if copies else finding

    def _prepare_file(self, path: str, admit: Callable[[int], None]) -> _Job:
        started = time.perf_counter()
        try:
            image = self._decoders.decode(path, self.options.max_pixels, admit)
            return self._with_copies(self._prepare(path, image, started), image)
        except ImageError as error:
            reason = str(error)
        except MemoryError:
            reason = "too large for the memory of this machine"
        return _Job(Finding(path, "error", seconds=time.perf_counter() - started, error=reason))

    def _prepare_array(self, name: str, pixels: np.ndarray) -> _Job:
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise UsageError(f"scan_array takes (H, W, 3) uint8 RGB, not {pixels.shape} {pixels.dtype}")
        image = DecodedImage(pixels, "array")
        return self._with_copies(self._prepare(name, image, time.perf_counter()), image)

    def _prepare(self, path: str, image: DecodedImage, started: float) -> _Job:
        """Cut an image into views: the thumbnail upright, the patches as stored."""
        side = self.network.config.patch
        height, width = image.pixels.shape[:2]
        notes = image.notes
        if max(height, side) * max(width, side) > self.options.max_pixels:
            raise ImageError(
                f"{width}x{height} is too thin: mirrored to {side} px it would be over the limit of pixels"
            )
        if min(height, width) < side:
            notes = (*notes, f"a side is under {side} px: extended by mirroring")
        trace = jpeg_trace(image.pixels)
        if earlier := _earlier_save(trace, image.jpeg):
            notes = (*notes, earlier)
        pixels = mirror_to_patch(image.pixels, side)
        grid = patch_grid(*pixels.shape[:2], side)
        views = Views(patches(pixels, grid, side), grid.corners())
        if self.options.patches and self.options.patches < len(grid):
            views = views.only(spread(grid, self.options.patches))
            notes = (*notes, f"only {len(views.pixels)} of {len(grid)} patches were looked at, so there is no map")
        small = upright(thumbnail(image.pixels, side), image.orientation)
        finding = Finding(
            path=path,
            status="ok",
            width=width,
            height=height,
            format=image.format,
            patches=len(views.pixels),
            jpeg_quality=image.jpeg.quality if image.jpeg else None,
            jpeg_saved=image.jpeg,
            jpeg_trace=trace,
            provenance=image.claims[0].short() if image.claims else "",
            claims=image.claims,
            seconds=time.perf_counter() - started,
            orientation=image.orientation,
            notes=notes,
        )
        return _Job(finding, grid if len(views.pixels) == len(grid) else None, views.after(small), views.corners)

    def _with_copies(self, job: _Job, image: DecodedImage) -> _Job:
        """The job, and for a stress test its copies; those that their format cannot hold are left out."""
        for name, deliver in (STRESS if self.options.stress else {}).items():
            try:
                copy = replace(image, pixels=deliver(image.pixels))
                job.copies[name] = self._prepare(name, copy, time.perf_counter())
            except (ValueError, OSError, ImageError):
                job.finding = replace(job.finding, notes=(*job.finding.notes, f"stress: no copy as {name}"))
        return job

    def _complete(self, job: _Job, output: ImageOutput) -> Finding:
        finding, calibration = job.finding, self.header.calibration
        score = calibration.score(output.logit)
        verdict = calibration.verdict(score, self.options.profile, self.options.threshold)
        disagree = conflict(finding.claims, verdict)
        corners = job.corners if output.effects else []
        effects = [Effect(left, top, effect) for (top, left), effect in zip(corners, output.effects, strict=True)]
        return replace(
            self._located(finding, job.grid, output.traces) if job.grid else finding,
            verdict=verdict,
            notes=(*finding.notes, disagree) if disagree else finding.notes,
            score=score,
            logit=output.logit,
            jpeg_quality_estimated=float(finding.jpeg_trace.quality) if finding.jpeg_trace else output.quality,
            effects=tuple(effects),
            seconds=finding.seconds + output.seconds,
        )

    def _located(self, finding: Finding, grid: PatchGrid, traces: np.ndarray) -> Finding:
        """With the token map, and the regions over its threshold."""
        least = self.header.calibration.localisation
        traces = cell_map(traces, grid, CELL, self.network.config.patch)
        traces = traces[: -(-finding.height // CELL), : -(-finding.width // CELL)]  # without what was mirrored
        cells = self._engine.locate(traces)
        regions = find_regions(cells, least, finding.width, finding.height, CELL)
        return replace(finding, token_map=cells, ai_area=float((cells >= least).mean()), regions=regions)


def _earlier_save(trace: JpegTrace | None, saved: JpegSave | None) -> str:
    """In words, a save as JPEG that the file itself does not tell of; "" where there is none."""
    if trace is None:
        return ""
    note = f"the pixels were a JPEG of quality {trace.quality} before"
    if (trace.top, trace.left) != (0, 0):
        return f"{note}, and were cropped since: its blocks start at x {trace.left}, y {trace.top}"
    if saved is None:
        return note
    harder = saved.tables == "IJG" and trace.quality <= saved.quality - _HARDER_BY
    return f"{note}, lower than the {saved.quality} it is saved at now" if harder else ""


def _stressed(finding: Finding, copies: dict[str, Finding]) -> Finding:
    """What the copies say besides; `inconclusive` where one verdict is ai and another one real."""
    verdicts = {finding.verdict, *(copy.verdict for copy in copies.values())}
    scores = [finding.score, *(copy.score for copy in copies.values())]
    flips = {"ai", "real"} <= verdicts
    note = f"stress: score {min(scores):.3f}..{max(scores):.3f}" + (", the verdict flips" if flips else "")
    return replace(
        finding,
        verdict="inconclusive" if flips else finding.verdict,
        stress={name: round(copy.score, 6) for name, copy in copies.items()},
        notes=(*finding.notes, note),
        seconds=finding.seconds + sum(copy.seconds for copy in copies.values()),
    )


def find_weights(name: str) -> Path:
    """A path as it is; a bare name among the shipped weights. Raises CheckpointError if there is no such thing."""
    if name.endswith(".safetensors") or os.sep in name:
        return Path(name)
    folders = (Path(__file__).parent / "weights", Path(__file__).parent.parent / "weights")  # wheel; checkout
    for folder in folders:
        if (folder / f"{name}.safetensors").is_file():
            return folder / f"{name}.safetensors"
    shipped = sorted(p.stem for f in folders for p in f.glob("*.safetensors") if not p.stem.startswith("backbone"))
    raise CheckpointError(f"--weights {name}: no such weights; shipped: {', '.join(shipped) or 'none'}")
