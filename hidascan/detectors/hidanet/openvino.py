"""Run the backbone's path by OpenVINO on a CPU, in int8.

Matrices are in int8, as the backbone is stored, and activations are quantised as they come, in groups of channels.
This is faster than torch, with scores that move a little (experiments/ says by how much). The network is converted
once, which takes a quarter of a minute, and kept in the user's cache.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from hidascan import __version__
from hidascan.atomic import written_whole
from hidascan.detectors.base import Encoded, Positions
from hidascan.errors import DeviceError

if TYPE_CHECKING:
    from hidascan.detectors.hidanet.network import HiDANet

_GROUP = 64  # channels that share a scale: fewer are truer, more are faster


class OpenVinoEncoder:
    """Stand-in for `HiDANet.encode`."""

    def __init__(self, network: HiDANet, digest: str, dtype: torch.dtype):
        """Convert a network, or load it from the cache.

        Args:
            network: With its backbone in float32.
            digest: Tells these weights from all others.
            dtype: What the operations between the matrices compute in.

        Raises:
            DeviceError: If OpenVINO is not installed.
        """
        try:
            import openvino
        except ImportError:
            raise DeviceError("--backend openvino: not installed; pip install 'hidascan[openvino]'") from None
        self._network, core = network, openvino.Core()
        parts = {"cls": network.head, "tokens": network.probe, "patch_tokens": network.token_filters}
        self._names = [name for name, part in parts.items() if part is not None]  # as `HiDANet.encode_tokens` has them
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP,
        }
        self._compiled = core.compile_model(_converted(openvino, core, network, digest), "CPU", settings)

    def __call__(self, views: Tensor, where: Positions) -> Encoded:
        """Encode as `HiDANet.encode` does."""
        outputs = self._compiled((np.ascontiguousarray(views.numpy()), where.is_thumbnail.numpy()))
        tokens = {name: torch.from_numpy(np.array(outputs[number])) for number, name in enumerate(self._names)}
        return {**tokens, **self._network.encode_pixels(views, where)}


def _converted(openvino: Any, core: Any, network: HiDANet, digest: str) -> Any:
    """Return the network in OpenVINO's own form, from the cache where it is there.

    It is always read from a file, as what is written and read again computes a little differently.
    """
    key = hashlib.sha256(f"{digest} {__version__} {openvino.__version__} {torch.__version__}".encode()).hexdigest()[:16]
    cached = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / f"hidascan/openvino-{key}.xml"
    core.set_property({"ENABLE_MMAP": False})  # the file may be gone before the network is
    if cached.is_file():
        return core.read_model(cached)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.xml"
        openvino.save_model(_convert(network), made, compress_to_fp16=False)
        _cache(made, cached)
        return core.read_model(made)


def _cache(made: Path, cached: Path) -> None:
    """Copy a model, .xml and .bin, to the cache; where that cannot be written, the next run converts again."""
    with contextlib.suppress(OSError):
        cached.parent.mkdir(parents=True, exist_ok=True)
        for suffix in (".bin", ".xml"):  # the one that is looked for comes last
            with written_whole(cached.with_suffix(suffix)) as partial:
                shutil.copyfile(made.with_suffix(suffix), partial)


def _convert(network: HiDANet) -> Any:
    """Convert by the frontend itself: openvino.convert_model may tell its makers of its use, and a scan tells nobody."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    side = network.config.side
    example = (torch.zeros(2, 3, side, side, dtype=torch.uint8), torch.tensor([True, False]))
    frontend = FrontEndManager().load_by_framework("pytorch")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of what is constant here
        traced = TorchScriptPythonDecoder(_TokenPath(network), example_input=example)  # must live until the end
        return frontend.convert(frontend.load(traced))


class _TokenPath(nn.Module):
    """What is traced: `HiDANet.encode_tokens` with int8 matrices in the backbone."""

    def __init__(self, network: HiDANet):
        super().__init__()
        self.network: Any = copy.deepcopy(network)
        for block in self.network.backbone.vit.blocks:
            for part, name in ((block.attn, "qkv"), (block.attn, "proj"), (block.mlp, "fc1"), (block.mlp, "fc2")):
                setattr(part, name, _Int8Linear(getattr(part, name)))

    def forward(self, views: Tensor, is_thumbnail: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network.encode_tokens(views, is_thumbnail).values())


class _Int8Linear(nn.Module):
    """A linear layer with one scale a row: the grid on which the backbone's matrices are stored."""

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
        self.register_buffer("weight", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", linear.bias.detach().float())

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.float() * self.scale, self.bias)
