"""Kinds of unsupported files, including RAW photos, by content and regardless of name."""

import gzip
import io
import json
import sqlite3
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from hidascan.errors import ImageError
from hidascan.image.decode import decode
from hidascan.image.signatures import describe
from tests.conftest import picture

PAGE = b"\xef\xbb\xbf\n <!-- saved --><!DOCTYPE html>\n<html><body>Not found</body></html>"
SVG = b'<?xml version="1.0"?>\n<!-- by hand -->\n<svg xmlns="http://www.w3.org/2000/svg"/>'


def zipped(*names):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return file.getvalue()


def saved(format_name, mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(picture(48, 64)).convert(mode).save(file, format_name, **options)
    return file.getvalue()


def as_text(data):
    return data.decode("utf-8", "replace").encode()


def tar():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    return file.getvalue()


def database(folder):
    connection = sqlite3.connect(folder / "a.db")
    connection.execute("create table a (b)")
    connection.commit()
    connection.close()
    return (folder / "a.db").read_bytes()


OTHERS = [
    ("a JPEG XL image", b"\xff\x0a\xfa\x7f\x01" + bytes(99)),
    ("a JPEG XL image", b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl " + bytes(99)),
    ("a JPEG 2000 image", saved("JPEG2000")),
    ("a JPEG 2000 image", saved("JPEG2000", no_jp2=True)),
    ("a Photoshop file (PSD)", b"8BPS\0\1" + bytes(99)),
    ("a Windows icon or cursor (ICO, CUR)", saved("ICO")),
    ("a macOS icon (ICNS)", saved("ICNS")),
    ("a PNM image (PBM, PGM, PPM)", saved("PPM")),
    ("a PCX image", saved("PCX")),
    ("a DDS texture", saved("DDS")),
    ("an SGI image", saved("SGI")),
    ("a PDF", saved("PDF")),
    ("a PostScript file (PS, EPS)", saved("EPS")),
    ("an OpenEXR image", b"\x76\x2f\x31\x01\2\0\0\0channels"),
    ("a Radiance HDR image", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n"),
    ("a QOI image", b"qoif" + struct.pack(">IIBB", 3, 4, 3, 0) + bytes(20)),
    ("a web page (HTML)", PAGE),
    ("a web page (HTML)", "<!doctype html><title>x</title>".encode("utf-16")),
    ("a web page (HTML)", b'<a href="/login">Found</a>.\n'),
    ("a web page (HTML)", "<html><title>x</title>".encode("utf-16-be")),
    ("a web page (HTML)", "<html><title>x</title>".encode("utf-16-le")),
    ("a web page (HTML)", b'<?xml version="1.0"?>\n<html xmlns="http://www.w3.org/1999/xhtml">'),
    *(("a web page (HTML)", tag + b"x") for tag in (b"<h2>", b"<table>", b"<b>", b'<form action="/">', b"<section>")),
    ("an SVG drawing", SVG),
    ("an SVG drawing", b'<?xml version="1.0"?><?xml-stylesheet href="a.css"?><svg>'),
    (
        "a property list",
        b'<?xml version="1.0"?>\n<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" ""><plist></plist>',
    ),
    ("XML text", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>'),
    ("XML text", b'<a:theme xmlns:a="x"></a:theme>'),
    ("XML text", b'<?xml version="1.0"?>\n<rss version="2.0"><channel><title>x</title></channel></rss>'),
    ("XML text", b'<?xml version="1.0"?>\n<gpx version="1.1"><metadata><link href="x"/></metadata></gpx>'),
    ("XML text", b'<?xml version="1.0"?>\n<article><title>About <svg> files</title><p>x</p></article>'),
    ("a link to a web page", b"[{000214A0-0000-0000-C000-000000000046}]\r\nProp3=19,2\r\n[InternetShortcut]\r\nURL=x"),
    ("JSON text", json.dumps({"error": "no such key"}).encode()),
    ("JSON text", b'[{"a": 1}]'),
    ("a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"),
    ("an image as Base64 text", b"/9j/4AAQSkZJRgABAQ" + b"A" * 99),
    ("a video (MP4)", b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(99)),
    ("a video or other file in an MP4 container", b"\0\0\0\x20ftypjxs \0\0\0\0jxs " + bytes(99)),
    ("a sound file (M4A)", b"\0\0\0\x20ftypM4P \0\0\0\0M4P " + bytes(99)),
    ("a video (MOV)", b"\0\0\0\x14ftypqt  \0\0\0\0qt  " + bytes(99)),
    ("a video (WebM)", b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\xf7\x81\1\x42\x82\x84webm" + bytes(99)),
    ("a video (MKV)", b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\xf7\x81\1\x42\x82\x88matroska" + bytes(99)),
    ("a video (AVI)", b"RIFF\x40\0\0\0AVI LIST" + bytes(99)),
    ("a ZIP archive", zipped("a.jpg")),
    ("an Office document (Word, Excel, PowerPoint)", zipped("[Content_Types].xml", "word/document.xml")),
    ("a RAR archive", b"Rar!\x1a\x07\1\0" + bytes(30)),
    ("a 7z archive", b"7z\xbc\xaf\x27\x1c\0\4" + bytes(30)),
    ("a gzip archive", gzip.compress(b"x" * 99)),
    ("a tar archive", tar()),
    ("a macOS AppleDouble file (resource fork)", b"\0\5\x16\7\0\2\0\0Mac OS X        \0\2" + bytes(99)),
    ("what remains of an image that was saved as text", as_text(saved("JPEG"))),
    ("what remains of an image that was saved as text", as_text(saved("PNG"))),
    ("what remains of an image that was saved as text", as_text(saved("JPEG", exif=b"Exif\0\0" + bytes(20000)))),
    (
        "a C2PA manifest",
        b"\0\0\x0c\x62jumb\0\0\0\x1ejumdc2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\3c2pa\0" + bytes(99),
    ),
    ("a Windows program", b"MZ\x90\0" + bytes(99)),
    ("a RAW photo (Canon CR3)", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(99)),
    ("a RAW photo (Fujifilm RAF)", b"FUJIFILMCCD-RAW 0201" + bytes(99)),
    ("a RAW photo (Olympus ORF)", b"IIRO\x08\0\0\0" + bytes(99)),
    ("a RAW photo (Panasonic RW2)", b"IIU\0\x18\0\0\0" + bytes(99)),
]


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize(("name", "data"), OTHERS, ids=[f"{number}-{name}" for number, (name, _) in enumerate(OTHERS)])
def test_a_file_of_another_kind_is_named(tmp_path, name, data, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data)
    with pytest.raises(ImageError) as raised:
        decode(path)
    assert str(raised.value).startswith(f"this is {name}") and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "data",
    [b'<?xpacket begin=""?>', b"[InternetShortcut]\nURL=x", b"\0\5\x16\7\0\2\0\0Mac OS X", as_text(saved("PNG"))],
)
def test_what_is_not_the_picture_itself_is_not_called_a_format(data):
    assert describe(data).startswith("this is ") and "an unsupported format" not in describe(data)


@pytest.mark.parametrize("data", ["\ufffd\ufffd\ufffd\ufffd hello", "\ufffdPNG files are pictures", "\ufffd" * 9])
def test_text_with_characters_that_were_lost_is_no_image(data):
    assert "image that was saved as text" not in describe(data.encode())


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "HEIF", "AVIF"])
def test_an_image_whose_bytes_were_converted_to_text_is_not_called_truncated_or_unknown(tmp_path, format_name):
    data = saved(format_name)
    ways = {
        data.decode(
            "latin-1"
        ): "an image that was saved as text: restore it with iconv -f UTF-8 -t ISO-8859-1, or download",
        data.decode("utf-8", "replace"): "what remains of an image that was saved as text: download",
    }
    if format_name in ("JPEG", "PNG"):
        by_windows = "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in data)
        ways[by_windows] = "an image that was saved as text: download"
    for text, kind in ways.items():
        (tmp_path / "a.jpg").write_text(text, newline="")
        with pytest.raises(ImageError) as raised:
            decode(tmp_path / "a.jpg")
        assert str(raised.value).startswith(f"this is {kind} or copy the original again")


@pytest.mark.parametrize("colour", [b"\xef\xbf\xbd", b"\xc3\xa9 ", b"\5\6\7"])
def test_a_picture_whose_pixels_happen_to_be_valid_text_is_read(tmp_path, colour):
    pixels = bytes(range(64)) * 24 + colour * 64 * 56
    head = struct.pack("<IHHIIiiHHIIiiII", 12342, 0, 0, 54, 40, 64, 64, 1, 24, 0, 12288, 0, 0, 0, 0)
    (tmp_path / "a").write_bytes(b"BM" + head + pixels)
    assert (tmp_path / "a").read_text() and (decode(tmp_path / "a").pixels[0, 0] == [*colour[::-1]]).all()


@pytest.mark.parametrize(
    ("words", "data"),
    [
        ("plain text", b"hello there"),
        ("plain text", "ein Märchen".encode("latin-1")),
        ("plain text", "hello there".encode("utf-32")),
        ("whitespace", b"\r\n \n"),
        ("only zero bytes", bytes(5000)),
        ("encrypted, damaged or unknown data", np.random.default_rng(0).bytes(5000)),
        ("run git lfs pull", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"),
        ("probably a failed download", PAGE),
        ("damaged image: the header of this PNG", b"\x89PNG\r\n\x1a\n" + bytes(99)),
        ("damaged image: the header of this JPEG", b"\xff\xd8\xff\xe0" + bytes(99)),
    ],
)
def test_the_problem_of_a_file_is_described(tmp_path, words, data):
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(ImageError, match=words):
        decode(tmp_path / "a.jpg")


def test_a_database_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(database(tmp_path))
    with pytest.raises(ImageError, match="an SQLite database"):
        decode(tmp_path / "a.jpg")


def tiff(tags, below=(), order="<"):
    """A TIFF of 8x8 grey pixels with more tags, and directories below it with tags of their own."""

    def directory(entries):
        packed = b"".join(
            struct.pack(f"{order}HHI", tag, kind, count) + value for tag, kind, count, value in sorted(entries)
        )
        return struct.pack(f"{order}H", len(entries)) + packed + bytes(4)

    def short(tag, value):
        return tag, 3, 1, struct.pack(f"{order}HH", value, 0)

    def long(tag, value):
        return tag, 4, 1, struct.pack(f"{order}I", value)

    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 128)
    data = head + b"\0\0" + b"make it long " + bytes(105)
    fields = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 277: 1, 278: 8, 279: 64} | tags
    entries = [(tag, 1, 4, value) if isinstance(value, bytes) else short(tag, value) for tag, value in fields.items()]
    size = 2 + 12 * (len(entries) + 1 + bool(below)) + 4
    pixels = 128 + size
    entries.append(long(273, pixels))
    if below:
        entries.append(long(330, pixels + 64))
    data = data + directory(entries) + bytes(range(64))
    return data + b"".join(directory([short(tag, value) for tag, value in one.items()]) for one in below)


def chained(tags, following):
    """A TIFF of `tiff`, with another directory behind its first one."""
    data = bytearray(tiff(tags))
    count = struct.unpack_from("<H", data, 128)[0]
    struct.pack_into("<I", data, 130 + 12 * count, len(data))
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in sorted(following.items()))
    return bytes(data) + struct.pack("<H", len(following)) + entries + bytes(4)


def by_a_camera(tags):
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "TIFF", tiffinfo={271: "SONY", **tags})
    return out.getvalue()


