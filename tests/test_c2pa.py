"""C2PA manifests: signers, status of signatures, and statements on a file and its ingredients."""

import datetime
import io
import json
import os
import struct
import zlib

import jsonschema
import pytest
from PIL import Image

from hidascan.finding import Finding
from hidascan.image.decode import decode
from hidascan.image.formats import mime_type
from hidascan.image.provenance import claims, manifest_claims
from hidascan.image.provenance.c2pa import read_manifest
from hidascan.image.provenance.claim import conflict
from hidascan.image.provenance.manifest import Manifest, Statement
from hidascan.report.jsonl_report import json_schema
from tests.conftest import picture

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"
PIXELS = Image.fromarray(picture(240, 300))


@pytest.fixture(scope="module")
def signer():
    return new_signer()


def new_signer(purpose: str = "1.3.6.1.5.5.7.3.4"):
    """A signer with a self-made chain of two certificates, on no trust list; `purpose`: of the first one, an OID."""
    import c2pa
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID, ObjectIdentifier

    def certificate(name, key, issuer, issuer_key, is_root):
        def called(text):
            return x509.Name(
                [x509.NameAttribute(NameOID.COMMON_NAME, text), x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)]
            )

        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(called(name))
            .issuer_name(called(issuer))
            .public_key(key.public_key())
        )
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        made = made.not_valid_after(now + datetime.timedelta(days=30))
        made = made.add_extension(x509.BasicConstraints(is_root, None), critical=True)
        usage = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        made = made.add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=is_root, crl_sign=is_root, **usage), critical=True
        )
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        made = made.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        if not is_root:
            made = made.add_extension(x509.ExtendedKeyUsage([ObjectIdentifier(purpose)]), critical=False)
        return made.sign(issuer_key, hashes.SHA256())

    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    chain = [
        certificate("A studio", keys[0], "A root", keys[1], False),
        certificate("A root", keys[1], "A root", keys[1], True),
    ]
    pem = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain)
    private = keys[0].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(alg=b"es256", sign_cert=pem, private_key=private, ta_url=None))
    signer.root = chain[1].public_bytes(serialization.Encoding.PEM)
    return signer


def signed(signer, source_type: str, ingredients=(), beside: bool = False, trust: bytes = b"") -> bytes:
    """The bytes of a file with a manifest; or, for a sidecar, of the manifest of `plain()`."""
    return signed_with(signer, [created(source_type)], ingredients=ingredients, beside=beside, trust=trust)


def created(source_type: str, **more) -> dict:
    return {"action": "c2pa.created", "softwareAgent": "A painter", "digitalSourceType": IPTC + source_type, **more}


