"""The loop from feedback to a better live model, watched: `python -m benchmarks.loop --data FOLDER`.

Images of FOLDER (a folder per class; CIFAR-10's training images, say) arrive in slices. The first is the base data, the
others come in as feedback over HTTP, one image a request. After each a retraining job runs, while clients ask the
service at a fixed rate. One slice has its labels shuffled; from another one on, half of the images are of a new kind:
taken at night. Prints what each job decided and why, how many requests failed, and how accurate the live version was
on images that nobody trained on; writes that as a drawing and as JSON.
"""

import base64
import concurrent.futures
import http.client
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

from benchmarks.processes import circumstances, first_answer
from benchmarks.subjects import free_port
from models.files.durable import write_durably
from training.report.svg import drawing

MODEL = "loop"
NUM_TESTS = 1000  # of each kind, by which the live version is measured
NUM_SENDERS = 4
PIECE_S = 15  # for which clients ask, over and over
PRIORITY = ("--give-way",)  # of the jobs
KEY = "the key that says right labels"
JOB = """
model = "{model}"
data = "base"
feedback = ["feedback/{model}/labelled"]
service = "{url}"

[training]
model = "{network}"
size = 32
channels = 3
epochs = {epochs}
learning_rate = 0.05
split = "75/5/20"

[rollout]
canary_s = 8
watch_s = 8
min_requests = 20
"""
Labelled = tuple[str, bytes]  # class name, encoded image


