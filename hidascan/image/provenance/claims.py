"""Collect claims of origin from a file: C2PA, EXIF, XMP, IPTC, text chunks, comments, hidden parameters.

A claim never changes the score. Only C2PA is signed; anyone can add or remove the others.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

from PIL import Image

from hidascan.image.provenance.catalogue import NO_NAME, Tool, is_negative, meaning_of, states_ai, term_of, tool_in
from hidascan.image.provenance.claim import UNNAMED, Claim
from hidascan.image.provenance.fields import PNG_TEXT, Field
from hidascan.image.provenance.manifest import Manifest, Statement
from hidascan.image.provenance.statements import AI_ASSERTIONS, is_library
from hidascan.image.provenance.structures import (
    COMFYUI,
    generates_nothing,
    generator_of,
    generator_of_keys,
    is_inpainted,
    is_signed_by_xai,
)
from hidascan.image.provenance.tags import camera_name
from hidascan.image.provenance.texts import read_stealth
from hidascan.image.provenance.writers import writer_in

_NAME, _DETAIL = 80, 200  # maximum number of characters shown
_MAX_CLAIMS = 100
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
_SIGNED_BY_XAI = (
    ("EXIF ImageDescription", "EXIF Artist"),
    ("XMP dc:description", "XMP dc:creator"),
    ("PNG text Description", "PNG text Author"),
    ("IPTC Caption", "IPTC By-line"),
)
_ADDRESS = re.compile(r"https?://|\w+:\S+$", re.IGNORECASE)
_UNKNOWN = frozenset({"unknown", "unspecified", "unbekannt"})
_AI_KINDS = ("ai system", "ai version", "ai prompt writer", "ai prompt")
_TAGS = ("software", "credit", "make", "model", "history")  # kinds of fields written by tools
_SUBJECTS = {  # endings of statements that may describe the subject of a picture
    "caption": re.compile(r"\bimages\W*$", re.IGNORECASE),
    "topic": re.compile(r"\b(?:images|content)\W*$", re.IGNORECASE),
}
_ASSERTION, _MODEL = "C2PA assertion ", ", Model"
_CREATED, _OPENED, _PLACED = "C2PA action c2pa.created", "C2PA action c2pa.opened", "C2PA action c2pa.placed"
# What an app does to a picture without inventing content.
_MECHANICAL = frozenset(
    {
        "converted", "cropped", "resized", "resized.proportional", "transcoded", "repackaged", "published",
        "orientation", "redacted", "edited.metadata", "watermarked", "watermarked.bound", "watermarked.unbound",
        "color_adjustments", "adjustedColor", "trimmed",
    }
)  # fmt: skip
_STRENGTH = {"valid": "trusted", "unverified": "signed"}  # of a claim, by the status of its signature
_WEAKEST = ("valid", "", "unverified", "broken")  # signature statuses, best first ("": no signature)
# Values of EXIF Make and Model that name no camera.
_NO_CAMERA = re.compile(
    r"[\W_0]*|unknown|none|null|n/?a|not available|undefined|default string|camera|make|model", re.IGNORECASE
)
# The name of a lens with that of its phone and nothing else; a number or a side of the phone tells it from "Pixel art".
_CAMERA_OF_LENS = re.compile(
    r"(?=.*(?:\d|\b(?:front|back|rear)\b.*\bcamera\b))(?:(?:apple|samsung|google)\s+)?(?:iphone|ipad|ipod|galaxy|pixel)"
    r"(?:[\s(),/\-]+(?:pro|max|plus|mini|air|se|x[sr]?|ultra|fe|xl|fold|flip|note|tab|z|a|touch|nx|5g|front|back|rear|dual|triple"
    r"|quad|ultra-?wide|wide|angle|tele(?:photo)?|macro|truedepth|main|camera|lens|inch|gen(?:eration)?|[as]?\d{1,3}[acefs]?(?:\+)?"
    r"|\d+(?:st|nd|rd|th)|\d+(?:[.,]\d+)?(?:-inch|\s?mm)|f/?\d+(?:[.,]\d+)?|\d{2}-\d{2,3}mm)(?![\w.]))*\)?",
    re.IGNORECASE,
)
_GENERATIVE = re.compile(r"generat|firefly|\bAI\b", re.IGNORECASE)  # in a step of a history; a quick test
_LABEL = re.compile(r"software:\s*", re.IGNORECASE)  # in front of a name in a comment
_MAX_STEPS = 100  # such steps in one history


def read_claims(image: Image.Image, fields: list[Field], manifest: Manifest | None) -> tuple[Claim, ...]:
    """Return all claims in a loaded image, its metadata fields and its C2PA manifest, strongest first."""
    signed = [_fit_to_show(claim) for claim in _of_manifest(manifest)]
    fields = [one for field in fields for one in _by_value(field)]
    structures = {field: name for field in fields if (name := generator_of(field.text))}
    plain = [field for field in fields if field not in structures]
    named = _of_names(plain, {field.source for field in structures if field.kind in ("make", "model")})
    if any(one.kind == "camera" for one in (*signed, *named)):  # so topics are about what the photo shows
        topics = {field.name for field in plain if field.kind == "topic"}
        named = [one for one in named if one.text != NO_NAME or one.field not in topics]
    idle = [field for field in plain if generates_nothing(field.text)]
    if idle:  # `workflow` may also hold nodes that did not run
        structures = {field: name for field, name in structures.items() if name != COMFYUI}
        named = [replace(one, kind="software") if one.text == COMFYUI else one for one in named]
    prompts = [field for field in structures if '"class_type"' in field.text]  # of ComfyUI, the nodes that ran
    decisive = {name: prompts if name == COMFYUI and prompts else [*structures] for name in structures.values()}
    repainted = {name for field, name in structures.items() if field in decisive[name] and is_inpainted(field.text)}
    unsigned = [_claim(field, "ai", name) for field, name in structures.items()]
    unsigned += [_claim(field, "software", COMFYUI) for field in idle]
    unsigned += [*named, *_of_ai_system(plain), *_of_xai(plain), *_of_pixels(image)]
    if not any(field.source == "png" for field in structures):
        unsigned += _of_png_keys(plain)
    unsigned = [replace(one, part=True) if one.text in repainted and one.kind == "ai" else one for one in unsigned]
    return tuple(sorted(_without_duplicates(signed + unsigned), key=Claim.rank)[:_MAX_CLAIMS])


def _of_names(fields: list[Field], overwritten: set[str]) -> list[Claim]:
    """Return the claims by names of tools and cameras, and by source types.

    Args:
        fields: Metadata fields without structures.
        overwritten: Containers in which a structure stands in place of a camera.
    """
    claims = [claim for field in fields if field.kind in _BY_KIND for claim in _BY_KIND[field.kind](field)]
    cameras = [one for one in _of_camera(fields) if one.source not in overwritten]
    if cameras:
        claims = [replace(one, kind="software") if _is_of_glasses(one) else one for one in claims]
    declared = _source_types(fields)
    edited = ("ai", True) in declared and ("ai", False) not in declared
    return [replace(one, part=True) if edited and one.kind == "ai" else one for one in (*claims, *cameras)]


def _is_of_glasses(claim: Claim) -> bool:
    """Return whether a claim is that of Meta's glasses, which name a camera, too; a generator names none."""
    return (claim.text, claim.field) == ("Meta AI", "EXIF Software")


