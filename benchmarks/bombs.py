"""Who notices images and bodies that are cheap to send and dear to read: `python -m benchmarks.bombs`.

Each kind is sent sixteen times at once, while good requests come at half of the rate that the service can answer. The
good ones' 99th percentile is compared with that of the same load undisturbed, before and after all kinds. The client
that sends bombs works in idle time, since one elsewhere would not take time of this machine; how long their answers
took is what the service's log says, from the head of the request on.
"""

import gzip
import io
import json
import shutil
import struct
import threading
import time
from collections import Counter
from pathlib import Path

import click
import numpy as np
import requests
from PIL import Image

from benchmarks.bundles import publish_random
from benchmarks.faults import LOAD, WARM_S, ask, measure_capacity, start_asking, summary
from benchmarks.images import photograph
from benchmarks.processes import circumstances, machine
from benchmarks.serving import WORK, exports_of
from benchmarks.subjects import Running, ours, running, tree
from models.bundle.preprocessing import InputSpec
from models.process.idle import give_way
from models.store.publish import publish

AT_ONCE = 16
ASKED_S = 6  # for which good requests come beside one kind
LOOKED_AT_S = 4.0  # of good requests, from the moment when the bombs are sent, or longer: until all are answered
BEFORE_S = 0.7  # of good requests before the bombs: the client has started
REQUEST_ID = "bomb"
WIDE, HIGH = 6600, 6000  # 39.6 million pixels, and 40 are the most that are accepted

Bomb = tuple[str, dict[str, str], bytes]  # path, headers, body


@click.command(context_settings={"show_default": True})
@click.option("--model", default="resnet18", help="Architecture, with random weights and 1000 classes.")
@click.option("--side", type=click.IntRange(1), default=224, help="Height and width of its input, in pixels.")
@click.option("--deadline-s", type=float, default=5.0, help="SERVICE_DEADLINE_S.")
@click.option("--kind", "kinds", multiple=True, help="Only this kind; may be repeated.")
def main(model: str, side: int, deadline_s: float, kinds: tuple[str, ...]) -> None:
    """Send bombs beside good requests, and time both."""
    WORK.mkdir(parents=True, exist_ok=True)
    image = WORK / "photograph.jpg"
    image.write_bytes(photograph(500, 375, seed=0))
    prepared, exports = exports_of(model, side), (WORK / "bombs").absolute()
    publish_random(model, InputSpec(side, side, 3), 1000, prepared, [image.read_bytes()])
    shutil.rmtree(exports, ignore_errors=True)
    publish(prepared / model / "1", exports)
    rate = LOAD * measure_capacity(ours(exports, model), image)
    found, subject = {}, ours(exports, model, SERVICE_DEADLINE_S=str(deadline_s))
    log = WORK / "bombs.log"
    with running(subject, image.read_bytes(), log) as server:
        ask(server, image, rate, WARM_S)
        before = ask(server, image, rate, ASKED_S)
        for name, bomb in all_bombs(model).items():
            if not kinds or name in kinds:
                found[name] = beside(server, log, image, rate, bomb)
        after = ask(server, image, rate, ASKED_S)
    undisturbed = summary(np.concatenate([before, after]))
    print(f"good requests undisturbed, {rate:.0f}/s, on {machine()}: p99 {undisturbed['p99_ms']:.0f} ms")
    print(f"{'sixteen at once':<30}{'good p99':>9}{'times':>7}{'failed':>8}{'longest':>9}{'decoder':>9}  answers")
    for name, row in found.items():
        ratio = row["p99_ms"] / undisturbed["p99_ms"]
        print(
            f"{name:<30}{row['p99_ms']:>6.0f} ms{ratio:>7.1f}{row['failed']:>8}{row['longest_s']:>7.2f} s"
            f"{row['decoder_mb']:>6.0f} MB  {row['answers']}"
        )
    print(json.dumps({"benchmark": "bombs", "model": model, **circumstances(), "undisturbed": undisturbed, **found}))


