"""Structures of generators: parameters, graphs, labels, signatures."""

import json
import struct

import pytest
from PIL.PngImagePlugin import PngInfo

from hidascan.finding import Finding
from hidascan.image.decode import decode
from hidascan.image.provenance.claim import conflict
from hidascan.image.provenance.structures import generator_of
from hidascan.summary import summary
from tests.metadata import (
    PARAMETERS,
    PROMPT,
    WORKFLOW,
    claims_in,
    jpeg,
    packet,
    png,
    png_text,
    read,
    saved,
    tags,
    written,
)


@pytest.mark.parametrize("suffix", ["webp", "jpg", "png", "tiff", "avif"])
@pytest.mark.parametrize(
    "fields",
    [{0x010F: f"workflow:{WORKFLOW}", 0x0110: f"prompt:{PROMPT}"}, {0x010F: f"Prompt: {PROMPT}"}, {0x010E: WORKFLOW}],
    ids=["make and model", "make alone", "description"],
)
def test_a_graph_in_exif_is_comfyui_not_a_camera(tmp_path, fields, suffix):
    claims = read(tmp_path, f"a.{suffix}", exif=tags(fields))
    assert [claim[:2] for claim in claims] == [("ai", "ComfyUI")] * len(fields)


def test_comfyui_is_found_in_xmp(tmp_path):
    properties = f"<comfy:prompt>{PROMPT}</comfy:prompt><comfy:workflow>{WORKFLOW}</comfy:workflow>"
    xmp = packet(properties, 'xmlns:comfy="https://comfy.org/ns/1.0/"')
    for name in ("a.avif", "a.webp", "a.jpg"):
        fields = [claim[4] for claim in read(tmp_path, name, xmp=xmp) if claim[:2] == ("ai", "ComfyUI")]
        assert fields == ["XMP comfy:prompt", "XMP comfy:workflow"]


@pytest.mark.parametrize(
    "value", ['{"nodes": []}', '{"nodes": ["a"], "edges": []}', "scan, crop", '{"a": {"b": 1}}', "{"]
)
def test_a_workflow_without_a_graph_is_not_comfyui(tmp_path, value):
    assert read(tmp_path, "a.png", **png_text("workflow", value)) == []


STRUCTURES = {
    "Midjourney": "a lighthouse --ar 3:2 --v 7 Job ID: 5c0d3b7a-1111-4222-8333-444455556666",
    "Stable Diffusion parameters": PARAMETERS,
    "A1111": PARAMETERS + ", Version: v1.10.1",
    "Forge": PARAMETERS + ", Version: f2.0.1v1.10.1",
    "Fooocus": '{"prompt": "witch", "steps": 30, "software": "Fooocus 1.0.43 MRE"}',
    "SwarmUI": '{"sui_image_params": {"prompt": "a", "seed": 1}}',
    "Easy Diffusion": '{"prompt": "a", "use_stable_diffusion_model": "sd-v1-5"}',
    "NovelAI": '{"prompt": "a", "steps": 28, "uc": "b", "sampler": "k_euler"}',
    "Draw Things": '{"c": "a", "sampler": "Euler a", "seed": 1, "steps": 20, "uc": ""}',
    "InvokeAI": '{"app_version": "5.0", "generation_mode": "txt2img", "positive_prompt": "a"}',
    "ComfyUI": f'{{"prompt": {PROMPT}, "workflow": {WORKFLOW}}}',
    "a diffusion model": '{"prompt": "a", "num_inference_steps": 4, "guidance_scale": 1.0, "seed": 3}',
    "Mochi Diffusion": "Include in Image: a cat; Model: sd; Steps: 20; Guidance Scale: 7; Generator: Mochi Diffusion 5.2",
    "Ideogram": '{"prompt": "a", "magic_prompt_option": "ON", "seed": 1}',
    "Flux": '{"prompt": "a cat", "seed": 42, "model": "flux", "nologo": true}',
    "gpt-image": '{"model": "gpt-image-1", "prompt": "a cat", "size": "1024x1024"}',
    "Dreamina": '{"aigc_info": {"aigc_label_type": 0}, "data": {"product": "dreamina", "exportType": "generation"}}',
    "x (AIGC label)": '{"AIGC": {"Label": "1", "ContentProducer": "x", "ProduceID": "y"}}',
}