def _without_duplicates(claims: list[Claim]) -> list[Claim]:
    """Drop duplicates: the same field, or the same program or camera in the same container."""
    kept: dict[tuple[object, ...], Claim] = {}
    for claim in claims:
        alike = claim.field if claim.kind == "ai" else ""
        kept.setdefault((claim.kind, claim.source, claim.text, claim.part, claim.signature, alike), claim)
    return list(kept.values())


def _of_software(field: Field) -> Iterator[Claim]:
    tool = tool_in(_line(field.text), "software")
    if tool and tool.means != "software":
        yield _by_tool(field, tool)
    elif name := shown(field.text, _NAME):
        yield _claim(field, "software", name)


def _by_catalogue(field: Field) -> Iterator[Claim]:
    if (tool := tool_in(_line(field.text), field.kind)) and tool.means != "software":
        yield _by_tool(field, tool)


def _of_comment(field: Field) -> Iterator[Claim]:
    """Yield the generator that a comment names, or else the program that wrote the file."""
    line = _line(field.text)
    tool = tool_in(line, "comment") or tool_in(_LABEL.sub("", line), "comment")
    if tool and tool.means != "software":
        yield _by_tool(field, tool)
    elif writer := writer_in(field.text):
        yield _claim(field, "software", writer, strength="text")


