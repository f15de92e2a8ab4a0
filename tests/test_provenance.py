"""What files say of their origin: read from every place, told apart by source and signature, never mixed with scores."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hidascan.image.decode import decode
from hidascan.image.provenance.claim import Claim, conflict
from tests.conftest import picture, save_picture
from tests.lab import SHARED

PIXELS = Image.fromarray(picture(240, 300))
XMP = '<x:xmpmeta><rdf:Description Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/{}" xmp:CreatorTool="{}"/></x:xmpmeta>'


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


CASES = {
    "png:A1111": ("a.png", png_text("parameters", "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7"), "ai"),
    "png:ComfyUI": ("a.png", png_text("prompt", '{"3": {"class_type": "KSampler"}}'), "ai"),
    "png:InvokeAI": ("a.png", png_text("invokeai_metadata", "{}"), "ai"),
    "png:NovelAI": ("a.png", png_text("Software", "NovelAI"), "ai"),
    "png:Midjourney": ("a.png", png_text("Description", "a cat --v 6 Job ID: 1 (Midjourney)"), "ai"),
    "exif:OpenAI": ("a.jpg", {"exif": exif(description="Made with OpenAI Labs")}, "ai"),
    "exif:Canon EOS 5D": ("a.jpg", {"exif": exif(make="Canon", model="Canon EOS 5D")}, "camera"),
    "exif:NIKON CORPORATION D90": ("a.jpg", {"exif": exif(make="NIKON CORPORATION", model="D90")}, "camera"),
    "exif:GIMP 2.10": ("a.jpg", {"exif": exif(software="GIMP 2.10")}, "software"),
    "xmp:trainedAlgorithmicMedia": ("a.jpg", {"xmp": XMP.format("trainedAlgorithmicMedia", "Tool").encode()}, "ai"),
    "xmp:digitalCapture": ("a.webp", {"xmp": XMP.format("digitalCapture", "Tool").encode()}, "camera"),
    "xmp:Adobe Firefly": ("a.jpg", {"xmp": XMP.format("other", "Adobe Firefly 3").encode()}, "ai"),
}


@pytest.mark.parametrize("wanted", CASES)
def test_each_claim_is_read_from_its_place(tmp_path, wanted):
    name, options, kind = CASES[wanted]
    strongest = decode(saved(tmp_path / name, **options)).claims[0]
    assert (strongest.short(), strongest.kind, strongest.signature) == (wanted, kind, "")


def test_a_generator_is_a_stronger_claim_than_a_camera(tmp_path):
    both = saved(
        tmp_path / "a.jpg",
        exif=exif(make="Canon", model="EOS"),
        xmp=XMP.format("trainedAlgorithmicMedia", "x").encode(),
    )
    assert [claim.kind for claim in decode(both).claims] == ["ai", "camera", "software"]
    assert decode(save_picture(tmp_path / "plain.png")).claims == ()


def test_what_does_not_agree_with_the_pixels_is_said_in_words():
    camera, ai = Claim("camera", "exif", "Canon"), Claim("ai", "png", "A1111")
    assert "camera (exif:Canon)" in conflict((camera,), "ai") and "generated (png:A1111)" in conflict(
        (ai, camera), "real"
    )
    agreed = [((camera,), "real"), ((ai,), "ai"), ((ai,), "inconclusive"), ((), "ai"), ((ai, camera), "ai")]
    assert not any(conflict(*pair) for pair in agreed)


def test_claims_stand_beside_the_score_and_do_not_change_it(hidascan, tmp_path):
    saved(tmp_path / "plain.png")
    saved(tmp_path / "told.png", **png_text("parameters", "<b>\x1b[31m Steps: 20, Sampler: Euler"))
    ran = hidascan(tmp_path, "--jsonl", "-", "--threshold", "1", "--precision", "fp32")
    plain, told = (json.loads(line) for line in ran.out.splitlines())
    assert plain["score"] == told["score"] and plain["claims"] == [] and plain["provenance"] == ""
    assert told["claims"][0] | {"detail": ""} == {
        "kind": "ai",
        "source": "png",
        "text": "A1111",
        "signature": "",
        "detail": "",
    }
    assert "\x1b" not in told["claims"][0]["detail"] and any(note.startswith("conflict") for note in told["notes"])


@pytest.mark.skipif(not (SHARED / "data/provenance.tsv").exists(), reason="needs ../shared")
def test_original_files_say_where_they_are_from_and_stripped_ones_nothing():
    wanted = {
        "gpt_image_1_4o.png": ("ai", "c2pa", "unverified"),
        "dalle2.jpg": ("ai", "exif", ""),
        "flux1_dev.png": ("ai", "png", ""),
        "sd35_medium.png": ("ai", "png", ""),
        "sd15.png": ("ai", "png", ""),
        "dalle3.jpg": ("ai", "c2pa", "unverified"),
        "camera_Canon_PowerShot_S40.jpg": ("camera", "exif", ""),
    }
    for row in csv.DictReader((SHARED / "data/provenance.tsv").open(), delimiter="\t"):
        claim = decode(SHARED / "data/provenance" / row["path"]).claims[0]
        assert (claim.kind, claim.source, claim.signature) == wanted[row["path"]]
    rows = list(csv.DictReader((SHARED / "data/dev.tsv").open(), delimiter="\t"))[::40]
    assert not any(decode(SHARED / "data" / row["path"]).claims for row in rows)
