"""Damaged files: notes, and scanned rows without a decoder's filler."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin

from hidascan.errors import ImageError
from hidascan.image.damage import filled_pixels
from hidascan.image.decode import decode
from hidascan.image.heif_items import coded_extents
from tests.conftest import picture

HEIGHT, WIDTH = 320, 200
PIXELS = picture(HEIGHT, WIDTH)
JPEGS = {
    "baseline": {},
    "444": {"subsampling": 0},
    "optimised": {"optimize": True},
    "restarts": {"restart_marker_rows": 1},
    "short restarts": {"restart_marker_blocks": 2},
}


def saved(format_name, image=None, **options):
    file = io.BytesIO()
    image = image or Image.fromarray(PIXELS)
    (image.convert("L") if format_name == "GIF" else image).save(file, format_name, **options)
    return file.getvalue()


@pytest.fixture
def read(tmp_path):
    def decoded(data):
        (tmp_path / "file").write_bytes(data)
        return decode(tmp_path / "file")

    return decoded


def the_note(image):
    (note,) = [note for note in image.notes if note.startswith("damaged: ")]
    return note


def assert_upper_rows(image, whole):
    rows = len(image.pixels)
    assert rows < HEIGHT and (image.pixels == whole.pixels[:rows]).all()
    assert f"only the first {rows} of {HEIGHT} rows" in the_note(image)


def test_a_jpeg_without_its_end_marker_is_scanned_whole(read):
    data = saved("JPEG", quality=90)
    image = read(data[:-2])
    assert (image.pixels == read(data).pixels).all() and "end marker" in the_note(image)


def test_zeros_in_an_intact_scan_are_not_a_hole(read):
    data = saved("JPEG", Image.new("RGB", (800, 800), "white"), optimize=True)
    assert bytes(64) in data and not read(data).notes
    assert "end marker" in the_note(read(data[:-2]))


def test_changed_line_ends_are_reported(read):
    assert "may be wrong" in the_note(read(saved("JPEG", quality=88).replace(b"\n", b"\r\n")))


@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["cut", "cut, with an end marker"])
@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_of_a_cut_jpeg_only_rows_of_its_own_are_scanned(read, kind, mode, end):
    options = {"quality": 90} | (JPEGS[kind] if mode == "RGB" or kind != "444" else {})
    data = saved("JPEG", Image.fromarray(PIXELS).convert(mode), **options)
    for share in (0.5, 0.8):
        cut = read(data[: int(share * len(data))].rstrip(b"\xff") + end)
        assert_upper_rows(cut, read(data))
        assert share - 0.25 < len(cut.pixels) / HEIGHT < share + 0.1


def test_a_cut_between_two_restart_intervals_is_no_missing_end_marker(read):
    data = saved("JPEG", quality=90, restart_marker_rows=1)
    assert_upper_rows(read(data[: data.index(b"\xff\xd4", len(data) // 2)]), read(data))


@pytest.mark.parametrize("kind", JPEGS)
def test_rows_from_a_hole_of_zeros_on_are_not_scanned(read, kind):
    data = saved("JPEG", quality=90, **JPEGS[kind])
    start = len(data) * 6 // 10
    assert_upper_rows(read(data[:start] + bytes(2000) + data[start + 2000 :]), read(data))


@pytest.mark.parametrize("marker", [b"\xff\x9a", b"\xff\xc4", b"\xff\xd8", b"\xff\x01"])
def test_rows_from_a_stray_marker_on_are_not_scanned(read, marker):
    data = saved("JPEG", quality=90)
    start = len(data) * 6 // 10
    assert_upper_rows(read(data[:start] + marker + data[start + 2 :]), read(data))


def test_a_stray_marker_behind_the_last_pixel_costs_none(read):
    data = saved("JPEG", quality=90)
    image = read(data[:-2] + b"\xff\x9a" + data[-2:])
    assert (image.pixels == read(data).pixels).all() and "all pixels are intact" in the_note(image)


def test_corrupt_jpeg_data_are_reported(read):
    data = saved("JPEG", quality=90)
    lost = read(data[: len(data) // 2] + data[len(data) // 2 + 400 :])
    assert "may be wrong" in the_note(lost)


def test_a_cut_progressive_jpeg_is_scanned_with_less_detail_or_not_at_all(read):
    data = saved("JPEG", quality=90, progressive=True)
    image = read(data[: len(data) * 8 // 10])
    assert image.pixels.shape == PIXELS.shape and "at reduced detail" in the_note(image)
    with pytest.raises(ImageError, match="coarse preview"):
        read(data[: len(data) * 2 // 10])


def test_of_a_jpeg_with_too_few_rows_nothing_is_scanned(read):
    data = saved("JPEG", quality=90)
    with pytest.raises(ImageError, match=r"damaged image: only \d+ of 320 rows are readable"):
        read(data[: len(data) // 4])


@pytest.mark.parametrize("behind", [b"\0" * 5000, b"\xff\xd8\xff\xd9" * 9, b"....ftypmp42 a motion photo", b"\r\n"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 2}])
def test_bytes_behind_a_jpeg_are_no_damage(read, behind, options):
    assert not read(saved("JPEG", **options) + behind).notes


@pytest.mark.parametrize("padding", [b"\0" * 100, b"\xff" * 7, b"\0"])
def test_padding_before_the_end_marker_is_no_damage(read, padding):
    assert not read(saved("JPEG")[:-2] + padding + b"\xff\xd9").notes


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": "4:2:2"}, {"optimize": True}])
def test_a_sound_jpeg_has_the_pixels_that_pillow_gives(read, mode, options):
    options = options if mode == "RGB" else {}
    data = saved("JPEG", Image.fromarray(picture(61, 83)).convert(mode), **options)
    image = read(data)
    assert (image.pixels == np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).all() and not image.notes


@pytest.mark.parametrize("factors", [(0x31, 0x11, 0x11), (0x11, 0x21, 0x11), (0x12, 0x11, 0x12)])
def test_a_jpeg_with_a_rare_subsampling_is_read(read, factors):
    data = bytearray(saved("JPEG", subsampling=0))
    header = data.index(b"\xff\xc0")
    for number, factor in enumerate(factors):
        data[header + 11 + 3 * number] = factor
    assert read(bytes(data)).pixels.shape == PIXELS.shape


def chunk(kind, data, checksum=None):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum or zlib.crc32(kind + data))


def png(pixels=PIXELS, interlaced=False, size=8192, extra=b""):
    """A PNG of 8 or 16 bits RGB in chunks of `size` bytes."""
    depth, (height, width) = 8 * pixels.itemsize, pixels.shape[:2]
    lattices = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    rows = [
        b"\0" + row.astype(f">u{pixels.itemsize}").tobytes()
        for left, top, across, down in (lattices if interlaced else ((0, 0, 1, 1),))
        for row in pixels[top::down, left::across]
    ]
    deflated = zlib.compress(b"".join(rows))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, interlaced))
    parts = [chunk(b"IDAT", deflated[start : start + size]) for start in range(0, len(deflated), size)]
    return b"\x89PNG\r\n\x1a\n" + header + extra + b"".join(parts) + chunk(b"IEND", b"")


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_of_a_cut_png_the_rows_before_the_end_are_scanned(read, share):
    data = png()
    assert_upper_rows(read(data[: int(share * len(data))]), read(data))


def test_of_a_cut_interlaced_png_only_whole_rows_are_scanned(read):
    data = png(interlaced=True)
    assert_upper_rows(read(data[: int(0.9 * len(data))]), read(data))
    with pytest.raises(ImageError, match="only 0 of 320 rows"):
        read(data[: int(0.4 * len(data))])


def test_rows_behind_a_wrong_checksum_are_not_scanned(read):
    data = bytearray(png())
    data[len(data) * 6 // 10] ^= 16
    assert_upper_rows(read(bytes(data)), read(png()))


@pytest.mark.parametrize("kind", [b"tEXt", b"iTXt", b"zTXt", b"gAMA", b"eXIf", b"iCCP", b"vpAg"])
def test_a_wrong_checksum_outside_of_the_pixels_costs_no_pixel(read, kind):
    image = read(png(extra=chunk(kind, b"Comment\0hello there", checksum=7)))
    assert (image.pixels == PIXELS).all() and f"wrong checksum in {kind.decode()}" in the_note(image)


def test_a_wrong_checksum_over_sound_pixels_costs_no_pixel(read):
    data = png(size=1 << 20)
    image = read(data[:-16] + b"\1\2\3\4" + data[-12:])
    assert (image.pixels == PIXELS).all() and "all pixels are intact" in the_note(image)


def test_a_png_with_a_wrong_header_is_refused(read):
    data = bytearray(png())
    data[24] = 4
    with pytest.raises(ImageError, match="the header of this PNG file is wrong"):
        read(bytes(data))


@pytest.mark.parametrize("missing", [1, 4, 12, 14])
def test_a_png_without_its_end_is_scanned_whole(read, missing):
    image = read(png()[:-missing])
    assert (image.pixels == PIXELS).all() and "all pixels are intact" in the_note(image)


def test_metadata_of_a_damaged_png_are_still_read(read):
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", "a cat Steps: 20, Sampler: Euler")
    data = saved("PNG", pnginfo=info)
    assert read(data[: len(data) * 8 // 10]).claims


@pytest.mark.parametrize(
    ("format_name", "options"),
    [("GIF", {"interlace": 0}), ("TIFF", {})],
)
def test_of_other_cut_files_the_rows_that_were_decoded_are_scanned(read, format_name, options):
    data = saved(format_name, **options)
    assert_upper_rows(read(data[: len(data) * 7 // 10]), read(data))


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_of_a_cut_bmp_the_lower_rows_are_scanned(read, mode):
    data = saved("BMP", Image.fromarray(PIXELS).convert(mode))
    image = read(data[: len(data) * 7 // 10])
    rows = len(image.pixels)
    assert (image.pixels == read(data).pixels[-rows:]).all()
    assert f"only rows {HEIGHT - rows + 1} to {HEIGHT} of {HEIGHT}" in the_note(image)


@pytest.mark.parametrize("format_name", ["AVIF", "HEIF"])
def test_a_cut_file_that_decodes_whole_or_not_at_all_says_how_much_is_there(read, format_name):
    data = saved(format_name)
    half = len(data) // 2
    with pytest.raises(ImageError, match=f"the file is truncated: {half} of at least {len(data)} bytes"):
        read(data[:half])


@pytest.mark.parametrize("quality", [50, 90])
def test_of_a_webp_cut_within_its_picture_the_upper_rows_are_scanned(read, quality):
    data = saved("WEBP", Image.fromarray(picture(400, 300)), quality=quality)
    whole = read(data).pixels
    for share, fewest in ((0.99, 300), (0.7, 150), (0.6, 100)):
        cut = read(data[: int(share * len(data))])
        rows = len(cut.pixels)
        assert fewest <= rows < 400 and (cut.pixels == whole[:rows]).all()
        assert cut.notes == (f"damaged: only the first {rows} of 400 rows were readable and scanned",)
    with pytest.raises(ImageError, match=r"only \d+ of 400 rows are readable"):
        read(data[: len(data) // 4])
    with pytest.raises(ImageError, match="the file is truncated"):
        read(data[: len(data) // 9])


@pytest.mark.parametrize(
    "options", [{"exif": b"Exif\0\0" + bytes(5000)}, {"xmp": b"<x:xmpmeta>"}, {"icc_profile": bytes(999)}]
)
def test_metadata_that_a_truncated_webp_lacks_hide_no_rows(read, options):
    data = saved("WEBP", Image.fromarray(picture(400, 300)), quality=80, **options)
    start = data.index(b"VP8 ")
    end = start + 8 + int.from_bytes(data[start + 4 : start + 8], "little")
    cut = read(data[: (start + 4 * end) // 5])
    assert len(cut.pixels) > 200 and (cut.pixels == read(data).pixels[: len(cut.pixels)]).all()


def test_a_truncated_webp_with_far_too_many_bytes_for_its_size_is_refused(read):
    data = saved("WEBP", Image.fromarray(picture(64, 64)), quality=80)
    padded = (
        b"RIFF"
        + (len(data) + 9_000_000).to_bytes(4, "little")
        + data[8:12]
        + b"VP8 "
        + (9_000_000).to_bytes(4, "little")
    )
    with pytest.raises(ImageError, match="the file is truncated"):
        read(padded + data[20:] + bytes(5_000_000))


def test_a_webp_that_lacks_its_last_byte_alone_is_whole(read):
    data = saved("WEBP", Image.fromarray(picture(400, 300)), quality=80)
    cut = read(data[:-1])
    assert (cut.pixels == read(data).pixels).all() and "the picture is intact" in cut.notes[0]


@pytest.mark.parametrize("options", [{"quality": 80}, {"lossless": True}])
def test_a_webp_cut_behind_its_picture_is_scanned(read, options):
    exif = Image.Exif()
    exif[0x0131] = "Adobe Firefly"
    exif[0x8298] = "nobody" * 400
    data = saved("WEBP", **options, exif=exif)
    cut = read(data[:-1000])
    assert (cut.pixels == read(data).pixels).all() and cut.claims[0].text.startswith("Adobe Firefly")
    assert cut.notes == (
        "damaged: the file is shorter than it declares; the picture is intact, but metadata or later frames may be missing",
    )


def test_of_a_cut_animation_the_first_frame_is_scanned(read):
    later = [Image.fromarray(255 - PIXELS), Image.fromarray(PIXELS // 2)]
    data = saved("WEBP", save_all=True, append_images=later)
    cut = read(data[:-1000])
    assert (cut.pixels == read(data).pixels).all() and "later frames may be missing" in cut.notes[0]


def test_damage_changes_nothing_for_the_next_file(read):
    read(saved("GIF")[:-9])
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("interlaced", [False, True])
def test_16_bit_colour_png_is_scaled_with_a_note(read, interlaced):
    image = read(png(PIXELS.astype(np.uint16) * 257, interlaced))
    assert (image.pixels == PIXELS).all() and image.notes == ("more than 8 bits per channel, scaled to 8",)


@pytest.mark.parametrize("damaged", [False, True])
@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "AVIF", "HEIF"])
def test_no_pixels_are_decoded_before_admission(tmp_path, monkeypatch, format_name, damaged):
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - PIXELS).convert("L")]} if format_name in ("PNG", "GIF", "WEBP") else {}  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(format_name, **frames, **({} if format_name in ("BMP", "GIF") else {"exif": exif}))
    (tmp_path / "file").write_bytes(data[:-20] if damaged else data)
    happened = []
    for owner, name in ((ImageFile.ImageFile, "load_prepare"), (Image.Image, "load")):
        original = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *given, original=original: (happened.append("load"), original(*given))[1]
        )

    def let_in(pixels):
        happened.append(pixels)
        raise ImageError("not now")

    with pytest.raises(ImageError):
        decode(tmp_path / "file", before_load=let_in)
    assert "load" not in happened


def test_of_a_heic_the_main_picture_is_taken_even_if_it_is_the_second(read):
    other = Image.new("RGB", (WIDTH, HEIGHT), "red")
    image = read(
        saved("HEIF", other, save_all=True, append_images=[Image.fromarray(PIXELS)], primary_index=1, quality=95)
    )
    assert np.abs(image.pixels.astype(int) - PIXELS).mean() < 8
    assert image.notes == ("only the main one of 2 pictures in the file scanned",)


def test_erased_flash_memory_behind_a_cut_jpeg_takes_no_time(read):
    data = saved("JPEG", quality=90)
    cut = data[: len(data) * 6 // 10]
    image = read(cut + b"\xff" * 500_000)  # once quadratic: half a minute
    assert (image.pixels == read(cut).pixels).all() and len(image.pixels) < HEIGHT


@pytest.mark.parametrize("format_name", ["WEBP", "AVIF", "HEIF"])
def test_a_half_downloaded_file_of_its_final_size_is_damaged(read, format_name):
    noise = np.random.default_rng(0).integers(0, 256, (320, 400, 3), np.uint8)
    data = saved(format_name, Image.fromarray(noise))
    assert not read(data).notes
    assert "zero bytes within the coded pixels" in the_note(read(data[: len(data) // 2] + bytes(len(data) // 2)))


@pytest.mark.parametrize("format_name", ["AVIF", "HEIF"])
def test_a_hole_in_the_pixels_of_heic_and_avif_is_damage_and_one_in_their_exif_is_not(read, format_name):
    noise = np.random.default_rng(0).integers(0, 256, (320, 400, 3), np.uint8)
    exif = Image.Exif()
    exif[0x9286] = b"ASCII\0\0\0" + bytes(5000)
    data = saved(format_name, Image.fromarray(noise), exif=exif)
    assert not read(data).notes
    ((start, stop),) = coded_extents(data)
    middle = (start + stop) // 2
    assert "512 zero bytes within the coded pixels" in the_note(read(data[:middle] + bytes(512) + data[middle + 512 :]))


@pytest.mark.parametrize("options", [{}, {"lossless": True}], ids=["lossy", "lossless"])
@pytest.mark.parametrize("filler", [b"\xff", b"\xf6"], ids=["erased flash", "formatted sectors"])
@pytest.mark.parametrize("format_name", ["WEBP", "AVIF", "HEIF"])
def test_a_hole_of_other_bytes_is_damage(format_name, filler, options):
    noise = np.random.default_rng(0).integers(0, 256, (320, 400, 3), np.uint8)
    data = saved(format_name, Image.fromarray(noise), **(options if format_name == "WEBP" else {}))
    middle = len(data) * 3 // 4
    note = filled_pixels(data[:middle] + filler * 1024 + data[middle + 1024 :], format_name, noise)
    assert f"{filler.hex().upper()} bytes within the coded pixels; part of the picture may be wrong" in note


def test_repeated_codes_of_a_lossless_webp_are_no_damage(read):
    rows = np.linspace(0, 255, 600).astype(np.uint8)[:, None, None]
    data = saved("WEBP", Image.fromarray(rows.repeat(1000, 1).repeat(3, 2)), lossless=True, method=0, quality=80)
    assert b"\xff" * 512 in data and not read(data).notes


def test_a_hole_in_another_picture_of_a_heic_is_no_damage_of_the_main_one(read):
    first, second = (
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (320, 400, 3), np.uint8)) for n in (0, 1)
    )
    data = saved("HEIF", first, save_all=True, append_images=[second], primary_index=1)
    ((start, stop),) = coded_extents(data)
    other = data.index(b"mdat") + 1000
    assert not start <= other < stop
    assert not any("zero bytes" in note for note in read(data[:other] + bytes(512) + data[other + 512 :]).notes)


def test_the_tiles_of_a_grid_hold_the_pixels_of_its_picture():
    def box(kind: bytes, content: bytes, version: bytes = b"") -> bytes:
        return struct.pack(">I", 8 + len(version) + len(content)) + kind + version + content

    whole, wide = bytes(4), b"\1" + bytes(3)
    tiles = struct.pack(">HHHH", 9, 2, 1, 2)  # item 9 is a grid of the items 1 and 2; item 3 is its thumbnail
    references = box(b"iref", box(b"dimg", tiles) + box(b"thmb", struct.pack(">HHH", 3, 1, 9)), whole)
    rows = ((1, 0, 100, 40), (2, 0, 140, 60), (3, 0, 200, 30), (9, 1, 0, 8))  # item, method, offset, length
    extents = b"".join(struct.pack(">HHHHII", item, method, 0, 1, at, size) for item, method, at, size in rows)
    locations = box(b"iloc", b"\x44\0" + struct.pack(">H", 4) + extents, wide)
    meta = box(b"meta", box(b"pitm", struct.pack(">H", 9), whole) + references + locations, whole)
    file = box(b"ftyp", b"heic\0\0\0\0") + meta
    assert coded_extents(file) == [(100, 140), (140, 200)]
    assert all(coded_extents(file[:cut]) == [] for cut in range(len(file) - 1))


def test_a_blank_webp_is_not_damaged(read):
    assert not read(saved("WEBP", Image.new("RGB", (1500, 1500), "white"))).notes


def png_of(data: bytes, colour: int, *chunks: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    sealed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(sealed)


def test_a_png_whose_pixels_end_early_though_its_checksums_are_right_is_cut(read):
    rows = b"".join(b"\0" + row.tobytes() for row in PIXELS)
    half = len(rows) // 2
    image = read(png_of(rows[:half], 2))
    assert len(image.pixels) == HEIGHT // 2 and f"only the first {HEIGHT // 2} of" in the_note(image)
    black = read(png_of(rows[:half] + bytes(len(rows) - half), 2))  # these rows are black, not missing
    assert len(black.pixels) == HEIGHT and not black.notes


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("cut", [None, 0.7])
def test_a_png_of_numbered_colours_keeps_them_if_its_last_rows_have_number_0(read, bits, cut):
    whole = np.random.default_rng(0).integers(0, 1 << bits, (320, 80), dtype=np.uint8)
    whole[-5:] = 0
    image = Image.fromarray(whole, "P")
    image.putpalette(np.random.default_rng(1).integers(0, 256, 3 << bits, dtype=np.uint8).tobytes())
    data = saved("PNG", image, bits=bits)
    wanted = np.asarray(image.convert("RGB"))
    found = read(data if cut is None else data[: int(cut * len(data))])
    assert (found.pixels == wanted[: len(found.pixels)]).all() and len(found.pixels) > 20
    assert bool(found.notes) == (cut is not None)


def test_a_png_of_numbered_colours_needs_its_palette(read):
    data = saved("PNG", Image.fromarray(PIXELS).convert("P"))
    place = data.index(b"PLTE")
    size = int.from_bytes(data[place - 4 : place], "big")
    with pytest.raises(ImageError, match="the palette of this PNG file is missing"):
        read(data[: place - 4] + data[place + 8 + size :])
    changed = data[: place + 4] + bytes(byte ^ 255 for byte in data[place + 4 : place + 34]) + data[place + 34 :]
    assert the_note(read(changed)) == "damaged: wrong checksum in PLTE; colours may be wrong"


def test_a_png_with_a_large_colour_profile_is_read(read):
    image = read(saved("PNG", icc_profile=np.random.default_rng(0).bytes(2_000_000)))
    assert (image.pixels == PIXELS).all() and not image.notes


def test_a_pixel_without_data_does_not_blacken_a_floating_picture(read):
    grey = np.asarray(Image.fromarray(PIXELS).convert("L")) / np.float32(255)
    grey[0, :2] = np.inf, 3.4e38
    shown = read(saved("TIFF", Image.fromarray(grey))).pixels[1:, :, 0]
    assert np.abs(shown - grey[1:] * 255).max() <= 1


def test_a_highlight_above_one_does_not_blacken_a_floating_picture(read):
    grey = np.asarray(Image.fromarray(PIXELS).convert("L")) / np.float32(320)
    grey[0, 0] = 1.02
    shown = read(saved("TIFF", Image.fromarray(grey))).pixels[..., 0]
    assert np.abs(shown - grey * 250).max() <= 1


def test_of_a_gif_with_a_small_first_frame_the_rest_is_named(read):
    data = bytearray(saved("GIF"))
    data[6:10] = struct.pack("<HH", 2 * WIDTH, 2 * HEIGHT)
    assert read(bytes(data)).notes == ("the first frame covers only a part of the picture",)


def test_a_deep_grey_tiff_in_which_zero_is_white_is_not_a_negative(read):
    grey = np.asarray(Image.fromarray(PIXELS).convert("L")).astype(np.uint16) * 257
    data = saved("TIFF", Image.fromarray(grey))
    tag = struct.pack("<HHI", 262, 3, 1)  # photometric interpretation
    place = data.index(tag) + len(tag)
    inverted = data[:place] + b"\0\0" + data[place + 2 :]
    assert (read(inverted).pixels == 255 - read(data).pixels).all()


def test_a_tiff_without_its_strip_is_refused(read):
    data = saved("TIFF")
    place = data.index(struct.pack("<HHI", 273, 4, 1)) + 8  # offset of the only strip
    with pytest.raises(ImageError, match="strips or tiles of this TIFF are missing"):
        read(data[:place] + bytes(4) + data[place + 4 :])


def with_tag(data: bytes, tag: int, value: int, field: int = 8) -> bytes:
    """A little-endian TIFF with another value of a tag that has one number; or another count, the field at byte 4."""
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    places = (start + 2 + 12 * number for number in range(count))
    place = next(place for place in places if struct.unpack_from("<H", data, place)[0] == tag)
    return data[: place + field] + struct.pack("<I", value) + data[place + field + 4 :]


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_a_tiff_with_one_channel_in_a_plane_of_its_own_is_read(read, mode):
    grey = Image.fromarray(PIXELS).convert("L")
    image = grey if mode == "L" else Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    shown = read(with_tag(saved("TIFF", image), 284, 2)).pixels
    assert np.abs(shown[..., 0].astype(int) - np.asarray(grey)).max() <= 1


@pytest.mark.parametrize("cut", [False, True])
def test_a_palette_of_8_bits_in_a_tiff_has_its_colours(read, cut):
    data = saved("TIFF", Image.fromarray(PIXELS).quantize(200))
    (field,) = [place for place in range(len(data) - 1536) if struct.unpack_from("<HHI", data, place) == (320, 3, 768)]
    (start,) = struct.unpack_from("<I", data, field + 8)
    colours = struct.unpack_from("<768H", data, start)
    in_8_bits = data[:start] + struct.pack("<768H", *(one // 256 for one in colours)) + data[start + 1536 :]
    end = len(data) - 9000 * cut
    assert (read(in_8_bits[:end]).pixels == read(data[:end]).pixels).all() and read(data[:end]).pixels.mean() > 40


def test_a_plane_of_its_own_is_read_in_damaged_tiffs_and_those_of_several_pages(read, tmp_path):
    deep = Image.fromarray(np.asarray(Image.fromarray(PIXELS).convert("L")).astype(np.uint16) * 257)
    pages = with_tag(saved("TIFF", deep, save_all=True, append_images=[deep]), 284, 2)
    (note,) = [one for one in read(pages).notes if "bits" not in one]
    assert note == "only the first of 2 frames scanned" and len(read(pages).pixels) == HEIGHT


def test_a_tiff_with_planes_that_pillow_misreads_is_refused(read):
    with pytest.raises(ImageError, match="channels in separate planes"):
        read(with_tag(saved("TIFF", Image.fromarray(PIXELS).convert("LA")), 284, 2))


def test_of_a_tiff_with_too_few_strips_the_rest_is_not_scanned(read):
    image = read(with_tag(saved("TIFF"), 257, HEIGHT + 100))
    assert len(image.pixels) <= HEIGHT and "rows were readable" in the_note(image)


def test_flat_areas_of_a_lossless_webp_are_no_damage(read):
    pixels = np.full((1200, 800, 3), 255, np.uint8)
    pixels[:300, :300] = np.random.default_rng(0).integers(0, 256, (300, 300, 3))
    data = saved("WEBP", Image.fromarray(pixels), lossless=True, method=0, quality=0)  # as browsers write them
    assert bytes(5000) in data and not read(data).notes
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (320, 200, 3), np.uint8))
    data = saved("WEBP", noise, lossless=True)
    assert "zero bytes within the coded pixels" in the_note(read(data[:-100_000] + bytes(100_000)))


def test_a_progressive_jpeg_with_a_tail_that_was_never_written_is_scanned_coarsely(read):
    data = saved("JPEG", progressive=True, quality=90)
    image = read(data[: int(0.7 * len(data))] + bytes(len(data) - int(0.7 * len(data))))
    assert len(image.pixels) == HEIGHT and "at reduced detail" in the_note(image)


def test_a_jpeg_with_a_foreign_tail_is_not_called_intact(read):
    data, text = saved("JPEG", quality=85), b"the quick brown fox jumps over it. "
    note = the_note(read(data[: len(data) // 2] + (text * len(data))[: len(data)]))
    assert "intact" not in note and "may be wrong" in note


def test_rows_before_a_foreign_tail_may_be_wrong(read):
    data = saved("JPEG", quality=85)
    cut = data[: len(data) // 2]
    assert "may be wrong" not in the_note(read(cut))
    assert "some of these rows may be wrong" in the_note(read(cut + np.random.default_rng(0).bytes(300)))


def test_padding_without_an_end_marker_costs_no_pixel(read):
    data = saved("JPEG", quality=90)
    image = read(data[:-2] + bytes(100))
    assert (image.pixels == read(data).pixels).all() and "all pixels are intact" in the_note(image)


@pytest.mark.parametrize(("quality", "progressive"), [(95, False), (95, True), (75, True)])
def test_zeros_from_the_middle_of_a_scan_to_its_end_are_no_padding(read, quality, progressive):
    data = saved("JPEG", quality=quality, progressive=progressive)
    start = len(data) // 2
    assert the_note(read(data[:start] + bytes(len(data) - start - 2) + b"\xff\xd9"))


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}])
def test_every_erased_sector_of_a_scan_is_reported(read, options):
    data = saved("JPEG", quality=95, **options)
    for start in range(len(data) // 1024 * 512, len(data) - 600, 1536):  # after some, libjpeg finds its place again
        assert the_note(read(data[:start] + bytes(512) + data[start + 512 :]))


def test_zeros_that_refine_a_progressive_jpeg_are_not_a_hole(read):
    stripes = np.tile(np.array([0, 255], np.uint8), (900, 600))
    data = saved("JPEG", Image.fromarray(stripes), progressive=True, quality=90)
    assert bytes(100) in data and not read(data).notes


def test_junk_between_the_tables_of_a_jpeg_costs_no_pixel(read):
    data = saved("JPEG", quality=90)
    start = data.index(b"\xff\xdb")
    image = read(data[:start] + b"junk" + data[start:])
    assert (image.pixels == read(data).pixels).all()
    assert the_note(image) == "damaged: the JPEG contains stray bytes; all pixels are intact"


def test_rows_of_a_tiff_with_corrupt_deflate_data_are_not_scanned(read):
    pixels = (PIXELS >> 4) << 4  # which Deflate compresses, so that libtiff inflates corrupt bytes without an error
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    directory[278] = 40  # rows per strip
    data = saved("TIFF", Image.fromarray(pixels), compression="tiff_deflate", tiffinfo=directory)
    assert (read(data).pixels == pixels).all() and not read(data).notes
    for start in range(len(data) // 2, len(data) * 9 // 10, len(data) // 20):
        assert_upper_rows(read(data[:start] + bytes(8) + data[start + 8 :]), read(data))


@pytest.mark.parametrize("damage", [bytes(512), bytes(range(1, 65))])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_rows_of_a_tiff_with_corrupt_jpeg_data_are_not_scanned(read, mode, damage):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (320, 400, 3), np.uint8)).convert(mode)
    data = saved("TIFF", picture, compression="jpeg", quality=90, tiffinfo={278: 40})
    whole = read(data)
    assert len(whole.pixels) == 320 and not whole.notes
    start = len(data) * 6 // 10
    image = read(data[:start] + damage + data[start + len(damage) :])
    rows = len(image.pixels)
    assert 120 < rows < 240 and rows % 40 == 0 and (image.pixels == whole.pixels[:rows]).all()
    assert the_note(image) == f"damaged: only the first {rows} of 320 rows were readable and scanned"


def test_a_tiff_whose_jpeg_strip_or_tables_lack_their_end_marker_is_intact(read):
    noise = np.random.default_rng(0).integers(0, 256, (320, 400, 3), np.uint8)
    data = saved("TIFF", Image.fromarray(noise), compression="jpeg", tiffinfo={278: 320})
    tags = Image.open(io.BytesIO(data)).tag_v2
    (size,), tables = tags[279], len(tags[347])
    for altered in (with_tag(data, 279, size - 2), with_tag(data, 347, tables - 2, field=4)):
        image = read(altered)
        assert (image.pixels == read(data).pixels).all() and not image.notes


def test_a_wrong_checksum_over_the_only_strip_of_a_tiff_is_reported(read):
    data, deflated = saved("TIFF"), zlib.compress(PIXELS.tobytes() + b"more")  # libtiff stops before the checksum
    for tag, value in ((259, 8), (273, len(data)), (279, len(deflated))):
        data = with_tag(data, tag, value)
    assert not read(data + deflated).notes
    image = read(data + deflated[:-4] + bytes(4))
    assert (image.pixels == PIXELS).all()
    assert the_note(image) == "damaged: corrupt strips or tiles; part of the picture may be wrong"


@pytest.mark.parametrize("options", [{"quality": 100, "method": 0}, {"quality": 100, "method": 2}])
def test_flat_areas_of_a_lossy_webp_are_no_damage(read, options):
    pixels = np.full((1080, 1920, 3), 255, np.uint8)
    pixels[:300, :300] = np.random.default_rng(0).integers(0, 256, (300, 300, 3))
    data = saved("WEBP", Image.fromarray(pixels), **options)
    assert bytes(600) in data and not read(data).notes


def test_a_lossless_webp_whose_last_third_was_never_written_is_damaged(read):
    data = saved("WEBP", Image.fromarray(picture(400, 600) // 4 * 4), lossless=True)
    missing = len(data) * 3 // 10
    assert not read(data).notes
    assert "zero bytes within the coded pixels" in the_note(read(data[:-missing] + bytes(missing)))


@pytest.mark.parametrize("axis", [0, 1], ids=["rows", "columns"])
def test_repeated_rows_and_columns_of_a_lossless_webp_are_no_damage(read, axis):
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)
    repeated = np.repeat(noise.take([0], axis), 900, axis)
    repeated[:400] = picture(400, 900)
    assert not read(saved("WEBP", Image.fromarray(repeated), lossless=True, method=0, quality=0)).notes


@pytest.mark.parametrize("options", [{"optimize": True}, {"progressive": True}, {"optimize": True, "quality": 100}])
def test_padding_behind_flat_pixels_is_no_damage(read, options):
    pixels = np.full((400, 600, 3), 255, np.uint8)  # whose codes can be zeros, too
    pixels[:150] = picture(150, 600)
    assert not read(saved("JPEG", Image.fromarray(pixels), **options)[:-2] + bytes(500) + b"\xff\xd9").notes
