"""Compare with other tools on the same files, and print where hidascan reports less or different provenance.

python -m benchmarks.provenance_tools FOLDER... [--issynthetic BIN] [--authentica BIN]

exiftool is taken from PATH; the other two live in virtual environments of their own (PyPI). Nothing is fetched.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import c2pa

from hidascan.errors import ImageError
from hidascan.image.decode import decode

# What a person would search for in the output of exiftool: loose on purpose.
LOOSE = re.compile(
    r"trainedAlgorithmicMedia|compositeSynthetic|comfyui|class_type|Sampler|midjourney|job id|openai|chatgpt|gpt-?image|"
    r"dall|firefly|generative|google ai|gemini|imagen|nano banana|grok|meta ai|sora|ideogram|recraft|krea|leonardo|"
    r"stable diffusion|sdxl|novelai|invokeai|fooocus|swarm|easy ?diffusion|draw things|diffusionbee|qwen|designer|"
    r"bing image|aisystem|generated|Signature: ",
    re.IGNORECASE,
)
MIME = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".gif": "image/gif", ".avif": "image/avif"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--issynthetic", help="command of issynthetic")
    parser.add_argument("--authentica", help="command of authentica")
    options = parser.parse_args()
    files = [path for folder in options.folders for path in sorted(folder.rglob("*")) if path.is_file()]
    print("| file | hidascan | exiftool | c2pa | issynthetic | authentica |\n|---|---|---|---|---|---|")
    for path in files:
        cells = [
            f"{path.parent.name}/{path.name}",
            by_hidascan(path),
            by_exiftool(path),
            by_library(path),
            by_issynthetic(options.issynthetic, path),
            by_authentica(options.authentica, path),
        ]
        print("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |", flush=True)


def by_hidascan(path: Path) -> str:
    try:
        claims = decode(path).claims
    except ImageError as error:
        return f"error: {error}"
    output = [f"**ai** {claim.short()}" if claim.kind == "ai" else f"{claim.kind} {claim.short()}" for claim in claims]
    return ", ".join(output) or "-"


def by_exiftool(path: Path) -> str:
    done = subprocess.run(["exiftool", "-j", "-a", "-G1", str(path)], capture_output=True, text=True)
    try:
        tags = json.loads(done.stdout)[0]
    except (ValueError, IndexError):
        return "-"
    found = [name for name, value in tags.items() if name != "SourceFile" and LOOSE.search(str(value))]
    return ", ".join(name for name in found if not name.startswith(("System:", "File:File"))) or "-"


def by_library(path: Path) -> str:
    try:
        settings = c2pa.Settings.from_dict({"verify": {"remote_manifest_fetch": False}})
        with c2pa.Reader(
            MIME.get(path.suffix.lower(), "image/jpeg"),
            io.BytesIO(path.read_bytes()),
            context=c2pa.Context(settings),
        ) as reader:
            report = json.loads(reader.json())
    except Exception as error:  # the library has an exception for each way
        return "-" if "ManifestNotFound" in type(error).__name__ + str(error) else f"{type(error).__name__}"[:40]
    types = {str(one).rsplit("/", 1)[-1] for one in source_types(report)}
    return " ".join([str(report.get("validation_state")), *sorted(types)])


def source_types(node: object) -> Iterator[object]:
    """Yield every digital source type anywhere in a report."""
    if isinstance(node, dict):
        for key, value in node.items():
            if "digitalSourceType" in key and isinstance(value, str):
                yield value
            else:
                yield from source_types(value)
    elif isinstance(node, list):
        for value in node:
            yield from source_types(value)


def by_issynthetic(command: str | None, path: Path) -> str:
    if command is None:
        return ""
    output = subprocess.run([command, "inspect", str(path)], capture_output=True, text=True).stdout
    found = re.search(r"Status:\s+(.*)", output)
    return found[1].strip() if found else "-"


def by_authentica(command: str | None, path: Path) -> str:
    if command is None:
        return ""
    arguments = [command, "scan", "--json", "--no-watermark", "--no-forensics", str(path)]
    output = subprocess.run(arguments, capture_output=True, text=True).stdout
    start = output.find("{")
    try:
        report = json.loads(output[start:]) if start >= 0 else {}
    except ValueError:
        return "-"
    tags = {
        f"{g}:{n}": v for g, ns in report.get("metadata", {}).items() if isinstance(ns, dict) for n, v in ns.items()
    }
    found = [name for name, value in tags.items() if LOOSE.search(str(value))]
    manifest = report.get("c2pa") or {}
    if manifest.get("manifest_found"):
        found.insert(0, "C2PA " + ("valid" if manifest.get("signature_valid") else "invalid"))
    return ", ".join(found) or "-"


if __name__ == "__main__":
    main()