def _of_history(field: Field) -> Iterator[Claim]:
    """Yield the generators that steps of Photoshop's log name; they made a part, as the log starts from a picture."""
    lines = (line.strip() for line in re.split(r"[\r\n\t]+", field.text))
    steps = dict.fromkeys(line for line in lines if _GENERATIVE.search(line))
    for step in islice(steps, _MAX_STEPS):
        if (tool := tool_in(step, "comment")) and tool.means != "software":
            yield replace(_by_tool(replace(field, text=step), tool), part=True)


def _of_caption(field: Field) -> Iterator[Claim]:
    """Yield what a caption or a topic states: a generator, or the program that wrote the file.

    "AI-generated images" may be what the picture shows.
    """
    tool = tool_in(_line(field.text), "text", aside=field.kind != "topic")
    if (
        tool
        and tool.means != "software"
        and not (tool.name == NO_NAME and _SUBJECTS[field.kind].search(_line(field.text)))
    ):
        yield _by_tool(field, tool)
    elif tool is None and field.kind == "caption" and (writer := writer_in(field.text, is_caption=True)):
        yield _claim(field, "software", writer, strength="text")


def _by_value(field: Field) -> list[Field]:
    """Split a list of source types into one field per value; keep the field whole if any value is not a source type."""
    if field.kind != "source type" or len(field.text) > _DETAIL:
        return [field]
    values = dict.fromkeys(value for part in re.split(r"[;,；，]", field.text) if (value := part.strip()))
    known = values and all(term_of(value) or states_ai(value) for value in values)
    return [replace(field, text=value) for value in values] if known else [field]


def _of_source_type(field: Field) -> Iterator[Claim]:
    """Yield the claim of a source type: a term, the name of a generator, or else the value unchanged."""
    term = term_of(field.text)
    kind, part = meaning_of(term)
    if term == "empty" or (field.of_part and term and kind != "ai"):
        return  # C2PA's term for a file without content; a photographed or drawn part says nothing about the picture
    if term:
        yield _claim(field, kind or "software", term, part)
    elif states_ai(field.text):
        yield _claim(field, "ai", NO_NAME)
    elif (tool := tool_in(_line(field.text), "credit")) and tool.means != "software":
        yield _claim(field, "ai", tool.name, tool.means == "ai-edit")
    elif not field.of_part and (value := _last_part(field.text)) and not (_states_nothing(value) or _asks(value)):
        yield _claim(field, "software", value)


def _asks(text: str) -> bool:
    return "?" in text or "？" in text


def _last_part(text: str) -> str:
    """Return a text, or the last part of an address, such as a term that is not yet known."""
    text = shown(text)
    return re.split(r"[/#:]", text.partition("?")[0])[-1] if _ADDRESS.match(text) else text


_BY_KIND: dict[str, Callable[[Field], Iterator[Claim]]] = {
    "software": _of_software,
    "credit": _by_catalogue,
    "creator": _by_catalogue,
    "comment": _of_comment,
    "history": _of_history,
    "text": _by_catalogue,
    "caption": _of_caption,
    "topic": _of_caption,
    "source type": _of_source_type,
}


