"""Families of generators and kinds of images by group name, for tables without these columns."""

from __future__ import annotations

# Groups of the tables by family: generators of one architecture or maker, which new detectors tend to miss together.
FAMILIES: dict[str, tuple[str, ...]] = {
    "gan": ("progan", "stylegan2_faces"),
    "openai": ("dalle3", "gpt_image_1_4o"),
    "midjourney": ("midjourney_v2v3", "midjourney_v5", "midjourney_v6"),
    "sd": ("sd14", "sd15", "sd15_family", "sd15_finetune", "sd1_beta", "sd21_family", "sd_turbo"),
    "sdxl": (
        "lcm_sdxl", "sd35_large", "sd35_medium", "sd3_medium", "sdxl", "sdxl_edit", "sdxl_turbo", "stable_cascade",
    ),
    "flux": (
        "chroma", "flux1_dev", "flux1_dev_control", "flux1_fill_inpaint", "flux1_kontext_edit", "flux1_schnell", "flux2_dev",
    ),
    "google": ("imagen4", "nano_banana"),
    "early": (
        "dalle_mini", "disco_diffusion", "glid3_xl", "latent_diffusion", "majesty_diffusion", "simulacra",
    ),
    "other_open": (
        "auraflow", "cosmos_predict2", "hidream_i1", "hunyuan_dit", "kandinsky_2", "kolors", "lumina2", "omnigen2",
        "pixart_alpha", "qwen_image_edit",
    ),
}  # fmt: skip
_FAMILY_OF = {group: family for family, groups in FAMILIES.items() for group in groups}
_DOMAIN_OF = {"hn_digital_art": "artwork", "hn_scans": "document", "hn_screens": "screenshot"}


def family_of(group: str, label: int) -> str:
    """Return the family of a generator; "" if unknown, and for real images."""
    return _FAMILY_OF.get(group, "") if label else ""


def domain_of(group: str, label: int) -> str:
    """Return the domain of the real images of a group; "" for AI images, for which groups do not define it."""
    return "" if label else _DOMAIN_OF.get(group, "photo")
