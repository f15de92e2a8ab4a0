"""Sections of a model card that only a HiDA-Net has."""

from __future__ import annotations

from tqdm import tqdm

from hidascan.lab.data.autoencoders.base import load_autoencoder
from hidascan.lab.data.autoencoders.trained import trained_path
from hidascan.lab.data.layouts import read_images
from hidascan.lab.data.tables import spread
from hidascan.lab.hidanet import cross_validation
from hidascan.lab.measure import markdown
from hidascan.lab.measure.card import CardSpec, Section
from hidascan.lab.measure.localisation import measure_localisation
from hidascan.scanner import Scanner

_NO_PHOTOS = ("hn_digital_art", "hn_astro", "hn_heavy_edit", "web_testfixtures")


def _cross_validation(scanner: Scanner, spec: CardSpec) -> str:
    parts: list[str] = []
    recipe, device, perturbed = spec.recipe, str(scanner.device), spec.images["perturbed"]
    cross_validation.report(recipe, spec.cache, device, scanner.dtype, parts.append, False, perturbed)
    return "\n\n".join(parts)


def _where(scanner: Scanner, spec: CardSpec) -> str:
    photos = [i for i in read_images(spec.table) if not i.label and i.group not in _NO_PHOTOS]
    photos, share = spread(photos, spec.images["where"]), (0.05, 0.4)
    held_out = [one for one in spec.recipe.autoencoders if one.held_out]
    makers = {"taef2": spec.recipe.data.autoencoder}
    makers |= {f"{one.name} (held out)": str(trained_path(spec.cache / "autoencoders", one)) for one in held_out}
    rows = []
    for name, path in makers.items():
        threshold = scanner.header.calibration.localisation
        with tqdm(total=len(photos), desc=f"where {name}", disable=None) as bar:
            figures = measure_localisation(
                scanner.detector,
                threshold,
                photos,
                load_autoencoder(path),
                share,
                (95, 90, 85, 75),
                on_image=bar.update,
            )
        rows += [
            [name, str(f.jpeg), f"{f.mean_auc:.3f}", f"{f.pooled_auc:.3f}", f"{f.iou:.2f}", f"{f.false_area:.3f}"]
            for f in figures
        ]
    head = ["autoencoder", "JPEG", "token AUC, mean of images", "pooled", "IoU", "false area on untouched photos"]
    area = f"{share[0]:.0%} to {share[1]:.0%} of the area repainted"
    return f"{len(photos)} photos (without {', '.join(_NO_PHOTOS)}), {area}.\n\n{markdown.table(head, rows)}"


SECTIONS: dict[str, Section] = {"cross_validation": _cross_validation, "where": _where}
