"""Derive claims of origin from a C2PA manifest and those of its ingredients.

An AI claim covers the whole picture or a part of it: a photo with a generative fill, or a generated picture that was placed.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

from hidascan.image.provenance.ai_systems import makes_no_picture, names_no_system
from hidascan.image.provenance.catalogue import tool_in
from hidascan.image.provenance.claim import UNNAMED, Claim
from hidascan.image.provenance.manifest import ACTION, ASSERTION, GENERATOR, MODEL, Manifest, Statement
from hidascan.image.provenance.source_types import meaning_of
from hidascan.image.provenance.statements import AI_ASSERTIONS, is_library

_C2PA_ACTION = f"{ACTION}c2pa."
_CREATED, _OPENED, _PLACED = (f"{_C2PA_ACTION}{name}" for name in ("created", "opened", "placed"))
# What an app does to a picture without inventing content.
_MECHANICAL = frozenset(
    {
        "opened", "enhanced", "converted", "cropped", "resized", "resized.proportional", "transcoded", "repackaged", "published",
        "orientation", "redacted", "edited.metadata", "watermarked", "watermarked.bound", "watermarked.unbound",
        "color_adjustments", "adjustedColor", "trimmed",
    }
)  # fmt: skip
_OF_METADATA = ("edited.metadata", "redacted")
_AI_ASSERTIONS = tuple(f"{ASSERTION}{label}" for label in AI_ASSERTIONS)
_SYSTEM = "AISystemUsed"  # end of the field of a statement
_STRENGTH = {"valid": "trusted", "unverified": "signed"}  # strength of a claim, by the status of its signature
_SIGNATURES = ("valid", "", "unverified", "broken")  # signature statuses, best first ("": no signature)


def claims_of_manifest(manifest: Manifest | None) -> Iterator[Claim]:
    """Yield the claims of a manifest on its file, and on generated or photographed ingredients.

    An AI claim about the parent of a picture covers the whole picture, unless another picture was added to it.
    """
    if manifest is None:
        return
    yield from _own_claims(manifest)
    yield from _ingredient_claims(manifest, of_whole=True, placed=False, signature=manifest.signature)


def _ingredient_claims(manifest: Manifest, of_whole: bool, placed: bool, signature: str) -> Iterator[Claim]:
    """Yield the claims of the ingredients of a manifest, and of theirs.

    Args:
        manifest: Manifest with ingredients.
        of_whole: True if the picture has a single parent, so that an AI claim about the parent covers the whole picture.
        placed: True if the manifest belongs to an inserted ingredient, whose camera captured only part of the picture.
        signature: Weakest status of the signatures from the file down to the manifest: anyone can attach a foreign one.
    """
    contained = [one for one in manifest.ingredients if one.relationship != "inputTo"]  # inputs: prompts, references
    of_whole = of_whole and len(contained) == 1 and not any(map(_is_camera, manifest.statements))
    for one in contained:
        whole = of_whole and (one.relationship == "parentOf" or _is_the_picture(one, manifest))
        inside = placed or one.relationship != "parentOf"
        weakest = max(signature, one.signature or signature, key=_SIGNATURES.index)
        for claim in _own_claims(one):
            if claim.kind != "software":
                detail = f"{f'an ingredient, {one.title}'.rstrip(', ')}: {claim.detail}"
                part = claim.part or (not whole if claim.kind == "ai" else inside)
                strength = _STRENGTH.get(weakest, "text")
                yield replace(claim, part=part, detail=detail, signature=weakest, strength=strength)
        yield from _ingredient_claims(one, whole, inside, weakest)


def _is_the_picture(ingredient: Manifest, manifest: Manifest) -> bool:
    """Return whether an ingredient, the only one, is the picture itself: generated, like the whole file, and not placed.

    ChatGPT and Designer wrap their pictures so.
    """
    generated = any(not part for part, _ in _ai_statements(manifest))
    return generated and ingredient.relationship == "componentOf" and "placed" not in manifest.actions


def _own_claims(manifest: Manifest) -> Iterator[Claim]:
    """Yield the strongest AI claim, a camera claim, or else a software claim."""
    ai = _ai_statements(manifest)
    cameras = [one for one in manifest.statements if _is_camera(one)]
    if ai:
        part, statement = min(ai, key=lambda pair: (pair[0], not pair[1].source_type))
        models = (one.agent for _, one in ai if one.agent and one.field.startswith(_AI_ASSERTIONS))
        statement = replace(statement, agent=statement.agent or next(models, ""))
        yield _signed_claim("ai", manifest, statement, part)
    if cameras:
        cameras.sort(key=lambda one: not one.field.endswith(MODEL))  # an app may have acted
        name = next((one.agent for one in cameras if one.agent), "")
        yield _signed_claim("camera", manifest, replace(cameras[0], agent=name), all(map(_is_within, cameras)))
    if not ai and not cameras and manifest.statements:
        named = (one for one in reversed(manifest.statements) if one.agent)
        yield _signed_claim("software", manifest, next(named, manifest.statements[0]))


def _signed_claim(kind: str, manifest: Manifest, statement: Statement, part: bool = False) -> Claim:
    """Return a claim; without an agent, the software that wrote the manifest acted."""
    named = (one for one in (statement.agent, *manifest.agents) if one and not is_library(one))
    text = next(named, "") or manifest.signer or statement.source_type or statement.agent or UNNAMED
    verb = "signed by" if manifest.signature == "valid" else "its certificate names"
    signed = (
        f"{verb} {manifest.signer or 'an unnamed signer'}" if manifest.signature else "declared by the file's signer"
    )
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


def _ai_statements(manifest: Manifest) -> list[tuple[bool, Statement]]:
    """Return the statements of a manifest on AI, and whether each is about part of the picture."""
    generated = [one for one in manifest.statements if _is_ai(one)]
    edited = bool(generated) and _had_picture(manifest)
    placed = any(one.relationship == "componentOf" and not _is_generated(one) for one in manifest.ingredients)
    drawn = placed or "drawing" in manifest.actions
    drawn |= any(
        one.field == _CREATED and one.source_type not in ("", "empty") for one in manifest.statements if not _is_ai(one)
    )
    if edited or drawn:  # an app such as ChatGPT only opened, converted or described a photo
        generated = [one for one in generated if not _is_mechanical(one)]
    if _app_adds_nothing(manifest, edited or placed):
        generated = [one for one in generated if one.field != GENERATOR]
    return [(_is_part(one, edited, drawn), one) for one in generated]


def _is_mechanical(statement: Statement) -> bool:
    """Return whether the action of a statement invented no content, whatever tool it names."""
    action = _action_of(statement)
    only_names = not _declares_ai(statement) and _tool_means(statement) != "ai-edit"
    return action in _OF_METADATA or (action in _MECHANICAL and only_names)


def _app_adds_nothing(manifest: Manifest, given: bool) -> bool:
    """Return whether the name of the app shows no AI: its actions declare what they made, or only used given pictures."""
    starts_blank = any((one.field, one.source_type) == (_CREATED, "empty") for one in manifest.statements)
    handled = {*_MECHANICAL, "placed", *(["created"] if starts_blank else ())}
    acted = [one for one in manifest.statements if (action := _action_of(one)) and action not in handled]
    if acted:
        return all(one.source_type not in ("", "empty", "algorithmicMedia") for one in acted)
    return given and bool(manifest.actions) and {*manifest.actions} <= handled


def _action_of(statement: Statement) -> str:
    """Return the name of the action of C2PA that a statement is about; "" if none."""
    is_action = statement.field.startswith(_C2PA_ACTION)
    return statement.field.removeprefix(_C2PA_ACTION).partition(", ")[0] if is_action else ""


def _had_picture(manifest: Manifest) -> bool:
    """Return whether a file was made from a photo, or from another picture that was not generated."""
    parents = [one for one in manifest.ingredients if one.relationship == "parentOf"]
    opened = any(not _is_generated(one) for one in parents) if parents else "opened" in manifest.actions
    return opened or any(map(_is_camera, manifest.statements))


@functools.lru_cache(maxsize=256)  # a parent is asked for again by each of its descendants
def _is_generated(manifest: Manifest) -> bool:
    """Return whether the whole picture of a manifest was generated."""
    return any(not claim.part for claim in claims_of_manifest(manifest) if claim.kind == "ai")


def _is_camera(statement: Statement) -> bool:
    named = statement.field.endswith(MODEL) and not _is_ai(statement)
    return named or meaning_of(statement.source_type)[0] == "camera"


def _is_within(statement: Statement) -> bool:
    """Return whether a statement is about a placed picture, a region, or an artwork in the picture."""
    place, _, name = statement.field.partition(", ")
    return place == _PLACED or (place.startswith(ASSERTION) and name not in ("", "Model"))


def _is_ai(statement: Statement) -> bool:
    if statement.field.endswith(_SYSTEM) and makes_no_picture(statement.agent):
        return False
    kind, _ = meaning_of(statement.source_type)
    by_hand = statement.source_type in ("humanEdits", "minorHumanEdits")
    return _declares_ai(statement) or (not kind and not by_hand and _tool_means(statement) in ("ai", "ai-edit"))


def _declares_ai(statement: Statement) -> bool:
    """Return whether a statement declares AI, by more than the name of a tool."""
    declared = statement.field.startswith(_AI_ASSERTIONS)
    declared |= statement.field.endswith(_SYSTEM) and not names_no_system(statement.agent)
    return meaning_of(statement.source_type)[0] == "ai" or declared


def _is_part(statement: Statement, edited: bool, drawn: bool) -> bool:
    """Return whether a statement on AI is about part of the picture, such as a generative fill or a placed image.

    Args:
        statement: Statement on AI.
        edited: True if the file is an edited version of a picture that AI did not generate.
        drawn: True if the picture was drawn, or created in another way, before AI was applied.
    """
    kind, part = meaning_of(statement.source_type)
    place, _, property_name = statement.field.partition(", ")
    created_whole = bool(kind) and not part and place == _CREATED
    if part or place == _PLACED or (_tool_means(statement) == "ai-edit" and not created_whole):
        return True
    if not kind:
        return edited or (drawn and place not in (_CREATED, _OPENED) and not place.startswith(ASSERTION))
    if place.startswith(ASSERTION):
        return bool(property_name)  # a region, or an artwork in the picture
    return (edited or drawn) and place not in (_CREATED, _OPENED)


@functools.lru_cache(maxsize=1024)
def _tool_means(statement: Statement) -> str:
    tool = tool_in(statement.agent, "agent")
    return tool.means if tool else ""