def _of_camera(fields: list[Field]) -> Iterator[Claim]:
    """Yield the camera named in EXIF or else XMP, or else that of a lens.

    A field with a generator's name or structure does not count.
    """
    stated = False  # whether there are a make or a model
    for source in ("exif", "xmp"):
        named = [
            next(
                (field for field in fields if (field.source, field.kind, field.of_part) == (source, kind, False)), None
            )
            for kind in ("make", "model")
        ]
        known = [field for field in named if field and not _NO_CAMERA.fullmatch(_line(field.text))]
        both = " ".join(_line(field.text) for field in known)
        texts = [(field, text) for field in known for text in (_line(field.text), both)]
        tools = [(field, tool) for field, text in texts if (tool := tool_in(text, "creator"))]
        if not tools and named[0] in known and (tool := tool_in(both, "software")):
            tools = [(named[0], tool)] if tool.means == "ai" and tool.name != "Meta AI" else []
        if tools:
            yield _by_tool(*tools[0])
        make, model = (shown(field.text, _NAME) if field in known and field else "" for field in named)
        if known and not tools and all(_is_name(field.text) for field in known) and (make or model):
            yield Claim("camera", source, camera_name(make, model), field=known[-1].name, strength="tag")
            return
        stated = stated or bool(known)
    if not stated and (lens := next(filter(_names_a_camera, fields), None)):
        yield _claim(lens, "camera", _line(lens.text))


def _names_a_camera(field: Field) -> bool:
    """Return whether a field is the name of a lens with that of its camera: "iPhone 15 Pro back camera 6.8mm f/1.8"."""
    text = _line(field.text)
    is_lens = field.kind == "lens" and not field.of_part and _is_name(text) and bool(_CAMERA_OF_LENS.fullmatch(text))
    return is_lens and tool_in(text, "software") is None


def _is_name(text: str) -> bool:
    return (
        len(text) <= _NAME
        and not set("{}[]:\n") & set(text)
        and not text.endswith((".safetensors", ".ckpt", ".gguf", ".pt", ".pth", ".onnx"))
    )


def _of_ai_system(fields: list[Field]) -> Iterator[Claim]:
    """Yield the AI system of IPTC 2025; it made only a part unless the source type is fully AI."""
    found = {field.kind: field for field in reversed(sorted(fields, key=lambda field: field.of_part))}
    by_kind = {kind: found[kind] for kind in _AI_KINDS if kind in found and not _is_unknown(found[kind].text)}
    if not by_kind:
        return
    system, version = by_kind.get("ai system"), by_kind.get("ai version")
    if system and _names_no_system(system.text):
        return
    terms = _source_types(fields)
    if not system and all(_states_nothing(field.text) for field in by_kind.values()):
        return
    text = " ".join(field.text for field in (system, version) if field) if system else "an AI system"
    detail = "; ".join(f"{field.name.rpartition(':')[2]}: {shown(field.text, 80)}" for field in by_kind.values())
    # A person's name is often filled in for all pictures of a batch.
    strength = "text" if [*by_kind] == ["ai prompt writer"] else "tag"
    tool = tool_in(system.text, "agent") if system else None
    part = ("ai", False) not in terms if terms else bool(tool and tool.means == "ai-edit")
    claim = _claim(system or next(iter(by_kind.values())), "ai", text, part, strength)
    yield replace(claim, detail=shown(detail))


def _source_types(fields: list[Field]) -> set[tuple[str, bool]]:
    """Return the meanings of the source types of the whole picture, as `meaning_of` gives them."""
    types = [field for field in fields if field.kind == "source type" and not field.of_part]
    return {meaning_of(term) for field in types if (term := term_of(field.text))}


def _is_unknown(text: str) -> bool:
    return text.strip(" .!").lower() in _UNKNOWN


def _names_no_system(text: str) -> bool:
    """Return whether the name of an AI system denies AI, or is unknown; a prompt may well contain "no" or "without"."""
    denied = bool(_NO_SYSTEM.fullmatch(text.strip(" .!"))) or (is_negative(text) and not tool_in(text[:200], "agent"))
    return denied or _states_nothing(text)


