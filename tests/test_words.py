"""Help texts, errors, notes, pages and documents are in plain words, without the banned dialect."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent / "hidascan"
TEMPLATES = sorted(path for suffix in ("html", "js", "svg") for path in ROOT.rglob(f"*.{suffix}"))
MODULES = sorted([*ROOT.rglob("*.py"), *(ROOT.parent / "benchmarks").glob("*.py")])
DOCUMENTS = [
    *(ROOT.parent / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "ARCHITECTURE.md")),
    *sorted((ROOT.parent / "weights").glob("*.md")),
    *sorted((ROOT.parent / "docs").rglob("*.md")),
]
COMMANDS = {ROOT / "cli.py", ROOT / "commands.py", *(ROOT / "lab/commands").glob("*.py")}

BANNED = re.compile(
    r"\b(told|(?<!cannot )tells?|said|law|anew|thereby|somebody|nobody|anybody"
    r"|as (it|they) (is|are|was|were)|of (what|ours|yours)|that which|(?<!there )(is|are) no (?!longer|better)[a-z]+"
    r"|looks? at|looked at|will do|passed over|left out|leave out|goes? on with|does not go with|stands? out"
    r"|made with other|do not tell|an? (line|row|file|image) an? \w+|seldom|who(m|se)?ever|whatever|sources? alike"
    r"|in the mean|like for like|hands? out|bare network|(never|ever|nothing|nobody) saw|unseen|hot area|all over)\b",
    re.IGNORECASE,
)
ALLOWED = {"as it is"}  # the row of untouched images in model cards
LOOSE = re.compile(r"(Of|Where|What|Which|Whose|How|When|So many) ")
ATTRIBUTE = re.compile(r"\s+\w+: (.*  # )?(of|where|what|which|whose|how) ", re.IGNORECASE)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def text_of(node: ast.expr) -> str:
    """Return the words of a string, with a placeholder for values that an f-string takes in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "N" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def strings(node: ast.AST, skipped: set[int]) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each string literal below a node; an f-string once, as a whole."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and id(node) not in skipped):
        yield node.lineno, text_of(node)
    for child in [] if isinstance(node, ast.Constant) else ast.iter_child_nodes(node):
        if not (isinstance(node, ast.JoinedStr) and isinstance(child, ast.Constant)):
            yield from strings(child, skipped)


def docstrings(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.Constant]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and text_of(first.value):
                yield node, first.value


def user_facing(tree: ast.Module, of_commands: bool) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of literals of several words: helps, errors, notes; and of the docstrings of commands."""
    found = list(docstrings(tree))
    yield from ((line, text) for line, text in strings(tree, {id(doc) for _, doc in found}) if " " in text.strip())
    for node, doc in found:
        if of_commands and isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield doc.lineno, doc.value


def helps(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "help":
            yield node.value.lineno, text_of(node.value)


def visible(page: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of a template: without styles, tags and Jinja, but with the strings of scripts."""
    blank = [r"<style>.*?</style>", r"\{%.*?%\}", r"\{\{.*?\}\}", r"</?[a-z][^<>]*>"]
    for pattern in blank:
        page = re.sub(pattern, lambda match: " " + "\n" * match[0].count("\n"), page, flags=re.DOTALL)
    yield from enumerate(page.splitlines(), 1)


def prose(document: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of Markdown, without code."""
    code = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
    yield from enumerate(code.sub(lambda match: "\n" * match[0].count("\n"), document).splitlines(), 1)


def offenders(name: str, texts: Iterator[tuple[int, str]], pattern: re.Pattern[str] = BANNED) -> list[str]:
    search = pattern.search if pattern is BANNED else pattern.match
    return [
        f"{name}:{line}: {match[0].strip()!r} in {text[:90]!r}"
        for line, text in texts
        if text not in ALLOWED and (match := search(text))
    ]


def test_user_facing_text_is_in_plain_words():
    wrong = []
    for path in MODULES:
        tree, name = parsed(path), str(path.relative_to(ROOT.parent))
        wrong += offenders(name, user_facing(tree, path in COMMANDS))
        wrong += offenders(name, helps(tree), LOOSE)
    for path in TEMPLATES:
        wrong += offenders(str(path.relative_to(ROOT.parent)), visible(path.read_text(encoding="utf-8")))
    assert not wrong, "\n" + "\n".join(wrong)


def test_documents_are_in_plain_words():
    wrong = []
    for path in DOCUMENTS:
        wrong += offenders(str(path.relative_to(ROOT.parent)), prose(path.read_text(encoding="utf-8")))
    assert not wrong, "\n" + "\n".join(wrong)


def test_docstrings_and_attributes_do_not_begin_with_a_loose_word():
    wrong = []
    for path in MODULES:
        name = str(path.relative_to(ROOT.parent))
        wrong += offenders(name, ((doc.lineno, doc.value) for _, doc in docstrings(parsed(path))), LOOSE)
        wrong += offenders(name, enumerate(path.read_text(encoding="utf-8").splitlines(), 1), ATTRIBUTE)
    assert not wrong, "\n" + "\n".join(wrong)


def test_planted_dialect_is_found():
    code = '''
def command(a: Annotated[str, Option(help="Of the cluster.")]):
    """Tell real from generated images."""
    print_to_stderr(f"{a} is no number")
    notes.append("the upper rows were looked at")
    raise UsageError("what was said of " f"{a}")
'''
    tree = ast.parse(code)
    found = offenders("planted", user_facing(tree, of_commands=True)) + offenders("planted", helps(tree), LOOSE)
    assert sorted(int(line.split(":")[1]) for line in found) == [2, 3, 4, 5, 6]
    page = "<style>\nlaw\n</style>\n<p title='law'>{{ told }}\n<b>told</b></p>"
    assert [line.split(":")[1] for line in offenders("page", visible(page))] == ["5"]
    document = "Kept `as it is`.\n```\nwhat was said\n```\nThe file is no image."
    assert [line.split(":")[1] for line in offenders("document", prose(document))] == ["5"]
    fields = [" name: str  # name of the weights", " name: str  # of the weights", " name: Of the weights."]
    assert [line.split(":")[1] for line in offenders("fields", enumerate(fields), ATTRIBUTE)] == ["1", "2"]
