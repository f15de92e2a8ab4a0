"""The catalogue of generators and editors that files name, and how to find one in a text."""

from __future__ import annotations

from dataclasses import dataclass

_GENERATORS = (
    "ComfyUI", "InvokeAI", "NovelAI", "Midjourney", "Stable Diffusion", "DALL-E", "DALL·E", "OpenAI", "Adobe Firefly",
    "Google AI", "Imagen", "Flux", "Fooocus", "DreamStudio", "Leonardo", "Ideogram", "Recraft",
)  # fmt: skip


@dataclass(frozen=True)
class Tool:
    """One generator or editor.

    Attributes:
        name: Name that claims give it.
        means: "ai" for a generator, "ai-edit" for an editor that changes parts with AI, or "software".
    """

    name: str
    means: str


def tool_in(text: str, where: str) -> Tool | None:
    """Return the first tool of the catalogue that a text names; None if it names none.

    Args:
        text: Content of a metadata field.
        where: Kind of that field, such as "software" or "agent"; a tool counts only in the kinds that its row lists.
    """
    name = next((name for name in _GENERATORS if name.lower() in text.lower()), None)
    return Tool(name, "ai") if name else None
