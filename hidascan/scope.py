"""State how much of an image looks AI-made, where its verdict and its heatmap agree."""

from __future__ import annotations

from collections.abc import Collection

from hidascan.regions import Region

SCOPES = ("whole", "part", "none")
WHOLE = 0.6  # share of the cells over the threshold from which a heatmap speaks of the whole image


def scope_of(verdict: str, ai_area: float | None, regions: Collection[Region]) -> str | None:
    """Return how much of an image looks AI-made.

    Args:
        verdict: "ai", "real" or "inconclusive".
        ai_area: Share of the image, 0..1, whose cells are over the threshold; None without a heatmap.
        regions: Regions over the threshold.

    Returns:
        "whole", "part" or "none"; None if verdict and heatmap disagree, or without a heatmap.
    """
    if ai_area is None:
        return None
    if verdict == "real":
        return None if regions else "none"
    if not regions:
        return None
    return "whole" if ai_area >= WHOLE else "part"
