"""`hidalab`: train and measure detectors."""

from __future__ import annotations

import errno
import os
import sys

import typer

from hidascan.errors import ExitCode, HidascanError, reason_of
from hidascan.lab.commands import compare, create, measure, reference
from hidascan.printable import printable

_EXTRA = ("matplotlib", "sklearn")
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


def main() -> None:
    """Run a command; every expected failure becomes one line on stderr and an exit code."""
    try:
        app(prog_name="hidalab")
    except HidascanError as error:
        print(f"hidalab: {printable(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print(f"hidalab: {error.name} is missing: pip install 'hidascan[lab]'", file=sys.stderr)
        sys.exit(ExitCode.USAGE_OR_MODEL)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.USAGE_OR_MODEL)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            text = "no space left on device; free some space, then run the same command again"
        elif error.filename is not None:
            text = f"{os.fsdecode(error.filename)}: {reason_of(error)}"
        else:
            raise
        print(f"hidalab: {printable(text)}", file=sys.stderr)
        sys.exit(ExitCode.USAGE_OR_MODEL)


if __name__ == "__main__":
    main()
