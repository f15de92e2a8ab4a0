"""Read the properties of XMP packets.

Uses expat, not ElementTree: a packet may lack declarations of its prefixes or be truncated, and properties read until
then count. Entities are never expanded.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple
from xml.parsers import expat

_MAX_BYTES, _MAX_ELEMENTS, _MAX_DEPTH = 8_000_000, 200_000, 100  # Photoshop lists up to 100,000 ancestors
_MAX_LOOSELY = 300_000
_PREFIXES = {
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/xap/1.0/mm/": "xmpMM",
    "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#": "stEvt",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://www.tc260.org.cn/ns/AIGC/1.0/": "TC260",
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#": "rdf",
    "adobe:ns:meta/": "x",
}
_STRUCTURAL = ("rdf:", "x:", "xml:", "xmlns:")
# These are about other files, one editing step, a region, or an artwork in the picture.
_WITHIN_PARTS = (
    "xmpMM:Pantry", "xmpMM:Ingredients", "xmpMM:DerivedFrom", "xmpMM:History", "Iptc4xmpExt:ImageRegion",
    "Iptc4xmpExt:ArtworkOrObject", "mwg-rs:Regions",
)  # fmt: skip
_PART = re.compile(rf"<({'|'.join(_WITHIN_PARTS)})[\s>].*?(?:</\1\s*>|\Z)", re.DOTALL)
_TAG = re.compile(r"<(\w[\w\-]{0,60}:\w[\w\-]{0,60})(?:\s[^<>]{0,300})?>([^<]{1,4000})</")
_ATTRIBUTE = re.compile(
    r"""\s(\w[\w\-]{0,60}:\w[\w\-]{0,60})\s{0,20}=\s{0,20}(?:"([^"<]{1,4000})"|'([^'<]{1,4000})')"""
)


class Property(NamedTuple):
    """One property.

    Attributes:
        name: Name with the usual prefix, regardless of that in the packet, such as "xmp:CreatorTool".
        value: Value of the property.
        of_part: True if the field describes an ingredient, a region, an artwork or an editing step, not the whole picture.
    """

    name: str
    value: str
    of_part: bool = False


def properties_of(packet: bytes) -> Iterator[Property]:
    """Yield the properties of a packet; if it is malformed XML, anything that looks like a property."""
    packet = packet[:_MAX_BYTES].strip(b"\0 \r\n\t")
    walk = _Walk()
    try:
        walk.parser.Parse(packet, False)  # not final, so that a truncated packet is accepted
    except _StopParsingError:
        pass
    except (expat.ExpatError, ValueError, LookupError):
        walk.found += _loosely(packet)
    yield from dict.fromkeys(one for one in walk.found if one.value)


class _StopParsingError(Exception):
    pass


class _Walk:
    """Properties collected by expat from a packet."""

    def __init__(self) -> None:
        self.found: list[Property] = []
        self.parser = expat.ParserCreate()  # without namespaces, as it would reject undeclared prefixes
        self.parser.ordered_attributes = self.parser.buffer_text = True
        self.parser.StartElementHandler, self.parser.EndElementHandler = self._start, self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.StartDoctypeDeclHandler = self._refuse
        self._open: list[str] = []
        self._texts: list[list[str]] = []
        self._prefixes: dict[str, str] = {}
        self._elements = 0

    def _start(self, tag: str, attributes: list[str]) -> None:
        self._elements += 1
        self._elements += len(attributes) // 2
        if self._elements > _MAX_ELEMENTS or len(self._open) > _MAX_DEPTH:
            raise _StopParsingError
        pairs = list(zip(attributes[::2], attributes[1::2], strict=True))
        for key, uri in pairs:
            if key == "xmlns" or key.startswith("xmlns:"):
                self._prefixes[key[6:]] = _PREFIXES.get(uri.strip(), key[6:])
        self._open.append(self._name(tag))
        self._texts.append([])
        for key, value in pairs:
            name = self._name(key)
            if name in ("rdf:resource", "rdf:value"):
                self._keep(self._property(), value)
            elif ":" in key and not name.startswith(_STRUCTURAL):
                self._keep(name, value)

    def _end(self, tag: str) -> None:
        text = "".join(self._texts.pop()).strip()
        if text:
            self._keep(self._property(), text)
        self._open.pop()

    def _text(self, text: str) -> None:
        if self._texts:
            self._texts[-1].append(text)

    def _keep(self, name: str, value: str) -> None:
        if name:
            self.found.append(Property(name, value.strip(), any(outer in _WITHIN_PARTS for outer in self._open)))

    def _property(self) -> str:
        """Return the name of the open property; RDF lists and descriptions do not count."""
        return next((name for name in reversed(self._open) if not name.startswith(_STRUCTURAL)), "")

    def _name(self, name: str) -> str:
        prefix, _, local = name.rpartition(":")
        prefix = self._prefixes.get(prefix, prefix)
        return f"{prefix}:{local}" if prefix else local

    def _refuse(self, *_: object) -> None:
        raise _StopParsingError  # XMP has no document type, and entities could be a bomb


def _loosely(packet: bytes) -> Iterator[Property]:
    code = "utf-16" if packet[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    text = packet[:_MAX_LOOSELY].decode(code, "replace")
    parts = [match.span() for match in _PART.finditer(text)][:200]
    for pattern in (_TAG, _ATTRIBUTE):
        for count, match in enumerate(pattern.finditer(text)):
            name, *values = match.groups()
            if not name.startswith(_STRUCTURAL):
                of_part = any(start <= match.start() < end for start, end in parts)
                yield Property(name, html.unescape(next(filter(None, values), "")).strip(), of_part)
            if count > _MAX_ELEMENTS:
                return
