"""Identify a file by its content and its times: SHA-256, size, last change."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime


def file_state(path: str) -> list[int] | None:
    """Return size (bytes) and time of modification (ns) of a file, to notice changes; None if it is missing."""
    try:
        info = os.stat(path)
    except (OSError, ValueError):
        return None
    return [info.st_size, info.st_mtime_ns]


@dataclass(frozen=True)
class FileIdentity:
    """Identity of a file at the time of reading."""

    sha256: str  # SHA-256 of the content, hex
    bytes: int  # size in bytes
    modified: str  # time of the last change: ISO 8601, UTC, to the second; "" if unknown, as of an uploaded copy


def identify(path: str) -> FileIdentity | None:
    """Hash a regular file; None for other or unreadable files."""
    try:
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            digest, size = hashlib.file_digest(file, "sha256"), file.tell()
            changed = os.fstat(file.fileno()).st_mtime
    except OSError:
        return None
    return FileIdentity(digest.hexdigest(), size, _in_utc(changed))


def _in_utc(seconds: float) -> str:
    """Write a Unix time in ISO 8601; "" for one outside the years 1 to 9999, which some file systems store."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return ""