def test_parameters_in_any_spelling_are_those_of_a_diffusion_model(tmp_path):
    text = '{"Prompt": "a", "Seed": 1, "InferenceSteps": 20, "GuidanceScale": 7.5}'
    assert read(tmp_path, "a.jpg", comment=text.encode())[0][:2] == ("ai", "a diffusion model")


@pytest.mark.parametrize(
    "text", ["Steps: 1 boil the water. Sampler: tea", '{"prompt": "say cheese", "model": "Canon"}']
)
def test_words_like_those_of_parameters_are_none(tmp_path, text):
    assert read(tmp_path, "a.jpg", comment=text.encode()) == []


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_of_a_tool_counts_in_any_field(tmp_path, name):
    text = STRUCTURES[name]
    wide = {"ascii": b"ASCII\0\0\0" + text.encode(), "be": b"UNICODE\0" + text.encode("utf-16-be")}
    wide |= {"le": b"UNICODE\0" + text.encode("utf-16-le"), "none": b"\0" * 8 + text.encode()}
    wide |= {"jis": b"JIS\0\0\0\0\0" + text.encode()}
    for value in wide.values():
        claims = read(tmp_path, "a.webp", exif=tags(inner={0x9286: value}))
        assert claims == [("ai", name, "tag", False, "EXIF UserComment")]
    assert read(tmp_path, "a.jpg", comment=text.encode()) == [("ai", name, "tag", False, "JPEG comment")]
    assert read(tmp_path, "a.gif", comment=text.encode()) == [("ai", name, "tag", False, "GIF comment")]
    for key in (b"Description", b"parameters"):
        path = written(tmp_path, "a.png", png((b"tEXt", key + b"\0" + text.encode()), behind=True))
        assert claims_in(path) == [("ai", name, "tag", False, f"PNG text {key.decode()}")]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f'{PARAMETERS}, Civitai resources: [{{"type":"checkpoint"}}], Civitai metadata: {{}}', "Civitai"),
        (f"{PARAMETERS}, Strength: 1.0, Seed Mode: Scale Alike", "Draw Things"),
        (f"{PARAMETERS}, Version: ComfyUI, Civitai resources: []", "ComfyUI"),
        (f"Version: v2, Civitai resources: none, Seed Mode: none, {PARAMETERS}", "Stable Diffusion parameters"),
        (f"{PARAMETERS}, Version: 4b2f8a1", "Stable Diffusion parameters"),
    ],
)
def test_parameters_are_those_of_the_program_that_marks_them(text, name):
    assert generator_of(text) == name


def test_parameters_behind_a_long_prompt_are_found(tmp_path):
    text = "masterpiece, " * 40_000 + PARAMETERS
    chinese = "猫在沙发上" * 2000 + text[-200:]
    for order in ("utf-16-be", "utf-16-le"):
        exif = tags(inner={0x9286: b"UNICODE\0" + chinese.encode(order)})
        assert read(tmp_path, "a.webp", exif=exif)[0][1] == "Stable Diffusion parameters"
        exif = tags(inner={0x9286: b"UNICODE\0" + text.encode(order)})
        assert read(tmp_path, "a.webp", exif=exif)[0][1] == "Stable Diffusion parameters"
    claim = decode(tmp_path / "a.webp").claims[0]
    assert len(claim.detail) <= 200


def test_parameters_that_are_text_chunks_of_their_own_are_easy_diffusion(tmp_path):
    info = PngInfo()
    for key, value in {"prompt": "a cat", "seed": "0", "use_stable_diffusion_model": "sd-v1-5"}.items():
        info.add_text(key, value)
    assert read(tmp_path, "a.png", pnginfo=info) == [("ai", "Easy Diffusion", "tag", False, "PNG text keys")]


def test_the_signature_of_grok_needs_both_of_its_fields(tmp_path):
    signature, artist = "Signature: " + "QUJD" * 60, "0d9f5d0e-1111-4222-8333-444455556666"
    assert read(tmp_path, "a.jpg", exif=tags({0x010E: signature, 0x013B: artist}))[0][:2] == ("ai", "Grok")
    assert read(tmp_path, "a.jpg", exif=tags({0x010E: signature, 0x013B: "Anna"})) == []


