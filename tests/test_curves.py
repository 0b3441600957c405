"""Curves: what holds for every item, whatever its parameters."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from cift.curves import grid, information, posterior, probability, spaced

numbers = st.floats(-4, 4, allow_nan=False)
slopes = st.floats(0.05, 5)
lower = st.floats(0, 0.4)
upper = st.floats(0.6, 1)
THETA = np.linspace(-5, 5, 41)


def item(a: float, b: float, c: float = 0.0, d: float = 1.0) -> pd.DataFrame:
    return pd.DataFrame({"item_id": ["x"], "a": [a], "b": [b], "c": [c], "d": [d]})


@given(slopes, numbers, lower, upper)
@settings(max_examples=60, deadline=None)
def test_a_curve_rises_between_its_asymptotes_and_is_halfway_at_b(a, b, c, d):
    p = probability(THETA, item(a, b, c, d))[:, 0]
    assert (np.diff(p) >= 0).all() and (p >= c).all() and (p <= d).all()
    assert np.isclose(probability(np.array([b]), item(a, b, c, d))[0, 0], (c + d) / 2)


@given(slopes, numbers, lower, upper)
@settings(max_examples=60, deadline=None)
def test_information_is_the_squared_slope_over_the_variance(a, b, c, d):
    h = 1e-5
    items = item(a, b, c, d)
    slope = (probability(THETA + h, items) - probability(THETA - h, items)) / (2 * h)
    p = probability(THETA, items)
    assert np.allclose(information(THETA, items), slope**2 / (p * (1 - p)), rtol=1e-3, atol=1e-7)


@given(slopes, numbers, lower, upper, st.floats(-2, 2), st.floats(0.3, 3))
@settings(max_examples=60, deadline=None)
def test_moving_and_stretching_the_scale_changes_no_probability(a, b, c, d, shift, unit):
    here = probability(THETA, item(a, b, c, d))
    assert np.allclose(here, probability(THETA * unit + shift, item(a / unit, b * unit + shift, c, d)))


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=4))
@settings(max_examples=40, deadline=None)
def test_a_nominal_item_shares_out_all_probability(lines):
    items = pd.DataFrame(lines, columns=["slope", "intercept"]).assign(item_id="x", label=list("abcd")[: len(lines)])
    p = probability(THETA, items)
    assert np.allclose(p.sum(axis=1), 1) and (p >= 0).all()
    assert (information(THETA, items) >= -1e-9).all()


def test_with_two_labels_the_nominal_model_is_the_2pl():
    nominal = pd.DataFrame({"item_id": "x", "label": ["right", "wrong"], "slope": [0, -1.3], "intercept": [0, 0.4]})
    two = item(1.3, 0.4 / 1.3)
    assert np.allclose(probability(THETA, nominal)[:, 0], probability(THETA, two)[:, 0])
    assert np.allclose(information(THETA, nominal), information(THETA, two))
    scored = pd.DataFrame({"x": [1.0, 0.0, np.nan]})
    labels = pd.DataFrame({"x": ["right", "wrong", None]})
    assert np.allclose(posterior(labels, nominal)[1], posterior(scored, two)[1])


def test_nodes_are_as_close_as_the_test_is_sharp():
    few, many = (pd.concat([item(1.2, b) for b in np.linspace(-2, 2, n)]) for n in (10, 2000))
    for items in (few, many):
        nodes, log_weights = grid(items)
        spacing = nodes[1] - nodes[0]
        narrowest = 1 / np.sqrt(1 + information(nodes, items).sum(axis=1).max())
        assert spacing <= min(0.25, 1.201 * narrowest)
        assert np.isclose(np.exp(log_weights).sum(), 1)
        assert np.isclose(np.exp(log_weights) @ nodes**2, 1, atol=1e-4)
    assert len(spaced(0.0)[0]) == 49


def test_a_missing_answer_says_nothing():
    items = pd.concat([item(1.0, b) for b in (-1, 0, 1)]).assign(item_id=list("pqr"))
    scored = pd.DataFrame([[1.0, np.nan, 0.0]], columns=list("pqr"))
    nodes, weight, _ = posterior(scored, items)
    by_hand = expit(nodes + 1) * (1 - expit(nodes - 1)) * np.exp(-(nodes**2) / 2)
    assert np.allclose(weight[0], by_hand / by_hand.sum())
