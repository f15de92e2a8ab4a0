"""Recognise structures that generators write into text: parameters, graphs, job numbers, labels.

Unlike a generator's name, a structure counts in any field, as it does not occur by chance.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from hidascan.image.provenance.catalogue import CHATBOTS, tool_in
from hidascan.image.provenance.claim import AIGC_LABEL, PARAMETERS, SOME_MODEL, SOME_SERVICE

COMFYUI = "ComfyUI"
_JSON_CHARACTERS = 4_000_000
_LABELLED = frozenset({"contentproducer", "produceid", "contentpropagator", "propagateid"})  # keys of an AIGC label
_PRODUCER = 50  # maximum number of characters of a producer's name
_CODE = re.compile(r"\w*\d{8,}\w*")  # registered number of a producer, instead of its name
_OF_A_SERVICE = frozenset({"serviceprovider", "serviceuser"})  # keys of Tencent's label
# ComfyUI writes `workflow:{...}`, services `AIGC{...}`.
_LABEL = re.compile(r"\s*(?:[\w .\-]{1,40}:|(?i:AIGC)\s*=?)\s*(?=\{)")
_WEAK_LABELS = {"2": "possibly AI-generated", "3": "suspected to be AI-generated"}  # numbers of China's label
_NESTED = ("generationparams", "params", "meta", "input")  # keys of parameters within a larger JSON text
_STEPS = re.compile(r"\bSteps: ?\d+\s*(?:[,;]|$)", re.MULTILINE)
_SETTINGS_NAMED = ("Sampler:", "CFG scale:", "Schedule type:", "Guidance Scale:")
_WRITER = re.compile(r"\b(?:Version|App|Software|Generator|Backend): ?([^,\n]{1,80})")
_FORGE = re.compile(r"f\d+\.\d|f\d.*-v?1\.\d|neo\b", re.IGNORECASE)
_MARKS_OF_PARAMETERS = (
    ("A1111", re.compile(r"\bVersion: ?v\d")),
    ("Civitai", re.compile(r"\bCivitai (?:resources|metadata):")),
    ("Draw Things", re.compile(r"\bSeed Mode:")),
)
_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_JOB = re.compile(rf"\bJob ID: ?(?:({_UUID})\s*$|\S)", re.IGNORECASE)
_PARAMETER = re.compile(r"\s--[a-z]{1,12}\b")  # parameter of Midjourney
_HEAD, _TAIL = 100_000, 200_000  # characters of a long text that are searched
_DREAM = re.compile(r'"[^"]{1,4000}" (?=.*-s ?\d+\b)(?=.*-S ?\d+\b)(?=.*-[WHC] ?\d+)')  # InvokeAI of 2022
_JOB_CHARACTERS = 20_000
_OPENAI = "OpenAI--ImageGeneration--"
# What the tab "Extras" of A1111 and its successors writes: they enlarge or restore a given picture.
_EXTRAS = re.compile(
    r'\s*(?:Postprocess upscale (?:by|to)|Postprocess upscaler|(?:GFPGAN|CodeFormer) visibility): ?[\w."]'
)
_BROKEN_PROMPT = re.compile(r'"class_type"\s{0,9}:\s{0,9}"')
_BROKEN_WORKFLOW = re.compile(r'"(?:widgets_values|last_node_id)"\s{0,9}:')
_UUID_ALONE = re.compile(_UUID, re.IGNORECASE)
_SIGNATURE = re.compile(r"Signature: ?[A-Za-z0-9+/]{80,}={0,2}\s*")
# Parameters of a repainted region: A1111 and Forge, SD.Next, InvokeAI, NovelAI (also within JSON, with backslashes).
_INPAINTED = re.compile(
    r"\bMask blur: ?[1-9]|\bInpaint area: ?Only masked|\bOperations: ?(?![^,\n]{0,200}txt2img)[^,\n]{0,200}inpaint"
    r'|"generation_mode"\s{0,9}:\s{0,9}"\w{0,20}(?:in|out)paint|"request_type\\?"\s{0,9}:\s{0,9}\\?"NativeInfilling'
)
_OF_TOOLS = (
    "software", "generator", "app", "app_id", "tool", "engine", "application", "version", "metadata_scheme",
)  # fmt: skip
# Sets of keys that are unique to one program.
_MARKS: tuple[tuple[str, frozenset[str]], ...] = (
    ("Higgsfield", frozenset({"hf-job-id"})),
    ("SwarmUI", frozenset({"sui_image_params"})),
    ("SwarmUI", frozenset({"swarm_version"})),
    ("Easy Diffusion", frozenset({"use_stable_diffusion_model"})),
    ("InvokeAI", frozenset({"invokeai_metadata"})),
    ("InvokeAI", frozenset({"invokeai_graph"})),
    ("InvokeAI", frozenset({"invokeai_workflow"})),
    ("InvokeAI", frozenset({"sd-metadata"})),
    ("InvokeAI", frozenset({"app_version", "generation_mode"})),
    ("Fooocus", frozenset({"fooocus_scheme"})),
    ("Fooocus", frozenset({"base_model", "performance"})),
    ("Fooocus", frozenset({"base_model", "adm_guidance"})),
    ("Draw Things", frozenset({"c", "sampler", "seed", "steps"})),
    ("Ideogram", frozenset({"prompt", "magic_prompt_option"})),
    ("NovelAI", frozenset({"signed_hash", "prompt"})),
    ("NovelAI", frozenset({"uc", "sampler"})),
    ("NovelAI", frozenset({"request_type", "uncond_scale"})),
)
# Names of ComfyUI's nodes: those that generate, that generate a part of a picture, that retouch faces and other details,
# and that start from nothing.
_GENERATES = re.compile(
    r"(?i:(?<!re)(?<!re[ _])(?<!up)(?<!up[ _])(?<!down)(?<!down[ _])sampl|vae ?decode|diffus|sd ?upscale|image ?(?:edit|generat)"
    r"|(?:text|txt|image|img) ?(?:to|2) ?(?:image|img)|dall-?e|gpt[- ]?image|ideogram|seedream|nano ?banana|omnigen|bagel"
    r"|workflow[>/]|_fal\b|fal\w{0,20}api|kontext ?creator|replace ?background|midjourney|jimeng|image ?inference"
    r"|pollinations|(?:text ?(?:to|2) ?)?video ?generat|text ?(?:to|2) ?video|^replicate )|TryOn|VTO|GoogleImagen|Imagen ?\d"
    r"|(?:Bria(?!Remove)|ByteDance|Flux(?!KontextImageScale)|Gemini|Grok|Hunyuan|Kling|Krea|Luma|Magnific|OpenAI|OpenRouter"
    r"|Qwen|Recraft|Reve(?!r)|Runway|Stability|Wan)\w{0,40}(?:Image|Edit|Fill|Expand|Canny|Depth|Creative)"
)
_REPAINTS = re.compile(
    r"inpaint|outpaint|lanpaint|lama ?remov|(?<!cam)erase|SetLatentNoiseMask|face ?swap|brush ?net|power ?paint|live ?portrait",
    re.IGNORECASE,
)
_RETOUCHES = re.compile(r"detailer", re.IGNORECASE)
_STARTS_EMPTY = re.compile(r"Empty[\w ]{0,40}Latent|Efficient Loader|easy \w{0,20}Loader")
_SKIPPED = (2, 4)  # modes of ComfyUI's nodes: muted, bypassed
# In lower case, without "_".
_PROMPTS = frozenset({"prompt", "fullprompt", "positiveprompt"})
_SETTINGS = frozenset(
    {
        "numinferencesteps", "inferencesteps", "steps", "numsteps", "cfg", "cfgscale", "guidancescale", "guidance", "sampler",
        "samplername", "scheduler", "schedulertype", "negativeprompt", "seed", "basemodel", "modelhash", "model",
    }
)  # fmt: skip
_NEEDED_SETTINGS = 3
_MODELS = ("model", "model_name", "modelname", "model_id", "modelid")
_OF_IMAGES = ("image", "seedream", "seededit")  # in names of models of chatbots that make pictures


def generator_of(text: str) -> str:
    """Return the generator whose structure a text contains; "" if none."""
    searched = text if len(text) <= _HEAD + _TAIL else text[:_HEAD] + text[-_TAIL:]
    if "Steps:" in searched and any(name in searched for name in _SETTINGS_NAMED) and _STEPS.search(searched):
        return _writer_of_parameters(searched)
    if "Job ID:" in searched and _is_job(searched[-_JOB_CHARACTERS:]):
        return "Midjourney"
    if text.startswith(_OPENAI):
        return "OpenAI"
    if text[:1] == '"' and _DREAM.match(text[:8000]):
        return "InvokeAI"
    return _generator_in_json(text) if "{" in text[:60] else ""


def is_inpainted(text: str) -> bool:
    """Return whether parameters are those of a region that was repainted in a given picture."""
    return bool(_INPAINTED.search(text[:_HEAD] + text[-_TAIL:])) or _extent(_graph_of(text)) == "part"


def is_by_extras(text: str) -> bool:
    """Return whether a text is that of the tab "Extras" of Stable Diffusion web UI, which generates nothing."""
    return bool(_EXTRAS.match(text))


def generates_nothing(text: str) -> bool:
    """Return whether a text is a ComfyUI prompt, the graph that ran, in which no node generates."""
    nodes = _graph_of(text) if '"class_type"' in text else ""
    return bool(nodes) and not _extent(nodes)


def generator_of_keys(values: Mapping[str, Any]) -> str:
    """Return the generator whose keys a dictionary has, from JSON or PNG text chunks; "" if none."""
    if _extent(_graph_in(values)):
        return COMFYUI
    label = _china_label(values)
    unnumbered = "label" not in label and label.keys() >= _OF_A_SERVICE
    if str(label.get("label")) == "1" or unnumbered or _is_labelled_by_bytedance(values):
        producers = (label.get(key) for key in ("contentproducer", "serviceprovider"))
        producer = next((one.strip() for one in producers if isinstance(one, str) and one.strip()), "")
        return (SOME_SERVICE if not producer or _CODE.fullmatch(producer) else producer[:_PRODUCER]) + AIGC_LABEL
    keys = {str(key).lower(): value for key, value in values.items()}
    if name := next((name for name, marks in _MARKS if marks <= keys.keys()), ""):
        return name
    export = _unpacked(keys.get("data"))  # CapCut also exports edited photos
    if export.get("product") in ("dreamina", "dreamina_oversea") and export.get("exportType") == "generation":
        return "Dreamina"
    return _generator_of_settings(keys)


def weak_label_of(values: Mapping[str, Any]) -> str:
    """Return China's label in a dictionary if it is only a suspicion, such as "possibly AI-generated (AIGC label)"."""
    words = _WEAK_LABELS.get(str(_china_label(values).get("label")), "")
    return words and words + AIGC_LABEL