def test_a_graph_that_only_loads_scales_and_saves_generates_nothing():
    nodes = ("LoadImage", "ImageScale", "SaveImage")
    prompt = {str(number): {"class_type": name, "inputs": {}} for number, name in enumerate(nodes)}
    workflow = {"nodes": [{"id": number, "type": name} for number, name in enumerate(nodes)], "links": []}
    assert generator_of(json.dumps(prompt)) == generator_of(json.dumps(workflow)) == ""
    upscaled = prompt | {"9": {"class_type": "ImageUpscaleWithModel", "inputs": {}}}
    assert generator_of(json.dumps(upscaled)) == ""


def graphs(*nodes: str, skipped: tuple[str, ...] = (), subgraph: str = "") -> dict[str, str]:
    """ComfyUI's `prompt` of the nodes that ran, and a `workflow` that also holds muted and bypassed ones."""
    prompt = {str(number): {"class_type": name, "inputs": {}} for number, name in enumerate(nodes)}
    listed = [{"id": number, "type": name, "pos": [], "mode": 0} for number, name in enumerate(nodes)]
    listed += [{"id": name, "type": name, "pos": [], "mode": 2 + 2 * at} for at, name in enumerate(skipped)]
    workflow = {"nodes": listed, "links": []}
    if subgraph:
        workflow["definitions"] = {"subgraphs": [{"id": nodes[-1], "nodes": [{"id": 1, "type": subgraph, "pos": []}]}]}
    return {"prompt": json.dumps(prompt), "workflow": json.dumps(workflow)}


@pytest.mark.parametrize(
    ("nodes", "kind", "part"),
    [
        (("LoadImage", "ImageUpscaleWithModel", "SaveImage"), "software", False),
        (("LoadImage", "BiRefNetRMBG", "ReverseImageBatch", "SaveImage"), "software", False),
        (("LoadImage", "FluxKontextImageScale", "ImageUpsampler", "BriaRemoveImageBackground"), "software", False),
        (("LoadAndResizeImage", "ImageScale", "SaveImage"), "software", False),
        (("WebcamCapture", "SaveImage"), "software", False),
        (("Load3D", "SaveImage"), "software", False),
        (("Base64ToImage", "SaveImage"), "software", False),
        (("ImageFromBase64", "SaveImage"), "software", False),
        (("LayerUtility: LoadPSD", "SaveImage"), "software", False),
        (("LoadAndResizeImage", "KSampler", "SaveImage"), "ai", False),
        (("A node of somebody", "ImageToBase64"), "software", False),
        (("ComfyUIDeployExternalImage", "UpscaleModelLoader", "ImageUpscaleWithModel", "SaveImage"), "software", False),
        (("ETN_KritaCanvas", "ImageUpscaleWithModel", "ETN_SendImage"), "software", False),
        (("LoadImage", "UltralyticsDetectorProvider", "FaceDetailer", "SaveImage"), "ai", True),
        (("LoadImage", "UltralyticsDetectorProvider", "DetailerForEach", "SaveImage"), "ai", True),
        (("LoadImage", "KSampler", "FaceDetailer", "SaveImage"), "ai", False),
        (("EmptyLatentImage", "KSampler", "FaceDetailer", "SaveImage"), "ai", False),
        (("LoadImage", "BrushNet", "KSampler", "SaveImage"), "ai", True),
        (("LoadImage", "PowerPaintV2", "SaveImage"), "ai", True),
        (("LoadImage", "LivePortraitProcess", "SaveImage"), "ai", True),
        (("MidjourneyImagine", "SaveImage"), "ai", False),
        (("Replicate black-forest-labs/flux-schnell", "SaveImage"), "ai", False),
        (("Comfly_gpt_image_1", "SaveImage"), "ai", False),
        (("VeoVideoGenerationNode", "SaveImage"), "ai", False),
        (("LoadImage", "Image_Up_Sample", "SaveImage"), "software", False),
        (("ViduTextToVideoNode", "SaveAnimatedWEBP"), "ai", False),
        (("LoadImage", "BriaEraser", "SaveImage"), "ai", True),
        (("LoadImage", "VAEEncodeForInpaint", "KSampler", "SaveImage"), "ai", True),
        (("LoadImage", "KSampler", "SetLatentNoiseMask", "SaveImage"), "ai", True),
        (("LoadImage", "EmptyLatentImage", "KSampler", "SetLatentNoiseMask", "SaveImage"), "ai", False),
        (("LoadImage", "KSampler", "SaveImage"), "ai", False),
        (("LoadImage", "FluxKontextProImageNode", "SaveImage"), "ai", False),
        (("LoadImage", "FluxProKontext_fal", "SaveImage"), "ai", False),
        (("LoadImage", "FalGenericAPI", "SaveImage"), "ai", False),
        (("LoadImage", "RecraftReplaceBackgroundNode", "SaveImage"), "ai", False),
        (("LoadImage", "SDXL Empty Latent Image (rgthree)", "KSampler", "ReActorFaceSwap"), "ai", False),
        (("EmptyLatentImage", "A node of somebody", "SaveImage"), "software", False),
    ],
)
def test_a_graph_is_judged_by_the_nodes_that_ran(tmp_path, nodes, kind, part):
    found = graphs(*nodes, skipped=("KSampler", "SamplerCustom"))
    info = PngInfo()
    for key, value in found.items():
        info.add_text(key, value)
    claims = read(tmp_path, "a.png", pnginfo=info)
    assert {claim[0:2] + claim[3:4] for claim in claims} == {(kind, "ComfyUI", part)}
    assert generator_of(found["workflow"]) == ("" if kind == "software" else "ComfyUI")


