"""Claims of origin, and their comparison with the verdict."""

from __future__ import annotations

import re
from dataclasses import dataclass

AIGC_LABEL = " (AIGC label)"  # end of the text of a claim by China's label, which edited pictures carry, too
UNNAMED = "unnamed"  # name of a signer or software that is not stated
NO_NAME = "AI"  # generator that a text states without its name
# Texts of claims that describe a generator, as the file does not name it.
SOME_MODEL, SOME_SERVICE, SOME_SYSTEM = "a diffusion model", "an AI service", "an AI system"
PARAMETERS, HIDDEN = "Stable Diffusion parameters", "hidden parameters"
DESCRIBED = frozenset({SOME_MODEL, SOME_SERVICE, SOME_SYSTEM, PARAMETERS, HIDDEN})
MAX_NAME, MAX_DETAIL = 80, 200  # characters shown
_KINDS = ("ai", "camera", "software")
_STRENGTHS = {
    "trusted": "signed by a trusted signer",
    "signed": "signed, signer not verified",
    "tag": "unsigned tag",
    "text": "unsigned plain text",
}


@dataclass(frozen=True)
class Claim:
    """One statement about the origin of an image.

    Attributes:
        kind: "ai", made or changed by a generator; "camera"; or "software", an editor.
        source: Container of the claim: "c2pa", "xmp", "exif", "iptc", "png", "comment" or "pixels".
        text: Generator, camera or software.
        signature: C2PA status "valid", "unverified" (intact, but the signer is not trusted) or "broken"; "" without a
            signature.
        detail: Text of the field, or details of the statement.
        part: True if the claim concerns only part of the picture, such as a generative fill or an inserted photo.
        field: Name of the field, such as "EXIF Software" or "C2PA action c2pa.created".
        strength: "trusted", signed by a signer on the user's trust list; "signed", by any other; "tag", written by a
            tool in its own field or structure; or "text", plain words.
    """

    kind: str
    source: str
    text: str
    signature: str = ""
    detail: str = ""
    part: bool = False
    field: str = ""
    strength: str = ""

    def short(self) -> str:
        """Return a short form, such as `png:ComfyUI` or `c2pa:Azure OpenAI ImageGen`."""
        return f"{self.source}:{self.text}"[:MAX_NAME]

    def rank(self) -> tuple[int, int, bool]:
        """Return the sort key: generators before cameras, as no photo is marked as AI by mistake; strength; wholes first."""
        strengths = [*_STRENGTHS]
        strength = strengths.index(self.strength) if self.strength in strengths else len(strengths)
        return _KINDS.index(self.kind), strength, self.part


def claim_strength(claim: Claim) -> str:
    """Describe the reliability of a claim: `signed by a trusted signer`, `unsigned tag`."""
    return "signature broken" if claim.signature == "broken" else _STRENGTHS.get(claim.strength, "unsigned")


def conflict(claims: tuple[Claim, ...], verdict: str) -> str:
    """Return a note if claims and verdict conflict; "" if not."""
    if not claims:
        return ""
    first = claims[0]
    if verdict == "ai" and first.kind == "camera" and not first.part:
        return f"conflict: the file states that it comes from a camera or scanner ({first.short()}), but its pixels look AI-made"
    if verdict == "real" and first.kind == "ai":
        what = "a part of it" if first.part else "it"
        if first.text.endswith(AIGC_LABEL):
            what = "it, or a part of it,"
        return f"conflict: the file states that {what} is AI-made ({first.short()}), but the verdict from its pixels is real"
    return ""


def shown(text: str, longest: int = MAX_DETAIL) -> str:
    """Return the beginning of a text as one line, without unprintable and direction characters."""
    text = text[: 4 * longest]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " if c.isspace() or c < " " else "" for c in text)
    return re.sub("  +", " ", text).strip()[:longest]
