"""Options shared by commands; turn a parsed command line into a Request, with defaults from files and checks of options."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hidascan.config import Defaults, read_defaults
from hidascan.errors import UsageError
from hidascan.options import ScanOptions
from hidascan.printable import print_to_stderr
from hidascan.report import FORMATS, format_of
from hidascan.runner_registry import RUNNERS

if TYPE_CHECKING:
    from hidascan.report.shards import Shards
    from hidascan.request import Reports, Request

Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda|cuda:N|mps", help="Device that runs the network.")]
Precision = Annotated[
    str,
    typer.Option(
        metavar="auto|bf16|fp32", help="Precision of the network; auto is bf16 on hardware that supports it, else fp32."
    ),
]
SETTINGS = "hidascan.config"  # key of the settings files in the context
_SHARD_FORMATS = ("csv", "jsonl", "parquet")
_STDOUT = ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
_NOT_SETTINGS = {"config", "show-config", "version", "json-schema", "install-completion", "show-completion", "debug"}


def read_settings(context: typer.Context, named: str | None) -> str | None:
    """Read the defaults from files, before other options look up their defaults."""
    if context.resilient_parsing:
        return named
    if named == "":
        raise UsageError("--config: the value is empty")
    options = {name[2:]: one for one in context.command.params for name in one.opts if name.startswith("--")}
    options = {name: one for name, one in options.items() if name not in _NOT_SETTINGS}
    defaults = read_defaults(named, options.__contains__)
    context.meta[SETTINGS] = defaults
    if about := defaults.about_found():  # printed before a wrong value ends the scan, even with --quiet
        print_to_stderr(about)
    values = {}
    for name, (value, path) in defaults.effective().items():
        if isinstance(value, dict):
            raise UsageError(f"{path}: {name} cannot be a table")
        several = getattr(options[name], "multiple", False)
        each = value if isinstance(value, list) else [value]
        if not getattr(options[name], "is_flag", False) and any(isinstance(one, bool) for one in each):
            raise UsageError(f"{path}: {name} takes a value, not true or false")
        if isinstance(value, list) and not several:
            raise UsageError(f"{path}: {name} takes one value, not a list")
        values[str(options[name].name)] = each if several else value
    context.default_map = values
    return named


def request_of(context: typer.Context) -> Request:
    """Return the request of a parsed command line.

    Raises:
        UsageError: If a value is missing, or options contradict each other.
    """
    from hidascan.image.sources import Selection
    from hidascan.request import InputFiles, Request

    values, defaults = context.params, context.meta[SETTINGS]
    _check_texts(context)
    _check_taken_files(context)
    if not values["paths"] and not values["lists"]:
        raise UsageError("Missing argument 'PATH...'")
    options = values | _chosen(context, defaults)
    _check_column(context)
    _check_lines(context)
    if values["runner"] not in RUNNERS:
        raise UsageError(f"--runner must be {' or '.join(RUNNERS)}, not {values['runner']}")
    selection = Selection(**values_of(Selection, values), recurse=not values["no_recurse"])
    return Request(
        **values_of(Request, values),
        reports=_reports(values),
        inputs=InputFiles(**values_of(InputFiles, values), selection=selection, uris=RUNNERS[values["runner"]].cluster),
        options=ScanOptions(**values_of(ScanOptions, options)),
        settings=tuple(str(one.path) for one in defaults.files()),
    )


def values_of(group: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return the given values that are fields of a group of options."""
    given = {one.name: values[one.name] for one in fields(group) if values.get(one.name) is not None}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def _reports(values: dict[str, Any]) -> Reports:
    """Return the reports; those of a cluster are one folder of shards, and no output per image."""
    from hidascan.request import Reports

    files = [(values[name], name) for name in FORMATS if values.get(name) is not None]
    files += [(file, format_of(file)) for file in values["output"] or ()]
    files = [("-" if file in _STDOUT else file, name) for file, name in files]
    folder = None if values["parquet"] is None else (values["parquet"], "parquet")
    heatmap = values["heatmap"] or (values["heatmap_dir"] is not None and not values["heatmap_raw"])
    in_cluster = RUNNERS[values["runner"]].cluster
    if in_cluster:
        outputs = [*files, *([folder] if folder else [])]
        per_image = any(values[name] for name in ("line_format", "heatmap_raw", "xmp")) or heatmap
        if len(outputs) != 1 or outputs[0][0] == "-" or outputs[0][1] not in _SHARD_FORMATS or per_image:
            raise UsageError(
                f"--runner {values['runner']} needs exactly one of --csv, --jsonl or --parquet DIR, and no other output"
            )
        files, folder = [], outputs[0]
    if folder is None and values["rows"] is not None:
        raise UsageError("--shard-rows needs --parquet DIR, or --runner ray")
    made = {
        "files": tuple(files),
        "shards": folder and _shards(*folder, values),
        "lines": not in_cluster and not values["quiet"] and all(file != "-" for file, _ in files),
        "heatmap": heatmap,
    }
    return Reports(**values_of(Reports, values | made))


