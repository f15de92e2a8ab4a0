"""Claims of origin in files: read from all containers, distinguished by source and signature, separate from scores."""

import csv
import json
import zlib
from dataclasses import replace

import pytest

from hidascan.finding import Finding
from hidascan.image.decode import decode
from hidascan.image.provenance.claim import Claim, claim_strength, conflict
from hidascan.phrases import claim_in_words, claims_by_statement
from tests.conftest import save_picture
from tests.lab import SHARED
from tests.metadata import SMALL, XMP, claims_in, exif, packet, png, png_text, read, saved, tags, written

CASES = {
    "png:A1111": ("a.png", png_text("parameters", "a cat\nSteps: 20, Sampler: Euler a, Version: v1.10.1"), "ai"),
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


def test_conflicts_with_the_pixels_are_noted():
    camera, ai = Claim("camera", "exif", "Canon"), Claim("ai", "png", "A1111")
    assert "comes from a camera or scanner (exif:Canon)" in conflict(
        (camera,), "ai"
    ) and "AI-made (png:A1111)" in conflict((ai, camera), "real")
    agreed = [((camera,), "real"), ((ai,), "ai"), ((ai,), "inconclusive"), ((), "ai"), ((ai, camera), "ai")]
    assert not any(conflict(*pair) for pair in agreed)


def test_claims_do_not_change_the_score(hidascan, tmp_path):
    saved(tmp_path / "plain.png")
    saved(tmp_path / "marked.png", **png_text("parameters", "<b>\x1b[31m Steps: 20, Sampler: Euler"))
    page = tmp_path / "page.html"
    ran = hidascan(tmp_path, "--jsonl", "-", "--html", page, "--threshold", "1", "--precision", "fp32")
    marked, plain = (json.loads(line) for line in ran.out.splitlines())
    assert plain["score"] == marked["score"] and plain["claims"] == [] and plain["provenance"] == ""
    assert marked["claims"][0] | {"detail": ""} == {
        "kind": "ai",
        "source": "png",
        "text": "Stable Diffusion parameters",
        "signature": "",
        "detail": "",
        "part": False,
        "field": "PNG text parameters",
        "strength": "tag",
    }
    assert "PNG text parameters" in page.read_text() and "unsigned tag" in page.read_text()
    assert "\x1b" not in marked["claims"][0]["detail"] and any(note.startswith("conflict") for note in marked["notes"])


def test_all_claims_are_kept_the_strongest_first(tmp_path):
    exif = tags({0x010F: "Canon", 0x0110: "Canon EOS", 0x0131: "GIMP 2.10", 0x010E: "Made with AI"})
    xmp = packet("<xmp:CreatorTool>Midjourney</xmp:CreatorTool>")
    assert [claim[:3] for claim in read(tmp_path, "a.jpg", exif=exif, xmp=xmp)] == [
        ("ai", "Midjourney", "tag"),
        ("ai", "AI", "text"),
        ("camera", "Canon EOS", "tag"),
        ("software", "GIMP 2.10", "tag"),
    ]


def test_shown_text_has_no_control_or_direction_characters(tmp_path):
    hostile = "GI\x1b[31mMP\u202e\u200b 2\n10"
    for options in (
        {"xmp": packet(f"<xmp:CreatorTool>{hostile.replace(chr(27), '')}</xmp:CreatorTool>")},
        {"exif": tags({0x0131: hostile.encode()})},
    ):
        SMALL.save(tmp_path / "a.webp", **options)
        (claim,) = decode(tmp_path / "a.webp").claims
        assert (claim.text + claim.detail + claim.field).isprintable()


def test_hostile_metadata_costs_neither_the_picture_nor_other_claims(tmp_path):
    wanted = ("ai", "ChatGPT", "tag", False, "PNG text Software")
    bomb = b"\0\0" + zlib.compress(b"a" * 20_000_000, 9)
    hostile = [
        [(b"zTXt", b"Comment" + bomb)],
        [(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb[2:])],
        [(b"tEXt", b"workflow\0" + b'{"a":' * 100_000)],
        [(b"zTXt", b"Comment\0\0no deflate")],
        [(b"tEXt", b"k%d\0v" % number) for number in range(300)],
        [
            (
                b"iTXt",
                b"XML:com.adobe.xmp\0\0\0\0\0<!DOCTYPE a [<!ENTITY b 'Grok'>]><a><xmp:CreatorTool>&b;</xmp:CreatorTool></a>",
            )
        ],
    ]
    for chunks in hostile:
        path = written(tmp_path, "a.png", png((b"tEXt", b"Software\0ChatGPT"), *chunks))
        assert claims_in(path) == [wanted]


def test_reports_list_each_statement_once_with_fields_and_strength():
    graph = Claim("ai", "png", "ComfyUI", detail="{}", field="PNG text prompt", strength="tag")
    fill = Claim("ai", "c2pa", "Firefly", "broken", "", True, "C2PA action c2pa.edited", "text")
    claims = (graph, replace(graph, field="PNG text workflow", detail="{ }"), fill)
    first, second = claims_by_statement(Finding("a.png", "ok", claims=claims))
    assert (first.field, claim_in_words(first)) == ("PNG text prompt, PNG text workflow", "ai: ComfyUI")
    assert claim_strength(first) == "unsigned tag" and claim_strength(second) == "signature broken"
    assert claim_in_words(second) == "ai (part of the picture): Firefly"


@pytest.mark.skipif(not (SHARED / "data/provenance.tsv").exists(), reason="needs ../shared")
def test_original_files_have_claims_and_stripped_ones_have_none():
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


def test_a_claim_on_a_part_is_one_in_the_column(hidascan, tmp_path):
    saved(tmp_path / "a.jpg", xmp=XMP.format("compositeWithTrainedAlgorithmicMedia", "x").encode())
    row = json.loads(hidascan(tmp_path / "a.jpg", "--jsonl", "-").out)
    assert row["provenance"] == "xmp:compositeWithTrainedAlgorithmicMedia (part)"
