"""Read C2PA manifests ("Content Credentials"): what a signed file says of its making, and whether the signature holds."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import Any

from hidascan.image.formats import mime_type

_OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}


@dataclass(frozen=True)
class Manifest:
    """The active manifest of a file.

    Attributes:
        signature: "valid"; "unverified", intact but by a signer on no trust list; "broken", if the file was changed
            after signing or the signature is wrong.
        signer: Name of the issuer; "" where there is none.
        agents: What acted, the claim generator first.
        source_types: IPTC digital source types of its actions, such as trainedAlgorithmicMedia.
        actions: Such as created or edited.
    """

    signature: str
    signer: str
    agents: tuple[str, ...]
    source_types: tuple[str, ...]
    actions: tuple[str, ...]


def read_manifest(data: bytes, format: str) -> Manifest | None:
    """Read the manifest in the bytes of a file, None if there is none that can be read. Nothing is fetched."""
    if b"c2pa" not in data or not mime_type(format):
        return None
    try:
        import c2pa

        offline = c2pa.Context(c2pa.Settings.from_dict(_OFFLINE))
        with c2pa.Reader(mime_type(format), io.BytesIO(data), context=offline) as reader:
            return _parse(json.loads(reader.json()))
    except Exception:  # a broken manifest is no manifest; the library has an exception for each way
        return None


def _parse(report: dict[str, Any]) -> Manifest:
    active = report["manifests"][report["active_manifest"]]
    acts = [
        action
        for assertion in active.get("assertions", ())
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", ())
    ]
    agents = [active.get("claim_generator", ""), *(_agent(action) for action in acts)]
    return Manifest(
        _signature(report),
        str(active.get("signature_info", {}).get("issuer", "")),
        tuple(dict.fromkeys(filter(None, agents))),
        tuple(
            dict.fromkeys(str(a["digitalSourceType"]).rsplit("/", 1)[-1] for a in acts if a.get("digitalSourceType"))
        ),
        tuple(dict.fromkeys(str(a.get("action", "")).removeprefix("c2pa.") for a in acts)),
    )


def _agent(action: dict[str, Any]) -> str:
    agent = action.get("softwareAgent", "")
    return str(agent.get("name", "")) if isinstance(agent, dict) else str(agent)


def _signature(report: dict[str, Any]) -> str:
    failures = [str(status.get("code", "")) for status in report.get("validation_status") or ()]
    if not failures:
        return "valid"
    return "unverified" if all(code.startswith("signingCredential.") for code in failures) else "broken"