def signed_with(
    signer,
    actions,
    more=None,
    assertions=(),
    ingredients=(),
    base=b"",
    format="JPEG",
    beside=False,
    trust=b"",
    purpose="",
) -> bytes:
    """The bytes of a file with a manifest of any actions and assertions.

    `more` stands beside the actions, such as templates; `trust` are the roots that the maker trusts, and `purpose` is
    a further one that he allows in certificates.
    """
    import c2pa

    out = io.BytesIO()
    manifest = {
        "claim_generator_info": [{"name": "tests", "version": "1"}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": actions, **(more or {})}}, *assertions],
    }
    settings: dict = {"builder": {"thumbnail": {"enabled": False}}}  # they take seconds
    if trust:
        settings |= {"verify": {"verify_trust": True}, "trust": {"user_anchors": trust.decode()}}
    if purpose:
        settings |= {"trust": {"trust_config": purpose}}
    builder = c2pa.Builder(manifest, context=c2pa.Context(c2pa.Settings.from_dict(settings)))
    for title, relationship, data in ingredients:
        description = json.dumps({"title": title, "relationship": relationship, "label": title})  # named in actions
        builder.add_ingredient(description, "image/jpeg", io.BytesIO(data))
    if beside:
        builder.set_no_embed()
    made = builder.sign(signer, mime_type(format), io.BytesIO(base or plain(format)), out)
    return bytes(made) if beside else out.getvalue()


def plain(format: str = "JPEG", **options) -> bytes:
    out = io.BytesIO()
    PIXELS.save(out, format, **({"quality": 95} if format == "JPEG" else {}), **options)
    return out.getvalue()


def read(folder, data: bytes, name: str = "a.jpg", **options):
    (folder / name).write_bytes(data)
    return decode(folder / name, **options)


def test_a_cut_png_still_declares_what_it_was_signed_with(signer, tmp_path):
    data = signed_with(signer, [created("trainedAlgorithmicMedia")], format="PNG")
    for size in (len(data) - 12, len(data) * 7 // 10):
        image = read(tmp_path, data[:size], "cut.png")
        assert image.manifest.signature == "broken" and image.claims[0].kind == "ai"
        assert not any("cannot be read" in note for note in image.notes)


def test_a_png_with_a_damaged_manifest_says_so(signer, tmp_path):
    data = bytearray(signed_with(signer, [created("trainedAlgorithmicMedia")], format="PNG"))
    at = data.index(b"caBX") + 400
    data[at : at + 200] = bytes(200)
    image = read(tmp_path, bytes(data), "damaged.png")
    assert image.manifest is None and any(note.startswith("Content Credentials cannot be read") for note in image.notes)


def changed(data: bytes, at: int = -2000) -> bytes:
    """The same with one bit turned: of the picture, or at an offset."""
    turned = bytearray(data)
    turned[at] ^= 1
    return bytes(turned)


@pytest.mark.parametrize(("source_type", "kind"), [("trainedAlgorithmicMedia", "ai"), ("digitalCapture", "camera")])
def test_a_signed_manifest_names_its_kind_and_its_signer(signer, tmp_path, source_type, kind):
    (tmp_path / "a.jpg").write_bytes(signed(signer, source_type))
    claim = decode(tmp_path / "a.jpg").claims[0]
    assert (claim.kind, claim.source, claim.text, claim.signature) == (kind, "c2pa", "A painter", "unverified")
    assert (
        "its certificate names A studio" in claim.detail and source_type in claim.detail and "created" in claim.detail
    )


def test_a_file_that_was_changed_after_signing_has_a_broken_signature(signer, tmp_path):
    data = bytearray(signed(signer, "digitalCapture"))
    data[-2000] ^= 1  # a bit of the picture
    (tmp_path / "a.jpg").write_bytes(data)
    assert decode(tmp_path / "a.jpg").claims[0].signature == "broken"


def test_a_damaged_manifest_costs_no_pixels(signer, tmp_path):
    data = signed(signer, "digitalCapture")
    start = data.index(b"c2pa.assertions")
    (tmp_path / "a.jpg").write_bytes(data[:start] + b"\0" * 200 + data[start + 200 :])
    assert decode(tmp_path / "a.jpg").pixels.shape == (240, 300, 3)


@pytest.mark.parametrize("name", ["a.c2pa", "a.jpg.c2pa", "a.C2PA", "a.jpg.C2PA"])
def test_a_manifest_beside_the_file_is_read(signer, tmp_path, name):
    (tmp_path / "a.jpg").write_bytes(plain())
    assert not decode(tmp_path / "a.jpg").claims
    (tmp_path / name).write_bytes(signed(signer, "digitalCapture", beside=True))
    claim = decode(tmp_path / "a.jpg").claims[0]
    assert (claim.kind, claim.text, claim.signature) == ("camera", "A painter", "unverified")
    (tmp_path / "a.jpg").write_bytes(plain()[:-3000] + b"\1" * 1000 + plain()[-2000:])
    other = decode(tmp_path / "a.jpg")  # the manifest is about another file
    assert not other.claims and other.manifest is None
    (tmp_path / name).write_bytes(b"c2pa" * 100)
    assert not decode(tmp_path / "a.jpg").claims


def test_ingredients_are_reported_as_a_tree(hidascan, signer, tmp_path):
    photo, painted = signed(signer, "digitalCapture"), signed(signer, "trainedAlgorithmicMedia")
    edit = signed(signer, "composite", [("photo.jpg", "parentOf", photo), ("dog.jpg", "componentOf", painted)])
    nested = signed(signer, "composite", [("edit <b>.jpg", "parentOf", edit), ("plain.jpg", "componentOf", plain())])
    (tmp_path / "a.jpg").write_bytes(nested)
    hidascan(tmp_path / "a.jpg", "--jsonl", tmp_path / "a.jsonl", "--html", tmp_path / "a.html", "-q")
    row = json.loads((tmp_path / "a.jsonl").read_text())
    tree = row["c2pa"]
    assert [(one["title"], one["relationship"]) for one in tree["ingredients"]] == [
        ("edit <b>.jpg", "parentOf"),
        ("plain.jpg", "componentOf"),
    ]
    inner, bare = tree["ingredients"]
    assert [one["source_types"] for one in inner["ingredients"]] == [["digitalCapture"], ["trainedAlgorithmicMedia"]]
    assert bare["signature"] == "" and not bare["agents"]
    assert [claim["kind"] for claim in row["claims"]] == ["ai", "camera", "software"]
    assert row["claims"][0]["detail"].startswith("an ingredient, dog.jpg: its certificate names A studio")
    jsonschema.validate(row, json_schema())
    again = json.loads(json.dumps(Finding.from_record(row).record()))
    assert again == {name: row[name] for name in row if name not in ("scan", "summary")}
    page = (tmp_path / "a.html").read_text()
    assert '<ul class="c2pa">' in page and "edit &lt;b&gt;.jpg" in page and "dog.jpg" in page
    assert "signingCredential.untrusted" in page


def test_signers_on_a_list_of_the_users_are_trusted(hidascan, signer, tmp_path):
    (tmp_path / "a.jpg").write_bytes(signed(signer, "digitalCapture"))
    (tmp_path / "root.pem").write_bytes(signer.root)

    def signature(*options) -> str:
        ran = hidascan(tmp_path / "a.jpg", "--jsonl", "-", *options)
        return json.loads(ran.out)["claims"][0]["signature"]

    assert signature() == "unverified"
    assert signature("--c2pa-trust", tmp_path / "root.pem") == "valid"
    (tmp_path / "no.pem").write_text("nothing")
    os.mkfifo(tmp_path / "pipe.pem")  # as of <(cat a.pem b.pem), which other processes cannot open
    for wrong, why in (
        ("no.pem", "no PEM certificates found"),
        ("none.pem", "no such file"),
        ("pipe.pem", "not a regular file"),
    ):
        ran = hidascan(tmp_path / "a.jpg", "--c2pa-trust", tmp_path / wrong)
        assert ran.code == 2 and why in ran.err


ALLOWED = {
    "email protection": "1.3.6.1.5.5.7.3.4",
    "document signing": "1.3.6.1.5.5.7.3.36",
    "Microsoft": "1.3.6.1.4.1.311.76.59.1.9",
    "C2PA": "1.3.6.1.4.1.62558.2.1",  # ChatGPT's since 2026
    "another": "",
}


@pytest.mark.parametrize("name", ALLOWED)
def test_only_certificates_for_a_purpose_that_c2pa_allows_are_valid_for_signing(tmp_path, name):
    purpose = ALLOWED[name] or "1.3.6.1.4.1.99999.1"
    signer = new_signer(purpose)
    data, root = signed_with(signer, [created("digitalCapture")], purpose=purpose), tmp_path / "root.pem"
    root.write_bytes(signer.root)
    for trust, signature in ((None, "unverified"), (str(root), "valid")):
        image = read(tmp_path, data, trust=trust)
        invalid = any("is not valid for signing" in note for note in image.notes)
        wanted = (signature, False) if ALLOWED[name] else ("unverified", True)
        assert (image.manifest.signature, invalid) == wanted


def test_an_unchecked_identity_does_not_break_the_signature(signer, tmp_path):
    payload = {"referenced_assertions": [], "sig_type": "cawg.unheard_of"}
    identity = {"label": "cawg.identity", "data": {"signer_payload": payload, "signature": "AAAA", "pad1": ""}}
    image = read(tmp_path, signed_with(signer, [created("digitalCapture")], assertions=[identity]))
    assert (image.claims[0].kind, image.claims[0].signature) == ("camera", "unverified")
    assert any("identity assertion" in note for note in image.notes)
    assert not any("invalid:" in note for note in image.notes)


def report_with(monkeypatch, change) -> None:
    """Let the library report something else of the files that it reads."""
    import c2pa

    read_json = c2pa.Reader.json

    def changed_json(reader):
        report = json.loads(read_json(reader))
        change(report)
        return json.dumps(report)

    monkeypatch.setattr(c2pa.Reader, "json", changed_json)


CODES = {
    "cawg.ica.did_unavailable": "unverified",
    "cawg.x509.signature.mismatch": "unverified",
    "cawg.identity.assertion.mismatch": "unverified",
    "timeStamp.mismatch": "unverified",
    "timeStamp.outsideValidity": "unverified",
    "signingCredential.expired": "unverified",
    "signingCredential.ocsp.revoked": "unverified",
    "claimSignature.outsideValidity": "unverified",
    "algorithm.unsupported": "unverified",
    "assertion.action.ingredientMismatch": "unverified",
    "com.example.unheardOf": "unverified",
    "assertion.dataHash.mismatch": "unverified",  # beside a hash that matches
    "assertion.bmffHash.mismatch": "broken",
    "assertion.hashedURI.mismatch": "broken",
    "assertion.missing": "broken",
    "assertion.undeclared": "broken",
    "claimSignature.mismatch": "broken",
    "claimSignature.missing": "broken",
    "claim.hardBindings.missing": "broken",
    "com.example.unheardOf.mismatch": "broken",
}


def test_an_expired_certificate_may_have_been_valid_when_signing(signer, tmp_path, monkeypatch):
    def add(report):
        report["validation_results"]["activeManifest"]["failure"].append({"code": "signingCredential.expired"})

    report_with(monkeypatch, add)
    (note,) = read(tmp_path, signed(signer, "digitalCapture")).notes
    assert "has expired, and no trusted time stamp shows that it was valid when signing (" in note


@pytest.mark.parametrize("code", CODES)
def test_only_codes_of_a_changed_file_break_a_signature(signer, tmp_path, monkeypatch, code):
    def add(report):
        report["validation_results"]["activeManifest"]["failure"].append({"code": code, "url": ""})

    data, root = signed(signer, "digitalCapture"), tmp_path / "root.pem"
    root.write_bytes(signer.root)
    report_with(monkeypatch, add)
    image = read(tmp_path, data)
    assert image.claims[0].signature == CODES[code] and image.claims[0].strength == (
        "signed" if CODES[code] == "unverified" else "text"
    )
    assert any(code in note for note in image.notes) and code in image.manifest.codes
    trusted = read(tmp_path, data, trust=str(root)).claims[0].signature
    assert trusted == ("valid" if code.startswith("cawg.") else CODES[code])


def test_a_hash_that_leaves_out_more_than_the_manifest_is_unconfirmed_unless_it_differs(signer, tmp_path, monkeypatch):
    def add(report):
        results = report["validation_results"]["activeManifest"]
        results["failure"].append({"code": "assertion.dataHash.mismatch", "url": ""})

    report_with(monkeypatch, add)
    data = signed(signer, "digitalCapture")
    words = "could not be confirmed: the signed hash leaves out more of the file than the manifest"
    assert f"Content Credentials {words} (assertion.dataHash.mismatch)" in read(tmp_path, data).notes
    assert read(tmp_path, changed(data)).manifest.signature == "broken"
    (tmp_path / "a.c2pa").write_bytes(signed(signer, "digitalCapture", beside=True))
    assert read(tmp_path, plain()).manifest.signature == "unverified"


def test_a_recorded_hash_that_leaves_out_more_than_the_manifest_breaks_no_ingredient(signer, tmp_path, monkeypatch):
    data = signed(signer, "composite", [("photo.jpg", "parentOf", signed(signer, "digitalCapture"))])

    def record(report):
        (one,) = report["manifests"][report["active_manifest"]]["ingredients"]
        recorded = one["validation_results"]["activeManifest"]
        recorded["failure"] = [{"code": "assertion.dataHash.mismatch", "url": ""}]

    report_with(monkeypatch, record)
    (one,) = read(tmp_path, data).manifest.ingredients
    assert one.signature == "unverified"


def test_recorded_results_of_an_ingredient_validate_no_signature(signer, tmp_path):
    photo, root = signed(signer, "digitalCapture"), tmp_path / "root.pem"
    edit = signed(signer, "composite", [("photo.jpg", "parentOf", photo)], trust=signer.root)
    root.write_bytes(signer.root)
    (one,) = read(tmp_path, edit).manifest.ingredients
    assert (one.title, one.signature) == ("photo.jpg", "unverified")
    (one,) = read(tmp_path, edit, trust=str(root)).manifest.ingredients
    assert one.signature == "valid"


@pytest.mark.parametrize(
    ("status", "signature"),
    [
        ({"code": "assertion.dataHash.match"}, "unverified"),
        ({"code": "claimSignature.validated", "success": True}, "unverified"),
        ({"code": "signingCredential.trusted"}, "unverified"),
        ({"code": "assertion.dataHash.mismatch"}, "broken"),
    ],
)
def test_the_list_of_results_of_version_1_holds_passed_checks_too(signer, tmp_path, monkeypatch, status, signature):
    data = signed(signer, "composite", [("photo.jpg", "parentOf", signed(signer, "digitalCapture"))])

    def record(report):
        (one,) = report["manifests"][report["active_manifest"]]["ingredients"]
        del one["validation_results"]
        one["validation_status"] = [status]

    report_with(monkeypatch, record)
    (tmp_path / "root.pem").write_bytes(signer.root)
    for trust in (None, str(tmp_path / "root.pem")):
        (one,) = read(tmp_path, data, trust=trust).manifest.ingredients
        assert one.signature == signature


def test_an_ingredient_that_was_changed_is_broken_and_what_it_went_into_is_not(signer, tmp_path):
    photo = signed(signer, "digitalCapture")
    before = signed(signer, "composite", [("photo.jpg", "parentOf", changed(photo))])
    sound = signed(signer, "composite", [("photo.jpg", "parentOf", photo)])
    after = sound.replace(b"A painter", b"A printer", 1)
    for data in (before, after):
        image = read(tmp_path, data)
        assert (image.manifest.signature, image.manifest.ingredients[0].signature) == ("unverified", "broken")
        assert image.notes == ("Content Credentials of an ingredient, photo.jpg, are invalid",)


def test_a_file_that_was_changed_after_an_update_of_its_manifest_is_broken(signer, tmp_path):
    import c2pa

    settings, out = c2pa.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}}), io.BytesIO()
    builder = c2pa.Builder({"assertions": []}, context=c2pa.Context(settings))
    builder.set_intent(c2pa.C2paBuilderIntent.UPDATE)
    builder.sign(signer, "image/jpeg", io.BytesIO(signed(signer, "digitalCapture")), out)
    assert read(tmp_path, out.getvalue()).manifest.signature == "unverified"
    image = read(tmp_path, changed(out.getvalue()))
    assert image.manifest.signature == "broken"
    assert any("invalid: the file was changed after signing" in note for note in image.notes)