RAW = {
    "Adobe DNG": tiff({50706: b"\1\4\0\0", 262: 34892}),
    "Adobe DNG, big-endian": tiff({50706: b"\1\6\0\0", 254: 1}, order=">"),
    "colour filter array in front": tiff({262: 32803}),
    "linear raw in front": tiff({262: 34892}),
    "colour filter array behind a preview": tiff({}, [{256: 99, 262: 32803}]),
    "packed as Sony does behind a preview": tiff({}, [{256: 99, 259: 32767}]),
    "packed as Nikon does, big-endian": tiff({}, [{256: 99, 259: 34713}], order=">"),
    "a directory behind a preview": chained({254: 1}, {256: 99, 262: 32803}),
    "a preview of a camera alone": by_a_camera({254: 1}),
    "Canon CR2": b"II*\0\x10\0\0\0CR\2\0" + tiff({})[12:],
    "Phase One IIQ": tiff({})[:8] + b"IIIITwaR" + tiff({})[16:],
    "Phase One IIQ, big-endian": tiff({}, order=">")[:8] + b"MMMMRawC" + tiff({}, order=">")[16:],
}


@pytest.mark.parametrize("suffix", ["dng", "tif", "jpg", "nef"])
@pytest.mark.parametrize("kind", RAW)
def test_a_raw_photo_is_refused_under_any_name(tmp_path, kind, suffix):
    (tmp_path / f"a.{suffix}").write_bytes(RAW[kind])
    with pytest.raises(ImageError, match=r"this is a RAW photo \(.*\): RAW is not supported; scan an exported"):
        decode(tmp_path / f"a.{suffix}")


