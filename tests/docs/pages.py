"""The pages of the documentation, and what is in them: fenced blocks, links, headings."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.processes import ROOT

DOCS = ROOT / "docs"
FENCE = re.compile(
    r"^(?P<comment><!-- not run: [^\n]+ -->\n)?^(?P<fence>```+)(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
COMMENT = re.compile(r"<!-- not run: (.+) -->")
LINK = re.compile(r"!?\[(?:[^\]\\]|\\.)*\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", re.MULTILINE)
PROCESSES = re.compile(r"^\s*(striate (serve|demo)|make run)\b")  # lines that a page shows and a test does not run


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page.

    Attributes:
        line: of its fence, from 1.
        reason: why it is not run; None where it is.
    """

    language: str
    text: str
    line: int
    reason: str | None


@cache
def pages() -> tuple[Path, ...]:
    top = list(ROOT.glob("*.md"))
    return tuple(sorted([*top, *DOCS.rglob("*.md")]))


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        comment = COMMENT.match(match["comment"] or "")
        line = text.count("\n", 0, match.start("fence")) + 1
        found.append(Block(match["language"].strip(), match["text"], line, comment[1] if comment else None))
    return found


def without_blocks(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    prose = re.sub(r"`[^`\n]+`", "", without_blocks(page))
    return [inline or named for inline, named in LINK.findall(prose)]


def anchors(page: Path) -> set[str]:
    """The fragments that headings of a page can be linked by, as Python-Markdown and GitHub make them."""
    titles = re.findall(r"^#+ (.+?)\s*$", without_blocks(page), re.M)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").lower() for title in titles]
    return {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip()) for title in plain}


def script(page: Path, *, port: int) -> str:
    """The blocks of a page that can be run, as one bash script; each says first where it stands."""
    parts = []
    for block in blocks(page):
        if block.reason or block.language not in ("sh", "python"):
            continue
        text = block.text.replace("localhost:8000", f"127.0.0.1:{port}").replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        if block.language == "python":
            text = f"python - <<'END_OF_PYTHON'\n{text}END_OF_PYTHON\n"
        else:
            text = "".join(line for line in text.splitlines(keepends=True) if not PROCESSES.match(line))
        parts.append(f"echo '--- {page.name}:{block.line}' >&2\n{text}")
    return "\n".join(parts)