def test_inputs_of_a_generator_are_no_parts_of_the_picture(signer, tmp_path):
    reference = ("reference.jpg", "inputTo", signed(signer, "trainedAlgorithmicMedia"))
    image = read(tmp_path, signed(signer, "digitalArt", [reference]))
    assert [one.kind for one in image.claims] == ["software"] and len(image.manifest.ingredients) == 1


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{}"/></rdf:RDF></x:xmpmeta>'
)
REMOTE = XMP.format("https://example.org/a.c2pa?b&amp;c").encode()
NAMES = {"JPEG": "a.jpg", "PNG": "a.png", "WEBP": "a.webp", "TIFF": "a.tif", "GIF": "a.gif", "AVIF": "a.avif"}


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_remote_manifest(format: str) -> bytes:
    if format == "PNG":  # compressed: the letters are nowhere in the file
        text = b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(REMOTE)
        return plain("PNG")[:33] + png_chunk(b"iTXt", text) + plain("PNG")[33:]
    if format == "TIFF":
        return plain("TIFF", tiffinfo={700: REMOTE})
    if format == "GIF":
        out = io.BytesIO()
        PIXELS.crop((0, 0, 16, 16)).save(out, "GIF")  # the library signs a GIF slowly
        data = out.getvalue()
        end = 13 + 3 * 2 ** ((data[10] & 7) + 1)
        packet = b"\x21\xff\x0bXMP DataXMP" + REMOTE + b"\1" + bytes(range(255, -1, -1)) + b"\0"
        return data[:end] + packet + data[end:]
    return plain(format, xmp=REMOTE)


