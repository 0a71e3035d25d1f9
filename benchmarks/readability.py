"""How easy pages are to read: Flesch's reading ease, and the length of sentences.

    pip install textstat==0.7.3     # not among our requirements; later versions download a dictionary
    python -m benchmarks.readability README.md docs

Reading ease is 206.835 - 1.015 words a sentence - 84.6 syllables a word (Flesch, 1948): plain English has 60 to 70, and
texts for specialists have less than 50. Code, tables, links and the names of things in backquotes are left out.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click

NO_PROSE = (  # what is left out, and what stands for it
    (re.compile(r"^(```+).*?^\1", re.MULTILINE | re.DOTALL), ""),
    (re.compile(r"^(?: {4}|\||#|<).*$", re.MULTILINE), ""),
    (re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])"), r"\1"),
    (re.compile(r"`[^`]*`"), "name"),
    (re.compile(r"^\s*(?:[-*]|\d+\.) ", re.MULTILINE), "\n"),
    (re.compile(r"[*_>]"), ""),
)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def main(paths: tuple[Path, ...]) -> None:
    """Measure the Markdown files PATHS, or all below folders, together."""
    import textstat

    text = "\n\n".join(prose(path.read_text(encoding="utf-8")) for path in files(paths))
    sentences = [sentence for sentence in re.split(r"(?<=[.!?:])\s+|\n\n+", text) if len(sentence.split()) > 2]
    whole = "\n".join(" ".join(sentence.split()).rstrip(":") + "." for sentence in sentences)
    words = sorted(len(sentence.split()) for sentence in sentences)
    click.echo(
        json.dumps(
            {
                "reading_ease": round(textstat.flesch_reading_ease(whole), 1),
                "words": sum(words),
                "words_a_sentence": round(sum(words) / len(words), 1),
                "longest_tenth_begins_at": words[9 * len(words) // 10],
            }
        )
    )


def files(paths: tuple[Path, ...]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(path.rglob("*.md")) if path.is_dir() else [path]


def prose(text: str) -> str:
    for pattern, instead in NO_PROSE:
        text = pattern.sub(instead, text)
    return text


if __name__ == "__main__":
    main()
