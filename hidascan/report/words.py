"""What more than one report says in the same words."""

from __future__ import annotations

from hidascan.finding import Finding


def jpeg_history(finding: Finding) -> str:
    """E.g. `quality 95 by its header (IJG tables, 4:2:0), 75 by its pixels: 20 less`."""
    estimated = f"{finding.jpeg_quality_estimated:.0f} by its pixels"
    saved = finding.jpeg_saved
    if saved is None:
        return estimated
    told = ", ".join(filter(None, (f"{saved.tables} tables", saved.subsampling)))
    less = saved.quality - round(finding.jpeg_quality_estimated)
    difference = f": {abs(less)} {'less' if less > 0 else 'more'}" if less else ""
    return f"quality {saved.quality} by its header ({told}), {estimated}{difference}"
