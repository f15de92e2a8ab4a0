"""Claims of origin in files: read from all containers, distinguished by source and signature, separate from scores."""

import csv
import gzip
import json
import re
import struct
import time
import zlib
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hidascan.finding import Finding
from hidascan.image.decode import decode
from hidascan.image.provenance import catalogue
from hidascan.image.provenance.catalogue import tool_in
from hidascan.image.provenance.claim import Claim, claim_strength, conflict
from hidascan.image.provenance.claims import read_claims
from hidascan.image.provenance.denials import states_nothing
from hidascan.image.provenance.fields import Field
from hidascan.image.provenance.source_types import meaning_of, term_of
from hidascan.image.provenance.structures import generator_of
from hidascan.phrases import claim_in_words, claims_by_statement
from hidascan.summary import summary
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
        "text": "A1111",
        "signature": "",
        "detail": "",
        "part": False,
        "field": "PNG text parameters",
        "strength": "tag",
    }
    assert "PNG text parameters" in page.read_text() and "unsigned tag" in page.read_text()
    assert "\x1b" not in marked["claims"][0]["detail"] and any(note.startswith("conflict") for note in marked["notes"])


SMALL = Image.fromarray(picture(40, 64))
PROMPT = '{"3": {"class_type": "KSampler", "inputs": {"seed": 1}}, "4": {"class_type": "CheckpointLoaderSimple", "inputs": {}}}'
WORKFLOW = '{"nodes": [{"id": 3, "type": "KSampler", "widgets_values": [1]}], "links": [], "version": 0.4}'
PARAMETERS = "a cat\nNegative prompt: blurry\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
IPTC_EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"


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


@pytest.mark.parametrize("suffix", ["webp", "jpg", "png", "tiff", "avif"])
@pytest.mark.parametrize(
    "fields",
    [{0x010F: f"workflow:{WORKFLOW}", 0x0110: f"prompt:{PROMPT}"}, {0x010F: f"Prompt: {PROMPT}"}, {0x010E: WORKFLOW}],
    ids=["make and model", "make alone", "description"],
)
def test_a_graph_in_exif_is_comfyui_not_a_camera(tmp_path, fields, suffix):
    claims = read(tmp_path, f"a.{suffix}", exif=tags(fields))
    assert [claim[:2] for claim in claims] == [("ai", "ComfyUI")] * len(fields)


def test_comfyui_is_found_in_xmp(tmp_path):
    properties = f"<comfy:prompt>{PROMPT}</comfy:prompt><comfy:workflow>{WORKFLOW}</comfy:workflow>"
    xmp = packet(properties, 'xmlns:comfy="https://comfy.org/ns/1.0/"')
    for name in ("a.avif", "a.webp", "a.jpg"):
        fields = [claim[4] for claim in read(tmp_path, name, xmp=xmp) if claim[:2] == ("ai", "ComfyUI")]
        assert fields == ["XMP comfy:prompt", "XMP comfy:workflow"]


@pytest.mark.parametrize(
    "caption",
    [
        "Imagen tomada en la Plaza Mayor", "Foto: Leonardo Rossi", "Flux et reflux", "Not made with Midjourney or other AI",
        "Sora, Canva and Luma at the lake", "Gemini", "Midjourney", "Grok explained: how Stable Diffusion works",
        "Photo of a poster made with DALL-E", "Illustration by Ai", "Image generated by Leonardo", "Generado por Sora",
        "AI-generated image by Boris Eldagsen at the Sony awards", "AI generated with Adobe Illustrator", "AI generated by hand", "AI generated without Midjourney",
        "Generated by Canva", "内容不由AI生成", "豆包", "Steps: 20 to the tower", "Job ID: 1234", "AI", "made by Leonardo",
    ],
)  # fmt: skip
def test_plain_words_are_not_taken_for_a_tool(tmp_path, caption):
    camera = {0x010F: "Canon", 0x0110: "Canon EOS 90D"}
    plain = ("camera", "Canon EOS 90D", "tag", False, "EXIF Model")
    assert read(tmp_path, "a.jpg", exif=tags({**camera, 0x010E: caption, 0x8298: caption})) == [plain]
    properties = f"<dc:description>{caption}</dc:description><dc:title>{caption}</dc:title>"
    assert read(tmp_path, "b.jpg", exif=tags(camera), xmp=packet(properties)) == [plain]
    info = PngInfo()
    for key in ("Title", "Description", "Disclaimer", "workflow", "prompt", "Warning"):
        info.add_itxt(key, caption)
    assert read(tmp_path, "c.png", exif=tags(camera), pnginfo=info) == [plain]


@pytest.mark.parametrize("person", ["Leonardo Rossi", "Leonardo", "Sora", "Luma Studios", "Gemini", "Max Flux", "Krea"])
def test_authors_are_not_taken_for_generators(tmp_path, person):
    properties = f"<dc:creator><rdf:Seq><rdf:li>{person}</rdf:li></rdf:Seq></dc:creator><photoshop:Credit>{person}</photoshop:Credit>"
    assert read(tmp_path, "a.jpg", exif=tags({0x013B: person}), xmp=packet(properties)) == []
    assert read(tmp_path, "a.png", **png_text("Author", person)) == []


@pytest.mark.parametrize(
    "value", ['{"nodes": []}', '{"nodes": ["a"], "edges": []}', "scan, crop", '{"a": {"b": 1}}', "{"]
)
def test_a_workflow_without_a_graph_is_not_comfyui(tmp_path, value):
    assert read(tmp_path, "a.png", **png_text("workflow", value)) == []


@pytest.mark.parametrize(
    ("software", "name"),
    [
        ("ChatGPT", "ChatGPT"), ("gpt-image-1.5", "gpt-image"), ("DALL·E 3", "DALL-E"), ("dalle-3", "DALL-E"),
        ("Gemini", "Gemini"), ("Gemini 2.5 Flash Image", "Gemini"), ("Nano Banana Pro", "Nano Banana"), ("Imagen 4", "Imagen"),
        ("Grok", "Grok"), ("Sora 2", "Sora"), ("Microsoft Designer", "Microsoft Designer"), ("Meta AI", "Meta AI"),
        ("Bing Image Creator", "Bing Image Creator"), ("Krea", "Krea"), ("Leonardo.Ai", "Leonardo.Ai"), ("Leonardo", "Leonardo.Ai"),
        ("Qwen-Image-2512", "Qwen-Image"), ("FLUX.1 [dev]", "Flux"), ("Flux", "Flux"), ("SwarmUI 0.9.7", "SwarmUI"),
        ("Draw Things", "Draw Things"), ("Ideogram 3.0", "Ideogram"), ("Runway Gen-4", "Runway"), ("即梦AI", "Jimeng"),
        ("Amazon Titan Image Generator", "Amazon Titan Image Generator"), ("Wan2.2", "Wan"), ("sd3.5_large", "Stable Diffusion"),
        ("pollinations.ai", "Pollinations"), ("Lucid Origin", "Leonardo.Ai"), ("niji 6", "Midjourney"), ("Fotor AI", "Fotor AI"),
        ("Some AI Image Generator", "AI"), ("Text to Image", "AI"), ("Google Vertex AI", "Google AI"),
        ("Seedream 4.0", "Seedream"), ("seedream-4-0", "Seedream"), ("doubao-seedream-4-0", "Seedream"), ("dall-e-3-0", "DALL-E"),
        ("imagen-4.0-ultra-generate-001", "Imagen"), ("豆包", "Seedream"), ("CogView-4", "CogView"), ("Shedevrum", "YandexART"),
        ("Shutterstock AI Generator", "Shutterstock AI"), ("Shakker AI", "LiblibAI"), ("wanx2.1-t2i-turbo", "Wan"),
        ("gpt-5-image", "gpt-image"), ("AI generated; upscaler: none", "AI"), ("Studio No. 5 / Midjourney", "Midjourney"), ("Aphrodite AI", "Aphrodite AI"), ("fal-ai", "fal.ai"),
        ("Generated by AI", "AI"), ("Midjourney v7", "Midjourney"), ("Canva Magic Media", "Canva Magic Media"),
    ],
)  # fmt: skip
def test_generators_are_known_by_their_software_tag(tmp_path, software, name):
    assert read(tmp_path, "a.png", **png_text("Software", software)) == [
        ("ai", name, "tag", False, "PNG text Software")
    ] or (not software.isascii())
    path = written(tmp_path, "a.png", png((b"tEXt", f"Software\0{software}".encode())))
    assert claims_in(path) == [("ai", name, "tag", False, "PNG text Software")]
    xmp = packet(f"<xmp:CreatorTool>{software}</xmp:CreatorTool>")
    assert read(tmp_path, "a.webp", xmp=xmp) == [("ai", name, "tag", False, "XMP xmp:CreatorTool")]


@pytest.mark.parametrize(
    "software",
    [
        "GIMP 2.10",
        "Imagen AI",
        "Canva",
        "Leonardo da Vinci Suite",
        "Midjourneyman",
        "gemini-user 8.0",
        "Not Midjourney",
        "Photoroom Generative Edit",
        "AI generated; 0",
        "AI generated; confirmed: no",
        "AI generated (value: false)",
        "Midjourney: no",
        "Imagen 3 generate (Madrid)",
        "Text to Image Converter",
    ],
)
def test_other_software_is_kept_by_its_own_name(tmp_path, software):
    camera = {0x010F: "Canon", 0x0110: "Canon EOS", 0x0131: software}
    claims = read(tmp_path, "a.jpg", exif=tags(camera))
    assert [claim[:2] for claim in claims] == [("camera", "Canon EOS"), ("software", software)]


def test_an_edit_by_ai_is_a_part(tmp_path):
    apple = "Apple Photos Generative Edit: Clean Up"
    for software in ("Photoshop Generative Fill", "Edited with Google AI", "Magic Editor", "Generative Edit", apple):
        assert [claim[0::3] for claim in read(tmp_path, "a.png", **png_text("Software", software))] == [("ai", True)]
    part = Claim("ai", "xmp", "compositeSynthetic", part=True)
    assert "a part of it is AI-made" in conflict((part,), "real")
    assert "that it is AI-made" in conflict((Claim("ai", "exif", "Grok"), part), "real")


@pytest.mark.parametrize(
    ("words", "name", "part"),
    [
        ("Generated with Midjourney v7", "Midjourney", False), ("AI-generated with DALL-E 3", "DALL-E", False),
        ("AI generated image", "AI", False), ("This image was created with AI.", "AI", False), ("Mit KI generiert", "AI", False),
        ("Imagen generada por IA", "AI", False), ("Edited with Adobe Firefly", "Adobe Firefly", True),
        ("AI-generated with Gemini", "Gemini", False), ("AI-generated image by Grok", "Grok", False),
        ("AI generated with Foo 2", "AI", False), ("Generated with Google Imagen 3", "Imagen", False),
        ("Generiert mit Gemini", "Gemini", False), ("Generated by Gemini", "Gemini", False),
        ("An AI-generated image by Sora", "Sora", False), ("Generated with Leonardo", "Leonardo.Ai", False),
        ("Image générée par une IA", "AI", False), ("内容由AI生成。", "AI", False), ("Fully AI-generated", "AI", False),
    ],
)  # fmt: skip
def test_a_text_that_is_nothing_but_a_declaration_counts_as_text(tmp_path, words, name, part):
    wanted = ("ai", name, "text", part)
    data = jpeg((0xED, iptc((120, words.encode()))), (0xFE, words.encode()))
    assert [claim[:4] for claim in claims_in(written(tmp_path, "a.jpg", data))] == [wanted] * 2
    assert [claim[:4] for claim in read(tmp_path, "b.png", **png_text("Title", words))] == [wanted]
    assert [claim[:4] for claim in read(tmp_path, "c.webp", exif=tags({0x9C9C: words.encode("utf-16-le")}))] == [wanted]


def test_a_generator_for_an_author_counts_as_text(tmp_path):
    properties = "<dc:creator><rdf:Seq><rdf:li>Anna</rdf:li><rdf:li>Midjourney</rdf:li></rdf:Seq></dc:creator>"
    claims = read(tmp_path, "a.jpg", exif=tags({0x013B: "DALL-E 3"}), xmp=packet(properties))
    assert claims == [
        ("ai", "DALL-E", "text", False, "EXIF Artist"),
        ("ai", "Midjourney", "text", False, "XMP dc:creator"),
    ]