def test_an_inpainting_node_that_did_not_run_makes_no_part(tmp_path):
    info = PngInfo()
    info.add_text("prompt", graphs("LoadImage", "KSampler", "SaveImage")["prompt"])
    info.add_text("workflow", graphs("LoadImage", "KSampler", "VAEEncodeForInpaint", "SaveImage")["workflow"])
    assert {claim[0:2] + claim[3:4] for claim in read(tmp_path, "a.png", pnginfo=info)} == {("ai", "ComfyUI", False)}


def test_a_plain_prompt_is_believed_rather_than_the_workflow(tmp_path):
    info = PngInfo()
    info.add_text("prompt", graphs("LoadImage", "SaveImage")["prompt"])
    info.add_text("workflow", graphs("LoadImage", "KSampler", "SaveImage")["workflow"])
    info.add_text("Software", "ComfyUI")
    assert [claim[:2] for claim in read(tmp_path, "a.png", pnginfo=info)] == [("software", "ComfyUI")]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Postprocess upscale by: 4, Postprocess upscaler: R-ESRGAN 4x+", True),
        ("Postprocess upscale to: 1024x1024, Postprocess upscaler: Lanczos", True),
        ("GFPGAN visibility: 1.0", True),
        ("Postprocess this picture: crop it", False),
        ("We tried Postprocess upscale by: 4", False),
    ],
)
def test_a_picture_enlarged_in_the_extras_of_a1111_names_software(tmp_path, text, wanted):
    claims = [("software", "Stable Diffusion web UI")] * wanted
    for key in ("postprocessing", "extras", "Comment"):
        assert [claim[:2] for claim in read(tmp_path, "a.png", **png_text(key, text))] == claims
    wide = tags(inner={0x9286: b"UNICODE\0" + text.encode("utf-16-be")})
    assert [claim[:2] for claim in read(tmp_path, "a.jpg", exif=wide)] == claims
    info = PngInfo()
    info.add_text("parameters", PARAMETERS)
    info.add_text("postprocessing", text)
    assert [claim[0] for claim in read(tmp_path, "a.png", pnginfo=info)] == ["ai", "software"][: 1 + wanted]


