"""hidascan: detect AI-generated images, using every pixel.

    from hidascan import Scanner
    for finding in Scanner().scan(["photo.jpg", "folder/"]):
        print(finding.path, finding.verdict, finding.score)

Importing this package is cheap; torch is loaded with the first `Scanner`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hidascan.finding import Finding
    from hidascan.options import ScanOptions
    from hidascan.scanner import Scanner

__version__ = "0.3.0"
__all__ = ["Finding", "ScanOptions", "Scanner", "__version__"]
_PUBLIC = {"Finding": "hidascan.finding", "ScanOptions": "hidascan.options", "Scanner": "hidascan.scanner"}


def __getattr__(name: str) -> Any:
    """Import a public class on first access."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'hidascan' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
