"""What a harmful model might try; tests run each attempt confined, and some where nothing prevents them."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.errors import UserError


def main(arguments: Sequence[str]) -> Any:
    attempt, *rest = arguments
    return globals()[attempt](*rest)


def refused(attempt: str, *arguments: str) -> str:
    """The name of the error that the attempt ends with."""
    try:
        main([attempt, *arguments])
    except OSError as error:
        return type(error).__name__
    return "nothing refused it"


def write(path: str) -> None:
    Path(path).write_text("written")


def append(path: str) -> None:
    with Path(path).open("a") as file:
        file.write("written")


def empty(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))


def remove(path: str) -> None:
    Path(path).unlink()


def rename(path: str) -> None:
    Path(path).rename(Path(path).with_suffix(".moved"))


def take(path: str) -> None:
    Path(path).rename("taken")


def hard_link(path: str) -> None:
    os.link(path, "linked")


def symbolic_link(path: str) -> None:
    Path("linked").symlink_to(path)


def change_mode(path: str) -> None:
    Path(path).chmod(0o777)


def change_times(path: str) -> None:
    os.utime(path, (0, 0))


def read(path: str) -> str:
    return Path(path).read_text()


def list_files(path: str) -> list[str]:
    return os.listdir(path)  # noqa: PTH208 - as it is simplest


def connect(port: str) -> str:
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as connection:
        connection.sendall(b"secret")
    return "sent"


def unix_socket(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)


def run_program(path: str) -> None:
    subprocess.run([sys.executable, "-c", f"open({path!r}, 'w').close()"], check=True)


def become_program(path: str) -> None:
    os.execv("/bin/sh", ["sh", "-c", f"echo > {path}"])


def fork(path: str) -> None:
    if os.fork() == 0:
        Path(path).touch()
        os._exit(0)


def signal_parent(_: str) -> None:
    os.kill(os.getppid(), signal.SIGCONT)


def hidden_memory(_: str) -> None:
    os.close(os.memfd_create("hidden"))


def compatible_call() -> None:
    """A call by the x32 number of getpid: a denied one makes no process, it fails."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(0x40000000 | 39)) < 0:
        raise OSError(ctypes.get_errno(), "denied")


def everyday_work() -> dict[str, Any]:
    """What every library does, and has to be able to do."""
    started = threading.Thread(target=Path("thread").touch)
    started.start()
    started.join()
    Path("folder").mkdir()
    Path("thread").rename("folder/moved")
    with Path(os.devnull).open("w") as nowhere:
        nowhere.write("x")
    found = {name: os.environ.get(name, "") for name in ("HOME", "TMPDIR", "KERAS_HOME")}
    return {
        **found,
        "random": len(os.urandom(4)),
        "variables": sorted(os.environ),
        "folder": str(Path.cwd()),
        "moved": Path("folder/moved").exists(),
    }


def allocate_for_ever() -> None:
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1 << 10) * (16 << 10)))


def share_for_ever() -> None:
    """Memory that RLIMIT_DATA does not count."""
    import mmap

    kept = []
    while True:
        kept.append(mmap.mmap(-1, 16 << 20))
        for page in range(0, 16 << 20, mmap.PAGESIZE):
            kept[-1][page] = 1


def sleep_for_ever() -> None:
    while True:
        time.sleep(60)


def write_for_ever() -> None:
    with Path("large").open("wb") as file:
        while True:
            file.write(bytes(1 << 20))


def crash() -> None:
    ctypes.string_at(0)


def signal_itself(number: str) -> None:
    os.kill(os.getpid(), int(number))


def print_and_fail() -> None:
    print("a warning of a library", file=sys.stderr)
    raise KeyError("no \x1b[31msuch\nlayer")


def explain() -> None:
    raise UserError("The model has no layers.")


def leave() -> None:
    os._exit(0)


def answer_badly() -> None:
    Path("answer.json").write_text("[" * 100_000)
    os._exit(0)


def keras() -> Any:
    """A network is built, saved, loaded, compiled and exported, as an import does."""
    import keras
    import numpy as np
    import tensorflow as tf

    images = np.ones((2, 8, 8, 3), "float32")
    layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3), keras.layers.Flatten(), keras.layers.Dense(2)]
    network = keras.Sequential(layers)
    network.save("network.keras")
    loaded = keras.models.load_model("network.keras")
    loaded.export("exported", verbose=False)
    exported = tf.saved_model.load("exported")
    answers = exported.serve(images)
    tf.io.decode_image(tf.io.encode_png(tf.zeros((8, 8, 3), tf.uint8)))
    return {
        "agree": bool(np.allclose(answers, network.predict(images, verbose=0), atol=1e-5)),
        "devices": [device.device_type for device in tf.config.list_physical_devices()],
    }
