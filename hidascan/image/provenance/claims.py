"""Collect claims of origin from a file: C2PA, EXIF, XMP, IPTC, text chunks, comments, hidden parameters.

A claim never changes the score. Only C2PA is signed; anyone can add or remove the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from PIL import Image

from hidascan.image.provenance.ai_systems import claims_of_ai_system, makes_no_picture, source_types_in
from hidascan.image.provenance.cameras import cameras_of
from hidascan.image.provenance.claim import HIDDEN, MAX_DETAIL, MAX_NAME, NO_NAME, Claim, shown
from hidascan.image.provenance.denials import states_nothing
from hidascan.image.provenance.field_claims import claim_of, claims_of_field, one_per_value
from hidascan.image.provenance.fields import PNG_TEXT, Field, letters_of
from hidascan.image.provenance.manifest import Manifest
from hidascan.image.provenance.manifest_claims import claims_of_manifest
from hidascan.image.provenance.structures import (
    COMFYUI,
    generates_nothing,
    generator_of,
    generator_of_keys,
    is_by_extras,
    is_inpainted,
    is_signed_by_xai,
    weak_label_in,
    weak_label_of,
)
from hidascan.image.provenance.texts import read_stealth

_MAX_CLAIMS = 100
# Keys of PNG text, by their letters: those that declare AI by "true", and those that name a model or its maker beside them.
_DECLARING_KEYS = ("aigenerated", "isaigenerated", "generatedbyai", "aigc")
_NAMING_KEYS = ("aimodel", "aisystem", "aisystemused", "aigenerator", "aitool", "aiprovider")
_TRUE = re.compile(r"(?:true|yes|1)\W*", re.IGNORECASE)
_SIGNED_BY_XAI = (
    ("EXIF ImageDescription", "EXIF Artist"),
    ("XMP dc:description", "XMP dc:creator"),
    ("PNG text Description", "PNG text Author"),
    ("IPTC Caption", "IPTC By-line"),
)


def read_claims(image: Image.Image, fields: list[Field], manifest: Manifest | None) -> tuple[Claim, ...]:
    """Return all claims in a loaded image, its metadata fields and its C2PA manifest, strongest first."""
    signed = [_fit_to_show(claim) for claim in claims_of_manifest(manifest)]
    fields = [one for field in fields for one in one_per_value(field)]
    structures = {field: name for field in fields if (name := generator_of(field.text))}
    plain = [field for field in fields if field not in structures]
    named = _name_claims(plain, {field.source for field in structures if field.kind in ("make", "model")})
    if any(one.kind == "camera" for one in (*signed, *named)):  # so topics are about what the photo shows
        topics = {field.name for field in plain if field.kind == "topic"}
        named = [one for one in named if one.text != NO_NAME or one.field not in topics]
    idle = [field for field in plain if generates_nothing(field.text)]
    if idle:  # `workflow` may also hold nodes that did not run
        structures = {field: name for field, name in structures.items() if name != COMFYUI}
        named = [replace(one, kind="software") if one.text == COMFYUI else one for one in named]
    unsigned = [claim_of(field, "ai", name) for field, name in structures.items()]
    unsigned += [claim_of(field, "software", COMFYUI) for field in idle]
    unsigned += [claim_of(field, "software", "Stable Diffusion web UI") for field in plain if is_by_extras(field.text)]
    unsigned += [claim_of(field, "software", label) for field in plain if (label := weak_label_in(field.text))]
    unsigned += [*named, *claims_of_ai_system(plain), *_xai_claims(plain), *_declared_claims(plain)]
    unsigned += _hidden_claims(image)
    if not any(field.source == "png" for field in structures):
        unsigned += _png_key_claims(plain)
    repainted = _repainted(structures)
    unsigned = [replace(one, part=True) if one.text in repainted and one.kind == "ai" else one for one in unsigned]
    return tuple(sorted(_without_duplicates(signed + unsigned), key=Claim.rank)[:_MAX_CLAIMS])


def _repainted(structures: dict[Field, str]) -> set[str]:
    """Return the generators, of those by field, that repainted a region of a given picture."""
    prompts = [field for field in structures if '"class_type"' in field.text]  # nodes of ComfyUI that ran
    decisive = {name: prompts if name == COMFYUI and prompts else [*structures] for name in structures.values()}
    return {name for field, name in structures.items() if field in decisive[name] and is_inpainted(field.text)}


def _name_claims(fields: list[Field], overwritten: set[str]) -> list[Claim]:
    """Return the claims by names of tools and cameras, and by source types.

    Args:
        fields: Metadata fields without structures.
        overwritten: Containers in which a structure stands in place of a camera.
    """
    claims = [claim for field in fields for claim in claims_of_field(field)]
    cameras = [one for one in cameras_of(fields) if one.source not in overwritten]
    if cameras:
        claims = [replace(one, kind="software") if _is_of_glasses(one) else one for one in claims]
    declared = source_types_in(fields)
    edited = ("ai", True) in declared and ("ai", False) not in declared
    return [replace(one, part=True) if edited and one.kind == "ai" else one for one in (*claims, *cameras)]


def _is_of_glasses(claim: Claim) -> bool:
    """Return whether a claim is that of Meta's glasses, which name a camera, too; a generator names none."""
    return (claim.text, claim.field) == ("Meta AI", "EXIF Software")


