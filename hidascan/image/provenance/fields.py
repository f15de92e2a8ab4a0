"""Read the metadata fields of a file in which something may stand of its origin, whatever the container."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image

from hidascan.image.provenance.exif import exif_texts
from hidascan.image.provenance.gif_blocks import gif_texts
from hidascan.image.provenance.iptc import iptc_records
from hidascan.image.provenance.png_text import png_texts
from hidascan.image.provenance.xmp import properties_of

_MOST_FIELDS = 3000
_EXIF = {
    0x000B: ("ProcessingSoftware", "software"), 0x0131: ("Software", "software"), 0xA43A: ("RAWDevelopingSoftware", "software"),
    0xA43B: ("ImageEditingSoftware", "software"), 0xA43C: ("MetadataEditingSoftware", "software"),
    0x010F: ("Make", "make"), 0x0110: ("Model", "model"), 0x013B: ("Artist", "creator"), 0x9C9D: ("XPAuthor", "creator"),
    0xA437: ("Photographer", "creator"), 0xA438: ("ImageEditor", "creator"), 0x9286: ("UserComment", "comment"),
    0x9C9C: ("XPComment", "comment"), 0x010D: ("DocumentName", "text"), 0x010E: ("ImageDescription", "text"),
    0x8298: ("Copyright", "text"), 0x9C9B: ("XPTitle", "text"), 0x9C9E: ("XPKeywords", "keywords"), 0x9C9F: ("XPSubject", "text"),
    0xA436: ("ImageTitle", "text"), 0x927C: ("MakerNote", "structure"),
}  # fmt: skip
_IPTC = {
    5: ("Title", "text"), 25: ("Keywords", "text"), 40: ("Instructions", "text"), 65: ("Program", "software"),
    80: ("By-line", "creator"), 105: ("Headline", "text"), 110: ("Credit", "credit"), 115: ("Source", "credit"),
    116: ("Copyright", "text"), 120: ("Caption", "text"),
}  # fmt: skip
_XMP = {
    "tiff:Software": "software", "exif:Software": "software", "stEvt:softwareAgent": "software",
    "photoshop:Credit": "credit", "photoshop:Source": "credit", "dc:creator": "creator", "exif:UserComment": "comment",
    "dc:title": "text", "dc:description": "text", "dc:subject": "text", "dc:rights": "text", "photoshop:Headline": "text",
    "photoshop:Instructions": "text", "tiff:ImageDescription": "text", "tiff:Artist": "creator", "tiff:Make": "make",
    "tiff:Model": "model",
}  # fmt: skip
# These mean the same in whatever namespace they stand.
_XMP_ANYWHERE = {
    "CreatorTool": "software", "DigitalSourceType": "source type", "DigitalSourcefileType": "source type",
    "DigitalSourceFileType": "source type", "AISystemUsed": "ai system", "AISystemVersionUsed": "ai version",
    "AIPromptInformation": "ai prompt", "AIPromptWriterName": "ai prompt writer",
}  # fmt: skip
_PNG = {
    "software": "software", "creator tool": "software", "creatortool": "software", "source": "credit", "author": "creator",
    "artist": "creator", "creator": "creator", "comment": "comment", "description": "text", "title": "text",
    "copyright": "text", "disclaimer": "text", "warning": "text", "keywords": "keywords", "credit": "credit",
}  # fmt: skip
_XMP_KEY, _RAW_PROFILE = "XML:com.adobe.xmp", "Raw profile type "
_XMP_SEGMENT, _XMP_EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_EXTENSION_HEAD = 40  # GUID, full length, offset
_MOST_EXTENDED = 4_000_000
_IPTC_TAG, _PHOTOSHOP_TAG, _IPTC_RESOURCE = 33723, 34377, 0x0404


@dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
        source: "exif", "xmp", "iptc", "png" or "comment".
        name: Name for people, such as "EXIF Software" or "XMP dc:creator".
        kind: "software", "credit", "creator", "comment" or "text" as in the catalogue; "make" or "model" of a camera;
            "source type", "ai system" and its like of IPTC; "structure", in which only a structure counts.
        text: Content, whole.
        of_part: Whether it speaks of a file that went into this one.
    """

    source: str
    name: str
    kind: str
    text: str
    of_part: bool = False


def fields_of(image: Image.Image, data: bytes) -> list[Field]:
    """Return the fields of a loaded image and the bytes of its file; what is broken is passed over."""
    fields: list[Field] = []
    for read in _READERS:
        try:
            for field in read(image, data):
                if len(fields) < _MOST_FIELDS and field.text.strip("\0 \r\n\t"):
                    fields += _split(field)
        except Exception:  # hostile metadata must not cost us sound pixels
            continue
    return fields


