"""The stages of a network are found in the graph that OpenVINO reads, and are what the layers compute."""

import io

import numpy as np
import pytest
from PIL import Image

from models.bundle.manifest import BrokenBundle, read_manifest
from models.bundle.preprocessing import decode_image
from models.insight.layers import LAYERS, Stages, in_rows, read_layers
from tests.images import noise
from training.network.bundle_weights import load_network
from training.report.filters import feature_maps, first_golden


@pytest.fixture(scope="module")
def bundle(digits_training):
    return digits_training.run / "bundle"


def test_a_bundle_lists_its_layers_and_stages_as_the_paper_names_them(bundle) -> None:
    layers = read_layers(bundle)
    assert [row.name for row in layers.table][1:5] == ["c1", "s2", "c3", "s4"]
    assert [(stage.name, stage.height, len(stage.means)) for stage in layers.stages] == [
        ("c1", 28, 6),
        ("s2", 14, 6),
        ("c3", 10, 16),
        ("s4", 5, 16),
    ]
    with Image.open(io.BytesIO(layers.stages[0].filters)) as filters:
        assert filters.size == (6 * 6 - 1, 5)  # six filters of 5x5


@pytest.mark.parametrize("seed", [None, 1])
def test_the_maps_are_those_of_the_layers(bundle, seed) -> None:
    network, manifest = load_network(bundle)
    golden = decode_image(first_golden(bundle).read_bytes(), manifest.input_spec)
    image = golden if seed is None else noise(*golden.shape, seed=seed)
    stages = Stages(bundle, read_layers(bundle))
    drawn = stages.draw(image)
    assert [(each.name, each.maps, each.shown) for each in drawn] == [
        ("c1", 6, 6),
        ("s2", 6, 6),
        ("c3", 16, 16),
        ("s4", 16, 16),
    ]
    seen = stages._request.infer([image[None]])
    for i, expected in enumerate(feature_maps(network, image)):
        assert np.allclose(in_rows(np.array(seen[i])), expected, atol=1e-3)


def test_a_stage_that_no_operation_computes_is_left_out(bundle) -> None:
    layers = read_layers(bundle)
    layers.stages[1].means = [mean + 1000 for mean in layers.stages[1].means]
    golden = decode_image(first_golden(bundle).read_bytes(), read_manifest(bundle).input_spec)
    assert [each.name for each in Stages(bundle, layers).draw(golden)] == ["c1", "c3", "s4"]


def test_a_bundle_without_a_table_has_none_and_a_damaged_one_is_said(tmp_path) -> None:
    assert read_layers(tmp_path) is None
    (tmp_path / LAYERS).parent.mkdir()
    (tmp_path / LAYERS).write_text('{"image": "0"}')
    with pytest.raises(BrokenBundle, match=r"layers\.json is damaged"):
        read_layers(tmp_path)
