"""Findings on a pipe: `path<TAB>verdict<TAB>score`."""

from __future__ import annotations

import sys

from hidascan.finding import Finding


class PlainLines:
    """Three fields a line; for a file that could not be read its path, `error`, and no score."""

    def add(self, finding: Finding) -> None:
        """Write a line."""
        score = "" if finding.score is None else f"{finding.score:.4f}"
        sys.stdout.write(f"{finding.path}\t{finding.verdict or 'error'}\t{score}\n")
        sys.stdout.flush()

    def close(self) -> None:
        """Flush stdout."""
        sys.stdout.flush()
