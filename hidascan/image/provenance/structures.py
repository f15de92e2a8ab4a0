"""Recognise the structures that generators write into text fields: parameters, graphs, job numbers, labels.

A structure counts in whatever field it stands, as no person writes one by chance; mere names of generators do not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from hidascan.image.provenance.catalogue import tool_in

_JSON_CHARACTERS = 8_000_000
_LABEL = re.compile(r"^\s*(?:workflow|prompt|parameters|generation_data|metadata)\s*:\s*(?=[{\[])", re.IGNORECASE)
_STEPS, _SAMPLER = re.compile(r"\bSteps: *\d+"), re.compile(r"\bSampler: *\S")
_JOB = re.compile(r"\bJob ID: *[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE)
_GRAPH = re.compile(r'"class_type"\s*:|"nodes"\s*:\s*\[.{0,100000}"widgets_values"\s*:', re.DOTALL)
_DREAM = re.compile(r'^".*" -s ?\d+ -S ?\d+', re.DOTALL)  # InvokeAI of 2022
_OPENAI = re.compile(r"\bOpenAI--ImageGeneration--")
# Keys of parameters that front ends write as JSON; a dictionary with a prompt and three of the others is theirs.
_PARAMETERS = frozenset(
    {
        "negative_prompt", "negativeprompt", "uc", "steps", "num_inference_steps", "sampler", "sampler_name", "seed", "cfg",
        "cfg_scale", "cfgscale", "guidance_scale", "base_model", "model", "use_stable_diffusion_model", "scheduler", "strength",
    }
)  # fmt: skip
_PROMPTS = frozenset({"prompt", "full_prompt", "positive_prompt", "c", "description"})


def generator_by_structure(text: str) -> str:
    """Return the name of the generator whose structure a text holds; "" if it holds none."""
    if _STEPS.search(text) and _SAMPLER.search(text):
        tool = tool_in(text[text.rfind("Version:") :], "software") if "Version:" in text else None
        return tool.name if tool and tool.means == "ai" else "A1111"
    if _JOB.search(text):
        return "Midjourney"
    if _OPENAI.search(text):
        return "OpenAI"
    if _DREAM.match(text):
        return "InvokeAI"
    bare = _LABEL.sub("", text, count=1).strip().rstrip("\0")
    return _by_json(bare) if bare[:1] in ("{", "[") else ""


def _by_json(text: str) -> str:
    try:
        value = json.loads(text[:_JSON_CHARACTERS], strict=False)
    except (ValueError, RecursionError):
        return "ComfyUI" if _GRAPH.search(text) else ""
    return generator_by_keys(value) if isinstance(value, dict) else ""


def generator_by_keys(value: Mapping[str, Any]) -> str:
    """Return the name of the generator whose keys a dictionary has: JSON, or the text chunks of a PNG; "" for none."""
    keys = {str(key).lower().replace(" ", "_"): key for key in value}
    if _is_graph(value):
        return "ComfyUI"
    for name, marks in _MARKS.items():
        if any(mark <= keys.keys() for mark in marks):
            return name
    for key in ("software", "version", "source", "metadata_scheme", "fooocus_scheme"):
        tool = tool_in(str(value.get(keys.get(key, ""), "")), "software")
        if tool and tool.means == "ai":
            return tool.name
    if keys.keys() & _PROMPTS and len(keys.keys() & _PARAMETERS) >= 3:
        return "Fooocus" if {"base_model", "performance"} <= keys.keys() else "Stable Diffusion"
    return ""


# Sets of keys that only one program writes.
_MARKS: dict[str, tuple[set[str], ...]] = {
    "SwarmUI": ({"sui_image_params"}, {"swarm_version"}),
    "Easy Diffusion": ({"use_stable_diffusion_model", "prompt"},),
    "InvokeAI": ({"invokeai_metadata"}, {"invokeai_graph"}, {"sd-metadata"}, {"app_version", "generation_mode"}),
    "Fooocus": ({"fooocus_scheme"},),
    "NovelAI": ({"signed_hash", "prompt"}, {"request_type", "uncond_scale"}),
    "Draw Things": ({"c", "sampler", "seed", "steps"},),
    "AI label of China (TC260)": ({"label", "contentproducer"}, {"label", "produceid"}),
}


def _is_graph(value: Mapping[str, Any]) -> bool:
    """Tell a graph of ComfyUI: a prompt whose nodes have classes, or a workflow of nodes and links."""
    nodes = value.get("nodes")
    if isinstance(nodes, list):
        return any(isinstance(node, dict) and "type" in node for node in nodes)
    return any(isinstance(node, dict) and "class_type" in node for node in value.values())
