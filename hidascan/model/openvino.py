"""The passes over views by OpenVINO on a CPU: matrices in int8, as the backbone is stored, activations quantised as they
come, in groups of channels. Faster than torch, with scores that move a little (benchmarks/EXPERIMENTS.md says by how much).

The network is converted once, which takes a quarter of a minute, and kept in the user's cache.
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

import numpy as np
import torch
from torch import Tensor, nn

from hidascan import __version__
from hidascan.errors import DeviceError
from hidascan.model.hidanet import HiDANet, ViewOutputs

_GROUP = 64  # channels that share a scale: fewer are truer, more are faster


class OpenVinoViews:
    """Stands in for `HiDANet.views`. network: with its backbone in float32. key: tells these weights from all others.

    dtype: what the operations between the matrices compute in. Raises DeviceError if OpenVINO is not installed.
    """

    def __init__(self, network: HiDANet, key: str, dtype: torch.dtype):
        try:
            import openvino
        except ImportError:
            raise DeviceError("--backend openvino: not installed; pip install 'hidascan[openvino]'") from None
        self._network, core = network, openvino.Core()
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP,
        }
        self._compiled = core.compile_model(_converted(openvino, core, network, key), "CPU", settings)

    def __call__(self, views: Tensor, is_global: Tensor, corners: Tensor) -> ViewOutputs:
        """As `HiDANet.views`."""
        found = self._compiled((np.ascontiguousarray(views.numpy()), is_global.numpy()))
        cls, evidence = (torch.from_numpy(np.array(found[number])) for number in range(2))
        return ViewOutputs(cls, evidence, self._network.traces(views, is_global, corners))


def _converted(openvino: object, core: object, network: HiDANet, key: str) -> object:
    """The network in OpenVINO's own form, from the cache where it is there; always read from a file, as what is written
    and read again computes a little differently."""
    digest = hashlib.sha256(f"{key} {__version__} {openvino.__version__} {torch.__version__}".encode()).hexdigest()[:16]
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / f"hidascan/openvino-{digest}.xml"
    core.set_property({"ENABLE_MMAP": False})  # the file may be gone before the network is
    if kept.is_file():
        return core.read_model(kept)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made.xml"
        openvino.save_model(_convert(network), made, compress_to_fp16=False)
        _keep(made, kept)
        return core.read_model(made)


def _keep(made: Path, kept: Path) -> None:
    """Copy a model, .xml and .bin, to its place, each whole or not at all; without a place the next run makes it anew."""
    for suffix in (".bin", ".xml"):  # the one that is looked for comes last
        partial = kept.with_suffix(f"{suffix}.{os.getpid()}.partial")
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made.with_suffix(suffix), partial)
            partial.replace(kept.with_suffix(suffix))
        except OSError:
            return
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def _convert(network: HiDANet) -> object:
    """By the frontend itself: openvino.convert_model may tell its makers of its use, and a scan tells nobody."""
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    side = network.config.patch
    example = (torch.zeros(2, 3, side, side, dtype=torch.uint8), torch.tensor([True, False]))
    frontend = FrontEndManager().load_by_framework("pytorch")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of what is constant here
        traced = TorchScriptPythonDecoder(_Passes(network), example_input=example)  # must live until the end
        return frontend.convert(frontend.load(traced))


class _Passes(nn.Module):
    """What is traced: backbone and refiner with int8 matrices, and the evidence."""

    def __init__(self, network: HiDANet):
        super().__init__()
        self.backbone, self.head = copy.deepcopy(network.backbone), copy.deepcopy(network.head)
        for block in self.backbone.vit.blocks:
            for part, name in ((block.attn, "qkv"), (block.attn, "proj"), (block.mlp, "fc1"), (block.mlp, "fc2")):
                setattr(part, name, _Int8Linear(getattr(part, name)))

    def forward(self, views: Tensor, is_global: Tensor) -> tuple[Tensor, Tensor]:
        standard = self.head.tap_norm(self.backbone(views))
        refined = self.head.refiner(standard, is_global)
        return refined[:, 0], self.head.evidence(standard[:, :, 0], is_global)


class _Int8Linear(nn.Module):
    """A linear layer with one scale a row: the grid on which the backbone's matrices are stored."""

    def __init__(self, linear: nn.Linear):
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(1, keepdim=True).clamp_min(1e-12) / 127
        self.register_buffer("weight", (weight / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", linear.bias.detach().float())

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.float() * self.scale, self.bias)
