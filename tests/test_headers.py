"""Files that viewers show although a part of their header is odd: their pixels are scanned, without a note."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from hidascan.errors import ImageError
from hidascan.image.decode import decode
from hidascan.image.headers import brands_of, chunks_of, with_known_brand

PIXELS = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
IMAGE = Image.fromarray(PIXELS)


def saved(form: str, image: Image.Image = IMAGE, **options) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def segment(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body


@pytest.fixture
def read(tmp_path):
    def read(data: bytes):
        (tmp_path / "a").write_bytes(data)
        return decode(tmp_path / "a")

    return read


ODD_CHUNKS = [(b"pHYs", b"\0"), (b"gAMA", b"\0"), (b"cHRM", b"\0\0"), (b"sRGB", b""), (b"tRNS", b"\0"), (b"acTL", b"\0"),
              (b"fcTL", bytes(26)), (b"iCCP", b"x"), (b"zTXt", b"a\0\0zz")]  # fmt: skip


@pytest.mark.parametrize(("kind", "body"), ODD_CHUNKS, ids=[kind.decode() for kind, _ in ODD_CHUNKS])
def test_malformed_chunks_of_a_png_are_skipped(read, kind, body):
    data = saved("PNG", pnginfo=None)
    image = read(data[:33] + chunk(kind, body) + data[33:])
    assert np.array_equal(image.pixels, PIXELS) and not image.notes


def odd_jpegs() -> dict[str, bytes]:
    data, profile = saved("JPEG", quality=90), ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    icc = segment(0xE2, b"ICC_PROFILE\0\1\1" + profile)
    start, rest = data[:2], data[2:]
    version, scan = data.index(b"JFIF\0") + 5, data.index(b"\xff\xda")
    last = scan + 2 + struct.unpack_from(">H", data, scan + 2)[0]
    return {
        "two profiles": start + icc + icc + rest,
        "profile 0 of 0": start + segment(0xE2, b"ICC_PROFILE\0\0\0" + profile) + rest,
        "JFIF 2": data[:version] + b"\2" + data[version + 1 :],
        "scan parameters": data[: last - 3] + bytes(3) + data[last:],
        "short JFIF": start + segment(0xE0, b"JFIF\0") + data[20:],
        "short profile": start + segment(0xE2, b"ICC_PROFILE") + rest,
        "unknown Adobe transform": start + segment(0xEE, b"Adobe\0\x64\0\0\0\0\3") + data[20:],
        "cut resource": start + segment(0xED, b"Photoshop 3.0\x008BIM\4\4") + rest,
    }


@pytest.mark.parametrize("name", odd_jpegs())
def test_odd_headers_of_a_jpeg_do_not_matter(read, name):
    image = read(odd_jpegs()[name])
    assert np.array_equal(image.pixels, read(saved("JPEG", quality=90)).pixels) and not image.notes


def test_an_unknown_adobe_transform_of_four_channels_does_not_matter(read):
    data = saved("JPEG", IMAGE.convert("CMYK"), quality=90)
    transform = data.index(b"Adobe") + 11
    ycck, unknown = (data[:transform] + byte + data[transform + 1 :] for byte in (b"\2", b"\1"))
    assert np.array_equal(read(unknown).pixels, read(ycck).pixels) and not read(unknown).notes


@pytest.mark.parametrize("brand", [b"mif1", b"msf1", b"miaf"])
@pytest.mark.parametrize("form", ["AVIF", "HEIF"])
def test_files_under_the_brand_of_their_container_are_read(read, form, brand):
    data = saved(form)
    image = read(data[:8] + brand + data[12:])
    assert image.format == form and np.array_equal(image.pixels, read(data).pixels)


def test_an_avif_with_broken_exif_is_read(read):
    data = saved("AVIF", exif=b"Exif\0\0MM\0*" + bytes(range(20)))
    assert read(data.replace(b"MM\0*" + bytes(range(20)), b"zzzz" + bytes(range(20)))).pixels.shape == PIXELS.shape


def test_exif_behind_the_pixels_of_a_heic_may_end_in_zeros(read):
    assert not read(saved("HEIF", exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(6000))).notes


def test_a_heic_cut_off_within_its_exif_is_damaged(read):
    data = saved("HEIF", exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(range(1, 250)) * 40)
    (note,) = read(data[:-16_000] + bytes(16_000)).notes
    assert note.startswith("damaged: ")


def test_texts_and_iptc_of_odd_files_are_kept(read):
    credit = b"\x1c\x02\x6e" + struct.pack(">H", 19) + b"Made with Google AI"
    resource = b"Photoshop 3.0\x008BIM\4\4\0\0" + struct.pack(">I", len(credit)) + credit + bytes(len(credit) % 2)
    data = saved("JPEG", quality=90)
    odd = data[:2] + segment(0xE0, b"JFIF\0") + segment(0xED, resource) + data[20:]
    assert [claim.text for claim in read(odd).claims] == ["Google AI"]
    png = saved("PNG")
    text = chunk(b"zTXt", b"Software\0\0" + zlib.compress(b"Midjourney"))
    assert [claim.text for claim in read(png[:33] + chunk(b"pHYs", b"\0") + text + png[33:]).claims] == ["Midjourney"]


def test_a_32_bit_tiff_of_signed_integers_is_read(read):
    grey = np.asarray(IMAGE.convert("L"))
    assert np.array_equal(read(saved("TIFF", Image.fromarray(grey.astype(np.int32)))).pixels[..., 0], grey)
    with pytest.raises(ImageError, match="signed values"):
        read(saved("TIFF", Image.fromarray(grey.astype(np.int32) - 100)))


@pytest.mark.parametrize("size", range(8, 40))
def test_a_png_of_a_few_bytes_has_a_reason(read, size):
    with pytest.raises(ImageError, match="damaged image"):
        read(saved("PNG")[:size])


def test_a_text_called_exif_is_no_exif(read):
    text = chunk(b"iTXt", b"exif\0\0\0\0\0text")
    assert np.array_equal(read(saved("PNG")[:33] + text + saved("PNG")[33:]).pixels, PIXELS)


def test_only_the_beginning_of_large_odd_files_is_searched():
    data = struct.pack(">I", 4_000_000) + b"ftypmp42" + bytes(range(256)) * 20_000
    assert with_known_brand(data) == data and len(brands_of(data)) <= 256
    png = saved("PNG")
    assert len(list(chunks_of(png + bytes(12_000)))) == len(list(chunks_of(png)))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "HEIF"])
def test_blank_bytes_before_a_picture_are_skipped(read, form):
    data = saved(form)
    assert read(b"\r\n" + data).notes == ("skipped 2 blank bytes before the picture",)
    assert np.array_equal(read(b"\r\n" + data).pixels, read(data).pixels)


def png(colour: int, depth: int, width: int, rows: bytes, transparent: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, len(rows) // (len(rows) // 16), depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [header, chunk(b"tRNS", transparent), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    )


def test_the_transparent_colour_of_a_png_is_that_of_viewers(read):
    row = bytes([0]) + bytes(16 * high + high + 1 for high in range(0, 16, 2))  # of 4 bits: 0 to 15
    grey = read(png(0, 4, 16, row * 16, struct.pack(">H", 8))).pixels[0, :, 0]
    assert grey.tolist() == [255 if number == 8 else 17 * number for number in range(16)]
    black = bytes(1 + 6 * 16)  # of 16 bits; Pillow would take the low byte of 0x8000 for black
    assert not read(png(2, 16, 16, black * 16, struct.pack(">HHH", *[0x8000] * 3))).pixels.any()


def tags(**values) -> TiffImagePlugin.ImageFileDirectory_v2:
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in values.items():
        directory[int(name[1:])] = value
    return directory


def test_a_tiff_whose_first_picture_is_a_preview_is_refused(read):
    small = IMAGE.resize((32, 24))
    with pytest.raises(ImageError, match="only a preview of another one"):
        read(saved("TIFF", small, save_all=True, append_images=[IMAGE.copy()], tiffinfo=tags(t254=1)))


def test_an_export_that_kept_the_tag_of_dng_is_read(read):
    assert np.array_equal(read(saved("TIFF", tiffinfo=tags(t50706=b"\1\4\0\0"))).pixels, PIXELS)


@pytest.mark.parametrize(("tag", "words"), [("t259", "WebP compression"), ("t339", "signed values")])
def test_tiffs_of_rare_kinds_are_named(read, tag, words):
    number, value = int(tag[1:]), {"t259": 50001, "t339": 2}[tag]
    data = bytearray(saved("TIFF", IMAGE.convert("L"), tiffinfo=tags(t339=1)))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, place)[0] == number:
            struct.pack_into("<HI", data, place + 2, 3, 1)
            struct.pack_into("<I", data, place + 8, value)
    with pytest.raises(ImageError, match=words):
        read(bytes(data))


def test_the_still_picture_of_an_animated_png_is_named_as_such(read):
    other = Image.fromarray(255 - PIXELS)
    data = saved("PNG", save_all=True, append_images=[other], default_image=True)
    assert read(data).notes == (
        "only the still picture of an animated PNG scanned; viewers of animations show other frames",
    )


def test_a_bmp_without_alpha_is_opaque(read):
    data = bytearray(saved("BMP", IMAGE.convert("RGB")))
    pixels = np.dstack([PIXELS[::-1, :, ::-1], np.zeros((96, 128), np.uint8)]).tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 128, 96, 1, 32, 3, len(pixels), 0, 0, 0, 0) + masks + bytes(52)
    data = b"BM" + struct.pack("<IHHI", 122 + len(pixels), 0, 0, 122) + header + pixels
    assert np.array_equal(read(data).pixels, PIXELS)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"BMW 320i sold for 20 in 1999 and so on, a text" * 4, "plain text"),
        (bytes([0, 0, 2, *[0] * 9, 10, 0, 10, 0, 24, 0]) + bytes(range(1, 251)), "TGA image"),
        (b'<?xpacket begin="" id="x"?><x:xmpmeta xmlns:x="adobe:ns:meta/"></x:xmpmeta>', "XMP sidecar"),
        (b'{"title": "IMG_1.jpg"}', "a sidecar file, or a failed download"),
    ],
    ids=["text", "TGA", "XMP", "JSON"],
)
def test_other_files_are_named(read, data, words):
    with pytest.raises(ImageError, match=words):
        read(data)
