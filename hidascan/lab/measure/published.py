"""Published figures of benchmarks."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

from hidascan.lab.measure import markdown


def published(benchmark: str) -> list[dict[str, Any]]:
    """Return the published figures of a benchmark, one row per method."""
    text = resources.files("hidascan.lab.measure").joinpath("published.toml").read_text(encoding="utf-8")
    return [row for row in tomllib.loads(text)["figures"] if row["benchmark"] == benchmark]


def as_markdown(benchmark: str) -> str:
    """Return a table of the published figures of a benchmark, best first; "" if there are none."""
    rows = sorted(published(benchmark), key=lambda row: -row["accuracy"])
    if not rows:
        return ""
    cells = [
        [row["system"], row["trained_on"], f"{row['accuracy']:.2f}", f"{row['AP']:.2f}" if "AP" in row else ""]
        for row in rows
    ]
    head = ["system", "trained on", "accuracy, mean", "AP, mean"]
    return f"Published, by other systems under their own training (per cent):\n\n{markdown.table(head, cells)}"
