"""Import torch without the part of it that a scan never uses: a quarter of the time until the first verdict begins."""

from __future__ import annotations

import sys
from types import ModuleType

_UNUSED = "_meta_registrations"  # what operations would return, in Python: for torch's compiler and its fake tensors


def import_lean_torch() -> None:
    """Import torch, if nothing has, but for that part, which can still be imported later."""
    if "torch" in sys.modules:
        return
    name = f"torch.{_UNUSED}"
    sys.modules[name] = ModuleType(name)
    try:
        import torch
    finally:
        del sys.modules[name]
    vars(torch).pop(_UNUSED, None)
