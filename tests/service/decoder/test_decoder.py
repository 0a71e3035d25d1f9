"""Decoder processes: confined, replaced when they die, and no image holds up another for long."""

import contextlib
import os
import signal
import struct
import time
import zlib
from pathlib import Path

import gevent
import numpy as np
import pytest

from models.bundle.preprocessing import BadImage, InputSpec, decode_image
from service.decoder import jobs
from service.decoder import pool as pools
from service.decoder.pool import DecoderPool
from service.decoder.process import DecoderProcess
from service.decoder.work import Decoding
from service.errors import DeadlineExceeded
from tests.images import encode, noise, smooth

SPEC = InputSpec(16, 12, 3)
MAX_PIXELS = 40_000_000


@pytest.fixture(scope="module")
def pool():
    return DecoderPool(1, 20_000_000, MAX_PIXELS)


def soon(seconds: float = 60) -> float:
    return time.monotonic() + seconds


def decode(pool: DecoderPool, data: bytes, deadline: float | None = None) -> np.ndarray:
    return pool.start(data, SPEC, deadline or soon()).result()[0]


def process_of(pool: DecoderPool) -> DecoderProcess:
    """The one for ordinary images, which has nothing to do."""
    decoder = pool._light.get()
    pool._light.put(decoder)
    assert decoder is not None
    return decoder


def heavy_image() -> bytes:
    """A PNG of 16 million pixels, whose decoding takes some tenths of a second."""
    return encode(np.zeros((4000, 4000), np.uint8), "PNG", compress_level=1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_decoder_gives_the_pixels_that_the_decoder_of_the_bundle_gives(pool, kind):
    data = encode(smooth(60, 80), kind)
    assert np.array_equal(decode(pool, data), decode_image(data, SPEC))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "I;16", "CMYK", "LAB", "YCbCr"])
def test_no_mode_needs_what_a_confined_process_may_not_do(pool, mode):
    from PIL import Image

    kind = "PNG" if mode in ("1", "L", "LA", "P", "RGBA", "I;16") else "TIFF"
    source = Image.fromarray(smooth(30, 20)).convert("L" if mode == "I;16" else "RGB")
    try:
        image = source.convert(mode)
    except ValueError:  # Pillow converts nothing to LAB
        image = Image.new(mode, (20, 30))
    if mode == "PA":
        image, kind = source.convert("P"), "GIF"
    data = encode(image, kind)
    assert np.array_equal(decode(pool, data), decode_image(data, SPEC))


def test_bad_images_are_refused_in_the_same_words(pool):
    for data in (b"", b"<svg", b"no image", encode(noise(50, 50, 3))[:200]):
        with pytest.raises(BadImage) as here:
            decode_image(data, SPEC)
        with pytest.raises(BadImage) as there:
            decode(pool, data)
        assert (str(there.value), there.value.code) == (str(here.value), here.value.code)


