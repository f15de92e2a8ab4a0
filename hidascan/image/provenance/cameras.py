"""Find the camera that a file names, by make and model in EXIF or XMP or else by a lens, or a generator in its place."""

from __future__ import annotations

import re
from collections.abc import Iterator

from hidascan.image.provenance.catalogue import tool_in
from hidascan.image.provenance.claim import MAX_NAME, Claim, shown
from hidascan.image.provenance.field_claims import claim_of, claim_of_tool, searchable
from hidascan.image.provenance.fields import Field
from hidascan.image.provenance.tags import camera_name

# Values of EXIF Make and Model that name no camera.
_NO_CAMERA = re.compile(
    r"[\W_0]*|unknown|none|null|n/?a|not available|undefined|default string|camera|make|model", re.IGNORECASE
)
# The name of a lens with that of its phone and nothing else; a number or a side of the phone tells it from "Pixel art".
_CAMERA_OF_LENS = re.compile(
    r"(?=.*(?:\d|\b(?:front|back|rear)\b.*\bcamera\b))(?:(?:apple|samsung|google)\s+)?(?:iphone|ipad|ipod|galaxy|pixel)"
    r"(?:[\s(),/\-]+(?:pro|max|plus|mini|air|se|x[sr]?|ultra|fe|xl|fold|flip|note|tab|z|a|touch|nx|5g|front|back|rear|dual|triple"
    r"|quad|ultra-?wide|wide|angle|tele(?:photo)?|macro|truedepth|main|camera|lens|inch|gen(?:eration)?|[as]?\d{1,3}[acefs]?(?:\+)?"
    r"|\d+(?:st|nd|rd|th)|\d+(?:[.,]\d+)?(?:-inch|\s?mm)|f/?\d+(?:[.,]\d+)?|\d{2}-\d{2,3}mm)(?![\w.]))*\)?",
    re.IGNORECASE,
)


def cameras_of(fields: list[Field]) -> Iterator[Claim]:
    """Yield the camera named in EXIF or else XMP, or else that of a lens; or the generator named in place of a camera."""
    stated = False  # whether there are a make or a model
    for source in ("exif", "xmp"):
        named = [
            next(
                (field for field in fields if (field.source, field.kind, field.of_part) == (source, kind, False)), None
            )
            for kind in ("make", "model")
        ]
        known = [field for field in named if field and not _NO_CAMERA.fullmatch(searchable(field.text))]
        both = " ".join(searchable(field.text) for field in known)
        texts = [(field, text) for field in known for text in (searchable(field.text), both)]
        tools = [(field, tool) for field, text in texts if (tool := tool_in(text, "creator"))]
        if not tools and named[0] in known and (tool := tool_in(both, "software")):
            tools = [(named[0], tool)] if tool.means == "ai" and tool.name != "Meta AI" else []
        if tools:
            yield claim_of_tool(*tools[0])
        make, model = (shown(field.text, MAX_NAME) if field in known and field else "" for field in named)
        if known and not tools and all(_is_name(field.text) for field in known) and (make or model):
            yield Claim("camera", source, camera_name(make, model), field=known[-1].name, strength="tag")
            return
        stated = stated or bool(known)
    if not stated and (lens := next(filter(_names_a_camera, fields), None)):
        yield claim_of(lens, "camera", searchable(lens.text))


def _names_a_camera(field: Field) -> bool:
    """Return whether a field is the name of a lens with that of its camera: "iPhone 15 Pro back camera 6.8mm f/1.8"."""
    text = searchable(field.text)
    is_lens = field.kind == "lens" and not field.of_part and _is_name(text) and bool(_CAMERA_OF_LENS.fullmatch(text))
    return is_lens and tool_in(text, "software") is None


def _is_name(text: str) -> bool:
    return (
        len(text) <= MAX_NAME
        and not set("{}[]:\n") & set(text)
        and not text.endswith((".safetensors", ".ckpt", ".gguf", ".pt", ".pth", ".onnx"))
    )