def _states_nothing(text: str) -> bool:
    """Return whether the name of an AI system says that there was none, or that it is unknown."""
    text = text.strip(" .!-()[]")
    patterns = (_NOT_USED.fullmatch, _DENIED.match, _NOT_USED_AFTER.search)
    return not text or _is_unknown(text) or any(pattern(text) for pattern in patterns)


def _of_xai(fields: list[Field]) -> Iterator[Claim]:
    texts = {field.name: field for field in reversed(fields) if not field.of_part}
    for description, artist in _SIGNED_BY_XAI:
        if {description, artist} <= texts.keys() and is_signed_by_xai(texts[description].text, texts[artist].text):
            yield _claim(texts[description], "ai", "Grok")


def _of_png_keys(fields: list[Field]) -> Iterator[Claim]:
    """Yield the generator whose parameters are separate text chunks, such as Easy Diffusion."""
    keys = {field.name.removeprefix(PNG_TEXT): field.text for field in fields if field.source == "png"}
    if name := generator_of_keys(keys):
        yield Claim("ai", "png", name, detail=shown(", ".join(keys)), field="PNG text keys", strength="tag")


def _of_pixels(image: Image.Image) -> Iterator[Claim]:
    hidden = read_stealth(image)
    if hidden is not None:
        channels, text = hidden
        name, part = generator_of(text) or "hidden parameters", is_inpainted(text)
        yield Claim(
            "ai", "pixels", name, detail=shown(text), part=part, field=f"lowest bits of {channels}", strength="tag"
        )


def _claim(field: Field, kind: str, text: str, part: bool = False, strength: str = "tag") -> Claim:
    detail = shown(field.text)
    name = shown(text, _NAME)
    part = kind == "ai" and (part or field.of_part)
    return Claim(
        kind,
        field.source,
        name,
        detail="" if detail == name else detail,
        part=part,
        field=shown(field.name, _NAME),
        strength=strength,
    )


def _by_tool(field: Field, tool: Tool) -> Claim:
    strength = "tag" if field.kind in _TAGS else "text"
    return _claim(field, "ai", tool.name, tool.means == "ai-edit", strength)


def _fit_to_show(claim: Claim) -> Claim:
    return replace(claim, text=shown(claim.text, _NAME), detail=shown(claim.detail, 2 * _DETAIL))


def _line(text: str) -> str:
    return shown(text, 4 * _DETAIL)


def shown(text: str, longest: int = _DETAIL) -> str:
    """Return the beginning of a text as one line, without unprintable and direction characters."""
    text = text[: 4 * longest]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " if c.isspace() or c < " " else "" for c in text)
    return re.sub("  +", " ", text).strip()[:longest]


def _of_manifest(manifest: Manifest | None) -> Iterator[Claim]:
    """Yield the claims of a manifest on its file, and on generated or photographed ingredients.

    An AI claim about the parent of a picture covers the whole picture, unless another picture was added to it.
    """
    if manifest is None:
        return
    yield from _of_one_manifest(manifest)
    yield from _of_ingredients(manifest, True, signature=manifest.signature)


def _of_ingredients(
    manifest: Manifest, of_whole: bool, placed: bool = False, signature: str = "valid"
) -> Iterator[Claim]:
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
        whole = of_whole and one.relationship == "parentOf"
        inside = placed or one.relationship != "parentOf"
        weakest = max(signature, one.signature or signature, key=_WEAKEST.index)
        for claim in _of_one_manifest(one):
            if claim.kind != "software":
                detail = f"{f'an ingredient, {one.title}'.rstrip(', ')}: {claim.detail}"
                part = claim.part or (not whole if claim.kind == "ai" else inside)
                strength = _STRENGTH.get(weakest, "text")
                yield replace(claim, part=part, detail=detail, signature=weakest, strength=strength)
        yield from _of_ingredients(one, whole, inside, weakest)


