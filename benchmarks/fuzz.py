"""Whatever a client sends, the service answers: `python -m benchmarks.fuzz --exports DIR --model NAME`.

Sound requests of every kind, and copies of them that were damaged, go to a real service over a few connections. Each
must get an answer in time that is no 500; the service must answer sound requests in between. Halfway and at the end the
memory and the file descriptors of all its processes are counted. What breaks this is written into a folder.
"""

import http.client
import json
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import click

from benchmarks.fuzz_cases import Case, damaged, sound_cases
from benchmarks.processes import circumstances
from benchmarks.serving import WORK
from benchmarks.subjects import Running, ours, running, tree

LATE_S = 0.2  # after the deadline, in which an answer must be there
REFUSALS = (400, 404, 405, 408, 411, 413, 414, 415, 417, 422, 429, 431, 503, 504)


@dataclass(slots=True)
class Seen:
    """What came of it, of all clients."""

    statuses: Counter[tuple[str, str, int]] = field(default_factory=Counter)  # kind, sound or damaged, status
    findings: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def total(self) -> int:
        return self.statuses.total()


@click.command(context_settings={"show_default": True})
@click.option("--exports", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--model", required=True)
@click.option("--requests", "num_requests", type=click.IntRange(1), default=1_000_000)
@click.option("--damaged", "share", type=click.FloatRange(0, 1), default=0.5, help="Share of damaged requests.")
@click.option("--connections", type=click.IntRange(1), default=4)
@click.option("--seed", type=int, default=0)
@click.option("--deadline-s", type=float, default=5.0, help="SERVICE_DEADLINE_S.")
@click.option(
    "--rest-s", type=float, default=90, help="Pause before memory is counted: a decoder of heavy images ends."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), default=WORK / "fuzz", help="Folder of findings.")
def main(
    exports: Path,
    model: str,
    num_requests: int,
    share: float,
    connections: int,
    seed: int,
    deadline_s: float,
    rest_s: float,
    output: Path,
) -> None:
    """Send sound and damaged requests, and say what came of them."""
    output.mkdir(parents=True, exist_ok=True)
    cases = sound_cases(model)
    subject = ours(exports, model, SERVICE_DEADLINE_S=str(deadline_s))
    image = next(case.body for case in cases if case.kind == "image png")
    with running(subject, image, output / "service.log") as server:
        seen, held = Seen(), []
        for part in range(4):  # the first is a warm-up: pools fill, and the allocator takes what it needs
            ask_for_a_part(server, cases, num_requests // 4, share, connections, seed + part, deadline_s, output, seen)
            time.sleep(rest_s)
            held.append(footprint(server))
            said = ", ".join(f"{value:,} {name}" for name, value in held[-1].items())
            print(f"after {seen.total:,} requests: {said}, {len(seen.findings)} findings", flush=True)
    for (kind, how, status), count in sorted(seen.statuses.items()):
        print(f"{kind:<28} {how:<8} {status} {count:>9,}")
    for finding in seen.findings[:20]:
        print(finding)
    growth = held[-1]["kB"] / held[1]["kB"] - 1
    print(f"memory grew by {growth:.1%} in the last half of the requests")
    result = {"benchmark": "fuzz", **circumstances(), "requests": seen.total, "findings": len(seen.findings)}
    print(json.dumps({**result, "held": held, "memory_growth": growth}))
    sys.exit(1 if seen.findings else 0)


def ask_for_a_part(
    server: Running,
    cases: list[Case],
    count: int,
    share: float,
    connections: int,
    seed: int,
    deadline_s: float,
    output: Path,
    seen: Seen,
) -> None:
    def ask(number: int) -> None:
        random = Random(f"{seed} {number}")
        connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=deadline_s + 5)
        for _ in range(count // connections):
            case = random.choice(cases)
            is_damaged = random.random() < share
            sent = damaged(case, cases, random) if is_damaged else case
            status, complaint = answer_to(connection, sent, is_damaged, deadline_s)
            with seen.lock:
                seen.statuses[case.kind, "damaged" if is_damaged else "sound", status] += 1
                if complaint:
                    name = f"{seed}-{number}-{len(seen.findings)}"
                    (output / f"{name}.body").write_bytes(sent.body)
                    (output / f"{name}.json").write_text(json.dumps([sent.method, sent.path, sent.headers]))
                    seen.findings.append(f"{name}: {case.kind}: {complaint}")
        connection.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def answer_to(
    connection: http.client.HTTPConnection, case: Case, is_damaged: bool, deadline_s: float
) -> tuple[int, str]:
    """The status, and what is wrong with it; empty where nothing is."""
    began = time.monotonic()
    try:
        connection.request(case.method, case.path, case.body, case.headers)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return 0, f"no answer: {type(error).__name__}: {error}"
    took_s = time.monotonic() - began
    if took_s > deadline_s + LATE_S:
        return response.status, f"answered after {took_s:.2f} s"
    if response.status == 200 or (is_damaged and response.status in REFUSALS):
        return response.status, ""
    return response.status, f"status {response.status}: {body[:200]!r}"


def port_of(server: Running) -> int:
    return int(server.url.split(":")[2].split("/")[0])


def footprint(server: Running) -> dict[str, int]:
    """Memory that the processes share is counted once, by their proportional set size."""
    kilobytes = descriptors = 0
    processes = tree(server.pid)
    for pid in processes:
        held = memory_of(pid)
        print(f"  {held:>9,} kB {role_of(pid)}")
        kilobytes += held
        descriptors += len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return {"kB": kilobytes, "file descriptors": descriptors, "processes": len(processes)}


def memory_of(pid: int) -> int:
    """Proportional set size in kB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def role_of(pid: int) -> str:
    """The process's number and the end of its command."""
    words = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
    return f"{pid} {' '.join(words[1:])[:80]}"


if __name__ == "__main__":
    main()
