"""Derive claims of origin from single metadata fields, by their kind and the names of tools and source types in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from hidascan.image.provenance.catalogue import Tool, states_ai, tool_in
from hidascan.image.provenance.claim import MAX_DETAIL, MAX_NAME, NO_NAME, Claim, shown
from hidascan.image.provenance.denials import states_nothing
from hidascan.image.provenance.fields import Field
from hidascan.image.provenance.source_types import meaning_of, term_of
from hidascan.image.provenance.writers import writer_in

_TAGS = ("software", "credit", "make", "model", "history")  # kinds of fields written by tools
_SUBJECTS = {  # endings of statements that may describe the subject of a picture
    "caption": re.compile(r"\bimages\W*$", re.IGNORECASE),
    "topic": re.compile(r"(?:\b(?:images|content)|内容)\W*$", re.IGNORECASE),
}
_GENERATIVE = re.compile(r"generat|firefly|\bAI\b", re.IGNORECASE)  # in a step of a history; a quick test
_MAX_STEPS = 100  # such steps in one history
_LABEL = re.compile(r"software:\s*", re.IGNORECASE)  # in front of a name in a comment
_ADDRESS = re.compile(r"https?://|\w+:\S+$", re.IGNORECASE)


def claims_of_field(field: Field) -> Iterator[Claim]:
    """Yield the claims of a field without structure, except for cameras and AI systems, which several fields describe."""
    if field.kind in _BY_KIND:
        yield from _BY_KIND[field.kind](field)


def _software_claims(field: Field) -> Iterator[Claim]:
    tool = tool_in(searchable(field.text), "software")
    if tool and tool.means != "software":
        yield claim_of_tool(field, tool)
    elif name := shown(field.text, MAX_NAME):
        yield claim_of(field, "software", name)


def _catalogue_claims(field: Field) -> Iterator[Claim]:
    if (tool := tool_in(searchable(field.text), field.kind)) and tool.means != "software":
        yield claim_of_tool(field, tool)


def _comment_claims(field: Field) -> Iterator[Claim]:
    """Yield the generator that a comment names, or else the program that wrote the file."""
    line = searchable(field.text)
    tool = tool_in(line, "comment") or tool_in(_LABEL.sub("", line), "comment")
    if tool and tool.means != "software":
        yield claim_of_tool(field, tool)
    elif writer := writer_in(field.text):
        yield claim_of(field, "software", writer, strength="text")


def _history_claims(field: Field) -> Iterator[Claim]:
    """Yield the generators that steps of Photoshop's log name; they made a part, as the log starts from a picture."""
    lines = (line.strip() for line in re.split(r"[\r\n\t]+", field.text))
    steps = dict.fromkeys(line for line in lines if _GENERATIVE.search(line))
    for step in islice(steps, _MAX_STEPS):
        if (tool := tool_in(step, "comment")) and tool.means != "software":
            yield replace(claim_of_tool(replace(field, text=step), tool), part=True)


def _caption_claims(field: Field) -> Iterator[Claim]:
    """Yield what a caption or a topic states: a generator, or the program that wrote the file.

    "AI-generated images" may be what the picture shows.
    """
    tool = tool_in(searchable(field.text), "text", aside=field.kind != "topic")
    if (
        tool
        and tool.means != "software"
        and not (tool.name == NO_NAME and _SUBJECTS[field.kind].search(searchable(field.text)))
    ):
        yield claim_of_tool(field, tool)
    elif tool is None and field.kind == "caption" and (writer := writer_in(field.text, is_caption=True)):
        yield claim_of(field, "software", writer, strength="text")


def _source_type_claims(field: Field) -> Iterator[Claim]:
    """Yield the claim of a source type: a term, the name of a generator, or else the value unchanged."""
    term = term_of(field.text)
    kind, part = meaning_of(term)
    if term == "empty" or (field.of_part and term and kind != "ai"):
        return  # C2PA's term for a file without content; a photographed or drawn part says nothing about the picture
    if term:
        yield claim_of(field, kind or "software", term, part)
    elif states_ai(field.text):
        yield claim_of(field, "ai", NO_NAME)
    elif (tool := tool_in(searchable(field.text), "credit")) and tool.means != "software":
        yield claim_of(field, "ai", tool.name, tool.means == "ai-edit")
    elif not field.of_part and (value := _last_part(field.text)) and not (states_nothing(value) or _asks(value)):
        yield claim_of(field, "software", value)


def _canva_claims(field: Field) -> Iterator[Claim]:
    """Yield Canva's statement that a design contains AI-made content, which may be a part of it."""
    if field.text.strip().lower() in ("yes", "true"):
        yield claim_of(field, "ai", "Canva", part=True)


def _asks(text: str) -> bool:
    return "?" in text or "？" in text


def _last_part(text: str) -> str:
    """Return a text, or the last part of an address, such as a term that is not yet known."""
    text = shown(text)
    return re.split(r"[/#:]", text.partition("?")[0])[-1] if _ADDRESS.match(text) else text


def one_per_value(field: Field) -> list[Field]:
    """Split a list of source types into one field per value; keep the field whole if any value is not a source type."""
    if field.kind != "source type" or len(field.text) > MAX_DETAIL:
        return [field]
    values = dict.fromkeys(value for part in re.split(r"[;,；，]", field.text) if (value := part.strip()))
    known = values and all(term_of(value) or states_ai(value) for value in values)
    return [replace(field, text=value) for value in values] if known else [field]


def claim_of(field: Field, kind: str, text: str, part: bool = False, strength: str = "tag") -> Claim:
    """Return a claim by a field; only one of AI can concern part of the picture, as one by a field of a region does."""
    detail = shown(field.text)
    name = shown(text, MAX_NAME)
    part = kind == "ai" and (part or field.of_part)
    return Claim(
        kind,
        field.source,
        name,
        detail="" if detail == name else detail,
        part=part,
        field=shown(field.name, MAX_NAME),
        strength=strength,
    )


def claim_of_tool(field: Field, tool: Tool) -> Claim:
    """Return the AI claim of a field that names a generator; fields in which people write are plain text."""
    strength = "tag" if field.kind in _TAGS else "text"
    return claim_of(field, "ai", tool.name, tool.means == "ai-edit", strength)


def searchable(text: str) -> str:
    """Return the beginning of a text as one line, in which names of tools are sought."""
    return shown(text, 4 * MAX_DETAIL)


_BY_KIND: dict[str, Callable[[Field], Iterator[Claim]]] = {
    "software": _software_claims,
    "credit": _catalogue_claims,
    "creator": _catalogue_claims,
    "comment": _comment_claims,
    "history": _history_claims,
    "text": _catalogue_claims,
    "caption": _caption_claims,
    "topic": _caption_claims,
    "source type": _source_type_claims,
    "ai content of Canva": _canva_claims,
}
