"""Every image of a folder or a list, classified into one file; a run that is killed can be gone on with.

    OUTPUT                  a row for each image (`scorer.COLUMNS`), in the format of its suffix (`tables`)
    OUTPUT.parts/           as long as it is being made; locked by the run that makes it
        plan.json           what the shards belong to: `Plan`
        00000.parquet       rows of the first shard, and so on
        joined              all of them, on their way to OUTPUT

Shards are written aside, flushed and renamed, and so is the output: whatever has its name is whole.
"""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq

from models.bundle.manifest import MANIFEST, read_manifest
from models.errors import UserError
from models.files.durable import fsync_path, replacing, sha256, write_durably
from models.files.locks import locked
from models.files.typed import read_json
from models.store.history import find_bundle
from service.scoring.listing import list_images, parts_of
from service.scoring.scorer import Scorer
from service.scoring.tables import WORDS, writer_for

PLAN = "plan.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """What has to be the same for shards to be rows of the same output."""

    bundle: str  # sha256 of its manifest
    images: str  # their fingerprint
    shard_size: int
    engine: str
    precision: str  # the one it computes in; `auto` where each of several machines may choose (deploy/ray_score.py)


@dataclass(frozen=True, slots=True)
class Summary:
    num_images: int
    num_errors: int
    images_per_s: float | None  # of those that were left to do; None where none was


def score_images(
    bundle: Path,
    source: Path,
    output: Path,
    *,
    engine: str = "auto",
    precision: str = "auto",
    max_batch_size: int = 32,
    shard_size: int = 1000,
    fresh: bool = False,
) -> Summary:
    """Classify what is in `source` into `output`, with a progress bar on standard error.

    Args:
        source: a folder, or a file with a path on each line.
        fresh: ignore the shards of an interrupted run.

    Raises:
        UserError, OSError: it cannot be done; says why.
    """
    bundle = find_bundle(bundle)
    read_manifest(bundle)
    if output.is_dir():
        raise UserError(f"{output} is a directory. Give the name of a file, such as {output / 'out.parquet'}.")
    writer_for(output)
    images = list_images(source, output)
    parts = parts_of(output)
    with parts_of_one_run(parts):
        scorer = Scorer(bundle, engine, precision, max_batch_size)
        plan = Plan(sha256(bundle / MANIFEST), images.fingerprint(), shard_size, scorer.engine, scorer.precision)
        settle(parts, plan, fresh=fresh)
        shards = {parts / f"{i:05}.parquet": names for i, names in enumerate(images.shards(shard_size))}
        images_per_s = compute(scorer, images.root, shards)
        num_errors = join(list(shards), scorer.schema, parts / "joined", output)
        empty(parts)
    return Summary(len(images.names), num_errors, images_per_s)


@contextlib.contextmanager
def parts_of_one_run(parts: Path) -> Iterator[None]:
    """Make the folder, for one run at a time, and remove it if it is empty at the end; a lock dies with its process."""
    parts.mkdir(parents=True, exist_ok=True)
    with locked(parts, folder=True, wait=False) as is_ours:
        if not is_ours:
            raise UserError(f"Another run is making {parts.with_suffix('')}. Wait for it, or give another -o.")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                parts.rmdir()


def settle(parts: Path, plan: Plan, *, fresh: bool) -> None:
    """Keep the shards that are there if they belong to this plan; begin with none where nothing says so.

    Raises:
        UserError: they belong to another; says in what it differs.
    """
    path = parts / PLAN
    try:
        found = read_json(path, Plan) if path.exists() and not fresh else None
    except ValueError as error:
        raise UserError(f"{path} is no plan ({error}). Give --fresh, or delete {parts}, to begin anew.") from error
    if found is None:
        empty(parts)
        write_durably(path, json.dumps(asdict(plan), indent=2) + "\n")
    elif found != plan:
        begun = asdict(found)
        differences = ", ".join(
            f"{key} ({str(begun[key])[:12]} there, {str(value)[:12]} now)"
            for key, value in asdict(plan).items()
            if begun[key] != value
        )
        raise UserError(f"{parts} was begun with another {differences}. Give --fresh, or delete it, to begin anew.")


def compute(scorer: Scorer, root: Path, shards: dict[Path, list[str]]) -> float | None:
    """Write the shards that are not there yet. Returns images/s, or None if all were."""
    left = {path: names for path, names in shards.items() if not path.exists()}
    num_left = sum(map(len, left.values()))
    # Not shard by shard: while the last of one is computed and written, the next are decoded.
    decoded = scorer.read(root, chain.from_iterable(left.values()))
    started = time.monotonic()
    with click.progressbar(
        length=num_left, label="Scoring", show_pos=True, update_min_steps=num_left // 1000, file=sys.stderr
    ) as bar:
        for path, names in left.items():
            table = scorer.classify(names, islice(decoded, len(names)), progress=bar.update)
            write_shard(table, path)
    return num_left / (time.monotonic() - started) if left else None


def write_shard(table: pa.Table, path: Path) -> None:
    with replacing(path) as temporary:
        pq.write_table(table, temporary, use_dictionary=WORDS)


def join(shards: list[Path], schema: pa.Schema, joined: Path, output: Path) -> int:
    """All shards in one file, which then becomes the output. Returns how many images have an error."""
    num_errors = 0
    with writer_for(output)(joined, schema) as write:
        for path in shards:
            with pq.ParquetFile(path) as shard:
                for i in range(shard.num_row_groups):
                    rows = shard.read_row_group(i)
                    num_errors += len(rows) - rows["error"].null_count
                    write(rows)
    fsync_path(joined)
    joined.replace(output)
    fsync_path(output.parent)
    return num_errors


def empty(parts: Path) -> None:
    """The plan goes last: until then a run that is killed here leaves what the next one understands."""
    for path in sorted(parts.iterdir(), key=lambda path: path.name == PLAN):
        path.unlink()
