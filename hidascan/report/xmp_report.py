"""Findings as XMP sidecars for photo managers: a keyword, and verdict and score in our own namespace.

A digital source type is never written, as it is a declaration by the maker, not an estimate.
"""

from __future__ import annotations

import os
import re
from itertools import count
from pathlib import Path
from xml.sax.saxutils import escape, unescape

from hidascan.atomic import atomic_write
from hidascan.finding import Finding, RunInfo
from hidascan.image.sources import is_stream
from hidascan.printable import printable
from hidascan.report.reporter import Report, fitting, numbered, output_folder, write_error

NAMESPACE = "urn:hidascan:finding:1"
SUFFIX = ".xmp"
_MAX_BYTES = 1 << 16  # of a sidecar
_FACT = re.compile(r"<hidascan:(\w+)>(.*?)</hidascan:\1>")
_PAGE = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:hidascan="{namespace}">
   <dc:subject><rdf:Bag><rdf:li>hidascan: {verdict}</rdf:li></rdf:Bag></dc:subject>
{facts}
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


class XmpReport(Report):
    """XMP report: a sidecar NAME.xmp, such as photo.jpg.xmp, for each readable image.

    Only an unchanged sidecar of an earlier scan of the same image is replaced; otherwise a number is added to the name.
    """

    def __init__(self, folder: str, run: RunInfo):
        """Prepare the folder.

        Raises:
            UsageError: If it cannot be created.
        """
        self._folder, self._run = output_folder(folder, "--xmp"), run

    def add(self, finding: Finding) -> None:
        """Write a sidecar.

        Raises:
            HidascanError: If it cannot be written.
            OSError: If the disk is full.
        """
        if finding.status != "ok":
            return
        facts = self._facts(finding)
        while True:
            target = self._target(Path(finding.path).name, facts)
            try:
                with atomic_write(target, replace=os.path.lexists(target)) as partial:
                    partial.write_text(_page(facts), encoding="utf-8")
            except FileExistsError:  # another scan has taken the name meanwhile
                continue
            except OSError as error:
                raise write_error(target, error) from None
            return

    def _target(self, name: str, facts: dict[str, str]) -> Path:
        """Return the sidecar of the same image, or the first free name."""
        for number in count(1):
            target = self._folder / fitting(name, f"{numbered(number)}{SUFFIX}")
            if not os.path.lexists(target) or _is_of_the_same_image(target, facts):
                return target
        raise AssertionError

    def _facts(self, finding: Finding) -> dict[str, str]:
        facts = {
            "verdict": finding.verdict,
            "score": f"{finding.score:.4f}",
            "uncertainty": None if finding.uncertainty is None else f"{finding.uncertainty:.4f}",
            "file": printable(Path(finding.path).name),
            "path": printable(os.path.abspath(finding.path)),
            "sha256": finding.file and finding.file.sha256,
            "detector": self._run.detector,
            "weights": self._run.digest,
            "version": self._run.version,
        }
        return {name: str(value) for name, value in facts.items() if value is not None}


def _page(facts: dict[str, str]) -> str:
    lines = [f"   <hidascan:{name}>{escape(value)}</hidascan:{name}>" for name, value in facts.items()]
    return _PAGE.format(namespace=NAMESPACE, verdict=escape(facts["verdict"]), facts="\n".join(lines))


def _is_of_the_same_image(target: Path, facts: dict[str, str]) -> bool:
    """Return whether a file is an unchanged sidecar of this image; before version 0.3, sidecars had no path."""
    try:
        if os.path.islink(target) or not os.path.isfile(target) or os.path.getsize(target) > _MAX_BYTES:
            return False
        text = target.read_bytes().decode("utf-8")
    except (OSError, ValueError):
        return False
    found = {name: unescape(value) for name, value in _FACT.findall(text)}
    if "verdict" not in found or _page(found) != text:
        return False
    compared = ("path",) if "path" in found else ("file", "sha256")
    if is_stream(facts["path"]):  # the next pipe may have the same name
        compared = ("path", "sha256")
    return all(found.get(name) == facts.get(name) for name in compared)
