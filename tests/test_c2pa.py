"""C2PA manifests: whose they are, whether their signatures hold, and what they say of a file and what went into it."""

import datetime
import io
import json

import jsonschema
import pytest
from PIL import Image

from hidascan.finding import Finding
from hidascan.image.decode import decode
from hidascan.report.json_schema import json_schema
from tests.conftest import picture

PIXELS = Image.fromarray(picture(240, 300))


@pytest.fixture(scope="module")
def signer():
    """A signer with a chain of two certificates of its own making, on nobody's trust list."""
    import c2pa
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def certificate(name, key, issuer, issuer_key, is_root):
        def called(text):
            return x509.Name(
                [x509.NameAttribute(NameOID.COMMON_NAME, text), x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)]
            )

        now = datetime.datetime.now(datetime.timezone.utc)
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
            made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
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


def signed(signer, source_type: str, ingredients=(), beside: bool = False) -> bytes:
    """The bytes of a file with a manifest; or, for a sidecar, of the manifest of `plain()`."""
    import c2pa

    out = io.BytesIO()
    action = {
        "action": "c2pa.created",
        "softwareAgent": "A painter",
        "digitalSourceType": f"http://cv.iptc.org/newscodes/digitalsourcetype/{source_type}",
    }
    manifest = {
        "claim_generator_info": [{"name": "tests", "version": "1"}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
    builder = c2pa.Builder(manifest)
    for title, relationship, data in ingredients:
        told = json.dumps({"title": title, "relationship": relationship})
        builder.add_ingredient(told, "image/jpeg", io.BytesIO(data))
    if beside:
        builder.set_no_embed()
    made = builder.sign(signer, "image/jpeg", io.BytesIO(plain()), out)
    return bytes(made) if beside else out.getvalue()


def plain() -> bytes:
    out = io.BytesIO()
    PIXELS.save(out, "JPEG", quality=95)
    return out.getvalue()


@pytest.mark.parametrize(("source_type", "kind"), [("trainedAlgorithmicMedia", "ai"), ("digitalCapture", "camera")])
def test_a_signed_manifest_names_its_kind_and_its_signer(signer, tmp_path, source_type, kind):
    (tmp_path / "a.jpg").write_bytes(signed(signer, source_type))
    claim = decode(tmp_path / "a.jpg").claims[0]
    assert (claim.kind, claim.source, claim.text, claim.signature) == (kind, "c2pa", "A painter", "unverified")
    assert "signed by A studio" in claim.detail and source_type in claim.detail and "created" in claim.detail


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


@pytest.mark.parametrize("name", ["a.c2pa", "a.jpg.c2pa"])
def test_a_manifest_beside_the_file_is_read(signer, tmp_path, name):
    (tmp_path / "a.jpg").write_bytes(plain())
    assert not decode(tmp_path / "a.jpg").claims
    (tmp_path / name).write_bytes(signed(signer, "digitalCapture", beside=True))
    claim = decode(tmp_path / "a.jpg").claims[0]
    assert (claim.kind, claim.text, claim.signature) == ("camera", "A painter", "unverified")
    (tmp_path / "a.jpg").write_bytes(plain()[:-3000] + b"\1" * 1000 + plain()[-2000:])
    assert decode(tmp_path / "a.jpg").claims[0].signature == "broken"  # it is about another file
    (tmp_path / name).write_bytes(b"c2pa" * 100)
    assert not decode(tmp_path / "a.jpg").claims


def test_what_went_into_a_picture_is_told_as_a_tree(hidascan, signer, tmp_path):
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
    assert row["claims"][0]["detail"].startswith("an ingredient, dog.jpg: signed by A studio")
    jsonschema.validate(row, json_schema())
    again = json.loads(json.dumps(Finding.from_record(row).record()))
    assert again == {name: row[name] for name in row if name != "scan"}
    page = (tmp_path / "a.html").read_text()
    assert "what went into it" in page and "edit &lt;b&gt;.jpg" in page and "dog.jpg" in page


def test_signers_on_a_list_of_the_users_are_trusted(hidascan, signer, tmp_path):
    (tmp_path / "a.jpg").write_bytes(signed(signer, "digitalCapture"))
    (tmp_path / "root.pem").write_bytes(signer.root)

    def signature(*options) -> str:
        ran = hidascan(tmp_path / "a.jpg", "--jsonl", "-", *options)
        return json.loads(ran.out)["claims"][0]["signature"]

    assert signature() == "unverified"
    assert signature("--c2pa-trust", tmp_path / "root.pem") == "valid"
    (tmp_path / "no.pem").write_text("nothing")
    for wrong, why in (("no.pem", "no certificates in PEM"), ("none.pem", "No such file")):
        ran = hidascan(tmp_path / "a.jpg", "--c2pa-trust", tmp_path / wrong)
        assert ran.code == 2 and why in ran.err
