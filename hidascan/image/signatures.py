"""Identify unsupported files by their content, never by their suffix."""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from hidascan.image.damage import CUT_BEFORE_PIXELS, ends_early
from hidascan.image.formats import EXPORT, kind_from_head
from hidascan.image.headers import FRAMES, jpeg_segments
from hidascan.image.raw_photos import RAW, raw_name, tiff_layout
from hidascan.notes import DAMAGED_IMAGE

_DOWNLOAD = "probably a failed download"
_SIDECAR = "a sidecar file, or a failed download"
_NO_FORMAT = ("not the picture itself", "saved as text")  # ends of names of kinds that are no format
_HEAD = 4096  # bytes of a file that are examined

# Formats of which a picture can be found behind other bytes.
_START = re.compile(
    rb"\xff\xd8\xff[\xc0-\xef\xfe]|\x89PNG\r\n\x1a\n|RIFF....WEBP|GIF8[79]a|II\*\0[\x08-\xff]\0|MM\0\*\0\0"
    rb"|\0\0\0.ftyp(?:hei|hev|mif1|msf1|avi)|BM.{4}\0{4}",
    re.DOTALL,
)
_DEEP_FRAME = re.compile(rb"\xff[\xc0-\xc3]\0.([\x09-\x10])", re.DOTALL)  # frame of a JPEG with more than 8 bits
_FRAME_HEAD = 1 << 16  # bytes of a JPEG in which its frame is searched
# Start of an image whose bytes were converted to UTF-8, each to a character or to U+FFFD.
_AS_TEXT = re.compile(
    rb"\xc3\xbf\xc3\x98\xc3\xbf|(?:\xc2\x89|\xe2\x80\xb0)PNG\r?\n|RIFF.{3,12}WEBP|GIF8[79]a|II[*+]\0|MM\0[*+]"
    rb"|BM.{1,12}\0{4}|\0\0\0.ftyp(?:hei|hev|mif|msf|avi)",
    re.DOTALL,
)
_SAVED_AS_TEXT, _REMAINS = "an image that was saved as text", "what remains of an image that was saved as text"
_ANOTHER_COPY = "download or copy the original again"
_START_BYTES = 64
_FEWEST_CHARACTERS = 100  # in coded pixels; a few colours could be valid UTF-8 by chance
_JPEG_LS_FRAME, _DNL = 0xF7, b"\xff\xdc\0\4"  # markers of a JPEG
_PADDING = re.compile(rb"(?:\xef\xbb\xbf)?[\0\s]*")


class Signature(NamedTuple):
    """One kind of file.

    Attributes:
        pattern: Regular expression, matched at the first byte of the file.
        name: Name of the kind, with its article.
        advice: Advice to the user; "" for none.
    """

    pattern: bytes
    name: str
    advice: str = ""


def _raw(pattern: bytes, maker: str) -> Signature:
    return Signature(pattern, raw_name(maker), RAW)


_JPEG_LS = Signature(rb"\xff\xd8\xff\xf7|\xff\xf7", "a JPEG-LS image", EXPORT)

