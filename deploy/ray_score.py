"""`striate score` on more than one machine: one actor of Ray Data's a machine, with a model of its own.

    pip install "ray[data]==2.60.0"     # on every machine, besides requirements-service.txt
    python deploy/ray_score.py BUNDLE FOLDER-or-LIST -o FOLDER [--num-actors N]

It joins the cluster that RAY_ADDRESS names; without one it starts Ray on this machine. Every machine has to find the
bundle, the images and the output under the same paths; the code travels along. An actor computes with all cores of its
machine, so that there should be as many as machines.

Where it starts Ray, Ray asks which cloud it is in (169.254.169.254, metadata.google.internal) and keeps a token in
~/.ray; neither can be turned off. It reports nothing to its makers.

The output is a folder of Parquet files, one a shard. Until all are there it is called OUTPUT.parts; the same command
goes on with what a killed run has left there, as `striate score` does (service.scoring.run). Its rows are those of the
command, and their probabilities are the same bit for bit on processors of one kind: OpenVINO's do not depend on the
size of a batch. TensorFlow's may in their last bit (2e-7 was seen), where an actor measured at its start that another
size is quicker.
"""

import os
import sys
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).resolve().parent.parent


@click.command(context_settings={"show_default": True})
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.argument("source", metavar="FOLDER-or-LIST", type=click.Path(path_type=Path, exists=True))
@click.option("--output", "-o", type=click.Path(path_type=Path), required=True, help="A new folder.")
@click.option("--num-actors", type=click.IntRange(1), default=1, help="As many as there are machines.")
@click.option("--num-gpus", type=click.IntRange(0), default=0, help="That an actor is given.")
@click.option("--shard-size", type=click.IntRange(1), default=1000, help="Images in one file of the output.")
@click.option("--engine", type=click.Choice(["auto", "openvino", "tensorflow"]), default="auto")
@click.option("--precision", default="auto")
@click.option("--max-batch-size", type=click.IntRange(1), default=32)
@click.option("--fresh", is_flag=True, help="Ignore the shards of an interrupted run.")
def main(
    bundle: Path,
    source: Path,
    output: Path,
    num_actors: int,
    num_gpus: int,
    shard_size: int,
    fresh: bool,
    **settings: Any,
) -> None:
    """Classify a folder of images, or those that a file names line by line, into a folder of Parquet files."""
    sys.path.insert(0, str(ROOT))
    # before Ray: `models` keeps it from reporting usage
    from models.bundle.manifest import MANIFEST, verify
    from models.errors import UserError
    from models.files.durable import fsync_path, sha256
    from models.store.history import find_bundle
    from service.scoring.listing import list_images, parts_of
    from service.scoring.run import Plan, parts_of_one_run, settle

    try:
        if output.exists():
            raise UserError(f"{output} is there already. Give another -o, or delete it.")
        bundle = find_bundle(bundle).absolute()
        verify(bundle)
        images = list_images(source.absolute(), output)
        parts = parts_of(output).absolute()
        plan = Plan(
            sha256(bundle / MANIFEST), images.fingerprint(), shard_size, settings["engine"], settings["precision"]
        )
        with parts_of_one_run(parts):
            settle(parts, plan, fresh=fresh)
            shards = {parts / f"{i:05}.parquet": names for i, names in enumerate(images.shards(shard_size))}
            left = {path: names for path, names in shards.items() if not path.exists()}
            if left:
                options = {"bundle": bundle, "root": images.root, **settings}
                compute(left, num_actors, num_gpus, options)
            for path in set(parts.iterdir()) - shards.keys():  # the plan, and what a killed actor was writing
                path.unlink()
            parts.rename(output)
            fsync_path(output.absolute().parent)
    except (UserError, OSError) as error:
        raise click.ClickException(str(error)) from error


def compute(shards: dict[Path, list[str]], num_actors: int, num_gpus: int, options: dict[str, Any]) -> None:
    """Have the actors write these files, each with the rows of its images."""
    import ray

    # Names as bytes, since Arrow's strings are UTF-8 and those of files need not be.
    items = [{"path": os.fsencode(path), "names": os.fsencode("\0".join(names))} for path, names in shards.items()]
    ray.init(runtime_env={"py_modules": [str(ROOT / "models"), str(ROOT / "service")]})
    ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        ShardScorer,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=num_actors),
        num_gpus=num_gpus,
        fn_constructor_kwargs=options,
    ).materialize()


class ShardScorer:
    """What an actor does: a shard's names -> a file with its rows, which is whole as soon as it has its name."""

    def __init__(self, *, root: Path, **settings: Any) -> None:
        from service.scoring.scorer import Scorer

        self._root = root
        self._scorer = Scorer(**settings)

    def __call__(self, batch: Any) -> Any:
        from service.scoring.run import write_shard

        path, names = (os.fsdecode(batch[column][0].as_py()) for column in ("path", "names"))
        write_shard(self._scorer(self._root, names.split("\0")), Path(path))
        return batch.select(["path"])


if __name__ == "__main__":
    main()
