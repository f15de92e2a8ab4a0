"""Scan paths and yield Findings: connect all stages."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Protocol

import numpy as np

from hidascan import __version__
from hidascan.calibration import Rule
from hidascan.detectors import find_weights
from hidascan.detectors.checkpoint import load_detector, sha256_of
from hidascan.device import choose_device, choose_dtype, default_batch_size
from hidascan.engine import Engine, Progress
from hidascan.errors import UsageError
from hidascan.examination import Examination, examine_all, examine_until_settled, settled_by
from hidascan.finding import Finding, RunInfo
from hidascan.image.isolation import decoders
from hidascan.image.provenance.c2pa import check_trust
from hidascan.image.sources import expand
from hidascan.image.views import Views
from hidascan.options import ScanOptions
from hidascan.prefetch import prefetch
from hidascan.prepare import Job, Preparer
from hidascan.results import completed, stressed


class Watch(Protocol):
    """Callback that gets the progress of an image."""

    def __call__(self, finding: Finding, encoded: int, missing: int) -> bool:
        """Return whether to continue with an image.

        Args:
            finding: Its finding; with a preliminary verdict, once there is one.
            encoded: Number of encoded views.
            missing: Number of views still to be encoded.
        """


AnyPath = str | bytes | os.PathLike[str]

_Ticket = tuple[Job, Job]  # job of a file, and this job itself or that of a copy of the picture

_PIXELS_AHEAD, _PIXELS_PER_DECODER = 64_000_000, 8_000_000  # decoded ahead: minimum budget, and per decoder


class Scanner:
    """A loaded detector that scans any number of images.

    Attributes:
        options: Scan options.
        info: Configuration of the scan, for reports.
        header: Header of the weights.
        rule: Rule from logits to scores and verdicts.
        detector: Network of the detector.
        plan: Division of images into views: the detector's plan, limited by the options.
        batch_size: Views per batch.
        preparer: Preparer that turns files into jobs.
        encode: Encoder of batches of views, as the engine uses it.
        engine: Engine that runs the detector.
        device: Device of the network.
        dtype: Precision of the costly layers.
    """

    def __init__(self, options: ScanOptions = ScanOptions()):  # noqa: B008 - frozen
        """Load the weights.

        Raises:
            CheckpointError: Or DeviceError or UsageError, if the options cannot be met.
        """
        self.options = options
        decoders()  # the first one starts while the network loads
        self.device = choose_device(options.device)
        self.dtype = choose_dtype(options.precision, self.device)
        weights = find_weights(options.weights)
        self.detector, self.header = load_detector(weights, self.dtype)
        self.rule = self._rule(options.profile)
        self._digest = sha256_of(weights)
        self.encode = self.detector.prepare_inference(self.device, self.dtype)
        preparing = options
        if options.c2pa_trust is not None:
            check_trust(options.c2pa_trust)
            preparing = replace(options, c2pa_trust=os.path.abspath(options.c2pa_trust))  # for decoders elsewhere
        self.preparer = Preparer(self.detector.plan, self.detector.has_heatmap, preparing)
        self.plan = self.preparer.plan
        self.info = self._run_info(options)
        self.batch_size = options.batch_size or default_batch_size(self.device)
        self.engine = Engine(self._examine(), self.encode, self.device, self.batch_size)

    def info_with(self, profile: str | None = None, stress: bool = False) -> RunInfo:
        """Return the configuration of this scan by another profile or with a stress test, for some of its files.

        Args:
            profile: Profile of the verdict, which changes the bounds between the verdicts only; None for the same.
            stress: Whether copies are scanned, too.

        Raises:
            UsageError: If there is no such profile, or if the options of the scan rule out another one.
        """
        if profile is not None and self.options.threshold is not None:
            raise UsageError("--threshold cannot be combined with --profile, whose thresholds it replaces")
        own = self.options
        options = replace(own, profile=own.profile if profile is None else profile, stress=stress or own.stress)
        if own.fast and options.profile != own.profile:  # what settles a verdict depends on the bounds
            raise UsageError(f"--fast works with profile {own.profile} here; omit it to use another profile")
        return self._run_info(options)

    def _run_info(self, options: ScanOptions) -> RunInfo:
        calibration, rule = self.header.calibration, self._rule(options.profile)
        return RunInfo(
            version=__version__,
            weights=self.header.name,
            digest=self._digest,
            detector=self.header.architecture,
            dtype=str(self.dtype).removeprefix("torch."),
            real_below=rule.real_below,
            ai_from=rule.ai_from,
            has_heatmap=self.detector.has_heatmap,
            options=options,
            reliability=calibration.reliability.get(options.profile) if options.threshold is None else None,
        )

    def _rule(self, profile: str) -> Rule:
        return self.header.calibration.rule(profile, self.options.threshold)

    def _examine(self, preliminary: bool = False) -> Callable[[Views], Examination]:
        if not self.options.fast:
            return functools.partial(
                examine_all, detector=self.detector, explain=self.options.explain, preliminary=preliminary
            )
        if self.header.calibration.settling is None:
            raise UsageError(f"--fast: weights {self.header.name} were not calibrated for early stopping")
        return functools.partial(
            examine_until_settled,
            detector=self.detector,
            settled=settled_by(self.rule),
            alarm=self.rule,
            device=self.device,
            batch_size=self.batch_size,
        )

    def scan(
        self,
        paths: AnyPath | Iterable[AnyPath],
        on_batch: Callable[[int], None] = lambda views: None,
    ) -> Iterator[Finding]:
        """Scan files and folders (recursively), and yield Findings in order, as they become ready.

        An unreadable file or folder gives a Finding with status "error", and the scan continues.

        Args:
            paths: Files and folders; a string, bytes or a Path is a single one.
            on_batch: Callback that gets the number of views finished by the device, for a progress bar.
        """
        yield from self.scan_files(expand(map(os.fsdecode, _each(paths))), on_batch)

    def scan_files(
        self,
        files: AnyPath | Iterable[str],
        on_batch: Callable[[int], None] = lambda views: None,
        watch: Watch | None = None,
        options_of: Callable[[str], ScanOptions] | None = None,
    ) -> Iterator[Finding]:
        """Scan any number of files, without folders, and yield a Finding for each, in order.

        Args:
            files: Paths of files; a string, bytes or a Path is a single one.
            on_batch: As in `scan`.
            watch: Callback that gets the progress of each image; a few of its patches are then examined first. If it
                returns False, the rest of that image is not examined, and its Finding has no verdict.
            options_of: Function from a path to options, of which only `profile` and `stress` are used; None for the
                scanner's own.
        """
        limit, cores = (32, _cores()) if self.device.type == "cuda" else (8, _cores() - 1)  # one is left to the network
        threads = max(1, min(limit, cores))
        pixels = max(_PIXELS_AHEAD, threads * _PIXELS_PER_DECODER)

        def prepare(path: str, admit: Callable[[int], None]) -> Job:
            own = self.preparer.options
            options = replace(own, stress=options_of(path).stress) if options_of else own
            return replace(self.preparer, options=options).file(path, admit)

        paths = map(os.fsdecode, _each(files))
        yield from self._findings(prefetch(prepare, paths, threads, pixels), on_batch, watch, options_of)

    def scan_array(self, pixels: np.ndarray, name: str = "<array>") -> Finding:
        """Scan pixels in memory.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            name: Path in the finding.

        Raises:
            UsageError: For any other array.
        """
        return next(self.scan_arrays([(name, pixels)]))

    def scan_arrays(self, arrays: Iterable[tuple[str, np.ndarray]]) -> Iterator[Finding]:
        """Scan (name, pixels) pairs in order, in full batches across images; pixels as in `scan_array`.

        Raises:
            UsageError: For any other array; or any error of `arrays`. The Findings before it are yielded first.
        """
        problems: list[Exception] = []

        def jobs() -> Iterator[Job]:
            try:
                for name, pixels in arrays:
                    yield self.preparer.array(name, pixels)
            except Exception as error:
                problems.append(error)

        yield from self._findings(jobs())
        for problem in problems:
            raise problem

    def scan_jobs(self, jobs: Iterable[Job]) -> Iterator[Finding]:
        """Scan jobs of `preparer`, made on any machine, and yield a Finding for each, in order."""
        yield from self._findings(iter(jobs))

    def _findings(
        self,
        jobs: Iterator[Job | None],
        on_batch: Callable[[int], None] = lambda views: None,
        watch: Watch | None = None,
        options_of: Callable[[str], ScanOptions] | None = None,
    ) -> Iterator[Finding]:
        """Yield Findings of jobs in order; copies of an image follow it, and are merged into its Finding.

        None among the jobs means that the next one is not ready: earlier ones must not wait for it.
        """

        def rule(job: Job) -> Rule:
            return self._rule(options_of(job.finding.path).profile) if options_of else self.rule

        outputs = self.engine.run(_queued(jobs), on_batch, *(self._observed(watch, rule) if watch else ()))
        for (job, _), output in outputs:
            finding = completed(job, output, rule(job))
            copies = {name: completed(copy, next(outputs)[1], rule(job)) for name, copy in job.copies.items()}
            yield stressed(finding, copies) if copies else finding

    def _observed(
        self, watch: Watch, rule: Callable[[Job], Rule]
    ) -> tuple[Callable[[_Ticket, Progress], bool], Callable[[Views], Examination]]:
        """Return a callback of the engine that calls `watch`, and an examination that gives a preliminary decision."""

        def report(ticket: _Ticket, progress: Progress) -> bool:
            job, image = ticket
            image.encoded, image.missing = progress.encoded, progress.missing
            patches, encoded, missing = job.progress()
            finding = replace(job.finding, patches=patches) if job.copies else job.finding
            if progress.decision and image is job and job.has_content:
                score = self.rule.score(float(progress.decision.logit))
                finding = replace(finding, score=score, verdict=rule(job).verdict(score))
            return watch(finding, encoded, missing)

        return report, self.engine.examine if self.options.fast else self._examine(preliminary=True)


def _each(paths: AnyPath | Iterable[AnyPath]) -> Iterable[AnyPath]:
    """Return a single path as a list, as a string would be taken for a list of its letters."""
    return [paths] if isinstance(paths, str | bytes | os.PathLike) else paths


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2


def _queued(jobs: Iterator[Job | None]) -> Iterator[tuple[_Ticket, Views | None] | None]:
    for job in jobs:
        if job is None:
            yield None
            continue
        for one in (job, *job.copies.values()):
            yield (job, one), one.take_views()