# The first match counts. Supported formats come first: if Pillow cannot open such a file, it is damaged.
_SUPPORTED = (
    (rb"\x89PNG", "PNG"),
    (rb"\xff\xd8\xff[^\xf7]|\xff[\xe0\xe1]..(JFIF|Exif)\0", "JPEG"),
    (rb"RIFF....WEBP", "WebP"),
    (rb"GIF8[79]a", "GIF"),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "TIFF"),
    (rb"BM.{4}\0{4}", "BMP"),
    (rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1|mif2)", "HEIC"),
    (rb"....ftyp(avif|avis)", "AVIF"),
)
_UNSUPPORTED = (
    Signature(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image", EXPORT),
    Signature(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "a JPEG 2000 image", EXPORT),
    _JPEG_LS,
    Signature(rb"II\xbc", "a JPEG XR image", EXPORT),
    Signature(rb"\x8aMNG|\x8bJNG", "an MNG or JNG image", EXPORT),
    Signature(rb"....ftyp(avci|avcs|jpeg|jpgs|j2ki|j2is)", "a HEIF image with AVC, JPEG or JPEG 2000 data", EXPORT),
    Signature(rb"8BPS", "a Photoshop file (PSD)", EXPORT),
    Signature(rb"gimp xcf", "a GIMP file (XCF)", EXPORT),
    Signature(rb"KRITAFILE|.{30}mimetypeapplication/x-krita", "a Krita file", EXPORT),
    Signature(rb"FORM....(ILBM|PBM )", "an Amiga picture (IFF)", EXPORT),
    Signature(rb"\x76\x2f\x31\x01", "an OpenEXR image", EXPORT),
    Signature(rb"#\?(RADIANCE|RGBE)", "a Radiance HDR image", EXPORT),
    Signature(rb"\0\0\x01\0[^\0]\0.{3}\0|\0\0\x02\0[^\0]\0.{3}\0", "a Windows icon or cursor (ICO, CUR)", EXPORT),
    Signature(rb"icns", "a macOS icon (ICNS)", EXPORT),
    Signature(rb"DDS \x7c\0\0\0", "a DDS texture", EXPORT),
    Signature(rb"\xabKTX ", "a KTX texture", EXPORT),
    Signature(rb"qoif.{8}[\x03\x04][\0\x01]", "a QOI image", EXPORT),
    Signature(rb"farbfeld", "a farbfeld image", EXPORT),
    Signature(rb"P[1-7][ \t\r\n]+[\d#W]|P[Ff]\n", "a PNM image (PBM, PGM, PPM)", EXPORT),
    Signature(rb"\x0a[\0\x02\x03\x04\x05]\x01[\x01\x02\x04\x08].{60}", "a PCX image", EXPORT),
    Signature(rb"\x01\xda[\0\x01][\x01\x02]\0[\x01\x02\x03]", "an SGI image", EXPORT),
    Signature(rb"\x59\xa6\x6a\x95", "a Sun raster image", EXPORT),
    Signature(rb"SIMPLE  =", "a FITS image", EXPORT),
    Signature(rb".{128}DICM", "a medical image (DICOM)", EXPORT),
    Signature(rb"BPG\xfb", "a BPG image", EXPORT),
    Signature(rb"FLIF", "a FLIF image", EXPORT),
    Signature(rb"AT&TFORM....DJV", "a DjVu document", EXPORT),
    Signature(
        rb"\xd7\xcd\xc6\x9a|\x01\0\x09\0\0[\x01\x03]|\x01\0\0\0.{36} EMF", "a Windows metafile (WMF, EMF)", EXPORT
    ),
    Signature(rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file (PS, EPS)", EXPORT),
    Signature(rb"%PDF-", "a PDF", "extract its images first"),
    Signature(rb"HTTP/\d[ .]", "an HTTP response with its headers", _DOWNLOAD),
    _raw(rb"....ftypcrx ", "Canon CR3"),
    _raw(rb"II\x1a\0\0\0HEAPCCDR", "Canon CRW"),
    _raw(rb"FUJIFILMCCD-RAW", "Fujifilm RAF"),
    _raw(rb"II(RO|RS)|MMOR\0\0", "Olympus ORF"),
    _raw(rb"IIU\0", "Panasonic RW2"),
    _raw(rb"FOVb", "Sigma X3F"),
    _raw(rb"\0MRM", "Minolta MRW"),
    Signature(rb"....ftypqt  |[\0-\x08\x0e-\x1f]...(moov|mdat|wide|free|skip|pnot)", "a video (MOV)"),
    Signature(rb"....ftyp(M4A|M4B|M4P|F4A|aaxc?)", "a sound file (M4A)"),
    Signature(rb"....ftyp3g", "a video (3GP)"),
    Signature(
        rb"....ftyp(iso|mp4|mp71|mmp4|avc1|hvc1|av01|vvc1|cmf|dash|dby1|piff|isml|M4V|[Ff]4[Vv]|F4P|MSNV|XAVC|CAEP|NDS|KDDI|nras)",
        "a video (MP4)",
    ),
    Signature(rb"....ftyp", "a video or other file in an MP4 container"),
    Signature(rb"\x1a\x45\xdf\xa3.{0,60}webm", "a video (WebM)"),
    Signature(rb"\x1a\x45\xdf\xa3", "a video (MKV)"),
    Signature(rb"RIFF....AVI ", "a video (AVI)"),
    Signature(rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video (WMV)"),
    Signature(rb"FLV\x01", "a video (FLV)"),
    Signature(rb"\0\0\x01[\xba\xb3]", "a video (MPEG)"),
    Signature(rb"G.{187}G.{187}G", "a video (MPEG-TS)"),
    Signature(rb"RIFF....WAVE", "a sound file (WAV)"),
    Signature(rb"ID3[\2-\4]|\xff[\xfb\xf3\xf2]", "a sound file (MP3)"),
    Signature(rb"fLaC|OggS", "a sound or video file (FLAC, Ogg)"),
    Signature(
        rb"PK\x03\x04.{26}(\[Content_Types\]\.xml|_rels/|docProps/|word/|xl/|ppt/)",
        "an Office document (Word, Excel, PowerPoint)",
        "extract its images first",
    ),
    Signature(rb"PK\x03\x04.{26}mimetypeapplication/vnd\.oasis", "an OpenDocument file", "extract its images first"),
    Signature(rb"PK\x03\x04.{26}mimetypeapplication/epub", "an e-book (EPUB)", "extract its images first"),
    Signature(rb"PK(\x03\x04|\x05\x06|\x07\x08)", "a ZIP archive", "unpack it first"),
    Signature(rb"Rar!\x1a\x07", "a RAR archive", "unpack it first"),
    Signature(rb"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    Signature(rb"\x1f\x8b\x08", "a gzip archive", "unpack it first"),
    Signature(rb"BZh[1-9]1AY", "a bzip2 archive", "unpack it first"),
    Signature(rb"\xfd7zXZ\0", "an xz archive", "unpack it first"),
    Signature(rb"\x28\xb5\x2f\xfd", "a Zstandard archive", "unpack it first"),
    Signature(rb"\x04\x22\x4d\x18", "an LZ4 archive", "unpack it first"),
    Signature(rb".{257}ustar", "a tar archive", "unpack it first"),
    Signature(rb"MSCF\0{4}", "a CAB archive", "unpack it first"),
    Signature(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document or thumbnail store (OLE)"),
    Signature(rb"SQLite format 3\0", "an SQLite database"),
    Signature(rb"....jumb....jumdc2pa", "a C2PA manifest (Content Credentials), not the picture itself"),
    Signature(  # each byte that is not valid UTF-8 was replaced by U+FFFD
        rb"(?:\xef\xbf\xbd){4}(?:\0|.{2,6}(?:Exif|JFIF)\0)|\xef\xbf\xbdPNG\r?\n\x1a\n",
        _REMAINS,
        _ANOTHER_COPY,
    ),
    Signature(rb"\0\x05\x16[\x07\0]", "a macOS AppleDouble file (resource fork), not the picture itself"),
    Signature(rb"MZ(?=.{0,58}\0).{58}", "a Windows program"),
    Signature(rb"\x7fELF", "a Linux program"),
    Signature(rb"[\xfe\xcf\xce]\xfa\xed\xfe|\xfe\xed\xfa[\xce\xcf]|\xca\xfe\xba\xbe", "a macOS program or Java class"),
    Signature(rb"bplist00", "a macOS property list"),
    Signature(rb"L\0\0\0\x01\x14\x02\0", "a Windows shortcut, not the picture itself"),
    Signature(rb"\x93NUMPY", "a NumPy array", EXPORT),
    Signature(rb"\x89HDF\r\n", "an HDF5 file", EXPORT),
    Signature(rb"PAR1", "a Parquet table"),
    Signature(rb"wOF[F2]|OTTO\0|\0\x01\0\0\0[\x01-\x40]", "a font"),
    Signature(rb"\0asm", "a WebAssembly program"),
    Signature(rb"-----BEGIN PGP|\x85[\x01\x02].\x03", "data encrypted with PGP"),
    Signature(rb"Salted__", "data encrypted with OpenSSL"),
    Signature(rb"age-encryption\.org/", "data encrypted with age"),
    Signature(rb".(?:\0[\x02\x03\x0a\x0b]\0{5}|\x01[\x01\x09].{5}).{8}[\x08\x0f\x10\x18\x20]", "a TGA image", EXPORT),
)
_XML, _COMMENTS = rb"(?:<\?xml[^>]{0,500}>\s*)*", rb"(?:<!--(?:(?!-->).){0,2000}-->\s*)*+"
_TEXTS = (
    Signature(rb"version https://git-lfs\.github\.com/", "a Git LFS pointer", "run git lfs pull"),
    Signature(
        rb"(?is)" + _XML + _COMMENTS + rb"(<!doctype\s+svg.{0,500}?>\s*)?<(svg:)?svg[\s>]",
        "an SVG drawing",
        EXPORT,
    ),
    Signature(
        rb"(?is)"
        + _COMMENTS
        + rb"<(script|title|meta|link|style|div|p|h[1-6]|center|pre|span|a|img|br|table|b|strong|font"
        rb"|form|iframe|section|ul)(?=[\s/>])|" + _XML + _COMMENTS + rb"<(!doctype\s+html|html|head|body)(?=[\s/>])",
        "a web page (HTML)",
        _DOWNLOAD,
    ),
    Signature(
        rb"(?is)" + _XML + rb"<!doctype\s+plist",
        "a property list, such as Apple's edits (AAE), not the picture itself",
    ),
    Signature(rb"(?is)<\?xpacket|" + _XML + rb"<x:xmpmeta", "an XMP sidecar, not the picture itself"),
    Signature(rb"(?s)<(\?xml|[A-Za-z][\w:.-]*[\s>/]).*", "XML text", _SIDECAR),
    Signature(
        rb"\[(InternetShortcut|\{000214A0-0000-0000-C000-000000000046\})\]",
        "a link to a web page, not the picture itself",
    ),
    Signature(rb'(?s)\{\s*("|\}|$)|\[\s*["{\[\]\d-]', "JSON text", _SIDECAR),
    Signature(rb"data:image/", "the text of a data: URL", "decode its Base64 first"),
    Signature(rb"\{\\rtf", "an RTF document"),
    Signature(
        rb"(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR)[A-Za-z0-9+/=\s]{60}", "an image as Base64 text", "decode its Base64 first"
    ),
    Signature(rb"/\* XPM \*/|#define \S+_width \d", "an X bitmap (XBM, XPM)", EXPORT),
    Signature(rb"#!", "a script"),
)


def describe(data: bytes) -> str:
    """Return the reason why no decoder opens a file.

    Args:
        data: Content of the file, not empty.

    Returns:
        One line: the kind of file; "damaged" for a supported format; or that the kind is unknown.
    """
    head = data[:_HEAD]
    if not head.strip(b"\0") and not data.strip(b"\0"):
        return "only zero bytes: the content was never written or copied"
    if kind := _by_both_ends(data):
        return _sentence(kind)
    for pattern, name in _SUPPORTED:
        if _matches(pattern, head):
            damaged = f"{DAMAGED_IMAGE}the header of this {name} file cannot be read"
            return ends_early(data) or _unusual(name, data) or damaged
    for kind in _UNSUPPORTED:
        if _matches(kind.pattern, head):
            return _sentence(kind)
    text = _text(head)
    if text is None:
        start = _START.search(head)
        inside = f"; {_name(data[start.start() :])} starts at byte {start.start()}" if start else ""
        return f"not a known image format: encrypted, damaged or unknown data{inside}"
    for kind in _TEXTS:
        if _matches(kind.pattern, text):
            return _sentence(kind)
    return "this is plain text, not an image" if text else "only whitespace, not an image"


def saved_as_text(data: bytes) -> str:
    """Describe an image whose bytes were all converted to UTF-8; "" for other files. Some decoders would call it truncated."""
    try:
        text = data.decode() if _AS_TEXT.match(data) else ""
    except UnicodeDecodeError:
        return ""
    if len(text) - len(text.encode("ascii", "ignore")) <= len(text) // 8 or len({*text}) < _FEWEST_CHARACTERS:
        return ""
    if "\ufffd" in text:
        return _sentence(Signature(b"", _REMAINS, _ANOTHER_COPY))
    try:
        restored = text.encode("latin-1")
    except UnicodeEncodeError:
        return _sentence(Signature(b"", _SAVED_AS_TEXT, _ANOTHER_COPY))
    if not kind_from_head(restored[:_START_BYTES]):  # ends of lines were changed, too
        return _sentence(Signature(b"", _REMAINS, _ANOTHER_COPY))
    return _sentence(
        Signature(b"", _SAVED_AS_TEXT, f"restore it with iconv -f UTF-8 -t ISO-8859-1, or {_ANOTHER_COPY}")
    )


def _by_both_ends(data: bytes) -> Signature | None:
    """Return the kind of a file that its first bytes alone do not give."""
    if data.endswith(b"TRUEVISION-XFILE.\0"):
        return Signature(b"", "a TGA image", EXPORT)
    if data.startswith(b"MM\0+"):  # which Pillow never recognises
        return Signature(b"", "a big-endian BigTIFF", EXPORT)
    return None


def without_padding(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Return a file without blank bytes before the picture, such as empty lines by a server, and a note if it had any."""
    size = _padding(data[:_HEAD])
    return (data[size:], (f"skipped {size} blank bytes before the picture",)) if size else (data, ())


def _padding(head: bytes) -> int:
    found = _START.search(head)
    return found.start() if found and _PADDING.fullmatch(head, 0, found.start()) else 0


def _unusual(name: str, data: bytes) -> str:
    """Describe an intact TIFF or JPEG of a kind that no decoder reads, or a truncated TIFF; "" for any other file."""
    kind = ""
    if name == "JPEG":
        segments = dict(jpeg_segments(data))
        if _JPEG_LS_FRAME in segments:
            return _sentence(_JPEG_LS)
        if frame := _DEEP_FRAME.search(data[:_FRAME_HEAD]):
            kind = f"{frame[1][0]} bits per channel"
        elif _DNL in data and any(segments[frame][5:7] == b"\0\0" for frame in FRAMES & set(segments)):
            kind = "its height behind its pixels (DNL)"
    elif name == "TIFF":
        try:
            kind = tiff_layout(data)
        except EOFError:
            return CUT_BEFORE_PIXELS
        except Exception:  # a damaged directory
            return ""
    return f"this {name} has {kind}, which is not supported: {EXPORT}" if kind else ""


def _name(data: bytes) -> str:
    name = next((name for pattern, name in _SUPPORTED if _matches(pattern, data)), "picture")
    return f"an {name}" if name.startswith("A") else f"a {name}"


def _matches(pattern: bytes, head: bytes) -> bool:
    return re.match(pattern, head, re.DOTALL) is not None


def _sentence(kind: Signature) -> str:
    if kind.advice == RAW:
        return f"this is {kind.name}: {RAW}"
    named = f"this is {kind.name}" if kind.name.endswith(_NO_FORMAT) else f"this is {kind.name}, an unsupported format"
    return named + (f": {kind.advice}" if kind.advice else "")


def _text(head: bytes) -> bytes | None:
    """Return the start of a text as UTF-8 without leading white space; None if it is not text."""
    encoding = "utf-8"
    for mark, name in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
        (codecs.BOM_UTF32_LE, "utf-32"),  # which begins with that of UTF-16
        (b"<\0", "utf-16-le"),
        (b"\0<", "utf-16-be"),
    ):
        if head.startswith(mark):
            encoding = name
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        text = head.decode("latin-1")
        if not text.lstrip().startswith(("<", "{")) and sum(not char.isascii() for char in text) > len(text) // 8:
            return None
    if any(ord(char) < 32 and char not in "\t\n\r\f\x1b" for char in text):
        return None
    return text.strip().encode()
