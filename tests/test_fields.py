"""Metadata fields: read from every container, in any spelling and encoding."""

import gzip
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hidascan.image.decode import decode
from tests.metadata import (
    IPTC_EXTENSION,
    PARAMETERS,
    RDF,
    SMALL,
    WORKFLOW,
    claims_in,
    iptc,
    jpeg,
    packet,
    png,
    read,
    tags,
    written,
)


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
    assert claims_in(tmp_path / "a.png") == [
        ("ai", "Stable Diffusion parameters", "tag", False, f"lowest bits of {channels}")
    ]


def test_a_long_workflow_in_a_compressed_chunk_is_read(tmp_path):
    long = WORKFLOW[:-1] + f', "extra": "{"a" * 1_500_000}"}}'
    path = written(tmp_path, "a.png", png((b"zTXt", b"workflow\0\0" + zlib.compress(long.encode()))))
    assert claims_in(path)[0][:2] == ("ai", "ComfyUI")


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


@pytest.mark.parametrize("title", ["Head of Design, OpenAI", "Prompt engineer, Midjourney"])
def test_a_job_title_is_not_what_made_the_picture(tmp_path, title):
    xmp = packet(f"<photoshop:AuthorsPosition>{title}</photoshop:AuthorsPosition>")
    assert read(tmp_path, "a.jpg", xmp=xmp) == []
    assert claims_in(written(tmp_path, "a.jpg", jpeg((0xED, iptc((85, title.encode())))))) == []


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


HISTORY = "2026-01-01T10:00:00+01:00&#x9;File a.jpg opened&#xA;Open&#xA;{}&#xA;2026-01-01T10:05:00+01:00&#x9;File a.jpg saved&#xA;"


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ("Crop&#xA;Generative Fill&#xA;Make layer", "Generative Fill"),
        ("Generative Expand", "Generative Expand"),
        ("&#x9;Generative Fill&#xA;Generative Fill", "Generative Fill"),
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
    claim = decode(tmp_path / "a.jpg").claims[0]
    assert (claim.detail or claim.text).startswith("Generative")


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


def texts_in_png(**texts: str) -> bytes:
    return png(
        *((b"tEXt", key.replace("__", ":").encode() + b"\0" + text.encode("latin-1")) for key, text in texts.items())
    )


@pytest.mark.parametrize("start", [b"ASCII\0\0\0", b"UNICODE\0"])
def test_exif_that_imagemagick_lists_as_png_text_is_read(tmp_path, start):
    comment = PARAMETERS.encode("utf-16-be" if start == b"UNICODE\0" else "ascii")
    listed = ", ".join(str(one) for one in start + comment)
    data = texts_in_png(
        exif__Make="Canon", exif__Model="Canon EOS R5", exif__UserComment=listed, exif__thumbnail__Make="Grok"
    )
    assert [claim[:2] + claim[4:] for claim in claims_in(written(tmp_path, "a.png", data))] == [
        ("ai", "Stable Diffusion parameters", "EXIF UserComment"),
        ("camera", "Canon EOS R5", "EXIF Model"),
    ]
    path = written(tmp_path, "a.png", texts_in_png(exif__Software="Adobe Photoshop CS Windows"))
    assert [claim[:2] for claim in claims_in(path)] == [("software", "Adobe Photoshop CS Windows")]


def test_xmp_that_imagemagick_lists_as_png_text_is_read(tmp_path):
    source_type = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    data = texts_in_png(
        Iptc4xmpExt__DigitalSourceType=source_type, photoshop__Credit="Made with Google AI", xap__CreatorTool="Krita 5"
    )
    assert [claim[:2] + claim[4:] for claim in claims_in(written(tmp_path, "a.png", data))] == [
        ("ai", "trainedAlgorithmicMedia", "XMP Iptc4xmpExt:DigitalSourceType"),
        ("ai", "Google AI", "XMP photoshop:Credit"),
        ("software", "Krita 5", "XMP xmp:CreatorTool"),
    ]


def test_other_texts_with_a_colon_in_their_key_name_nothing(tmp_path):
    data = texts_in_png(
        date__create="2026-01-01", icc__model="Midjourney", exif__Copyright="300, 20", png__Software="Grok"
    )
    assert claims_in(written(tmp_path, "a.png", data)) == []


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        ({"File": "/home/a/scene.blend", "RenderTime": "00:15.67"}, ["Blender"]),
        ({"File": "<untitled>", "RenderTime": "00:15.67", "cycles.ViewLayer.samples": "4096"}, ["Blender"]),
        ({"File": "scene.blend"}, []),
        ({"File": "scene.txt", "RenderTime": "12"}, []),
    ],
)
def test_blender_is_known_by_its_keys(tmp_path, texts, wanted):
    claims = claims_in(written(tmp_path, "a.png", texts_in_png(**texts)))
    assert [claim[1] for claim in claims if claim[0] == "software"] == wanted and len(claims) == len(wanted)