def test_a_reduced_picture_of_a_scanner_and_a_full_one_of_a_camera_are_no_raw_photos(tmp_path):
    of_text = by_a_camera({254: 1}).replace(struct.pack("<HHI", 254, 4, 1), struct.pack("<HHI", 254, 2, 4))
    for data in (by_a_camera({}), of_text, tiff({254: 1})):
        (tmp_path / "a.tif").write_bytes(data)
        assert decode(tmp_path / "a.tif").pixels.shape == (8, 8, 3)


def test_a_jpeg_that_begins_with_a_comment_is_read_behind_blank_bytes(tmp_path):
    data = io.BytesIO()
    Image.fromarray(picture(48, 64)).save(data, "JPEG")
    (tmp_path / "a.jpg").write_bytes(b"\r\n\xff\xd8\xff\xfe\0\4hi" + data.getvalue()[2:])
    assert decode(tmp_path / "a.jpg").notes == ("skipped 2 blank bytes before the picture",)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
@pytest.mark.parametrize("before", [b"\r\n", b"\xef\xbb\xbf", b"\0" * 9, b" \n" * 99])
def test_a_picture_behind_blank_bytes_is_read(tmp_path, format_name, before):
    image = Image.fromarray(picture(48, 64))
    image.save(tmp_path / "a", format_name)
    (tmp_path / "b").write_bytes(before + (tmp_path / "a").read_bytes())
    assert (decode(tmp_path / "b").pixels == decode(tmp_path / "a").pixels).all()
    assert decode(tmp_path / "b").notes == (f"skipped {len(before)} blank bytes before the picture",)


