"""`hidalab`: train and measure detectors."""

from __future__ import annotations

import errno
import os
import sys

import typer
from safetensors import SafetensorError

from hidascan.errors import ExitCode, HidascanError, reason_of
from hidascan.lab.commands import compare, create, measure, reference
from hidascan.printable import printable

_EXTRA = ("matplotlib", "sklearn")
_FULL = "no space left on device; free some space, then run the same command again"
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True)
COMMANDS = (
    create.train, create.calibrate, compare.settle, create.backbone,
    measure.evaluate, measure.agree, measure.quality, measure.localise, measure.robustness, measure.tde, measure.cv,
    measure.heatmaps, measure.card, measure.bench,
    compare.compare, compare.curves,
    create.packs, create.forge, create.detectors, reference.reference,
)  # fmt: skip
for command in COMMANDS:
    app.command()(command)


@app.callback()
def _hidalab() -> None:
    """Train and measure the detectors of hidascan."""


def run(arguments: list[str], name: str = "hidalab") -> int:
    """Run a command; every expected failure becomes one line on stderr and an exit code."""
    try:
        app(arguments, prog_name=name)
    except SystemExit as done:
        return int(done.code or 0)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.USAGE_OR_MODEL
    except Exception as error:
        if not (text := _message(error)):
            raise
        print(f"{name}: {printable(text)}", file=sys.stderr)
        return error.exit_code if isinstance(error, HidascanError) else ExitCode.USAGE_OR_MODEL
    return 0


def _message(error: Exception) -> str:
    """Describe an expected error; return "" for any other."""
    if isinstance(error, HidascanError):
        return str(error)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _EXTRA:
        return f"{error.name} is missing: pip install 'hidascan[lab]'"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _FULL
    if isinstance(error, SafetensorError) and f"(os error {errno.ENOSPC})" in str(error):
        return _FULL
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {reason_of(error)}"
    return ""


def main() -> None:
    """Run the command of the command line."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
