"""The model card says what is known of a model, and that the rest is unknown."""

from pathlib import Path

from models.bundle.card import inline, model_card
from models.bundle.manifest import CARD, Manifest, verify
from models.bundle.preprocessing import InputSpec
from tests.bundles import make_bundle

HEADINGS = (
    *("Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data"),
    *("Quantitative analyses", "Ethical considerations", "Caveats and recommendations"),
)
SPEC = InputSpec(32, 32, 3)
ROW = {"recall": 0.9, "precision": 0.8, "num_images": 10}


def card(**known: object) -> str:
    return model_card(Manifest("pets", "resnet18", ("cat", "dog"), SPEC, **{"metrics": {}, **known}).to_json())  # type: ignore[arg-type]


def test_it_has_the_usual_headings_in_their_order() -> None:
    lines = [line.removeprefix("## ") for line in card().splitlines() if line.startswith("## ")]
    assert lines == list(HEADINGS)
    assert card().startswith("# Model card: pets\n")


def test_it_says_what_is_known() -> None:
    data = {"source": "pets.zip", "fingerprint": "c4fb", "train": 60, "val": 20, "test": 20}
    lineage = {"data": data, "created_at": "2026-11-27T00:24:07Z", "settings": {"recipe": "fine-tune"}}
    dog = {**ROW, "recall": 0.6}
    test = {
        "num_images": 20,
        "accuracy": 0.75,
        "accuracy_interval": [0.53, 0.89],
        "resolvable_difference": 0.2,
        "per_class": {"cat": ROW, "dog": dog},
        "calibration": {"method": "none", "num_images": 0},
    }
    said = card(lineage=lineage, metrics={"test": test})
    for text in (
        "- Created: 2026-11-27T00:24:07Z",
        "- Recipe: fine-tune",
        "- Accuracy: 0.7500 (95 % interval 0.5300 to 0.8900)",
        "20 images of the same source",
        "differences between models of 20.0 points",
        "- Images: 60 to train, 20 to validate, 20 to test",
        "| dog | 10 | 0.600 | 0.800 |",
        "- Its confidence is not calibrated.",
        "- It recognizes dog least: 60% of its test images.",
    ):
        assert text in said, text


def test_it_says_what_is_not_known_and_not_measured() -> None:
    said = card()
    assert "Nothing was measured." in said
    assert "Nothing is known of it here" in said
    assert "an image of something else gets one of these labels, too" in said
    assert "any number of 2 labels" in card(task="multi_label")


def test_names_are_text_and_never_markup() -> None:
    assert inline("<img src=x>\n# [a](b) | `c`") == "\\<img src=x\\> \\# \\[a\\](b) \\| \\`c\\`"


def test_a_bundle_is_sealed_with_its_card(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    assert CARD.as_posix() in verify(bundle).files
    assert (bundle / CARD).read_text(encoding="utf-8").startswith("# Model card: toy")