@pytest.mark.parametrize("format", NAMES)
def test_a_manifest_is_found_in_every_container_and_else_beside_it_or_by_its_url(signer, tmp_path, format):
    base, name, sources = with_remote_manifest(format), NAMES[format], [created("digitalCapture")]
    image = read(tmp_path, base, name)
    url = "https://example.org/a.c2pa?b&c"
    assert image.notes[-1] == f"Content Credentials are stored remotely and were not fetched: {url}"
    assert image.manifest is None
    within = signed_with(signer, [created("trainedAlgorithmicMedia")], base=base, format=format)
    beside = signed_with(signer, sources, base=base, format=format, beside=True)
    (tmp_path / "a.c2pa").write_bytes(beside)
    image = read(tmp_path, base, name)
    assert image.manifest.source_types == ("digitalCapture",) and image.manifest.signature == "unverified"
    assert "Content Credentials are from the sidecar a.c2pa" in image.notes
    image = read(tmp_path, within, name)
    assert image.manifest.source_types == ("trainedAlgorithmicMedia",) and image.manifest.signature == "unverified"
    assert "Content Credentials are embedded in the file; the sidecar a.c2pa was ignored" in image.notes


def test_the_letters_c2pa_are_not_taken_for_a_manifest(signer, tmp_path, monkeypatch):
    base = plain(comment="c2pa, dcterms:provenance='https://example.org'", xmp=XMP.format("An estate, c2pa").encode())
    (tmp_path / "a.jpg.c2pa").write_bytes(signed_with(signer, [created("digitalCapture")], base=base, beside=True))
    assert read(tmp_path, base).claims[0].signature == "unverified"
    (tmp_path / "a.jpg.c2pa").unlink()
    monkeypatch.setattr("c2pa.Reader", None)  # not even asked
    assert read(tmp_path, base).notes == ()


@pytest.mark.parametrize("sidecar", [b"", b"c2pa" * 100, None])
def test_an_unusable_sidecar_is_reported(signer, tmp_path, sidecar):
    other = signed(signer, "digitalCapture", beside=True)
    (tmp_path / "a.c2pa").write_bytes(other if sidecar is None else sidecar)
    image = read(tmp_path, plain()[:-3000] + b"\1" * 1000 + plain()[-2000:])
    notes = [note for note in image.notes if not note.startswith("damaged: ")]
    assert not image.claims
    if sidecar is None:
        assert any("the sidecar belongs to another file" in note for note in notes)
        assert not any("are from the sidecar" in note for note in notes)
    else:
        assert len(notes) == 1 and notes[0].startswith("Content Credentials in the sidecar a.c2pa cannot be read: ")
    out = io.BytesIO()
    PIXELS.save(out, "BMP")
    (tmp_path / "a.c2pa").write_bytes(other)
    assert read(tmp_path, out.getvalue(), "a.bmp").notes == (
        "Content Credentials in the sidecar a.c2pa cannot be read: C2PA does not support BMP files",
    )


def test_a_readable_sidecar_is_preferred_and_another_kind_of_file_is_reported(signer, tmp_path):
    (tmp_path / "a.jpg.c2pa").write_bytes(b'{"active_manifest": ""}')
    note = "Content Credentials in the sidecar a.jpg.c2pa cannot be read: not a C2PA manifest"
    assert read(tmp_path, plain()).notes == (note,)
    (tmp_path / "a.c2pa").write_bytes(signed(signer, "digitalCapture", beside=True))
    assert read(tmp_path, plain()).notes == ("Content Credentials are from the sidecar a.c2pa",)


def test_the_sidecar_is_read_if_the_embedded_manifest_is_unreadable(signer, tmp_path):
    unreadable = plain()[:2] + b"\xff\xeb\0\x20" + bytes(30) + plain()[2:]
    sidecar = signed_with(signer, [created("digitalCapture")], base=unreadable, beside=True)
    (tmp_path / "a.c2pa").write_bytes(sidecar)
    image = read(tmp_path, unreadable)
    assert image.claims[0].kind == "camera" and image.notes[:2] == (
        "Content Credentials cannot be read: damaged",
        "Content Credentials are from the sidecar a.c2pa",
    )
    (tmp_path / "a.c2pa").write_bytes(b"")
    notes = read(tmp_path, plain(xmp=REMOTE)).notes
    assert len(notes) == 2 and "empty" in notes[0] and "stored remotely" in notes[1]


def test_a_signer_without_an_organisation_is_named(signer, tmp_path, monkeypatch):
    def without_organisation(report):
        del report["manifests"][report["active_manifest"]]["signature_info"]["issuer"]

    report_with(monkeypatch, without_organisation)
    assert read(tmp_path, signed(signer, "digitalCapture")).manifest.signer == "A studio"


def test_an_overwritten_manifest_is_reported(signer, tmp_path):
    data = signed(signer, "digitalCapture")
    start = data.index(b"\xff\xeb")
    end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    for kept in (4, 12, 20):
        overwritten = data[: start + kept] + bytes(end - start - kept) + data[end:]
        assert read(tmp_path, overwritten).notes == ("Content Credentials cannot be read: damaged",)
    assert read(tmp_path, data[:start] + b"\xff\xeb\0\2" + data[end:]).notes == ()  # a segment without content


ADDRESSES = {
    "self#jumbf=/c2pa/urn:uuid:1": "named in the XMP are missing from the file",
    "HTTPS://example.org/a": "are stored remotely and were not fetched: HTTPS://example.org/a",
    "a.c2pa": "are in another file, which was not read: a.c2pa",
    "sold in 1990, see https://example.org": "",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_address_of_a_manifest_in_xmp_is_reported(tmp_path, address):
    note = ADDRESSES[address] and f"Content Credentials {ADDRESSES[address]}"
    assert read(tmp_path, plain(xmp=XMP.format(address).encode())).notes == ((note,) if note else ())


def test_the_address_is_found_in_a_gif_as_the_library_writes_it(signer, tmp_path):
    import c2pa

    base, out = io.BytesIO(), io.BytesIO()
    PIXELS.crop((0, 0, 16, 16)).save(base, "GIF")
    settings = c2pa.Settings.from_dict({"builder": {"thumbnail": {"enabled": False}}})
    made = {"assertions": [{"label": "c2pa.actions", "data": {"actions": [created("digitalArt")]}}]}
    builder = c2pa.Builder(made, context=c2pa.Context(settings))
    builder.set_remote_url("https://example.org/a")
    builder.set_no_embed()
    builder.sign(signer, "image/gif", base, out)
    notes = read(tmp_path, out.getvalue(), "a.gif").notes
    assert notes[-1] == "Content Credentials are stored remotely and were not fetched: https://example.org/a"


def test_an_unreadable_manifest_is_reported_with_the_reason(signer, tmp_path):
    data = signed(signer, "digitalCapture")
    store, label = data.index(b"c2pa.assertions"), data.index(b"urn:c2pa:")
    damaged = [
        ("damaged", data[:store] + b"\0" * 200 + data[store + 200 :]),
        ("the label of the manifest is damaged", data[:label] + b"a/b/c/d/e/" + data[label + 10 :]),
        ("damaged", data.replace(b"c2pa", b"none", 1)),
    ]
    for reason, wrong in damaged:
        image = read(tmp_path, wrong)
        assert image.notes == (f"Content Credentials cannot be read: {reason}",) and not image.claims
    overwritten = read(tmp_path, data.replace(data[label : label + 45], b"X" * 45))
    assert overwritten.claims[0].signature == "broken"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
def test_the_words_of_the_library_on_a_damaged_claim_are_not_shown(signer, format):
    data = signed_with(signer, [created("digitalCapture")], format=format)
    at = data.index(b"c2cl") + 60
    damaged = data[:at] + bytes(200) + data[at + 200 :]
    assert read_manifest(damaged, format) == (None, ("Content Credentials cannot be read: damaged",))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("380 bytes remaining", "damaged"),
        ("PNG out of range", "the file is truncated or damaged"),
        ("TIFF/DNG out of range", "the file is truncated or damaged"),
        ("RIFF chunk declared size exceeds file size", "the file is truncated or damaged"),
    ],
)
def test_what_the_library_says_of_a_damaged_file_is_put_in_plain_words(signer, tmp_path, monkeypatch, message, reason):
    def fail(*_, **__):
        raise RuntimeError(f"Io: {message}")

    data = signed(signer, "digitalCapture")
    monkeypatch.setattr("c2pa.Reader", fail)
    assert read(tmp_path, data).notes == (f"Content Credentials cannot be read: {reason}",)