def beside(server: Running, log: Path, image: Path, rate: float, bomb: Bomb) -> dict[str, object]:
    """What came of sixteen bombs and of the good requests that came with them."""
    path, headers, body = bomb
    url = server.url.rsplit("/models/", 1)[0] + path
    statuses: list[int] = []
    logged = log.stat().st_size

    def send() -> None:
        give_way()
        answer = requests.post(url, data=body, headers={**headers, "X-Request-Id": REQUEST_ID}, timeout=60)
        statuses.append(answer.status_code)

    good = start_asking(server, image, rate, ASKED_S)
    time.sleep(BEFORE_S)
    began = time.monotonic()
    senders = [threading.Thread(target=send) for _ in range(AT_ONCE)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    ended = time.monotonic()
    peak = decoder_peak_mb(server.pid)
    rows = np.array(json.loads(good.communicate()[0])).reshape(-1, 3)
    due = rows[:, 0]
    disturbed = rows[(due >= began) & (due <= max(ended, began + LOOKED_AT_S))]
    return {
        **summary(disturbed),
        "failed": int((disturbed[:, 2] != 200).sum()),
        "longest_s": longest_s(log, logged),
        "decoder_mb": peak,
        "answers": " ".join(f"{count}x{status}" for status, count in sorted(Counter(statuses).items())),
    }


def longest_s(log: Path, at: int) -> float:
    """The most that an answer to a bomb took, by the lines of the log from this byte on."""
    with log.open("rb") as lines:
        lines.seek(at)
        found = [line for line in lines if REQUEST_ID.encode() in line]
    return max(float(json.loads(line)["total_ms"]) for line in found) / 1000


def decoder_peak_mb(service: int) -> float:
    """The most memory that any decoder has had since it started."""
    peaks = [0]
    for pid in tree(service):
        if "service.decoder" in Path(f"/proc/{pid}/cmdline").read_text():
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            peaks.append(next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")))
    return max(peaks) / 1024


def all_bombs(model: str) -> dict[str, Bomb]:
    classify, predict = f"/models/{model}/classify", f"/v1/models/{model}:predict"
    images = {
        "JPEG, 1,000 scans": jpeg(scans=1000),
        "JPEG, 20,000 scans": jpeg(scans=20_000),
        "JPEG, 300,000 segments": jpeg(segments=300_000),
        "PNG, flat": encoded(Image.new("RGB", (WIDE, HIGH)), "PNG"),
        "PNG, noise": encoded(noise().resize((WIDE, HIGH), Image.Resampling.NEAREST), "PNG", compress_level=1),
        "TIFF, 1,000,000 strips": tiff(strips=1_000_000),
        "BMP, run lengths": run_lengths(40_000_000),
        "WebP, lossless": encoded(Image.new("L", (6300, 6300)), "WEBP", lossless=True),
    }
    bodies = {
        "JSON, 7,900,000 numbers": b'{"instances":[[' + b"0," * 7_900_000 + b"0]]}",
        "JSON, 5,000,000 texts": b'{"instances":[' + b'"",' * 5_000_000 + b'""]}',
        "JSON, 6,000,000 deep": b'{"instances":' + b"[" * 6_000_000 + b"]" * 6_000_000 + b"}",
        "no JSON, 12 MB": b"x" * 12_000_000,
    }
    packed = {f"{name}, gzip": gzip.compress(data) for name, data in bodies.items() if name.startswith("JSON")}
    form = b"".join(b'--a\r\nContent-Disposition: form-data; name="image"\r\n\r\n\r\n' for _ in range(200_000))
    json_headers = {"Content-Type": "application/json"}
    return {
        **{name: (classify, {}, data) for name, data in images.items()},
        **{name: (predict, json_headers | {"Content-Encoding": "gzip"}, data) for name, data in packed.items()},
        **{name: (predict, json_headers, data) for name, data in bodies.items()},
        "form, 200,000 parts": (classify, {"Content-Type": "multipart/form-data; boundary=a"}, form + b"--a--\r\n"),
    }


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (HIGH // 4, WIDE // 4, 3), np.uint8))


def jpeg(scans: int = 0, segments: int = 0) -> bytes:
    """A progressive JPEG, to which so many scans or empty comments were added."""
    whole = encoded(Image.new("L", (6300, 6300)), "JPEG", progressive=True)
    scan = b"\xff\xda\0\x08\x01\x01\0\x01\x3f\0" + bytes(1)
    end = whole.rindex(b"\xff\xd9")
    return whole[:2] + b"\xff\xfe\0\2" * segments + whole[2:end] + scan * scans + whole[end:]


def tiff(strips: int) -> bytes:
    """A TIFF whose header names so many strips; of the few bytes that follow they are all made."""
    tags = [(256, 3, 1, 40), (257, 4, 1, strips), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (278, 4, 1, 1)]
    tags += [(273, 4, strips, 8), (279, 4, strips, 8)]
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", *t) for t in sorted(tags))


def run_lengths(width: int) -> bytes:
    """A BMP of one line in run lengths, whose first run ends it."""
    offset = 54 + 1024
    header = struct.pack("<2sIHHI", b"BM", offset + 4, 0, 0, offset)
    header += struct.pack("<IiiHHIIiiII", 40, width, 1, 1, 8, 1, 4, 0, 0, 256, 0)
    return header + bytes(1024) + b"\0\0\0\1"


if __name__ == "__main__":
    main()
