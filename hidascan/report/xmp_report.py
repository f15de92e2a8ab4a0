"""Findings as XMP sidecars, which photo managers read: a keyword, and verdict and score in a namespace of ours.

Never a digital source type: that is what a maker declares of an image, and not what somebody else estimates.
"""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

from hidascan.atomic import written_whole
from hidascan.errors import HidascanError
from hidascan.finding import Finding
from hidascan.printable import printable
from hidascan.report.reporter import free_name, output_folder
from hidascan.run import RunInfo

NAMESPACE = "urn:hidascan:finding:1"
SUFFIX = ".xmp"
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


class XmpReport:
    """Writes NAME.xmp for each readable image, such as photo.jpg.xmp; never over a file that is there."""

    def __init__(self, folder: str, run: RunInfo):
        """Prepare the folder.

        Raises:
            UsageError: If it cannot be made.
        """
        self._folder, self._run = output_folder(folder, "--xmp"), run

    def add(self, finding: Finding) -> None:
        """Write a sidecar.

        Raises:
            HidascanError: If it cannot be written.
        """
        if finding.status != "ok":
            return
        target = self._folder / (free_name(self._folder, Path(finding.path).name, [SUFFIX]) + SUFFIX)
        try:
            with written_whole(target) as partial:
                partial.write_text(self._page(finding), encoding="utf-8")
        except OSError as error:
            raise HidascanError(f"{target}: {(error.strerror or str(error)).lower()}") from None

    def close(self) -> None:
        """Do nothing: every file is whole."""

    def _page(self, finding: Finding) -> str:
        facts = {
            "verdict": finding.verdict,
            "score": f"{finding.score:.4f}",
            "uncertainty": None if finding.uncertainty is None else f"{finding.uncertainty:.4f}",
            "file": printable(Path(finding.path).name),
            "sha256": finding.file and finding.file.sha256,
            "detector": self._run.detector,
            "weights": self._run.digest,
            "version": self._run.version,
        }
        lines = [f"   <hidascan:{n}>{escape(str(v))}</hidascan:{n}>" for n, v in facts.items() if v is not None]
        return _PAGE.format(namespace=NAMESPACE, verdict=escape(str(finding.verdict)), facts="\n".join(lines))
