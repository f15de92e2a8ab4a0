"""Generate more than a thousand broken and unusual files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from tests.conftest import picture

_ODD_MODES = {
    "png": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "tiff": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "I;16", "F"),
    "jpg": ("L", "RGB", "CMYK"),
    "webp": ("RGB", "RGBA", "L"),
    "gif": ("1", "L", "P", "RGB"),
    "bmp": ("1", "L", "P", "RGB", "RGBA"),
    "avif": ("RGB", "RGBA"),
    "heic": ("RGB", "RGBA"),
}
_OPTIONS = {
    "progressive.jpg": {"progressive": True},
    "restart.jpg": {"restart_marker_blocks": 1},
    "lossless.webp": {"lossless": True},
    "interlaced.gif": {"interlace": True},
    "lzw.tiff": {"compression": "tiff_lzw"},
    "deflate.tiff": {"compression": "tiff_adobe_deflate"},
    "jpeg.tiff": {"compression": "jpeg"},
    "packbits.tiff": {"compression": "packbits"},
}


def write_corpus(folder: Path) -> list[Path]:
    """Write all files; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (name, data) in enumerate(_files()):
        path = folder / f"{number:04d}-{name}"
        path.write_bytes(data)
        paths.append(path)
    return paths


def _files() -> Iterator[tuple[str, bytes]]:
    sound = dict(_sound())
    yield from sound.items()
    yield from _animated()
    rng = np.random.default_rng(0)
    for name, data in sound.items():
        for percent in range(0, 100, 5):
            yield f"cut-{percent}-{name}", data[: len(data) * percent // 100]
        for flip in range(6):
            yield f"flip-{flip}-{name}", _flipped(data, rng, 1 << flip)
    names = list(sound)
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        yield f"head-of-{other}-on-{name}", sound[other][:24] + sound[name][24:]
        yield f"is-{name}-named.{other.split('.')[-1]}", sound[name]
        yield f"twice-{name}", sound[name] * 2
    yield from _absurd(sound)


def _saved(image: Image.Image, name: str, **options) -> bytes:
    file = io.BytesIO()
    formats = {"jpg": "JPEG", "heic": "HEIF"}
    suffix = name.split(".")[-1]
    image.save(file, formats.get(suffix, suffix.upper()), **options)
    return file.getvalue()


def _sound() -> Iterator[tuple[str, bytes]]:
    image = Image.fromarray(picture(48, 64))
    for suffix, modes in _ODD_MODES.items():
        for mode in modes:
            yield f"{mode.replace(';', '_')}.{suffix}", _saved(_as(image, mode), suffix)
    for name, options in _OPTIONS.items():
        yield name, _saved(image, name, **options)


def _as(image: Image.Image, mode: str) -> Image.Image:
    if mode in ("I;16", "F", "I"):
        grey = np.asarray(image.convert("L")).astype(np.uint32) * 257
        return Image.fromarray(grey.astype({"I;16": np.uint16, "F": np.float32, "I": np.int32}[mode]))
    if mode == "LAB":
        from PIL import ImageCms

        return ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), 0, "LAB")
    if mode in ("RGBA", "LA"):
        image = image.convert("RGBA")
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image.convert(mode)


def _animated() -> Iterator[tuple[str, bytes]]:
    frames = [Image.fromarray(picture(48, 64, seed)) for seed in range(5)]
    for suffix in ("gif", "png", "webp", "tiff", "avif"):
        yield f"animated.{suffix}", _saved(frames[0], suffix, save_all=True, append_images=frames[1:])
    many = [Image.new("L", (16, 16), shade % 256) for shade in range(3000)]
    yield "frames.gif", _saved(many[0], "gif", save_all=True, append_images=many[1:])


def _flipped(data: bytes, rng: np.random.Generator, count: int) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(0, len(data), count):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, deflated: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [_chunk(b"IHDR", header), _chunk(b"IDAT", deflated), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _tiff(width: int, height: int, rows: int) -> bytes:
    """One strip without data, of any declared size."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
            (278, 4, rows), (279, 4, 0xFFFFFFF0)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + b"\0" * 4


def _absurd(sound: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Bombs, sizes that cannot be, metadata without measure, files of two kinds."""
    jpeg, png = sound["RGB.jpg"], sound["RGB.png"]
    start = jpeg.index(b"\xff\xc0")
    for height, width in ((65535, 65535), (0, 64), (48, 0), (65500, 1)):
        yield f"{width}x{height}.jpg", jpeg[: start + 5] + struct.pack(">HH", height, width) + jpeg[start + 9 :]
    much = zlib.compress(bytes(200_000_000), 9)
    yield "bomb-25000x25000.png", _png(25000, 25000, much)
    yield "bomb-64x48.png", _png(64, 48, much)
    for width, height in ((2**31 - 1, 2**31 - 1), (10**6, 10**6), (0, 0), (1, 0), (1, 10**7), (10**7, 1), (1, 1)):
        yield f"{width}x{height}.png", _png(width, height, zlib.compress(bytes(10)))
        yield f"{width}x{height}.tiff", _tiff(width, height, height)
        yield f"{width}x{height}-rows.tiff", _tiff(width, height, 1)
        screen = [min(width, 65535), min(height, 65535)]
        yield f"{screen[0]}x{screen[1]}.gif", b"GIF89a" + struct.pack("<HH", *screen) + sound["L.gif"][10:]
        yield f"{width}x{-height}.bmp", sound["RGB.bmp"][:18] + struct.pack("<Ii", width, -height) + sound["RGB.bmp"][26:]  # fmt: skip
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "x" * 3_000_000)
    yield "text.png", _saved(Image.fromarray(picture(48, 64)), "png", pnginfo=text)
    for kind, head in ((b"zTXt", b"parameters\0\0"), (b"iCCP", b"icc\0\0"), (b"iTXt", b"Comment\0\1\0\0\0")):
        yield f"bomb-{kind.decode()}.png", png[:33] + _chunk(kind, head + much) + png[33:]
    for size in (0, 1, 64000):
        yield (
            f"exif-{size}.jpg",
            _saved(Image.fromarray(picture(48, 64)), "jpg", exif=b"Exif\0\0MM\0*" + b"\xff" * size),
        )
        yield f"icc-{size}.jpg", _saved(Image.fromarray(picture(48, 64)), "jpg", icc_profile=b"\xff" * size)
        yield f"xmp-{size}.jpg", _saved(Image.fromarray(picture(48, 64)), "jpg", xmp=b"<x:xmpmeta" * (size // 10))
        yield f"many-icc-{size}.png", _saved(Image.fromarray(picture(48, 64)), "png", icc_profile=b"\0" * size * 50)
    for number in range(16):
        yield f"random-{number}.{('png', 'jpg', 'webp', 'tiff')[number % 4]}", np.random.default_rng(number).bytes(5000)
    yield "empty.png", b""
    yield "newline.jpg", b"\n"
    yield "zip.png", png + b"PK\x05\x06" + bytes(18)
    yield "html.jpg", jpeg + b"<script>alert(1)</script>"
    yield "page.png", b"<html><body>not found</body></html>"
    yield "svg.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    yield "pdf.jpg", b"%PDF-1.4\n" + jpeg
    yield "script.gif", b"#!/bin/sh\nexit\n" + sound["L.gif"]
    yield "eps.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    yield "wmf.png", b"\xd7\xcd\xc6\x9a" + bytes(60)