def test_a_subgraph_of_a_workflow_generates():
    assert generator_of(graphs("LoadImage", "1f0e", subgraph="KSampler")["workflow"]) == "ComfyUI"
    assert generator_of(graphs("LoadImage", "1f0e", subgraph="ImageScale")["workflow"]) == ""


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ('{"AIGC": {"ServiceProvider": "a", "ServiceUser": "b"}}', "a (AIGC label)"),
        ('{"AIGC": {"Label": "0", "ServiceProvider": "a", "ServiceUser": "b"}}', ""),
        ("AIGC={'Label': '1', 'ContentProducer': 'x'}", "x (AIGC label)"),
        ('\ufeff{"AIGC": {"Label": "1", "ContentProducer": "x"}}', "x (AIGC label)"),
        ("{'Label': 'cats', 'Content': 'x'}", ""),
        ('{"aigc_info": {"aigc_label_type": 1, "source_info": "a"}}', "an AI service (AIGC label)"),
        ('{"aigc_info": {"aigc_label_type": 0}, "data": {"product": "dreamina", "exportType": "retouch"}}', ""),
        ('{"data": {"product": "dreamina_oversea", "exportType": "generation"}}', "Dreamina"),
        ('{"data": {"product": "aweme", "aigc_info": {"aigc_type": 1}}}', "an AI service (AIGC label)"),
        ('{"data": {"product": "aweme", "aigc_info": {"aigc_type": 2}}}', ""),
        ('{"data": {"product": "retouch", "aigc_info": {"aigc_type": 1}}}', ""),
        ('{"data": {"aigc_info": {"aigc_label_type": 2}}}', "an AI service (AIGC label)"),
        ('{"data": {"aigc_info": {"aigc_label_type": 10}}}', ""),
        ('{"generationParams": {"modelName": "flux-2-max"}}', "Flux"),
        (
            '{"input": {"prompt": "a cat", "num_inference_steps": 4, "seed": 1, "guidance_scale": 3}}',
            "a diffusion model",
        ),
        ('{"meta": {"prompt": "describe it", "model": "gpt-4o"}}', ""),
        ('{"generationParams": {"modelName": "Canon"}, "params": {"prompt": "say cheese"}}', ""),
        ('{"prompt": "describe this", "model": "doubao-1-5-vision-pro-32k"}', ""),
        ('{"prompt": "a", "seed": 1, "steps": 1, "guidance": 1, "model": "numz/SeedVR2_comfyUI"}', ""),
        ('{"prompt": "a cat", "model": "doubao-seedream-4-0"}', "Seedream"),
        ('{"hf-job-id": "5c0d3b7a"}', "Higgsfield"),
    ],
)
def test_labels_and_models_of_services_are_read(tmp_path, label, name):
    claims = read(tmp_path, "a.jpg", comment=label.encode())
    assert [claim[1] for claim in claims] == [name] * bool(name)


def test_labels_outside_containers_are_read(tmp_path):
    label = written(tmp_path, "a.jpg", jpeg((0xE4, b'AIGC{"Label":"1","ContentProducer":"x"}')))
    assert [claim[1] for claim in claims_in(label)] == ["x (AIGC label)"]


def galaxy_trailer(*blocks: tuple[bytes, bytes]) -> bytes:
    """A trailer of Samsung's phones with named blocks."""
    blobs = [struct.pack("<4xI", len(name)) + name + content for name, content in blocks]
    distances = [sum(map(len, blobs[number:])) for number in range(len(blobs))]
    entries = (struct.pack("<2xHII", 1, at, len(blob)) for at, blob in zip(distances, blobs, strict=True))
    listed = b"SEFH" + struct.pack("<II", 107, len(blobs)) + b"".join(entries)
    return b"".join(blobs) + listed + struct.pack("<I", len(listed)) + b"SEFT"


GALAXY_AI = [("ai", "Galaxy AI", "tag", True, "Samsung trailer, genAIType")]
VIDEO = (b"MotionPhoto_Data", b"SEFT" + bytes(500_000))


@pytest.mark.parametrize("name", [b"PhotoEditor_Re_Edit_Data", b"PEg_Info"])
@pytest.mark.parametrize("padding", [b"", bytes(16), b"\0\0\0\x10SEFTSEFT1234"])
def test_an_edit_by_galaxy_ai_is_read_from_any_block(tmp_path, name, padding):
    edit = (name, b'{"a": 1, "genAIType": 8}')
    for blocks in ((edit,), (edit, VIDEO), (VIDEO, edit), (edit, edit)):
        for file, picture in (("a.jpg", jpeg()), ("a.png", png())):
            path = written(tmp_path, file, picture + galaxy_trailer(*blocks) + padding)
            assert claims_in(path) == GALAXY_AI


@pytest.mark.parametrize(
    "trailer",
    [
        galaxy_trailer((b"PEg_Info", b'{"genAIType":0}')),
        galaxy_trailer((b"Image_UTC_Data", b'{"genAIType":1}'), (b"PhotoEditor_Re_Edit_Data", b"{}")),
        b'PEg_Info{"genAIType":1}SEFH\0\0\0\0SEFT',
        galaxy_trailer((b"PEg_Info", b'{"genAIType":1}'))[30:],
        b"SEFH" + b"\xff" * 60 + struct.pack("<I", 64) + b"SEFT",
        b"SEFH" + struct.pack("<I", 4) + b"SEFT",
        b"SEFT",
    ],
)
def test_other_trailers_of_samsung_say_nothing(tmp_path, trailer):
    assert claims_in(written(tmp_path, "a.jpg", jpeg() + trailer)) == []


