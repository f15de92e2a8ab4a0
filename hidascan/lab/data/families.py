"""Group generators into families: what shares an architecture or a maker, and so fails together when it is new."""

from __future__ import annotations

FAMILIES: dict[str, tuple[str, ...]] = {
    "GAN": ("progan", "stylegan2_faces"),
    "DALL-E, GPT": ("dalle3", "gpt_image_1_4o"),
    "Midjourney": ("midjourney_v2v3", "midjourney_v5", "midjourney_v6"),
    "SD 1.x, 2.x": ("sd14", "sd15", "sd15_family", "sd15_finetune", "sd1_beta", "sd21_family", "sd_turbo"),
    "SDXL, SD3": (
        "lcm_sdxl", "sd35_large", "sd35_medium", "sd3_medium", "sdxl", "sdxl_edit", "sdxl_turbo", "stable_cascade",
    ),
    "FLUX": (
        "chroma", "flux1_dev", "flux1_dev_control", "flux1_fill_inpaint", "flux1_kontext_edit", "flux1_schnell", "flux2_dev",
    ),
    "Chinese DiTs": (
        "hidream_i1", "hunyuan_dit", "kolors", "lumina2", "omnigen2", "pixart_alpha", "qwen_image_edit",
    ),
    "Gemini, Imagen": ("imagen4", "nano_banana"),
    "early diffusion, VQ": (
        "dalle_mini", "disco_diffusion", "glid3_xl", "latent_diffusion", "majesty_diffusion", "simulacra",
    ),
    "other": ("auraflow", "cosmos_predict2", "kandinsky_2"),
}  # fmt: skip