@pytest.mark.parametrize(("credit", "part"), [("Made with Google AI", False), ("Edited with Google AI", True)])
def test_credits_of_google_are_read_from_xmp_and_iptc(tmp_path, credit, part):
    xmp = packet(f"<photoshop:Credit>\n {credit} </photoshop:Credit>")
    assert read(tmp_path, "a.jpg", xmp=xmp) == [("ai", "Google AI", "tag", part, "XMP photoshop:Credit")]
    path = written(tmp_path, "b.jpg", jpeg((0xED, iptc((110, credit.encode())))))
    assert claims_in(path) == [("ai", "Google AI", "tag", part, "IPTC Credit")]


@pytest.mark.parametrize(
    ("value", "kind", "part"),
    [
        ("trainedAlgorithmicMedia", "ai", False), ("compositeWithTrainedAlgorithmicMedia", "ai", True),
        ("compositeSynthetic", "ai", True), ("digitalCapture", "camera", False), ("computationalCapture", "camera", False),
        ("negativeFilm", "camera", False), ("digitalArt", "software", False), ("algorithmicMedia", "software", False),
        ("screenCapture", "software", False), ("minorHumanEdits", "software", False), ("somethingElse", "software", False),
    ],
)  # fmt: skip
def test_source_types_are_read_in_every_form(tmp_path, value, kind, part):
    wanted = [(kind, value, "tag", part)]
    for before in (
        "http://cv.iptc.org/newscodes/digitalsourcetype/",
        "https://cv.iptc.org/newscodes/digitalsourcetype/",
        "digsrctype:",
        "urn:iptc:digsrctype:",
        "http://cv.iptc.org/newscodes/digsrctype/",
        "",
    ):
        xmp = packet(f"<Iptc4xmpExt:DigitalSourceType>{before}{value}</Iptc4xmpExt:DigitalSourceType>")
        assert [claim[:4] for claim in read(tmp_path, "a.webp", xmp=xmp)] == wanted


def test_xmp_is_read_in_any_spelling(tmp_path):
    url, term = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia", "trainedAlgorithmicMedia"
    spellings = [
        packet(f'<q:DigitalSourceType rdf:resource="{url}"/>', f'xmlns:q="{IPTC_EXTENSION}"'),
        packet(f"<Iptc4xmpExt:DigitalSourceType>\n  {url}\n</Iptc4xmpExt:DigitalSourceType>"),
        f"<rdf:RDF {RDF}><rdf:Description xmlns:z='{IPTC_EXTENSION}' z:DigitalSourceType = '{url}'/></rdf:RDF>".encode(),
        packet(f"<Iptc4xmpExt:DigitalSourceType>{url}</Iptc4xmpExt:DigitalSourceType>").replace(b"</rdf:RDF>", b""),
        packet(f"<dc:title>a & b</dc:title><Iptc4xmpExt:DigitalSourceType>{url}</Iptc4xmpExt:DigitalSourceType>"),
    ]
    for xmp in spellings:
        assert [claim[1] for claim in read(tmp_path, "a.webp", xmp=xmp)] == [term], xmp


def test_xmp_is_read_from_every_container(tmp_path):
    xmp = packet("<xmp:CreatorTool>Grok</xmp:CreatorTool>")
    wanted = [("ai", "Grok", "tag", False, "XMP xmp:CreatorTool")]
    for name in ("a.jpg", "a.webp", "a.avif", "a.heic"):
        assert read(tmp_path, name, xmp=xmp) == wanted, name
    assert read(tmp_path, "a.tiff", tiffinfo={700: xmp}) == wanted
    plain, profile = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp, b"\nxmp\n%8d\n" % len(xmp) + xmp.hex().encode()
    packed = b"Raw profile type xmp\0\0" + zlib.compress(profile)
    for behind in (False, True):
        assert claims_in(written(tmp_path, "a.png", png((b"iTXt", plain), behind=behind))) == wanted
        assert claims_in(written(tmp_path, "b.png", png((b"zTXt", packed), behind=behind))) == wanted
    extended = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", len(xmp), 0) + xmp
    assert claims_in(written(tmp_path, "b.jpg", jpeg((0xE1, extended)))) == wanted
    SMALL.save(tmp_path / "a.gif")
    data = (tmp_path / "a.gif").read_bytes()
    trailer = bytes([1, *range(255, -1, -1), 0])
    block = b"\x21\xff\x0bXMP DataXMP" + xmp + trailer
    assert claims_in(written(tmp_path, "a.gif", data[:-1] + block + b";")) == wanted


def test_metadata_that_imagemagick_puts_into_a_png_is_read(tmp_path):
    def profile(name: bytes, body: bytes) -> bytes:
        return (
            b"Raw profile type "
            + name
            + b"\0\0"
            + zlib.compress(b"\n%s\n%8d\n" % (name, len(body)) + body.hex().encode())
        )

    exif, credit = tags({0x0131: "Grok"}), iptc((110, b"Made with Google AI")).removeprefix(b"Photoshop 3.0\0")
    for name, body, field in (
        (b"exif", exif, "EXIF Software"),
        (b"APP1", exif, "EXIF Software"),
        (b"iptc", credit, "IPTC Credit"),
    ):
        path = written(tmp_path, "a.png", png((b"zTXt", profile(name, body))))
        assert [claim[0::4] for claim in claims_in(path)] == [("ai", field)], name


def test_a_step_by_ai_in_the_history_is_a_part(tmp_path):
    spaces = (
        'xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/" xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"'
    )
    steps = '<rdf:li stEvt:softwareAgent="Adobe Firefly 3"/><rdf:li stEvt:softwareAgent="Adobe Photoshop 27.1"/>'
    claims = read(tmp_path, "a.jpg", xmp=packet(f"<xmpMM:History><rdf:Seq>{steps}</rdf:Seq></xmpMM:History>", spaces))
    assert [claim[:4] for claim in claims] == [
        ("ai", "Adobe Firefly", "tag", True),
        ("software", "Adobe Photoshop 27.1", "tag", False),
    ]
    damaged = f"<xmpMM:History><rdf:Seq>{steps}</rdf:Seq></xmpMM:History><dc:title>a \x0b b</dc:title>"
    claims = read(tmp_path, "a.jpg", xmp=packet(damaged, spaces))  # is no XML
    assert [claim[3] for claim in claims if claim[0] == "ai"] == [True]


def test_iptc_2025_names_the_ai_system(tmp_path):
    properties = (
        "<Iptc4xmpExt:AISystemUsed>Foo Painter</Iptc4xmpExt:AISystemUsed><Iptc4xmpExt:AISystemVersionUsed>3"
        "</Iptc4xmpExt:AISystemVersionUsed><Iptc4xmpExt:AIPromptInformation>a cat</Iptc4xmpExt:AIPromptInformation>"
    )
    assert read(tmp_path, "a.jpg", xmp=packet(properties))[0][:4] == ("ai", "Foo Painter 3", "tag", False)
    assert "a cat" in decode(tmp_path / "a.jpg").claims[0].detail
    composite = "<Iptc4xmpExt:DigitalSourceType>compositeSynthetic</Iptc4xmpExt:DigitalSourceType>"
    assert {claim[3] for claim in read(tmp_path, "a.jpg", xmp=packet(properties + composite))} == {True}


STRUCTURES = {
    "Midjourney": "a lighthouse --ar 3:2 --v 7 Job ID: 5c0d3b7a-1111-4222-8333-444455556666",
    "A1111": PARAMETERS,
    "Forge": PARAMETERS + ", Version: f2.0.1v1.10.1",
    "Fooocus": '{"prompt": "witch", "steps": 30, "software": "Fooocus 1.0.43 MRE"}',
    "SwarmUI": '{"sui_image_params": {"prompt": "a", "seed": 1}}',
    "Easy Diffusion": '{"prompt": "a", "use_stable_diffusion_model": "sd-v1-5"}',
    "NovelAI": '{"prompt": "a", "steps": 28, "uc": "b", "sampler": "k_euler"}',
    "Draw Things": '{"c": "a", "sampler": "Euler a", "seed": 1, "steps": 20, "uc": ""}',
    "InvokeAI": '{"app_version": "5.0", "generation_mode": "txt2img", "positive_prompt": "a"}',
    "ComfyUI": f'{{"prompt": {PROMPT}, "workflow": {WORKFLOW}}}',
    "a diffusion model": '{"prompt": "a", "num_inference_steps": 4, "guidance_scale": 1.0, "seed": 3}',
    "Mochi Diffusion": "Include in Image: a cat; Model: sd; Steps: 20; Guidance Scale: 7; Generator: Mochi Diffusion 5.2",
    "Ideogram": '{"prompt": "a", "magic_prompt_option": "ON", "seed": 1}',
    "Flux": '{"prompt": "a cat", "seed": 42, "model": "flux", "nologo": true}',
    "gpt-image": '{"model": "gpt-image-1", "prompt": "a cat", "size": "1024x1024"}',
    "Dreamina": '{"aigc_info": {"aigc_label_type": 0}, "data": {"product": "dreamina", "exportType": "generation"}}',
    "x (AIGC label)": '{"AIGC": {"Label": "1", "ContentProducer": "x", "ProduceID": "y"}}',
}


def test_parameters_in_any_spelling_are_those_of_a_diffusion_model(tmp_path):
    text = '{"Prompt": "a", "Seed": 1, "InferenceSteps": 20, "GuidanceScale": 7.5}'
    assert read(tmp_path, "a.jpg", comment=text.encode())[0][:2] == ("ai", "a diffusion model")


@pytest.mark.parametrize(
    "text", ["Steps: 1 boil the water. Sampler: tea", '{"prompt": "say cheese", "model": "Canon"}']
)
def test_words_like_those_of_parameters_are_none(tmp_path, text):
    assert read(tmp_path, "a.jpg", comment=text.encode()) == []


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_of_a_tool_counts_in_any_field(tmp_path, name):
    text = STRUCTURES[name]
    wide = {"ascii": b"ASCII\0\0\0" + text.encode(), "be": b"UNICODE\0" + text.encode("utf-16-be")}
    wide |= {"le": b"UNICODE\0" + text.encode("utf-16-le"), "none": b"\0" * 8 + text.encode()}
    wide |= {"jis": b"JIS\0\0\0\0\0" + text.encode()}
    for value in wide.values():
        claims = read(tmp_path, "a.webp", exif=tags(inner={0x9286: value}))
        assert claims == [("ai", name, "tag", False, "EXIF UserComment")]
    assert read(tmp_path, "a.jpg", comment=text.encode()) == [("ai", name, "tag", False, "JPEG comment")]
    assert read(tmp_path, "a.gif", comment=text.encode()) == [("ai", name, "tag", False, "GIF comment")]
    for key in (b"Description", b"parameters"):
        path = written(tmp_path, "a.png", png((b"tEXt", key + b"\0" + text.encode()), behind=True))
        assert claims_in(path) == [("ai", name, "tag", False, f"PNG text {key.decode()}")]


def test_parameters_behind_a_long_prompt_are_found(tmp_path):
    text = "masterpiece, " * 40_000 + PARAMETERS
    chinese = "猫在沙发上" * 2000 + text[-200:]
    for order in ("utf-16-be", "utf-16-le"):
        exif = tags(inner={0x9286: b"UNICODE\0" + chinese.encode(order)})
        assert read(tmp_path, "a.webp", exif=exif)[0][1] == "A1111"
        exif = tags(inner={0x9286: b"UNICODE\0" + text.encode(order)})
        assert read(tmp_path, "a.webp", exif=exif)[0][1] == "A1111"
    claim = decode(tmp_path / "a.webp").claims[0]
    assert len(claim.detail) <= 200


def test_parameters_that_are_text_chunks_of_their_own_are_easy_diffusion(tmp_path):
    info = PngInfo()
    for key, value in {"prompt": "a cat", "seed": "0", "use_stable_diffusion_model": "sd-v1-5"}.items():
        info.add_text(key, value)
    assert read(tmp_path, "a.png", pnginfo=info) == [("ai", "Easy Diffusion", "tag", False, "PNG text keys")]


def test_the_signature_of_grok_needs_both_of_its_fields(tmp_path):
    signature, artist = "Signature: " + "QUJD" * 60, "0d9f5d0e-1111-4222-8333-444455556666"
    assert read(tmp_path, "a.jpg", exif=tags({0x010E: signature, 0x013B: artist}))[0][:2] == ("ai", "Grok")
    assert read(tmp_path, "a.jpg", exif=tags({0x010E: signature, 0x013B: "Anna"})) == []


