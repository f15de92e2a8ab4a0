"""Defaults from files: `hidascan.toml`, or the table `[tool.hidascan]` of `pyproject.toml`.

A file in or above the working folder may belong to a stranger, so it can set only how to compute. Options that affect
results or outputs come only from a file that the user names, or from the user's configuration folder.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hidascan.errors import UsageError, reason_of
from hidascan.options import MAX_BATCH

WEIGHTS_VARIABLE = "HIDASCAN_WEIGHTS"
OWN, PROJECT = "hidascan.toml", "pyproject.toml"
# Options that any file may set, and whether a value is a proper one.
SAFE_OPTIONS: dict[str, Callable[[Any], bool]] = {
    "batch-size": lambda value: type(value) is int and 1 <= value <= MAX_BATCH,
    "device": lambda value: type(value) is str and bool(re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value)),
    "precision": lambda value: value in ("auto", "bf16", "fp32"),
    "verbose": lambda value: type(value) is bool,
}
_EXCLUSIVE = {"threshold", "profile"}  # a file that sets one overrides both of weaker files


@dataclass(frozen=True)
class Settings:
    """Settings of one file."""

    path: Path
    values: Mapping[str, Any]  # by option, without leading dashes: `batch-size`
    ignored: tuple[str, ...] = ()  # options that the file may not set
    problem: str = ""  # reason why the file cannot be read; "" if it can


@dataclass(frozen=True)
class Defaults:
    """The files that set defaults, in descending precedence; None for a missing one."""

    named: Settings | None = None  # file of `--config`
    own: Settings | None = None  # file in the user's configuration folder
    found: Settings | None = None  # file in or above the working folder

    def files(self) -> list[Settings]:
        """Return the existing files, in descending precedence."""
        return [settings for settings in (self.named, self.own, self.found) if settings is not None]

    def effective(self) -> dict[str, tuple[Any, Path]]:
        """Return {option: (value, file that sets it)}."""
        values: dict[str, tuple[Any, Path]] = {}
        for settings in reversed(self.files()):
            if _EXCLUSIVE & settings.values.keys():
                values = {name: value for name, value in values.items() if name not in _EXCLUSIVE}
            values |= {name: (value, settings.path) for name, value in settings.values.items()}
        return values

    def about_found(self) -> str:
        """Describe the settings of the file found by chance, and those ignored; "" without such a file."""
        found = self.found
        if found is None:
            return ""
        if found.problem:
            return f"ignored {found.path}: {found.problem}"
        parts = [f"settings from {found.path}: {', '.join(found.values)}"] if found.values else []
        if found.ignored:
            names = ", ".join(found.ignored)
            parts.append(f"ignored {names} in {found.path}; to apply them, use --config {found.path}")
        return "; ".join(parts) or f"no settings in {found.path}"

    def lines(self) -> Iterator[str]:
        """Yield lines in TOML that show each default below the file that sets it."""
        for settings in self.files():
            yield f"# {settings.path}"
            for name, (value, path) in self.effective().items():
                if path == settings.path:
                    yield f"{name} = {json.dumps(value, default=str)}"
        if not self.files():
            own = own_file() or "user settings (there is no home folder)"
            yield f"# no --config, no {own}, and no hidascan.toml or [tool.hidascan] here or above"
        if self.found is not None and (self.found.ignored or self.found.problem):
            yield f"# {self.about_found()}"
        if os.environ.get(WEIGHTS_VARIABLE) and not self.names_weights:
            yield f"# {WEIGHTS_VARIABLE}={os.environ[WEIGHTS_VARIABLE]} overrides weights above"

    @property
    def names_weights(self) -> bool:
        """Whether the file of `--config` sets the weights, and so overrides the environment."""
        return self.named is not None and "weights" in self.named.values


def own_file() -> Path | None:
    """Return the path of the user's own settings, `~/.config/hidascan/hidascan.toml` on Linux; None without a home."""
    from platformdirs import user_config_path

    try:
        return user_config_path("hidascan", appauthor=False) / OWN
    except RuntimeError:  # a user without HOME and without an entry in passwd, as in some containers
        return None


def read_defaults(named: str | None, known: Callable[[str], bool]) -> Defaults:
    """Read the files that set defaults; `named` is that of `--config`, and `known` recognises the names of options.

    Raises:
        UsageError: If the named or the own file cannot be read, or sets an unknown option. A found file never fails.
    """
    first = None if named is None else _trusted(Path(named), known)
    place = own_file()
    own = _trusted(place, known) if place is not None and os.path.isfile(place) else None
    trusted = [settings.path for settings in (first, own) if settings is not None]
    found = _find()
    if found is not None and any(os.path.samefile(found.path, path) for path in trusted):
        found = None
    return Defaults(first, own, found and _safe_part(found))


def _trusted(path: Path, known: Callable[[str], bool]) -> Settings:
    try:
        values = _table(path)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    if values is None:
        raise UsageError(f"{path}: no [tool.hidascan] table")
    unknown = [name for name in values if not known(name)]
    if unknown:
        raise UsageError(f"{path}: unknown setting: {unknown[0]}; settings are option names without leading dashes")
    return Settings(path, values)


def _safe_part(settings: Settings) -> Settings:
    values = {
        name: value for name, value in settings.values.items() if name in SAFE_OPTIONS and SAFE_OPTIONS[name](value)
    }
    return Settings(settings.path, values, tuple(sorted(settings.values.keys() - values)), settings.problem)


def _find() -> Settings | None:
    """Return the nearest file in or above the working folder that has hidascan settings."""
    try:
        start = Path.cwd()
    except OSError:  # the working folder was removed
        return None
    for path in (folder / name for folder in (start, *start.parents) for name in (OWN, PROJECT)):
        if not os.path.isfile(path):
            continue
        try:
            values = _table(path)
        except ValueError as error:
            if path.name == OWN:
                return Settings(path, {}, problem=str(error))
            continue  # a broken pyproject.toml is ignored
        if values is not None:
            return Settings(path, values)
    return None


def _table(path: Path) -> dict[str, Any] | None:
    """Read the settings of a file; None for a `pyproject.toml` that has none.

    Raises:
        ValueError: If the file cannot be read.
    """
    try:
        table: Any = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(reason_of(error)) from None
    except RecursionError:
        raise ValueError("tables or lists are nested too deeply") from None
    if path.name == PROJECT:
        tool = table.get("tool")
        table = tool.get("hidascan") if isinstance(tool, dict) else None
    return {name.replace("_", "-"): value for name, value in table.items()} if isinstance(table, dict) else None
