import struct
import zlib

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps

from hidascan.errors import ImageError
from hidascan.finding import Finding
from hidascan.image.decode import decode
from hidascan.image.identity import identify
from hidascan.image.views import upright
from hidascan.report.reporter import pixels_of
from tests.conftest import picture, save_picture

PIXELS = picture(60, 90)


@pytest.mark.parametrize(
    ("suffix", "format_name", "options"),
    [
        ("png", "PNG", {}),
        ("bmp", "BMP", {}),
        ("tif", "TIFF", {}),
        ("webp", "WEBP", {"lossless": True}),
    ],
)
def test_lossless_formats_keep_every_pixel(tmp_path, suffix, format_name, options):
    image = decode(save_picture(tmp_path / f"a.{suffix}", 60, 90, **options))
    assert image.format == format_name and (image.pixels == PIXELS).all()
    assert image.jpeg is None


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        ("jpg", {"quality": 95}),
        ("jpg", {"quality": 95, "progressive": True}),
        ("webp", {"quality": 95}),
        ("heic", {"quality": 95}),
        ("avif", {"quality": 95}),
    ],
)
def test_lossy_formats_are_close(tmp_path, suffix, options):
    image = decode(save_picture(tmp_path / f"a.{suffix}", 60, 90, **options))
    assert np.abs(image.pixels.astype(int) - PIXELS).mean() < 6


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    Image.fromarray(PIXELS).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    image = decode(tmp_path / "a.jpg")
    assert np.abs(image.pixels.astype(int) - PIXELS).mean() < 6 and image.jpeg.quality == 95


def test_mpo_is_read_as_its_first_picture(tmp_path):
    first, second = Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)
    first.save(tmp_path / "a.mpo", save_all=True, append_images=[second], quality=90)
    image = decode(tmp_path / "a.mpo")
    assert np.abs(image.pixels.astype(int) - PIXELS).mean() < 6 and not image.notes


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_the_first_frame_of_an_animation_is_scanned_with_a_note(tmp_path, suffix):
    frames = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS), Image.fromarray(PIXELS // 2)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], duration=100)
    image = decode(tmp_path / f"a.{suffix}")
    assert "only the first of 3 frames scanned" in image.notes
    assert np.abs(image.pixels.astype(int) - PIXELS).mean() < 12


def test_16_bit_grey_is_scaled(tmp_path):
    Image.fromarray(np.array([[0, 257, 25700, 65535]], np.uint16)).save(tmp_path / "a.png")
    image = decode(tmp_path / "a.png")
    assert image.pixels[0, :, 0].tolist() == [0, 1, 100, 255] and "scaled to 8" in image.notes[0]


def test_16_bit_colour_tiff_is_scaled_with_a_note(tmp_path):
    import cv2

    cv2.imwrite(str(tmp_path / "a.tif"), PIXELS[..., ::-1].astype(np.uint16) * 257)
    image = decode(tmp_path / "a.tif")
    assert (image.pixels == PIXELS).all() and "scaled to 8" in image.notes[0]


@pytest.mark.parametrize("suffix", ["heic", "avif"])
def test_10_bit_colour_has_a_note(tmp_path, suffix):
    import cv2

    deep, path = PIXELS.astype(np.uint16) * 257, tmp_path / f"a.{suffix}"
    if suffix == "avif":
        cv2.imwrite(str(path), deep >> 6, [cv2.IMWRITE_AVIF_DEPTH, 10])
    else:
        pillow_heif.from_bytes("RGB;16", (deep.shape[1], deep.shape[0]), deep.tobytes()).save(path)
    assert decode(path).notes == ("more than 8 bits per channel, scaled to 8",)
    Image.fromarray(PIXELS).save(path)
    assert decode(path).notes == ()


def test_transparency_is_put_on_white(tmp_path):
    rgba = np.dstack([np.zeros((4, 4, 3), np.uint8), np.array([[0, 255, 0, 255]] * 4, np.uint8)])
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image = decode(tmp_path / "a.png")
    assert image.pixels[0, :, 0].tolist() == [255, 0, 255, 0] and "transparency rendered on white" in image.notes


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_mode_of_png_becomes_rgb(tmp_path, mode):
    Image.fromarray(PIXELS).convert("L" if mode == "I;16" else mode).convert(mode).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png").pixels.shape == (60, 90, 3)


def test_grey_with_premultiplied_alpha_is_read(tmp_path):
    grey, alpha = PIXELS[..., 0], np.where(np.arange(PIXELS.shape[1]) < 64, 255, 51).astype(np.uint8)[None].repeat(len(PIXELS), 0)  # fmt: skip
    stored = np.dstack([(grey * (alpha / 255)).round().astype(np.uint8), alpha])
    Image.fromarray(stored, "LA").save(tmp_path / "a.tif")
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(with_tag(data, 338, 1))
    image = decode(tmp_path / "a.tif")
    shown = np.where(alpha == 255, grey, stored[..., 0].astype(int) + 204)
    assert np.abs(image.pixels.astype(int) - shown[..., None]).max() <= 3
    assert image.notes == ("transparency rendered on white",)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_reported_and_not_applied(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif)
    image = decode(tmp_path / "a.png")
    assert image.orientation == orientation and (image.pixels == PIXELS).all()
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    assert (upright(image.pixels, orientation) == wanted).all()


def test_an_orientation_may_be_written_as_a_fraction(tmp_path):
    tag = struct.pack("<2sHIHHHIIIII", b"II", 42, 8, 1, 0x0112, 5, 1, 26, 0, 6, 1)  # RATIONAL 6 / 1
    Image.fromarray(PIXELS).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + tag)
    assert type(decode(tmp_path / "a.jpg").orientation) is int and decode(tmp_path / "a.jpg").orientation == 6


