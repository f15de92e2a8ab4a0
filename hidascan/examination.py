"""Choose the views of an image that are examined, and decide when its verdict is settled.

An examination is a generator. It yields the numbers of the views to encode next, each once, is sent the rows encoded so
far, and returns the output. It may also yield a preliminary decision. It knows nothing of the engine's batches (`glance`
screens patches in small groups of its own), and the engine does not know why a view is requested.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hidascan.calibration import Rule
from hidascan.detectors.base import Decision, Detector, Encoded, Positions
from hidascan.geometry import PatchGrid, spread_order
from hidascan.image.views import Views

MIN_PATCHES = 6  # patches from which a standard error can be estimated
SUSPECTS = 3  # additional patches: the most suspicious ones by `Detector.glance`
_INITIAL_VIEWS = MIN_PATCHES + 2  # views requested first, with early stopping
_FIRST_VIEWS = 8  # views of a preliminary decision: seconds on two cores
_MIN_VIEWS = 4 * _FIRST_VIEWS  # views from which an image has one
# (logit, standard error, patches seen, all patches) -> whether the verdict is settled.
Settled = Callable[[float, float, int, int], bool]


@dataclass(frozen=True)
class ImageOutput:
    """Output of a detector for one image."""

    decision: Decision  # by the examined views
    heatmap: np.ndarray | None  # (h, w) float32 values, 0..1; None without a heatmap or if patches were skipped
    attributions: list[float]  # influence of each view except the thumbnail; empty without `explain`
    examined: int  # number of patches examined
    seconds: float = 0.0  # device time in seconds, set by the engine


# Sent: name -> (V, ...), rows of all V views of the image; rows of views not yet requested are uninitialised.
Examination = Generator[list[int] | Decision, Encoded, ImageOutput]


def examine_all(views: Views, detector: Detector, explain: bool, preliminary: bool) -> Examination:
    """Examine all views; for a preliminary decision, of a large image first a few that are spread over it.

    `explain` adds attributions to the output.
    """
    if preliminary and len(views) >= _MIN_VIEWS:
        order = _spread(views)
        first = order[:_FIRST_VIEWS]
        encoded = yield sorted(first)
        yield detector.decide(_rows_of(encoded, first))
        encoded = yield sorted(order[_FIRST_VIEWS:])
    else:
        encoded = yield list(range(len(views)))
    return _output(detector, detector.decide(encoded), views.patches, encoded, views.grid, explain)


def examine_until_settled(
    views: Views,
    detector: Detector,
    settled: Settled,
    alarm: Rule | None = None,
    device: torch.device | str = "cpu",
    batch_size: int = 16,
) -> Examination:
    """Examine a few views spread over the image, doubling their number until the verdict is settled.

    Suspects are examined in addition. They are not a fair sample of the image: they can trigger a full scan, but do not
    change its logit.

    Args:
        views: Views of the image.
        detector: On its device.
        settled: Early-stopping rule.
        alarm: Rule by which a suspicious patch requires a full scan; None to search for no suspects.
        device: Device of the detector.
        batch_size: Views per glance.
    """
    order = _spread(views)
    suspects = _suspects(views, order, detector, device, batch_size) if alarm else []
    examined = order[:_INITIAL_VIEWS]
    encoded = yield [*examined, *suspects]
    while len({*examined, *suspects}) < len(order):  # the suspects may be all that is left
        decision, logit, error, seen = _judge(detector, _rows_of(encoded, examined))
        more = order[len(examined) :]
        if not settled(logit, error, seen, views.patches):
            more = more[: len(examined)]
        elif not (alarm and _is_alarming(alarm, logit, _peak(detector, _rows_of(encoded, [*examined, *suspects])))):
            return _output(detector, decision, views.patches - len({*more} - {*suspects}))
        examined += more
        encoded = yield [number for number in more if number not in suspects]
    return _output(detector, detector.decide(encoded), views.patches, encoded, views.grid)


def settled_by(rule: Rule) -> Settled:
    """Return the early-stopping rule: a verdict is settled if it is the same at both ends of the logit's margin."""

    def settled(logit: float, error: float, seen: int, total: int) -> bool:
        settling = rule.calibration.settling
        if seen < MIN_PATCHES or settling is None:
            return seen >= total
        far = error_margin(settling, error, seen, total)
        ends = {rule.verdict(rule.score(end)) for end in (logit - far, logit + far)}
        return len(ends) == 1

    return settled


def error_margin(settling: tuple[float, float], error: float, seen: int, total: int) -> float:
    """Return how far the logit of all `total` patches may be from that of the `seen`.

    Both parts vanish as all are seen, as the error of a sample without replacement does.

    Args:
        settling: Factor of the standard error, and of a floor for patches that agree by chance, whose standard error is
            too small; fitted by `hidalab settle`.
        error: Standard error of `jackknife_error`.
        seen: Number of patches seen.
        total: Number of all patches.
    """
    factor, floor = settling
    return factor * error * math.sqrt(1 - seen / total) + floor * math.sqrt(1 / seen - 1 / total)