@pytest.mark.parametrize("magic", ["stealth_pnginfo", "stealth_pngcomp", "stealth_rgbinfo", "stealth_rgbcomp"])
def test_parameters_hidden_in_the_lowest_bits_are_read(tmp_path, magic):
    body = PARAMETERS.encode() if magic.endswith("info") else gzip.compress(PARAMETERS.encode())
    bits = np.unpackbits(np.frombuffer(magic.encode() + struct.pack(">I", len(body) * 8) + body, np.uint8))
    pixels = np.array(SMALL.resize((100, 90)).convert("RGBA"))
    columns = pixels.swapaxes(0, 1).copy()
    flat = (columns[..., 3:] if "png" in magic else columns[..., :3]).reshape(-1).copy()
    flat[: len(bits)] = flat[: len(bits)] & 254 | bits
    if "png" in magic:
        columns[..., 3:] = flat.reshape(100, 90, 1)
    else:
        columns[..., :3] = flat.reshape(100, 90, 3)
    Image.fromarray(columns.swapaxes(0, 1).copy()).save(tmp_path / "a.png")
    channels = "alpha" if "png" in magic else "RGB"
    assert claims_in(tmp_path / "a.png") == [("ai", "A1111", "tag", False, f"lowest bits of {channels}")]


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


def test_a_long_workflow_in_a_compressed_chunk_is_read(tmp_path):
    long = WORKFLOW[:-1] + f', "extra": "{"a" * 1_500_000}"}}'
    path = written(tmp_path, "a.png", png((b"zTXt", b"workflow\0\0" + zlib.compress(long.encode()))))
    assert claims_in(path)[0][:2] == ("ai", "ComfyUI")


def test_the_catalogue_is_sound():
    content = catalogue.tomllib.loads(Path(catalogue.__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))
    rows, companies = content["tool"], content["companies"]
    names = [row["name"] for row in rows]
    assert len(names) == len(set(names))
    for row in rows:
        assert row.keys() <= {"name", "words", "alone", "fields", "means"} and row["words"], row["name"]
        assert row["means"] in ("ai", "ai-edit", "software") and {*row.get("fields", ())} <= {*catalogue.FIELDS}
        for word in row["words"]:
            for where in row.get("fields", catalogue.FIELDS):
                only_in_phrases = where == "text" or (word in companies and where in PEOPLE)
                tool = catalogue.tool_in(f"Made with {word}" if only_in_phrases else word, where)
                assert tool and (tool.name, tool.means) == (row["name"], row["means"]), (word, where)
        for word in row.get("alone", ()):
            assert catalogue.tool_in(word, "software").name == row["name"], word
            if not re.fullmatch(r"\w+\.[a-zA-Z]{2,}", word):  # an address
                assert not any(catalogue.tool_in(word, where) for where in ("creator", "text", "credit", "comment")), (
                    word
                )


def test_source_types_have_one_spelling():
    assert (
        term_of("digsrctype:TRAINEDALGORITHMICMEDIA")
        == term_of("Trained Algorithmic Media")
        == "trainedAlgorithmicMedia"
    )
    assert meaning_of("compositesynthetic") == ("ai", True) and term_of("a nice day") == ""


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


@pytest.mark.parametrize(
    "make", [f"workflow:{WORKFLOW}", f"workflow:{WORKFLOW[:60]}", "prompt: a cat", "Fooocus v2.5.5"]
)
def test_a_generator_in_make_is_no_camera_of_the_capture(tmp_path, make):
    path = saved(tmp_path / "a.jpg", exif=tags({0x010F: make, 0x0110: f"prompt:{PROMPT}", 0x0131: "ComfyUI"}))
    decoded = decode(path)
    assert decoded.capture.camera == "" and not any(claim.kind == "camera" for claim in decoded.claims)


def test_a_generator_named_by_make_and_model_together_is_no_camera(tmp_path):
    assert read(tmp_path, "a.jpg", exif=tags({0x010F: "Google", 0x0110: "Gemini"}))[0][:2] == ("ai", "Gemini")


@pytest.mark.parametrize(
    "value",
    [
        "Not used",
        "no AI used",
        "keine",
        "unknown",
        "None.",
        "No AI systems were used in this image",
        "No AI was used to create this image",
        "AI not used",
        "Not AI-generated",
        "none - real photo",
        "N/A - photograph",
        "Did not use AI",
        "Ohne KI",
        "A photo, no AI",
        "This image was not made with AI",
        "Kein KI-System verwendet",
        "(none)",
        "--",
        "keine KI",
        "n.a.",
        "off!",
    ],
)
def test_iptc_2025_may_state_that_no_ai_system_was_used(tmp_path, value):
    for name in ("AISystemUsed", "AIPromptInformation"):
        assert read(tmp_path, "a.jpg", xmp=packet(f"<Iptc4xmpExt:{name}>{value}</Iptc4xmpExt:{name}>")) == []


@pytest.mark.parametrize(
    "value",
    [
        "AI was not used in making this photograph", "False; no generative AI", "photograph, not AI", "Non-AI", "NoAI",
        "AI-free", "No Gen AI", "100% human", "Camera", "not provided", "TBD", "?", "-/-",
    ],
)  # fmt: skip
def test_an_ai_system_whose_name_denies_ai_is_no_claim(tmp_path, value):
    assert read(tmp_path, "a.jpg", xmp=packet(f"<Iptc4xmpExt:AISystemUsed>{value}</Iptc4xmpExt:AISystemUsed>")) == []


@pytest.mark.parametrize("value", ["Foo Painter 3.0", "Midjourney, no watermark", "Human Painter"])
def test_an_ai_system_with_a_negative_word_beside_its_name_is_a_claim(tmp_path, value):
    claims = read(tmp_path, "a.jpg", xmp=packet(f"<Iptc4xmpExt:AISystemUsed>{value}</Iptc4xmpExt:AISystemUsed>"))
    assert [claim[0] for claim in claims] == ["ai"]


def test_a_graph_that_only_loads_scales_and_saves_generates_nothing():
    nodes = ("LoadImage", "ImageScale", "SaveImage")
    prompt = {str(number): {"class_type": name, "inputs": {}} for number, name in enumerate(nodes)}
    workflow = {"nodes": [{"id": number, "type": name} for number, name in enumerate(nodes)], "links": []}
    assert generator_of(json.dumps(prompt)) == generator_of(json.dumps(workflow)) == ""
    upscaled = prompt | {"9": {"class_type": "ImageUpscaleWithModel", "inputs": {}}}
    assert generator_of(json.dumps(upscaled)) == ""


def graphs(*nodes: str, skipped: tuple[str, ...] = (), subgraph: str = "") -> dict[str, str]:
    """ComfyUI's `prompt` of the nodes that ran, and a `workflow` that also holds muted and bypassed ones."""
    prompt = {str(number): {"class_type": name, "inputs": {}} for number, name in enumerate(nodes)}
    listed = [{"id": number, "type": name, "pos": [], "mode": 0} for number, name in enumerate(nodes)]
    listed += [{"id": name, "type": name, "pos": [], "mode": 2 + 2 * at} for at, name in enumerate(skipped)]
    workflow = {"nodes": listed, "links": []}
    if subgraph:
        workflow["definitions"] = {"subgraphs": [{"id": nodes[-1], "nodes": [{"id": 1, "type": subgraph, "pos": []}]}]}
    return {"prompt": json.dumps(prompt), "workflow": json.dumps(workflow)}


@pytest.mark.parametrize(
    ("nodes", "kind", "part"),
    [
        (("LoadImage", "ImageUpscaleWithModel", "SaveImage"), "software", False),
        (("LoadImage", "BiRefNetRMBG", "ReverseImageBatch", "SaveImage"), "software", False),
        (("LoadImage", "FluxKontextImageScale", "ImageUpsampler", "BriaRemoveImageBackground"), "software", False),
        (("LoadImage", "BriaEraser", "SaveImage"), "ai", True),
        (("LoadImage", "VAEEncodeForInpaint", "KSampler", "SaveImage"), "ai", True),
        (("LoadImage", "KSampler", "SetLatentNoiseMask", "SaveImage"), "ai", True),
        (("LoadImage", "EmptyLatentImage", "KSampler", "SetLatentNoiseMask", "SaveImage"), "ai", False),
        (("LoadImage", "KSampler", "SaveImage"), "ai", False),
        (("LoadImage", "FluxKontextProImageNode", "SaveImage"), "ai", False),
        (("LoadImage", "FluxProKontext_fal", "SaveImage"), "ai", False),
        (("LoadImage", "FalGenericAPI", "SaveImage"), "ai", False),
        (("LoadImage", "RecraftReplaceBackgroundNode", "SaveImage"), "ai", False),
        (("LoadImage", "SDXL Empty Latent Image (rgthree)", "KSampler", "ReActorFaceSwap"), "ai", False),
        (("EmptyLatentImage", "A node of somebody", "SaveImage"), "ai", False),
    ],
)
def test_a_graph_is_judged_by_the_nodes_that_ran(tmp_path, nodes, kind, part):
    found = graphs(*nodes, skipped=("KSampler", "SamplerCustom"))
    info = PngInfo()
    for key, value in found.items():
        info.add_text(key, value)
    claims = read(tmp_path, "a.png", pnginfo=info)
    assert {claim[0:2] + claim[3:4] for claim in claims} == {(kind, "ComfyUI", part)}
    assert generator_of(found["workflow"]) == ("" if kind == "software" else "ComfyUI")


def test_an_inpainting_node_that_did_not_run_makes_no_part(tmp_path):
    info = PngInfo()
    info.add_text("prompt", graphs("LoadImage", "KSampler", "SaveImage")["prompt"])
    info.add_text("workflow", graphs("LoadImage", "KSampler", "VAEEncodeForInpaint", "SaveImage")["workflow"])
    assert {claim[0:2] + claim[3:4] for claim in read(tmp_path, "a.png", pnginfo=info)} == {("ai", "ComfyUI", False)}


def test_a_plain_prompt_is_believed_rather_than_the_workflow(tmp_path):
    info = PngInfo()
    info.add_text("prompt", graphs("LoadImage", "SaveImage")["prompt"])
    info.add_text("workflow", graphs("LoadImage", "KSampler", "SaveImage")["workflow"])
    info.add_text("Software", "ComfyUI")
    assert [claim[:2] for claim in read(tmp_path, "a.png", pnginfo=info)] == [("software", "ComfyUI")]


def test_a_subgraph_of_a_workflow_generates():
    assert generator_of(graphs("LoadImage", "1f0e", subgraph="KSampler")["workflow"]) == "ComfyUI"
    assert generator_of(graphs("LoadImage", "1f0e", subgraph="ImageScale")["workflow"]) == ""


def test_an_unnamed_ai_system_with_a_prompt_or_a_name_like_a_negation_counts(tmp_path):
    element = "<Iptc4xmpExt:{0}>{1}</Iptc4xmpExt:{0}>".format
    unknown = packet(element("AISystemUsed", "unknown") + element("AIPromptInformation", "a cat"))
    assert read(tmp_path, "a.jpg", xmp=unknown)[0][:2] == ("ai", "an AI system")
    assert read(tmp_path, "a.jpg", xmp=packet(element("AISystemUsed", "No.1 Painter")))[0][:2] == ("ai", "No.1 Painter")


@pytest.mark.parametrize("words", ["did not use ", "not used ", "no ai ", "without ", "no\t", "not made with "])
def test_a_long_denial_takes_no_long_time(words):
    start = time.process_time()
    states_nothing(words * (400_000 // len(words)) + "\nMidjourney")
    assert time.process_time() - start < 2


def test_an_ai_system_that_edits_made_a_part(tmp_path):
    xmp = packet("<Iptc4xmpExt:AISystemUsed>Photoshop Generative Fill</Iptc4xmpExt:AISystemUsed>")
    (claim,) = read(tmp_path, "a.jpg", xmp=xmp)
    assert claim[0] == "ai" and claim[3]


def test_the_type_of_a_part_and_tools_for_captions_say_nothing_about_the_picture(tmp_path):
    part = "<Iptc4xmpExt:ArtworkOrObject><rdf:Bag><rdf:li><Iptc4xmpExt:DigitalSourceType>digitalCapture"
    part += "</Iptc4xmpExt:DigitalSourceType></rdf:li></rdf:Bag></Iptc4xmpExt:ArtworkOrObject>"
    assert read(tmp_path, "a.jpg", xmp=packet(part)) == []
    assert read(tmp_path, "b.jpg", exif=tags(inner={0xA43C: "ChatGPT 5"})) == []


def test_metas_glasses_are_a_camera(tmp_path):
    camera = {0x010F: "Meta AI", 0x0110: "Ray-Ban Meta Smart Glasses"}
    claims = read(tmp_path, "a.jpg", exif=tags({**camera, 0x0131: "Meta AI"}))
    assert [claim[0] for claim in claims] == ["camera", "software"]
    assert [claim[0] for claim in read(tmp_path, "b.jpg", exif=tags({0x0131: "Meta AI"}))] == ["ai"]


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ('{"AIGC": {"ServiceProvider": "a", "ServiceUser": "b"}}', "a (AIGC label)"),
        ('{"AIGC": {"Label": "3", "ServiceProvider": "a", "ServiceUser": "b"}}', ""),
        ('{"aigc_info": {"aigc_label_type": 1, "source_info": "a"}}', "an AI service (AIGC label)"),
        ('{"aigc_info": {"aigc_label_type": 0}, "data": {"product": "dreamina", "exportType": "retouch"}}', ""),
        ('{"prompt": "describe this", "model": "doubao-1-5-vision-pro-32k"}', ""),
        ('{"prompt": "a cat", "model": "doubao-seedream-4-0"}', "Seedream"),
        ('{"hf-job-id": "5c0d3b7a"}', "Higgsfield"),
    ],
)
def test_labels_and_models_of_services_are_read(tmp_path, label, name):
    claims = read(tmp_path, "a.jpg", comment=label.encode())
    assert [claim[1] for claim in claims] == [name] * bool(name)