def _split(field: Field) -> list[Field]:
    if field.kind != "keywords":
        return [field]
    words = re.split(r"[;,]", field.text[:10_000])
    return [Field(field.source, field.name, "text", word.strip()) for word in words if word.strip()]


def _of_exif(image: Image.Image, data: bytes) -> Iterator[Field]:
    for tag, text in exif_texts(image):
        if tag in _EXIF:
            name, kind = _EXIF[tag]
            yield Field("exif", f"EXIF {name}", kind, text)


def _of_xmp(image: Image.Image, data: bytes) -> Iterator[Field]:
    for packet in dict.fromkeys(_packets(image, data)):
        for name, value, of_part in properties_of(packet):
            kind = _XMP.get(name) or _XMP_ANYWHERE.get(name.rpartition(":")[2], "structure")
            yield Field("xmp", f"XMP {name}", kind, value, of_part)


def _packets(image: Image.Image, data: bytes) -> Iterator[bytes]:
    segments = [body for kind, body in getattr(image, "applist", ()) if kind == "APP1"]
    yield from (body[len(_XMP_SEGMENT) :] for body in segments if body.startswith(_XMP_SEGMENT))
    yield from _extended(body[len(_XMP_EXTENSION) :] for body in segments if body.startswith(_XMP_EXTENSION))
    found = [image.info.get("xmp")] if not segments else []
    if image.format == "PNG":
        texts = [*png_texts(data)]
        found = [text for key, text in texts if key == _XMP_KEY]
        profiles = [_raw_profile(text) for key, text in texts if key.startswith(_RAW_PROFILE)]
        found += [one.removeprefix(_XMP_SEGMENT) for one in profiles if b"xmpmeta" in one or b"rdf:RDF" in one]
    if image.format == "GIF":
        found = [text for kind, text in gif_texts(data) if kind == "xmp"]
    yield from (one.encode("utf-8", "replace") if isinstance(one, str) else bytes(one) for one in found if one)


def _extended(segments: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the packets that were too long for one segment, put together."""
    parts: dict[bytes, dict[int, bytes]] = {}
    for segment in segments:
        offset = int.from_bytes(segment[36:_EXTENSION_HEAD], "big")
        if offset < _MOST_EXTENDED:  # what is longer holds a depth map or a second picture
            parts.setdefault(segment[:32], {})[offset] = segment[_EXTENSION_HEAD:]
    yield from (b"".join(part for _, part in sorted(pieces.items())) for pieces in parts.values())


def _of_iptc(image: Image.Image, data: bytes) -> Iterator[Field]:
    for block in _iptc_blocks(image, data):
        for dataset, value in iptc_records(block):
            if dataset in _IPTC:
                name, kind = _IPTC[dataset]
                yield Field("iptc", f"IPTC {name}", kind, _decoded(value))


def _iptc_blocks(image: Image.Image, data: bytes) -> Iterator[bytes]:
    resources: Any = image.info.get("photoshop")
    if isinstance(resources, dict) and isinstance(resources.get(_IPTC_RESOURCE), bytes):
        yield resources[_IPTC_RESOURCE]
    tags: Any = getattr(image, "tag_v2", {})
    for block in (tags.get(_IPTC_TAG), tags.get(_PHOTOSHOP_TAG)):
        if isinstance(block, bytes):
            yield block
    if image.format == "PNG":
        profiles = [(key, text) for key, text in png_texts(data) if key.startswith(_RAW_PROFILE)]
        yield from (_raw_profile(text) for key, text in profiles if key.endswith(("iptc", "8bim")))


def _raw_profile(text: bytes) -> bytes:
    """Decode what ImageMagick writes: a name, a length, and bytes in hexadecimal."""
    lines = text.strip().split(b"\n", 2)
    try:
        return bytes.fromhex(lines[2].decode("ascii")) if len(lines) == 3 else b""
    except ValueError:
        return b""


def _of_png(image: Image.Image, data: bytes) -> Iterator[Field]:
    for key, text in png_texts(data):
        if key != _XMP_KEY and not key.startswith(_RAW_PROFILE):
            yield Field("png", f"PNG text {key}", _PNG.get(key.lower(), "structure"), _decoded(text))


def _of_comments(image: Image.Image, data: bytes) -> Iterator[Field]:
    found = [body for kind, body in getattr(image, "applist", ()) if kind == "COM"]
    if image.format == "GIF":
        found = [text for kind, text in gif_texts(data) if kind == "comment"]
    for body in dict.fromkeys(found):
        yield Field("comment", f"{'GIF' if image.format == 'GIF' else 'JPEG'} comment", "comment", _decoded(body))


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


_READERS: tuple[Callable[[Image.Image, bytes], Iterator[Field]], ...] = (
    _of_exif,
    _of_xmp,
    _of_iptc,
    _of_png,
    _of_comments,
)