def test_only_what_cannot_be_decoded_is_called_damaged(signer, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("Other: unknown algorithm")

    data = signed(signer, "digitalCapture")
    monkeypatch.setattr("c2pa.Reader", fail)
    assert read(tmp_path, data).notes == ("Content Credentials cannot be read: unknown algorithm",)


@pytest.mark.parametrize("manifests", [{}, {"gone": {"ingredients": [{"active_manifest": "gone"}]}}])
def test_reports_without_a_manifest_or_with_cycles_are_handled(signer, tmp_path, monkeypatch, manifests):
    data = signed(signer, "digitalCapture")

    def change(report):
        report["manifests"] = manifests
        report["active_manifest"] = "gone"

    report_with(monkeypatch, change)
    image = read(tmp_path, data)
    if manifests:
        assert 1 < len(list(image.manifest.all_ingredients())) <= 100
    else:
        assert image.notes == ("Content Credentials cannot be read: the manifest is malformed",)


def test_odd_values_in_a_report_lose_no_statements(signer, tmp_path, monkeypatch):
    def change(report):
        report["manifests"][report["active_manifest"]]["assertions"] += [
            None,
            "text",
            {"label": "c2pa.actions", "data": 1},
        ]
        report["validation_results"] = {"activeManifest": None}

    report_with(monkeypatch, change)
    assert read(tmp_path, signed(signer, "trainedAlgorithmicMedia")).claims[0].kind == "ai"


def test_a_long_history_of_edits_is_read_quickly(monkeypatch):
    asked = []
    find = manifest_claims.tool_in
    monkeypatch.setattr(manifest_claims, "tool_in", lambda *what: asked.append(what) or find(*what))
    manifest = Manifest(statements=(Statement("C2PA action c2pa.created", agent="Adobe Photoshop 26.1"),))
    for version in range(12):
        fills = [
            Statement("C2PA action c2pa.edited", agent=f"Photoshop Generative Fill {version}.{n}") for n in range(40)
        ]
        manifest = Manifest(
            relationship="parentOf", statements=tuple(fills), ingredients=(manifest,), actions=("opened", "edited")
        )
    (claim, *_) = claims.read_claims(Image.new("RGB", (8, 8)), [], manifest)
    assert claim.kind == "ai" and claim.part
    assert 0 < len(asked) <= 12 * 40 + 1  # once for each statement


GENERATED, FILLED = IPTC + "trainedAlgorithmicMedia", IPTC + "compositeWithTrainedAlgorithmicMedia"
OPENED = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent.jpg"]}}
PLACED, EDITED = {"action": "c2pa.placed"}, {"action": "c2pa.edited"}
BY_DESIGN = created("digitalCreation")
PARAMETERS = {"com.adobe.digitalSourceType": GENERATED, "com.adobe.details": "A model"}
DECLARED = {  # actions, adjacent data, assertions -> agent, field, whether it is about a part
    "by index": (
        [{"action": "c2pa.created", "softwareAgentIndex": 1, "digitalSourceType": GENERATED}],
        {"softwareAgents": [{"name": "None"}, {"name": "A model"}]},
        {},
        ("A model", "C2PA action c2pa.created", False),
    ),
    "by parameters": (
        [BY_DESIGN | {"parameters": PARAMETERS}],
        {},
        {},
        ("A model", "C2PA action c2pa.created, com.adobe.digitalSourceType", False),
    ),
    "by a template": (
        [BY_DESIGN, EDITED],
        {"templates": [{"action": "c2pa.edited", "softwareAgent": {"name": "A fill"}, "digitalSourceType": FILLED}]},
        {},
        ("A fill", "C2PA action c2pa.edited", True),
    ),
    "by Adobe": (
        [BY_DESIGN],
        {},
        {"com.adobe.generative-ai": {"description": "Adobe Firefly"}},
        ("Adobe Firefly", "C2PA assertion com.adobe.generative-ai", False),
    ),
    "by Adobe, of a photo": (
        [created("digitalCapture")],
        {},
        {"com.adobe.generative-ai": {"description": "Adobe Firefly"}},
        ("Adobe Firefly", "C2PA assertion com.adobe.generative-ai", True),
    ),
    "by metadata": (
        [BY_DESIGN],
        {},
        {
            "c2pa.metadata": {
                "@context": {"e": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"},
                "e:DigitalSourceType": GENERATED,
            }
        },
        ("tests", "C2PA assertion c2pa.metadata", False),
    ),
    "by IPTC": (
        [BY_DESIGN],
        {},
        {"stds.iptc": {"Iptc4xmpExt:DigitalSourceType": ["digsrctype:trainedAlgorithmicMedia"]}},
        ("tests", "C2PA assertion stds.iptc", False),
    ),
    "by disclosure": (
        [BY_DESIGN],
        {},
        {"c2pa.ai-disclosure": {"modelName": "A model"}},
        ("A model", "C2PA assertion c2pa.ai-disclosure", False),
    ),
    "by disclosure, and by a type without an agent": (
        [created("trainedAlgorithmicMedia", softwareAgent=None)],
        {},
        {"c2pa.ai-disclosure": {"modelName": "A model"}},
        ("A model", "C2PA action c2pa.created", False),
    ),
    "by name": (
        [BY_DESIGN | {"softwareAgent": {"name": "Adobe Firefly"}}],
        {},
        {},
        ("Adobe Firefly", "C2PA action c2pa.created", False),
    ),
    "of parts": ([created("compositeSynthetic")], {}, {}, ("A painter", "C2PA action c2pa.created", True)),
    "of a fill": (
        [BY_DESIGN, EDITED | {"digitalSourceType": FILLED}],
        {},
        {},
        ("tests", "C2PA action c2pa.edited", True),
    ),
}


@pytest.mark.parametrize("case", DECLARED)
def test_ai_is_found_wherever_a_manifest_declares_it(signer, tmp_path, case):
    actions, more, found, wanted = DECLARED[case]
    assertions = [{"label": label, "data": data} for label, data in found.items()]
    claim = read(tmp_path, signed_with(signer, actions, more, assertions)).claims[0]
    assert (claim.kind, claim.text, claim.field, claim.part) == ("ai", *wanted)


CONTEXT = {
    "@context": {
        "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "tiff": "http://ns.adobe.com/tiff/1.0/",
        "exif": "http://ns.adobe.com/exif/1.0/",
    }
}
NOT_DECLARED = {
    "what others may train": ([created("digitalCapture")], {}, {"c2pa.training-mining": {"entries": {"c2pa.ai_generative_training": {"use": "allowed"}}}}),
    "a template of no action": ([created("digitalCapture")], {"templates": [{"action": "c2pa.edited", "digitalSourceType": FILLED}]}, {}),
    "an algorithm without a model": ([created("algorithmicMedia")], {}, {}),
    "history of another file": ([created("digitalCapture")], {}, {"c2pa.metadata": {"xmpMM:DerivedFrom": {"xmp:CreatorTool": "Midjourney"}}}),
    "an edit by hand, in an app with AI": ([created("digitalCapture"), EDITED | {"digitalSourceType": IPTC + "humanEdits", "softwareAgent": "Adobe Firefly"}], {}, {}),
    "no AI system": ([created("digitalCapture")], {}, {"c2pa.metadata": {"Iptc4xmpExt:AISystemUsed": "unknown"}}),
    "an AI system for words": ([created("digitalCapture")], {}, {"c2pa.metadata": {"Iptc4xmpExt:AISystemUsed": "ChatGPT (captions only)"}}),
    "captions by AI": ([created("digitalCapture"), {"action": "c2pa.edited.metadata", "softwareAgent": "ChatGPT"}], {}, {}),
    "captions by AI, by their type": ([created("digitalCapture"), {"action": "c2pa.edited.metadata", "digitalSourceType": GENERATED}], {}, {}),
    "captions by AI in a drawing": ([created("digitalCreation"), {"action": "c2pa.edited.metadata", "softwareAgent": "ChatGPT"}], {}, {}),
    "an index of no agent": ([created("digitalCapture") | {"softwareAgentIndex": 9}], {}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_DECLARED)
def test_other_statements_give_no_ai_claim(signer, tmp_path, case):
    actions, more, found = NOT_DECLARED[case]
    assertions = [
        {"label": label, "data": CONTEXT | data, "kind": "Json"}
        if "metadata" in label
        else {"label": label, "data": data}
        for label, data in found.items()
    ]
    assert not any(one.kind == "ai" for one in read(tmp_path, signed_with(signer, actions, more, assertions)).claims)


CAPTURED, MADE_BY_GOOGLE = created("digitalCapture"), {"description": "Created by Google Generative AI."}
METADATA = {"Iptc4xmpExt:DigitalSourceType": GENERATED}
EXTENT = {  # actions, assertions, source type of the parent ("" for none) -> agent, whether it is about a part
    "an edit of a photo, by the type of what was added": ([OPENED, EDITED | {"digitalSourceType": GENERATED}], {}, "digitalCapture", ("tests", True)),
    "an edit of a drawing": ([BY_DESIGN, EDITED | {"digitalSourceType": GENERATED}], {}, "", ("tests", True)),
    "an edit of an empty file": ([created("empty"), EDITED | {"digitalSourceType": GENERATED}], {}, "", ("tests", False)),
    "a placed picture, by parameters": ([BY_DESIGN, PLACED | {"parameters": PARAMETERS | {"ingredientIds": ["part.jpg"]}}], {}, "", ("A model", True)),
    "a generated picture, opened by its generator": ([OPENED, {"action": "c2pa.converted", "softwareAgent": "ChatGPT"}], {}, "trainedAlgorithmicMedia", ("ChatGPT", False)),
    "a generated picture, cropped": ([OPENED, {"action": "c2pa.cropped"}], {}, "trainedAlgorithmicMedia", ("A painter", False)),
    "a generated picture, in which more was generated": ([OPENED, EDITED | {"digitalSourceType": GENERATED}], {}, "trainedAlgorithmicMedia", ("tests", False)),
    "a photo placed in an empty file, then a fill": ([created("empty"), EDITED | {"digitalSourceType": GENERATED}, PLACED | {"parameters": {"ingredientIds": ["part.jpg"]}}], {}, "", ("tests", True)),
    "a parameter names the tool": ([CAPTURED, EDITED | {"parameters": {"name": "Generative Remove"}}], {}, "", ("Adobe Generative Remove", True)),
    "a converter acted last": ([created("trainedAlgorithmicMedia", softwareAgent=None), {"action": "c2pa.converted", "softwareAgent": "ImageMagick"}], {}, "", ("tests", False)),
    "a description names the tool": ([created("trainedAlgorithmicMedia", softwareAgent=None) | MADE_BY_GOOGLE], {}, "", ("Google AI", False)),
    "a description names who resized it": ([OPENED, {"action": "c2pa.resized", "digitalSourceType": GENERATED, "description": "Resized by Google Generative AI."}], {}, "trainedAlgorithmicMedia", ("Google AI", False)),
    "a description names a product that did not act": ([created("trainedAlgorithmicMedia", softwareAgent=None) | {"description": "Watermarked for Google Generative AI"}], {}, "", ("tests", False)),
    "a description names an edit": ([BY_DESIGN, EDITED | {"description": "Edited with Google AI"}], {}, "", ("Edited with Google AI", True)),
    "a type with a language": ([BY_DESIGN | {"digitalSourceType": GENERATED + "?lang=en"}], {}, "", ("A painter", False)),
    "an artwork in the picture": ([CAPTURED], {"cawg.metadata": {"Iptc4xmpExt:ArtworkOrObject": [METADATA]}}, "", ("tests", True)),
    "an AI system in metadata": ([BY_DESIGN], {"c2pa.metadata": {"Iptc4xmpExt:AISystemUsed": "A model"}}, "", ("A model", False)),
    "a type beside an identifier": ([BY_DESIGN], {"c2pa.metadata": {"x:a": {"@id": "", **METADATA}}}, "", ("tests", False)),
    "a credit as a value of JSON-LD": ([BY_DESIGN], {"cawg.metadata": {"photoshop:Credit": {"@value": "Made with Google AI"}}}, "", ("Google AI", False)),
    "a credit in a list of JSON-LD": ([BY_DESIGN], {"cawg.metadata": {"dc:creator": {"@list": ["Midjourney"]}}}, "", ("Midjourney", False)),
    "another picture in the metadata": ([CAPTURED], {"c2pa.metadata": {"xmpMM:Pantry": [METADATA]}}, "", ("tests", True)),
    "a credit in metadata": ([BY_DESIGN], {"cawg.metadata": {"photoshop:Credit": "Made with Google AI"}}, "", ("Google AI", False)),
}  # fmt: skip


@pytest.mark.parametrize("case", EXTENT)
def test_a_claim_names_who_acted_and_whether_a_part_or_the_whole_was_generated(signer, tmp_path, case):
    actions, found, parent, wanted = EXTENT[case]
    assertions = [{"label": label, "data": CONTEXT | data, "kind": "Json"} for label, data in found.items()]
    ingredients = [("parent.jpg", "parentOf", signed(signer, parent))] if parent else []
    ingredients += [("part.jpg", "componentOf", plain())] if actions[-1]["action"] == "c2pa.placed" else []
    claim = read(tmp_path, signed_with(signer, actions, None, assertions, ingredients)).claims[0]
    assert (claim.kind, claim.text, claim.part) == ("ai", *wanted)


@pytest.mark.parametrize("label", ["stds.exif", "c2pa.metadata"])
def test_signed_metadata_names_the_camera(signer, tmp_path, label):
    def claims(action, data) -> list[tuple[str, str]]:
        assertion = {"label": label, "data": CONTEXT | data, "kind": "Json"}
        data = signed_with(signer, [action], assertions=[assertion], ingredients=[("parent.jpg", "parentOf", plain())])
        return [(one.kind, one.text) for one in read(tmp_path, data).claims]

    names = {"tiff:Make": "NIKON CORPORATION", "exif:Model": "NIKON Z 6_3"}
    assert claims(OPENED | {"digitalSourceType": IPTC + "digitalCapture"}, names) == [("camera", "NIKON Z 6_3")]
    by_an_app = {"softwareAgent": "An app", "digitalSourceType": IPTC + "digitalCapture"}
    assert claims(OPENED | by_an_app, names) == [("camera", "NIKON Z 6_3")]
    assert claims(OPENED, names) == [("camera", "NIKON Z 6_3")]
    assert claims(OPENED, {"Iptc4xmpExt:AISystemUsed": "none", "tiff:Make": "Fooocus"}) == [("ai", "Fooocus")]


@pytest.mark.parametrize(
    "action", ["opened", "converted", "cropped", "published", "edited.metadata", "watermarked.unbound"]
)
def test_a_photo_that_an_ai_app_only_opened_or_converted_is_a_photo(signer, tmp_path, action):
    by_the_app = {"softwareAgent": "ChatGPT"}
    acted = [OPENED | by_the_app] if action == "opened" else [OPENED, {"action": f"c2pa.{action}", **by_the_app}]
    parent = ("parent.jpg", "parentOf", signed(signer, "digitalCapture"))
    claims = read(tmp_path, signed_with(signer, acted, ingredients=[parent])).claims
    assert ("camera", False) in [(one.kind, one.part) for one in claims] and not any(one.kind == "ai" for one in claims)


@pytest.mark.parametrize("source_type", ["trainedAlgorithmicMedia", "digitalCapture"])
@pytest.mark.parametrize("name", ["instanceId", "ingredients"])
def test_an_opened_picture_is_the_whole_even_if_it_is_called_a_component(
    signer, tmp_path, monkeypatch, source_type, name
):
    def as_photoshop_writes_it(report):
        manifest = report["manifests"][report["active_manifest"]]
        (one,) = manifest["ingredients"]
        one["relationship"] = "componentOf"
        named = {
            "instanceId": one["instance_id"],
            "ingredients": [{"url": f"self#jumbf=c2pa.assertions/{one['label']}"}],
        }
        for assertion in manifest["assertions"]:
            for action in assertion["data"].get("actions", ()):
                action["parameters"] = {name: named[name]}

    parent = ("parent.jpg", "parentOf", signed(signer, source_type))
    data = signed_with(signer, [OPENED, {"action": "c2pa.cropped"}], ingredients=[parent])
    report_with(monkeypatch, as_photoshop_writes_it)
    claim = read(tmp_path, data).claims[0]
    assert (claim.kind, claim.part) == ("ai" if source_type.startswith("trained") else "camera", False)


@pytest.mark.parametrize("agent", ["Galaxy AI", "Magnific", "Sketch to image", "Krita AI Diffusion", "Photoroom AI"])
def test_a_picture_that_was_created_by_a_model_is_whole_whatever_the_tool_is_called(agent):
    created = Statement("C2PA action c2pa.created", "trainedAlgorithmicMedia", agent)
    edited = Statement("C2PA action c2pa.edited", "trainedAlgorithmicMedia", "Photoshop Generative Fill")
    for statement, part in ((created, False), (edited, True)):
        manifest = Manifest(signature="unverified", statements=(statement,))
        (claim,) = claims.read_claims(Image.new("RGB", (8, 8)), [], manifest)
        assert (claim.kind, claim.part) == ("ai", part)


def test_a_generated_picture_that_its_generator_wrapped_is_the_whole():
    def made_of(inner: Manifest, *actions: str, count: int = 1) -> list[tuple[str, str, bool]]:
        chatgpt = Statement("C2PA claim generator", agent="ChatGPT")
        manifest = Manifest(statements=(chatgpt,), actions=actions, ingredients=(inner,) * count)
        return [(one.kind, one.text, one.part) for one in claims.read_claims(Image.new("RGB", (8, 8)), [], manifest)]

    generated = Statement("C2PA action c2pa.created", "trainedAlgorithmicMedia", "GPT-4o")
    picture = Manifest(relationship="componentOf", statements=(generated,))
    photo = Manifest(relationship="componentOf", statements=(Statement("C2PA action c2pa.created", "digitalCapture"),))
    whole = ("ai", "ChatGPT", False)
    assert made_of(picture) == [whole, ("ai", "GPT-4o", False)]
    assert made_of(picture, "placed") == made_of(picture, count=2) == [whole, ("ai", "GPT-4o", True)]
    assert all(part for _, _, part in made_of(photo))


@pytest.mark.parametrize("code", ["claim.malformed", "assertion.action.malformed"])
def test_a_malformed_part_of_a_manifest_is_named_in_words(signer, tmp_path, monkeypatch, code):
    def add(report):
        report["validation_results"]["activeManifest"]["failure"].append({"code": code})

    report_with(monkeypatch, add)
    (note,) = read(tmp_path, signed(signer, "digitalCapture")).notes
    assert note.endswith(f" is malformed ({code})")


def test_codes_of_actions_are_put_in_words(signer, tmp_path, monkeypatch):
    def add(report):
        codes = ("assertion.action.ingredientMismatch", "assertion.action.softBindingMissing")
        report["validation_results"]["activeManifest"]["failure"] += [{"code": code} for code in codes]

    report_with(monkeypatch, add)
    first, second = read(tmp_path, signed(signer, "digitalCapture")).notes
    assert ": an action lacks the ingredient" in first and ": an action mentions a watermark" in second


@pytest.mark.parametrize("library", ["Google C2PA Core Generator Library", "c2pa-rs/0.49", "Acme C2PA SDK 1.2"])
def test_a_library_that_writes_manifests_is_no_generator(library):
    generated = Statement("C2PA action c2pa.resized", "trainedAlgorithmicMedia")
    for signer, name in (("Google LLC", "Google LLC"), ("", "trainedAlgorithmicMedia")):
        manifest = Manifest(signature="unverified", signer=signer, agents=(library,), statements=(generated,))
        (claim,) = claims.read_claims(Image.new("RGB", (8, 8)), [], manifest)
        assert (claim.kind, claim.text) == ("ai", name)


def test_the_camera_of_a_placed_photo_is_not_that_of_the_picture(signer, tmp_path):
    placed = PLACED | {"parameters": {"ingredientIds": ["part.jpg"]}}
    part = ("part.jpg", "componentOf", signed(signer, "digitalCapture"))
    (claim, *_) = read(tmp_path, signed_with(signer, [BY_DESIGN, placed], ingredients=[part])).claims
    assert (claim.kind, claim.part) == ("camera", True) and not conflict((claim,), "ai")


def test_a_photographed_part_that_an_action_declares_is_not_the_whole_picture(signer, tmp_path):
    placed = PLACED | {"digitalSourceType": IPTC + "digitalCapture", "parameters": {"ingredientIds": ["part.jpg"]}}
    part = ("part.jpg", "componentOf", signed_with(signer, [BY_DESIGN]))
    (claim, *_) = read(tmp_path, signed_with(signer, [BY_DESIGN, placed], ingredients=[part])).claims
    assert (claim.kind, claim.part) == ("camera", True) and not conflict((claim,), "ai")


def test_a_generator_named_in_a_drawn_document_made_a_part_of_it(signer, tmp_path):
    (claim, *_) = read(tmp_path, signed_with(signer, [BY_DESIGN, EDITED | {"softwareAgent": "Adobe Firefly"}])).claims
    assert (claim.kind, claim.part) == ("ai", True)


def test_a_photo_with_a_generated_part_is_a_claim_of_both(signer, tmp_path):
    edit = {"action": "c2pa.edited", "softwareAgent": "A fill", "digitalSourceType": FILLED}
    claims = read(tmp_path, signed_with(signer, [created("digitalCapture"), edit])).claims
    assert [(one.kind, one.text, one.part) for one in claims] == [
        ("ai", "A fill", True),
        ("camera", "A painter", False),
    ]


@pytest.mark.parametrize(
    ("actions", "kinds"),
    [
        ("opened enhanced", ["camera"]), ("created placed", ["camera"]), ("placed", ["camera"]), ("opened placed", ["camera"]),
        ("opened edited", ["ai", "camera"]), ("placed drawing", ["ai", "camera"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("board", ["digitalCreation", "empty"])
def test_an_app_that_only_placed_or_enhanced_a_photo_generated_nothing(actions, kinds, board):
    photo = Manifest(
        relationship="parentOf" if actions.startswith("opened") else "componentOf",
        statements=(Statement("C2PA action c2pa.created", "digitalCapture"),),
    )
    types = {"created": board}
    acted = [Statement(f"C2PA action c2pa.{name}", types.get(name, "")) for name in actions.split()]
    app = Statement("C2PA claim generator", agent="Adobe Firefly Boards")
    manifest = Manifest(statements=(app, *acted), actions=tuple(actions.split()), ingredients=(photo,))
    found = claims.read_claims(Image.new("RGB", (8, 8)), [], manifest)
    assert [one.kind for one in found if one.kind != "software"] == kinds


def test_a_metadata_edit_hides_no_generated_picture(signer, tmp_path):
    edit = {"action": "c2pa.edited.metadata", "softwareAgent": "ChatGPT"}
    for actions in (
        [created("trainedAlgorithmicMedia"), edit],
        [CAPTURED, EDITED | {"softwareAgent": "ChatGPT"}, edit],
    ):
        assert read(tmp_path, signed_with(signer, actions)).claims[0].kind == "ai"


def test_strings_of_a_manifest_are_plain_text(signer, tmp_path):
    action = created("trainedAlgorithmicMedia", softwareAgent="\x1b[31mred\u202e" + "x" * 9000)
    (claim,) = read(tmp_path, signed_with(signer, [action])).claims
    assert claim.text.isprintable() and claim.text.startswith("[31mred") and len(claim.text) <= 200


def test_nothing_is_fetched_for_a_manifest(signer, tmp_path, monkeypatch):
    import c2pa

    settings = []
    from_dict = c2pa.Settings.from_dict
    monkeypatch.setattr(c2pa.Settings, "from_dict", lambda given: settings.append(given) or from_dict(given))
    read(tmp_path, signed(signer, "digitalCapture"))
    used = settings[-1]
    assert used["verify"] == {"remote_manifest_fetch": False, "ocsp_fetch": False}
    assert used["core"]["allowed_network_hosts"] == []  # identities name a host


def test_without_a_list_no_signer_is_trusted_whatever_the_library_reports(signer, tmp_path, monkeypatch):
    def trust(report):
        results = report["validation_results"]["activeManifest"]
        results["failure"] = []
        results["success"].append({"code": "signingCredential.trusted", "url": ""})

    report_with(monkeypatch, trust)
    assert read(tmp_path, signed(signer, "digitalCapture")).claims[0].signature == "unverified"


def test_a_foreign_manifest_that_anyone_can_attach_is_as_weak_as_the_outer_signature():
    inner = Manifest(
        relationship="parentOf",
        signature="valid",
        statements=(Statement("C2PA action c2pa.created", "trainedAlgorithmicMedia", "ChatGPT"),),
    )
    for outer, strength in (("valid", "trusted"), ("unverified", "signed"), ("broken", "text")):
        manifest = Manifest(signature=outer, ingredients=(inner,), actions=("opened",))
        (claim, *_) = claims.read_claims(Image.new("RGB", (8, 8)), [], manifest)
        assert (claim.text, claim.signature, claim.strength) == ("ChatGPT", outer, strength)


@pytest.mark.parametrize(
    "acted",
    [
        {"action": "c2pa.color_adjustments", "parameters": {"com.adobe.acr": "Generative Remove"}},
        {"action": "c2pa.color_adjustments", "softwareAgent": "Photoshop Generative Fill"},
    ],
)
def test_a_named_generative_edit_counts_even_as_an_adjustment(signer, tmp_path, acted):
    parent = ("parent.jpg", "parentOf", signed(signer, "digitalCapture"))
    found = read(tmp_path, signed_with(signer, [OPENED, acted], ingredients=[parent])).claims
    assert [(one.kind, one.part) for one in found][:1] == [("ai", True)]
