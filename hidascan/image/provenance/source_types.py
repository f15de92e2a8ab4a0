"""IPTC digital source types, which state how a picture was made: cv.iptc.org/newscodes/digitalsourcetype."""

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
# IPTC's labels of terms, present and former ones, and what people write instead of the term for generated pictures.
_LABELS = {
    "digitalCapture": ("Digital capture sampled from real life", "Original digital capture sampled from real life"),
    "computationalCapture": ("Multi-frame computational capture sampled from real life",),
    "negativeFilm": ("Digitised from a transparent negative", "Digitised from a negative on film"),
    "positiveFilm": ("Digitised from a transparent positive", "Digitised from a positive on film"),
    "print": ("Digitised from a non-transparent medium", "Digitised from a print on non-transparent medium"),
    "minorHumanEdits": ("Original media with minor human edits",),
    "humanEdits": ("Human-edited media",),
    "algorithmicallyEnhanced": ("Algorithmically-altered media", "Algorithmically-enhanced media"),
    "softwareImage": ("Created by software",),
    "algorithmicMedia": ("Pure algorithmic media",),
    "virtualRecording": ("Virtual event recording",),
    "composite": ("Composite of elements",),
    "compositeCapture": ("Composite of captured elements",),
    "compositeSynthetic": ("Composite including generative AI elements", "Composite including synthetic elements"),
    "compositeWithTrainedAlgorithmicMedia": (
        "Edited using generative AI", "Edited with generative AI", "Composite with generative AI", "Composite with AI",
    ),
    "trainedAlgorithmicMedia": (
        "Created using generative AI", "Created with generative AI", "Generative AI", "Gen AI", "AI-generated", "AI-generated media",
    ),
}  # fmt: skip
_SEPARATORS = re.compile(r"[\s_\-]+")
_ADDRESS_OR_CODE = re.compile(r"\S*[/:#]\S*")  # before its query; elsewhere a "?" asks
_LISTS = re.compile(
    r"(?:https?://)?(?:www\.)?(?:cv\.)?(?:iptc|c2pa)\.org/(?:newscodes/)?digitalsourcetype[/#:]", re.IGNORECASE
)
_C2PA = re.compile(r"\s*(?:https?://)?(?:www\.)?c2pa\.org/digitalsourcetype/(\w{1,60})", re.IGNORECASE)
_QCODE = re.compile(r"(?:digsrctype|iptc|c2pa):|(?:https?://)?schema\.org/", re.IGNORECASE)
_OTHER_LISTS = re.compile(r"urn:iptc:|\S+/digsrctype/", re.IGNORECASE)
_SCHEMA_ORG = re.compile(r"DigitalSource$", re.IGNORECASE)  # suffix of schema.org's names of the same types


def _joined(words: str) -> str:
    """Join words in lower case, the form in which terms are compared; IPTC writes "digitised" in British English."""
    return _SEPARATORS.sub("", words).lower().replace("digitized", "digitised")


_TERMS = {term.lower(): term for term in AI_WHOLE | AI_PART | CAMERA | OTHERS}
_TERMS |= {_joined(label): term for term, labels in _LABELS.items() for label in labels}


def term_of(value: str) -> str:
    """Return the term in a value, a URL, a QCode or a bare term, in IPTC's spelling; "" if there is none.

    C2PA's own terms are returned unchanged.
    """
    value = value[:200].strip(" <>\t\r\n\"'“”;.")
    address, _, _ = value.partition("?")
    value = address if _ADDRESS_OR_CODE.fullmatch(address) else value
    if _OTHER_LISTS.match(value):
        value = re.split(r"[/#:]", value.rstrip("/#"))[-1]
    term = _QCODE.sub("", _LISTS.sub("", value, count=1), count=1).rstrip("/#")
    term = _SCHEMA_ORG.sub("", term)
    known = _TERMS.get(_joined(term)) or _TERMS.get(re.split(r"[/#:]", term)[-1].lower(), "")
    own = _C2PA.match(value)
    return known or (own.group(1) if own else "")


def label_of(term: str) -> str:
    """Return IPTC's label of a term, or else the text unchanged."""
    return _LABELS[term][0] if term in _LABELS else term


def meaning_of(term: str) -> tuple[str, bool]:
    """Return the kind of claim of a term, "" for none, and whether it is about part of the picture."""
    term = _TERMS.get(term.lower(), term)
    if term in AI_WHOLE | AI_PART:
        return "ai", term in AI_PART
    return ("camera" if term in CAMERA else ""), False
