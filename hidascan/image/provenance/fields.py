"""Read the metadata fields that may state the origin of a file, from any container."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from PIL import ExifTags, Image
from PIL.ExifTags import Base as Tag

from hidascan.image.provenance.samsung import trailer_blocks
from hidascan.image.provenance.tags import IPTC_RESOURCE, PHOTOSHOP, exif_texts, iptc_records, text_of_tag
from hidascan.image.provenance.texts import RAW_PROFILE, gif_texts, png_texts, raw_profile
from hidascan.image.provenance.xmp import properties_of

_MAX_PER_KIND, _MAX_CHARACTERS = 200, 8_000_000
PNG_TEXT = "PNG text "
_EXIF: dict[int, str] = {
    Tag.ProcessingSoftware: "software", Tag.Software: "software", Tag.Make: "make", Tag.Model: "model", Tag.LensModel: "lens",
    Tag.Artist: "creator", Tag.XPAuthor: "creator", Tag.UserComment: "comment", Tag.XPComment: "comment",
    Tag.DocumentName: "caption", Tag.ImageDescription: "caption", Tag.XPTitle: "caption", Tag.XPSubject: "caption",
    Tag.XPKeywords: "keywords", Tag.Copyright: "text",
}  # fmt: skip
_EXIF_3 = {  # tags without a name in Pillow
    0xA436: ("ImageTitle", "caption"), 0xA437: ("Photographer", "creator"), 0xA438: ("ImageEditor", "creator"),
    0xA43A: ("RAWDevelopingSoftware", "software"), 0xA43B: ("ImageEditingSoftware", "software"),
    0xA43C: ("MetadataEditingSoftware", "text"),
}  # fmt: skip
_TAGS = {ExifTags.TAGS[tag].lower(): tag for tag in _EXIF} | {name.lower(): tag for tag, (name, _) in _EXIF_3.items()}
_NUMBERS = re.compile(r"\d{1,3}(?:, ?\d{1,3})*")  # bytes as ImageMagick lists them
_IPTC = {
    5: ("Title", "caption"), 25: ("Keywords", "topic"), 40: ("Instructions", "text"), 65: ("Program", "software"),
    80: ("By-line", "creator"), 85: ("By-line Title", "comment"), 122: ("Writer", "text"), 105: ("Headline", "topic"),
    110: ("Credit", "credit"), 115: ("Source", "credit"), 116: ("Copyright", "text"), 120: ("Caption", "caption"),
}  # fmt: skip
_XMP = {
    "tiff:Software": "software", "exif:Software": "software", "stEvt:softwareAgent": "software",
    "photoshop:Credit": "credit", "photoshop:Source": "credit", "dc:creator": "creator", "exif:UserComment": "comment",
    "dc:title": "caption", "dc:description": "caption", "dc:subject": "topic", "dc:rights": "text", "photoshop:Headline": "topic",
    "photoshop:Instructions": "text", "tiff:ImageDescription": "caption", "tiff:Artist": "creator", "tiff:Make": "make",
    "tiff:Model": "model", "dcterms:provenance": "manifest address",
    "dc:contributor": "creator", "dc:source": "creator", "photoshop:AuthorsPosition": "comment",
    "plus:ImageCreatorName": "creator", "photoshop:CaptionWriter": "text", "xmpRights:UsageTerms": "text",
    "photoshop:History": "history", "exifEX:LensModel": "lens", "aux:Lens": "lens",
}  # fmt: skip
# These have the same meaning in any namespace.
_XMP_ANYWHERE = {
    "CreatorTool": "software", "DigitalSourceType": "source type", "DigitalSourcefileType": "source type",
    "DigitalSourceFileType": "source type", "AISystemUsed": "ai system", "AISystemVersionUsed": "ai version",
    "AIPromptInformation": "ai prompt", "AIPromptWriterName": "ai prompt writer",
    "ContainsAiGeneratedContent": "ai content of Canva",
}  # fmt: skip
_PNG = {
    "software": "software", "creator tool": "software", "creatortool": "software", "source": "credit", "author": "creator",
    "artist": "creator", "creator": "creator", "comment": "comment", "description": "caption", "title": "caption",
    "copyright": "text", "disclaimer": "text", "warning": "text", "keywords": "keywords", "credit": "credit",
    "generator": "software",
}  # fmt: skip
# Keys of PNG text by their letters alone, as programs spell them in many ways: "digital_source_type".
_PNG_LETTERS = {
    "digitalsourcetype": "source type", "aisystemused": "ai system", "aisystemversionused": "ai version",
    "aipromptinformation": "ai prompt", "disclosure": "caption",
}  # fmt: skip
_XMP_KEY, _XMP_KEYS = "XML:com.adobe.xmp", ("XML:com.adobe.xmp", "XMP", "xmp")
_LABEL = "TC260:"  # prefix of China's label in XMP
_XMP_SEGMENT, _XMP_EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_UNREAD_XMP = ("WEBP", "HEIF", "AVIF")
_EXTENSION_HEAD = 40  # GUID, full length, offset
_MAX_EXTENDED = 4_000_000
_EDITS_BY_SAMSUNG = (b"PhotoEditor_Re_Edit_Data", b"PEg_Info")  # names of blocks
_BY_GALAXY_AI = re.compile(rb'"genAIType"\s{0,9}:\s{0,9}"?[1-9]')
_MAX_KEY = 80  # characters
_MARKS_OF_STRUCTURES = ("{", "Steps:", "Job ID:", "OpenAI--", '" -s')


@dataclass(frozen=True)
class Field:
    """One field.

    Attributes:
        source: "exif", "xmp", "iptc", "png" or "comment".
        name: Display name, such as "EXIF Software" or "XMP dc:creator".
        kind: "software", "credit", "creator", "comment" or "text" as in the catalogue; "caption" (also titles) and "topic"
            (keywords, headlines), which may be about what the picture shows; "make" or "model" of a camera; "lens", which
            may name one; "source type", "ai system" and similar ones of IPTC; "ai content of Canva", Yes or No;
            "history", Photoshop's log of steps; "manifest address", of C2PA; "structure", in which only a structure counts.
        text: Full content.
        of_part: True if the field describes an ingredient, a region, an artwork or an editing step, not the whole picture.
    """

    source: str
    name: str
    kind: str
    text: str
    of_part: bool = False


def fields_of(image: Image.Image, data: bytes) -> list[Field]:
    """Return the fields of a loaded image and the bytes of its file; skip broken ones."""
    file, collector = _File(image, data), _FieldCollector()
    for read in _READERS:
        try:
            for field in read(file):
                collector.add(field)
        except Exception:  # hostile metadata must not prevent a scan
            continue
    return list(collector.fields)


class _File:
    """A loaded image and the bytes of its file."""

    def __init__(self, image: Image.Image, data: bytes):
        self.image, self.data = image, data

    @cached_property
    def png_texts(self) -> list[tuple[str, bytes]]:
        return list(png_texts(self.data)) if self.image.format == "PNG" else []

    @cached_property
    def profiles(self) -> list[bytes]:
        return [raw_profile(text) for key, text in self.png_texts if key.startswith(RAW_PROFILE)]

    @cached_property
    def gif_texts(self) -> list[tuple[str, bytes]]:
        return list(gif_texts(self.data)) if self.image.format == "GIF" else []

    @cached_property
    def unread_xmp(self) -> list[bytes]:
        """Return the first packet in a format of which Pillow misses some."""
        start = self.data.find(b"<x:xmpmeta") if self.image.format in _UNREAD_XMP else -1
        return [self.data[start : start + _MAX_EXTENDED].partition(b"</x:xmpmeta>")[0]] if start >= 0 else []

    def segments(self, kind: str) -> list[bytes]:
        """Return the contents of the segments of a JPEG, such as APP1 or COM."""
        return [body for name, body in getattr(self.image, "applist", ()) if name == kind]


class _FieldCollector:
    """Collects fields without duplicates, up to limits on number and size."""

    def __init__(self) -> None:
        self.fields: dict[Field, None] = {}
        self._counts: Counter[str] = Counter()
        self._left = _MAX_CHARACTERS

    def add(self, field: Field) -> None:
        structure = field.kind == "structure"
        if structure and field.source != "png" and not any(mark in field.text for mark in _MARKS_OF_STRUCTURES):
            return
        for one in _split(field):
            text = one.text.strip("\0 \r\n\t")
            if text and self._counts[one.kind] < _MAX_PER_KIND and len(text) <= self._left:
                self._counts[one.kind] += not structure  # structures do not count: their PNG keys are needed, and few
                self._left -= len(text)
                self.fields[one] = None


def _split(field: Field) -> list[Field]:
    if field.kind != "keywords":
        return [field]
    words = re.split(r"[;,]", field.text[:10_000])
    return [Field(field.source, field.name, "topic", word.strip()) for word in words if word.strip()]


def _exif_fields(file: _File) -> Iterator[Field]:
    for tag, text in exif_texts(file.image, file.data):
        name, kind = _name_and_kind(tag)
        if kind != "structure" or "\0" not in text:  # with NUL: a binary block
            yield Field("exif", f"EXIF {name}", kind, text)


def _name_and_kind(tag: int) -> tuple[str, str]:
    """Return the name of an EXIF tag and its kind of field."""
    usual = ExifTags.TAGS.get(tag, f"tag {tag:#06x}"), _EXIF.get(tag, "structure")
    return _EXIF_3.get(tag, usual)


def _xmp_fields(file: _File) -> Iterator[Field]:
    for packet in dict.fromkeys(_packets(file)):
        properties = [*properties_of(packet)]
        for name, value, of_part in properties:
            yield Field("xmp", f"XMP {name}", kind_of_property(name), value, of_part)
        stated = [(name, value) for name, value, of_part in properties if name.startswith(_LABEL) and not of_part]
        label = {name.removeprefix(_LABEL): value for name, value in stated}
        if "Label" in label:  # a structure of properties instead of one with JSON
            yield Field("xmp", f"XMP {_LABEL}AIGC", "structure", json.dumps({"AIGC": label}))


def kind_of_property(name: str) -> str:
    """Return the kind of field of an XMP property, such as "credit" for "photoshop:Credit"."""
    return _XMP.get(name) or _XMP_ANYWHERE.get(name.rpartition(":")[2], "structure")


def _packets(file: _File) -> Iterator[bytes]:
    segments = file.segments("APP1")
    yield from (body[len(_XMP_SEGMENT) :] for body in segments if body.startswith(_XMP_SEGMENT))
    yield from _extended(body[len(_XMP_EXTENSION) :] for body in segments if body.startswith(_XMP_EXTENSION))
    packets = [] if segments or file.png_texts else [file.image.info.get("xmp")]
    packets += [text for key, text in file.png_texts if key in _XMP_KEYS]
    packets += [one.removeprefix(_XMP_SEGMENT) for one in file.profiles if b"xmpmeta" in one or b"rdf:RDF" in one]
    packets += [text for kind, text in file.gif_texts if kind == "xmp"]
    packets += [] if any(packets) else file.unread_xmp
    yield from (one.encode("utf-8", "replace") if isinstance(one, str) else bytes(one) for one in packets if one)


def _extended(segments: Iterator[bytes]) -> Iterator[bytes]:
    """Yield packets that span several segments, joined."""
    parts: dict[bytes, dict[int, bytes]] = {}
    for segment in segments:
        offset = int.from_bytes(segment[36:_EXTENSION_HEAD], "big")
        if offset < _MAX_EXTENDED:  # longer ones hold a depth map or a second picture
            parts.setdefault(segment[:32], {})[offset] = segment[_EXTENSION_HEAD:]
    yield from (b"".join(part for _, part in sorted(pieces.items())) for pieces in parts.values())


def _iptc_fields(file: _File) -> Iterator[Field]:
    for block in _iptc_blocks(file):
        for dataset, value in iptc_records(block):
            if dataset in _IPTC:
                name, kind = _IPTC[dataset]
                yield Field("iptc", f"IPTC {name}", kind, _decoded(value))


def _iptc_blocks(file: _File) -> Iterator[bytes]:
    resources: Any = file.image.info.get("photoshop")
    if isinstance(resources, dict) and isinstance(resources.get(IPTC_RESOURCE), bytes):
        yield resources[IPTC_RESOURCE]
    tags: Any = getattr(getattr(file.image, "tag_v2", None), "_tagdata", {})  # undecoded: of numbers, only one is kept
    for block in (tags.get(Tag.IPTCNAA), tags.get(Tag.ImageResources)):
        if isinstance(block, bytes):
            yield block
    resources = [body for body in file.segments("APP13") if body.startswith(PHOTOSHOP)]
    if len(resources) > 1:  # one block may span several segments
        yield b"".join(body.removeprefix(PHOTOSHOP) for body in resources)
    yield from (one for one in file.profiles if one.startswith((b"8BIM", b"Photoshop 3.0\0", b"\x1c")))


def _png_fields(file: _File) -> Iterator[Field]:
    for key, text in file.png_texts:
        if key != _XMP_KEY and not key.startswith(RAW_PROFILE):
            kind = _PNG.get(key.lower()) or _PNG_LETTERS.get(letters_of(key), "structure")
            field = Field("png", f"{PNG_TEXT}{key}", kind, _decoded(text))
            yield field if field.kind != "structure" else _imagemagick_field(key, field.text) or field
    if _is_by_blender(dict(file.png_texts)):
        yield Field("png", f"{PNG_TEXT}RenderTime", "software", "Blender")


def letters_of(key: str) -> str:
    """Return the letters of a key in lower case: "aigenerated" for "AI-Generated"."""
    return re.sub(r"[\W\d_]", "", key[:_MAX_KEY]).lower()


def _imagemagick_field(key: str, text: str) -> Field | None:
    """Return the EXIF tag or the XMP property that ImageMagick stored as PNG text, such as "exif:Make"; None for others."""
    prefix, _, name = key.partition(":")
    if prefix in ("exif", "tiff") and (tag := _TAGS.get(name.lower())):
        numbers = [int(one) for one in text.split(",")] if _NUMBERS.fullmatch(text) else None
        usual, kind = _name_and_kind(tag)
        return Field("exif", f"EXIF {usual}", kind, text_of_tag(tag, numbers or text, little=True))
    full = f"{'xmp' if prefix == 'xap' else prefix}:{name}"
    kind = kind_of_property(full) if name else "structure"
    return None if kind == "structure" else Field("xmp", f"XMP {full}", kind, text)


def _is_by_blender(texts: dict[str, bytes]) -> bool:
    is_of_cycles = any(key.startswith("cycles.") for key in texts)
    return "RenderTime" in texts and (is_of_cycles or texts.get("File", b"").endswith(b".blend"))


def _comment_fields(file: _File) -> Iterator[Field]:
    for name, body in getattr(file.image, "applist", ()):
        if name.startswith("APP") and body.startswith((b"AIGC{", b'{"AIGC"')):  # China's label without a container
            yield Field("comment", f"JPEG {name}", "structure", _decoded(body))
    for body in file.segments("COM"):
        yield Field("comment", "JPEG comment", "comment", _decoded(body))
    for kind, text in file.gif_texts:
        if kind == "comment":
            yield Field("comment", "GIF comment", "comment", _decoded(text))


def _samsung_fields(file: _File) -> Iterator[Field]:
    """Yield the mark of an edit by Galaxy AI in Samsung's trailer."""
    for name, content in trailer_blocks(file.data):
        if name in _EDITS_BY_SAMSUNG and _BY_GALAXY_AI.search(content):
            yield Field("comment", "Samsung trailer, genAIType", "software", "Galaxy AI")


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


_READERS: tuple[Callable[[_File], Iterator[Field]], ...] = (
    _exif_fields,
    _xmp_fields,
    _iptc_fields,
    _png_fields,
    _comment_fields,
    _samsung_fields,
)