def _without_duplicates(claims: list[Claim]) -> list[Claim]:
    """Drop duplicates: the same field, or the same program or camera in the same container."""
    kept: dict[tuple[object, ...], Claim] = {}
    for claim in claims:
        alike = claim.field if claim.kind == "ai" else ""
        kept.setdefault((claim.kind, claim.source, claim.text, claim.part, claim.signature, alike), claim)
    return list(kept.values())


def _xai_claims(fields: list[Field]) -> Iterator[Claim]:
    texts = {field.name: field for field in reversed(fields) if not field.of_part}
    for description, artist in _SIGNED_BY_XAI:
        if {description, artist} <= texts.keys() and is_signed_by_xai(texts[description].text, texts[artist].text):
            yield claim_of(texts[description], "ai", "Grok")


def _png_key_claims(fields: list[Field]) -> Iterator[Claim]:
    """Yield the generator whose parameters are separate text chunks, such as Easy Diffusion."""
    keys = {field.name.removeprefix(PNG_TEXT): field.text for field in fields if field.source == "png"}
    if name := generator_of_keys(keys):
        yield Claim("ai", "png", name, detail=shown(", ".join(keys)), field="PNG text keys", strength="tag")
    elif label := weak_label_of(keys):
        yield Claim("software", "png", label, detail=shown(", ".join(keys)), field="PNG text keys", strength="tag")


def _declared_claims(fields: list[Field]) -> Iterator[Claim]:
    """Yield the claim of a PNG key such as "AI-Generated", if it is true; other keys may name the model."""
    keys = {letters_of(field.name.removeprefix(PNG_TEXT)): field for field in fields if field.source == "png"}
    declared = next((keys[key] for key in _DECLARING_KEYS if key in keys and _TRUE.fullmatch(keys[key].text)), None)
    if declared:
        named = (keys[key].text for key in _NAMING_KEYS if key in keys)
        yield claim_of(
            declared,
            "ai",
            next((name for name in named if not (states_nothing(name) or makes_no_picture(name))), NO_NAME),
        )


def _hidden_claims(image: Image.Image) -> Iterator[Claim]:
    hidden = read_stealth(image)
    if hidden is not None:
        channels, text = hidden
        name, part = generator_of(text) or HIDDEN, is_inpainted(text)
        yield Claim(
            "ai", "pixels", name, detail=shown(text), part=part, field=f"lowest bits of {channels}", strength="tag"
        )


def _fit_to_show(claim: Claim) -> Claim:
    return replace(claim, text=shown(claim.text, MAX_NAME), detail=shown(claim.detail, 2 * MAX_DETAIL))