@dataclass
class Load:
    """Requests at a fixed rate, in processes of their own; what they were answered."""

    url: str
    image: Path
    rate: float
    statuses: list[int] = field(default_factory=list)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Until the block ends."""
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            going = [True]
            asking = pool.submit(self._ask_while, going)
            try:
                yield
            finally:
                going.clear()
                asking.result()

    def _ask_while(self, going: list[bool]) -> None:
        while going:
            command = [
                sys.executable,
                "-m",
                "benchmarks.open_loop",
                self.url,
                str(self.image),
                str(self.rate),
                str(PIECE_S),
            ]
            answers = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
            self.statuses += [status for _, _, status in answers]


@click.command()
@click.option("--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--network", default="resnet20", show_default=True)
@click.option("--epochs", default=8, show_default=True)
@click.option("--slices", default=10, show_default=True)
@click.option("--slice-size", default=4_800, show_default=True, help="Images in a slice.")
@click.option("--poisoned", default=5, show_default=True, help="The slice whose labels are shuffled.")
@click.option("--night-from", default=7, show_default=True, help="The first slice with images of the new kind.")
@click.option("--rate", default=20.0, show_default=True, help="Requests a second.")
@click.option("--work", type=click.Path(path_type=Path), help="A folder to work in. [default: a temporary one]")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("build/bench"),
    show_default=True,
    help="A folder; benchmarks/results has the figures of docs/understand/benchmarks.md.",
)
def main(
    data: Path,
    network: str,
    epochs: int,
    slices: int,
    slice_size: int,
    poisoned: int,
    night_from: int,
    rate: float,
    work: Path | None,
    output: Path,
) -> None:
    """Simulate months of feedback in an hour."""
    work = (work or Path(tempfile.mkdtemp(prefix="striate-loop-"))).resolve()
    rng = random.Random(0)
    images = read_images(data)
    rng.shuffle(images)
    tests, images = images[:NUM_TESTS], images[NUM_TESTS:]
    nights = [(label, at_night(image, rng)) for label, image in tests]
    parts = [images[i * slice_size : (i + 1) * slice_size] for i in range(slices)]
    write_folder(work / "base", parts[0])
    (work / "asked.jpg").write_bytes(tests[0][1])
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (work / "job.toml").write_text(JOB.format(model=MODEL, network=network, epochs=epochs, url=url))
    rows = [{"slice": 1, "kind": "base", **retrain(work)}]
    if rows[0]["outcome"] != "promoted":
        raise click.ClickException(f"the base data give no model: {rows[0]['reason']}")
    with service(work, port):
        ask = f"{url}/models/{MODEL}/classify"
        first_answer(ask, tests[0][1], headers={"Content-Type": "image/jpeg"}, timeout_s=60)
        rows[0] |= {"day": measure(port, tests), "night": measure(port, nights)}
        print_row(rows[0])
        load = Load(ask, work / "asked.jpg", rate)
        with load.running():
            for number, part in enumerate(parts[1:], 2):
                kind, part = changed(part, number, poisoned, night_from, rng)
                send(port, part)
                row = {"slice": number, "kind": kind, **retrain(work)}
                rows.append(row | {"day": measure(port, tests), "night": measure(port, nights)})
                print_row(rows[-1])
    failed = sum(status != 200 for status in load.statuses)
    print(f"\n{failed} of {len(load.statuses):,} requests failed")
    found = {**circumstances(), "requests": len(load.statuses), "failed": failed, "slices": rows}
    output.mkdir(parents=True, exist_ok=True)
    write_durably(output / "loop.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    title = "accuracy of the live version, slice by slice; below, on images taken at night"
    curves = {kind: [row[kind] for row in rows] for kind in ("night", "day")}
    write_durably(output / "loop.svg", drawing(title, curves, "slice"))
    print(json.dumps({"benchmark": "loop", **found}))


def read_images(folder: Path) -> list[Labelled]:
    return [(path.parent.name, path.read_bytes()) for path in sorted(folder.glob("*/*"))]


def write_folder(root: Path, images: list[Labelled]) -> None:
    for i, (label, image) in enumerate(images):
        (root / label).mkdir(parents=True, exist_ok=True)
        (root / label / f"{i:05}.jpg").write_bytes(image)


def changed(
    images: list[Labelled], number: int, poisoned: int, night_from: int, rng: random.Random
) -> tuple[str, list[Labelled]]:
    """What is odd about a slice, and its images."""
    if number == poisoned:
        labels = [label for label, _ in images]
        rng.shuffle(labels)
        return "labels shuffled", [(label, image) for label, (_, image) in zip(labels, images, strict=True)]
    if number >= night_from:
        half = len(images) // 2
        return "half at night", [(label, at_night(image, rng)) for label, image in images[:half]] + images[half:]
    return "more of the same", images


def at_night(image: bytes, rng: random.Random) -> bytes:
    """Dark, bluish and noisy."""
    pixels = np.asarray(Image.open(io.BytesIO(image)).convert("RGB"), np.float32)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, 10, pixels.shape)
    dark = np.clip(pixels * (0.18, 0.2, 0.32) + noise, 0, 255).astype(np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(dark).save(encoded, "PNG")
    return encoded.getvalue()


@contextmanager
def service(work: Path, port: int) -> Iterator[None]:
    settings = {"PORT": port, "EXPORTS": work / "exports", "FEEDBACK": work / "feedback", "LOG_LEVEL": "WARNING"}
    settings["FEEDBACK_KEYS"] = KEY
    environment = {**os.environ, **{f"SERVICE_{name}": str(value) for name, value in settings.items()}}
    with (work / "service.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "service"], env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def retrain(work: Path) -> dict[str, Any]:
    """One job in idle time: what it decided, and in how many seconds."""
    began = time.monotonic()
    command = [sys.executable, "-m", "training", "retrain", str(work / "job.toml"), *PRIORITY]
    with (work / "jobs.log").open("ab") as log:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=log, text=True)
    if not done.stdout.strip():
        raise click.ClickException(f"the job failed; see {work / 'jobs.log'}")
    result = json.loads(done.stdout.splitlines()[-1])
    wanted = ("outcome", "reason", "version", "champion", "new_images", "set_aside")
    return {**{name: result[name] for name in wanted}, "seconds": round(time.monotonic() - began)}


def send(port: int, images: list[Labelled]) -> None:
    """Each as feedback, over HTTP."""

    def give(share: list[Labelled]) -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            for label, image in share:
                connection.request("POST", f"/models/{MODEL}/feedback?label={label}", image, {"X-API-Key": KEY})
                response = connection.getresponse()
                answer = response.read()
                if response.status not in (200, 201):
                    raise click.ClickException(f"feedback was answered {response.status}: {answer.decode()}")

    with concurrent.futures.ThreadPoolExecutor(NUM_SENDERS) as pool:
        list(pool.map(give, [images[i::NUM_SENDERS] for i in range(NUM_SENDERS)]))


def measure(port: int, images: list[Labelled]) -> float:
    """Accuracy of whatever answers."""
    right = 0
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for start in range(0, len(images), 50):
            some = images[start : start + 50]
            body = json.dumps({"images": [base64.b64encode(image).decode() for _, image in some]})
            connection.request("POST", f"/models/{MODEL}/classify", body, {"Content-Type": "application/json"})
            predictions = json.loads(connection.getresponse().read())["predictions"]
            right += sum(answer["label"] == label for answer, (label, _) in zip(predictions, some, strict=True))
    return round(right / len(images), 4)


def print_row(row: dict[str, Any]) -> None:
    print(
        f"slice {row['slice']:>2}  {row['kind']:<17} {row['outcome']:<9} day {row['day']:.1%}  "
        f"night {row['night']:.1%}  {row['seconds']:>4} s  {row['reason']}",
        flush=True,
    )


if __name__ == "__main__":
    main()
