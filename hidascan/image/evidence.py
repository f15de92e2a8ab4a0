"""File identity (hash, size, time), to detect later changes."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class FileEvidence:
    """Identity of a file at the time of reading.

    Attributes:
        sha256: SHA-256 of the content, hex.
        bytes: Size in bytes.
        modified: Time of the last change: ISO 8601, UTC, to the second; "" for an uploaded or fetched copy.
    """

    sha256: str
    bytes: int
    modified: str


def evidence_of(path: str) -> FileEvidence | None:
    """Hash a regular file; None for other or unreadable files."""
    try:
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            digest, size = hashlib.file_digest(file, "sha256"), file.tell()
            changed = os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    moment = datetime.fromtimestamp(changed, UTC).isoformat(timespec="seconds")
    return FileEvidence(digest.hexdigest(), size, moment.replace("+00:00", "Z"))
