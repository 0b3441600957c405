"""Ability: the posterior's mean and width, ceilings, and a model's place."""

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from cift.ability import eap, place
from cift.errors import InputError
from cift.irt import ItemBank, probability

ITEMS = pd.DataFrame({"item_id": ["x", "y", "z"], "a": [1.0, 1.5, 2.0], "b": [-1.0, 0.0, 1.0], "c": 0.0, "d": 1.0})
BANK = ItemBank(ITEMS, pd.DataFrame(), {"scale": "three items"})


def test_eap_is_the_posterior_mean_by_adaptive_integration():
    answers = np.array([1.0, 1.0, 0.0])

    def density(theta, power=0):
        p = probability(np.array([theta]), ITEMS)[0]
        return theta**power * norm.pdf(theta) * np.prod(np.where(answers == 1, p, 1 - p))

    total, first, second = (quad(density, -9, 9, args=(k,), epsabs=1e-12)[0] for k in range(3))
    found = eap(pd.DataFrame([answers], columns=["x", "y", "z"]), BANK).iloc[0]
    assert found["theta"] == pytest.approx(first / total, abs=1e-6)
    assert found["theta_se"] == pytest.approx(np.sqrt(second / total - (first / total) ** 2), abs=1e-6)
    assert found["percentile"] == pytest.approx(100 * norm.cdf(first / total), abs=1e-4)


def test_more_right_is_more_able_and_missing_says_nothing():
    answers = pd.DataFrame(
        [[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, None], [None, None, None]], columns=["x", "y", "z"]
    ).astype(float)
    found = eap(answers, BANK)
    assert found["theta"].iloc[:4].is_monotonic_decreasing
    assert found["theta"].iloc[1] < found["theta"].iloc[4] < found["theta"].iloc[0]
    assert found.iloc[5][["theta", "theta_se", "percentile"]].tolist() == pytest.approx([0, 1, 50], abs=1e-6)
    assert found["at_ceiling"].tolist() == [True, False, False, False, True, False]
    assert found["n_items"].tolist() == [3, 3, 3, 3, 2, 0]


def test_a_model_is_placed_by_item_id():
    predictions = pd.DataFrame(
        {"item_id": ["z", "other", "x", "y"], "label": list("aaaa"), "predicted": ["b", "b", "a", "a"]}
    )
    expected = eap(pd.DataFrame([[1.0, 1.0, 0.0]], index=["mine"], columns=["x", "y", "z"]), BANK)
    pd.testing.assert_frame_equal(place(predictions, BANK, "mine"), expected)
    with pytest.raises(InputError, match=r"no column for item 'z' \(1 of the bank's 3"):
        place(predictions.iloc[1:], BANK)
