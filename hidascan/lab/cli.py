"""`hidalab`: train a network, measure one."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Optional

import typer

from hidascan.errors import ExitCode, HidascanError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True)

Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda|cuda:N|mps", help="Where the network runs.")]
Precision = Annotated[str, typer.Option(metavar="auto|bf16|fp32", help="auto is bf16 where the hardware has it.")]
Weights = Annotated[str, typer.Option(metavar="NAME|PATH", help="Shipped weights by name, or a file.")]
Autoencoder = Annotated[str, typer.Option(metavar="PATH|diffusers:NAME", help="Folder with the taef2 weights, a member of the zoo, or an autoencoder of diffusers.", show_default=False)]  # fmt: skip
Table = Annotated[Path, typer.Argument(help="Label table: TSV with path, label, group, source.", show_default=False)]


@app.callback()
def _hidalab() -> None:
    """Train and measure the networks of hidascan."""


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A TOML recipe, such as recipes/hidascan-b.toml.", show_default=False)],
    cache: Annotated[Path, typer.Option(help="Folder for frozen features (3 MB a sample).", show_default=False)],
    out: Annotated[Path, typer.Option(help="Where the trained part goes.", show_default=False)],
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Make the features that are missing, train, write the weights, calibrate. A killed run goes on where it was."""
    import torch

    from hidascan.engine import choose_device, choose_dtype
    from hidascan.lab.cache import build_cache
    from hidascan.lab.pairs import build_pairs
    from hidascan.lab.recipe import read_recipe
    from hidascan.lab.train import train as run

    spec, where = read_recipe(recipe), choose_device(device)
    dtype = choose_dtype(precision, where)
    build_cache(spec, cache, str(where), dtype)
    build_pairs(spec, cache, str(where), dtype)
    run(spec, cache, out, where, dtype == torch.bfloat16)
    if spec.data.calibration:
        calibrate(out, Path(spec.data.calibration), device, precision)