def test_labels_outside_containers_are_read(tmp_path):
    label = written(tmp_path, "a.jpg", jpeg((0xE4, b'AIGC{"Label":"1","ContentProducer":"x"}')))
    assert [claim[1] for claim in claims_in(label)] == ["x (AIGC label)"]
    for kind, wanted in ((1, [("ai", "Galaxy AI", "tag", True)]), (0, [])):
        trailer = f'SEFHPhotoEditor_Re_Edit_Data{{"a":1,"genAIType":{kind}}}xxxxSEFT'.encode()
        path = written(tmp_path, "b.jpg", jpeg() + trailer)
        assert [claim[:4] for claim in claims_in(path)] == wanted


def test_a_question_is_no_declaration(tmp_path):
    for words in ("Is this AI generated?", "Made with Midjourney?"):
        assert read(tmp_path, "a.jpg", exif=tags({0x010E: words, 0x013B: words})) == []


def test_a_truncated_workflow_is_comfyui(tmp_path):
    cut = 'workflow:{"last_node_id": 9, "nodes": [{"id": 9, "ty'
    assert read(tmp_path, "a.jpg", exif=tags({0x010F: cut}))[0][:2] == ("ai", "ComfyUI")


@pytest.mark.parametrize(
    "value",
    [
        "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia?lang=en", "iptc:trainedAlgorithmicMedia",
        "https://schema.org/TrainedAlgorithmicMediaDigitalSource", "TrainedAlgorithmicMediaDigitalSource",
    ],
)  # fmt: skip
def test_source_types_of_other_lists_have_the_same_meaning(value):
    assert term_of(value) == "trainedAlgorithmicMedia"


def test_the_chinese_label_is_read_with_its_name_before_it(tmp_path):
    label = 'AIGC{"Label":"1","ContentProducer":"x","ProduceID":"y"}'
    assert read(tmp_path, "a.png", **png_text("Comment", label))[0][:2] == ("ai", "x (AIGC label)")


@pytest.mark.parametrize(
    "label",
    ['{"aigc": {"Label": 1}}', '{"Label": "1", "ContentPropagator": "x"}', 'aigc{"Label":"1","PropagateID":"y"}'],
)
def test_the_chinese_label_needs_no_producer(tmp_path, label):
    assert read(tmp_path, "a.png", **png_text("Comment", label))[0][:2] == ("ai", "an AI service (AIGC label)")


@pytest.mark.parametrize("outer", ["ArtworkOrObject", "ImageRegion"])
def test_the_source_type_of_a_region_or_an_artwork_is_about_a_part(tmp_path, outer):
    inner = "<Iptc4xmpExt:DigitalSourceType>trainedAlgorithmicMedia</Iptc4xmpExt:DigitalSourceType>"
    item = f'<rdf:Bag><rdf:li rdf:parseType="Resource">{inner}</rdf:li></rdf:Bag>'
    found = read(tmp_path, "a.jpg", xmp=packet(f"<Iptc4xmpExt:{outer}>{item}</Iptc4xmpExt:{outer}>"))
    assert [claim[:4] for claim in found] == [("ai", "trainedAlgorithmicMedia", "tag", True)]


def test_an_empty_file_by_c2pas_term_is_no_claim(tmp_path):
    term = "http://c2pa.org/digitalsourcetype/empty"
    xmp = packet(f"<Iptc4xmpExt:DigitalSourceType>{term}</Iptc4xmpExt:DigitalSourceType>")
    assert read(tmp_path, "a.jpg", xmp=xmp) == []


@pytest.mark.parametrize("words", ["AI generated: no", "AI generated = false", "AI generated=0"])
def test_software_may_deny_that_it_used_ai(tmp_path, words):
    assert "ai" not in [claim[0] for claim in read(tmp_path, "a.jpg", exif=tags({0x0131: words}))]


@pytest.mark.parametrize(
    ("words", "name", "part"),
    [
        ("Image by DALL-E", "DALL-E", False), ("Digital art generated by artificial intelligence", "AI", False),
        ("Enhanced with Google AI", "Google AI", True),
    ],
)  # fmt: skip
def test_a_caption_that_only_states_how_the_picture_was_made_counts(tmp_path, words, name, part):
    assert read(tmp_path, "a.jpg", exif=tags({0x010E: words}))[0][:4] == ("ai", name, "text", part)


@pytest.mark.parametrize(
    "name", ["Anna via Midjourney", "Anna and Midjourney", "Anna (Midjourney)", "Anna, using DALL-E 3"]
)
def test_a_person_may_be_named_beside_a_generator(tmp_path, name):
    properties = f"<dc:creator>{name}</dc:creator><photoshop:Credit>{name}</photoshop:Credit>"
    found = [claim[::2] for claim in read(tmp_path, "a.jpg", xmp=packet(properties))]
    assert found == [("ai", "tag", "XMP photoshop:Credit"), ("ai", "text", "XMP dc:creator")]
    for other in ("Anna, not Midjourney", "Anna without Midjourney", "Anna via Flickr", "Sora and Luma"):
        assert read(tmp_path, "a.jpg", xmp=packet(properties.replace(name, other))) == []


@pytest.mark.parametrize("field", ["dc:contributor", "dc:source", "photoshop:AuthorsPosition", "IPTC By-line Title"])
def test_further_fields_of_authors_may_name_a_generator(tmp_path, field):
    xmp = packet(f"<{field}>Midjourney</{field}>") if ":" in field else b""
    data = jpeg((0xED, iptc((85, b"Midjourney")))) if not xmp else b""
    found = claims_in(written(tmp_path, "a.jpg", data)) if data else read(tmp_path, "a.jpg", xmp=xmp)
    assert [claim[:3] for claim in found] == [("ai", "Midjourney", "text")]


@pytest.mark.parametrize("field", ["photoshop:CaptionWriter", "xmpRights:UsageTerms"])
def test_who_wrote_a_caption_did_not_make_the_picture(tmp_path, field):
    space = 'xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/"'
    for words, wanted in (("ChatGPT", []), ("Made with Midjourney", [("ai", "Midjourney", "text")])):
        found = read(tmp_path, "a.jpg", xmp=packet(f"<{field}>{words}</{field}>", space))
        assert [claim[:3] for claim in found] == wanted
        path = written(tmp_path, "b.jpg", jpeg((0xED, iptc((122, words.encode())))))
        assert [claim[:3] for claim in claims_in(path)] == wanted


def test_the_writer_of_a_prompt_alone_is_a_weak_claim(tmp_path):
    xmp = packet("<Iptc4xmpExt:AIPromptWriterName>Anna</Iptc4xmpExt:AIPromptWriterName>")
    assert [claim[:3] for claim in read(tmp_path, "a.jpg", xmp=xmp)] == [("ai", "an AI system", "text")]


@pytest.mark.parametrize(
    ("software", "is_claim"),
    [
        ("AI generated;txt2img;flux", True), ("AI generated: yes", True), ("AI generated image by Foo 2", True),
        ("Foo (AI generated)", True), ("An AI generated image was the inspiration", False), ("AI-generated captions by Foo", False),
        ("AI generated content prohibited", False), ("Stable Diffusion was not used", False),
    ],
)  # fmt: skip
def test_software_counts_as_ai_if_a_clause_only_states_that(tmp_path, software, is_claim):
    kinds = [claim[0] for claim in read(tmp_path, "a.jpg", exif=tags({0x0131: software}))]
    assert kinds == (["ai"] if is_claim else ["software"])


@pytest.mark.parametrize("credit", ["OpenAI DALL·E 3", "Anna / Midjourney"])
def test_a_credit_may_name_a_company_or_a_person_beside_the_generator(tmp_path, credit):
    found = read(tmp_path, "a.jpg", xmp=packet(f"<photoshop:Credit>{credit}</photoshop:Credit>"))
    assert found[0][0] == "ai" and found[0][1] in ("DALL-E", "Midjourney")


@pytest.mark.parametrize("words", ["Picture by Gemini Smith", "Art by Leonardo", "Photo by Anna / Flux Studio"])
def test_people_and_studios_are_no_generators(tmp_path, words):
    found = read(
        tmp_path, "a.jpg", exif=tags({0x010E: words}), xmp=packet(f"<photoshop:Credit>{words}</photoshop:Credit>")
    )
    assert found == []


@pytest.mark.parametrize("tag", [0xA433, 0xA430, 0x9213])  # LensMake, CameraOwnerName, ImageHistory
def test_a_graph_is_found_in_any_text_of_exif(tmp_path, tag):
    assert read(tmp_path, "a.jpg", exif=tags({}, {tag: f"workflow:{WORKFLOW}"}))[0][:2] == ("ai", "ComfyUI")
    assert read(tmp_path, "b.jpg", exif=tags({}, {tag: "Made with Midjourney"})) == []


PEOPLE, TOOLS = ("credit", "creator"), ("software", "agent")


def generators_in(text: str, kinds: tuple[str, ...]) -> set[str]:
    """Names of the generators that a text states in any of these kinds of fields; "" for none."""
    tools = (tool_in(text, kind) for kind in kinds)
    return {tool.name if tool and tool.means != "software" else "" for tool in tools}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Done without using DALL-E", ""), ("not via Midjourney", ""), ("Not Midjourney, DALL-E, or Firefly", ""),
        ("never using ChatGPT", ""), ("No AI (Midjourney, DALL-E)", ""), ("It is not (Midjourney)", ""),
        ("Anna T. Smith via Midjourney", "Midjourney"), ("Foo (AI generated)", "AI"), ("Anna, DALL-E 3.0", "DALL-E"),
    ],
)  # fmt: skip
def test_a_negation_in_a_credit_is_about_all_its_names(text, name):
    assert generators_in(text, PEOPLE) == {name}


@pytest.mark.parametrize(
    "text",
    [
        "AI generated (no)", "AI generated; no", "AI generated | no", "AI generated; 0", "KI generiert (nein)", "no, AI generated",
        "AI generated/edited: no",
    ],
)  # fmt: skip
def test_a_negation_in_a_software_tag_is_about_all_its_clauses(text):
    assert generators_in(text, TOOLS) == {""}
    assert generators_in("AI generated;Foo 2.0", TOOLS) == {"AI"}


@pytest.mark.parametrize("text", ["(AI generated?)", "“AI generated?”", "AI生成？"])
def test_a_question_states_nothing_in_any_field(text):
    assert generators_in(text, catalogue.FIELDS) == {""}
    assert generators_in("AI generated? (unsure)", PEOPLE + TOOLS) == {""}
    assert generators_in("AI生成", catalogue.FIELDS) == {"AI"}


