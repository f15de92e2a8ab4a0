"""Cameras by make, model and lens, as opposed to generators in these fields."""

import pytest

from hidascan.image.decode import decode
from tests.metadata import PROMPT, WORKFLOW, claims_of, exif, generators_in, packet, read, saved, tags


@pytest.mark.parametrize(
    "make", [f"workflow:{WORKFLOW}", f"workflow:{WORKFLOW[:60]}", "prompt: a cat", "Fooocus v2.5.5"]
)
def test_a_generator_in_make_is_no_camera_of_the_capture(tmp_path, make):
    path = saved(tmp_path / "a.jpg", exif=tags({0x010F: make, 0x0110: f"prompt:{PROMPT}", 0x0131: "ComfyUI"}))
    decoded = decode(path)
    assert decoded.capture.camera == "" and not any(claim.kind == "camera" for claim in decoded.claims)


def test_a_generator_named_by_make_and_model_together_is_no_camera(tmp_path):
    assert read(tmp_path, "a.jpg", exif=tags({0x010F: "Google", 0x0110: "Gemini"}))[0][:2] == ("ai", "Gemini")


def test_metas_glasses_are_a_camera(tmp_path):
    camera = {0x010F: "Meta AI", 0x0110: "Ray-Ban Meta Smart Glasses"}
    claims = read(tmp_path, "a.jpg", exif=tags({**camera, 0x0131: "Meta AI"}))
    assert [claim[0] for claim in claims] == ["camera", "software"]
    assert [claim[0] for claim in read(tmp_path, "b.jpg", exif=tags({0x0131: "Meta AI"}))] == ["ai"]


def test_glasses_with_a_camera_are_no_generator(tmp_path):
    camera = tags({0x010F: "Meta AI", 0x0110: "Ray-Ban Meta Smart Glasses"})
    assert [claim[0] for claim in read(tmp_path, "a.jpg", exif=camera)] == ["camera"]
    assert generators_in("Meta AI", ("software", "comment")) == {"Meta AI"}


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


@pytest.mark.parametrize("company", ["Black Forest Labs", "Stability AI", "OpenAI"])
def test_a_company_in_the_place_of_a_camera_is_a_generator(tmp_path, company):
    assert read(tmp_path, "a.jpg", exif=tags({0x010F: company, 0x0110: "a-model"}))[0][0] == "ai"


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