def test_a_decoder_has_no_privileges_and_its_system_calls_are_filtered(pool):
    decode(pool, encode(noise(50, 50, 3)))
    decoder = process_of(pool)
    assert decoder.confinement is not None
    assert decoder.confinement.no_new_privileges
    status = Path(f"/proc/{decoder.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    if decoder.confinement.system_calls == "filtered":
        assert "Seccomp:\t2" in status


def test_a_confined_process_opens_no_file_and_no_connection_and_starts_no_program():
    code = """
import os, socket
from service.decoder.sandbox import confine
said = confine(256_000_000)
if said[1] == "filtered":
    for attempt in (lambda: open("/etc/hostname"), socket.socket, os.fork, lambda: os.kill(os.getppid(), 0)):
        try:
            attempt()
        except PermissionError:
            continue
        print("not refused")
try:
    bytearray(400_000_000)
    print("no limit")
except MemoryError:
    pass
os.write(1, b"done")
os._exit(0)
"""
    from tests.processes import python

    assert python("-c", code) == "done"


def test_a_decoder_that_is_killed_is_replaced_and_its_image_is_refused(pool):
    heavy = heavy_image()
    decode(pool, encode(noise(50, 50, 3)))
    pid = process_of(pool).pid
    os.kill(pid, signal.SIGSTOP)
    asked = pool.start(encode(noise(80, 80, 3)), SPEC, soon())
    gevent.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(BadImage, match="the process that decoded it has ended"):
        asked.result()
    assert decode(pool, heavy).shape == SPEC.shape
    assert process_of(pool).pid != pid


def test_a_decoder_whose_answer_cannot_be_read_is_replaced(pool, monkeypatch):
    small = encode(noise(50, 50, 3))
    decode(pool, small)
    before = process_of(pool).pid
    with monkeypatch.context() as patched:
        patched.setattr(jobs, "read_result", lambda _: jobs.read_confinement(b"no answer"))
        with pytest.raises(BadImage):
            decode(pool, small)
    assert decode(pool, small).shape == SPEC.shape
    assert process_of(pool).pid != before


def test_an_image_is_given_up_at_its_deadline(pool):
    decode(pool, encode(noise(50, 50, 3)))
    os.kill(process_of(pool).pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(BadImage) as late:
        decode(pool, encode(noise(80, 80, 3)), soon(0.5))
    assert late.value.code == "image_too_costly"
    assert time.monotonic() - began < 5
    assert decode(pool, encode(noise(50, 50, 3))).shape == SPEC.shape


def test_who_finds_no_free_decoder_until_the_deadline_is_told_so(pool):
    busy = pool._light.get()
    with pytest.raises(DeadlineExceeded, match="before a decoder was free"):
        decode(pool, encode(noise(50, 50, 3)), soon(0.2))
    pool._light.put(busy)


def test_heavy_images_do_not_hold_up_others(pool):
    heavy = [pool.start(heavy_image(), SPEC, soon()) for _ in range(4)]
    small = encode(noise(100, 100, 3))
    gevent.sleep(0.05)
    for _ in range(20):
        decode(pool, small)
    assert not all(decoding._greenlet.ready() for decoding in heavy)
    for decoding in heavy:
        assert decoding.result()[0].shape == SPEC.shape


def test_an_image_that_takes_long_and_did_not_look_like_it_is_decoded_by_the_other_decoder(pool, monkeypatch):
    monkeypatch.setattr(pools, "LIGHT_S", -1.0)
    monkeypatch.setattr(Decoding, "light_bytes", 20_000_000)
    decode(pool, encode(noise(50, 50, 3)))
    before = process_of(pool).pid
    data = encode(np.random.default_rng(0).integers(0, 255, (2200, 2400, 3), np.uint8), "PNG", compress_level=9)
    assert np.array_equal(decode(pool, data), decode_image(data, SPEC))
    assert process_of(pool).pid != before


def test_a_file_that_is_large_goes_past_the_decoder_for_which_others_wait(pool, monkeypatch):
    monkeypatch.setattr(Decoding, "light_bytes", 5000)
    decode(pool, encode(noise(9, 9, 3)))
    light = process_of(pool)
    monkeypatch.setattr(light, "do", lambda *_: pytest.fail("it was asked"))
    data = encode(noise(90, 90, 3))
    assert np.array_equal(decode(pool, data), decode_image(data, SPEC))


def test_who_does_not_wait_any_more_keeps_no_decoder(pool):
    heavy = heavy_image()
    asking = [gevent.spawn(decode, pool, heavy) for _ in range(3)]
    gevent.sleep(0.1)
    gevent.killall(asking)
    assert decode(pool, encode(noise(50, 50, 3))).shape == SPEC.shape


def jpeg_with(segments: int = 0, scans: int = 0) -> bytes:
    whole = encode(smooth(60, 80), "JPEG", progressive=True)
    at = whole.index(b"\xff\xda")
    end = whole.rindex(b"\xff\xd9")
    return whole[:2] + b"\xff\xfe\0\2" * segments + whole[2:end] + whole[at:end] * scans + whole[end:]


def png_with_chunks(count: int) -> bytes:
    whole = encode(noise(8, 8))
    chunk = b"\0\0\0\0aaAa" + struct.pack(">I", zlib.crc32(b"aaAa"))
    return whole[:33] + chunk * count + whole[33:]


def tiff_with_strips(count: int) -> bytes:
    tags = [(256, 3, 1, 40), (257, 4, 1, count), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (278, 4, 1, 1)]
    tags += [(273, 4, count, 8), (279, 4, count, 8)]
    packed = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + packed + bytes(4)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (jpeg_with(segments=3000), "2,000 segments"),
        (jpeg_with(scans=300), "200 scans"),
        (png_with_chunks(30_000), "20,000 chunks"),
        (tiff_with_strips(1_000_000), "20,000 strips or tiles"),
        (b"BM" + bytes(16) + struct.pack("<ii", 40_000_000, 1) + bytes(4) + struct.pack("<I", 1), "4,000,000 pixels"),
        (b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + struct.pack("<I", 6000 | 6000 << 14), "16,000,000 pixels, for a WebP"),
    ],
    ids=["segments", "scans", "chunks", "strips", "run lengths", "webp"],
)
def test_what_is_cheap_to_write_and_dear_to_read_is_refused_at_once(data, what):
    with pytest.raises(BadImage, match=what) as refused:
        decode_image(data, SPEC)
    assert refused.value.code == "image_too_costly"


@pytest.mark.parametrize(
    "data", [b"II+\0\x08\0\0\0" + b"\xff" * 8, b"MM\0*\xff\xff\xff\xff", b"II", b"BM", b"RIFF....WEBPVP8X"]
)
def test_a_header_that_points_nowhere_is_no_image(data):
    with pytest.raises(BadImage) as refused:
        decode_image(data, SPEC)
    assert refused.value.code == "image_invalid"


@pytest.mark.parametrize("data", [jpeg_with(segments=200, scans=5), png_with_chunks(500)], ids=["jpeg", "png"])
def test_what_is_unusual_and_cheap_is_decoded(data):
    assert decode_image(data, SPEC).shape == SPEC.shape


def test_a_decoder_ends_with_the_process_that_has_started_it(pool):
    code = """
import time
from gevent import monkey; monkey.patch_all()
from service.decoder.process import DecoderProcess
decoder = DecoderProcess(1000, "light")
print(decoder.pid, flush=True)
time.sleep(60)
"""
    import subprocess
    import sys

    from tests.harness import wait_for_end
    from tests.processes import ROOT

    worker = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    pid = int(worker.stdout.readline())
    time.sleep(0.5)
    worker.kill()
    worker.wait()
    worker.stdout.close()
    with contextlib.suppress(ProcessLookupError):
        wait_for_end(pid)
