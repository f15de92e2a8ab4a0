"""Random corruption of valid files: decoding yields an image or an error. HIDASCAN_FUZZ=20000 runs more examples."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL.PngImagePlugin import PngInfo

from hidascan.errors import ImageError
from hidascan.image.isolation import Decoders
from tests.conftest import save_picture

EXAMPLES = int(os.environ.get("HIDASCAN_FUZZ", "60"))
XMP = b'<x:xmpmeta><rdf:Description xmp:CreatorTool="Made by hand" Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/></x:xmpmeta>'  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Small files with metadata of every kind, as bytes."""
    folder, info = tmp_path_factory.mktemp("sound"), PngInfo()
    info.add_text("parameters", "a cat Steps: 20, Sampler: Euler", zip=True)
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    options = {
        "a.png": {"pnginfo": info},
        "a.jpg": {"xmp": XMP, "comment": "by hand"},
        "a.webp": {"xmp": XMP},
        "a.tiff": {"compression": "tiff_lzw", "software": "Midjourney"},
        "a.gif": {},
        "a.bmp": {},
        "a.avif": {"xmp": XMP},
        "a.heic": {"xmp": XMP},
    }
    return {name: save_picture(folder / name, 40, 50, **given).read_bytes() for name, given in options.items()}


@pytest.fixture(scope="module")
def pool():
    return Decoders()


@st.composite
def corruptions(draw):
    """Corruptions of a file: at a position (0..1 of its length), bytes are overwritten, inserted or removed."""
    return draw(st.floats(0, 1)), draw(st.sampled_from(["over", "in", "out"])), draw(st.binary(min_size=1, max_size=12))


def corrupted(data: bytes, harm: tuple[float, str, bytes]) -> bytes:
    place, kind, junk = int(harm[0] * len(data)), harm[1], harm[2]
    rest = data[place + (0 if kind == "in" else len(junk)) :]
    return data[:place] + (b"" if kind == "out" else junk) + rest


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tiff", "a.gif", "a.bmp", "a.avif", "a.heic"])
def test_a_corrupted_file_gives_an_image_or_an_error(sound, pool, tmp_path_factory, name):
    path = tmp_path_factory.mktemp("corrupted") / name

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(corruptions(), min_size=1, max_size=4))
    def check(found):
        data = sound[name]
        for harm in found:
            data = corrupted(data, harm)
        path.write_bytes(data)
        try:
            image = pool.decode(path, 10**7)
        except ImageError as error:
            assert str(error) and "\n" not in str(error) and "crashed" not in str(error)
        else:
            assert image.pixels.ndim == 3 and image.pixels.shape[2] == 3
            assert all(claim.text.isprintable() for claim in image.claims)

    check()
