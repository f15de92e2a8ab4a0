"""HiDA-Net ("No Pixel Left Behind", ICLR 2026) without its refiner: a frozen ViT, a kernel probe, FAM, QFE and TFL."""