def _shards(folder: str, form: str, values: dict[str, Any]) -> Shards:
    from hidascan.report.shards import Shards

    if folder == "-":
        raise UsageError(f"--{form} needs a folder, not stdout")
    return Shards(folder=folder, form=form, **values_of(Shards, values))


def _check_texts(context: typer.Context) -> None:
    """Refuse empty values, and an option in place of a forgotten file name."""
    for option in context.command.params:
        value = context.params.get(str(option.name))
        name = option.opts[-1]
        if not name.startswith("-"):
            continue
        for text in value if isinstance(value, list | tuple) else [value]:
            if text == "":
                raise UsageError(f"{name}: the value is empty")
            if option.metavar in ("FILE", "DIR", "PEM") and isinstance(text, str) and text[:1] == "-" != text:
                raise UsageError(f"{name} {text}: missing value of {name}; write ./{text} for a file of that name")


def _check_taken_files(context: typer.Context) -> None:
    """Refuse a file in place of a forgotten value, or of a pattern that the shell expanded: it would not be scanned."""
    from hidascan.image.formats import suffixes

    values = {name: value for name, value in context.params.items() if _source(context, name) == "COMMANDLINE"}
    if any(os.path.isfile(path) for path in values.get("paths") or ()):
        for option, patterns in (("--include", values.get("include")), ("--exclude", values.get("exclude"))):
            for text in patterns or ():
                if not {"*", "?"} & {*text} and os.path.isfile(text):
                    raise UsageError(f"{option} {text}: this is a file, not a pattern; quote patterns, such as '*.jpg'")
    if (form := values.get("line_format")) and "%" not in form.replace("%%", ""):
        raise UsageError(
            f"--format {form}: no placeholder, such as %p; give the format after --format, then the images"
        )
    case = values.get("case") or ""
    if os.path.splitext(case)[1].lower() in suffixes() and os.path.isfile(case):
        raise UsageError(f"--case {case}: this is an image; give the name of the case after --case, then the images")


def _chosen(context: typer.Context, defaults: Defaults) -> dict[str, Any]:
    """Return weights, profile and threshold, resolved over all sources of options.

    Raises:
        UsageError: If one source gives both a threshold and a profile.
    """
    weights, profile, threshold = (context.params[name] for name in ("weights", "profile", "threshold"))
    if defaults.named and defaults.names_weights and _source(context, "weights") == "ENVIRONMENT":
        weights = str(defaults.named.values["weights"])
    sources = _source(context, "profile"), _source(context, "threshold")
    if threshold is not None and sources[0] == sources[1]:
        raise UsageError("--threshold cannot be combined with --profile, whose thresholds it replaces")
    if sources[0] == "COMMANDLINE":
        threshold = None
    return {"weights": weights, "profile": profile if threshold is None else "balanced", "threshold": threshold}


def _check_column(context: typer.Context) -> None:
    from hidascan.image.path_tables import is_path_table

    column, lists = context.params["column"], context.params["lists"] or ()
    if _source(context, "column") == "COMMANDLINE" and not any(is_path_table(name) for name in lists):
        raise UsageError(f"--column {column} needs --files-from with a .csv, .tsv or .parquet file")


def _check_lines(context: typer.Context) -> None:
    """Refuse a format of result lines if none are printed."""
    if _source(context, "line_format") != "COMMANDLINE":
        return
    if _source(context, "quiet") == "COMMANDLINE":
        raise UsageError("--format cannot be combined with --quiet, which prints no result lines")
    if any(context.params.get(name) in ("-", *_STDOUT) for name in FORMATS):
        raise UsageError("--format cannot be combined with a report on stdout, which replaces the result lines")


def _source(context: typer.Context, name: str) -> str:
    """Return the source of a value: COMMANDLINE, ENVIRONMENT, DEFAULT_MAP (a file) or DEFAULT."""
    return str(getattr(context.get_parameter_source(name), "name", ""))
