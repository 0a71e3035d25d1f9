"""`striate score` on more than one machine: one actor of Ray Data's a machine, with a model of its own.

    pip install "ray[data]==2.60.0"     # on every machine, besides requirements-service.txt
    python deploy/ray_score.py BUNDLE FOLDER-or-LIST -o FOLDER [--num-actors N]

It joins the cluster that RAY_ADDRESS names; without one it starts Ray on this machine. Every machine has to find the
bundle, the images and the output under the same paths; the code travels along. An actor computes with all cores of its
machine, so that there should be as many as machines.

Where it starts Ray, Ray asks which cloud it is in (169.254.169.254, metadata.google.internal) and keeps a token in
~/.ray; neither can be turned off. It reports nothing to its makers.

The output is a folder of Parquet files, one a shard. Its rows are those of the command, and their probabilities are the
same bit for bit on processors of one kind: OpenVINO's do not depend on the size of a batch. TensorFlow's may in their
last bit (2e-7 was seen), where an actor measured at its start that another size is quicker.
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
def main(
    bundle: Path, source: Path, output: Path, num_actors: int, num_gpus: int, shard_size: int, **settings: Any
) -> None:
    """Classify a folder of images, or those that a file names line by line, into a folder of Parquet files."""
    sys.path.insert(0, str(ROOT))
    from models.bundle.manifest import verify  # before Ray: `models` keeps it from reporting usage
    from models.errors import UserError
    from models.store.history import find_bundle
    from service.scoring.listing import list_images

    try:
        bundle = find_bundle(bundle)
        verify(bundle)
        images = list_images(source.absolute(), output)
        output.mkdir(parents=True)
    except (UserError, OSError) as error:
        raise click.ClickException(str(error)) from error
    import ray

    # Names as bytes, since Arrow's strings are UTF-8 and those of files need not be.
    shards = [{"names": os.fsencode("\0".join(names))} for names in images.shards(shard_size)]
    ray.init(runtime_env={"py_modules": [str(ROOT / "models"), str(ROOT / "service")]})
    ray.data.from_items(shards, override_num_blocks=len(shards)).map_batches(
        ShardScorer,
        batch_size=1,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=num_actors),
        num_gpus=num_gpus,
        fn_constructor_kwargs={"bundle": bundle.absolute(), "root": images.root, **settings},
    ).write_parquet(str(output.absolute()))


class ShardScorer:
    """What an actor does: a shard's names -> its rows."""

    def __init__(self, *, root: Path, **settings: Any) -> None:
        from service.scoring.scorer import Scorer

        self._root = root
        self._scorer = Scorer(**settings)

    def __call__(self, batch: Any) -> Any:
        names = os.fsdecode(batch["names"][0].as_py()).split("\0")
        return self._scorer(self._root, names)


if __name__ == "__main__":
    main()
