"""Read C2PA manifests ("Content Credentials") from a file, or from a sidecar: `photo.c2pa` or `photo.jpg.c2pa`.

Nothing is ever fetched: no remote manifest, revocation list or identity document. Signers are trusted only by a list
from the user.
"""

from __future__ import annotations

import functools
import io
import json
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from hidascan.errors import UsageError, reason_of
from hidascan.image.formats import mime_type
from hidascan.image.provenance.containers import holds_manifest
from hidascan.image.provenance.fields import Field
from hidascan.image.provenance.manifest import Manifest
from hidascan.image.provenance.statements import plain
from hidascan.image.provenance.validation import BINDINGS, ManifestTree, means_change
from hidascan.notes import CREDENTIALS, FROM_SIDECAR

# Purposes of certificates ("extended key usage") that C2PA allows, besides those that the library allows by itself:
# emailProtection, timeStamping, OCSPSigning.
_PURPOSES = (
    "1.3.6.1.5.5.7.3.36",  # id-kp-documentSigning
    "1.3.6.1.4.1.62558.2.1",  # C2PA claim signing
    "1.3.6.1.4.1.311.76.59.1.9",  # Microsoft's C2PA signing
)
# No host is allowed, as the library would fetch documents that identity assertions name.
_OFFLINE: dict[str, dict[str, Any]] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"allowed_network_hosts": []},
    "trust": {"trust_config": "\n".join(_PURPOSES)},
}
_SUFFIXES = (".c2pa", ".C2PA")
_SIDECAR_BYTES = 50_000_000
_JUMBF = b"jumb"  # type of the box of a manifest
_MAX_NOTES = 5  # on ingredients
_REASONS = {  # replacements for misleading messages of the library
    "could not generate a trusted time stamp": "the signature is damaged",
    "C2PA provenance not found in XMP": "the label of the manifest is damaged",
    "more than one manifest store detected": "the file holds several of them",
    "prerelease content detected": "written before version 1.0 of C2PA, which is no longer supported",
}
_CUT = re.compile(r"out of range|exceeds file size", re.IGNORECASE)  # a length that reaches beyond the end of the file
_UNDECODABLE = re.compile(r"end of file|bytes remaining|box\b|\bJUM|CBOR|not found|decod|pars(?:e|ing)", re.IGNORECASE)
_WORDS = {
    "signingCredential.expired": (
        "the signer's certificate has expired, and no trusted time stamp shows that it was valid when signing"
    ),
    "signingCredential.invalid": f"the signer's certificate is not valid for signing {CREDENTIALS}",
    "signingCredential.ocsp.revoked": "the signer's certificate was revoked",
    "claimSignature.outsideValidity": "signed outside the validity period of the certificate",
    "claimSignature.mismatch": "the signature does not match",
    "claim.malformed": "the claim of the manifest is malformed",
    "assertion.action.malformed": "the list of actions is malformed",
    "assertion.action.ingredientMismatch": "an action lacks the ingredient that it is about",
    "assertion.action.softBindingMissing": "an action mentions a watermark that the manifest does not describe",
    "assertion.hashedURI.mismatch": "the manifest was changed after signing",
    "assertion.dataHash.mismatch": "the signed hash leaves out more of the file than the manifest",  # if nothing changed
}
_EXPECTED = "signingCredential.untrusted"


class Sidecar(NamedTuple):
    """A manifest in a separate file.

    Attributes:
        name: Name of the sidecar, without its folder.
        data: Content of the sidecar; empty if it cannot be read.
        problem: Reason why it cannot be read; "" if it can.
    """

    name: str
    data: bytes = b""
    problem: str = ""


