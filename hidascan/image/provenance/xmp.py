"""Read XMP packets: which properties there are, and what they hold."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

_MOST_BYTES, _MOST = 4_000_000, 2000
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_PREFIXES = {
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#": "stEvt",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/exif/1.0/": "exif",
}
_TAG = re.compile(rb"<(\w[\w\-]*):(\w+)(?:\s[^<>]*)?>([^<]{1,4000})</")
_ATTRIBUTE = re.compile(rb"\s(\w[\w\-]*):(\w+)\s*=\s*(?:\"([^\"]{1,4000})\"|'([^']{1,4000})')")


def properties_of(packet: bytes) -> Iterator[tuple[str, str]]:
    """Yield (name, value) for each property of a packet, such as ("xmp:CreatorTool", "GIMP 2.10").

    Of a packet that is no sound XML, whatever looks like a property is taken.
    """
    packet = packet[:_MOST_BYTES].strip(b"\0 \r\n\t")
    start, end = packet.find(b"<x:xmpmeta"), packet.rfind(b"</x:xmpmeta>")
    body = packet[start : end + len(b"</x:xmpmeta>")] if 0 <= start < end else packet
    try:
        found = _within(fromstring(body, forbid_dtd=True), "")
    except (ParseError, DefusedXmlException, ValueError, LookupError, RecursionError):
        found = _loosely(packet)
    for number, (name, value) in enumerate(found):
        if number >= _MOST:
            return
        if value.strip():
            yield name, value.strip()


def _within(root: Element, name: str) -> Iterator[tuple[str, str]]:
    """Walk a tree, without recursion: a hostile one may be deep."""
    waiting: list[tuple[Any, str]] = [(root, name)]
    while waiting:
        element, outer = waiting.pop()
        own = outer if str(element.tag).startswith((_RDF, "{adobe:ns:meta/}")) else _called(element.tag)
        for key, value in element.attrib.items():
            if key == f"{_RDF}resource":
                yield own, value
            elif not key.startswith((_RDF, "{adobe:ns:meta/}", "{http://www.w3.org/XML")):
                yield _called(key), value
        if element.text and own:
            yield own, element.text
        waiting += [(child, own) for child in reversed(element)]


def _called(tag: object) -> str:
    space, _, local = str(tag).rpartition("}")
    space = space.lstrip("{")
    prefix = _PREFIXES.get(space) or re.split(r"[/#:]", space.rstrip("/#"))[-1]
    return f"{prefix}:{local}" if prefix else local


def _loosely(packet: bytes) -> Iterator[tuple[str, str]]:
    for pattern in (_TAG, _ATTRIBUTE):
        for match in pattern.finditer(packet):
            prefix, local, *values = match.groups()
            if prefix not in (b"rdf", b"xmlns", b"x"):
                value = next(value for value in values if value is not None)
                yield f"{prefix.decode()}:{local.decode()}", html.unescape(value.decode("utf-8", "replace"))
