"""Recognise words that deny AI, in many languages, or leave it unknown: "no AI was used", "ohne", "unknown"."""

from __future__ import annotations

import re

# Before a name, as in "without NAME".
_NEGATION = re.compile(
    r"n['’]t\b|\b(?:not|no(?!\.?\s*\d)|non|without|never|neither|nor|kein\w{0,2}|nicht|ohne|sans|aucune?|pas|sin"
    r"|ningun[oa]?|senza|nessun[oa]?|sem|nenhum\w?|zonder|geen|niet|inte|ingen|inget|intet|ikke|uten|bez|nie|żad\w{1,3}"
    r"|žádn\w{1,2}|не|без|нет|não|nao|nunca|hayır|değil|nem|fără|όχι|δεν|χωρίς|لا|لم|بدون|לא|ללא|kullan\w*mad[ıi])\b|未(?:使用|采用|用)|[没沒]有|不(?:使用|适用|適用)|不(?:是|含)(?=(?:有|由|利用|采用|借助|用了?|使用了?|靠|经|以|通过|任何){0,3}(?:AI|人工智|生成))|[无無非](?=AI|人工智[能慧]|生成)"
    r"|(?:使用|利用|含ま)\w{0,4}(?:ない|なし|ません|せず)|않|미사용|없",
    re.IGNORECASE,
)
_DENIALS = r"(?:no(?!\.?\s*\d)|nein|none|never|nee|nej|non|нет|否|不使用|未使用|false|off|disabled|(?<!v\d:)(?<![\w.\-])0(?![\w.]))"
_DENIAL = re.compile(rf"\b{_DENIALS}\b", re.IGNORECASE)
# After a name, perhaps with a version, as in "NAME 2: no" and "NAME (not used)".
_AFTER_VERSION = r"(?:[\s\-]*v?\d[\w.]*)?"
_DENIED = re.compile(rf"{_AFTER_VERSION}\W*\b{_DENIALS}\s*(?:$|[;,|)/])", re.IGNORECASE)
_NOT_USED = re.compile(
    rf"{_AFTER_VERSION}[\s:=(\-–—]*(?:(?:is|was|were|has|have|wurde)\s*)?(?:n['’]t|not|never|nicht|niet|non|no|pas"
    r"|ikke|inte|не)\s+(?:be\w+\s+)?(?:used|involved|verwendet|genutzt|gebruikt|utili[sz]\w+|usad[oa]|usato|brukt|brugt"
    r"|använ\w+|использ\w+)\b",
    re.IGNORECASE,
)
# A setting of a generator, which denies nothing, such as "upscaler: none" beside "AI generated".
_SETTING = re.compile(
    rf"\s*(?:controlnet|hires|lora|refiner|seed|style|tiling|upscaler?|vae|watermark)\s*[:=]\s*{_DENIALS}\s*",
    re.IGNORECASE,
)
# The whole value of a field for an AI system: "none", "not applicable".
_NOTHING = re.compile(
    r"|-|0|false|off|null|n\.?/?a|nein|无|なし"
    r"|(?:none?|not?|never|without|kein\w*|aucune?|ningun[oa]?|nessun\w*|nenhum\w*)(?:\s+(?:generative|ai|ia|ki|any|tools?"
    r"|systems?|prompts?|was|were|used|applicable|specified|disclosed|in|this|image|picture|photo|verwendet))*",
    re.IGNORECASE,
)
# The beginning of "No AI was used", "Not AI-generated", "none - real photo".
_STARTS_WITH_DENIAL = re.compile(
    r"(?:no|none|not|never|without|n\.?/?a|kein\w*|aucun\w*|ohne|sans|sin|senza|sem|zonder)\b[\s,;:()–—-]*"
    r"(?:(?:generative|artificial|ai|ia|ki|human|real|photo\w*|tools?|used)\b|$)",
    re.IGNORECASE,
)
# The end of "The tool was not used", "A photo, no AI", "This was not made with AI".
_ENDS_WITH_DENIAL = re.compile(
    r"\bdid not use\b|\b(?:(?:not|never|nicht) (?:been )?used|human[ -]made|no ai"
    r"|not (?:made|created|generated|edited) (?:with|by|using) (?:any )?ai)$",
    re.IGNORECASE,
)
_UNKNOWN = frozenset({"unknown", "unspecified", "unbekannt"})


def states_nothing(text: str) -> bool:
    """Return whether the value of a field says that there is nothing, such as no AI system, or that it is unknown."""
    text = text.strip(" .!-()[]")
    patterns = (_NOTHING.fullmatch, _STARTS_WITH_DENIAL.match, _ENDS_WITH_DENIAL.search)
    return not text or is_unknown(text) or any(pattern(text) for pattern in patterns)


def is_unknown(text: str) -> bool:
    """Return whether a text says that the value of its field is unknown."""
    return text.strip(" .!").lower() in _UNKNOWN


def is_negative(text: str) -> bool:
    """Return whether a text denies something about AI; "AI generated; upscaler: none" does not."""
    clauses = (clause for clause in re.split(r"[;,|()]", text) if not _SETTING.fullmatch(clause))
    return any(_NEGATION.search(clause) or _DENIAL.search(clause) for clause in clauses)


def is_denied(text: str, start: int, name_start: int, name_end: int) -> bool:
    """Return whether a text denies a name in it: in the words from `start` up to the name, or right behind it."""
    before = _NEGATION.search(text[start:name_start])
    return bool(before or _DENIED.match(text, name_end) or _NOT_USED.match(text, name_end))
