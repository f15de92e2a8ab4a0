"""Defaults from a file: `hidascan.toml`, or the table `[tool.hidascan]` of `pyproject.toml`, found upwards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hidascan.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN, PROJECT = "hidascan.toml", "pyproject.toml"


def find_config(start: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the nearest file at or above a folder that has settings of hidascan, and these; None without one.

    Raises:
        UsageError: If the nearest `hidascan.toml` cannot be read. A broken `pyproject.toml` is none of our business.
    """
    for folder in (start, *start.parents):
        own, project = folder / OWN, folder / PROJECT
        if own.is_file():
            return own, _read(own)
        settings = _of_project(project) if project.is_file() else None
        if settings is not None:
            return project, settings
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None


def _of_project(path: Path) -> dict[str, Any] | None:
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("hidascan")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, AttributeError):
        return None
    return settings if isinstance(settings, dict) else None


def defaults_from(path: Path, settings: dict[str, Any], known: dict[str, str]) -> dict[str, Any]:
    """Turn settings into defaults by the names of parameters.

    Args:
        path: The file, for messages.
        settings: As they are written, keys as options without dashes in front: `batch-size` or `batch_size`.
        known: Option as it is written, without dashes -> name of its parameter.

    Raises:
        UsageError: For a key that is no option.
    """
    defaults = {}
    for key, value in settings.items():
        name = known.get(key.replace("_", "-"))
        if name is None:
            raise UsageError(f"{path}: no such option: {key}; there are: {', '.join(sorted(known))}")
        defaults[name] = value
    return defaults
