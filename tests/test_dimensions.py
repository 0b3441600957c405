"""Tetrachoric correlations are exact, one factor is told from two, and chance is allowed for."""

import numpy as np
import pandas as pd
import pytest

from cift import irt
from cift.dimensions import dimensionality, tetrachoric
from cift.errors import InputError


def simulate(people: int, groups: list[int], seed: int, missing: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Answers of a crowd in which each group of items has an ability of its own, and the items' true parameters."""
    rng = np.random.default_rng(seed)
    items = sum(groups)
    truth = pd.DataFrame({"a": rng.uniform(0.8, 2.0, items), "b": rng.normal(0, 0.8, items), "c": 0.0, "d": 1.0})
    abilities = rng.standard_normal((people, len(groups))).repeat(groups, axis=1)
    p = np.column_stack([irt.probability(abilities[:, j], truth.iloc[[j]]) for j in range(items)])
    right = (rng.random(p.shape) < p).astype(float)
    right[rng.random(right.shape) < missing] = np.nan
    return pd.DataFrame(right, columns=[f"i{j}" for j in range(items)]), truth


def table_of(both: int, first: int, second: int, neither: int) -> pd.DataFrame:
    x, y = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [both, first, second, neither], axis=0).T.astype(float)
    return pd.DataFrame({"x": x, "y": y, "z": np.arange(len(x)) % 2})


def test_tetrachoric_correlation_in_closed_form():
    """With both items half right, the share of both right is 1/4 + asin(r) / 2 pi."""
    assert tetrachoric(table_of(4, 2, 2, 4)).loc["x", "y"] == pytest.approx(0.5, abs=1e-6)
    assert tetrachoric(table_of(2, 4, 4, 2)).loc["x", "y"] == pytest.approx(-0.5, abs=1e-6)
    assert tetrachoric(table_of(3, 3, 3, 3)).loc["x", "y"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("r", [-0.9, -0.4, 0.2, 0.7, 0.95])
def test_tetrachoric_correlation_of_cut_normals(r):
    from scipy.stats import multivariate_normal

    thresholds = np.array([0.6, -0.1])
    both = multivariate_normal.cdf(-thresholds, cov=[[1, r], [r, 1]], abseps=1e-9)
    first, second = multivariate_normal.cdf([[-thresholds[0]], [-thresholds[1]]]) - both
    counts = (np.array([both, first, second, 1 - both - first - second]) * 200_000).round().astype(int)
    assert tetrachoric(table_of(*counts)).loc["x", "y"] == pytest.approx(r, abs=1e-3)


def test_an_empty_cell_is_no_perfect_correlation():
    assert 0.5 < tetrachoric(table_of(20, 0, 5, 15)).loc["x", "y"] < 0.99


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_one_ability_is_one_factor(missing):
    scored, truth = simulate(2000, [20], seed=1, missing=missing)
    found = dimensionality(scored)
    assert found.summary["n_factors"] == 1
    assert found.summary["ratio"] > 5
    assert found.summary["p_one_factor"] > 0.05
    assert found.summary["rmsr_2"] < found.summary["rmsr_1"] < 0.05
    expected = truth["a"] / np.hypot(truth["a"], 1.702)  # logistic slopes as loadings of the normal ogive
    assert found.items["loading"].to_numpy() == pytest.approx(expected.to_numpy(), abs=0.1)
    assert found.items["communality"].to_numpy() == pytest.approx(found.items["loading"].to_numpy() ** 2)


def test_a_planted_second_factor_is_seen():
    scored, _ = simulate(1000, [10, 6], seed=2)
    found = dimensionality(scored)
    assert found.summary["n_factors"] == 2
    assert found.summary["ratio"] < 4
    assert found.summary["p_one_factor"] < 0.02
    assert found.summary["rmsr_2"] < found.summary["rmsr_1"] / 3


def test_one_factor_is_rarely_rejected_when_it_is_true():
    p = [dimensionality(simulate(500, [10], seed)[0]).summary["p_one_factor"] for seed in range(12)]
    assert sum(value < 0.05 for value in p) <= 2  # more than two of twelve: 2 % of the time at 5 %
    assert 0.2 < np.mean(p) < 0.8


def test_unrelated_items_have_no_factor():
    rng = np.random.default_rng(3)
    scored = pd.DataFrame(rng.integers(0, 2, (800, 12)).astype(float))
    found = dimensionality(scored)
    assert found.summary["n_factors"] <= 1
    assert found.items["communality"].median() < 0.05


def test_order_and_seed():
    scored, _ = simulate(400, [8], seed=4)
    first, again = dimensionality(scored), dimensionality(scored)
    assert first.summary == again.summary
    turned = dimensionality(scored.sample(frac=1, random_state=1)[scored.columns[::-1]])
    assert turned.eigenvalues["eigenvalue"].to_numpy() == pytest.approx(first.eigenvalues["eigenvalue"].to_numpy())
    one, other = (found.items.set_index("item_id")["communality"] for found in (first, turned))
    pd.testing.assert_series_equal(one, other.loc[one.index], atol=1e-5)


def test_bad_input_is_named():
    scored, _ = simulate(50, [4], seed=5)
    with pytest.raises(InputError, match="all answers to item 'i1' are alike"):
        tetrachoric(scored.assign(i1=1.0))
    with pytest.raises(InputError, match="2 items; factors need at least three"):
        dimensionality(scored[["i0", "i1"]])
    with pytest.raises(InputError, match="item 'i1': .*3.0.* is not 1, 0 or missing"):
        tetrachoric(scored.assign(i1=3.0))
    apart = scored.mask((np.arange(50) % 2 == 0)[:, None] & scored.columns.isin(["i0"]))
    apart = apart.mask((np.arange(50) % 2 == 1)[:, None] & scored.columns.isin(["i2"]))
    with pytest.raises(InputError, match="nobody answered both 'i0' and 'i2'"):
        tetrachoric(apart)
