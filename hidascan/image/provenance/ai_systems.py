"""The AI system that IPTC 2025 has fields for: its name, version, prompt and prompt writer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from hidascan.image.provenance.catalogue import tool_in
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


def claims_of_ai_system(fields: list[Field]) -> Iterator[Claim]:
    """Yield the AI system of IPTC 2025; it made only a part unless the source type is fully AI."""
    found = {field.kind: field for field in reversed(sorted(fields, key=lambda field: field.of_part))}
    by_kind = {kind: found[kind] for kind in _AI_KINDS if kind in found and not is_unknown(found[kind].text)}
    if not by_kind:
        return
    system, version = by_kind.get("ai system"), by_kind.get("ai version")
    if system and names_no_system(system.text):
        return
    terms = source_types_in(fields)
    if not system and all(states_nothing(field.text) for field in by_kind.values()):
        return
    text = " ".join(field.text for field in (system, version) if field) if system else SOME_SYSTEM
    detail = "; ".join(f"{field.name.rpartition(':')[2]}: {shown(field.text, 80)}" for field in by_kind.values())
    # A person's name is often filled in for all pictures of a batch.
    strength = "text" if [*by_kind] == ["ai prompt writer"] else "tag"
    tool = tool_in(system.text, "agent") if system else None
    part = ("ai", False) not in terms if terms else bool(tool and tool.means == "ai-edit")
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