def test_the_start_of_a_picture_behind_other_bytes_is_named(tmp_path):
    Image.fromarray(picture(48, 64)).save(tmp_path / "a", "JPEG")
    (tmp_path / "b").write_bytes(b"Content-Type: image/jpeg\r\n\r\n" + (tmp_path / "a").read_bytes())
    with pytest.raises(ImageError, match=r"unknown data; a JPEG starts at byte 28$"):
        decode(tmp_path / "b")


def test_the_start_of_an_avif_has_its_article():
    assert describe(b"\x01\x02junk" + saved("AVIF")).endswith("unknown data; an AVIF starts at byte 6")


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_with_directories_below_it_is_no_raw_photo(tmp_path, order):
    (tmp_path / "a.tif").write_bytes(tiff({}, [{256: 4, 257: 4, 262: 1, 259: 1}], order))
    assert decode(tmp_path / "a.tif").pixels.shape == (8, 8, 3)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_a_tiff_exported_from_a_camera_is_no_raw_photo(tmp_path, compression):
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[271], tags[272], tags[305] = "NIKON CORPORATION", "NIKON D850", "Adobe Lightroom"
    Image.fromarray(picture(48, 64)).save(tmp_path / "a.tif", compression=compression, tiffinfo=tags)
    assert decode(tmp_path / "a.tif").format == "TIFF"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
@pytest.mark.parametrize("big", [False, True])
def test_a_tiff_of_any_mode_is_no_raw_photo(tmp_path, mode, big):
    image = Image.fromarray(picture(48, 64)).convert("L" if mode in ("I;16", "F") else mode).convert(mode)
    image.save(tmp_path / "a.tif", big_tiff=big)
    assert decode(tmp_path / "a.tif").format == "TIFF"


def deep_jpeg():
    data = saved("JPEG")
    frame = data.index(b"\xff\xc0")
    return data[: frame + 4] + b"\x0c" + data[frame + 5 :]


def test_very_many_comments_are_read_in_no_time():
    assert describe(b"<!--a-->" * 10_000 + b"x") == "this is plain text, not an image"


def test_a_jpeg_ls_behind_other_segments_is_named():
    header = b"\xff\xe8\0\x20SPIFF\0" + bytes(24) + b"\xff\xe8\0\x08\0\0\0\1\xff\xd8"
    data = b"\xff\xd8" + header + b"\xff\xf7\0\x11\x08\0\xc0\1\0\3" + bytes(99)
    assert describe(data).startswith("this is a JPEG-LS image")
    assert "damaged image" in describe(data.replace(b"\xff\xf7", b"\xff\xfe\0\4\xff\xf7"))  # within a comment


def test_a_jpeg_whose_height_follows_its_pixels_is_not_called_damaged(tmp_path):
    data = saved("JPEG")
    frame = data.index(b"\xff\xc0") + 5
    without_height = data[:frame] + b"\0\0" + data[frame + 2 :]
    for end, words in ((b"\xff\xdc\0\4\0\x30\xff\xd9", "has its height behind its pixels"), (b"\xff\xd9", "damaged")):
        (tmp_path / "a.jpg").write_bytes(without_height[:-2] + end)
        with pytest.raises(ImageError, match=words):
            decode(tmp_path / "a.jpg")


@pytest.mark.parametrize("kind", ["float", "deep JPEG"])
def test_an_intact_file_of_a_rare_kind_is_not_called_damaged(tmp_path, kind):
    import cv2

    cv2.imwrite(str(tmp_path / "a.tif"), picture(48, 64).astype(np.float32) / 255)
    if kind == "deep JPEG":
        (tmp_path / "a.tif").write_bytes(deep_jpeg())
    expected = (
        "this TIFF has 3 channels of 32 bits, photometric 2 and compression 1"
        if kind == "float"
        else "this JPEG has 12 bits"
    )
    with pytest.raises(ImageError, match=f"^{expected}.*, which is not supported: export it as PNG, TIFF or JPEG"):
        decode(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "text",
    ["The free plan allows ten files", "Get free access", "ID3 tags", "OTTO hat", "MMORPG news", "MZ" + "a" * 80],
)
def test_plain_text_is_not_taken_for_another_kind_of_file(text):
    assert describe(text.encode()) == "this is plain text, not an image"
