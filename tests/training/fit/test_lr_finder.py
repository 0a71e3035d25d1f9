"""The range test finds a rate that trains and one that does not."""

import io

import numpy as np
from rich.console import Console

from tests.training.decoded import halves_and_quarters, separable, shuffled_labels
from training.config.settings import Settings
from training.fit.lr_finder import HIGHEST, LOWEST, RangeTest, find_rate
from training.fit.setup import get_ready


def test_the_rate_rises_by_a_factor_and_one_at_which_the_network_learns_is_suggested() -> None:
    decoded = separable()
    settings = Settings("lenet5", learning_rate=1.0, batch_size=8)
    ready = get_ready(decoded, halves_and_quarters(decoded), settings, Console(file=io.StringIO()))
    found = find_rate(ready, 60)
    assert found.rates[0] == LOWEST
    np.testing.assert_allclose(np.diff(np.log(found.rates)), np.log(HIGHEST / LOWEST) / 59)
    assert 1e-3 < found.suggestion < 0.5


def test_the_test_ends_when_the_loss_explodes() -> None:
    decoded = shuffled_labels()
    settings = Settings("lenet5", learning_rate=1.0, batch_size=8, clip_norm=0.0)
    ready = get_ready(decoded, halves_and_quarters(decoded), settings, Console(file=io.StringIO()))
    assert len(find_rate(ready, 60).rates) < 60


def test_the_suggestion_is_where_the_loss_has_fallen_halfway() -> None:
    assert RangeTest([0.001, 0.01, 0.1, 1.0, 10.0], [2.0, 1.9, 1.2, 0.5, 4.0]).suggestion == 0.1