@pytest.mark.parametrize("title", ["Head of Design, OpenAI", "Prompt engineer, Midjourney"])
def test_a_job_title_is_not_what_made_the_picture(tmp_path, title):
    xmp = packet(f"<photoshop:AuthorsPosition>{title}</photoshop:AuthorsPosition>")
    assert read(tmp_path, "a.jpg", xmp=xmp) == []
    assert claims_in(written(tmp_path, "a.jpg", jpeg((0xED, iptc((85, title.encode())))))) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Sam Altman (OpenAI)", ""), ("Handout via OpenAI", ""), ("Jane, Stability AI", ""), ("Anna / Black Forest Labs", ""),
        ("Anna (Google DeepMind)", ""), ("Jane, Meta AI", ""), ("OpenAI", ""), ("Google DeepMind", ""), ("Stability AI", ""),
        ("Black Forest Labs", ""), ("Generated by OpenAI", "OpenAI"), ("Made with Google AI, Anna", "Google AI"),
        ("Anna (OpenAI DALL-E 3)", "DALL-E"),
    ],
)  # fmt: skip
def test_a_company_is_an_employer_or_handed_out_a_photo(text, name):
    assert generators_in(text, PEOPLE) == {name}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("captions via ChatGPT", ""), ("Translated via ChatGPT", ""), ("Keywording using ChatGPT", ""),
        ("Photo Anna, caption (ChatGPT)", ""), ("alt text: Anna, ChatGPT", ""), ("Anna via ChatGPT", "ChatGPT"),
        ("Anna (Text to Image by Adobe)", "Adobe Firefly"),
    ],
)  # fmt: skip
def test_who_wrote_the_words_did_not_make_the_picture(text, name):
    assert generators_in(text, PEOPLE) == {name}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Foto Imagen 2 de 4", ""), ("Imagen 3 (Madrid)", ""), ("Imagen 4", "Imagen"), ("imagen-4.0-generate-001", "Imagen"),
        ("Adobe Photoshop, Google Imagen 3", "Imagen"),
    ],
)  # fmt: skip
def test_imagen_is_spanish_for_an_image(text, name):
    assert generators_in(text, TOOLS) == {name}


@pytest.mark.parametrize(
    "text",
    [
        "Midjourney (not used)", "Midjourney: not used", "Midjourney has not been used", "Midjourney wasn't used",
        "Midjourney nicht verwendet", "Generative Fill: disabled", "Stable Diffusion: nein", "DALL-E 3: off; Foo",
        "senza Midjourney", "zonder Midjourney", "sem Midjourney", "inte Midjourney", "aucun Midjourney",
        "neither Midjourney nor DALL-E",
    ],
)  # fmt: skip
def test_a_tool_that_was_not_used_is_no_claim(text):
    assert generators_in(text, TOOLS) == {""}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("AI created with Adobe Illustrator", ""), ("AI made with Adobe Illustrator", ""), ("AI generated by hand", ""),
        ("AI created", "AI"), ("AI generated with Foo 2", "AI"), ("DALL-E 3.0", "DALL-E"), ("Midjourney, no watermark", "Midjourney"),
    ],
)  # fmt: skip
def test_ai_is_also_the_format_of_illustrator(text, name):
    assert generators_in(text, TOOLS) == {name}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"prompt": "Describe this image", "model": "gpt-4o"}', ""), ('{"prompt": "caption it", "model": "gemini-2.5-flash"}', ""),
        ('{"prompt": "caption it", "model": "openai/gpt-4o"}', ""), ('{"source": "Leonardo"}', ""), ('{"source": "Freepik"}', ""),
        ('{"prompt": "a cat", "model": "gemini-2.5-flash-image"}', "Gemini"), ('{"prompt": "a cat", "model": "dall-e-3"}', "DALL-E"),
        ('{"source": "Stable Diffusion XL 9CC2F394"}', "Stable Diffusion"),
    ],
)  # fmt: skip
def test_a_log_of_a_chat_and_a_source_are_no_parameters(text, name):
    assert generator_of(text) == name


@pytest.mark.parametrize(
    "text", ["Hunyuan, Shanxi", "Magic Media", "Anna / Kolors", "Dreamina", "Lucid Realism", "Wan Ai", "Flux Pro"]
)
def test_more_people_studios_and_places_are_no_generators(text):
    assert generators_in(text, PEOPLE) == {""}


def test_glasses_with_a_camera_are_no_generator(tmp_path):
    camera = tags({0x010F: "Meta AI", 0x0110: "Ray-Ban Meta Smart Glasses"})
    assert [claim[0] for claim in read(tmp_path, "a.jpg", exif=camera)] == ["camera"]
    assert generators_in("Meta AI", ("software", "comment")) == {"Meta AI"}


def test_companies_and_other_software_of_the_catalogue_are_its_words():
    content = catalogue.tomllib.loads(Path(catalogue.__file__).with_name("catalogue.toml").read_text(encoding="utf-8"))
    for company in content["companies"]:
        assert generators_in(f"Made with {company}", ("credit",)) != {""} != generators_in(company, ("software",))
        assert generators_in(company, PEOPLE) == generators_in(f"Anna, {company}", PEOPLE) == {""}
    assert all(tool_in(name, "software").means == "software" for name in content["software"])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Flux Pro Audio", ""), ("Canon Flux Pro", ""), ("Swift Playground v2", ""), ("Doubao IME", ""), ("Luma3DS", ""),
        ("Google Vertex AI Vision", ""), ("Google AI Core", ""), ("Google Gemini Nano HDR", ""), ("OpenAI CLIP", ""),
        ("Ray-Ban Meta AI", ""), ("Midjourney Detector", ""), ("Flux Pro 1.1 Ultra", "Flux"), ("Playground v2.5", "Playground AI"),
        ("Doubao", "Seedream"), ("Hunyuan", "Hunyuan"), ("Kolors", "Kolors"), ("Dreamina 3.0", "Dreamina"),
        ("Google Gemini Nano Banana", "Gemini"), ("OpenAI CLIP, Midjourney", "Midjourney"),
        ("Canva (AI generated: no)", ""), ("Picsart; AI features: off", ""), ("Photoroom, AI background off", ""),
        ("Fotor - AI: disabled", ""), ("Meta: AI training prohibited", ""), ("Jane Luma; AI Denoise", ""),
        ("Canva (Magic Media)", "Canva Magic Media"), ("Foo (Firefly Image 3)", "Adobe Firefly"),
        ("stable-diffusion_xl", "Stable Diffusion"), ("DALL•E", "DALL-E"),
    ],
)  # fmt: skip
def test_other_software_and_scattered_words_name_no_generator(text, name):
    assert generators_in(text, TOOLS) == {name}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Anna VIA MIDJOURNEY", "Midjourney"), ("Anna/Midjourney", "Midjourney"), ("Anna | Midjourney", "Midjourney"),
        ("Anna - Midjourney", "Midjourney"), ("Image: Midjourney", "Midjourney"), ("AI-generated image by Midjourney", "Midjourney"),
        ("https://example.com/Midjourney/1", ""), ("example.com/Midjourney", ""), ("Inspiration: Midjourney", ""),
    ],
)  # fmt: skip
def test_a_generator_may_stand_beside_a_person_in_any_usual_way(text, name):
    assert generators_in(text, PEOPLE) == {name}


@pytest.mark.parametrize("text", ["This image has been generated by AI", "AI generated: yes"])
def test_a_caption_may_state_ai_in_more_ways(text):
    assert generators_in(text, ("comment", "text")) == {"AI"}
    assert generators_in(text.replace("yes", "no").replace("has", "has not"), ("comment", "text")) == {""}


def claims_of(source: str, name: str, kind: str, text: str) -> list[tuple[str, str]]:
    """(kind, text) of the claims in a single field."""
    field = Field(source, name, kind, text)
    return [(claim.kind, claim.text) for claim in read_claims(Image.new("RGB", (8, 8)), [field], None)]


DENIED = {
    "ai system": (
        "Geen", "geen AI", "Ingen", "нет", "без ИИ", "没有使用AI", "無", "없음", "Brak", "yok", "n.v.t.", "k.A.", "entfällt",
        "nil", "—", "N", "human-made photograph", "Não utilizado", "使用していません", "사용하지 않음", "Kullanılmadı",
    ),
    "software": (
        "pas Midjourney", "geen Midjourney", "ikke Midjourney", "без Midjourney", "未使用 Midjourney", "Midjourney: нет",
        "Midjourney: nee", "Midjourney nicht genutzt", "Midjourney niet gebruikt", "ChatGPT alt text",
        "Lightroom plugin: keywords by ChatGPT", "Excire 2025 (captions by OpenAI)", "AutoTagger GPT-4o 1.2",
        "Any Vision (Google AI labels)", "Lumina Image Viewer 2", "Reve Art Studio",
    ),
    "credit": (
        "Imagine Art", "Photo: Imagine Art", "Reve Art", "Pika Art", "Lexica Art", "Tensor Art", "Luma Labs",
        "Photo: Amit Jain, Luma AI", "Designed by Ki",
    ),
    "model": ("Unknown", "0", "-", "????", "n/a", "Camera"),
    "comment": (
        "Job ID: 5c0d3b7a-1111-4222-8333-444455556666",
        "Smith wedding, order 12\nJob ID: 5c0d3b7a-1111-4222-8333-444455556666",
        '{"nodes": [{"id": 1, "type": "person"}], "links": [{"source": 1, "target": 1}]}',
        '{"software": "ChatGPT", "caption": "a dog"}',
        '{"1": {"class_type": "LoadImage"}, "2": {"class_type": "ImageSharpen"}, "3": {"class_type": "SaveImage"}}',
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in DENIED.items() for text in texts])
def test_texts_that_name_no_generator_of_the_pixels_are_no_claim(kind, text):
    assert [claim for claim in claims_of("exif", "a field", kind, text) if claim[0] in ("ai", "camera")] == []


@pytest.mark.parametrize(
    ("kind", "text", "name"),
    [
        ("software", "Midjourney; keywords by ChatGPT", "Midjourney"),
        ("software", "Adobe Firefly, text-to-image", "Adobe Firefly"),
        ("software", "Leonardo Phoenix 1.0", "Leonardo.Ai"),
        ("software", "imagine.art", "ImagineArt"),
        ("credit", "Apple Photos Generative Edit: Clean Up", "Apple Clean Up"),
        ("comment", "KI generiert: ja", "AI"),
        ("comment", "a lighthouse Job ID: 5c0d3b7a-1111-4222-8333-444455556666", "Midjourney"),
        ("comment", "a cat,  Job ID: 5c0d3b7a-1111-4222-8333-444455556666", "Midjourney"),
        ("comment", '{"generator": "gpt-image-1", "description": "a cat"}', "gpt-image"),
        ("software", "Adobe Firefly Text Effects", "Adobe Firefly"),
        ("software", "AI生成，无人工修改", "AI"),
        ("text", "Created with lexica.art", "Lexica"),
        ("text", "本图片由AI生成", "AI"),
        ("text", "Gemaakt met AI", "AI"),
        ("agent", "Luma Labs Photon", "Luma"),
        ("source type", "digitalsourcetype/trainedAlgorithmicMedia", "trainedAlgorithmicMedia"),
        ("source type", "“trainedAlgorithmicMedia”;", "trainedAlgorithmicMedia"),
    ],
)
def test_texts_that_name_a_generator_are_claims(kind, text, name):
    if kind == "agent":
        assert tool_in(text, kind).name == name
    else:
        assert claims_of("xmp", "a field", kind, text) == [("ai", name)]


@pytest.mark.parametrize(
    ("text", "where", "name"),
    [
        ("Midjourney with captions by ChatGPT", "software", "Midjourney"),
        ("ComfyUI / WD14 Tagger", "software", "ComfyUI"),
        ("Fooocus - caption by user", "software", "Fooocus"),
        ("Adobe Firefly Generative Text Edit", "software", "Adobe Firefly"),
        ("Adobe Firefly text/image", "agent", "Adobe Firefly"),
        ("Leonardo Lucid Origin", "software", "Leonardo.Ai"),
        ("Luma Labs Dream Machine", "agent", "Luma"),
        ("Reve Image (Halfmoon)", "software", "Reve"),
        ("lexica.art", "credit", "Lexica"),
        ("imagine.art", "creator", "Imagine"),
        ("Created with lexica.art", "text", "Lexica"),
        ("AI生成 (不含水印)", "software", "AI"),
    ],
)
def test_generators_beside_other_words_are_found(text, where, name):
    tool = catalogue.tool_in(text, where)
    assert tool and tool.means == "ai" and name in tool.name


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("Made with Dream Lab", "text"),
        ("Made with Dream Machine", "text"),
        ("Captions by ChatGPT", "software"),
        ("alt text: ChatGPT", "software"),
        ("不含AI生成内容", "software"),
    ],
)
def test_labs_and_helpers_are_no_generators(text, where):
    assert catalogue.tool_in(text, where) is None or catalogue.tool_in(text, where).means == "software"


@pytest.mark.parametrize(
    ("make", "model", "kind"),
    [
        ("Google", "Imagen 4", "ai"),
        ("Ideogram", "V3", "ai"),
        ("Leonardo", "Phoenix", "ai"),
        ("Grok", "2", "ai"),
        ("Hawkeye", "Firefly 8SE", "camera"),
        ("Planet Computers", "Gemini 4G", "camera"),
        ("Ray-Ban", "Meta Smart Glasses", "camera"),
        ("Google", "Pixel 9", "camera"),
        ("", "v1-5-pruned.ckpt", None),
    ],
)
def test_make_and_model_of_a_generator_are_no_camera(tmp_path, make, model, kind):
    claims = decode(saved(tmp_path / "a.jpg", exif=exif(make=make, model=model))).claims
    assert (claims[0].kind if claims else None) == kind


