"""The directions of imports, as ARCHITECTURE.md draws them."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "hidascan"
MODULES = sorted(PACKAGE.rglob("*.py"))

FORBIDDEN = {  # room -> what it must not import
    "image": (
        "torch",
        "timm",
        "hidascan.model",
        "hidascan.engine",
        "hidascan.scanner",
        "hidascan.report",
        "hidascan.lab",
    ),
    "model": ("PIL", "cv2", "hidascan.image", "hidascan.engine", "hidascan.scanner", "hidascan.report", "hidascan.lab"),
    "report": ("torch", "timm", "hidascan.model", "hidascan.engine", "hidascan.scanner", "hidascan.lab"),
    "": ("hidascan.lab",),
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    room = path.relative_to(PACKAGE).parts[0] if path.parent != PACKAGE else ""
    wrong = [n for n in imported(path) for f in FORBIDDEN.get(room, ()) if n == f or n.startswith(f + ".")]
    assert not wrong


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_stay_short(path):
    assert len(path.read_text().splitlines()) <= 300
