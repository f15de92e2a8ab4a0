"""Read the metadata fields of a file in which something may be said of its origin, whatever the container."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from PIL import Image, IptcImagePlugin

from hidascan.image.provenance.xmp import properties_of

_EXIF_IFD, _MAKE, _MODEL = 0x8769, 0x010F, 0x0110
_SOFTWARE_TAGS = {
    0x0131: "Software", 0x000B: "ProcessingSoftware", 0x013C: "HostComputer", 0xA438: "ImageEditor",
    0xA43A: "RAWDevelopingSoftware", 0xA43B: "ImageEditingSoftware", 0xA43C: "MetadataEditingSoftware",
}  # fmt: skip
_CREATOR_TAGS = {0x013B: "Artist", 0x9C9D: "XPAuthor", 0xA437: "Photographer"}
_TEXT_TAGS = {
    0x010D: "DocumentName", 0x010E: "ImageDescription", 0x8298: "Copyright", 0x9286: "UserComment", 0x927C: "MakerNote",
    0x9C9B: "XPTitle", 0x9C9C: "XPComment", 0x9C9E: "XPKeywords", 0x9C9F: "XPSubject", 0xA436: "ImageTitle",
}  # fmt: skip
_MAKER_NOTE_BYTES = 200  # a generator's is a line of text; a camera's is a block of its own
_IPTC = {
    (2, 5): ("Title", "text"), (2, 25): ("Keywords", "text"), (2, 65): ("OriginatingProgram", "software"),
    (2, 80): ("By-line", "creator"), (2, 105): ("Headline", "text"), (2, 110): ("Credit", "text"),
    (2, 115): ("Source", "text"), (2, 120): ("Caption", "text"),
}  # fmt: skip
_XMP_ROLES = {
    "creatortool": "software", "software": "software", "softwareagent": "software", "producer": "software",
    "aisystemused": "system", "digitalsourcetype": "source_type", "digitalsourcefiletype": "source_type",
    "creator": "creator", "author": "creator", "make": "make", "model": "model",
}  # fmt: skip
_PNG_ROLES = {
    "software": "software",
    "generator": "software",
    "creator tool": "software",
    "author": "creator",
    "artist": "creator",
}
_RAW_PROFILE = "Raw profile type "
_GIF_XMP = b"XMP DataXMP"
_GIF_TRAILER = b"\x01\xff\xfe\xfd"


@dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
        source: "exif", "xmp", "iptc", "png" or "comment".
        name: Its name, such as "Software" or "xmp:CreatorTool".
        role: "software", written by a program of itself; "creator"; "system", IPTC's AI system; "source_type", IPTC's
            digital source type; "make" or "model" of a camera; or "text", anything that people write.
        text: What it holds, whole.
    """

    source: str
    name: str
    role: str
    text: str


def fields_of(image: Image.Image, data: bytes) -> Iterator[Field]:
    """Yield the fields of a loaded image and the bytes of its file."""
    yield from _of_exif(image)
    for packet in _xmp_packets(image, data):
        for name, value in properties_of(packet):
            yield Field("xmp", name, _XMP_ROLES.get(name.rpartition(":")[2].lower(), "text"), value)
    yield from _of_iptc(image)
    yield from _of_comments(image)
    for key, text in png_texts(image).items():
        yield Field("png", key, _PNG_ROLES.get(key.lower(), "text"), text)


def png_texts(image: Image.Image) -> dict[str, str]:
    """Return the text chunks of a PNG, before and behind its pixels, without those that hold other metadata."""
    texts: dict[Any, Any] = getattr(image, "text", {}) if image.format == "PNG" else {}
    return {
        str(key): str(text)
        for key, text in texts.items()
        if not str(key).startswith((_RAW_PROFILE, "XML:com.adobe.xmp"))
    }