@pytest.mark.parametrize(
    "parameters",
    [
        "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Denoising strength: 0.75, Mask blur: 4",
        "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Inpaint area: Only masked, Masked area padding: 32",
        "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 6, App: SD.Next, Operations: upscale; inpaint, Mask weight: 0.5",
        '{"generation_mode": "sdxl_inpaint", "positive_prompt": "a cat", "steps": 20, "app_version": "invokeai 5"}',
    ],
)
def test_parameters_of_a_repainted_region_are_about_a_part(tmp_path, parameters):
    key = "invokeai_metadata" if "{" in parameters else "parameters"
    claim = decode(saved(tmp_path / "a.png", **png_text(key, parameters))).claims[0]
    assert (claim.kind, claim.part) == ("ai", True)


def test_a_picture_generated_before_a_region_was_repainted_is_whole(tmp_path):
    text = "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 6, App: SD.Next, Operations: txt2img; inpaint, Version: 1"
    assert read(tmp_path, "a.png", **png_text("parameters", text))[0][:4] == ("ai", "SD.Next", "tag", False)


@pytest.mark.parametrize(("asked", "part"), [("NativeInfillingRequest", True), ("PromptGenerateRequest", False)])
def test_the_name_of_a_tool_beside_its_parameters_is_about_the_same_extent(tmp_path, asked, part):
    comment = json.dumps({"prompt": "a cat", "steps": 28, "sampler": "k_euler", "uc": "", "request_type": asked})
    info = PngInfo()
    for key, value in {"Software": "NovelAI", "Source": "NovelAI Diffusion V4.5", "Comment": comment}.items():
        info.add_text(key, value)
    assert [claim[1:4:2] for claim in read(tmp_path, "a.png", pnginfo=info)] == [("NovelAI", part)] * 3


EDITED, GENERATED = "compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia"


@pytest.mark.parametrize(
    "named",
    [
        "<photoshop:Credit>AI-Generated with Google Photos</photoshop:Credit>",
        "<photoshop:Credit>Made with Google AI</photoshop:Credit>",
        "<xmp:CreatorTool>Adobe Firefly</xmp:CreatorTool>",
    ],
)
@pytest.mark.parametrize(("types", "part"), [((EDITED,), True), ((EDITED, GENERATED), False), ((), False)])
def test_a_tool_that_edited_a_photo_by_its_source_type_made_a_part(tmp_path, named, types, part):
    declared = "".join(f"<Iptc4xmpExt:DigitalSourceType>{one}</Iptc4xmpExt:DigitalSourceType>" for one in types)
    claims = read(tmp_path, "a.jpg", xmp=packet(named + declared))
    assert [claim[3] for claim in claims if claim[4] != "XMP Iptc4xmpExt:DigitalSourceType"] == [part]


@pytest.mark.parametrize("company", ["Black Forest Labs", "Stability AI", "OpenAI"])
def test_a_company_in_the_place_of_a_camera_is_a_generator(tmp_path, company):
    assert read(tmp_path, "a.jpg", exif=tags({0x010F: company, 0x0110: "a-model"}))[0][0] == "ai"


TOPIC = "<dc:subject><rdf:Bag><rdf:li>{}</rdf:li></rdf:Bag></dc:subject>".format
HEADLINE = "<photoshop:Headline>{}</photoshop:Headline>".format
CAPTION = "<dc:description>{}</dc:description>".format


@pytest.mark.parametrize(
    ("element", "words", "alone", "of_a_photo"),
    [
        (TOPIC, "AI generated content", [], []),
        (HEADLINE, "AI-generated images", [], []),
        (CAPTION, "AI-Generated Images.", [], []),
        (TOPIC, "AI generated", ["AI"], []),
        (HEADLINE, "AI-generated image", ["AI"], []),
        (TOPIC, "Made with Midjourney", ["Midjourney"], ["Midjourney"]),
        (HEADLINE, "AI-generated art (Midjourney)", [], []),
        (TOPIC, "AI generated image (ChatGPT)", [], []),
        (TOPIC, "AI-generated photo (Sora)", [], []),
        (TOPIC, "AI generated art via Midjourney", [], []),
        (HEADLINE, "KI-generiertes Bild (Midjourney)", [], []),
        (TOPIC, "Made with AI (OpenAI)", [], []),
        (CAPTION, "AI-generated art (Midjourney)", ["Midjourney"], ["Midjourney"]),
        (CAPTION, "AI-generated image", ["AI"], ["AI"]),
    ],
)
def test_what_a_photo_shows_is_not_what_it_is(tmp_path, element, words, alone, of_a_photo):
    xmp = packet(element(words))
    assert [claim[1] for claim in read(tmp_path, "a.jpg", xmp=xmp)] == alone
    for options in (
        {"exif": tags({0x010F: "Canon", 0x0110: "Canon EOS R5"}), "xmp": xmp},
        {
            "xmp": packet(
                element(words) + "<Iptc4xmpExt:DigitalSourceType>digitalCapture</Iptc4xmpExt:DigitalSourceType>"
            )
        },
    ):
        claims = read(tmp_path, "a.jpg", **options)
        assert [claim[1] for claim in claims if claim[0] == "ai"] == of_a_photo
        assert "camera" in [claim[0] for claim in claims]


def test_chinas_label_does_not_say_that_the_whole_picture_is_generated(tmp_path):
    label = json.dumps({"AIGC": {"Label": "1", "ContentProducer": "A retoucher" + "!" * 99}})
    decoded = decode(written(tmp_path, "a.jpg", jpeg((0xFE, label.encode()))))
    assert decoded.claims[0].kind == "ai"
    card = summary(Finding("a.jpg", "ok", "real", 0.01, claims=decoded.claims), None)
    words = "carries China's label for AI-generated or AI-edited content: “A retoucher!"
    assert words in card.sentence and "AI-made" not in card.sentence and "AIGC" not in card.sentence
    assert "that it, or a part of it, is AI-made" in conflict(decoded.claims, "real")


@pytest.mark.parametrize(
    ("text", "where", "means"),
    [
        ("AI-edited with Google Gemini", "software", "ai-edit"),
        ("Inpainted with Stable Diffusion", "software", "ai-edit"),
        ("Background removed with Adobe Firefly", "software", "ai-edit"),
        ("Partially generated with AI", "credit", "ai-edit"),
        ("Partly AI-generated", "credit", "ai-edit"),
        ("Image generated by OpenAI's DALL·E 3", "comment", "ai"),
        ("Generated with Midjourney (https://midjourney.com)", "comment", "ai"),
        ("Mit Midjourney erstellt", "text", "ai"),
        ("使用Midjourney生成", "text", "ai"),
        ("Midjourneyで生成", "text", "ai"),
        ("Foto: KI-generiert", "credit", "ai"),
        ("KI-generierte Grafik", "text", "ai"),
        ("Excire (GPT-4o descriptions)", "software", None),
        ("LrGeniusAI Google Gemini metadata", "software", None),
        ("PhotoPrism (OpenAI vision)", "software", None),
        ("ChatGPT Photo Describer", "software", None),
        ("Stable Diffusion Detector", "software", None),
        ("DALL-E Detector", "software", None),
        ("Stable Diffusion WD14 tagger", "software", None),
        ("Civitai tagger 1.2", "software", None),
        ("Stable Diffusion Prompt Reader 1.3", "software", None),
        ("ChatGPT Detector", "software", None),
        ("Gemini AI Detector 1.0", "software", None),
        ("Lightroom Classic 14; captions via Microsoft Copilot", "software", None),
        ("OpenAI gpt-image-1 with C2PA metadata", "software", "ai"),
        ("OpenAI gpt-image-1 via Organization Acme", "software", "ai"),
        ("由Leonardo生成", "text", None),
        ("由Midjourney生成", "text", "ai"),
        ("Made with Draw Things", "text", "ai"),
        ("不含有任何AI", "software", None),
    ],
)
def test_what_a_tool_did_counts(text, where, means):
    tool = catalogue.tool_in(text, where)
    assert (tool.means if tool and tool.means != "software" else None) == means


@pytest.mark.parametrize(
    "chunks",
    [
        {"prompt": "a cat", "model": "gpt-image-1"},
        {"AIGC": '{"Label": "1"}'},
        {"AIGC": '{"label": "1", "contentProducer": "x"}'},
        {"Generator": "Stable Diffusion XL"},
        {"SD:prompt": "a cat", "SD:seed": "1", "SD:steps": "20", "SD:sampler": "Euler"},
    ],
)
def test_parameters_in_chunks_of_their_own_name_a_generator(tmp_path, chunks):
    info = PngInfo()
    for key, value in chunks.items():
        info.add_text(key, value)
    assert decode(saved(tmp_path / "a.png", pnginfo=info)).claims[0].kind == "ai"


def test_the_signature_of_grok_is_found_after_conversion(tmp_path):
    info = PngInfo()
    info.add_text("Description", f"Signature: {'A' * 88}==")
    info.add_text("Author", "3b1f8a52-7c1d-4e0a-9c2b-1a2b3c4d5e6f")
    assert decode(saved(tmp_path / "a.png", pnginfo=info)).claims[0].text == "Grok"


def test_a_claim_on_a_part_is_one_in_the_column(hidascan, tmp_path):
    saved(tmp_path / "a.jpg", xmp=XMP.format("compositeWithTrainedAlgorithmicMedia", "x").encode())
    row = json.loads(hidascan(tmp_path / "a.jpg", "--jsonl", "-").out)
    assert row["provenance"] == "xmp:compositeWithTrainedAlgorithmicMedia (part)"


@pytest.mark.parametrize(
    ("comment", "program"),
    [
        ("Created with GIMP", "GIMP"), ("Created with The GIMP", "The GIMP"), ("Adobe ImageReady", "Adobe ImageReady"),
        ("CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90\n", "gd-jpeg v1.0 (using IJG JPEG v62), quality = 90"),
        ("File written by Adobe Photoshop 4.0", "Adobe Photoshop 4.0"), ("Lavc60.3.100", "Lavc60.3.100"),
        ("LEAD Technologies Inc. V1.01", "LEAD Technologies Inc. V1.01"), ("Software: Microsoft Office", "Microsoft Office"),
        ("Compressed by jpeg-recompress", "jpeg-recompress"), ("Optimized by JPEGmini 3.14.2", "JPEGmini 3.14.2"),
        ("This image was created with Adobe Fireworks.", "Adobe Fireworks"),
        ("GIF converted with https://ezgif.com/webp-to-gif", "https://ezgif.com/webp-to-gif"),
    ],
)  # fmt: skip
def test_a_comment_may_name_the_program_that_wrote_the_file(tmp_path, comment, program):
    for name in ("a.jpg", "a.gif"):
        assert [claim[:3] for claim in read(tmp_path, name, comment=comment.encode())] == [
            ("software", program, "text")
        ]
    assert [claim[:3] for claim in read(tmp_path, "a.png", **png_text("Comment", comment))] == [
        ("software", program, "text")
    ]


@pytest.mark.parametrize(
    "comment",
    [
        "Created by Anna", "Created with love", "Screenshot", "Blender", "Fireworks 2024", "Creator: Anna", "Software engineer",
        "Not made with GIMP", "Made with Photoshop?", "How this was created with GIMP", "Photoshop tutorial", "Software: unknown",
        "Photo by annasmith.com", "Optimized by hand", "Picasso 2.0 at the museum", "Compressed air by Anna",
    ],
)  # fmt: skip
def test_other_comments_name_no_program(tmp_path, comment):
    assert read(tmp_path, "a.jpg", comment=comment.encode()) == []


@pytest.mark.parametrize(
    "words",
    [
        "Designed by illustrator Anna Smith for The New Yorker", "This picture was drawn by illustrator Axel Scheffler",
        "Created by Photoshop expert John Smith", "Rendered by Blender artist Jan", "Image created by Krita Patel",
        "Created by VSCO girl Anna", "Made in Blender Street, London", "Drawn by illustrator", "Drawn by Krita, age 5",
        "Designed by Illustrator and author Eric Carle", "The image was created by illustrator Anna Smith.", "Made by Canva Team",
        "Edited by Blender Magazine", "Made in blender in five minutes", "Created with illustrator Anna Smith", "Made with Krita Patel",
        "Drawn by illustrator 2024", "Drawn by Krita 5", "Created with annasmith.com", "Made using ASP.NET", "Made with GIMP? No",
        "Made with GIMP: no", "Created using Photoshop, no AI", "Created with Photoshop, not Midjourney",
        "Created with Adobe Illustrator generative AI", "Made with Canva; not AI generated", "Made with Photoshop with AI?",
    ],
)  # fmt: skip
def test_people_places_and_denials_are_no_programs(tmp_path, words):
    assert claims_of("comment", "JPEG comment", "comment", words) == []
    assert read(tmp_path, "a.jpg", exif=tags({0x010E: words})) == []


