"""Metrics with known answers."""

import numpy as np
import pandas as pd
import pytest

from cift import evaluation
from cift.errors import InputError

PREDICTIONS = pd.DataFrame(
    {
        "item_id": ["x", "y"],
        "label": ["entailment", "neutral"],
        "logit_entailment": [2.0, 0.0],
        "logit_neutral": [0.0, 0.0],
        "predicted": ["entailment", "entailment"],
    }
)


def test_accuracy_and_probabilities():
    assert evaluation.accuracy(PREDICTIONS) == 0.5
    p = evaluation.probabilities(PREDICTIONS)
    assert p.loc["y"].tolist() == [0.5, 0.5]
    assert p.loc["x", "entailment"] == pytest.approx(1 / (1 + np.exp(-2)))


def test_distance_to_people():
    same = evaluation.probabilities(PREDICTIONS).assign(n_responses=10)
    assert evaluation.distance_to_people(PREDICTIONS, same) == pytest.approx(0, abs=1e-7)
    sure = PREDICTIONS.assign(logit_entailment=100.0, logit_neutral=-100.0)
    opposite = pd.DataFrame({"entailment": 0.0, "neutral": 1.0}, index=["x", "y"])
    assert evaluation.distance_to_people(sure, opposite) == pytest.approx(1)
    with pytest.raises(InputError, match="none for item 'y'"):
        evaluation.distance_to_people(PREDICTIONS, same.drop(index="y"))


def test_paired_difference_pairs_by_seed_and_scale():
    rows = [
        {"seed": seed, "held_out": scale, "arm": arm, "theta": 10 * seed + shift + (0.1 * seed if arm == "B" else 0)}
        for seed in range(3)
        for scale, shift in (("s", 0.0), ("t", 5.0))
        for arm in "AB"
    ]
    found = evaluation.paired_difference(pd.DataFrame(rows), "B", "A", "theta")
    # differences by seed: 0, .1, .2; t(2) = 4.3027, s = .1
    assert found["difference"] == pytest.approx(0.1)
    assert found["high"] - found["difference"] == pytest.approx(4.3027 * 0.1 / np.sqrt(3), rel=1e-4)
    one = evaluation.paired_difference(pd.DataFrame(rows)[lambda t: t["seed"] == 2], "B", "A", "theta")
    assert one["difference"] == pytest.approx(0.2) and np.isnan(one["low"])


def test_wilson():
    low, high = evaluation.wilson(8, 10)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert np.isnan(evaluation.wilson(0, 0)[0]) and evaluation.wilson(np.array([0, 5]), 5)[0][0] == pytest.approx(0)
