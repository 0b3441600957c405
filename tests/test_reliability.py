"""Calibration: errors worked out by hand, intervals that cover, temperatures that are the best there are."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar

from cift import evaluation, reliability
from cift.errors import InputError

LABELS = ["entailment", "neutral", "contradiction"]


def table(p, gold):
    """Predictions of these label probabilities, (items, labels)."""
    names = np.array(LABELS[: p.shape[1]])
    found = pd.DataFrame({"item_id": [f"i{k}" for k in range(len(p))], "label": names[gold]})
    found[[f"logit_{name}" for name in names]] = np.log(p)
    return found.assign(predicted=names[p.argmax(axis=1)])


def sure(confidence, right):
    """Predictions of the first of two labels, so sure, and right or not."""
    confidence = np.asarray(confidence)
    return table(np.column_stack([confidence, 1 - confidence]), 1 - np.asarray(right, int))


def drawn(n, seed, temperature=1.0):
    """Predictions whose probabilities are the labels' true ones where the temperature is 1; else logits are T-fold."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 3)) * 1.5
    gold = (logits + rng.gumbel(size=(n, 3))).argmax(axis=1)
    p = np.exp(temperature * logits)
    return table(p / p.sum(axis=1, keepdims=True), gold)


# calibration error

FIVE = sure([0.55, 0.6, 0.85, 0.9, 0.9], [0, 1, 1, 1, 0])


def test_reliability_by_hand():
    found = reliability.reliability(FIVE)
    assert found["bin"].tolist() == [6, 9]  # .6 and .9 belong to the bins that they end
    assert found["confidence"].tolist() == pytest.approx([0.575, 2.65 / 3])
    assert found["accuracy"].tolist() == pytest.approx([1 / 2, 2 / 3]) and found["n"].tolist() == [2, 3]
    assert found["high"].tolist() == pytest.approx(list(evaluation.wilson([1, 2], [2, 3])[1]))
    assert reliability.ece(FIVE) == pytest.approx((0.15 + 0.65) / 5)
    assert reliability.ece(FIVE, bins=1) == pytest.approx(0.8 / 5)
    assert reliability.ece(FIVE, bins=100) == pytest.approx((0.55 + 0.4 + 0.15 + 0.8) / 5)


def test_bins_of_equal_mass_keep_ties_together():
    rng = np.random.default_rng(0)
    spread = sure(0.5 + rng.random(1000) / 2, rng.random(1000) < 0.8)
    assert set(reliability.reliability(spread, equal_mass=True)["n"]) == {100}
    steps = sure(np.repeat([0.6, 0.7, 0.8], [10, 70, 20]), np.arange(100) % 2)
    found = reliability.reliability(steps, equal_mass=True)
    assert found["n"].tolist() == [10, 70, 20] and found["confidence"].tolist() == pytest.approx([0.6, 0.7, 0.8])
    same = sure([0.8] * 4, [1, 1, 1, 0])
    assert reliability.ece(same, equal_mass=True) == pytest.approx(0.05)


def test_of_a_prediction_that_is_not_the_likeliest_label_its_own_probability_counts():
    other = FIVE.assign(predicted="neutral")
    assert reliability.reliability(other, bins=1)["confidence"].tolist() == pytest.approx([1 - 3.8 / 5])


def test_bias_of_few_items_is_told():
    found = pd.DataFrame([reliability.calibration(drawn(300, seed), seed=seed, draws=300) for seed in range(200)])
    assert found["ece"].mean() > 0.02  # though all are calibrated
    assert found["ece_if_calibrated"].mean() == pytest.approx(found["ece"].mean(), abs=0.003)
    assert 0.01 <= (found["p"] < 0.05).mean() <= 0.09
    assert (found["low"] == 0).mean() >= 0.91
    assert (found["low"] <= found["ece"]).all() and (found["n"] == 300).all()


def test_intervals_cover_the_calibration_error():
    truth = reliability.ece(drawn(200_000, 0, temperature=2.0))
    found = pd.DataFrame(
        [reliability.calibration(drawn(500, seed, temperature=2.0), seed=seed, draws=300) for seed in range(1, 201)]
    )
    assert truth > 0.1 and (found["p"] < 0.05).all()
    assert 0.90 <= ((found["low"] <= truth) & (truth <= found["high"])).mean() <= 0.985


def test_calibration_is_reproducible():
    some = drawn(100, 3)
    pd.testing.assert_series_equal(reliability.calibration(some, draws=50), reliability.calibration(some, draws=50))
    assert reliability.calibration(some, equal_mass=True)["ece"] == reliability.ece(some, equal_mass=True)


def test_no_bins_are_an_error():
    with pytest.raises(InputError, match="bins is 0; give 1 or more"):
        reliability.ece(FIVE, bins=0)


# temperature


def test_temperature_is_the_one_with_the_least_loss():
    some = drawn(400, 1, temperature=2.5)
    found = reliability.fit_temperature(some)
    wanted = minimize_scalar(
        lambda x: evaluation.log_loss(reliability.scale(some, np.exp(x))), bounds=(-3, 3), options={"xatol": 1e-9}
    )
    assert found == pytest.approx(np.exp(wanted.x), rel=1e-4)
    assert reliability.fit_temperature(reliability.scale(some, found)) == pytest.approx(1)
    assert reliability.fit_temperature(reliability.scale(some, 0.01)) == pytest.approx(found * 100)


def test_temperature_that_made_the_predictions_is_found():
    assert reliability.fit_temperature(drawn(50_000, 2, temperature=2.5)) == pytest.approx(2.5, rel=0.03)


def test_scaling_changes_no_label():
    some = drawn(300, 4, temperature=3.0)
    cooler = reliability.scale(some, 3.0)
    assert evaluation.accuracy(cooler) == evaluation.accuracy(some) and cooler["predicted"].equals(some["predicted"])
    p = evaluation.probabilities(cooler)
    assert (p.idxmax(axis=1).to_numpy() == some["predicted"]).all()
    assert reliability.ece(cooler) < reliability.ece(some) / 2
    for bad in (0, -1.0, np.inf, np.nan):
        with pytest.raises(InputError, match="temperature is .*; give a number above 0"):
            reliability.scale(some, bad)


def test_temperature_for_people():
    some = drawn(300, 5)
    shares = evaluation.probabilities(reliability.scale(some, 4.0)).sample(frac=1, random_state=0)
    assert reliability.fit_temperature(some, shares) == pytest.approx(4.0)
    majority = some.assign(label=np.array(LABELS)[[1] * 300])  # gold labels are not looked at
    assert reliability.fit_temperature(majority, shares) == pytest.approx(4.0)
    with pytest.raises(InputError, match="none for item 'i7'"):
        reliability.fit_temperature(some, shares.drop(index="i7"))


def test_where_no_temperature_is_best():
    some = drawn(100, 6)
    right = some.assign(label=some["predicted"])
    with pytest.raises(InputError, match="all 100 items are right, so the loss falls"):
        reliability.fit_temperature(right)
    worst = some.assign(label=evaluation.probabilities(some).idxmin(axis=1).to_numpy())
    with pytest.raises(InputError, match="no better than equal logits would"):
        reliability.fit_temperature(worst)
    with pytest.raises(InputError, match=r"item 'i3' has logits that are not finite \(1 items"):
        reliability.fit_temperature(some.assign(logit_neutral=some["logit_neutral"].where(some.index != 3, -np.inf)))
    one_wrong = pd.concat([right[:-1], worst[-1:]])
    assert 0 < reliability.fit_temperature(one_wrong) < 1
