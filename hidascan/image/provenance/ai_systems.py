"""The AI system that IPTC 2025 has fields for: its name, version, prompt and prompt writer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from hidascan.image.provenance.cameras import cameras_of
from hidascan.image.provenance.catalogue import only_describes, tool_in
from hidascan.image.provenance.claim import SOME_SYSTEM, Claim, shown
from hidascan.image.provenance.denials import is_negative, is_unknown, states_nothing
from hidascan.image.provenance.field_claims import claim_of
from hidascan.image.provenance.fields import Field
from hidascan.image.provenance.source_types import meaning_of, term_of

_AI_KINDS = ("ai system", "ai version", "ai prompt writer", "ai prompt")
# Values for "no AI" without a word of negation.
_NO_SYSTEM = re.compile(
    r"no ?ai|zero ai|ai[ -]free|(?:\d+ ?% )?human(?:[ -](?:made|created|only))?|(?:digital |real )?(?:camera|photo(?:graph)?)"
    r"|unknown ai|undisclosed|tbd|[?/—–-]+|未使用|[nf]|nil|void|n/d|n\.?v\.?t|k\. ?a|entfällt|ei(?: käytössä)?|brak|yok|nincs"
    r"|[无無否不]|不適用|不适用|いいえ|(?:해당 )?없음|(?:human[- ]made |original )photo\w*|hand[- ]?(?:made|drawn)",
    re.IGNORECASE,
)
# What AI does to a photo without inventing its content.
_IMPROVES = re.compile(
    r"denois|\bnoise\b|sharpen|upscal|super[ -]?res|auto ?focus|\bAF\b|auto ?exposure|colou?r (?:correct|grad)",
    re.IGNORECASE,
)
# What shows that a system made pictures, whatever else it did: "ChatGPT (image generated from a text prompt)".
_MAKES = re.compile(
    r"\b(?:image|picture|photo|art)\w*\s+(?:\w+\s+)?(?:generat|creat)|\b(?:generat|creat)\w*\s+(?:an?\s+|the\s+|this\s+)?"
    r"(?:image|picture|photo|art)|diffusion|(?<!SR)GAN\d?\b|text[- ]?(?:to|2)[- ]?image|gpt-image|flash image",
    re.IGNORECASE,
)
_ASKS_FOR_NO_PICTURE = re.compile(
    r"\W*(?:please )?(?:describe|caption|transcribe|translate|denoise|sharpen|upscale|remove (?:the )?noise"
    r"|(?:write|add|suggest|list|create|generate) (?:\w+ ){0,3}?(?:keywords|captions?|tags|titles?|descriptions?|alt[- ]texts?))\b",
    re.IGNORECASE,
)
_SEARCHED = 1000  # characters
_LABEL = re.compile(r"(?:ai )?(?:prompt|system)\s*[:=]\s*", re.IGNORECASE)  # "Prompt: none"


def claims_of_ai_system(fields: list[Field]) -> Iterator[Claim]:
    """Yield the AI system of IPTC 2025; it made a part if the source type says so, or none is given and a camera is named.

    A system that only described or sharpened the picture is software.
    """
    found = {field.kind: field for field in reversed(sorted(fields, key=lambda field: field.of_part))}
    by_kind = {kind: found[kind] for kind in _AI_KINDS if kind in found and not is_unknown(found[kind].text)}
    if not by_kind:
        return
    system, version = by_kind.get("ai system"), by_kind.get("ai version")
    if system and names_no_system(system.text):
        return
    terms = source_types_in(fields)
    if not system and all(_says_nothing(field) for field in by_kind.values()):
        return
    if system and makes_no_picture(system.text):
        yield claim_of(system, "software", system.text)
        return
    text = " ".join(field.text for field in (system, version) if field) if system else SOME_SYSTEM
    detail = "; ".join(f"{field.name.rpartition(':')[2]}: {shown(field.text, 80)}" for field in by_kind.values())
    # A person's name is often filled in for all pictures of a batch.
    strength = "text" if [*by_kind] == ["ai prompt writer"] else "tag"
    tool = tool_in(system.text, "agent") if system else None
    edits = bool(tool and tool.means == "ai-edit") or any(one.kind == "camera" for one in cameras_of(fields))
    part = ("ai", False) not in terms if terms else edits
    claim = claim_of(system or next(iter(by_kind.values())), "ai", text, part, strength)
    yield replace(claim, detail=shown(detail))


def source_types_in(fields: list[Field]) -> set[tuple[str, bool]]:
    """Return the meanings of the source types of the whole picture, as `meaning_of` gives them."""
    types = [field for field in fields if field.kind == "source type" and not field.of_part]
    return {meaning_of(term) for field in types if (term := term_of(field.text))}


def names_no_system(text: str) -> bool:
    """Return whether the name of an AI system denies AI, or is unknown; a prompt may well contain "no" or "without"."""
    denied = bool(_NO_SYSTEM.fullmatch(text.strip(" .!"))) or (is_negative(text) and not tool_in(text[:200], "agent"))
    return denied or states_nothing(text)


def makes_no_picture(text: str) -> bool:
    """Return whether an AI system describes, examines or improves pictures, such as "Lightroom AI Denoise"."""
    if _MAKES.search(text[:_SEARCHED]):
        return False
    tool = tool_in(text, "agent")
    if tool and tool.means == "software":
        return True
    return only_describes(text) or (tool is None and bool(_IMPROVES.search(text)))


def _says_nothing(field: Field) -> bool:
    """Return whether a field states nothing, or is a prompt that begins by asking for words or an improvement."""
    text = _LABEL.sub("", field.text, count=1)
    return states_nothing(text) or (field.kind == "ai prompt" and bool(_ASKS_FOR_NO_PICTURE.match(text)))
