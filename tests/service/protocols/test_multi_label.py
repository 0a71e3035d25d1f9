"""A model whose images have any number of labels, and one that TensorFlow alone computes, in the real service."""

import base64
import json
from collections.abc import Iterator

import numpy as np
import pytest
import requests

from models.store.live import set_shadow
from models.store.publish import publish
from tests.harness import RunningService, metric, running_service, wait_until
from tests.imported import COLOURS, coloured, expected, imported_bundle, write_colours

YELLOW, BLACK, WHITE = (255, 255, 0), (0, 0, 0), (255, 255, 255)
CLOSE = 0.02  # the engine may compute in bfloat16


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """`colours` gives any number of labels, `colour` one; `colour` is for TensorFlow alone, where OpenVINO is set."""
    work = tmp_path_factory.mktemp("imported")
    saved = write_colours(work / "saved")
    many = imported_bundle(saved["multi_label"], work / "many", "colours", "multi_label")
    one = imported_bundle(saved["single_label"], work / "one", "colour", "single_label", engines=("tensorflow",))
    for _ in range(2):
        publish(many, work / "exports")
    publish(one, work / "exports")
    set_shadow(work / "exports", "colours", 1)
    settings = {"feedback_open": 1, "keep": 1, "required_models": "colour,colours", "workers": 1}
    with running_service(work / "exports", work, engine="openvino", **settings) as service:
        yield service


def ask(service: RunningService, path: str, body: bytes | dict, **headers: str) -> dict:
    data = body if isinstance(body, bytes) else json.dumps(body)
    kind = {} if isinstance(body, bytes) else {"Content-Type": "application/json"}
    response = requests.post(service.url + path, data=data, headers={**kind, **headers}, timeout=20)
    assert response.status_code == 200, response.text
    found: dict = response.json()
    return found


def versions_of(service: RunningService, name: str) -> list[dict]:
    found: list[dict] = requests.get(f"{service.url}/models/{name}", timeout=5).json()["versions"]
    return found


def labels_of(prediction: dict) -> list[str]:
    return [each["label"] for each in prediction["labels"]]


def test_every_label_that_reaches_the_threshold_is_the_answer_with_its_own_probability(imported):
    answer = ask(imported, "/models/colours/classify", coloured(*YELLOW))
    assert answer["threshold"] == 0.5
    (prediction,) = answer["predictions"]
    assert labels_of(prediction) == ["red", "green"]
    assert [each["probability"] for each in prediction["labels"]] == pytest.approx(expected(*YELLOW)[:2], abs=CLOSE)
    assert [each["index"] for each in prediction["top"]] == [0, 1, 2]
    assert sum(each["probability"] for each in prediction["top"]) > 1.5


def test_an_image_may_have_none_of_the_labels(imported):
    (prediction,) = ask(imported, "/models/colours/classify", coloured(*BLACK))["predictions"]
    assert prediction["labels"] == []
    assert len(prediction["top"]) == 3


def test_top_k_limits_the_most_probable_labels_and_never_the_answer(imported):
    (prediction,) = ask(imported, "/models/colours/classify?top_k=1", coloured(*WHITE))["predictions"]
    assert sorted(labels_of(prediction)) == sorted(COLOURS)
    assert len(prediction["top"]) == 1


def test_several_images_of_a_form_come_back_with_their_names(imported):
    files = {"a": ("a.png", coloured(*BLACK)), "b": ("b.png", coloured(*YELLOW))}
    response = requests.post(f"{imported.url}/models/colours/classify", files=files, timeout=20)
    found = [(prediction["file"], labels_of(prediction)) for prediction in response.json()["predictions"]]
    assert found == [("a.png", []), ("b.png", ["red", "green"])]


def test_a_model_of_one_label_answers_as_before_and_tensorflow_computes_it_where_openvino_cannot(imported):
    answer = ask(imported, "/models/colour/classify", coloured(0, 0, 255))
    assert answer.keys() == {"model", "version", "predictions"}
    (prediction,) = answer["predictions"]
    assert prediction.keys() == {"label", "probability", "top"}
    assert prediction["label"] == "blue"
    said = [line for line in imported.log().splitlines() if "did not pass" in line]
    assert len(said) == 1
    assert "colour is computed by tensorflow" in said[0]


