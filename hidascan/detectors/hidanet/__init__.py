"""HiDA-Net ("No Pixel Left Behind", ICLR 2026): a frozen ViT, a refiner, FAM, QFE, and TFL on pixel residuals."""
