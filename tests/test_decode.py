import struct

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageOps

from hidascan.errors import ImageError
from hidascan.finding import Finding
from hidascan.image.decode import decode
from hidascan.image.sources import evidence_of
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
    file = evidence_of(str(tmp_path / "a.png"))
    finding = Finding(str(tmp_path / "a.png"), "ok", width=90, height=60, file=file)
    assert pixels_of(finding).shape == (60, 90, 3)
    save_picture(tmp_path / "a.png", 60, 90, seed=7)
    with pytest.raises(ImageError, match="has changed"):
        pixels_of(finding)
