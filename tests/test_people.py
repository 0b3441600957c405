"""Distances to people's labels, worked out by hand and against scipy."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import entropy, spearmanr

from cift import evaluation, people
from cift.errors import InputError

LABELS = ["entailment", "neutral", "contradiction"]


def predictions(p):
    p = np.asarray(p, float)
    table = pd.DataFrame({"item_id": [f"i{k}" for k in range(len(p))], "label": "neutral"})
    with np.errstate(divide="ignore"):
        table[[f"logit_{label}" for label in LABELS]] = np.log(p)
    return table.assign(predicted=np.array(LABELS)[p.argmax(axis=1)])


def crowd(shares):
    index = pd.Index([f"i{k}" for k in range(len(shares))], name="item_id")
    return pd.DataFrame(np.asarray(shares, float), index, LABELS).assign(n_responses=100)


def random(n, seed=0):
    return np.random.default_rng(seed).dirichlet([1, 1, 1], (2, n))


def test_by_hand():
    found = people.closeness(predictions([[0.5, 0.25, 0.25]] * 2), crowd([[1, 0, 0], [0.5, 0.25, 0.25]]))
    assert found.index.name == "measure" and found["n"].tolist() == [2] * 4
    assert found.loc["KL(people || model)", "value"] == pytest.approx(1 / 2)  # log2(1 / .5) of one of two items
    assert found.loc["total variation", "value"] == pytest.approx(0.5 / 2)
    assert np.isnan(found.loc["entropy correlation", "value"])  # the model doubts all alike


def test_doubts_that_differ_by_rounding_errors_only_are_not_ranked():
    model, shares = random(200)
    flat = model * 1e-12 + 1 / 3
    found = people.closeness(predictions(flat / flat.sum(axis=1, keepdims=True)), crowd(shares))
    assert np.isnan(found.loc["entropy correlation", "value"])


def test_against_scipy():
    model, shares = random(200)
    table, distributions = predictions(model), crowd(shares).sample(frac=1, random_state=0)
    found = people.closeness(table, distributions)
    assert found.loc["Jensen-Shannon distance", "value"] == pytest.approx(
        evaluation.distance_to_people(table, distributions)
    )
    kl = entropy(shares, model, axis=1, base=2)
    assert found.loc["KL(people || model)", "value"] == pytest.approx(kl.mean())
    half = 1.96 * kl.std() / np.sqrt(200)
    assert found.loc["KL(people || model)", ["low", "high"]].tolist() == pytest.approx(
        [kl.mean() - half, kl.mean() + half], abs=half / 5
    )
    wanted = spearmanr(entropy(model, axis=1), entropy(shares, axis=1)).statistic
    assert found.loc["entropy correlation", "value"] == pytest.approx(wanted)
    assert found.loc["entropy correlation", "high"] - wanted == pytest.approx(1.96 / np.sqrt(199), rel=0.2)
    pd.testing.assert_frame_equal(found, people.closeness(table, distributions))


def test_resampled_correlations_are_those_of_the_resamples():
    rng = np.random.default_rng(0)
    x, y = rng.integers(5, size=40).astype(float), rng.normal(size=40)  # with ties
    counts = rng.multinomial(40, np.full(40, 1 / 40), size=30).astype(float)
    wanted = []
    for row in counts.astype(int):
        drawn = np.repeat(np.arange(40), row)
        wanted.append(spearmanr(x[drawn], y[drawn]).statistic)
    assert people._spearman(counts, x, y) == pytest.approx(wanted)
    assert np.isnan(people._spearman(counts, np.ones(40), y)).all()


def test_best_and_worst():
    _, shares = random(50)
    same = people.closeness(predictions(shares), crowd(shares))["value"]
    assert same.to_numpy() == pytest.approx([0, 0, 0, 1], abs=1e-6)
    certain, other = np.eye(3)[[0, 1] * 10], np.eye(3)[[1, 2] * 10]
    far = people.closeness(predictions(certain), crowd(other))
    assert far["value"].to_numpy() == pytest.approx([1, np.log2(1e12), 1, np.nan], nan_ok=True)  # not infinite
    assert far[["low", "high"]].isna().all(axis=None)


def test_groups_are_resampled_whole():
    model, shares = (np.repeat(each, 4, axis=0) for each in random(100))
    table = predictions(model)
    groups = pd.Series(np.arange(400) // 4, table["item_id"])
    naive, grouped = people.closeness(table, crowd(shares)), people.closeness(table, crowd(shares), groups)
    ratio = (grouped["high"] - grouped["low"]) / (naive["high"] - naive["low"])
    assert ratio.to_numpy() == pytest.approx(np.full(4, 2), rel=0.2)


def test_what_is_missing_is_told():
    model, shares = random(5)
    with pytest.raises(InputError, match="none for item 'i4'"):
        people.closeness(predictions(model), crowd(shares)[:4])
    with pytest.raises(InputError, match="no items"):
        people.closeness(predictions(model)[:0], crowd(shares))