def test_other_protocols_give_the_probabilities_as_they_are(imported):
    image = base64.b64encode(coloured(*YELLOW)).decode()
    wanted = pytest.approx(expected(*YELLOW), abs=CLOSE)
    assert ask(imported, "/v1/models/colours:predict", {"instances": [{"b64": image}]})["predictions"][0] == wanted
    (row,) = ask(imported, "/v1/models/colours:classify", {"examples": [{"image": {"b64": image}}]})["results"]
    assert [label for label, _ in row] == list(COLOURS)
    assert [probability for _, probability in row] == wanted
    tensor = {"name": "images", "shape": [1], "datatype": "BYTES", "data": [image]}
    assert ask(imported, "/v2/models/colours/infer", {"inputs": [tensor]})["outputs"][0]["data"] == wanted
    named = {"inputs": [tensor], "outputs": [{"name": "probabilities", "parameters": {"classification": 2}}]}
    assert len(ask(imported, "/v2/models/colours/infer", named)["outputs"][0]["data"]) == 2
    found = ask(imported, "/predictions/colours", coloured(*YELLOW))
    assert [found[name] for name in COLOURS] == wanted


def test_the_list_of_models_says_what_a_model_answers_and_what_it_does_without(imported):
    models = {model["name"]: model for model in requests.get(f"{imported.url}/models", timeout=5).json()["models"]}
    assert [models["colours"]["versions"][0][key] for key in ("task", "threshold")] == ["multi_label", 0.5]
    assert models["colour"]["versions"][0]["task"] == "single_label"
    assert "threshold" not in models["colour"]["versions"][0]
    assert [models[name]["takes_feedback"] for name in ("colour", "colours")] == [True, False]
    assert "one label an image" in models["colours"]["drift"]["not_measured"]
    assert models["colour"]["drift"] is None


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "feedback?label=red"), ("GET", "feedback"), ("GET", "kept"), ("DELETE", f"kept/{'0' * 64}")],
)
def test_feedback_is_refused_in_a_sentence_and_no_image_is_kept(imported, method, path):
    url = f"{imported.url}/models/colours/{path}"
    data = coloured(*YELLOW) if method == "POST" else None
    response = requests.request(method, url, data=data, timeout=5)
    assert response.status_code == 409
    assert "colours gives an image any number of labels" in response.json()["error"]["message"]
    assert not (imported.log_path.parent / "feedback" / "colours").exists()


def test_a_shadow_agrees_where_it_gives_the_same_labels(imported):
    agrees = 'striate_shadow_images_total.*model="colours".*outcome="agrees"'
    wait_until(lambda: all(version["state"] == "available" for version in versions_of(imported, "colours")), imported)
    before = metric(imported, agrees)
    for rgb in (YELLOW, BLACK):
        ask(imported, "/models/colours/classify", coloured(*rgb))
    wait_until(lambda: metric(imported, agrees) >= before + 2, imported)
    assert metric(imported, 'striate_shadow_images_total.*outcome="differs"') == 0


def test_the_document_has_both_forms_of_an_answer(imported):
    paths = requests.get(f"{imported.url}/openapi.json", timeout=5).json()["paths"]
    content = paths["/classify"]["post"]["responses"]["200"]["content"]
    forms = content["application/json"]["schema"]["anyOf"]
    assert sorted(form["$ref"].rsplit("/", 1)[1] for form in forms) == ["Classification", "MultiLabelClassification"]


def test_its_versions_say_that_it_was_imported(imported):
    (first, *_) = requests.get(f"{imported.url}/models/colours/versions", timeout=5).json()["versions"]
    assert (first["architecture"], first["task"]) == ("imported", "multi_label")
    assert first["engines"] == ["openvino", "tensorflow"]


@pytest.mark.parametrize(("model", "task"), [("colours", "multi_label"), ("colour", "single_label")])
def test_decoded_pixels_get_their_probabilities_from_either_engine(imported, model, task):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).tolist()
    answered = ask(imported, f"/v1/models/{model}:predict", {"instances": pixels})["predictions"][0]
    means = np.asarray(pixels[0]).mean(axis=(0, 1))
    assert answered == pytest.approx(expected(*means, task=task), abs=CLOSE)
