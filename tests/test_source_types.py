"""Source types and AI systems of IPTC."""

import pytest

from hidascan.finding import Finding
from hidascan.image.decode import decode
from hidascan.image.provenance.source_types import meaning_of, term_of
from hidascan.summary import summary
from tests.metadata import SMALL, claims_of, packet, read, tags


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


def test_iptc_2025_names_the_ai_system(tmp_path):
    properties = (
        "<Iptc4xmpExt:AISystemUsed>Foo Painter</Iptc4xmpExt:AISystemUsed><Iptc4xmpExt:AISystemVersionUsed>3"
        "</Iptc4xmpExt:AISystemVersionUsed><Iptc4xmpExt:AIPromptInformation>a cat</Iptc4xmpExt:AIPromptInformation>"
    )
    assert read(tmp_path, "a.jpg", xmp=packet(properties))[0][:4] == ("ai", "Foo Painter 3", "tag", False)
    assert "a cat" in decode(tmp_path / "a.jpg").claims[0].detail
    composite = "<Iptc4xmpExt:DigitalSourceType>compositeSynthetic</Iptc4xmpExt:DigitalSourceType>"
    assert {claim[3] for claim in read(tmp_path, "a.jpg", xmp=packet(properties + composite))} == {True}


def test_source_types_have_one_spelling():
    assert (
        term_of("digsrctype:TRAINEDALGORITHMICMEDIA")
        == term_of("Trained Algorithmic Media")
        == "trainedAlgorithmicMedia"
    )
    assert meaning_of("compositesynthetic") == ("ai", True) and term_of("a nice day") == ""


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


def test_an_unnamed_ai_system_with_a_prompt_or_a_name_like_a_negation_counts(tmp_path):
    element = "<Iptc4xmpExt:{0}>{1}</Iptc4xmpExt:{0}>".format
    unknown = packet(element("AISystemUsed", "unknown") + element("AIPromptInformation", "a cat"))
    assert read(tmp_path, "a.jpg", xmp=unknown)[0][:2] == ("ai", "an AI system")
    assert read(tmp_path, "a.jpg", xmp=packet(element("AISystemUsed", "No.1 Painter")))[0][:2] == ("ai", "No.1 Painter")


@pytest.mark.parametrize(
    "value",
    [
        "ChatGPT (captions only)", "ChatGPT for keywording", "Google Vision keywords", "Excire", "Excire Foto 2025",
        "Lightroom AI Denoise", "Topaz DeNoise AI", "AI autofocus only", "Sony AI AF", "Upscale AI",
    ],
)  # fmt: skip
def test_an_ai_system_that_described_or_sharpened_a_picture_is_software(tmp_path, value):
    xmp = packet(f"<Iptc4xmpExt:AISystemUsed>{value}</Iptc4xmpExt:AISystemUsed>")
    assert [claim[:2] for claim in read(tmp_path, "a.jpg", xmp=xmp)] == [("software", value)]


@pytest.mark.parametrize(
    "value",
    [
        "Midjourney; keywords by ChatGPT", "Adobe Firefly, text-to-image", "Stable Diffusion upscaler", "ChatGPT",
        "ChatGPT (image generated from a text prompt)", "Image generator from text, XYZ", "StyleGAN3 with upscaling",
    ],
)  # fmt: skip
def test_a_generator_that_also_described_or_sharpened_a_picture_is_one(tmp_path, value):
    xmp = packet(f"<Iptc4xmpExt:AISystemUsed>{value}</Iptc4xmpExt:AISystemUsed>")
    assert [claim[:2] for claim in read(tmp_path, "a.jpg", xmp=xmp)] == [("ai", value)]


def test_an_ai_system_beside_a_camera_made_a_part_unless_the_type_is_fully_ai(tmp_path):
    camera, system = (
        tags({0x010F: "Canon", 0x0110: "Canon EOS R5"}),
        "<Iptc4xmpExt:AISystemUsed>Foo Painter</Iptc4xmpExt:AISystemUsed>",
    )
    whole = "<Iptc4xmpExt:DigitalSourceType>trainedAlgorithmicMedia</Iptc4xmpExt:DigitalSourceType>"
    for properties, part in ((system, True), (system + whole, False)):
        claims = read(tmp_path, "a.jpg", exif=camera, xmp=packet(properties))
        assert [claim[3] for claim in claims if claim[1] == "Foo Painter"] == [part]


@pytest.mark.parametrize(
    ("prompt", "kinds"),
    [
        ("no prompt", []), ("Prompt: none", []), ("Denoise", []), ("Write keywords for this photo", []),
        ("a lighthouse at night, no people, with text on a sign", ["ai"]), ("Noise-cancelling headphones on a desk", ["ai"]),
        ("Vision of a futuristic city", ["ai"]), ("Sharpened pencil on paper", ["ai"]), ("Generate three captions", []),
    ],
)  # fmt: skip
def test_a_prompt_for_words_or_less_noise_generates_nothing(tmp_path, prompt, kinds):
    xmp = packet(f"<Iptc4xmpExt:AIPromptInformation>{prompt}</Iptc4xmpExt:AIPromptInformation>")
    assert [claim[0] for claim in read(tmp_path, "a.jpg", xmp=xmp)] == kinds


def test_an_ai_system_that_edits_made_a_part(tmp_path):
    xmp = packet("<Iptc4xmpExt:AISystemUsed>Photoshop Generative Fill</Iptc4xmpExt:AISystemUsed>")
    (claim,) = read(tmp_path, "a.jpg", xmp=xmp)
    assert claim[0] == "ai" and claim[3]


def test_the_type_of_a_part_and_tools_for_captions_say_nothing_about_the_picture(tmp_path):
    part = "<Iptc4xmpExt:ArtworkOrObject><rdf:Bag><rdf:li><Iptc4xmpExt:DigitalSourceType>digitalCapture"
    part += "</Iptc4xmpExt:DigitalSourceType></rdf:li></rdf:Bag></Iptc4xmpExt:ArtworkOrObject>"
    assert read(tmp_path, "a.jpg", xmp=packet(part)) == []
    assert read(tmp_path, "b.jpg", exif=tags(inner={0xA43C: "ChatGPT 5"})) == []


@pytest.mark.parametrize(
    "value",
    [
        "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia?lang=en", "iptc:trainedAlgorithmicMedia",
        "https://schema.org/TrainedAlgorithmicMediaDigitalSource", "TrainedAlgorithmicMediaDigitalSource",
    ],
)  # fmt: skip
def test_source_types_of_other_lists_have_the_same_meaning(value):
    assert term_of(value) == "trainedAlgorithmicMedia"


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


def test_the_writer_of_a_prompt_alone_is_a_weak_claim(tmp_path):
    xmp = packet("<Iptc4xmpExt:AIPromptWriterName>Anna</Iptc4xmpExt:AIPromptWriterName>")
    assert [claim[:3] for claim in read(tmp_path, "a.jpg", xmp=xmp)] == [("ai", "an AI system", "text")]


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
        ("AI, not used", []), ("a robot, generative AI", [("ai", "generative AI")]),
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
