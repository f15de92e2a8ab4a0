"""Import torch without the part of it that a scan never uses: a quarter of the time until the first verdict begins."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_UNUSED = "torch._meta_registrations"  # what operations would return, in Python: for its compiler and its fake tensors
_USERS = ("torch", "torchvision", "timm", "diffusers")  # packages that may want it, once more of them is imported


def import_lean_torch() -> None:
    """Import torch, if nothing has, but for that part, which comes as soon as more of torch, or on it, is imported."""
    if "torch" in sys.modules:
        return
    sys.modules[_UNUSED] = ModuleType(_UNUSED)
    try:
        import torch
        import torch.utils._device  # with torch.device("meta"), by which networks are built, needs no more than this
    finally:
        del sys.modules[_UNUSED]
    vars(torch).pop(_UNUSED.rpartition(".")[2], None)
    sys.meta_path.insert(0, _Completer())


class _Completer(MetaPathFinder):
    """Imports what was left out before any module that may need it; finds nothing itself."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Watch what is imported."""
        if fullname.partition(".")[0] in _USERS:
            sys.meta_path.remove(self)
            importlib.import_module(_UNUSED)
        return None
