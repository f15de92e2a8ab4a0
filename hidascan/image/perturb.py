"""Perturbations of pictures in delivery: one catalogue for `--stress`, for robustness and for training.

Functions take and return (H, W, 3) uint8 RGB. `PERTURBATIONS` names those with fixed strengths.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from PIL import Image

Perturbation = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Compression:
    """Settings of one save."""

    format: str  # Pillow's name: "JPEG", "WEBP" or "AVIF"
    quality: int  # quality of the encoder, 1..100
    subsampling: int = 2  # chroma subsampling of a JPEG: 0 for 4:4:4, 2 for 4:2:0


def compress(pixels: np.ndarray, save: Compression) -> np.ndarray:
    """Save and load an image again."""
    file = io.BytesIO()
    options = {"JPEG": {"subsampling": save.subsampling}, "WEBP": {"method": 2}, "AVIF": {"speed": 9}}[save.format]
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, save.format, quality=save.quality, **options)
    return np.asarray(Image.open(file).convert("RGB"))


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Save an image as JPEG with 4:2:0 subsampling, and load it again."""
    return compress(pixels, Compression("JPEG", quality))


def shrink(pixels: np.ndarray, scale: float) -> np.ndarray:
    """Shrink each side to `scale` (under 1) of its length, at least a pixel, by averaging areas."""
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)


def centre_crop(pixels: np.ndarray, share: float = 0.6) -> np.ndarray:
    """Cut out the middle `share` of each side, at least a pixel."""
    height, width = (max(1, round(side * share)) for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def letterbox(pixels: np.ndarray, aspect: float = 16 / 9) -> np.ndarray:
    """Add black bars so that width / height is as close to `aspect` as whole pixels allow."""
    height, width = pixels.shape[:2]
    right, below = max(0, round(height * aspect) - width), max(0, round(width / aspect) - height)
    return np.pad(pixels, ((below // 2, below - below // 2), (right // 2, right - right // 2), (0, 0)))


def blur(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """Blur with a Gaussian of `sigma` pixels."""
    return cv2.GaussianBlur(np.ascontiguousarray(pixels), (0, 0), sigma)


def sharpen(pixels: np.ndarray, strength: float) -> np.ndarray:
    """Sharpen by an unsharp mask of 1 pixel."""
    soft = cv2.GaussianBlur(np.ascontiguousarray(pixels), (0, 0), 1.0)
    return cv2.addWeighted(pixels, 1 + strength, soft, -strength, 0)


def noise(pixels: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    """Add Gaussian noise of `sigma` levels, the same for the same seed."""
    grain = np.random.default_rng(seed).normal(0, sigma, pixels.shape).astype(np.float32)
    return np.rint(pixels + grain).clip(0, 255).astype(np.uint8)


def shrink_to(pixels: np.ndarray, longest: int) -> np.ndarray:
    """Shrink an image to `longest` pixels on its longer side, unless it is smaller."""
    scale = longest / max(pixels.shape[:2])
    return shrink(pixels, scale) if scale < 1 else pixels


def post(pixels: np.ndarray, longest: int, qualities: tuple[int, ...], sharpness: float = 0.0) -> np.ndarray:
    """Post an image: shrink it to sides of at most `longest` pixels, sharpen it, save it as JPEG once per quality."""
    posted = shrink_to(pixels, longest)
    if sharpness:
        posted = sharpen(posted, sharpness)
    for quality in qualities:
        posted = jpeg(posted, quality)
    return posted


def screenshot(pixels: np.ndarray, scale: float = 0.8) -> np.ndarray:
    """Make a lossless screenshot of an image shown at `scale`, with linear interpolation."""
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)


def smooth_skin(pixels: np.ndarray, strength: float) -> np.ndarray:
    """Smooth areas without edges, like beauty filters: a bilateral filter of 7 pixels over `strength` levels."""
    return cv2.bilateralFilter(np.ascontiguousarray(pixels), 7, strength, 3.0)


def local_contrast(pixels: np.ndarray, limit: float) -> np.ndarray:
    """Raise the local contrast of brightness, like HDR effects (CLAHE)."""
    lab = cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(limit, (8, 8)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def turn(pixels: np.ndarray, quarters: int) -> np.ndarray:
    """Rotate an image counter-clockwise by a number of quarter turns."""
    return np.ascontiguousarray(np.rot90(pixels, quarters))


def tone(pixels: np.ndarray, gammas: tuple[float, float, float], contrast: float) -> np.ndarray:
    """Apply a gamma to each colour and stretch the contrast around mid-grey, like presets of photo apps."""
    levels = (np.arange(256)[:, None] / 255) ** np.array(gammas)
    curves = np.rint(((levels - 0.5) * contrast + 0.5).clip(0, 1) * 255).astype(np.uint8)
    return cv2.LUT(np.ascontiguousarray(pixels), curves[:, None, :])


def grain(pixels: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    """Add film grain: soft noise in brightness only, strongest in the mid-tones."""
    rough = np.random.default_rng(seed).normal(0, 1, pixels.shape[:2]).astype(np.float32)
    soft = cv2.GaussianBlur(rough, (0, 0), 0.8)
    bright = pixels.mean(2) / 255
    shown = soft / soft.std() * sigma * (0.4 + 2.4 * bright * (1 - bright))
    return np.rint(pixels + shown[..., None]).clip(0, 255).astype(np.uint8)


def repost(pixels: np.ndarray) -> np.ndarray:
    """Pass an image through one social network after another: JPEG 90, shrunk to three quarters, JPEG 75."""
    return jpeg(shrink(jpeg(pixels, 90), 0.75), 75)


PERTURBATIONS: dict[str, Perturbation] = {
    **{f"JPEG {quality}": partial(jpeg, quality=quality) for quality in (95, 90, 85, 75, 60, 40)},
    "WebP 80": partial(compress, save=Compression("WEBP", 80)),
    **{f"resize {scale}": partial(shrink, scale=scale) for scale in (0.75, 0.5, 0.25)},
    **{f"blur {sigma}": partial(blur, sigma=sigma) for sigma in (1, 2)},
    "noise 5": partial(noise, sigma=5),
    "JPEG, resize, JPEG": repost,
    "centre 60 %": centre_crop,
    "letterbox": letterbox,
    "messenger": partial(post, longest=1600, qualities=(75, 70)),  # as WhatsApp does; forwarded once
    "photo network": partial(post, longest=1080, qualities=(75,), sharpness=0.3),  # as Instagram does
    "news network": partial(post, longest=1200, qualities=(85,)),  # as Twitter does
    "preview 300 px": partial(post, longest=300, qualities=(80,)),  # as in the results of a search
    "screenshot": screenshot,
    "turned": partial(turn, quarters=1),
    "AVIF 60": partial(compress, save=Compression("AVIF", 60)),
    "film grain": partial(grain, sigma=6),
}

# The copies of a stress test, under the names that stand in JSONL.
STRESS: dict[str, Perturbation] = {
    "JPEG 90": PERTURBATIONS["JPEG 90"],
    "JPEG 75": PERTURBATIONS["JPEG 75"],
    "WebP 80": PERTURBATIONS["WebP 80"],
    "half size": PERTURBATIONS["resize 0.5"],
    "centre 60 %": PERTURBATIONS["centre 60 %"],
}