def read_manifest(
    data: bytes,
    format: str,
    sidecar: Sidecar | None = None,
    trust: str | None = None,
    fields: Iterable[Field] = (),
) -> tuple[Manifest | None, tuple[str, ...]]:
    """Read the manifest of a file: the embedded one, or else, or if that is unreadable, the sidecar.

    Args:
        data: Content of the file.
        format: Pillow's name of the format.
        sidecar: Manifest beside the file.
        trust: Path of a PEM file of certificates that are trusted as signers.
        fields: Metadata fields of the file; XMP may name the address of a manifest.

    Returns:
        The manifest, None if missing or unreadable, and notes for the reader.
    """
    embedded = holds_manifest(data, format)
    manifest, notes = _read(data, format, None, trust) if embedded else (None, ())
    if manifest and sidecar:
        notes = (f"{CREDENTIALS} are embedded in the file; the sidecar {plain(sidecar.name)} was ignored", *notes)
    elif sidecar:
        manifest, further = _read_sidecar(data, format, sidecar, trust)
        notes += further
    if manifest is None and not embedded:
        addresses = (plain(field.text) for field in fields if field.kind == "manifest address" and not field.of_part)
        notes += tuple(islice(filter(None, map(_elsewhere, addresses)), 1))
    return manifest, notes


def _elsewhere(address: str) -> str:
    """Return a note on the manifest at an address; "" for any other text, since such a field may also hold a history."""
    if address.lower().startswith("self#jumbf"):
        return f"{CREDENTIALS} named in the XMP are missing from the file"
    if re.match(r"https?://\S+$", address, re.IGNORECASE):
        return f"{CREDENTIALS} are stored remotely and were not fetched: {address}"
    if address.lower().endswith(".c2pa"):
        return f"{CREDENTIALS} are in another file, which was not read: {address}"
    return ""


def sidecar_of(path: Path) -> Sidecar | None:
    """Read the manifest beside a file, the first readable one; None if there is none."""
    beside = [Path(f"{path}{suffix}") for suffix in _SUFFIXES]
    try:
        beside += [path.with_suffix(suffix) for suffix in _SUFFIXES]
    except ValueError:  # a path without a name
        return None
    found = [sidecar for one in beside if one != path and (sidecar := _sidecar(one))]
    return next((sidecar for sidecar in found if not sidecar.problem), found[0] if found else None)


def _sidecar(path: Path) -> Sidecar | None:
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > _SIDECAR_BYTES:
            return Sidecar(path.name, problem=f"larger than {_SIDECAR_BYTES // 1_000_000} MB")
        content = path.read_bytes()
    except OSError as error:
        return Sidecar(path.name, problem=reason_of(error))
    except ValueError:  # a NUL in the name
        return None
    if not content.strip(b"\0"):
        return Sidecar(path.name, problem="only zero bytes" if content else "empty")
    return Sidecar(path.name, content, "" if content[4:8] == _JUMBF else "not a C2PA manifest")


def check_trust(path: str) -> None:
    """Check a list of trusted signers.

    Raises:
        UsageError: If it cannot be read, or has no certificate.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise UsageError(f"--c2pa-trust {path}: not a regular file; each decoder reads it")
    try:
        if "-----BEGIN CERTIFICATE-----" not in Path(path).read_text(encoding="ascii", errors="replace"):
            raise UsageError(f"--c2pa-trust {path}: no PEM certificates found")
    except OSError as error:
        raise UsageError(f"--c2pa-trust {path}: {reason_of(error)}") from None


@functools.cache
def _settings(trust: str | None) -> dict[str, Any]:
    if trust is None:
        return _OFFLINE
    anchors = Path(trust).read_text(encoding="ascii", errors="replace")
    verify = {**_OFFLINE["verify"], "verify_trust": True}
    return {**_OFFLINE, "verify": verify, "trust": {**_OFFLINE["trust"], "user_anchors": anchors}}


def _read_sidecar(
    data: bytes, format: str, sidecar: Sidecar, trust: str | None
) -> tuple[Manifest | None, tuple[str, ...]]:
    name = plain(sidecar.name)
    problem = sidecar.problem or ("" if mime_type(format) else f"C2PA does not support {format} files")
    if problem:
        return None, (f"{CREDENTIALS} in the sidecar {name} cannot be read: {problem}",)
    manifest, notes = _read(data, format, sidecar, trust)
    if manifest and any(code.startswith(BINDINGS) and _shows_change(manifest, code) for code in manifest.codes):
        return None, notes  # nothing else ties it to this file
    return manifest, (f"{FROM_SIDECAR} {name}", *notes) if manifest else notes


def _read(
    data: bytes, format: str, sidecar: Sidecar | None, trust: str | None
) -> tuple[Manifest | None, tuple[str, ...]]:
    own = sidecar.data if sidecar else None
    try:
        report, malformed = _report(data, format, own, _settings(trust)), False
        if not _is_complete(report):
            whole = _report(data, format, own, _without_identities(_settings(trust)))
            report, malformed = whole, len(whole["manifests"]) > len(report["manifests"])
        manifest = ManifestTree(report, trust is not None).manifest(report["active_manifest"])
    except Exception as error:  # the library has many exceptions for damaged manifests
        where = f" in the sidecar {plain(sidecar.name)}" if sidecar else ""
        return None, (f"{CREDENTIALS}{where} cannot be read: {_reason(error)}",)
    notes = (f"{CREDENTIALS} contain a malformed identity assertion",) if malformed else ()
    return manifest, (*notes, *_notes(manifest, sidecar is not None))


def _report(data: bytes, format: str, manifest: bytes | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the library's report on a file; `manifest` is that of a sidecar."""
    import c2pa

    context = c2pa.Context(c2pa.Settings.from_dict(settings))
    with c2pa.Reader(mime_type(format), io.BytesIO(data), manifest_data=manifest, context=context) as reader:
        report: dict[str, Any] = json.loads(reader.json())
    return report


