"""IPTC's list of digital source types, and what each says of a picture (cv.iptc.org/newscodes/digitalsourcetype)."""

from __future__ import annotations

import re

AI_WHOLE = frozenset({"trainedalgorithmicmedia"})
AI_PART = frozenset({"compositewithtrainedalgorithmicmedia", "compositesynthetic"})
CAMERA = frozenset({"digitalcapture", "computationalcapture", "compositecapture", "negativefilm", "positivefilm"})
OTHERS = frozenset(
    {
        "algorithmicmedia", "algorithmicallyenhanced", "composite", "datadrivenmedia", "digitalart", "digitalcreation",
        "humanedits", "minorhumanedits", "print", "screencapture", "softwareimage", "virtualrecording", "multiframecapture",
    }
)  # fmt: skip
_PREFIX = re.compile(r"^\s*(?:https?://cv\.iptc\.org/newscodes/digitalsourcetype/|digsrctype:)?\s*", re.IGNORECASE)
_C2PA = re.compile(r"^\s*https?://c2pa\.org/digitalsourcetype/", re.IGNORECASE)


def term_of(value: str) -> str:
    """Return the term that a value names as a URL, a QCode or by itself; "" for a value that names none."""
    term = _PREFIX.sub("", _C2PA.sub("", value)).strip().rstrip("/#")
    known = AI_WHOLE | AI_PART | CAMERA | OTHERS
    return term if term.lower() in known or _C2PA.match(value) else ""


def meaning_of(term: str) -> tuple[str, bool]:
    """Return the kind of claim that a term makes, "" for none, and whether it is about a part of the picture."""
    term = term.lower()
    if term in AI_WHOLE | AI_PART:
        return "ai", term in AI_PART
    return ("camera" if term in CAMERA else ""), False
