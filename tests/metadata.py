"""Files with metadata for tests of provenance, and the claims that are read from them."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hidascan.image.decode import decode
from hidascan.image.provenance.catalogue import tool_in
from hidascan.image.provenance.claims import read_claims
from hidascan.image.provenance.fields import Field
from tests.conftest import picture

PIXELS = Image.fromarray(picture(240, 300))
XMP = '<x:xmpmeta><rdf:Description Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/{}" xmp:CreatorTool="{}"/></x:xmpmeta>'
SMALL = Image.fromarray(picture(40, 64))
PROMPT = '{"3": {"class_type": "KSampler", "inputs": {"seed": 1}}, "4": {"class_type": "CheckpointLoaderSimple", "inputs": {}}}'
WORKFLOW = '{"nodes": [{"id": 3, "type": "KSampler", "widgets_values": [1]}], "links": [], "version": 0.4}'
PARAMETERS = "a cat\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
IPTC_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
PEOPLE, TOOLS = ("credit", "creator"), ("software", "agent")  # kinds of fields


def saved(path: Path, **options) -> Path:
    PIXELS.save(path, **options)
    return path


def exif(**tags) -> Image.Exif:
    numbers = {"make": 0x010F, "model": 0x0110, "software": 0x0131, "description": 0x010E}
    made = Image.Exif()
    for name, value in tags.items():
        made[numbers[name]] = value
    return made


def png_text(key: str, value: str) -> dict:
    info = PngInfo()
    info.add_text(key, value)
    return {"pnginfo": info}


def read(tmp_path: Path, name: str, **options) -> list[tuple[str, str, str, bool, str]]:
    """(kind, text, strength, part, field) of each claim of a small picture saved with these options."""
    SMALL.save(tmp_path / name, **options)
    return claims_in(tmp_path / name)


def claims_in(path: Path) -> list[tuple[str, str, str, bool, str]]:
    return [(claim.kind, claim.text, claim.strength, claim.part, claim.field) for claim in decode(path).claims]


def tags(main: dict | None = None, inner: dict | None = None) -> bytes:
    made = Image.Exif()
    for tag, value in (main or {}).items():
        made[tag] = value
    if inner:
        made.get_ifd(0x8769).update(inner)
    return made.tobytes()


def packet(properties: str, prefixes: str = "") -> bytes:
    """An XMP packet around elements in the usual namespaces."""
    spaces = (
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
        f'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="{IPTC_EXTENSION}" {prefixes}'
    )
    described = f"<rdf:Description {spaces}>{properties}</rdf:Description>"
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}>{described}</rdf:RDF></x:xmpmeta>'.encode()


def png(*chunks: tuple[bytes, bytes], behind: bool = False) -> bytes:
    """A PNG with further chunks before or behind its pixels."""
    buffer = BytesIO()
    SMALL.save(buffer, "PNG")
    data = buffer.getvalue()
    at = len(data) - 12 if behind else 33
    made = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return data[:at] + made + data[at:]


def jpeg(*segments: tuple[int, bytes]) -> bytes:
    buffer = BytesIO()
    SMALL.save(buffer, "JPEG")
    data = buffer.getvalue()
    made = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return data[:2] + made + data[2:]


def iptc(*records: tuple[int, bytes]) -> bytes:
    block = b"".join(struct.pack(">BBBH", 0x1C, 2, number, len(value)) + value for number, value in records)
    return b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(block)) + block + b"\0" * (len(block) % 2)


def written(tmp_path: Path, name: str, data: bytes) -> Path:
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def generators_in(text: str, kinds: tuple[str, ...]) -> set[str]:
    """Names of the generators that a text states in any of these kinds of fields; "" for none."""
    tools = (tool_in(text, kind) for kind in kinds)
    return {tool.name if tool and tool.means != "software" else "" for tool in tools}


def claims_of(source: str, name: str, kind: str, text: str) -> list[tuple[str, str]]:
    """(kind, text) of the claims in a single field."""
    field = Field(source, name, kind, text)
    return [(claim.kind, claim.text) for claim in read_claims(Image.new("RGB", (8, 8)), [field], None)]
