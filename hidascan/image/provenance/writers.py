"""Find the program that a comment or a caption names as the writer of a file, such as "Created with GIMP".

A text counts only if it says nothing else: people, places, denials and further statements name no program.
"""

from __future__ import annotations

import re

_MAX_LENGTH = 200
# Programs that make no pictures from words; generators are rows of the catalogue. Names that are also a profession, an
# appliance or a first name (Illustrator, Blender, Krita) are missing.
_PROGRAMS = (
    r"(?:The )?GIMP", r"GNU Image Manipulation Program", r"Adobe Illustrator",
    r"(?:Adobe )?(?:Photoshop (?:Lightroom|Elements|Express)|Photoshop|Lightroom|ImageReady|InDesign)",
    r"(?:Adobe|Macromedia) Fireworks", r"Paint\.NET", r"(?:MS|Microsoft) Paint", r"Microsoft (?:Office|PowerPoint|Word|Photos)",
    r"(?:Corel |Jasc )?Paint ?Shop Pro", r"CorelDRAW", r"Corel (?:Painter|PHOTO-PAINT)", r"Affinity (?:Photo|Designer|Publisher)",
    r"Inkscape", r"Pixelmator", r"Photopea", r"PhotoScape", r"PhotoFiltre", r"Canva", r"Figma", r"PicsArt", r"PicMonkey",
    r"VSCO", r"Snapseed", r"Polarr", r"Picasa", r"IrfanView", r"XnView", r"XnConvert", r"ACDSee", r"FastStone Image Viewer",
    r"darktable", r"RawTherapee", r"Capture One", r"DxO PhotoLab", r"digiKam", r"POV-Ray", r"Matplotlib", r"gnuplot",
    r"Ghostscript", r"ImageMagick", r"GraphicsMagick", r"FFmpeg", r"OpenCV", r"LIBJPEG(?:-turbo)?", r"MozJPEG", r"jpegoptim",
    r"JPEGmini", r"jpeg-recompress", r"IJG JPEG Library", r"ImageOptim", r"TinyPNG", r"TinyJPG", r"ScreenToGif", r"LICEcap",
    r"GIF Construction Set", r"Image Alchemy", r"AppleMark", r"(?:lib)?x26[45]", r"Lav[cf](?=\d)", r"(?:https?://)?ezgif\.com(?:/\S*)?",
    r"(?:TechSmith )?Snagit(?: for (?:Mac|Windows))?",
)  # fmt: skip
_VERSION = r"(?:[^\w\s]?[\s/\-]*(?:v\.?\s?|version\s)?(?:CS(?!\w)|(?:CS|CC)?\d(?:[\w.]*\w)?))?"  # "Photoshop¨ 4.0": a broken registered sign
_NAME = rf"(?P<name>(?:{'|'.join(_PROGRAMS)}){_VERSION}(?:\s(?:Macintosh|Windows|0x[0-9a-f]+))?)\.?"
_SUBJECT = r"(?:(?:this|the)\s+)?(?:(?:gif|jpe?g|png|image|picture|photo|graphic)\s+(?:file\s+)?(?:(?:was|is)\s+)?)?"
_VERB = r"(?:made|created|drawn|designed|edited|processed|produced|rendered|scanned|resized|converted|saved|exported)"
_LEAD = rf"(?:{_SUBJECT}{_VERB}\s+(?:with|using|in|on)|(?:file written|compressed|optimi[sz]ed|encoded)\s+(?:by|with|using))\s+"
_PHRASE = re.compile(_LEAD + _NAME, re.IGNORECASE)
_COMMENT = re.compile(rf"(?:{_LEAD}|(?:software|encoder):\s*)?{_NAME}", re.IGNORECASE)
_OF_LIBRARIES = re.compile(  # whatever they write behind their names
    r"(?:CREATOR:\s*(?P<name>(?:gd-jpeg|XV|(?:The )?GIMP)\b.+)|(?:LEAD Technologies|Handmade Software),? Inc\b.*"
    r"|ACD Systems Digital Imaging|Intel\(R\) JPEG Library.*|xv version \d.*)"
)


def writer_in(text: str, is_caption: bool = False) -> str:
    """Return the program named by a text that says nothing else; "" for any other text.

    Args:
        text: A comment or a caption.
        is_caption: True for a caption. Captions may describe the picture, so only a phrase such as "Made with NAME" counts.
    """
    text = text[: _MAX_LENGTH + 1].strip("\0 \t\r\n")
    if len(text) > _MAX_LENGTH:
        return ""
    if found := (_PHRASE if is_caption else _COMMENT).fullmatch(text):
        return found["name"]
    library = None if is_caption else _OF_LIBRARIES.fullmatch(text)
    return (library["name"] or text) if library else ""
