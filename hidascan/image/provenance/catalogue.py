"""The catalogue of generators and editors named in files, search for them in text, and IPTC digital source types.

The names are in `catalogue.toml`: one row per tool. The types are those of cv.iptc.org/newscodes/digitalsourcetype.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

NO_NAME = "AI"  # of a generator that a text states without its name
FIELDS = ("software", "agent", "credit", "creator", "comment", "text")
_PATH = Path(__file__).with_name("catalogue.toml")
_OF_TOOLS = ("software", "agent")  # written by tools: a name anywhere in the value counts
_WHOLE = ("credit", "creator", "comment")  # also written by people: the name must be the whole value, or in a phrase
_OF_PEOPLE = ("credit", "creator")  # several names, such as "Anna via NAME"
_BESIDE = r"[;,|/(]|\s[-–—]\s|^(?:image|photo|picture|illustration|artwork|art|credit)\s*:"
_ACTORS = re.compile(_BESIDE, re.IGNORECASE)
_ACTORS_TOGETHER = re.compile(rf"{_BESIDE}|\s(?:via|using|and|und|et|y|&|\+)\s", re.IGNORECASE)
_SITE = re.compile(r"\w+\.[a-z]{2,}", re.IGNORECASE)
_ADDRESS = re.compile(r"\S+://\S+|\S+\.\w{2,}/\S*")
# What a chatbot did for a picture other than to make it, such as "captions via ChatGPT".
_OTHER_ROLE = re.compile(
    r"\b(?:(?:caption|keyword|translat|(?:auto)?tagg|describ|descripti|organi[sz](?!ation)|recogni|classif|cull|geotag)\w*|labels|(?<!c2pa )metadata|vision|ocr|alt|text(?![ -](?:to|effects?|encode\w*)\b))\b",
    re.IGNORECASE,
)
CHATBOTS = frozenset(  # they also describe pictures
    {
        "OpenAI", "ChatGPT", "gpt-image", "Meta AI", "Gemini", "Google AI", "Grok", "Qwen-Image", "GigaChat", "ERNIE",
        "Seedream", "Hunyuan", "Le Chat", "Microsoft Copilot", "Shutterstock AI", "PixAI",
    }
)  # fmt: skip
# Programs that examine pictures of a generator, and make none.
_EXAMINER = re.compile(
    r"\b(?:detect(?:or|ion|ed)|(?:auto)?tagger|interrogator|captioner|(?:metadata|prompt|image) (?:viewer|reader|browser))\b",
    re.IGNORECASE,
)
_MAX_LENGTH, _MAX_PHRASE_LENGTH = 500, 150
_TOKEN = re.compile(r"[^\W\d_\u3000-\u9fff]+|\d+|[\u3000-\u9fff]+")  # runs of letters, of digits, of Chinese
_VERSION = re.compile(r"v?\d[\w.]*|[0-9a-f]{8,}|", re.IGNORECASE)
_BETWEEN_VERSIONS = re.compile(r"[\s\-_/,:()\[\]]+")
# Before a name, as in "without NAME".
_NEGATION = re.compile(
    r"n['’]t\b|\b(?:not|no(?!\.?\s*\d)|non|without|never|neither|nor|kein\w{0,2}|nicht|ohne|sans|aucune?|pas|sin"
    r"|ningun[oa]?|senza|nessun[oa]?|sem|nenhum\w?|zonder|geen|niet|inte|ingen|inget|intet|ikke|uten|bez|nie|żad\w{1,3}"
    r"|žádn\w{1,2}|не|без|нет|não|nao|nunca|hayır|değil|nem|fără|όχι|δεν|χωρίς|لا|لم|بدون|לא|ללא|kullan\w*mad[ıi])\b|未(?:使用|采用|用)|[没沒]有|不(?:使用|适用|適用)|不(?:是|含)(?=(?:有|由|利用|采用|借助|用了?|使用了?|靠|经|以|通过|任何){0,3}(?:AI|人工智|生成))|[无無非](?=AI|人工智[能慧]|生成)"
    r"|(?:使用|利用|含ま)\w{0,4}(?:ない|なし|ません|せず)|않|미사용|없",
    re.IGNORECASE,
)
_DENIALS = (
    r"(?:no(?!\.?\s*\d)|nein|none|never|nee|nej|non|нет|否|不使用|未使用|false|off|disabled|(?<![\w.\-])0(?![\w.]))"
)
_DENIAL = re.compile(rf"\b{_DENIALS}\b", re.IGNORECASE)
# After a name, perhaps with a version, as in "NAME 2: no" and "NAME (not used)".
_AFTER_VERSION = r"(?:[\s\-]*v?\d[\w.]*)?"
_DENIED = re.compile(rf"{_AFTER_VERSION}\W*\b{_DENIALS}\s*(?:$|[;,|)/])", re.IGNORECASE)
_NOT_USED = re.compile(
    rf"{_AFTER_VERSION}[\s:=(\-–—]*(?:(?:is|was|were|has|have|wurde)\s*)?(?:n['’]t|not|never|nicht|niet|non|no|pas"
    r"|ikke|inte|не)\s+(?:be\w+\s+)?(?:used|involved|verwendet|genutzt|gebruikt|utili[sz]\w+|usad[oa]|usato|brukt|brugt"
    r"|använ\w+|использ\w+)\b",
    re.IGNORECASE,
)
_QUESTION = re.compile(r"[?？]\W*$")
# Between two words of a name that belong to separate ones.
_APART = re.compile(r"[^\w\s.·•・()/\-]|[./\-]\s|\s[./\-]")
_CLAUSES = re.compile(r"[;,，；。|()\[\]/\n]|\s[-–—]\s")
_YES = re.compile(r"\s*[:=]\s*(?:yes|ja|oui|s[iíì]|sim|да|是|true|1)\s*$", re.IGNORECASE)
_BY = re.compile(r"\s(?:by|with|using|via)\s", re.IGNORECASE)
_GENERATED = re.compile(r"\bgenerated\b", re.IGNORECASE)
# A setting of a generator, which denies nothing, such as "upscaler: none" beside "AI generated".
_SETTING = re.compile(
    rf"\s*(?:controlnet|hires|lora|refiner|seed|style|tiling|upscaler?|vae|watermark)\s*[:=]\s*{_DENIALS}\s*",
    re.IGNORECASE,
)
# What may stand beside a generator's name: the address of its maker at the end, and its maker before it.
_ASIDE = re.compile(r"(?<=\w)[\s:,–-]+\(?https?://\S+?\)?$")
_OWNER = re.compile(
    r"\b(?:OpenAI|Google|Adobe|Microsoft|Meta|xAI|Stability AI|Black Forest Labs|ByteDance)['’]s\s+(?=\w)",
    re.IGNORECASE,
)
_BRACKET_LAST = re.compile(r"([^()\[\]]+?)\s*[(\[]([^()\[\]]{1,60})[)\]]")
_SECOND_TOOL = re.compile(r"(?<=\w)\s(?:via|using|through)\s", re.IGNORECASE)
_MAKER = re.compile(
    r"(?:OpenAI|Google|Microsoft|Meta|xAI|Stability AI|Black Forest Labs|ByteDance|Alibaba|Baidu|Tencent)",
    re.IGNORECASE,
)
_SEVERAL = re.compile(r"\b(?:images|content)$", re.IGNORECASE)  # perhaps what a picture shows
_VERB_LAST = re.compile(r"^mit (.+) (erstellt|generiert|erzeugt)$", re.IGNORECASE)
_GENERATED_LAST = re.compile(
    r"^(?:(?:[此该本這](?:图片|图像|圖片|圖像|图))?(?:由|使用|用)(.+?)生成|(?:(?:この|本)?画像は)?(.+?)で生成(?:されました)?)$"
)
_LIBRARY = re.compile(r"\s[\w.\-]{0,40}c2pa[\w.\-]{0,40}/", re.IGNORECASE)  # "Recraft/1.0 c2pa-rs/0.49"
# Generators with the first name of a person: "Generated by Leonardo" names nobody for certain.
_FIRST_NAMES = frozenset({("bria",), ("leonardo",), ("luma",), ("sana",), ("sora",), ("vidu",)})
_BEFORE_PERSONS = frozenset({"by", "von", "durch", "par", "por", "da"})
_AI_GENERATED_WITH = (("ai", "generated", "with"), ("ai", "generated", "using"))
_NEGATION_WORDS = 6  # before a name, in which a negation applies to it
_SUFFIXES = frozenset(
    {
        "ai", "alpha", "app", "api", "beta", "dev", "diffusion", "edit", "fast", "flash", "full", "generate", "generator", "hd", "image",
        "large", "lite", "max", "medium", "mini", "model", "mre", "plus", "preview", "pro", "quality", "schnell", "standard",
        "turbo", "ultra", "version", "xl",
    }
)  # fmt: skip
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
_PLAIN_WORDS = re.compile(r"[\w\s'’]+")


def _joined(words: str) -> str:
    """Join words in lower case, the form in which terms are compared; IPTC writes "digitised" in British English."""
    return _SEPARATORS.sub("", words).lower().replace("digitized", "digitised")


_TERMS = {term.lower(): term for term in AI_WHOLE | AI_PART | CAMERA | OTHERS}
_TERMS |= {_joined(label): term for term, labels in _LABELS.items() for label in labels}
_LISTS = re.compile(
    r"(?:https?://)?(?:www\.)?(?:cv\.)?(?:iptc|c2pa)\.org/(?:newscodes/)?digitalsourcetype[/#:]", re.IGNORECASE
)
_C2PA = re.compile(r"\s*(?:https?://)?(?:www\.)?c2pa\.org/digitalsourcetype/(\w{1,60})", re.IGNORECASE)
_QCODE = re.compile(r"(?:digsrctype|iptc|c2pa):|(?:https?://)?schema\.org/", re.IGNORECASE)
_OTHER_LISTS = re.compile(r"urn:iptc:|\S+/digsrctype/", re.IGNORECASE)
_SCHEMA_ORG = re.compile(r"DigitalSource$", re.IGNORECASE)  # suffix of schema.org's names of the same types


@dataclass(frozen=True)
class Tool:
    """One generator or editor.

    Attributes:
        name: Name used in claims.
        means: "ai" for a generator, "ai-edit" for an editor that changes parts with AI, or "software".
    """

    name: str
    means: str


class _Token(NamedTuple):
    text: str
    start: int
    end: int


_Names = dict[tuple[str, ...], Tool]


def tool_in(text: str, where: str, aside: bool = True) -> Tool | None:
    """Return the catalogued tool that a text names, generators before other software; None if it names none.

    Args:
        text: Content of a metadata field.
        where: Kind of the field, one of FIELDS; a tool counts only in the kinds listed in its row.
        aside: Whether a name in a bracket or after "via" counts in fields that people write; False for keywords, which
            describe the subject of a picture.
    """
    text = text[:_MAX_LENGTH].strip().rstrip(".!。！")
    if where == "agent" and (library := _LIBRARY.search(text)):
        text = text[: library.start()]
    text = _ASIDE.sub("", _OWNER.sub("", text))
    if _QUESTION.search(text):  # a question states nothing
        return None
    return _in_tools_words(text, where) if where in _OF_TOOLS else _in_peoples_words(text, where, aside)


def _in_tools_words(text: str, where: str) -> Tool | None:
    """Return the tool named anywhere in a text that a tool wrote, or "AI" if one of its clauses only states that."""
    catalogue = _catalogue()
    named = _anywhere(text, catalogue.names[where])
    roles = (_OTHER_ROLE, _EXAMINER) if named and named.name in CHATBOTS else (_EXAMINER,)
    if named and named.means != "software" and any(role.search(text) for role in roles):
        clauses = re.split(r"[;,|()\[\]]|\s/\s", text)
        text = "; ".join(one for one in clauses if not any(role.search(one) for role in roles))
    lead, means = catalogue.lead(text)
    tool = _anywhere(text, catalogue.names[where]) or _whole(text[lead:], catalogue.alone)
    if (tool is None or tool.means == "software") and not is_negative(text):
        tool = next(filter(None, map(catalogue.statement, _CLAUSES.split(text))), tool)
    return _as_edit(tool) if tool and means == "ai-edit" else tool


def _in_peoples_words(text: str, where: str, aside: bool) -> Tool | None:
    """Return the tool that is the whole of a text, of a phrase, or of one of several names."""
    if "?" in text or "？" in text:
        return None
    text = text.removesuffix(": Clean Up")  # Apple's "Photos Generative Edit: Clean Up"
    catalogue = _catalogue()
    if where in _WHOLE and text.lower() in catalogue.addresses:
        return catalogue.addresses[text.lower()]
    names, allowed = catalogue.names[where], catalogue.alone if where == "credit" else catalogue.phrased
    if aside and len(text) <= _MAX_PHRASE_LENGTH and (tool := catalogue.phrase_before_aside(text, names, allowed)):
        return tool
    for one in (text, *(_actors(text) if where in _OF_PEOPLE else ())):
        if len(one) > _MAX_PHRASE_LENGTH:
            continue
        whole = _whole(one, catalogue.whole[where]) if where in _WHOLE else None
        if tool := whole or catalogue.phrase(one, names, allowed):
            return tool
    return None


def _actors(text: str) -> list[str]:
    """Return the names in a text such as "Anna via NAME"; none if that could change what it states."""
    if is_negative(text) or _OTHER_ROLE.search(text):
        return []
    text = _ADDRESS.sub(" ", text)
    return [*_ACTORS.split(text), *_ACTORS_TOGETHER.split(text)]


def states_ai(text: str) -> bool:
    """Return whether a text is nothing but a word for AI, in any language of the catalogue."""
    return bool(_PLAIN_WORDS.fullmatch(text[:_MAX_LENGTH])) and _key(text) in _catalogue().ai


def is_negative(text: str) -> bool:
    """Return whether a text denies something about AI; "AI generated; upscaler: none" does not."""
    clauses = (clause for clause in re.split(r"[;,|()]", text) if not _SETTING.fullmatch(clause))
    return any(_NEGATION.search(clause) or _DENIAL.search(clause) for clause in clauses)


class _Catalogue:
    """Index of tools by their words, and of words in phrases."""

    def __init__(self, content: dict[str, Any]):
        rows, phrases = content["tool"], content["phrases"]
        self.names: dict[str, _Names] = {where: {} for where in FIELDS}
        self.alone: _Names = {}
        self.addresses: dict[str, Tool] = {}  # among the names in `alone`: nobody is called so
        for row in rows:
            tool = Tool(row["name"], row["means"])
            for where in row.get("fields", FIELDS):
                self.names[where] |= {_key(word): tool for word in row["words"]}
            self.alone |= {_key(word): tool for word in row.get("alone", ())}
            self.addresses |= {word.lower(): tool for word in row.get("alone", ()) if _SITE.fullmatch(word)}
        places = {_key(name) for name in content["places"]}
        self.phrased = {key: tool for key, tool in self.alone.items() if len(key) > 1 and key not in places}
        self.names |= {
            where: self.names[where] | {_key(word): Tool(word, "software") for word in content["software"]}
            for where in _OF_TOOLS
        }
        companies = self._companies = {_key(word) for word in content["companies"]}
        # The names that count as a whole value: "OpenAI" and "Anna, OpenAI" may only credit a press photo.
        self.whole = {where: self.names[where] for where in _WHOLE}
        self.whole |= {where: _without(companies, self.names[where]) for where in _OF_PEOPLE}
        self._leads = {
            _key(lead): means
            for verbs, elsewhere, means in (("made", "made_elsewhere", "ai"), ("edited", "edited_elsewhere", "ai-edit"))
            for lead in (*(f"{verb} {by}" for verb in phrases[verbs] for by in phrases["by"]), *phrases[elsewhere])
        }
        self._nouns = {_key(noun)[0] for noun in phrases["nouns"]}
        self._start = self._nouns | {_key(word)[0] for word in phrases["start"]}
        self.ai = {_key(word) for word in phrases["ai"]}
        self._stated = {_key(words): "ai" for words in phrases["stated"]}
        self._stated |= {_key(words): "ai-edit" for words in phrases["stated_edited"]}

    def lead(self, text: str) -> tuple[int, str]:
        """Return the end of a lead such as "Made with" or "This image was edited by", and its meaning."""
        tokens = list(_tokens(text))
        for first in (0, self._after_start(tokens)):
            if size := _longest(text, tokens[first:], self._leads):
                return tokens[first + size - 1].end, self._leads[_texts(tokens[first : first + size])]
        return 0, ""

    def phrase(self, text: str, names: _Names, alone: _Names) -> Tool | None:
        """Return the tool of a text that only states that the picture was made with it.

        Names in `alone` count only after "with", as "by" may introduce a person.
        """
        text = _in_english_order(_YES.sub("", text))
        end, means = self.lead(text)
        if means:
            tool = self._maker(text[:end].lower(), text[end:].strip().removeprefix("the "), names, alone)
            return _as_edit(tool) if tool and means == "ai-edit" else tool
        tokens = list(_tokens(text))
        if tokens and tokens[-1].text in self._nouns:
            tokens.pop()
        stated = self._stated.get(_texts(tokens)) or self._stated.get(_texts(tokens[self._after_start(tokens) :]))
        if stated:
            return Tool(NO_NAME, stated)
        if len(tokens) > 1 and tokens[-1].text == "generated":
            end = tokens[-3].end if len(tokens) > 2 and tokens[-2].text == "ai" else tokens[-2].end
            return _whole(text[:end], names)
        return None

    def phrase_before_aside(self, text: str, names: _Names, alone: _Names) -> Tool | None:
        """Return the tool of a phrase before one bracket or second tool: "Generated by NAME (MAKER)", "... via NAME".

        What follows must be a name: "AI-generated art (right)" is about a picture in the picture.
        """
        if is_negative(text) or _OTHER_ROLE.search(text):
            return None
        bracket = _BRACKET_LAST.fullmatch(text)
        stated, *asides = bracket.groups() if bracket else _SECOND_TOOL.split(text, maxsplit=1)
        if not asides or _SEVERAL.search(stated):
            return None
        aside, has_lead = asides[0].strip(), bool(self.lead(stated)[1])
        other = _whole(aside, self.names["agent"] | self.alone)
        generator = other if other and other.means != "software" else None
        is_maker = bool(_MAKER.fullmatch(aside)) or _key(aside) in self.ai
        is_tool = not bracket and has_lead and _is_unknown_tool(aside)
        if not (generator or is_maker or is_tool or _SITE.fullmatch(aside)):
            return None
        tool = self.phrase(stated, names, alone)
        if tool and tool.name == NO_NAME:  # Illustrator's format is called AI, and so are people
            if generator and not self._ends_in_place(stated):
                return Tool(generator.name, tool.means)
            return tool if is_maker and not has_lead else None
        is_handout = self._names_a_company(stated) and (not generator or _key(aside) in self._companies)
        return None if is_handout else tool

    def _ends_in_place(self, stated: str) -> bool:
        """Return whether a phrase is such as "Created in AI" or "Generated from AI"."""
        return _key(stated[: self.lead(stated)[0]])[-1:] in (("in",), ("from",))

    def _names_a_company(self, stated: str) -> bool:
        """Return whether a phrase names a company alone, as "Image by OpenAI" does, which may be a press photo."""
        return _key(stated[self.lead(stated)[0] :].strip().removeprefix("the ")) in self._companies

    def _maker(self, lead: str, named: str, names: _Names, alone: _Names) -> Tool | None:
        """Return the tool named after a lead; after "generated", names count that may also be those of people."""
        words, name = _key(lead), _key(named)
        generated = any(word.startswith(("gener", "génér", "gerad")) for word in words)
        if generated:
            names = names | self.names["agent"] | self.alone
        elif lead.endswith(("with", "using")):
            names = names | alone
        is_first_name = name in _FIRST_NAMES or (named in ("Ai", "Ki", "Ia") and not generated)
        if is_first_name and words[-1] in _BEFORE_PERSONS and "ai" not in words:
            return None
        if name in self.ai:
            return Tool(NO_NAME, "ai")
        states_ai = words in _AI_GENERATED_WITH and _is_unknown_tool(named)
        return _whole(named, names) or (Tool(NO_NAME, "ai") if states_ai else None)

    def statement(self, clause: str) -> Tool | None:
        """Return the tool of a clause such as "AI generated: yes" or "AI generated image by NAME"."""
        if _QUESTION.search(clause):
            return None
        stated, *by = _BY.split(clause, maxsplit=1)
        if by and (not _GENERATED.search(stated) or by[0].startswith("hand")):
            stated = ""  # "AI created with Adobe Illustrator" is about a file in its format
        return self.phrase(clause, {}, {}) or self.phrase(stated, {}, {})

    def _after_start(self, tokens: list[_Token]) -> int:
        return next((at for at, token in enumerate(tokens) if token.text not in self._start), 0)


@functools.cache
def _catalogue() -> _Catalogue:
    return _Catalogue(tomllib.loads(_PATH.read_text(encoding="utf-8")))


def _anywhere(text: str, names: _Names) -> Tool | None:
    """Return the first tool named as a whole word and not negated, generators before other software."""
    tokens, found, first = list(_tokens(text)), [], 0
    while first < len(tokens):
        size = _longest(text, tokens[first:], names)
        if size and not _is_negated(text, tokens[max(0, first - _NEGATION_WORDS) : first + size], size):
            found.append(names[_texts(tokens[first : first + size])])
        first += size or 1
    return next((tool for tool in found if tool.means != "software"), found[0] if found else None)


def _is_negated(text: str, tokens: list[_Token], size: int) -> bool:
    """Return whether the words before the last `size` ones, or what follows them, deny these."""
    end = tokens[-1].end
    before = text[tokens[0].start : tokens[-size].start]
    return bool(_NEGATION.search(before) or _DENIED.match(text, end) or _NOT_USED.match(text, end))


def _whole(text: str, names: _Names) -> Tool | None:
    """Return the tool whose name, optionally with a version, is the whole text."""
    text = text.strip()
    tokens = list(_tokens(text))
    size = _longest(text, tokens, names)
    if not size or text[: tokens[0].end].lower() != tokens[0].text:
        return None
    return names[_texts(tokens[:size])] if _is_version(text[tokens[size - 1].end :]) else None


def _is_unknown_tool(text: str) -> bool:
    """Return whether a text looks like the name of a tool; "AI" is also the format of Illustrator."""
    words = _key(text)
    return text[:1].isupper() and len(words) <= 3 and "illustrator" not in words and not is_negative(text)


def _longest(text: str, tokens: list[_Token], names: dict[tuple[str, ...], Any]) -> int:
    """Return the number of tokens of the longest name at the start; 0 for none."""
    sizes = range(min(8, len(tokens)), 0, -1)
    return next((n for n in sizes if _texts(tokens[:n]) in names and _is_one_name(text, tokens[0], tokens[n - 1])), 0)


def _is_one_name(text: str, first: _Token, last: _Token) -> bool:
    """Return whether no punctuation separates the words of a name; brackets may, if they close with it."""
    inside = text[first.start : last.end]
    closed = text[first.start : last.end + 1].count(")") >= inside.count("(")
    return closed and not _APART.search(inside)


def _without(keys: set[tuple[str, ...]], names: _Names) -> _Names:
    return {key: tool for key, tool in names.items() if key not in keys}


def _is_version(rest: str) -> bool:
    """Return whether the rest after a name is only a version, such as ` 2.5 Flash`, `/1.0` or `-1-mini`."""
    parts = _BETWEEN_VERSIONS.split(rest.strip(" .™®"))
    return len(parts) <= 8 and all(part.lower() in _SUFFIXES or _VERSION.fullmatch(part) for part in parts)


def _in_english_order(text: str) -> str:
    """Put the verb of a phrase before its tool, as in "Mit NAME erstellt", "由NAME生成" and "NAMEで生成"."""
    text = _VERB_LAST.sub(r"\2 mit \1", text)
    by = "by" if "由" in text else "with"
    return _GENERATED_LAST.sub(lambda found: f"generated {by} {found[1] or found[2]}", text)


def _as_edit(tool: Tool) -> Tool:
    return tool if tool.means == "software" else Tool(tool.name, "ai-edit")


def _tokens(text: str) -> Iterator[_Token]:
    for match in _TOKEN.finditer(text):
        yield _Token(match.group().lower(), *match.span())


def _texts(tokens: Iterable[_Token]) -> tuple[str, ...]:
    return tuple(token.text for token in tokens)


def _key(word: str) -> tuple[str, ...]:
    return _texts(_tokens(word))


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


def meaning_of(term: str) -> tuple[str, bool]:
    """Return the kind of claim of a term, "" for none, and whether it is about part of the picture."""
    term = _TERMS.get(term.lower(), term)
    if term in AI_WHOLE | AI_PART:
        return "ai", term in AI_PART
    return ("camera" if term in CAMERA else ""), False
