"""What EXIF states about the taking of a picture: camera, time, software, and whether there is a position."""

import json
from typing import ClassVar

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hidascan.finding import Finding
from hidascan.image.decode import decode
from hidascan.image.provenance.tags import Capture, capture_of
from hidascan.report.html_report import render
from tests.conftest import picture


def save(path, main=(), inner=(), position=()):
    exif = Image.Exif()
    exif.update(main)
    exif.get_ifd(0x8769).update(inner)
    exif.get_ifd(0x8825).update(position)
    Image.fromarray(picture(240, 300)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_camera_time_software_and_position_are_read(tmp_path, suffix):
    path = save(
        tmp_path / f"a.{suffix}",
        {0x010F: "Canon", 0x0110: "Canon EOS 5D", 0x0131: "GIMP 3"},
        {0x9003: "2024:05:01 12:00:00", 0x9011: "+02:00"},
        {1: "N", 2: (52.0, 30.0, 0.0), 3: "E", 4: (13.0, 24.0, 0.0)},
    )
    assert decode(path).capture == Capture("Canon EOS 5D", "GIMP 3", "2024:05:01 12:00:00+02:00", gps=True)


def test_what_is_not_stated_is_empty(tmp_path):
    assert decode(save(tmp_path / "a.jpg", {0x010F: "NIKON", 0x0110: "Z 8"})).capture == Capture("NIKON Z 8")
    assert decode(save(tmp_path / "b.jpg")).capture is None
    assert decode(save(tmp_path / "c.jpg", position={1: "N"})).capture is None  # a direction without numbers


def test_parameters_of_a_generator_are_no_software(tmp_path):
    path = save(tmp_path / "a.jpg", {0x0131: 'workflow:{"nodes": []}'})
    assert decode(path).capture is None


@pytest.mark.parametrize("profile", ["exif", "APP1"])
def test_exif_that_imagemagick_puts_into_a_png_is_read_as_the_claims_are(tmp_path, profile):
    exif = Image.Exif()
    exif.update({0x010F: "Canon", 0x0110: "Canon EOS R5", 0x0131: "GIMP 3"})
    block = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    info = PngInfo()
    info.add_text(f"Raw profile type {profile}", f"\n{profile}\n{len(block):8}\n{block.hex()}")
    Image.fromarray(picture(240, 300)).save(tmp_path / "a.png", pnginfo=info)
    decoded = decode(tmp_path / "a.png")
    assert decoded.capture == Capture("Canon EOS R5", "GIMP 3")
    assert [claim.text for claim in decoded.claims] == ["Canon EOS R5", "GIMP 3"]


def test_broken_exif_states_nothing():
    class Broken:
        info: ClassVar[dict] = {}

        def getexif(self):
            raise SyntaxError("not a TIFF file")

    assert capture_of(Broken(), b"", has_camera=True) is None


def test_it_reaches_json_lines_and_the_report_but_no_coordinates_do(hidascan, tmp_path):
    path = save(tmp_path / "a.jpg", {0x0110: "<b>\x1b(0"}, position={2: (52.0, 31.0, 0.0), 4: (13.0, 24.0, 0.0)})
    (row,) = map(json.loads, hidascan(path, "--jsonl", "-").out.splitlines())
    assert row["capture"] == {"camera": "<b>\\x1b(0", "software": "", "taken": "", "gps": True}
    finding = Finding.from_record(row)
    assert finding.record()["capture"] == row["capture"]
    page = render("row.html", finding=finding, number=1, layers={})
    assert "present in the file" in page and "&lt;b&gt;" in page and "52" not in json.dumps(row["capture"])
    nothing = render("row.html", finding=Finding("a", "ok", "real", 0.1), number=1, layers={})
    assert "no camera, date taken, software or GPS position" in nothing