def _is_complete(report: dict[str, Any]) -> bool:
    """Return whether a report has all manifests; the library omits those with a malformed identity assertion."""
    manifests = report["manifests"]
    ingredients = (one for manifest in manifests.values() for one in manifest.get("ingredients") or ())
    labels = (report["active_manifest"], *(one.get("active_manifest") for one in ingredients))
    return all(label is None or label in manifests for label in labels)


def _without_identities(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "core": {**settings["core"], "decode_identity_assertions": False}}


def _reason(error: Exception) -> str:
    """Return the reason why a manifest cannot be read."""
    if type(error).__name__.endswith("NotFound"):  # a manifest or an assertion is missing
        return "damaged"
    if isinstance(error, (KeyError, TypeError, AttributeError, RecursionError)):
        return "the manifest is malformed"
    message = plain(str(error).rpartition(": ")[2]) or type(error).__name__
    if _CUT.search(message):
        return "the file is truncated or damaged"
    return _REASONS.get(message, "damaged" if _UNDECODABLE.search(message) else message)


def _notes(manifest: Manifest, beside: bool) -> Iterator[str]:
    """Yield notes on unconfirmed parts of a file's manifest and of its ingredients."""
    for code in manifest.codes:
        if code.startswith("cawg."):
            yield f"{CREDENTIALS} contain an identity assertion that could not be verified: {code}"
        elif code != _EXPECTED:
            changed = _shows_change(manifest, code)
            held = "are invalid" if changed else "could not be confirmed"
            yield f"{CREDENTIALS} {held}: {_in_words(code, changed, beside)}"
    ingredients = dict.fromkeys((one.title or "unnamed", _problem(one)) for one in manifest.all_ingredients())
    wrong = ((title, problem) for title, problem in ingredients if problem)
    yield from (f"{CREDENTIALS} of an ingredient, {title}, {problem}" for title, problem in islice(wrong, _MAX_NOTES))


def _shows_change(manifest: Manifest, code: str) -> bool:
    return manifest.signature == "broken" and means_change(code, signed=False)


def _problem(ingredient: Manifest) -> str:
    if ingredient.signature == "broken":
        return "are invalid"
    return "are missing" if "ingredient.manifest.missing" in ingredient.codes else ""


def _in_words(code: str, changed: bool, beside: bool) -> str:
    words = _WORDS.get(code, "")
    if changed and code.startswith(BINDINGS):
        words = "the sidecar belongs to another file, or this file was changed" if beside else "the file was changed"
        words += " after signing"
    return f"{words} ({code})" if words else code
