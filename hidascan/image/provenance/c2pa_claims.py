"""Derive claims of origin from a C2PA manifest and its ingredients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hidascan.image.provenance.catalogue import meaning_of, tool_in
from hidascan.image.provenance.claim import Claim
from hidascan.image.provenance.manifest import Manifest, Statement
from hidascan.image.provenance.statements import AI_ASSERTIONS

_STRENGTH = {"valid": "trusted", "unverified": "signed"}


def claims_of(manifest: Manifest | None) -> Iterator[Claim]:
    """Yield the claims of a manifest on its file, and on generated or photographed ingredients."""
    if manifest is None:
        return
    yield from _claims(manifest)
    for one in manifest.all_ingredients():
        for claim in _claims(one):
            if claim.kind != "software":
                yield replace(claim, part=True, detail=f"{f'an ingredient, {one.title}'.rstrip(', ')}: {claim.detail}")


def _claims(manifest: Manifest) -> Iterator[Claim]:
    """Yield the strongest AI claim, a camera claim, or else a software claim."""
    ai = [(_is_part(one, manifest), one) for one in manifest.statements if _is_ai(one)]
    camera = next(filter(_is_camera, manifest.statements), None)
    if ai:
        part, statement = min(ai, key=lambda pair: (pair[0], not pair[1].source_type))
        yield _claim("ai", manifest, statement, part)
    if camera:
        yield _claim("camera", manifest, camera)
    if not ai and not camera:
        yield _claim("software", manifest, Statement("C2PA claim generator"))


def _claim(kind: str, manifest: Manifest, statement: Statement, part: bool = False) -> Claim:
    text = statement.agent or next(reversed(manifest.agents), "") or manifest.signer or "unnamed"
    signed = f"signed by {manifest.signer or 'an unnamed signer'}"
    return Claim(
        kind=kind,
        source="c2pa",
        text=text,
        signature=manifest.signature,
        detail=", ".join((signed, *manifest.source_types, *manifest.actions)),
        part=part,
        field=statement.field,
        strength=_STRENGTH.get(manifest.signature, "text"),
    )


def _is_camera(statement: Statement) -> bool:
    return meaning_of(statement.source_type)[0] == "camera"


def _is_ai(statement: Statement) -> bool:
    kind, _ = meaning_of(statement.source_type)
    declared = statement.field.startswith(tuple(f"C2PA assertion {label}" for label in AI_ASSERTIONS))
    return kind == "ai" or declared or (not kind and _tool_means(statement) in ("ai", "ai-edit"))


def _is_part(statement: Statement, manifest: Manifest) -> bool:
    """Return whether a statement is about part of the picture, such as a generative fill or a placed image.

    Without a type, a generator that worked on an opened picture or a photo changed it; any other made all of it.
    """
    kind, part = meaning_of(statement.source_type)
    if kind == "ai":
        return part or statement.field == "C2PA action c2pa.placed"
    had_picture = any(one.relationship == "parentOf" for one in manifest.ingredients)
    had_picture |= "opened" in manifest.actions or any(map(_is_camera, manifest.statements))
    return had_picture or _tool_means(statement) == "ai-edit"


def _tool_means(statement: Statement) -> str:
    tool = tool_in(statement.agent, "agent")
    return tool.means if tool else ""
