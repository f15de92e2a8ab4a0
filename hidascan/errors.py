"""Errors of hidascan, each with its exit code."""

from __future__ import annotations

from enum import IntEnum

NO_MEMORY = "not enough memory for an image of this size"


class ExitCode(IntEnum):
    """Exit codes of `hidascan`, like those of grep and of virus scanners."""

    NOTHING_FOUND = 0
    AI_FOUND = 1
    USAGE_OR_MODEL = 2
    UNREADABLE_FILES = 3


def reason_of(error: OSError) -> str:
    """Return the reason of a failed system call, in lower case: `no such file or directory`."""
    return (error.strerror or str(error)).lower()


class HidascanError(Exception):
    """Base of all errors that are reported as one line; `exit_code` is the exit code of the command."""

    exit_code = ExitCode.USAGE_OR_MODEL


class ImageError(HidascanError):
    """A file cannot be read as an image; the scan continues."""

    exit_code = ExitCode.UNREADABLE_FILES


class CheckpointError(HidascanError):
    """The weights are missing, damaged or foreign."""


class DeviceError(HidascanError):
    """The requested device is not available."""


class ClusterError(HidascanError):
    """The cluster cannot continue; results so far are saved."""


class UsageError(HidascanError):
    """The options contradict each other or name something that does not exist."""


class RecipeError(HidascanError):
    """A training recipe or a label table is malformed."""
