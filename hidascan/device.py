"""Choose the device of a network, its precision there, and the size of its batches."""

from __future__ import annotations

import torch

from hidascan.errors import DeviceError


def choose_device(name: str) -> torch.device:
    """Return the device for auto, cpu, cuda, cuda:N or mps.

    Raises:
        DeviceError: If it is not available.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"--device {name}: unknown device; choose auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"--device {name}: no such CUDA device ({torch.cuda.device_count()} found)")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("--device mps: not available on this machine")
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"--device {name}: unknown device; choose auto, cpu, cuda, cuda:N or mps")
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype for auto, bf16 or fp32; auto is bf16 if the hardware supports it, else fp32.

    Raises:
        DeviceError: For any other name.
    """
    if precision == "auto":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = device.type == "cpu" and cpu_has_bf16()
        return torch.bfloat16 if fast else torch.float32
    try:
        return {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
    except KeyError:
        raise DeviceError(f"--precision {precision}: choose auto, bf16 or fp32") from None


def default_batch_size(device: torch.device) -> int:
    """Return the views per batch: the fastest on 2 CPU cores; enough to fill a GPU."""
    return 128 if device.type == "cuda" else 16


def cpu_has_bf16() -> bool:
    """Return whether the CPU has AVX512-BF16, AMX or Arm BF16; without them, bf16 is slower than fp32."""
    flags = torch.backends.cpu.get_cpu_capability()
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported", "_is_arm_bf16_supported")
    return flags != "DEFAULT" and any(getattr(torch.cpu, check, lambda: False)() for check in checks)
