"""Recognise RAW photos and previews in TIFF format, and describe rare TIFFs, by the tags of their directories."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

from PIL.ExifTags import Base as Tag
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from hidascan.image.formats import EXPORT

RAW = "RAW is not supported; scan an exported JPEG or TIFF"
_SENSOR_VALUES = {32803, 34892}  # PhotometricInterpretation: colour filter array, linear raw
_SENSOR_PACKINGS = {32767, 32769, 32770, 34713, 65000, 65535}  # Compression: Sony, Epson, Samsung, Nikon, Kodak, Pentax
_PHASE_ONE = re.compile(rb"IIII.waR|MMMMRaw.", re.DOTALL)  # behind the header of a TIFF whose directories are previews
_MAX_SUB_IFDS = 16  # and directories behind the first one
_MAKERS = {
    "nikon": "Nikon NEF",
    "sony": "Sony ARW",
    "pentax": "Pentax PEF",
    "ricoh": "Pentax PEF",
    "samsung": "Samsung SRW",
    "hasselblad": "Hasselblad 3FR",
    "phase one": "Phase One IIQ",
    "canon": "Canon",
    "eastman kodak": "Kodak",
    "kodak": "Kodak",
    "seiko epson": "Epson ERF",
    "leaf": "Leaf MOS",
    "mamiya": "Mamiya MEF",
}


def raw_photo(data: bytes) -> str:
    """Return the reason why a RAW photo in TIFF format is not read; "" for any other file.

    A RAW photo is recognised by its TIFF tags for sensor values, never by its suffix: a TIFF decoder would return its
    preview of 160 px as the picture.
    """
    if data[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return ""
    if data[:4] == b"II*\0" and data[8:10] == b"CR":
        return _refusal("Canon CR2")
    if _PHASE_ONE.fullmatch(data, 8, 16):
        return _refusal("Phase One IIQ")
    try:
        first, others = _directories(data)
    except Exception:  # an unreadable directory, which the decoder will report
        return ""
    if Tag.DNGVersion in first and (_is_reduced(first) or Tag.SubIFDs in first or _is_of_a_sensor(first)):  # no export
        return _refusal("Adobe DNG")
    make = str(first.get(Tag.Make, "")).lower()
    maker = next((name for start, name in _MAKERS.items() if make.startswith(start)), "")
    only_preview = maker and all(_is_reduced(tags) for tags in (first, *others))
    if only_preview or any(_is_of_a_sensor(tags) for tags in (first, *others)):
        return _refusal(maker or "unknown maker")
    larger = any(tags.get(Tag.ImageWidth, 0) >= 2 * first.get(Tag.ImageWidth, 1) for tags in others)
    if larger and (_is_reduced(first) or Tag.SubIFDs in first):
        return f"the first picture of this TIFF is only a preview of another one, which is not read: {EXPORT}"
    return ""


def _refusal(maker: str) -> str:
    return f"this is {raw_name(maker)}: {RAW}"


def raw_name(maker: str) -> str:
    """Return the name of a RAW photo of a maker, with its article."""
    return f"a RAW photo ({maker})"


def tiff_layout(data: bytes) -> str:
    """Return the channels and compression of a TIFF; "" if its directory lacks any of the tags that a picture needs.

    Raises:
        EOFError: If the directory is truncated.
    """
    with warnings.catch_warnings(record=True) as seen:  # by Pillow: an entry or its values are not in the file
        warnings.simplefilter("always")
        tags = _directories(data)[0]
    depth, packing = max(tags.get(Tag.BitsPerSample, (1,))), tags.get(Tag.Compression, 1)
    layout = f"{tags.get(Tag.SamplesPerPixel, 1)} channels of {depth} bits, photometric {tags.get(Tag.PhotometricInterpretation)}"
    is_complete = {Tag.ImageWidth, Tag.ImageLength, Tag.BitsPerSample} <= set(tags) and (
        Tag.StripOffsets in tags or Tag.TileOffsets in tags
    )
    if seen and not is_complete:
        raise EOFError
    return f"{layout} and compression {packing}" if is_complete else ""


def _is_reduced(tags: Any) -> bool:
    kind = tags.get(Tag.NewSubfileType, 0)
    return isinstance(kind, int) and bool(kind & 1)  # bit 0: a reduced version of another picture


def _directories(data: bytes) -> tuple[Any, list[Any]]:
    """Return the tags of the first directory of a TIFF, and those of the next ones and of subdirectories."""
    header = data[: 16 if data[2:3] == b"+" or data[3:4] == b"+" else 8]
    file = io.BytesIO(data)

    def directory(offset: int) -> Any:
        tags = ImageFileDirectory_v2(header)
        file.seek(offset)
        tags.load(file)
        return tags

    first = directory(ImageFileDirectory_v2(header).next)
    offsets = first.get(Tag.SubIFDs, ())
    others = [directory(int(one)) for one in (offsets if isinstance(offsets, tuple) else (offsets,))[:_MAX_SUB_IFDS]]
    following = first
    while following.next and len(others) < _MAX_SUB_IFDS:
        following = directory(following.next)
        others.append(following)
    return first, others


def _is_of_a_sensor(tags: Any) -> bool:
    return tags.get(Tag.PhotometricInterpretation) in _SENSOR_VALUES or tags.get(Tag.Compression) in _SENSOR_PACKINGS