def weak_label_in(text: str) -> str:
    """Return such a label in a JSON text; "" if none."""
    return weak_label_of(_unpacked(_without_label(text))) if "label" in text.lower() else ""


def _china_label(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return China's label, GB 45438-2025, in a dictionary, with its keys in lower case; an empty one if none."""
    wrapped = next((value for key, value in values.items() if str(key).upper() == "AIGC"), None)
    label = {str(key).lower(): value for key, value in _unpacked(values if wrapped is None else wrapped).items()}
    return label if wrapped is not None or _LABELLED & label.keys() else {}


def _is_labelled_by_bytedance(values: Mapping[str, Any]) -> bool:
    """Return whether a dictionary of an app of ByteDance, or the one in its `data`, has a label for AI."""
    for one in (values, _unpacked(values.get("data"))):
        info = _unpacked(one.get("aigc_info"))
        of_douyin = one.get("product") == "aweme" and str(info.get("aigc_type")) == "1"
        if of_douyin or str(info.get("aigc_label_type")) in ("1", "2"):
            return True
    return False


def _generator_of_settings(keys: Mapping[str, Any]) -> str:
    """Return the generator that a dictionary with keys in lower case names beside a prompt; "" if none."""
    settings = {re.sub(r"^\w{1,20}:|[_\- ]", "", key) for key in keys}
    if not settings & _PROMPTS:
        return ""
    model = str(next((keys[key] for key in _MODELS if key in keys), ""))
    if "seedvr2" in model.lower():  # enlarges a given picture
        return ""
    tool = tool_in(model, "software")
    makes_images = any(word in model.lower() for word in _OF_IMAGES)
    if tool and tool.means != "software" and (tool.name not in CHATBOTS or makes_images):
        return tool.name
    return SOME_MODEL if len(settings & _SETTINGS) >= _NEEDED_SETTINGS else ""


def is_signed_by_xai(description: str, artist: str) -> bool:
    """Return whether two EXIF fields match Grok: a base64 signature, and a UUID as artist."""
    return bool(_SIGNATURE.fullmatch(description) and _UUID_ALONE.fullmatch(artist))


def _is_job(text: str) -> bool:
    """Return whether a text is a Midjourney prompt: with a job UUID at its end, or with a job and parameters."""
    job = _JOB.search(text)
    if not job:
        return False
    before = text[: job.start()]  # a prompt, which one space follows
    return bool(_PARAMETER.search(before) or (job.group(1) and re.search(r"(?:[^\s,;:|],?|::) {1,2}$", before)))


def _writer_of_parameters(text: str) -> str:
    """Return the program that wrote parameters in A1111's format, which many programs use; else what they are."""
    for match in _WRITER.finditer(text[-4000:]):
        if tool := tool_in(match.group(1), "software"):
            return tool.name
        if _FORGE.match(match.group(1)):
            return "Forge"
    settings = _STEPS.split(text, maxsplit=1)[-1]  # behind the prompt
    return next((name for name, mark in _MARKS_OF_PARAMETERS if mark.search(settings)), PARAMETERS)


def _generator_in_json(text: str) -> str:
    text = _without_label(text)
    if values := _unpacked(text):
        return _tool_named(values) or generator_of_keys(values) or _generator_of_nested(values)
    if text.startswith("{") and any(pattern.search(text) for pattern in (_BROKEN_PROMPT, _BROKEN_WORKFLOW)):
        return COMFYUI  # truncated, or too long to parse
    return ""


def _generator_of_nested(values: Mapping[str, Any]) -> str:
    """Return the generator of the parameters within a larger dictionary; "" if none."""
    for key, value in values.items():
        nested = _unpacked(value) if str(key).lower() in _NESTED else {}
        keys = {str(inner).lower(): one for inner, one in nested.items()}
        if str(key).lower() == "generationparams":  # their model needs no prompt
            keys = {"prompt": "", **keys}
        if name := next((name for name, marks in _MARKS if marks <= keys.keys()), "") or _generator_of_settings(keys):
            return name
    return ""


def _without_label(text: str) -> str:
    """Return a JSON text without spaces around it, and without a label or a byte order mark before it."""
    text = text.lstrip("\ufeff")
    text = _LABEL.sub("", text, count=1) if not text.lstrip().startswith("{") else text
    return text.strip("\0 \r\n\t")


def _tool_named(values: Mapping[str, Any]) -> str:
    keys = {str(key).lower(): str(value) for key, value in values.items()}
    tools = [tool_in(keys[key], "software") for key in _OF_TOOLS if key in keys]
    tools.append(tool_in(keys.get("source", ""), "comment"))  # a dataset or a download, unless it names a generator
    makes_images = any(word in keys.get(key, "").lower() for key in _OF_TOOLS for word in _OF_IMAGES)
    described = not makes_images and keys.keys() & {"caption", "alt", "alt_text", "description", "keywords", "tags"}
    named = (tool.name for tool in tools if tool and tool.means != "software")
    return next((name for name in named if not (described and name in CHATBOTS)), "")


def _unpacked(value: object) -> Mapping[str, Any]:
    """Return the dictionary in a JSON text, or the value if it is a dictionary; else an empty one.

    A dictionary as Python prints it counts, too.
    """
    if isinstance(value, str) and value.lstrip()[:1] == "{" and len(value) <= _JSON_CHARACTERS:
        if value.lstrip().startswith("{'") and '"' not in value:
            value = value.replace("'", '"')
        try:
            value = json.loads(value, strict=False)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def _graph_of(text: str) -> str:
    """Return the names of the nodes of the ComfyUI graph in a JSON text; "" if none."""
    return _graph_in(_unpacked(_without_label(text))) if '"class_type"' in text or '"links"' in text else ""


def _graph_in(values: Mapping[str, Any]) -> str:
    """Return the names of the nodes of a ComfyUI graph: of `prompt`, which ran, or else of `workflow`; "" if none."""
    graphs = (values, _unpacked(values.get("prompt")), _unpacked(values.get("workflow")))
    return next(filter(None, map(_nodes_of, graphs)), "")[:_HEAD]


def _nodes_of(graph: Mapping[str, Any]) -> str:
    """Return the names of the nodes of a prompt, or of those of a workflow and its subgraphs that are not skipped."""
    if not (isinstance(graph.get("nodes"), list) and isinstance(graph.get("links"), list)):
        classes = (node.get("class_type") for node in graph.values() if isinstance(node, dict))
        return "\n".join(one for one in classes if isinstance(one, str))
    definitions = graph.get("definitions")
    subgraphs = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    listed = subgraphs if isinstance(subgraphs, list) else []
    found = {str(one.get("id")): _active(one.get("nodes")) for one in listed if isinstance(one, dict)}
    names = _active(graph["nodes"])
    used = {*names}.union(*found.values())
    return "\n".join((*names, *(name for number, inner in found.items() if number in used for name in inner)))


def _active(nodes: object) -> list[str]:
    """Return the names of the nodes in a list that are neither muted nor bypassed."""
    return [
        str(node["type"])
        for node in (nodes if isinstance(nodes, list) else ())
        if isinstance(node, dict)
        and {"id", "type"} <= node.keys()
        and node.keys() & {"inputs", "outputs", "widgets_values", "pos"}
        and node.get("mode") not in _SKIPPED
    ]


def _extent(nodes: str) -> str:
    """Return how much of the picture a ComfyUI graph generates: "whole", "part", or "" if no node is known to generate."""
    if _REPAINTS.search(nodes) and not _STARTS_EMPTY.search(nodes):
        return "part"
    names = nodes.split("\n")
    others = [name for name in names if not _RETOUCHES.search(name)]
    if any(_GENERATES.search(spelt) for name in others for spelt in (name, name.replace("_", " "))):
        return "whole"
    return "part" if len(others) < len(names) else ""
