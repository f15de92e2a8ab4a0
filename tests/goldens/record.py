"""Record the results of `hidascan` on the examples and on generated images, by its command line.

python -m tests.goldens.record FILE [--precision bf16]     write the outputs of this checkout
python -m tests.goldens.record --compare ONE OTHER         print the largest differences of two such files
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from hidascan.detectors import trained_parts

ROOT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
SHIPPED = HERE / "shipped.json"
OTHERS = HERE / "others.json"  # by name of the other weights that ship, none of which has a map
TINY = HERE / "tiny.json"
TINY_WEIGHTS = HERE / "tiny.safetensors"
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("**/*.[jp][pn]g") if path.parent.name != "heatmaps")
GENERATED = sorted((ROOT / "examples/generated").iterdir())
NUMBERS = ("logit", "score", "jpeg_quality_estimated", "heatmap_mean")


def made_images(folder: Path) -> list[Path]:
    """Make three images without random generators of any library: large, under a patch in height, and turned by EXIF."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, height, width, options in (
        ("large.png", 500, 700, {}),
        ("low.png", 100, 300, {}),
        ("turned.jpg", 260, 450, {"quality": 88, "exif": exif}),
    ):
        rows, columns = np.mgrid[:height, :width]
        waves = [
            np.sin(rows / (7 + c)) + np.cos(columns / (5 + 2 * c)) + np.sin(rows * columns / 900) for c in range(3)
        ]
        grain = (rows * 7919 + columns * 104729) % 31
        pixels = np.clip(128 + 36 * np.stack(waves, axis=2) + grain[..., None] - 15, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name, **options)
    return sorted(folder.iterdir())


def record(paths: list[Path], weights: str | Path, precision: str, maps: bool = True) -> dict[str, dict]:
    """Scan `paths` and return, by file name, the numbers that a change of the code must not move; `maps` if there are."""
    with tempfile.TemporaryDirectory() as name:
        scan(paths, Path(name), weights, precision, maps)
        return numbers(Path(name))


def scan(paths: list[Path], folder: Path, weights: str | Path, precision: str, maps: bool = True) -> None:
    """Scan `paths` into a folder."""
    from hidascan import cli

    options = ["--weights", str(weights), "--precision", precision, "--explain", "-q"]
    options += ["--heatmap-raw", "--heatmap-dir", str(folder / "maps")] if maps else []
    cli.run([*map(str, paths), "--jsonl", str(folder / "out.jsonl"), *options])


def results(folder: Path) -> dict[str, tuple[dict, np.ndarray | None]]:
    """Return what a scan has written, by file name: row and heatmap, if there is one."""
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    maps: list[np.ndarray | None] = [None] * len(rows)
    if (folder / "maps").exists():
        files = sorted((folder / "maps").iterdir(), key=lambda file: file.stat().st_mtime_ns)
        maps = [np.asarray(Image.open(file)).astype(np.float64) / 65535 for file in files]
    names = ["/".join(Path(row["path"]).parts[-2:]) for row in rows]
    return {name: (row, cells) for name, row, cells in zip(names, rows, maps, strict=True)}


def numbers(folder: Path) -> dict[str, dict]:
    """Return, by file name, the numbers of a scan that a change of the code must not move."""
    return {name: _numbers(row, cells) for name, (row, cells) in results(folder).items()}


def _numbers(row: dict, cells: np.ndarray | None) -> dict:
    numbers = {key: row[key] for key in ("logit", "score", "jpeg_quality_estimated", "patches")}
    if cells is not None:
        numbers |= _numbers_of_map(cells)
    numbers["regions"] = [[r["left"], r["top"], r["right"], r["bottom"]] for r in row["regions"]]
    numbers["attributions"] = [[a["left"], a["top"], a["effect"]] for a in row["effects"]]
    return numbers


def _numbers_of_map(cells: np.ndarray) -> dict:
    quarters = [[float(part.mean()) for part in np.array_split(rows, 4, 1)] for rows in np.array_split(cells, 4, 0)]
    return {"heatmap_mean": float(cells.mean()), "heatmap_grid": quarters}


def difference(one: dict, other: dict) -> dict[str, float]:
    """Return the largest difference of each kind of number over all images; regions count as 0 (same) or 1."""
    found: dict[str, float] = {}
    for name, before in one.items():
        after = other[name]
        parts = {key: abs(before[key] - after[key]) for key in NUMBERS if before.get(key) is not None}
        if "heatmap_grid" in before:
            parts["heatmap_grid"] = float(np.abs(np.subtract(before["heatmap_grid"], after["heatmap_grid"])).max())
        same = np.shape(before["attributions"]) == np.shape(after["attributions"])
        moved = np.subtract(before["attributions"], after["attributions"]) if same else np.array([np.inf])
        parts["attributions"] = float(np.abs(moved).max(initial=0.0))
        parts["regions"] = float(before["regions"] != after["regions"])
        found = {key: max(value, found.get(key, 0.0)) for key, value in parts.items()}
    return found


def record_all(precision: str) -> dict[str, dict[str, dict]]:
    """Return the outputs of the shipped weights on the examples and of the tiny network on made images."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "made"
        folder.mkdir()
        tiny = record(made_images(folder), TINY_WEIGHTS, precision)
    others = {name: record(EXAMPLES, name, precision, maps=False) for name in shipped_names() if name != "hidascan-b"}
    return {"shipped": record(EXAMPLES, "hidascan-b", precision), "tiny": tiny, "others": others}


def shipped_names() -> list[str]:
    """Return the names of the weights in this checkout."""
    return sorted(path.stem for path in trained_parts(ROOT / "weights"))


def main() -> None:
    """Write outputs, or compare two files of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--compare", nargs=2, type=Path)
    given = parser.parse_args()
    if given.compare:
        one, other = (json.loads(path.read_text()) for path in given.compare)
        for whole in (one, other):
            whole |= whole.pop("others", {})
        print(json.dumps({which: difference(one[which], other[which]) for which in one}, indent=1))
    else:
        given.file.write_text(json.dumps(record_all(given.precision), indent=1) + "\n")


if __name__ == "__main__":
    main()
