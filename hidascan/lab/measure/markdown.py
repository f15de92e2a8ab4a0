"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[object]], bold: int | None = None, digits: int = 3) -> str:
    """Return a Markdown table, with `digits` decimals of floating-point numbers; row number `bold` is in bold."""
    lines = [_line(head), "|" + "---|" * len(head)]
    for number, row in enumerate(rows):
        cells = [f"{cell:.{digits}f}" if isinstance(cell, float) else str(cell) for cell in row]
        lines.append(_line([f"**{cell}**" for cell in cells] if number == bold else cells))
    return "\n".join(lines)


def lowest(values: Sequence[float]) -> int | None:
    """Return the number of the first lowest value, to make its row bold; None without any."""
    return min(range(len(values)), key=values.__getitem__, default=None)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
