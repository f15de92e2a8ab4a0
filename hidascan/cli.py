"""`hidascan`: parse the command line, scan, return an exit code. Every expected failure is one line on stderr."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from hidascan.commands import LAB_COMMAND, LAB_MODULE, app, lab_is_installed
from hidascan.errors import ExitCode, HidascanError, UsageError, reason_of
from hidascan.printable import CLOSED, ClosedOutput, prepare_streams, print_to_stderr
from hidascan.temporary import remove_temporary_folders

if TYPE_CHECKING:
    from hidascan.request import Request


def run(arguments: list[str]) -> int:
    """Execute a command line; every expected failure becomes one line on stderr and an exit code."""
    debug, scans = "--debug" in arguments, arguments[:1] not in (["verify"], ["serve"], [LAB_COMMAND])
    try:
        code = _execute(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has closed the pipe: end silently, like cat
        with suppress(OSError):  # if stdout was closed from the start
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print_to_stderr(
            "interrupted; any report already started contains the results so far" if scans else "interrupted"
        )
        return 128 + signal.SIGINT
    except Exception as error:
        if debug:
            raise
        print_to_stderr(_message(error, " (use --debug for a traceback)" if scans else ""))
        return _exit_code(error)


def _message(error: Exception, hint: str) -> str:
    """Describe an error: for an unexpected one, with a hint; a failed write names no file, a failed open does."""
    if isinstance(error, HidascanError):
        return str(error)
    if not isinstance(error, OSError):
        return f"unexpected {type(error).__name__}: {error}{hint}"
    if error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {reason_of(error)}"
    if error.strerror == CLOSED:
        return CLOSED
    return f"cannot write output: {reason_of(error)}; rows written so far are intact"


def _exit_code(error: Exception) -> int:
    return error.exit_code if isinstance(error, HidascanError) else ExitCode.USAGE_OR_MODEL


def _execute(arguments: list[str]) -> int:
    """Execute a command line and return its exit code."""
    if arguments[:1] == [LAB_COMMAND] and lab_is_installed():
        return int(importlib.import_module(LAB_MODULE).run(arguments[1:] or ["--help"], f"hidascan {LAB_COMMAND}"))
    request = parse(arguments)
    if isinstance(request, int):
        return request
    if isinstance(sys.stdout, ClosedOutput) and request.reports.uses_stdout:  # before any output is opened
        raise UsageError(f"{CLOSED}; write to a file with --csv or --jsonl and add -q")
    from hidascan.runners.loop import run_scan

    return run_scan(request)


def parse(arguments: list[str]) -> Request | int:
    """Return the request of a scan; for any other command, execute it and return its exit code.

    Errors of Typer quote arguments, so we print them, escaped.

    Raises:
        UsageError: For a wrong command line.
    """
    try:
        return app(arguments, prog_name="hidascan", standalone_mode=False) or 0
    except SystemExit as done:
        if isinstance(done.__context__, OSError):  # Typer exits with 1 if it cannot write
            raise done.__context__ from None
        return int(done.code or 0)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        raise UsageError(f"{error.format_message()} (see hidascan --help)") from error


def main() -> None:
    """Run, and exit at once, without waiting for decoding threads."""
    prepare_streams()
    try:
        code = run(sys.argv[1:])
    except Exception as error:  # with --debug; Python itself would exit with 1, which means AI found
        code = _exit_code(error)
        with suppress(OSError):
            traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # reported by `run`
            stream.flush()
    remove_temporary_folders()
    os._exit(code)


if __name__ == "__main__":
    main()
