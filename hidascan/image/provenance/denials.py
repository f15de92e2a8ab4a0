"""Recognise texts in fields for AI systems that deny AI, or leave it unknown: "none", "No AI was used", "keine"."""

from __future__ import annotations

import re

from hidascan.image.provenance.catalogue import is_negative, tool_in

_NOT_USED = re.compile(
    r"|-|0|false|off|null|n\.?/?a|nein|无|なし"
    r"|(?:none?|not?|never|without|kein\w*|aucune?|ningun[oa]?|nessun\w*|nenhum\w*)(?:\s+(?:generative|ai|ia|ki|any|tools?"
    r"|systems?|was|were|used|applicable|specified|disclosed|in|this|image|picture|photo|verwendet))*",
    re.IGNORECASE,
)
# The beginning of "No AI was used", "Not AI-generated", "none - real photo".
_DENIED = re.compile(
    r"(?:no|none|not|never|without|n\.?/?a|kein\w*|aucun\w*|ohne|sans|sin|senza|sem|zonder)\b[\s,;:()–—-]*"
    r"(?:(?:generative|artificial|ai|ia|ki|human|real|photo\w*|tools?|used)\b|$)",
    re.IGNORECASE,
)
# The end of "The tool was not used", "A photo, no AI", "This was not made with AI".
_NOT_USED_AFTER = re.compile(
    r"\bdid not use\b|\b(?:(?:not|never|nicht) (?:been )?used|human[ -]made|no ai"
    r"|not (?:made|created|generated|edited) (?:with|by|using) (?:any )?ai)$",
    re.IGNORECASE,
)
# Values for "no AI" without a word of negation.
_NO_SYSTEM = re.compile(
    r"no ?ai|zero ai|ai[ -]free|(?:\d+ ?% )?human(?:[ -](?:made|created|only))?|(?:digital |real )?(?:camera|photo(?:graph)?)"
    r"|unknown ai|undisclosed|tbd|[?/—–-]+|未使用|[nf]|nil|void|n/d|n\.?v\.?t|k\. ?a|entfällt|ei(?: käytössä)?|brak|yok|nincs"
    r"|[无無否不]|不適用|不适用|いいえ|(?:해당 )?없음|(?:human[- ]made |original )photo\w*|hand[- ]?(?:made|drawn)",
    re.IGNORECASE,
)
_UNKNOWN = frozenset({"unknown", "unspecified", "unbekannt"})


def names_no_system(text: str) -> bool:
    """Return whether the name of an AI system denies AI, or is unknown; a prompt may well contain "no" or "without"."""
    denied = bool(_NO_SYSTEM.fullmatch(text.strip(" .!"))) or (is_negative(text) and not tool_in(text[:200], "agent"))
    return denied or states_nothing(text)


def states_nothing(text: str) -> bool:
    """Return whether the name of an AI system says that there was none, or that it is unknown."""
    text = text.strip(" .!-()[]")
    patterns = (_NOT_USED.fullmatch, _DENIED.match, _NOT_USED_AFTER.search)
    return not text or is_unknown(text) or any(pattern(text) for pattern in patterns)


def is_unknown(text: str) -> bool:
    """Return whether a text says that the value of its field is unknown."""
    return text.strip(" .!").lower() in _UNKNOWN
