"""IPTC digital source types, and the claims that they imply (cv.iptc.org/newscodes/digitalsourcetype)."""

from __future__ import annotations

import re

AI_WHOLE = frozenset({"trainedAlgorithmicMedia", "trainedAlgorithmicData"})
AI_PART = frozenset({"compositeWithTrainedAlgorithmicMedia", "compositeSynthetic"})
CAMERA = frozenset(
    {
        "digitalCapture", "computationalCapture", "multiFrameComputationalCapture", "compositeCapture", "negativeFilm",
        "positiveFilm",
    }
)  # fmt: skip
OTHERS = frozenset(
    {
        "algorithmicMedia", "algorithmicallyEnhanced", "composite", "dataDrivenMedia", "digitalArt", "digitalCreation",
        "humanEdits", "minorHumanEdits", "print", "screenCapture", "softwareImage", "virtualRecording",
    }
)  # fmt: skip
_TERMS = {term.lower(): term for term in AI_WHOLE | AI_PART | CAMERA | OTHERS}
_LISTS = re.compile(
    r"(?:https?://)?(?:www\.)?(?:cv\.)?(?:iptc|c2pa)\.org/(?:newscodes/)?digitalsourcetype[/#:]", re.IGNORECASE
)
_C2PA = re.compile(r"\s*(?:https?://)?(?:www\.)?c2pa\.org/digitalsourcetype/(\w{1,60})", re.IGNORECASE)
_QCODE = re.compile(r"digsrctype:", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s_\-]+")


def term_of(value: str) -> str:
    """Return the term in a value, a URL, a QCode or a bare term, in IPTC's spelling; "" if there is none.

    C2PA's own terms are returned unchanged.
    """
    value = value[:200].strip()
    term = _QCODE.sub("", _LISTS.sub("", value, count=1), count=1).rstrip("/#")
    known = _TERMS.get(_SEPARATORS.sub("", term).lower(), "")
    own = _C2PA.match(value)
    return known or (own.group(1) if own else "")


def meaning_of(term: str) -> tuple[str, bool]:
    """Return the kind of claim of a term, "" for none, and whether it is about part of the picture."""
    term = _TERMS.get(term.lower(), term)
    if term in AI_WHOLE | AI_PART:
        return "ai", term in AI_PART
    return ("camera" if term in CAMERA else ""), False
