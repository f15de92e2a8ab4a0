"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], bold: int | None = None) -> str:
    """Return a Markdown table; row number `bold` is in bold."""
    lines = [_line(head), "|" + "---|" * len(head)]
    for number, row in enumerate(rows):
        lines.append(_line([f"**{cell}**" for cell in row] if number == bold else row))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