def _of_exif(image: Image.Image) -> Iterator[Field]:
    try:
        exif = image.getexif()
        folders: list[Any] = [exif, exif.get_ifd(_EXIF_IFD)] if exif else []
    except Exception:  # broken EXIF says nothing
        return
    for tags, role in ((_SOFTWARE_TAGS, "software"), (_CREATOR_TAGS, "creator"), (_TEXT_TAGS, "text")):
        for tag, name in tags.items():
            for folder in folders:
                if text := _exif_text(tag, folder.get(tag)):
                    yield Field("exif", name, role, text)
    for tag, name, role in ((_MAKE, "Make", "make"), (_MODEL, "Model", "model")):
        for folder in folders[:1]:
            if text := _exif_text(tag, folder.get(tag)):
                yield Field("exif", name, role, text)


def _exif_text(tag: int, value: object) -> str:
    """Return a tag's text, whatever its type and encoding."""
    if isinstance(value, tuple) and all(isinstance(one, int) and 0 <= one < 256 for one in value):
        value = bytes(value)
    if isinstance(value, str):
        return value.strip("\0 ")
    if not isinstance(value, bytes):
        return ""
    if tag == 0x927C:
        return value.decode("latin-1").strip("\0 ") if len(value) <= _MAKER_NOTE_BYTES else ""
    if 0x9C9B <= tag <= 0x9C9F:
        return value.decode("utf-16-le", "replace").strip("\0 ")
    if value[:8] == b"UNICODE\0":
        return _utf_16(value[8:])
    if value[:8] == b"JIS\0\0\0\0\0":
        return value[8:].decode("iso2022_jp", "replace").strip("\0 ")
    body = value[8:] if value[:8] in (b"ASCII\0\0\0", b"\0" * 8) else value
    return body.decode("utf-8", "replace").strip("\0 ")


def _utf_16(data: bytes) -> str:
    """Decode UTF-16 of either byte order: programs disagree on which EXIF means. Some write UTF-8 all the same."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace").strip("\0 ")
    if b"\0" not in data[:64]:
        return data.decode("utf-8", "replace").strip("\0 ")
    both = [data.decode(order, "replace").strip("\0 ") for order in ("utf-16-be", "utf-16-le")]
    return max(both, key=lambda text: sum(c.isascii() for c in text[:2000]))


def _xmp_packets(image: Image.Image, data: bytes) -> Iterator[bytes]:
    info = image.info
    found = [info.get("xmp"), info.get("XML:com.adobe.xmp"), _raw_profile(info.get(f"{_RAW_PROFILE}xmp"))]
    if image.format == "GIF" and (start := data.find(_GIF_XMP)) >= 0:
        start += len(_GIF_XMP)
        end = data.find(_GIF_TRAILER, start)
        found.append(data[start : end if end > 0 else None])
    packets = [one.encode("utf-8", "replace") if isinstance(one, str) else one for one in found if one]
    yield from dict.fromkeys(bytes(one) for one in packets)


def _raw_profile(text: object) -> bytes:
    """Decode what ImageMagick writes: a name, a length, and the bytes in hexadecimal."""
    lines = str(text or "").strip().split("\n", 2)
    try:
        return bytes.fromhex(lines[2]) if len(lines) == 3 else b""
    except ValueError:
        return b""


def _of_iptc(image: Image.Image) -> Iterator[Field]:
    try:
        records = IptcImagePlugin.getiptcinfo(image) or {}
    except Exception:  # broken IPTC says nothing
        return
    for key, (name, role) in _IPTC.items():
        value: Any = records.get(key, [])
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bytes):
                yield Field("iptc", name, role, one.decode("utf-8", "replace").strip("\0 "))


def _of_comments(image: Image.Image) -> Iterator[Field]:
    segments: Any = getattr(image, "applist", [])
    found = [body for kind, body in segments if kind == "COM"] or [image.info.get("comment")]
    for one in dict.fromkeys(found):
        if isinstance(one, (bytes, str)) and one:
            text = one if isinstance(one, str) else one.decode("utf-8", "replace")
            yield Field("comment", f"{image.format} comment", "text", text.strip("\0 "))


def shown(text: str, longest: int = 200) -> str:
    """Return the printable beginning of a text, on one line."""
    line = "".join(c if c.isprintable() else " " for c in text[: 4 * longest])
    return re.sub(" +", " ", line).strip()[:longest]