@pytest.mark.parametrize("behind", [False, True])
def test_chunks_of_comfyui_s_animated_pngs_are_read(tmp_path, behind):
    for nodes, kind in ((("EmptyLatentImage", "KSampler"), "ai"), (("LoadImage", "ImageScale"), "software")):
        chunk = (b"comf", b"prompt\0" + graphs(*nodes, "SaveAnimatedPNG")["prompt"].encode())
        path = written(tmp_path, "a.png", png(chunk, behind=behind))
        assert [claim[:2] for claim in claims_in(path)] == [(kind, "ComfyUI")]


def test_a_truncated_workflow_is_comfyui(tmp_path):
    cut = 'workflow:{"last_node_id": 9, "nodes": [{"id": 9, "ty'
    assert read(tmp_path, "a.jpg", exif=tags({0x010F: cut}))[0][:2] == ("ai", "ComfyUI")


def test_the_chinese_label_is_read_with_its_name_before_it(tmp_path):
    label = 'AIGC{"Label":"1","ContentProducer":"x","ProduceID":"y"}'
    assert read(tmp_path, "a.png", **png_text("Comment", label))[0][:2] == ("ai", "x (AIGC label)")


@pytest.mark.parametrize(
    "label",
    ['{"aigc": {"Label": 1}}', '{"Label": "1", "ContentPropagator": "x"}', 'aigc{"Label":"1","PropagateID":"y"}'],
)
def test_the_chinese_label_needs_no_producer(tmp_path, label):
    assert read(tmp_path, "a.png", **png_text("Comment", label))[0][:2] == ("ai", "an AI service (AIGC label)")


@pytest.mark.parametrize(
    "properties",
    [
        '<TC260:AIGC rdf:parseType="Resource"><TC260:Label>{0}</TC260:Label><TC260:ContentProducer>x</TC260:ContentProducer></TC260:AIGC>',
        '<TC260:AIGC TC260:Label="{0}" TC260:ContentProducer="x"/>',
        "<TC260:AIGC>{{'Label': '{0}', 'ContentProducer': 'x'}}</TC260:AIGC>",
        '<TC260:AIGC>AIGC={{"Label": "{0}", "ContentProducer": "x"}}</TC260:AIGC>',
    ],
)
@pytest.mark.parametrize(
    ("label", "wanted"),
    [
        ("1", [("ai", "x (AIGC label)")]), ("2", [("software", "possibly AI-generated (AIGC label)")]),
        ("3", [("software", "suspected to be AI-generated (AIGC label)")]), ("0", []),
    ],
)  # fmt: skip
def test_the_chinese_label_is_read_from_any_form_of_xmp(tmp_path, properties, label, wanted):
    xmp = packet(properties.format(label), 'xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"')
    assert [claim[:2] for claim in read(tmp_path, "a.jpg", xmp=xmp)] == wanted
    for key in ("XMP", "xmp"):
        assert [claim[:2] for claim in read(tmp_path, "a.png", **png_text(key, xmp.decode()))] == wanted


def test_a_label_that_is_only_a_suspicion_does_not_declare_ai(tmp_path):
    for chunks in ({"AIGC": '{"Label": "2"}'}, {"Comment": 'AIGC{"Label":"3","ContentPropagator":"x"}'}):
        ((key, value),) = chunks.items()
        decoded = decode(saved(tmp_path / "a.png", **png_text(key, value)))
        assert [claim.kind for claim in decoded.claims] == ["software"]
        assert not conflict(decoded.claims, "real")
        sentence = summary(Finding("a.png", "ok", "real", 0.01, claims=decoded.claims), None).sentence
        assert "carries China's label for " in sentence and "AI-generated content (unsigned tag)" in sentence