def _of_one_manifest(manifest: Manifest) -> Iterator[Claim]:
    """Yield the strongest AI claim, a camera claim, or else a software claim."""
    ai = _ai_statements(manifest)
    cameras = [one for one in manifest.statements if _is_camera(one)]
    if ai:
        part, statement = min(ai, key=lambda pair: (pair[0], not pair[1].source_type))
        yield _signed_claim("ai", manifest, statement, part)
    if cameras:
        cameras.sort(key=lambda one: not one.field.endswith(_MODEL))  # an app may have acted
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
    done = {*manifest.actions} - {"opened"}
    if edited and manifest.actions and done <= _MECHANICAL:  # an app such as ChatGPT only opened or converted a photo
        generated = [one for one in generated if _declares_ai(one) or _names_an_edit(one)]
    placed = any(one.relationship == "componentOf" and not _is_generated(one) for one in manifest.ingredients)
    drawn = placed or "drawing" in manifest.actions
    drawn |= any(
        one.field == _CREATED and one.source_type not in ("", "empty") for one in manifest.statements if not _is_ai(one)
    )
    acted = [one for one in manifest.statements if one.field.startswith("C2PA action c2pa.")]
    acted = [one for one in acted if one.field.removeprefix("C2PA action c2pa.") not in {*_MECHANICAL, "opened"}]
    undeclared = ("", "empty", "algorithmicMedia")
    if acted and all(one.source_type not in undeclared for one in acted):  # so the name of the app adds nothing
        generated = [one for one in generated if one.field != "C2PA claim generator"]
    return [(_is_part(one, edited, drawn), one) for one in generated]


def _names_an_edit(statement: Statement) -> bool:
    """Return whether a statement names more than an app: a generator in an assertion, or a generative edit."""
    of_app = statement.field == "C2PA claim generator"
    return statement.field.startswith(_ASSERTION) or (not of_app and _tool_means(statement) == "ai-edit")


def _had_picture(manifest: Manifest) -> bool:
    """Return whether a file was made from a photo, or from another picture that was not generated."""
    parents = [one for one in manifest.ingredients if one.relationship == "parentOf"]
    opened = any(not _is_generated(one) for one in parents) if parents else "opened" in manifest.actions
    return opened or any(map(_is_camera, manifest.statements))


@functools.lru_cache(maxsize=256)  # a parent is asked for again by each of its descendants
def _is_generated(manifest: Manifest) -> bool:
    """Return whether the whole picture of a manifest was generated."""
    return any(not claim.part for claim in _of_manifest(manifest) if claim.kind == "ai")


def _is_camera(statement: Statement) -> bool:
    named = statement.field.endswith(_MODEL) and not _is_ai(statement)
    return named or meaning_of(statement.source_type)[0] == "camera"


def _is_within(statement: Statement) -> bool:
    """Return whether a statement is about a placed picture, a region, or an artwork in the picture."""
    place, _, name = statement.field.partition(", ")
    return place == _PLACED or (place.startswith(_ASSERTION) and name not in ("", "Model"))


def _is_ai(statement: Statement) -> bool:
    kind, _ = meaning_of(statement.source_type)
    by_hand = statement.source_type in ("humanEdits", "minorHumanEdits")
    return _declares_ai(statement) or (not kind and not by_hand and _tool_means(statement) in ("ai", "ai-edit"))


def _declares_ai(statement: Statement) -> bool:
    """Return whether a statement declares AI, by more than the name of a tool."""
    declared = statement.field.startswith(tuple(f"C2PA assertion {label}" for label in AI_ASSERTIONS))
    declared |= statement.field.endswith("AISystemUsed") and not _names_no_system(statement.agent)
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
        return edited or (drawn and place not in (_CREATED, _OPENED) and not place.startswith(_ASSERTION))
    if place.startswith(_ASSERTION):
        return bool(property_name)  # a region, or an artwork in the picture
    return (edited or drawn) and place not in (_CREATED, _OPENED)


@functools.lru_cache(maxsize=1024)
def _tool_means(statement: Statement) -> str:
    tool = tool_in(statement.agent, "agent")
    return tool.means if tool else ""
