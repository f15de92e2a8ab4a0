"""Import rules of ARCHITECTURE.md."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "hidascan"
MODULES = sorted(PACKAGE.rglob("*.py"))

FORBIDDEN = {  # package -> what it must not import, besides what is above it
    "image": ("torch", "timm"),
    "detectors": ("PIL", "cv2", "hidascan.image", "hidascan.report"),
    "report": ("torch", "timm"),
    "serve": ("hidascan.runners",),
}
LAYERS = (  # modules and packages, bottom to top
    *("errors", "options", "config", "geometry", "notes", "printable", "records", "atomic", "temporary"),
    *("image", "calibration", "regions", "finding", "phrases", "summary", "report"),
    *("detectors", "prepare", "examination", "device", "engine", "prefetch", "results", "scanner"),
    *("runner_registry", "request", "outputs", "runners", "arguments", "serve", "commands", "cli", "lab"),
)
LAB = (("commands",), ("hidanet", "measure"), ("training",), ("data",), ("artifacts", "read_ahead"))  # top to bottom
HIDANET = ("hidascan.detectors.hidanet", "hidascan.lab.hidanet")


def imported(path: Path) -> set[str]:
    """Every module that a file names in an import, wherever it stands; `from a import b` names a and a.b."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def of_package(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_imports_point_downwards():
    offenders = []
    for path in set(MODULES) - {PACKAGE / "__init__.py"}:
        above = LAYERS[LAYERS.index(path.relative_to(PACKAGE).parts[0].removesuffix(".py")) + 1 :]
        names = tuple(f"hidascan.{part}" for part in above)
        offenders += [(of_package(path), name) for name in imported(path) if within(name, names)]
    assert not offenders


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages_do_not_import_what_is_forbidden_to_them(package):
    names = [(of_package(path), name) for path in (PACKAGE / package).rglob("*.py") for name in imported(path)]
    assert names and not [one for one in names if within(one[1], FORBIDDEN[package])]


def test_only_hidanets_own_packages_import_it():
    others = [path for path in MODULES if path.parent.name != "hidanet"]
    assert not [(of_package(path), name) for path in others for name in imported(path) if within(name, HIDANET)]


def test_only_the_registries_name_hidanet():
    naming = [of_package(path) for path in MODULES if path.parent.name != "hidanet" and "hidanet" in path.read_text()]
    assert naming == ["detectors/__init__.py", "lab/training/recipe.py"]


@pytest.mark.parametrize("number", range(1, len(LAB)))
def test_the_lab_does_not_import_upwards(number):
    above = tuple(f"hidascan.lab.{name}" for layer in LAB[:number] for name in layer)
    layer = [path for path in MODULES if of_package(path).startswith(tuple(f"lab/{name}" for name in LAB[number]))]
    assert layer
    assert not [(of_package(path), name) for path in layer for name in imported(path) if within(name, above)]


def loaded_by(code: str, heavy: set[str]) -> set[str]:
    code += f"\nimport sys; print(*({heavy!r} & set(sys.modules)))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_the_image_package_loads_no_torch():
    names = [
        str(path.relative_to(PACKAGE.parent).with_suffix("")).replace("/", ".")
        for path in (PACKAGE / "image").rglob("*.py")
        if path.stem != "__init__"
    ]
    assert not loaded_by(f"import {', '.join(names)}", {"torch", "timm", "rich", "jinja2"})


@pytest.mark.parametrize("command", ["hidascan.cli", "hidascan.lab.cli"])
def test_a_command_line_loads_nothing_heavy_before_it_has_something_to_do(command):
    assert not loaded_by(f"import {command}", {"torch", "timm", "numpy", "cv2", "PIL", "jinja2", "tqdm", "c2pa"})


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded_by("import hidascan; hidascan.__version__", {"torch", "numpy", "typer"})