@pytest.mark.parametrize("suffix", ["jpg", "tif", "webp", "avif", "heic"])
def test_every_format_can_be_turned_upright(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a.{suffix}"
    picture_with_exif = Image.fromarray(PIXELS)
    picture_with_exif.info["exif"] = exif.tobytes()  # the HEIC writer turns what it finds here into a rotation box
    picture_with_exif.save(path, quality=95, **({} if suffix == "heic" else {"exif": exif}))
    image = decode(path)
    turned = upright(image.pixels, image.orientation).astype(int)
    assert turned.shape == (90, 60, 3) and np.abs(turned - np.rot90(PIXELS, -1)).mean() < 8


def test_icc_profiles_are_ignored(tmp_path):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    Image.fromarray(PIXELS).save(tmp_path / "a.png", icc_profile=profile)
    assert (decode(tmp_path / "a.png").pixels == PIXELS).all()


def broken_files(folder):
    whole = save_picture(folder / "whole.jpg", 200, 200).read_bytes()
    contents = {
        "truncated.jpg": whole[: len(whole) // 9],
        "text.png": b"this is no picture",
        "empty.png": b"",
        "magic.png": b"\x89PNG\r\n\x1a\n",
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in contents]


def test_unreadable_files_are_reported_in_one_line(tmp_path):
    for path in [*broken_files(tmp_path), tmp_path / "missing.png", tmp_path]:
        with pytest.raises(ImageError) as raised:
            decode(path)
        assert str(raised.value) and "\n" not in str(raised.value)


def test_a_gif_whose_first_frame_was_read_from_garbage_is_damaged(tmp_path):
    Image.fromarray(PIXELS).convert("P").save(tmp_path / "a.gif")
    data = bytearray((tmp_path / "a.gif").read_bytes())
    at = data.index(b",\0\0\0\0")
    data[at + 5 : at + 9] = b"\x9e\xf1\x74\x1e"  # width and height of the frame
    (tmp_path / "a.gif").write_bytes(data)
    with pytest.raises(ImageError, match="too small for the size that its first frame declares"):
        decode(tmp_path / "a.gif")


def test_a_gif_whose_first_frame_is_larger_than_its_screen_is_scanned(tmp_path):
    Image.fromarray(PIXELS).convert("P").save(tmp_path / "a.gif")
    data = bytearray((tmp_path / "a.gif").read_bytes())
    data[6:10] = b"\x01\0\x01\0"
    (tmp_path / "a.gif").write_bytes(data)
    assert decode(tmp_path / "a.gif").pixels.shape == PIXELS.shape


def test_too_many_pixels_are_refused_before_they_take_memory(tmp_path):
    path = save_picture(tmp_path / "a.png", 100, 100)
    with pytest.raises(ImageError, match="exceeds the limit"):
        decode(path, max_pixels=9_999)


def test_a_fifo_is_refused_at_once(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        decode(tmp_path / "pipe.png")


def test_a_thin_picture_announces_the_pixels_that_padding_adds(tmp_path):
    Image.new("L", (3000, 1)).save(tmp_path / "a.png")
    announced = []
    decode(tmp_path / "a.png", before_load=announced.append)
    decode(tmp_path / "a.png", max_pixels=100_000, before_load=announced.append)
    assert announced == [3000 * 224, 100_000]


def test_the_report_of_a_replaced_file_does_not_show_another_picture(tmp_path):
    save_picture(tmp_path / "a.png", 60, 90)
    file = identify(str(tmp_path / "a.png"))
    finding = Finding(str(tmp_path / "a.png"), "ok", width=90, height=60, file=file)
    assert pixels_of(finding).shape == (60, 90, 3)
    save_picture(tmp_path / "a.png", 60, 90, seed=7)
    with pytest.raises(ImageError, match="has changed"):
        pixels_of(finding)


def with_tag(data, number, value, page=0):
    """A little-endian TIFF with another number under a tag of one of its pages."""
    (place,) = struct.unpack_from("<I", data, 4)
    for _ in range(page):
        (place,) = struct.unpack_from("<I", data, place + 2 + 12 * struct.unpack_from("<H", data, place)[0])
    (count,) = struct.unpack_from("<H", data, place)
    entries = range(place + 2, place + 2 + 12 * count, 12)
    entry = next(entry for entry in entries if struct.unpack_from("<H", data, entry)[0] == number)
    return data[: entry + 8] + struct.pack("<I", value) + data[entry + 12 :]


def test_if_another_page_of_a_tiff_cannot_be_read_the_first_one_counts(tmp_path):
    first, larger = Image.fromarray(PIXELS), Image.fromarray(picture(120, 180))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[larger], software="Midjourney")
    (tmp_path / "a.tif").write_bytes(with_tag((tmp_path / "a.tif").read_bytes(), 259, 9999, page=1))
    image = decode(tmp_path / "a.tif")
    assert (image.pixels == PIXELS).all() and [claim.text for claim in image.claims] == ["Midjourney"]
    assert image.notes == ("only the first of several frames scanned; another page cannot be read",)


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("frames", [1, 2])
def test_memory_for_a_webp_is_admitted_before_it_is_opened(tmp_path, monkeypatch, lossless, frames):
    others = [Image.fromarray(255 - PIXELS)] * (frames - 1)
    Image.fromarray(PIXELS).save(tmp_path / "a.webp", save_all=True, append_images=others, lossless=lossless)
    happened, opened = [], Image.open
    monkeypatch.setattr(
        Image, "open", lambda *given, **options: (happened.append("open"), opened(*given, **options))[1]
    )
    decode(tmp_path / "a.webp", before_load=happened.append)
    assert happened[0] == 224 * 224 and happened.count(224 * 224) == 1
    with pytest.raises(ImageError, match="90x60 exceeds the limit"):
        decode(tmp_path / "a.webp", max_pixels=5_000)


@pytest.mark.parametrize("kind", ["float", "integers"])
@pytest.mark.parametrize("compression", [None, "tiff_deflate"])
def test_compressed_big_endian_values_of_32_bits_are_refused(tmp_path, kind, compression):
    import cv2

    grey = PIXELS[..., 0].astype(">f4" if kind == "float" else ">i4")
    save_big_endian(tmp_path / "a.tif", grey, zlib.compress(grey.tobytes()) if compression else grey.tobytes())
    if not compression:
        assert (decode(tmp_path / "a.tif").pixels[..., 0] == PIXELS[..., 0]).all()
        return
    if kind == "float":  # a valid file
        assert (cv2.imread(str(tmp_path / "a.tif"), cv2.IMREAD_UNCHANGED) == PIXELS[..., 0]).all()
    with pytest.raises(ImageError, match="compressed big-endian values of 32 bits"):
        decode(tmp_path / "a.tif")


def save_big_endian(path, grey, data):
    """Write a grey TIFF of 32 bits, with Deflate compression if `data` are shorter than the values."""
    deflate, sample = 8 if len(data) < grey.nbytes else 1, 3 if grey.dtype.kind == "f" else 2
    height, width = grey.shape
    tags = {
        256: width,
        257: height,
        258: 32,
        259: deflate,
        262: 1,
        273: 8,
        277: 1,
        278: height,
        279: len(data),
        339: sample,
    }
    entries = b"".join(struct.pack(">HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack(">H", len(tags)) + entries + bytes(4)
    path.write_bytes(struct.pack(">2sHI", b"MM", 42, 8 + len(data)) + data + directory)


def test_subsampled_colours_without_compression_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(PIXELS).convert("YCbCr").save(path)
    data = path.read_bytes()
    assert np.abs(decode(path).pixels.astype(int) - PIXELS).max() < 6
    path.write_bytes(with_tag(data, 530, 2 | 2 << 16))
    assert not decode(path).notes  # as many values as without subsampling: only the tag is wrong
    path.write_bytes(with_tag(with_tag(data, 530, 2 | 2 << 16), 279, 60 * 90 * 3 // 2))
    with pytest.raises(ImageError, match="subsampled colours without compression"):
        decode(path)


def test_large_unsigned_values_of_32_bits_are_not_called_signed(tmp_path):
    grey = PIXELS[..., 0].astype(np.uint32) << 24
    Image.fromarray(grey.view(np.int32)).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes(with_tag((tmp_path / "a.tif").read_bytes(), 339, 1))
    wanted = np.rint(PIXELS[..., 0] * (255 / PIXELS[..., 0].max()))
    assert np.abs(decode(tmp_path / "a.tif").pixels[..., 0] - wanted).max() <= 1


@pytest.mark.parametrize("missing", [1, 30, 100, 150])
def test_a_tiff_cut_within_its_directory_is_not_called_unsupported(tmp_path, missing):
    path = tmp_path / "a.tif"
    Image.fromarray(picture(300, 400)).save(path, compression="tiff_lzw")
    path.write_bytes(path.read_bytes()[:-missing])
    with pytest.raises(ImageError, match="damaged image: the file is truncated"):
        decode(path)
