"""XMP sidecars: valid XML with the finding, without a maker's declarations."""

import hashlib
import os
from contextlib import contextmanager
from xml.etree import ElementTree

from PIL import Image

from hidascan.atomic import atomic_write
from hidascan.report.xmp_report import NAMESPACE
from tests.conftest import HOSTILE, save_hostile, save_picture

RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
DC = "{http://purl.org/dc/elements/1.1/}"


def facts(path) -> dict[str, str]:
    tree = ElementTree.parse(path)
    return {e.tag.rpartition("}")[2]: e.text for e in tree.iter() if e.tag.startswith(f"{{{NAMESPACE}}}")}


def test_a_sidecar_for_each_readable_image(hidascan, tiny_weights, tmp_path):
    save_picture(tmp_path / "in/a.jpg", 100, 120, quality=85)
    save_picture(tmp_path / "in/deep/a.jpg", 90, 80, 3)
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    ran = hidascan(tmp_path / "in", "--xmp", tmp_path / "out", "--weights", tiny_weights)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.jpg.2.xmp", "a.jpg.xmp"]
    line = ran.out.splitlines()[0].split("\t")
    tags = facts(tmp_path / "out/a.jpg.xmp")
    assert (tags["verdict"], tags["score"]) == (line[1], line[2]) and len(tags["sha256"]) == len(tags["weights"]) == 64
    text = (tmp_path / "out/a.jpg.xmp").read_text()
    keyword = ElementTree.parse(tmp_path / "out/a.jpg.xmp").find(f".//{DC}subject/{RDF}Bag/{RDF}li")
    assert keyword.text == f"hidascan: {line[1]}" and "digitalsourcetype" not in text.lower()
    assert not list((tmp_path / "in").rglob("*.xmp"))


def test_names_of_strangers_stay_text(hidascan, tiny_weights, tmp_path):
    save_hostile(tmp_path / "in")
    hidascan(tmp_path / "in", "--xmp", tmp_path / "out", "-q", "--weights", tiny_weights)
    assert facts(tmp_path / f"out/{HOSTILE}.xmp")["file"] == HOSTILE


def test_a_folder_that_cannot_be_made_is_refused_in_one_line(hidascan, tiny_weights, tmp_path):
    (tmp_path / "file").write_text("")
    picture = save_picture(tmp_path / "a.png", 30, 30)
    ran = hidascan(picture, "--xmp", tmp_path / "file/out", "--weights", tiny_weights)
    assert ran.code == 2 and ran.err.count("\n") == 1 and "--xmp" in ran.err


def test_our_own_sidecar_is_not_a_claim_of_origin(hidascan, tiny_weights, tmp_path):
    """Pasted into a picture, a sidecar must not make a later scan believe that its maker declared anything."""
    picture = save_picture(tmp_path / "in/a.jpg", 60, 60, quality=90)
    hidascan(picture, "--xmp", tmp_path / "out", "-q", "--weights", tiny_weights)
    with Image.open(picture) as image:
        image.save(tmp_path / "b.jpg", xmp=(tmp_path / "out/a.jpg.xmp").read_bytes())
    import json

    row = json.loads(hidascan(tmp_path / "b.jpg", "--jsonl", "-", "--weights", tiny_weights).out)
    assert row["claims"] == []


def test_a_second_run_replaces_only_its_own_sidecar_of_the_same_image(hidascan, tmp_path):
    first, second = save_picture(tmp_path / "a/x.jpg", 60, 60), save_picture(tmp_path / "b/x.jpg", 60, 60)
    out = tmp_path / "out"
    for order in ((first, second), (second, first)):
        hidascan(*order, "--xmp", out, "-q")
        found = {path.name: facts(path)["path"] for path in out.iterdir()}
        assert found == {"x.jpg.xmp": str(first), "x.jpg.2.xmp": str(second)}
    edited = (out / "x.jpg.xmp").read_text().replace("<rdf:Bag>", "<rdf:Bag><rdf:li>my keyword</rdf:li>")
    (out / "x.jpg.xmp").write_text(edited)
    (out / "x.jpg.2.xmp").write_text("of a photo manager")
    (out / "x.jpg.3.xmp").symlink_to(tmp_path / "nowhere")
    hidascan(first, "--xmp", out, "-q")
    assert (out / "x.jpg.xmp").read_text() == edited and (out / "x.jpg.2.xmp").read_text() == "of a photo manager"
    assert (out / "x.jpg.3.xmp").is_symlink() and facts(out / "x.jpg.4.xmp")["path"] == str(first)


def test_a_name_that_another_scan_takes_meanwhile_costs_no_sidecar(hidascan, tmp_path, monkeypatch):
    @contextmanager
    def overtaken(target, replace):
        with atomic_write(target, replace) as partial:
            yield partial
            if target.name == "a.png.xmp":
                target.write_bytes(b"of another scan")

    monkeypatch.setattr("hidascan.report.xmp_report.atomic_write", overtaken)
    image = save_picture(tmp_path / "a.png", 40, 40)
    ran = hidascan(image, "--xmp", tmp_path / "out", "--threshold", 1)
    assert ran.code == 0 and not ran.err and facts(tmp_path / "out/a.png.2.xmp")["path"] == str(image)
    assert (tmp_path / "out/a.png.xmp").read_bytes() == b"of another scan"


def test_sidecars_of_pictures_from_pipes_do_not_replace_each_other(hidascan, tmp_path):
    reads, _ = ends = os.pipe()
    try:
        for seed in (1, 2, 2):
            data = save_picture(tmp_path / "a.jpg", 60, 60, seed).read_bytes()
            source, writes = os.pipe()
            os.dup2(source, reads)  # the same number each time, as in a shell
            os.close(source)
            os.write(writes, data)
            os.close(writes)
            hidascan(f"/dev/fd/{reads}", "--xmp", tmp_path / "out", "-q")
    finally:
        for end in ends:
            os.close(end)
    found = sorted(tmp_path.glob("out/*"))
    assert [path.name for path in found] == [f"{reads}.2.xmp", f"{reads}.xmp"]
    assert facts(found[0])["sha256"] == hashlib.sha256(data).hexdigest() != facts(found[1])["sha256"]
