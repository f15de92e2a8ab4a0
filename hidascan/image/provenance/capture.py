"""Read what EXIF states about the taking of a picture: all of it unsigned, so easily changed or removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from PIL import Image

from hidascan.printable import printable

_MAKE, _MODEL, _SOFTWARE, _TAKEN, _OFFSET = 0x010F, 0x0110, 0x0131, 0x9003, 0x9011
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_POSITION = {2, 4}  # latitude and longitude
_LENGTH = 60  # characters


@dataclass(frozen=True)
class Capture:
    """Statements of EXIF on the taking of a picture.

    Attributes:
        camera: Make and model of the camera; "" if not stated.
        software: Software that wrote the file; "" if not stated.
        taken: Time of the exposure, as stated, such as "2024:05:01 12:00:00+02:00"; "" if not stated.
        gps: Whether the file holds a position; the position itself is not read.
    """

    camera: str = ""
    software: str = ""
    taken: str = ""
    gps: bool = False


def capture_of(image: Image.Image) -> Capture | None:
    """Return what the EXIF of a loaded image states about its taking; None if nothing."""
    try:
        exif = image.getexif()
        inner = exif.get_ifd(_EXIF_IFD) if _EXIF_IFD in exif else {}
        position = exif.get_ifd(_GPS_IFD) if _GPS_IFD in exif else {}
        make, model = _text(exif.get(_MAKE)), _text(exif.get(_MODEL))
        camera = model if model.lower().startswith(make.lower()) else f"{make} {model}".strip()
        taken = _text(inner.get(_TAKEN))
        capture = Capture(
            camera,
            _text(exif.get(_SOFTWARE)),
            taken and taken + _text(inner.get(_OFFSET)),
            position.keys() >= _POSITION,
        )
    except Exception:  # Pillow raises almost any exception on broken EXIF
        return None
    return None if capture == Capture() else capture


def _text(value: Any) -> str:
    return printable(value.strip("\0 \r\n\t"))[:_LENGTH] if isinstance(value, str) else ""
