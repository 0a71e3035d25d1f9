"""Requests of every kind that the service takes, and ways to damage one."""

import base64
import io
import json
from dataclasses import dataclass, field, replace
from random import Random

import numpy as np
from PIL import Image

from benchmarks.images import digit, photograph

FORMATS = {  # name: mode and options of Pillow
    "png": ("L", "PNG", {}),
    "png palette": ("P", "PNG", {}),
    "png alpha": ("RGBA", "PNG", {}),
    "png 16 bits": ("I;16", "PNG", {}),
    "jpeg": ("RGB", "JPEG", {}),
    "jpeg progressive": ("RGB", "JPEG", {"progressive": True}),
    "jpeg cmyk": ("CMYK", "JPEG", {}),
    "gif": ("P", "GIF", {}),
    "bmp": ("RGB", "BMP", {}),
    "webp": ("RGB", "WEBP", {}),
    "webp lossless": ("RGBA", "WEBP", {"lossless": True}),
    "tiff": ("RGB", "TIFF", {}),
    "tiff lzw": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    "tiff jpeg": ("RGB", "TIFF", {"compression": "jpeg"}),
    "tiff deflate": ("L", "TIFF", {"compression": "tiff_adobe_deflate"}),
}
NUMBERS = (b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff", b"\x00\x00", b"\xff\xff", b"\x7f\xff\xff\xff", b"\xff" * 4)
TOKENS = (
    *(b"null", b"true", b"-1", b"1e309", b"1e-999", b"99999999999999999999", b'""', b"[]", b"{}", b"[[]]"),
    *(b'"\\ud800"', b'"\\u0000"', b"NaN", b"\xff\xfe", b"[" * 500, b'{"a":' * 200, b'"' + b"A" * 5000 + b'"'),
)
HEADERS = ("Content-Type", "Inference-Header-Content-Length", "Accept-Encoding", "X-Request-Id", "Authorization")
VALUES = ("", "0", "-1", "99999999999", "gzip", "a" * 300, "multipart/form-data", "application/json", "*/*")


@dataclass(frozen=True, slots=True)
class Case:
    """One request."""

    kind: str
    method: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def sound_cases(model: str) -> list[Case]:
    """Requests that a service with a network for grey 32x32 images answers with 200."""
    images = {f"image {name}": encoded(*how) for name, how in FORMATS.items()}
    images |= {"image photograph": photograph(320, 240, seed=0), "image small png": digit()}
    classify = f"/models/{model}/classify"
    cases = [Case(kind, "POST", classify, data) for kind, data in images.items()]
    cases += [Case("statistics", "GET", path, b"") for path in ("/metrics", f"/models/{model}", "/openapi.json", "/")]
    text = base64.b64encode(digit()).decode()
    pixels = np.zeros((2, 32, 32, 1), np.uint8)
    tensor = {"name": "images", "datatype": "UINT8", "shape": [2, 32, 32, 1]}
    documents = {
        f"/v1/models/{model}:predict": {"instances": [{"b64": text}] * 2},
        f"/v1/models/{model}:predict ": {"instances": pixels.tolist()},
        f"/v2/models/{model}/infer": {"inputs": [{**tensor, "data": pixels.ravel().tolist()}]},
        f"/v2/models/{model}/infer ": {
            "inputs": [{"name": "images", "datatype": "BYTES", "shape": [1], "data": [text]}]
        },
    }
    cases += [
        Case(f"document {path.strip().rsplit('/', 1)[1]}", "POST", path.strip(), json.dumps(document).encode())
        for path, document in documents.items()
    ]
    about = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": pixels.nbytes}}]}).encode()
    length = {"Inference-Header-Content-Length": str(len(about)), "Content-Type": "application/octet-stream"}
    cases.append(Case("binary tensors", "POST", f"/v2/models/{model}/infer", about + pixels.tobytes(), length))
    form = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + digit() + b"\r\n"
        for _ in range(2)
    )
    multipart = {"Content-Type": "multipart/form-data; boundary=x"}
    cases.append(Case("form", "POST", classify, form + b"--x--\r\n", multipart))
    return cases


def encoded(mode: str, kind: str, options: dict[str, object]) -> bytes:
    pixels = np.add.outer(np.arange(40), np.arange(30)).astype(np.uint8) * 3
    image = Image.fromarray(pixels)
    image = Image.fromarray(pixels.astype(np.uint16) * 256) if mode == "I;16" else image.convert(mode)
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def damaged(case: Case, cases: list[Case], random: Random) -> Case:
    """A copy with one to four faults, in the body or in the headers."""
    body, headers, path = bytearray(case.body), dict(case.headers), case.path
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(body) + 1)
        match random.randrange(8):
            case 0 if body:
                body[place - 1] ^= 1 << random.randrange(8)
            case 1:
                number = random.choice(NUMBERS)
                body[place : place + len(number)] = number
            case 2:
                del body[place:]
            case 3:
                del body[place : place + random.randint(1, 64)]
            case 4:
                body[place:place] = random.choice(TOKENS)
            case 5:
                other = random.choice(cases).body
                start = random.randrange(len(other) + 1)
                body[place:] = other[start : start + 5000]
            case 6:
                body[place:place] = body[place : place + 200] * random.randint(1, 50)
            case _:
                name = random.choice(
                    ("Content-Type", "Inference-Header-Content-Length", "Accept-Encoding", "X-Request-Id")
                )
                headers[name] = random.choice(
                    ("", "0", "-1", "99999999999", "gzip", "a" * 300, "multipart/form-data", "*/*")
                )
    if case.method == "POST" and random.random() < 0.05:
        path += random.choice(("?top_k=-1", "?top_k=x", "?version=99", "/..", "%00", "?" + "a" * 3000))
    return replace(case, body=bytes(body) if case.method == "POST" else b"", headers=headers, path=path)
