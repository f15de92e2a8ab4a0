"""Collect the statements of C2PA actions and assertions about the making of a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hidascan.image.provenance.catalogue import Tool, tool_in
from hidascan.image.provenance.fields import kind_of_property
from hidascan.image.provenance.manifest import ACTION, ASSERTION, GENERATOR, MODEL, Statement
from hidascan.image.provenance.source_types import meaning_of, term_of
from hidascan.image.provenance.tags import camera_name

_MAX_LENGTH = 200
_MAX_ACTIONS, _MAX_RELATED, _MAX_VALUES = 500, 20, 500
# About less than the picture, or about another one.
_PARTS = (
    "ArtworkOrObject", "ImageRegion", "Regions", "regionOfInterest", "Ingredients", "hasPart", "Pantry", "DerivedFrom",
    "History",
)  # fmt: skip
_INGREDIENTS = ("instanceId", "ingredient", "ingredients", "ingredientIds")  # parameters of an action that name them
_OF_VALUES = frozenset({"@id", "@value", "@type", "@language", "id"})  # keys of a value in JSON-LD
_METADATA = ("c2pa.metadata", "cawg.metadata", "stds.")
_LIBRARY = re.compile(  # as the name of a claim generator, which says nothing on the tool
    r"(?:adobe_)?c2pa(?:[-_.]?(?:rs|python|node\w*|js|tool|c|ios|android|swift))?(?:[/ _]v?[\d.]+\w*)?"
    r"|(?:\w{1,20} )?c2pa (?:\w{1,20} ){0,2}(?:library|sdk)(?:[/ ]v?[\d.:]+)?",
    re.IGNORECASE,
)
_VERB = re.compile(r"[A-Z]\w{1,20}(?= by )")  # at the start of "Resized by Google Generative AI."
AI_ASSERTIONS = ("com.adobe.generative-ai", "c2pa.ai-disclosure", "c2pa.ai_generated_content")


def claim_generator_of(manifest: dict[str, Any]) -> str:
    """Return the software that wrote a C2PA claim, its "claim generator", AI or not; "" if none is named."""
    names = (plain(manifest.get("claim_generator")), *map(_name, _list(manifest.get("claim_generator_info"))))
    named = [name for name in names if name]
    return next((name for name in named if not is_library(name)), named[0] if named else "")


def is_library(agent: str) -> bool:
    """Return whether a name is only that of a library that writes manifests: "c2pa-rs/0.49", "Acme C2PA Library"."""
    return bool(_LIBRARY.fullmatch(agent))


def actions_of(manifest: dict[str, Any]) -> list[str]:
    """Return the names of the actions, in order."""
    return [plain(action.get("action")) for action in _actions(manifest)]


def opened_in(manifest: dict[str, Any]) -> set[str]:
    """Return the identifiers and labels of the ingredients that the actions of a manifest opened."""
    named: set[str] = set()
    for action in _actions(manifest):
        parameters = action.get("parameters")
        if action.get("action") == "c2pa.opened" and isinstance(parameters, dict):
            values = [value for key in _INGREDIENTS for value in _list(parameters.get(key))]
            links = [value.get("url") if isinstance(value, dict) else value for value in values]
            named |= {plain(link).rpartition("/")[2] for link in links}  # label at the end of a URL
    return named - {""}


def _actions(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for label, data in _assertions(manifest):
        if _is_actions(label):
            yield from (action for action in _list(data.get("actions")) if isinstance(action, dict))


def statements_of(manifest: dict[str, Any]) -> Iterator[Statement]:
    """Yield the statements of a manifest, in order.

    Args:
        manifest: One of the `manifests` of the report.
    """
    yield Statement(GENERATOR, agent=claim_generator_of(manifest))
    for label, data in _assertions(manifest):
        if _is_actions(label):
            yield from _action_statements(data, _list(manifest.get("claim_generator_info")))
        elif label.startswith(_METADATA):
            yield from _metadata_statements(f"{ASSERTION}{label}", data)
        elif label.startswith(AI_ASSERTIONS) and data.get("ai_generated") is not False:
            agent = next(
                (text for key in ("description", "modelName", "model", "name") if (text := plain(data.get(key)))), ""
            )
            yield Statement(f"{ASSERTION}{label}", agent=agent)


def plain(value: object) -> str:
    """Return printable text of bounded length; "" for values other than text."""
    text = value[:_MAX_LENGTH] if isinstance(value, str) else ""
    return "".join(c if c.isprintable() else " " for c in text).strip()


def _assertions(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for assertion in _list(manifest.get("assertions")):
        data = assertion.get("data") if isinstance(assertion, dict) else None
        if isinstance(data, dict):
            yield plain(assertion.get("label")), data


def _is_actions(label: str) -> bool:
    return label.startswith("c2pa.actions")


def _action_statements(data: dict[str, Any], infos: list[Any]) -> Iterator[Statement]:
    agents = _list(data.get("softwareAgents")) or infos
    actions = [one for one in _list(data.get("actions")) if isinstance(one, dict)][:_MAX_ACTIONS]
    names = {plain(one.get("action")) for one in actions}
    templates = [one for one in _list(data.get("templates")) if isinstance(one, dict)][:_MAX_ACTIONS]
    for action in (*actions, *(one for one in templates if plain(one.get("action")) in {"*", *names})):
        yield from _statements_of_action(action, agents)
        for related in _list(action.get("related"))[:_MAX_RELATED]:
            if isinstance(related, dict):
                yield from _statements_of_action(related, agents)


def _statements_of_action(action: dict[str, Any], agents: list[Any]) -> Iterator[Statement]:
    field = f"{ACTION}{plain(action.get('action'))}".strip()
    source_type = source_type_of(action.get("digitalSourceType"))
    agent = _name(action.get("softwareAgent")) or _by_index(agents, action.get("softwareAgentIndex"))
    agent = agent or _described(plain(action.get("description")), source_type)
    yield Statement(field, source_type, agent)
    parameters = action.get("parameters") or action.get("templateParameters")
    if isinstance(parameters, dict):
        nested = [
            (name, value)
            for _, name, value in _properties(parameters)
            if name.lower().endswith("digitalsourcetype")
            and (name not in parameters or isinstance(parameters[name], list))
        ]
        for key, value in (*parameters.items(), *nested):
            place = f"{field}, {plain(key)}"
            if key.lower().endswith("digitalsourcetype") and (source_type := source_type_of(value)):
                yield Statement(place, source_type, plain(parameters.get("com.adobe.details")) or agent)
            elif key.lower() in ("title", "dc:title"):
                continue  # title of a picture
            elif tool := tool_in(text := plain(value), "credit"):  # "Generative Remove"
                yield Statement(place, agent=_agent(tool, text))


def _described(description: str, source_type: str) -> str:
    """Return the agent in a description such as "Created by Google Generative AI."; if AI is declared, with any verb."""
    if meaning_of(source_type)[0] == "ai" and not tool_in(description, "credit"):
        description = _VERB.sub("Created", description, count=1) if _VERB.match(description) else ""
    tool = tool_in(description, "credit")
    if tool is None:
        return ""
    return description if tool.means == "ai-edit" else tool.name


def _agent(tool: Tool, text: str) -> str:
    """Return the name of a tool, or the whole text if only that states an edit, such as "Edited with Google AI"."""
    return tool.name if tool_in(tool.name, "agent") == tool else text


def _by_index(agents: list[Any], index: object) -> str:
    return _name(agents[index]) if isinstance(index, int) and 0 <= index < len(agents) else ""


def _name(agent: object) -> str:
    return plain(agent.get("name")) if isinstance(agent, dict) else plain(agent)


def _metadata_statements(field: str, data: dict[str, Any]) -> Iterator[Statement]:
    """Yield source types, generators and the camera in a metadata assertion.

    The name of a property follows in the field, except for the source type of the whole picture.
    """
    camera = {"make": "", "model": ""}
    for outer, name, value in _properties(data):
        kind, text = _kind(name), plain(_json_ld_value(value))
        if kind == "source type" and source_type_of(value):
            yield Statement(f"{field}, {outer}" if outer else field, source_type_of(value))
        elif outer or not text:
            continue
        elif kind in ("make", "model"):
            camera[kind] = camera[kind] or text
        elif kind == "ai system":
            yield Statement(f"{field}, {plain(name)}", agent=text)
        elif kind in ("software", "credit", "creator") and (tool := tool_in(text, kind)):
            yield Statement(f"{field}, {plain(name)}", agent=_agent(tool, text))
    if any(camera.values()):
        yield Statement(f"{field}{MODEL}", agent=camera_name(**camera))


def _kind(name: str) -> str:
    """Return the kind of a property; EXIF, TIFF and schema.org spell some of them in several ways."""
    local = name.rpartition(":")[2]
    if local.lower().endswith(("digitalsourcetype", "digitalsourcefiletype")):
        return "source type"
    return local.lower() if local in ("Make", "Model") else kind_of_property(name)


def _properties(data: dict[str, Any]) -> Iterator[tuple[str, str, object]]:
    """Yield (outer property that is about a part, name, value) of the values in a metadata assertion, at any depth."""
    waiting: list[tuple[str, str, Any]] = [("", "", data)]
    for _ in range(_MAX_VALUES):
        if not waiting:
            return
        outer, name, value = waiting.pop(0)
        if isinstance(value, list):
            waiting += [(outer, name, one) for one in value]
        elif isinstance(value, dict) and not value.keys() <= _OF_VALUES:
            outer = outer or (plain(name) if name.endswith(_PARTS) else "")
            waiting += [
                (outer, name if key == "@list" else key, one) for key, one in value.items() if key != "@context"
            ]
        else:
            yield outer, name, value


def source_type_of(value: object) -> str:
    """Return the term of a URI, a QCode, or a bare term: trainedAlgorithmicMedia."""
    text = plain(_json_ld_value(value))
    return term_of(text) or text.rstrip("/").replace("#", "/").replace(":", "/").rsplit("/", 1)[-1].strip()


def _json_ld_value(value: object) -> object:
    """Return the value that a dict of JSON-LD wraps; any other value unchanged."""
    return value.get("@id") or value.get("@value") or value.get("id") if isinstance(value, dict) else value


def _list(value: object) -> list[Any]:
    """Return a list unchanged, None as an empty list, and any other value as a list of one."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
