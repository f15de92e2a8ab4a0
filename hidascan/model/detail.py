"""The detail path: the residues that decoders and compression leave in pixels, added up by their phase."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 8  # pixels: the period of JPEG's blocks and of the decoders of latent diffusion models
_RESIDUES = 9
_LARGEST = 20.0  # of a residue, in steps of 0..255: an edge must not outshout what repeats


def npr(x: Tensor, scale: int = 2) -> Tensor:
    """Neighbouring pixel relations: x - up(down(x, 1 / scale), scale), both by nearest neighbour ("Rethinking the
    Up-Sampling Operations", CVPR 2024). x (B, C, H, W), H and W multiples of scale -> the same shape."""
    return x - F.interpolate(x[..., ::scale, ::scale], scale_factor=scale, mode="nearest")


def in_phase(views: Tensor, corners: Tensor) -> Tensor:
    """Roll views (B, C, H, W), which start at corners (B, 2) of their images, by up to 7 pixels, so that their first
    block is a whole one of the image's grid of 8x8 blocks: the last row and column of patches may start anywhere."""
    shifts = -corners % BLOCK  # (B, 2): rows and columns of the first block that is cut
    size = torch.arange(views.shape[-1], device=views.device)
    rows, columns = ((size + shifts[:, axis, None]) % views.shape[-1] for axis in (0, 1))
    views = views.gather(2, rows[:, None, :, None].expand_as(views))
    return views.gather(3, columns[:, None, None, :].expand_as(views))


class DetailStem(nn.Module):
    """Pixels -> one detail token for each patch token of the ViT: phase profiles of residues.

    Up-sampling layers and block transforms leave a pattern that repeats every 8 pixels. It is far weaker than the
    picture, but has the same phase everywhere, so adding up brings it out: of each residue (two second differences
    and NPR; of brightness and two colours), the means over a window around the token of the signed and the absolute
    residue at each of the 8x8 phases, relative to how strong the residue is there.
    """

    FEATURES = _RESIDUES * (2 * BLOCK * BLOCK + 1)

    def __init__(self, grid: int, window: int = 12):
        super().__init__()
        self.grid, self.window = grid, window  # window: side in blocks, even

    @torch.no_grad()
    def forward(self, views: Tensor) -> Tensor:
        """views (B, 3, 224, 224) uint8 -> (B, N, FEATURES) float32, N = grid * grid."""
        signed = _residues(views.float()).clamp(-_LARGEST, _LARGEST)
        profiles = [self._window_means(F.pixel_unshuffle(part, BLOCK)) for part in (signed, signed.abs())]
        signed, absolute = (part.unflatten(1, (_RESIDUES, BLOCK * BLOCK)) for part in profiles)
        strength = absolute.mean(2, keepdim=True) + 0.05
        features = torch.cat([signed / strength, absolute / strength, strength.log()], dim=2)
        return features.flatten(1, 2).flatten(2).transpose(1, 2)

    def _window_means(self, blocks: Tensor) -> Tensor:
        """(B, C, 28, 28) -> (B, C, grid, grid), windows cut off at the border of the view."""
        if blocks.shape[-1] == 2 * self.grid:
            return _box_means(blocks, self.window, 2, self.window // 2 - 1)
        means = _box_means(blocks, self.window + 1, 1, self.window // 2)
        return F.interpolate(means, (self.grid, self.grid), mode="bilinear", align_corners=False)


def _box_means(x: Tensor, size: int, stride: int, padding: int) -> Tensor:
    """Means over boxes of size x size of (B, C, H, W), cut off at the border; one axis after the other is cheaper."""
    rows = F.avg_pool2d(x, (size, 1), (stride, 1), (padding, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, size), (1, stride), (0, padding), count_include_pad=False)


def _residues(pixels: Tensor) -> Tensor:
    """(B, 3, H, W) 0..255 -> (B, 9, H, W)"""
    red, green, blue = pixels.unbind(1)
    bright = 0.299 * red + 0.587 * green + 0.114 * blue
    x = torch.stack([bright, 0.564 * (blue - bright), 0.713 * (red - bright)], dim=1)
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    across = 2 * x - padded[:, :, 1:-1, :-2] - padded[:, :, 1:-1, 2:]
    down = 2 * x - padded[:, :, :-2, 1:-1] - padded[:, :, 2:, 1:-1]
    return torch.cat([across, down, npr(x)], dim=1)