def test_exif_of_a_webp_is_read_though_its_header_does_not_mention_it(tmp_path):
    SMALL.save(tmp_path / "a.webp", exif=tags({0x0131: "Grok", 0x010F: "Canon", 0x0110: "Canon EOS R5"}))
    data = bytearray((tmp_path / "a.webp").read_bytes())
    assert data[12:16] == b"VP8X"
    data[20] &= ~0x08  # the flag of EXIF
    decoded = decode(written(tmp_path, "a.webp", bytes(data)))
    assert [claim.text for claim in decoded.claims] == ["Grok", "Canon EOS R5"]
    assert decoded.capture.camera == "Canon EOS R5"


def test_each_exif_segment_of_a_jpeg_is_read(tmp_path):
    first, second = tags({0x0112: 1}), tags({0x0131: "Grok"})
    for segments in ((first, second), (second, first)):
        data = jpeg(*((0xE1, segment) for segment in segments))
        assert [claim[:2] for claim in claims_in(written(tmp_path, "a.jpg", data))] == [("ai", "Grok")]


def test_iptc_behind_a_resource_that_spans_two_segments_is_read(tmp_path):
    mark = b"Photoshop 3.0\0"
    large = b"8BIM\x04\x0c\0\0" + struct.pack(">I", 70_000) + bytes(70_000)
    block = large + iptc((110, b"Made with Google AI")).removeprefix(mark)
    data = jpeg((0xED, mark + block[:60_000]), (0xED, mark + block[60_000:]))
    assert [claim[1] for claim in claims_in(written(tmp_path, "a.jpg", data))] == ["Google AI"]


def test_xmp_behind_very_many_ancestors_is_read(tmp_path):
    listed = "<rdf:li>xmp.did:0a1b2c3d-aaaa-bbbb</rdf:li>" * 100_000
    ancestors = f"<photoshop:DocumentAncestors><rdf:Bag>{listed}</rdf:Bag></photoshop:DocumentAncestors>"
    xmp = packet(f"{ancestors}<photoshop:Credit>Made with Google AI</photoshop:Credit>")
    claims = claims_in(written(tmp_path, "a.png", png((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))))
    assert [claim[1] for claim in claims] == ["Google AI"]


@pytest.mark.parametrize(
    ("value", "wanted"), [("Yes", True), ("true", True), ("No", False), ("false", False), ("", False)]
)
def test_canva_states_whether_a_design_contains_content_by_ai(tmp_path, value, wanted):
    name = "ContainsAiGeneratedContent"
    spaces = f'xmlns:{name}="https://canva.com/export"'
    for properties, prefixes in (
        (f"<{name}:{name}>{value}</{name}:{name}>", spaces),
        (f"<{name}:{name} {spaces}>{value}</{name}:{name}>", ""),
        ("", f'{spaces} {name}:{name}="{value}"'),
    ):
        xmp = packet(f"<xmp:CreatorTool>Canva doc=X user=Y</xmp:CreatorTool>{properties}", prefixes)
        claims = read(tmp_path, "a.jpg", xmp=xmp)
        assert claims[:-1] == [("ai", "Canva", "tag", True, f"XMP {name}:{name}")] * wanted
        assert claims[-1][:2] == ("software", "Canva doc=X user=Y")


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        ({"AI-Generated": "true"}, ("AI", "AI-Generated")),
        ({"ai_generated": "True", "model": "v2"}, ("AI", "ai_generated")),
        ({"AIGenerated": "yes", "AIModel": "A model", "AIProvider": "Foo"}, ("A model", "AIGenerated")),
        ({"ai-generated": "1", "ai-system": "DALL-E 3"}, ("DALL-E 3", "ai-generated")),
        ({"AIGC": "true"}, ("AI", "AIGC")),
        ({"DigitalSourceType": "trainedAlgorithmicMedia"}, ("trainedAlgorithmicMedia", "DigitalSourceType")),
        ({"AISystemUsed": "Foo Painter"}, ("Foo Painter", "AISystemUsed")),
        ({"Disclosure": "This image was generated by AI"}, ("AI", "Disclosure")),
    ],
)
def test_png_keys_that_declare_ai_are_read(tmp_path, texts, wanted):
    found = [(claim[0], claim[1], claim[4]) for claim in read(tmp_path, "a.png", pnginfo=png_texts_of(texts))]
    assert found == [("ai", wanted[0], f"PNG text {wanted[1]}")]


@pytest.mark.parametrize(
    "texts",
    [
        {"AI-Generated": "false"}, {"ai_generated": "no"}, {"AIGenerated": "0"}, {"AI-Generated": "not true"}, {"AI-Model": "Foo"},
        {"AI-Generated": "false", "AI-Model": "Foo"}, {"AIGC": "false"}, {"AISystemUsed": "none"}, {"Disclosure": "No AI was used"},
        {"DigitalSourceType": ""}, {"Generated": "true"}, {"AI-Generated-Captions": "true"},
    ],
)  # fmt: skip
def test_png_keys_that_deny_ai_or_are_about_words_declare_none(tmp_path, texts):
    assert [claim for claim in read(tmp_path, "a.png", pnginfo=png_texts_of(texts)) if claim[0] == "ai"] == []


def png_texts_of(texts: dict[str, str]) -> PngInfo:
    info = PngInfo()
    for key, value in texts.items():
        info.add_text(key, value)
    return info
