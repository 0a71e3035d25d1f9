"""The documentation says what is true: its commands run, its links lead somewhere, its lists are those of the code."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from flask import Flask

import striate
from docs import generate
from service.protocols import admin, feedback, lineage, open_inference, tensorflow_serving, torchserve
from service.protocols import striate as protocols
from tests.conftest import Training
from tests.docs.pages import DOCS, anchors, blocks, links, pages, script, without_blocks
from tests.harness import RunningService, status_of, wait_until
from tests.images import encode, two_shades, write_folder
from tests.needs import LONG
from tests.processes import ROOT, environment, free_port

LANGUAGES = {"sh", "python", "javascript", "json", "toml", "yaml", "text", "nginx", "http", "html"}
RUN = "20261126-101500"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_generated_page_is_what_the_code_gives(name: str) -> None:
    """`make docs` writes it again."""
    assert (generate.REFERENCE / name).read_text(encoding="utf-8") == generate.HEAD + generate.PAGES[name]()


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        if fragment:
            assert fragment in anchors(target), f"{target.name} has no heading #{fragment}"


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_block_has_a_language_that_is_known(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES


def test_excerpts_of_the_networks_are_what_is_in_their_files() -> None:
    """Line by line, since some leave out what stands between."""
    paths = [path for package in ("models", "training") for path in (ROOT / package).rglob("*.py")]
    lines = {line.strip() for path in paths for line in path.read_text(encoding="utf-8").splitlines()}
    for page in (DOCS / "understand" / "networks").glob("*.md"):
        for block in blocks(page):
            if block.reason == "an excerpt":
                shown = {line.strip() for line in block.text.splitlines()} - {"", "..."}
                assert shown <= lines, f"{page.name}:{block.line}: {shown - lines}"


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_data_in_a_page_can_be_parsed(page: Path) -> None:
    for block in blocks(page):
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.language == "json" and "..." not in block.text:
            json.loads(block.text)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site")
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'<(?:script|link)[^>]+(?:src|href)="https?://', page), "a page loads from another machine"


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page for page in DOCS.rglob("*.md") if f"- {page.relative_to(DOCS).as_posix()}\n" not in menu] == []


def test_every_route_is_documented() -> None:
    """In a row of its table. The page says which routes of other servers also have a version or a label in them."""
    rows = (DOCS / "reference" / "http-api.md").read_text(encoding="utf-8").splitlines()
    app = Flask("routes", static_folder=None)
    for module in (protocols, admin, feedback, lineage, tensorflow_serving, open_inference, torchserve):
        app.register_blueprint(module.bp)
    missing = []
    for rule in app.url_map.iter_rules():
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"<\1>", rule.rule)
        if path.startswith(("/v1/", "/v2/")):
            path = re.sub(r"/(versions|labels)/<\w+>", "", path)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            if not any(row.startswith("| `") and method in row and f"{path}`" in row for row in rows):
                missing.append(f"{method} {path}")
    others = {"/v1/", "/v1/<rest>", "/v2/"}  # whatever else is below /v1, and /v2 with a slash behind it
    assert {path for path in missing if path.partition(" ")[2] not in others} == set()


def test_no_page_speaks_of_a_command_that_is_not_there() -> None:
    from striate.cli import COMMANDS

    for page in pages():
        if page.name in ("CHANGELOG.md", "decisions.md"):
            continue
        text = page.read_text(encoding="utf-8")
        for command in re.findall(r"`striate ([a-z][a-z-]*)", text) + re.findall(
            r"^striate ([a-z][a-z-]*)", text, re.M
        ):
            assert command in COMMANDS, f"{name_of(page)}: striate {command}"


def test_figures_live_on_the_page_of_benchmarks() -> None:
    """Elsewhere they would grow old. A figure is a share of images that were right, or a rate of images."""
    for page in DOCS.rglob("*.md"):
        if page.name in ("benchmarks.md", "decisions.md"):
            continue
        found = re.findall(r"[^.\n]*\b\d+(?:\.\d+)? (?:images/s|requests/s)[^.\n]*", without_blocks(page))
        assert found == [], name_of(page)


@pytest.fixture(scope="session")
def workplace(digits_training: Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the pages' commands are run in: CONTRIBUTING.md says what it has."""
    home = tmp_path_factory.mktemp("workplace")
    data = {"cat": two_shades(40)["dark"], "dog": two_shades(40)["light"]}
    write_folder(home / "photographs", data)
    (home / "cat.png").write_bytes(encode(data["cat"][0]))
    rows = [
        f"{path.relative_to(home / 'photographs')},{path.parent.name}" for path in (home / "photographs").rglob("*.png")
    ]
    (home / "labels.csv").write_text("path,label\n" + "\n".join(sorted(rows)) + "\n")
    settings = {"model": "lenet5", "epochs": 3, "size": 32, "dropout": 0.0, "progress": "quiet", "start": "scratch"}
    places = {name: home / name for name in ("runs", "exports")} | {"cache": home / ".cache"}
    for seed in (1, 2):
        run = striate.train(home / "photographs", "pets", publish=True, seed=seed, **settings, **places)
    run.folder.rename(home / "runs" / f"pets-{RUN}")
    shutil.copytree(digits_training.exports / "digits", home / "exports" / "digits")
    write_model_of_others(home / "pets.keras")
    return home


def write_model_of_others(path: Path) -> None:
    """A classifier of two classes, as Keras saves it."""
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    keras.Sequential(layers).save(path)


RUNNABLE = [page for page in pages() if script(page, port=8000).strip()]


@LONG
@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_every_command_of_a_page_runs(page: Path, workplace: Path, tmp_path: Path) -> None:
    """In their order, in one shell, beside a running service."""
    home = shutil.copytree(workplace, tmp_path / "home", symlinks=True)
    commands = tmp_path / "bin"
    commands.mkdir()
    python = f'#!/bin/sh\nPYTHONPATH="{ROOT}:$PYTHONPATH" exec "{sys.executable}" "$@"\n'
    shortened = f'#!/bin/sh\nPYTHONPATH="{ROOT}:$PYTHONPATH" exec "{sys.executable}" -m tests.docs.shortened "$@"\n'
    for name, text in (("python", python), ("python3", python), ("striate", shortened)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    port = free_port()
    variables = {**environment(), "PATH": f"{commands}:{os.environ['PATH']}", "TF_CPP_MIN_LOG_LEVEL": "3"}
    variables["HOME"] = str(tmp_path)  # programs of the user, such as those that use Keras, write into it
    log = tmp_path / "log"
    with log.open("wb") as output:
        settings = {"SERVICE_PORT": str(port), "SERVICE_FEEDBACK_OPEN": "1"}
        command = [sys.executable, "-P", "-m", "striate", "serve"]
        serving = {**variables, **settings, "PYTHONPATH": f"{ROOT}:{variables['PYTHONPATH']}"}
        process = subprocess.Popen(command, cwd=home, env=serving, stdout=output, stderr=output)
    service = RunningService(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_until(lambda: status_of(service, "/readyz") == 200, service)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script(page, port=port)],
            cwd=home,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout[-3000:]
    finally:
        assert service.stop() == 0, service.log()