@pytest.mark.parametrize("tag", [0xA433, 0xA430, 0x9213])  # LensMake, CameraOwnerName, ImageHistory
def test_a_graph_is_found_in_any_text_of_exif(tmp_path, tag):
    assert read(tmp_path, "a.jpg", exif=tags({}, {tag: f"workflow:{WORKFLOW}"}))[0][:2] == ("ai", "ComfyUI")
    assert read(tmp_path, "b.jpg", exif=tags({}, {tag: "Made with Midjourney"})) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"prompt": "Describe this image", "model": "gpt-4o"}', ""), ('{"prompt": "caption it", "model": "gemini-2.5-flash"}', ""),
        ('{"prompt": "caption it", "model": "openai/gpt-4o"}', ""), ('{"source": "Leonardo"}', ""), ('{"source": "Freepik"}', ""),
        ('{"prompt": "a cat", "model": "gemini-2.5-flash-image"}', "Gemini"), ('{"prompt": "a cat", "model": "dall-e-3"}', "DALL-E"),
        ('{"source": "Stable Diffusion XL 9CC2F394"}', "Stable Diffusion"),
    ],
)  # fmt: skip
def test_a_log_of_a_chat_and_a_source_are_no_parameters(text, name):
    assert generator_of(text) == name


@pytest.mark.parametrize(
    "parameters",
    [
        "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Denoising strength: 0.75, Mask blur: 4",
        "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Inpaint area: Only masked, Masked area padding: 32",
        "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 6, App: SD.Next, Operations: upscale; inpaint, Mask weight: 0.5",
        '{"generation_mode": "sdxl_inpaint", "positive_prompt": "a cat", "steps": 20, "app_version": "invokeai 5"}',
    ],
)
def test_parameters_of_a_repainted_region_are_about_a_part(tmp_path, parameters):
    key = "invokeai_metadata" if "{" in parameters else "parameters"
    claim = decode(saved(tmp_path / "a.png", **png_text(key, parameters))).claims[0]
    assert (claim.kind, claim.part) == ("ai", True)


def test_a_picture_generated_before_a_region_was_repainted_is_whole(tmp_path):
    text = "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 6, App: SD.Next, Operations: txt2img; inpaint, Version: 1"
    assert read(tmp_path, "a.png", **png_text("parameters", text))[0][:4] == ("ai", "SD.Next", "tag", False)


@pytest.mark.parametrize(("asked", "part"), [("NativeInfillingRequest", True), ("PromptGenerateRequest", False)])
def test_the_name_of_a_tool_beside_its_parameters_is_about_the_same_extent(tmp_path, asked, part):
    comment = json.dumps({"prompt": "a cat", "steps": 28, "sampler": "k_euler", "uc": "", "request_type": asked})
    info = PngInfo()
    for key, value in {"Software": "NovelAI", "Source": "NovelAI Diffusion V4.5", "Comment": comment}.items():
        info.add_text(key, value)
    assert [claim[1:4:2] for claim in read(tmp_path, "a.png", pnginfo=info)] == [("NovelAI", part)] * 3


def test_chinas_label_does_not_say_that_the_whole_picture_is_generated(tmp_path):
    label = json.dumps({"AIGC": {"Label": "1", "ContentProducer": "A retoucher" + "!" * 99}})
    decoded = decode(written(tmp_path, "a.jpg", jpeg((0xFE, label.encode()))))
    assert decoded.claims[0].kind == "ai"
    card = summary(Finding("a.jpg", "ok", "real", 0.01, claims=decoded.claims), None)
    words = "carries China's label for AI-generated or AI-edited content: “A retoucher!"
    assert words in card.sentence and "AI-made" not in card.sentence and "AIGC" not in card.sentence
    assert "that it, or a part of it, is AI-made" in conflict(decoded.claims, "real")


@pytest.mark.parametrize(
    "chunks",
    [
        {"prompt": "a cat", "model": "gpt-image-1"},
        {"AIGC": '{"Label": "1"}'},
        {"AIGC": '{"label": "1", "contentProducer": "x"}'},
        {"Generator": "Stable Diffusion XL"},
        {"SD:prompt": "a cat", "SD:seed": "1", "SD:steps": "20", "SD:sampler": "Euler"},
    ],
)
def test_parameters_in_chunks_of_their_own_name_a_generator(tmp_path, chunks):
    info = PngInfo()
    for key, value in chunks.items():
        info.add_text(key, value)
    assert decode(saved(tmp_path / "a.png", pnginfo=info)).claims[0].kind == "ai"


def test_the_signature_of_grok_is_found_after_conversion(tmp_path):
    info = PngInfo()
    info.add_text("Description", f"Signature: {'A' * 88}==")
    info.add_text("Author", "3b1f8a52-7c1d-4e0a-9c2b-1a2b3c4d5e6f")
    assert decode(saved(tmp_path / "a.png", pnginfo=info)).claims[0].text == "Grok"
