"""Run the loop that a user would write with timm: open, tile, one patch per pass through a full ViT-B/16, in bf16.

    python -m benchmarks.outside_timm < LIST_OF_PATHS > FILE.csv

Measures the cost of encoding every patch; there is no classifier, so the scores are empty.
"""

from __future__ import annotations

import csv
import sys

import numpy as np
import timm
import torch
from PIL import Image

from hidascan.geometry import ViewPlan
from hidascan.image.views import cut_views


def main() -> None:
    """Read paths, one per line, and write CSV with path and an empty score."""
    vit = timm.create_model("vit_base_patch16_clip_quickgelu_224", num_classes=1).eval()
    mean, std = (torch.tensor(vit.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    out = csv.writer(sys.stdout)
    out.writerow(["path", "score"])
    for path in sys.stdin.read().splitlines():
        try:
            pixels = np.asarray(Image.open(path).convert("RGB"))
        except OSError as error:
            print(f"{path}: {error}", file=sys.stderr)
            continue
        for view in cut_views(pixels, ViewPlan()).pixels:
            x = torch.from_numpy(np.array(view)).permute(2, 0, 1)[None].float()
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                vit((x / 255 - mean) / std)
        out.writerow([path, ""])


if __name__ == "__main__":
    main()