@pytest.mark.parametrize(
    ("words", "program"),
    [
        ("Made in Figma", "Figma"), ("Edited with Adobe Photoshop CS6.", "Adobe Photoshop CS6"), ("Created in GIMP 2.10", "GIMP 2.10"),
        ("Drawn with Adobe Illustrator", "Adobe Illustrator"),
    ],
)  # fmt: skip
def test_a_program_may_have_a_version_or_a_full_stop_behind_it(words, program):
    for kind in ("comment", "caption"):
        assert claims_of("exif", "a field", kind, words) == [("software", program)]


@pytest.mark.parametrize(
    "comment",
    [
        "CREATOR: NASA/JPL-Caltech", "CREATOR: ANNA SMITH", "CREATOR: MIDJOURNEY", "CREATOR: OPENAI", "Compressed by Anna Smith",
        "Compressed by Anna Smith 24.12.2021", "Optimised by our team", "Compressed with love", "Encoder: John Doe", "Encoded by John",
        "File written by Anna", "Software: no AI used", "Software: not Midjourney", "Software: keine", "Software: not specified",
        "Software: Midjourney is not used", "Software: Midjourney? No", "Software: without Midjourney", "Software: see credits",
        "Software: the new book by Anna", "Software: Photoshop?", "Software: Photoshop tutorial", "Optimized by ChatGPT",
        "Compressed by OpenAI", "Optimized with Shutterstock AI", "Encoder: Sora 2", "Compressed with DeepAI",
        "Software: the new book on Midjourney", "No watermark\nSoftware: Midjourney 7.0",
        "Software: Midjourney v7\nis what we write about", "LEAD Technologies staff meeting",
        "ACD Systems headquarters in Victoria", "Handmade Software team", "xv version of the story", "Software: Anna 24.12.2021",
    ],
)  # fmt: skip
def test_people_and_denials_behind_a_label_are_no_programs(comment):
    assert claims_of("comment", "JPEG comment", "comment", comment) == []


@pytest.mark.parametrize(
    ("comment", "program"),
    [
        ("CREATOR: XV Version 3.10a  Rev: 12/29/94  Quality = 75, Smoothing = 0", "XV Version 3.10a Rev: 12/29/94 Quality = 75, Smoothing = 0"),
        ("CREATOR: The GIMP's PNM Filter Version 1.0", "The GIMP's PNM Filter Version 1.0"), ("Encoded by x264", "x264"),
        ("Optimized by JPEGmini 3.9.20.0 0x4c4b1a32", "JPEGmini 3.9.20.0 0x4c4b1a32"),
        ("File written by Adobe Photoshop¨ 4.0\0", "Adobe Photoshop¨ 4.0"), ("File written by Adobe Photoshop? 5.0", "Adobe Photoshop? 5.0"),
        ("Handmade Software, Inc. Image Alchemy v1.11", "Handmade Software, Inc. Image Alchemy v1.11"),
        ("Software: Adobe Photoshop CS Windows", "Adobe Photoshop CS Windows"), ("Software: Photoshop CS2 Macintosh", "Photoshop CS2 Macintosh"),
        ("CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), default quality", "gd-jpeg v1.0 (using IJG JPEG v62), default quality"),
    ],
)  # fmt: skip
def test_programs_behind_a_label_are_found(comment, program):
    assert claims_of("comment", "JPEG comment", "comment", comment) == [("software", program)]


@pytest.mark.parametrize(
    "words",
    [
        "AI generated\nCreated with GIMP", "Generated with Midjourney\r\nEdited in Photoshop", "Created with GIMP, then Midjourney",
        "Edited in Lightroom and generated with Midjourney", "Edited in Photoshop with Generative Fill", "Made in Canva with Midjourney",
        "Made with Midjourney and Photoshop?", "AI-generated images\nCreated with GIMP", "Not generated by AI\nCreated with GIMP",
        "AI generated?\nCreated with GIMP", "Created with GIMP on a Mac", "(c) 2004 Anna\n\nCreated with The GIMP",
    ],
)  # fmt: skip
def test_a_text_that_says_more_names_no_program_that_could_hide_a_generator(words):
    for kind in ("comment", "caption"):
        assert claims_of("exif", "a field", kind, words) == []


@pytest.mark.parametrize("words", ["Software: Midjourney 7.0", "software:  Midjourney"])
def test_a_generator_may_stand_behind_a_label_of_a_comment(words):
    assert claims_of("comment", "JPEG comment", "comment", words) == [("ai", "Midjourney")]


def test_a_caption_may_name_the_program_only_in_a_phrase(tmp_path):
    found = read(tmp_path, "a.jpg", exif=tags({0x010E: "Created with GIMP"}))
    assert found == [("software", "GIMP", "text", False, "EXIF ImageDescription")]
    for caption in ("Adobe ImageReady", "Compressed by Anna", "Software: a history", "GIMP 2.10"):
        assert read(tmp_path, "a.jpg", exif=tags({0x010E: caption})) == []


def test_the_program_in_a_comment_hides_no_stronger_claim(tmp_path):
    camera = tags({0x010F: "Canon", 0x0110: "Canon EOS", 0x0131: "GIMP 2.10", 0x010E: "Made with Midjourney"})
    assert [claim[:3] for claim in read(tmp_path, "a.jpg", exif=camera, comment=b"Created with GIMP")] == [
        ("ai", "Midjourney", "text"),
        ("camera", "Canon EOS", "tag"),
        ("software", "GIMP 2.10", "tag"),
        ("software", "GIMP", "text"),
    ]
    for comment in ("Software: Midjourney v7", "Created with Adobe Firefly", "Generated by DALL-E 3"):
        assert [claim[0] for claim in read(tmp_path, "a.jpg", comment=comment.encode())] == ["ai"]
    text = "Created with GIMP\n" + PARAMETERS
    assert [claim[:2] for claim in read(tmp_path, "a.jpg", comment=text.encode())] == [("ai", "A1111")]


@pytest.mark.parametrize(
    ("lens", "main", "wanted"),
    [
        ("iPhone 15 Pro back triple camera 6.765mm f/1.78", {}, [("camera", "iPhone 15 Pro back triple camera 6.765mm f/1.78")]),
        ("Pixel 7 back camera 6.81mm f/1.85", {}, [("camera", "Pixel 7 back camera 6.81mm f/1.85")]),
        ("iPhone 15 back camera", {0x010F: "Unknown"}, [("camera", "iPhone 15 back camera")]),
        ("iPhone 15 back camera", {0x010F: "Apple", 0x0110: "iPhone 15"}, [("camera", "Apple iPhone 15")]),
        ("iPhone 15 back camera", {0x010F: "Ideogram", 0x0110: "V3"}, [("ai", "Ideogram")]),
        ("EF24-70mm f/2.8L II USM", {}, []),
        ("no camera", {}, []),
        ("a virtual camera by Midjourney", {}, []),
    ],
)  # fmt: skip
def test_a_lens_alone_may_name_its_camera(tmp_path, lens, main, wanted):
    assert [claim[:2] for claim in read(tmp_path, "a.jpg", exif=tags(main, {0xA434: lens}))] == wanted


@pytest.mark.parametrize(
    "lens",
    [
        "Unknown camera", "Default Camera", "Virtual camera", "Camera", "Camera lens", "sub-pixel", "Pixel art", "Pixel", "Galaxy",
        "Main Camera", "AI camera", "Blender Camera", "Pinhole camera", "Camera w/o lens", "for Canon camera", "Canon camera 85mm f/1.4",
        "Moment Tele 58mm for iPhone", "camera, 85mm lens, bokeh, portrait of a woman", "shot on iPhone 15, cinematic",
        "shot with Pixel camera, 8k, masterpiece", "iPhone 15, portrait of Anna", "Pixel art 8k", "Pixel Studio 2",
        "Unknown iPhone 15 camera", "Galaxy AI 2",
    ],
)  # fmt: skip
def test_other_names_of_lenses_name_no_camera(lens):
    assert claims_of("exif", "EXIF LensModel", "lens", lens) == []


@pytest.mark.parametrize(
    "lens",
    [
        "iPhone 14 front TrueDepth camera 2.69mm f/1.9", "iPhone 11 Pro Max back triple camera 4,25mm f/1,8", "iPad Pro back camera 3mm f/1.8",
        "iPhone SE (2nd generation) back camera 3.99mm f/1.8", "iPhone 4S back camera 4.28mm f/2.4", "iPhone XR back camera 4.25mm f/1.8",
        "iPad Pro (12.9-inch) (3rd generation) back camera 2.87mm f/1.8", "Samsung Galaxy S21 Rear Wide Camera", "Galaxy S23 Ultra Rear Wide Camera",
        "Pixel 8a back camera 4.47mm f/1.89", "Pixel 3 XL rear camera 4.44mm f/1.8", "iPhone 16e back camera 4.2mm f/1.64",
    ],
)  # fmt: skip
def test_lenses_of_phones_and_tablets_name_their_camera(lens):
    assert claims_of("exif", "EXIF LensModel", "lens", lens) == [("camera", lens)]


def test_make_and_model_in_xmp_are_preferred_to_a_lens(tmp_path):
    xmp = packet(
        "<tiff:Make>Apple</tiff:Make><tiff:Model>iPhone 15</tiff:Model>", 'xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'
    )
    exif = tags({}, {0xA434: "iPhone 15 back camera"})
    assert [claim[:2] for claim in read(tmp_path, "a.jpg", exif=exif, xmp=xmp)] == [("camera", "Apple iPhone 15")]
    aux = 'xmlns:aux="http://ns.adobe.com/exif/1.0/aux/"'
    assert read(tmp_path, "b.jpg", xmp=packet("<aux:Lens>iPhone 15 back camera</aux:Lens>", aux)) == [
        ("camera", "iPhone 15 back camera", "tag", False, "XMP aux:Lens")
    ]


def block_of_exif(main: dict[int, str], inner: dict[int, str], kind: int, order: str) -> bytes:
    """A block of EXIF whose texts are of one type; 129 is UTF-8."""
    block = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    at_inner = 8 + 2 + 12 * (len(main) + 1) + 4 + sum(len(text.encode()) + 9 for text in main.values())
    for texts, pointer in ((main, [(0x8769, struct.pack(f"{order}HII", 4, 1, at_inner))]), (inner, [])):
        block = block.ljust(at_inner if texts is inner else 8, b"\0")
        at, entries, values = len(block) + 2 + 12 * (len(texts) + len(pointer)) + 4, [], b""
        for tag, text in texts.items():
            value = text.encode() + b"\0" * 9  # longer than an entry has space for
            entries.append((tag, struct.pack(f"{order}HII", kind, len(value), at + len(values))))
            values += value
        packed = b"".join(struct.pack(f"{order}H", tag) + entry for tag, entry in sorted(entries + pointer))
        block += struct.pack(f"{order}H", len(entries + pointer)) + packed + bytes(4) + values
    return b"Exif\0\0" + block


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [2, 7, 129])  # ASCII, undefined, UTF-8
def test_texts_of_exif_are_read_whatever_their_type(tmp_path, kind, order):
    main = {0x010F: "SONY", 0x0110: "ILCE-7M5", 0x0131: "Midjourney v7", 0x010E: "Vögel über Zürich"}
    exif = block_of_exif(main, {0x9003: "2026:01:02 03:04:05", 0xA43B: "Grok"}, kind, order)
    for name in ("a.jpg", "a.png", "a.webp"):
        SMALL.save(tmp_path / name, exif=exif)
        decoded = decode(tmp_path / name)
        assert [claim.text for claim in decoded.claims] == ["Midjourney", "Grok", "SONY ILCE-7M5"]
        if kind != 7:
            taken = (decoded.capture.camera, decoded.capture.software, decoded.capture.taken)
            assert taken == ("SONY ILCE-7M5", "Midjourney v7", "2026:01:02 03:04:05")


