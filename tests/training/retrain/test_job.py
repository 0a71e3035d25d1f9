"""JOB.toml: what is wrong with it is said before anything is done."""

from pathlib import Path

import pytest

from models.errors import UserError
from training.config.layers import layers_of_table
from training.data.dataset import find_images
from training.retrain.job import BadJob, read_job
from training.retrain.pipeline import held_out_name
from training.retrain.state import identity
from training.runs.plan import BadTable, plan_of_table
from training.sources.labels import Labels

MINIMAL = 'model = "pets"\ndata = "photos"\n'


def job_file(folder: Path, text: str) -> Path:
    path = folder / "job.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_relative_to_the_file_and_defaults_are_there(tmp_path: Path) -> None:
    job = read_job(job_file(tmp_path, MINIMAL))
    assert job.data == str(tmp_path / "photos")
    assert job.feedback == (tmp_path / "feedback" / "pets" / "labelled",)
    assert (job.exports, job.start, job.gate.alpha) == (tmp_path / "exports", "live", 0.05)
    assert read_job(job_file(tmp_path, 'model = "digits"\ndata = "digits"\n')).data == "digits"


@pytest.mark.parametrize(("recipe", "found"), [("mine.toml", "{folder}/mine.toml"), ("lecture", "lecture")])
def test_a_recipe_file_is_relative_to_the_file_and_a_recipe_has_a_name(recipe: str, found: str, tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text(f'model = "toy"\ndata = "digits"\n[training]\nrecipe = "{recipe}"\n')
    assert read_job(path).training == {"recipe": found.format(folder=tmp_path)}


def test_a_job_may_have_a_table_of_labels_and_groups(tmp_path: Path) -> None:
    said = '[labels]\nfile = "labels.csv"\nlabel_column = "dx"\ngroup_by = "p[0-9]"\n'
    job = read_job(job_file(tmp_path, MINIMAL + said))
    assert job.labels == Labels(tmp_path / "labels.csv", label_column="dx", group_by="p[0-9]")
    assert identity(job) != identity(read_job(job_file(tmp_path, MINIMAL)))
    assert held_out_name(job) != held_out_name(read_job(job_file(tmp_path, MINIMAL))) == "held_out.npy"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("model = ", "is not TOML: Invalid value"),
        ('model = "pets"', "missing required field `data`"),
        ('model = "no good"\ndata = "x"', "No model can be called"),
        (MINIMAL + "colour = 1", "Unknown key 'colour'"),
        (MINIMAL + "exports = 3", "a path has to be text"),
        (MINIMAL + 'start = "yesterday"', "yesterday"),
        (MINIMAL + 'feedback = "one"', "Expected `array`, got `str` - at `\\$.feedback`"),
        (MINIMAL + "[gate]\nalfa = 0.1", "alfa"),
        (MINIMAL + '[gate]\nalpha = "much"', "Expected `float`, got `str` - at `\\$.gate.alpha`"),
        (MINIMAL + "[gate]\nalpha = 2.0", "`\\$.gate.alpha`"),
        (MINIMAL + "[rollout]\ncanary_s = 5", "does not say service"),
        (MINIMAL + "[rollout]\ncanary_fraction = 2.0", "canary_fraction"),
        (MINIMAL + "training = 3", "Expected `object`, got `int` - at `\\$.training`"),
        (MINIMAL + '[labels]\nlabel_column = "dx"', "A label column was given, but no table"),
        (MINIMAL + '[labels]\ntable = "labels.csv"', "Unknown key 'table'"),
        (MINIMAL + "[needed]\nnew_labels = -1", "Expected `int` >= 0"),
    ],
)
def test_a_job_that_cannot_be_done_says_why(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        read_job(job_file(tmp_path, text))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadJob, match=r"There is no file .*none\.toml\. Give a job's TOML file"):
        read_job(tmp_path / "none.toml")


def test_the_training_table_says_what_flags_say() -> None:
    table = {"epochs": 3, "flip": False, "nesterov": True, "drop_at": [0.5, 0.75], "learning_rate": 0.1}
    layers = layers_of_table(table)
    assert {name: layers[name] for name in table} == {**table, "drop_at": (0.5, 0.75)}
    assert {layers.sources[name] for name in table} == {"job"}


def test_a_flag_that_there_is_not_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(BadTable, match="epoch_count is no setting of training"):
        plan_of_table({"epoch_count": 3}, find_images("digits", tmp_path), None)