def jackknife_error(logit: float, effects: list[float]) -> float:
    """Return the jackknife standard error of a logit over its patches; an effect is the logit minus that without one."""
    count = len(effects)
    without = [logit - effect for effect in effects]
    mean = sum(without) / count
    return math.sqrt((count - 1) / count * sum((one - mean) ** 2 for one in without))


def _is_alarming(rule: Rule, logit: float, peak: float) -> bool:
    """Return whether all patches must be examined: for a suspicious one, in an image that is not `ai` anyway."""
    return rule.verdict(rule.score(logit)) != "ai" and peak >= rule.calibration.localisation


def repeats_of(views: Views, numbers: Iterable[int], first: dict[bytes, int]) -> dict[int, int]:
    """Map patches that are all of one colour to the first of that colour: the network needs to see it once.

    The thumbnail is never a repeat. `first` maps colours to their first patches; new ones are added.
    """
    repeats = {}
    for number in numbers:
        view = views.pixels[number]
        colour = view[0, 0]
        if (view[-1, -1] == colour).all() and (view == colour).all() and not (views.thumbnail and number == 0):
            before = first.setdefault(colour.tobytes(), number)
            if before != number:
                repeats[number] = before
    return repeats


def _spread(views: Views) -> list[int]:
    """Order views so that every prefix is spread over the image; the thumbnail stays first."""
    if views.grid is None:
        return list(range(len(views)))
    first = len(views) - len(views.grid)
    return [*range(first), *(first + number for number in spread_order(views.grid))]


def _suspects(
    views: Views, order: list[int], detector: Detector, device: torch.device | str, batch_size: int
) -> list[int]:
    """Screen all patches by `glance`, and return the most suspicious ones not requested first."""
    repeats = repeats_of(views, order, {})
    later = {number for number in order[_INITIAL_VIEWS:] if number not in repeats}
    numbers = sorted({*order[int(views.thumbnail) : _INITIAL_VIEWS], *later}) if later else []
    at_once = (numbers[place : place + batch_size] for place in range(0, len(numbers), batch_size))
    parts = [part for some in at_once if (part := detector.glance(*tensors_of(views, some, device))) is not None]
    if not parts:
        return []
    rows = torch.cat(parts)
    excess = (rows - rows.median(0).values).clamp_min(0).norm(dim=1)  # above the median of this image
    ranked = [numbers[place] for place in excess.argsort(descending=True).tolist()]
    return [number for number in ranked if number in later][:SUSPECTS]


def tensors_of(views: Views, numbers: Sequence[int], device: torch.device | str = "cpu") -> tuple[Tensor, Positions]:
    """Return some views of an image (N, 3, H, W) uint8, and their positions, on a device."""
    pixels = torch.from_numpy(np.stack([views.pixels[number] for number in numbers])).to(device)
    thumbnails = torch.tensor([views.thumbnail and number == 0 for number in numbers], device=device)
    corners = torch.tensor([[views.boxes[number].top, views.boxes[number].left] for number in numbers], device=device)
    return pixels.permute(0, 3, 1, 2), Positions(thumbnails, corners)


def _rows_of(encoded: Encoded, numbers: Iterable[int]) -> Encoded:
    """Return the rows of some views, in the order of the plan."""
    places = sorted(numbers)
    return {name: rows[places] for name, rows in encoded.items()}


def _judge(detector: Detector, rows: Encoded) -> tuple[Decision, float, float, int]:
    """Return the decision by some views, its logit and the error of that, and the number of patches among them."""
    decision = detector.decide(rows)
    logit, effects = float(decision.logit), detector.attribute(rows).tolist()
    return decision, logit, jackknife_error(logit, effects) if effects else 0.0, len(effects)


def _peak(detector: Detector, rows: Encoded) -> float:
    """Return the largest heatmap value of some views; without a heatmap, one that never alarms."""
    peaks = detector.peak_values(rows)
    return -math.inf if peaks is None or not len(peaks) else float(peaks.max())


def _output(
    detector: Detector,
    decision: Decision,
    examined: int,
    encoded: Encoded | None = None,
    grid: PatchGrid | None = None,
    explain: bool = False,
) -> ImageOutput:
    """Put an output together; the rows of all views are needed for its heatmap and attributions."""
    heatmap = detector.locate(encoded, grid) if encoded and grid and detector.has_heatmap else None
    attributions = detector.attribute(encoded).tolist() if encoded and explain else []
    return ImageOutput(decision, None if heatmap is None else heatmap.cpu().numpy(), attributions, examined)