def test_pillow_itself_reads_types_as_before(tmp_path):
    exif = block_of_exif({0x010F: "SONY"}, {}, 129, "<")
    SMALL.save(tmp_path / "a.jpg", exif=exif)
    decode(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        assert 0x010F not in image.getexif()


def test_texts_in_utf_8_are_read_from_a_tiff(tmp_path):
    SMALL.save(tmp_path / "a.tiff", tiffinfo={0x0131: "Midjourney v7 in Zürich"})
    data = bytearray((tmp_path / "a.tiff").read_bytes())
    at = data.index(struct.pack("<HH", 0x0131, 2))
    data[at + 2 : at + 4] = struct.pack("<H", 129)
    assert claims_in(written(tmp_path, "a.tiff", bytes(data)))[0][:2] == ("ai", "Midjourney")


@pytest.mark.parametrize(
    ("value", "kind", "text", "part"),
    [
        ("Composite including generative AI elements", "ai", "compositeSynthetic", True),
        ("Edited using Generative AI", "ai", "compositeWithTrainedAlgorithmicMedia", True),
        ("Generative AI", "ai", "trainedAlgorithmicMedia", False),
        ("AI generated", "ai", "trainedAlgorithmicMedia", False),
        ("Made with AI", "ai", "AI", False),
        ("AI-generated by Midjourney", "ai", "Midjourney", False),
        ("Edited with Adobe Firefly", "ai", "Adobe Firefly", True),
        ("Digital capture", "camera", "digitalCapture", False),
        ("Digital capture sampled from real life", "camera", "digitalCapture", False),
        ("Multi-frame computational capture sampled from real life", "camera", "computationalCapture", False),
        ("Digitised from a transparent negative", "camera", "negativeFilm", False),
        ("Digitized from a transparent positive", "camera", "positiveFilm", False),
        ("Composite of captured elements", "camera", "compositeCapture", False),
        ("Digitised from a non-transparent medium", "software", "print", False),
        ("Human edits", "software", "humanEdits", False),
        ("Human-edited media", "software", "humanEdits", False),
        ("Original media with minor human edits", "software", "minorHumanEdits", False),
        ("Algorithmically-altered media", "software", "algorithmicallyEnhanced", False),
        ("Pure algorithmic media", "software", "algorithmicMedia", False),
        ("Virtual event recording", "software", "virtualRecording", False),
        ("Composite of elements", "software", "composite", False),
        ("http://cv.iptc.org/newscodes/digitalsourcetype/termOf2027", "software", "termOf2027", False),
        ("https://cv.iptc.org/newscodes/digitalsourcetype/termOf2027?lang=en", "software", "termOf2027", False),
        ("A painting on glass", "software", "A painting on glass", False),
        ("Photo of a robot by Anna", "software", "Photo of a robot by Anna", False),
        ("Not AI-generated", "", "", False),
        ("No generative AI", "", "", False),
        ("Not made with Midjourney", "software", "Not made with Midjourney", False),
        ("Created without AI", "software", "Created without AI", False),
        ("http://cv.iptc.org/newscodes/digitalsourcetype/", "", "", False),
        ("unknown", "", "", False),
        ("n/a", "", "", False),
    ],
)  # fmt: skip
def test_source_types_may_be_words(tmp_path, value, kind, text, part):
    xmp = packet(f"<Iptc4xmpExt:DigitalSourceType>{value}</Iptc4xmpExt:DigitalSourceType>")
    assert [claim[:4] for claim in read(tmp_path, "a.webp", xmp=xmp)] == ([(kind, text, "tag", part)] if kind else [])


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("AI-generated?", []), ("Generative AI?", []), ("AI generated ?", []), ("AI-generated？", []), ("Created using generative AI?", []),
        ("AI?", []), ("Is it AI-generated?", []), ("AI", [("ai", "AI")]), ("ai", [("ai", "AI")]), ("人工智能", [("ai", "AI")]), ("KI;", [("ai", "AI")]),
        ("l'intelligence artificielle", [("ai", "AI")]), ("Composite with AI", [("ai", "compositeWithTrainedAlgorithmicMedia")]),
        ("trainedAlgorithmicMedia; digitalCapture", [("ai", "trainedAlgorithmicMedia"), ("camera", "digitalCapture")]),
        ("digitalCapture, Generative AI", [("ai", "trainedAlgorithmicMedia"), ("camera", "digitalCapture")]),
        ("digitalCapture; AI", [("ai", "AI"), ("camera", "digitalCapture")]),
        ("AI, not used", []), ("a robot, generative AI", [("software", "a robot, generative AI")]),
        ("urn:iptc:std:digsrctype:digitalCapture?lang=en", [("camera", "digitalCapture")]),
        ("cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia?lang=en", [("ai", "trainedAlgorithmicMedia")]),
    ],
)  # fmt: skip
def test_source_types_may_be_questions_lists_or_ai_itself(value, wanted):
    assert claims_of("xmp", "XMP Iptc4xmpExt:DigitalSourceType", "source type", value) == wanted


def test_an_unknown_source_type_is_called_a_source(tmp_path):
    xmp = packet("<Iptc4xmpExt:DigitalSourceType>A painting on glass</Iptc4xmpExt:DigitalSourceType>")
    SMALL.save(tmp_path / "a.jpg", xmp=xmp)
    card = summary(Finding("a.jpg", "ok", "real", 0.01, claims=decode(tmp_path / "a.jpg").claims), None)
    assert "the file declares its source as “A painting on glass”" in card.sentence


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("AI-generated (Midjourney)", "Midjourney"), ("AI-generated illustration (Midjourney)", "Midjourney"),
        ("Generated by Stable Diffusion XL (ComfyUI)", "Stable Diffusion"), ("Generated by gpt-image-1 (OpenAI)", "gpt-image"),
        ("Generated by Imagen 4 (Google)", "Imagen"), ("Image generated by AI (DALL·E 3)", "DALL-E"),
        ("Image generated by FLUX.1-dev via Replicate", "Flux"), ("Generated by DALL-E 3 through ChatGPT", "DALL-E"),
        ("Generated with ComfyUI using FLUX.1-dev", "ComfyUI"), ("Generated by AI using Stable Diffusion.", "Stable Diffusion"),
        ("AI-generated image (Google)", "AI"), ("KI-generiert mit Midjourney", "Midjourney"), ("KI-generiert (Midjourney)", "Midjourney"),
        ("Synthetic image generated by AI", "AI"), ("Generated by an AI model", "AI"), ("Mit generativer KI erstellt", "AI"),
        ("此图片由AI生成", "AI"), ("此图片由Midjourney生成", "Midjourney"), ("画像はAIで生成", "AI"), ("この画像はAIで生成されました", "AI"),
        ("이 이미지는 AI로 생성되었습니다", "AI"), ("Изображение сгенерировано ИИ", "AI"), ("Afbeelding gegenereerd met AI", "AI"),
        ("Obraz wygenerowany przez AI", "AI"), ("Image créée par l'IA", "AI"), ("Immagine generata con l'IA", "AI"),
    ],
)  # fmt: skip
def test_a_declaration_may_name_a_second_tool_or_be_in_another_language(tmp_path, words, name):
    assert generators_in(words, ("comment", "text", "credit", "creator")) == {name}
    exif = tags({0x010E: words.encode(), 0x9C9C: words.encode("utf-16-le")})
    assert [claim[:4] for claim in read(tmp_path, "a.jpg", exif=exif)] == [("ai", name, "text", False)] * 2


@pytest.mark.parametrize(
    "words",
    [
        "Not generated by AI (Midjourney)", "No AI (Midjourney, DALL-E)", "AI-generated images (Midjourney)", "AI-generated art (right)",
        "AI-generated image (left) and photo (right)", "AI generated (Illustrator)", "AI generated using Adobe Illustrator",
        "AI generated via Adobe Illustrator", "Made by hand using Midjourney", "Picture by Gemini (Google)", "Art by Leonardo via Flickr",
        "Image generated by Leonardo via Replicate", "Photo of a poster made with DALL-E (OpenAI)", "Photo by Anna (Google)",
        "The image was not made with Midjourney via Discord", "Created without AI using Photoshop", "Generated by AI? (Midjourney)",
        "AI-generated captions (ChatGPT)", "Alt text generated by AI (ChatGPT)", "Illustration by Ai (Adobe)", "Drawn by Ai using Procreate",
        "AI-generated image by Boris Eldagsen (Sony awards)", "Portrait of an AI model (Midjourney)", "Created by AI through the ages",
        "此图片不由AI生成", "人工智能", "この画像はAIで生成されていません", "Изображение не сгенерировано ИИ", "Afbeelding niet gegenereerd met AI",
        "Obraz nie wygenerowany przez AI", "Dieses Bild wurde nicht mit KI generiert", "KI-generierte Bilder", "Synthetic art",
        "Portrait of Anna (Midjourney, Oregon)", "Sora via Instagram", "Image créée par l'IAE",
        "Designed in AI via Behance", "Created in AI via Dribbble", "Drawn in AI (behance.net)", "Created in AI using Inkscape",
        "Generated from AI using Ghostscript", "Rendered from AI via Inkscape", "Designed by AI (archdaily.com)", "Created in AI via Midjourney",
        "Created by AI (amnesty.org)", "Image by OpenAI via Reuters", "Picture by Stability AI via Getty Images", "Image by OpenAI (Google)",
        "Image by Google DeepMind via AP", "Created by Meta AI via Getty Images", "Image by AI via Al Jazeera", "Designed in AI (Microsoft)",
        "Made with AI (Amnesty.org)", "AI-generated image (factcheck.org)", "Created with AI (Google)", "Illustration by AI via Shutterstock", "Created by the OpenAI via AP", "Image by OpenAI (Stability AI)",
    ],
)  # fmt: skip
def test_a_caption_with_a_bracket_or_a_second_tool_may_be_no_declaration(tmp_path, words):
    assert generators_in(words, ("comment", "text")) == {""}
    exif = tags({0x010E: words.encode(), 0x9C9C: words.encode("utf-16-le")})
    assert "ai" not in [claim[0] for claim in read(tmp_path, "a.jpg", exif=exif)]


@pytest.mark.parametrize(
    "words", ["Not generated by AI (Midjourney)", "Not made with Midjourney via Discord", "Anna (Google)"]
)
def test_a_denial_with_a_bracket_or_a_second_tool_stays_one_in_a_credit(words):
    assert generators_in(words, PEOPLE) == {""}


HISTORY = "2026-01-01T10:00:00+01:00&#x9;File a.jpg opened&#xA;Open&#xA;{}&#xA;2026-01-01T10:05:00+01:00&#x9;File a.jpg saved&#xA;"


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ("Crop&#xA;Generative Fill&#xA;Make layer", "Photoshop Generative Fill"),
        ("Generative Expand", "Photoshop Generative Fill"),
        ("&#x9;Generative Fill&#xA;Generative Fill", "Photoshop Generative Fill"),
        ("Generative Remove", "Adobe Generative Remove"),
    ],
)
def test_a_generative_step_in_the_log_of_photoshop_made_a_part(tmp_path, steps, name):
    attribute = packet("").replace(
        b"<rdf:Description ", f'<rdf:Description photoshop:History="{HISTORY.format(steps)}" '.encode()
    )
    element = packet(f"<photoshop:History>{HISTORY.format(steps)}</photoshop:History>")
    for xmp in (attribute, element):
        assert read(tmp_path, "a.jpg", xmp=xmp) == [("ai", name, "tag", True, "XMP photoshop:History")]
    assert decode(tmp_path / "a.jpg").claims[0].detail.startswith("Generative")


@pytest.mark.parametrize(
    "steps",
    [
        "Crop", "Open", "Content-Aware Fill", "Fill", "Spot Healing Brush", "File Midjourney.jpg opened", "Generative Fill: off",
        "Set “Midjourney” layer", "Layer Name: “Made with AI”", "Text: no Generative Fill", "Open Generative Fill.psd",
        "File “Generative Fill” opened",
    ],
)  # fmt: skip
def test_other_steps_in_the_log_of_photoshop_say_nothing(tmp_path, steps):
    xmp = packet(f"<photoshop:History>{HISTORY.format(steps)}</photoshop:History>")
    assert read(tmp_path, "a.jpg", xmp=xmp) == []


@pytest.mark.parametrize(
    "words", ["created with a-", "this picture ", "Generative Fill no ", "made with GIMP ", "a.b-"]
)
@pytest.mark.parametrize(("kind", "end"), [("comment", ""), ("caption", ""), ("history", "\n"), ("source type", "")])
def test_long_texts_of_programs_and_steps_take_no_long_time(words, kind, end):
    text = "".join(f"{words * 3}{number}{end}" for number in range(20_000)) + "?"
    start = time.process_time()
    claims_of("xmp", "a field", kind, text)
    claims_of("xmp", "a field", kind, words * 20_000)
    claims_of("xmp", "a field", kind, "a" * 100_000 + "\n" + " " * 100_000 + "GIMP")
    assert time.process_time() - start < 2