@app.command()
def calibrate(
    weights: Annotated[Path, typer.Argument(help="A trained part; its header is rewritten.", show_default=False)],
    table: Table,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Fit temperature and thresholds on a table that training never saw; figures are cross-fitted by source."""
    from hidascan.lab.calibrate import calibrate as run
    from hidascan.options import ScanOptions
    from hidascan.progress import ScanProgress

    progress = ScanProgress(hidden=False)
    try:
        figures = run(weights, table, ScanOptions(device=device, precision=precision), progress.on_batch)
    finally:
        progress.close()
    print(json.dumps(figures))


@app.command()
def evaluate(
    table: Table,
    csv: Annotated[Optional[Path], typer.Option(help="Also write the rows as hidascan does.", show_default=False)] = None,
    weights: Weights = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Scan a table: per-group table, then one JSON line with AUC, balanced accuracy, TPR at 1 and 5 % FPR."""
    from hidascan.lab.data import read_table
    from hidascan.lab.evaluate import as_markdown
    from hidascan.lab.evaluate import evaluate as run
    from hidascan.progress import ScanProgress
    from hidascan.report.csv_report import CsvReport

    images = read_table(table)
    report = CsvReport(str(csv)) if csv else None
    progress = ScanProgress(hidden=False)

    def on_finding(finding) -> None:
        with progress.reporting():
            if report:
                report.add(finding)

    try:
        evaluation = run(_scanner(weights, device, precision), images, on_finding, progress.on_batch)
    finally:
        progress.close()
        if report:
            report.close()
    print(as_markdown(evaluation))
    print(json.dumps(evaluation.figures))


@app.command()
def quality(
    table: Table,
    images: Annotated[int, typer.Option(help="Number of images, spread evenly over the table.")] = 100,
    resized: Annotated[Optional[float], typer.Option(help="Shrink by this after compression, too.", show_default=False)] = None,
    weights: Weights = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Mean absolute error of the estimated JPEG quality, on images shrunk by 2 and compressed at six qualities."""
    from tqdm import tqdm

    from hidascan.lab.data import read_table, spread
    from hidascan.lab.quality import quality_errors

    chosen = spread(read_table(table), images)
    with tqdm(total=len(chosen), desc="quality", disable=None) as bar:
        errors = quality_errors(_scanner(weights, device, precision), chosen, resized, bar.update)
    mean = sum(errors.values()) / len(errors)
    by_quality = {q: round(e, 2) for q, e in errors.items()}
    print(json.dumps({"images": len(chosen), "mae": round(mean, 3), "by_quality": by_quality}))


@app.command()
def localise(
    table: Table,
    autoencoder: Autoencoder,
    images: Annotated[int, typer.Option(help="Number of photos, spread evenly over the table.")] = 40,
    jpeg: Annotated[list[int], typer.Option(help="Quality of the final save; may be repeated.")] = [90],  # noqa: B006
    share: Annotated[tuple[float, float], typer.Option(help="Least and largest share of the area.")] = (0.1, 0.3),
    without: Annotated[Optional[list[str]], typer.Option(help="A group to leave out; may be repeated.", show_default=False)] = None,
    weights: Weights = "hidascan-b",
) -> None:  # fmt: skip
    """Token AUC inside against outside a region of a photo that went through an autoencoder: a line a quality."""
    from tqdm import tqdm

    from hidascan.lab.autoencoder import load_autoencoder
    from hidascan.lab.data import read_table, spread
    from hidascan.lab.localise import measure_localisation
    from hidascan.model.checkpoint import load_network
    from hidascan.scanner import find_weights

    photos = [image for image in read_table(table) if not image.label and image.group not in (without or ())]
    chosen = spread(photos, images)
    network, header = load_network(find_weights(weights))
    localiser, threshold = network.head.localiser, header.calibration.localisation
    with tqdm(total=len(chosen), desc="localise", disable=None) as bar:
        found = measure_localisation(
            localiser, threshold, chosen, load_autoencoder(autoencoder), share, jpeg, on_image=bar.update
        )
    for figures in found:
        print(json.dumps({"images": len(chosen), **{name: round(value, 4) for name, value in asdict(figures).items()}}))


@app.command()
def robustness(
    table: Table,
    images: Annotated[int, typer.Option(help="Number of images, spread evenly over the table.")] = 1_000_000,
    weights: Weights = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Detection under JPEG, WebP, resizing, blur, noise, crops and borders; and how often they flip a verdict."""
    from tqdm import tqdm

    from hidascan.lab.data import read_table, spread
    from hidascan.lab.robustness import as_markdown, measure_robustness

    chosen = spread(read_table(table), images)
    with tqdm(total=len(chosen), desc="robustness", disable=None) as bar:
        print(as_markdown(measure_robustness(_scanner(weights, device, precision), chosen, bar.update)))


@app.command()
def families(
    recipe: Annotated[Path, typer.Argument(help="The recipe of the weights.", show_default=False)],
    photos: Annotated[Path, typer.Argument(help="Table whose real images training never saw.", show_default=False)],
    tables: Annotated[Optional[list[Path]], typer.Argument(help="More tables with AI images of the families.", show_default=False)] = None,
    cache: Annotated[Path, typer.Option(help="Folder with the frozen features of `train`.", show_default=False)] = Path("cache"),
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Leave each family of generators out of the linear evidence, and find its images among photos."""
    from hidascan.engine import choose_device, choose_dtype
    from hidascan.lab.clean import clean_images
    from hidascan.lab.lofo import as_markdown, leave_one_family_out
    from hidascan.lab.recipe import read_recipe

    spec, where = read_recipe(recipe), choose_device(device)
    dtype = choose_dtype(precision, where)
    clean = [clean_images(spec, table, cache, str(where), dtype) for table in (photos, *(tables or []))]
    print(as_markdown(leave_one_family_out(spec, cache, [image for table in clean for image in table], clean[0])))


@app.command()
def ablate(
    recipe: Annotated[Path, typer.Argument(help="The recipe whose cached features are used.", show_default=False)],
    table: Table,
    cache: Annotated[Path, typer.Option(help="Folder with the frozen features of `train`.", show_default=False)],
    samples: Annotated[int, typer.Option(help="Training samples of each variant.")] = 2000,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """The paper's ablations: short trainings that differ in one thing each, tested on a table as it is."""
    from hidascan.engine import choose_device, choose_dtype
    from hidascan.lab.ablate import ablate as run
    from hidascan.lab.ablate import as_markdown
    from hidascan.lab.clean import clean_cache
    from hidascan.lab.recipe import read_recipe

    spec, where = read_recipe(recipe), choose_device(device)
    test = clean_cache(spec, table, cache, str(where), choose_dtype(precision, where))
    rows = run(spec, cache, test, samples, on_row=lambda row: print(row, file=sys.stderr))
    print(as_markdown(rows))


@app.command()
def card(
    card: Annotated[Path, typer.Argument(help="A model card with marks for its sections.", show_default=False)],
    recipe: Annotated[Path, typer.Argument(help="The recipe of the weights.", show_default=False)],
    cache: Annotated[Path, typer.Option(help="Folder with the frozen features of `train`.", show_default=False)],
    only: Annotated[Optional[list[str]], typer.Option(metavar="SECTION", help="Measure this section alone; may be repeated.", show_default=False)] = None,
    weights: Weights = "hidascan-b",
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:  # fmt: skip
    """Measure what a model card says (detection, families, robustness, quality, where) and write it there."""
    from hidascan.lab.card import CardSpec, fill_card
    from hidascan.lab.recipe import read_recipe
    from hidascan.options import ScanOptions

    spec = read_recipe(recipe)
    known = tuple(Path(table) for table in spec.data.tables[:1])
    fill_card(
        card,
        ScanOptions(weights, device, precision),
        CardSpec(Path(spec.data.calibration), spec, cache, known),
        tuple(only or ()),
    )


@app.command()
def forge(
    image: Annotated[Path, typer.Argument(help="A photo.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Where the forgery goes (JPEG).", show_default=False)],
    autoencoder: Autoencoder,
    share: Annotated[tuple[float, float], typer.Option(help="Least and largest share of the area.")] = (0.1, 0.3),
    jpeg: Annotated[int, typer.Option(help="Quality of the save.")] = 90,
    seed: Annotated[int, typer.Option(help="Of the region.")] = 0,
) -> None:
    """Send one region of a photo through an autoencoder and paste it back: something to try a heatmap on."""
    import numpy as np
    from PIL import Image

    from hidascan.image.decode import decode
    from hidascan.lab.autoencoder import load_autoencoder
    from hidascan.lab.forge import repaint_region

    rng = np.random.default_rng(seed)
    pixels, mask = repaint_region(decode(image).pixels, load_autoencoder(autoencoder), share, rng)
    Image.fromarray(pixels).save(out, quality=jpeg)
    rows, cols = np.nonzero(mask)
    print(
        f"{out}: left {cols.min()}, top {rows.min()}, right {cols.max() + 1}, bottom {rows.max() + 1}, {mask.mean():.0%}"
    )


def _scanner(weights: str, device: str, precision: str):
    from hidascan.options import ScanOptions
    from hidascan.scanner import Scanner

    return Scanner(ScanOptions(weights, device, precision))


def main() -> None:
    """Entry point."""
    try:
        app(prog_name="hidalab")
    except HidascanError as error:
        print(f"hidalab: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.USAGE_OR_MODEL)


if __name__ == "__main__":
    main()
