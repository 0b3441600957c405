"""The engine: it finds the maximum that a literal, slow EM finds, whatever way the answers take through it."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from test_irt import simulate

from cift import irt
from cift.ability import eap
from cift.curves import posterior, probability


def log_likelihood(scored: pd.DataFrame, items: pd.DataFrame) -> float:
    return float(posterior(scored, items)[2].sum())


def literal_em(scored: pd.DataFrame, iterations: int = 300) -> pd.DataFrame:
    """Bock & Aitkin (1981) as it is printed, item by item, for the 2PL with complete data."""
    x = scored.to_numpy()
    nodes = np.linspace(-6, 6, 121)
    prior = np.exp(-(nodes**2) / 2)
    prior /= prior.sum()
    a, g = np.ones(x.shape[1]), np.zeros(x.shape[1])
    for _ in range(iterations):
        p = expit(np.outer(nodes, a) + g)
        likelihood = np.exp(x @ np.log(p).T + (1 - x) @ np.log(1 - p).T)
        weight = likelihood * prior
        weight /= weight.sum(axis=1, keepdims=True)
        n, right = weight.sum(axis=0), x.T @ weight
        for j in range(len(a)):
            for _ in range(5):
                q = expit(a[j] * nodes + g[j])
                gradient = np.array([nodes @ (right[j] - n * q), (right[j] - n * q).sum()])
                w = n * q * (1 - q)
                hessian = np.array([[w @ nodes**2, w @ nodes], [w @ nodes, w.sum()]])
                a[j], g[j] = np.array([a[j], g[j]]) + np.linalg.solve(hessian, gradient)
    return pd.DataFrame({"a": a, "b": -g / a})


def test_the_engine_and_a_literal_em_agree():
    scored, _ = simulate(500, 12, seed=11)
    expected = literal_em(scored)
    items = irt.calibrate(scored).items
    assert np.allclose(items[["a", "b"]], expected, atol=1e-3)


@pytest.mark.parametrize("model", irt.MODELS[:4])
def test_no_small_step_raises_the_likelihood(model):
    scored, _ = simulate(800, 10, seed=12, missing=0.1)
    priors = irt.Priors(guessing=0.1, guessing_sd=1e-4, upper=0.98, upper_sd=1e-4)  # as good as fixed
    bank = irt.calibrate(scored, model=model, priors=priors)
    best = bank.info["log_likelihood"]
    assert best == pytest.approx(log_likelihood(scored, bank.items), abs=1e-3)
    assert np.allclose(bank.items["c"], 0.1 if model in ("3pl", "4pl") else 0, atol=1e-3)
    for name in "b" if model == "1pl" else "ab":
        for step in (-0.02, 0.02):
            items = bank.items.copy()
            items.loc[3, name] += step
            assert log_likelihood(scored, items) < best + 1e-3


def test_the_ways_through_the_engine_give_the_same():
    """Complete answers, nearly complete ones and sparse rows take different code; so do many people and few."""
    scored, _ = simulate(3000, 20, seed=13)
    complete = irt.calibrate(scored).items
    one_missing = scored.copy()
    one_missing.iloc[0, 0] = np.nan
    assert np.allclose(irt.calibrate(one_missing).items[["a", "b"]], complete[["a", "b"]], atol=5e-3)
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(np.nan, index=range(4000), columns=[f"i{j}" for j in range(80)])
    answers, _ = simulate(4000, 80, seed=14)
    for i in range(len(wide)):
        chosen = rng.choice(80, 7, replace=False)
        wide.iloc[i, chosen] = answers.iloc[i, chosen]
    assert wide.notna().to_numpy().mean() < 0.1
    sparse = irt.calibrate(wide)
    assert sparse.info["log_likelihood"] == pytest.approx(log_likelihood(wide, sparse.items), abs=1e-2)
    assert np.allclose(sparse.population["theta"], eap(wide, sparse)["theta"], atol=1e-6)


def test_many_people_and_reversed_items():
    """More than MANY people share posteriors: their lowest and highest possible scores are within the table."""
    rng = np.random.default_rng(18)
    truth = pd.DataFrame({"a": [1.5] * 8 + [-1.5] * 4, "b": rng.normal(0, 1, 12), "c": 0.0, "d": 1.0})
    right = rng.random((5000, 12)) < probability(rng.standard_normal(5000), truth)
    right[:2] = truth["a"] > 0, truth["a"] < 0
    with pytest.warns(UserWarning, match="check their gold labels"):
        bank = irt.calibrate(pd.DataFrame(right).astype(int))
    assert np.allclose(bank.items["a"], truth["a"], atol=0.3)
    assert bank.info["log_likelihood"] == pytest.approx(log_likelihood(pd.DataFrame(right * 1.0), bank.items), abs=0.1)


@pytest.mark.parametrize(
    ("priors", "name", "expected"),
    [
        (irt.Priors(log_a=(0.0, 0.02)), "a", 1.0),
        (irt.Priors(b=(1.0, 0.02)), "b", 1.0),
    ],
)
def test_one_given_prior_is_kept_to(priors, name, expected):
    scored, _ = simulate(300, 10, seed=19)
    items = irt.calibrate(scored, method="map", priors=priors).items
    assert items[name].to_numpy() == pytest.approx(expected, abs=0.1)


def test_intervals_cover_the_truth_where_each_person_answered_little():
    covered = []
    for seed in range(4):
        scored, truth = simulate(1500, 80, seed)
        asked = np.random.default_rng(seed).random(scored.shape).argsort(axis=1) < 8
        items = irt.calibrate(scored.where(asked)).items
        covered += [
            np.abs(items[name].to_numpy() - truth[name].to_numpy()) < 1.96 * items[f"{name}_se"].to_numpy()
            for name in "ab"
        ]
    assert 0.92 < np.mean(covered) < 0.985


def test_what_the_answers_do_not_identify_has_no_small_standard_error():
    scored, _ = simulate(300, 5, seed=20)
    one_each = scored.where(np.random.default_rng(0).random(scored.shape).argsort(axis=1) < 1)
    bank = irt.calibrate(one_each)
    assert (bank.items["a_se"] > 0.3).all()


def test_long_tests_keep_the_unit_of_the_scale():
    rng = np.random.default_rng(15)
    truth = pd.DataFrame({"a": np.exp(rng.normal(0, 0.3, 6000)), "b": rng.standard_normal(6000), "c": 0.0, "d": 1.0})
    theta = rng.standard_normal(500)
    theta = (theta - theta.mean()) / theta.std()  # the sample's own unit would otherwise add 3 % of noise to k
    right = rng.random((500, 6000)) < probability(theta, truth)
    bank = irt.calibrate(pd.DataFrame(right))
    kept = truth.iloc[bank.items["item_id"].to_numpy(int)]
    k = np.exp(np.mean(np.log(bank.items["a"].clip(lower=0.05).to_numpy() / kept["a"].to_numpy())))
    assert k == pytest.approx(1, abs=0.02)
    assert bank.population["theta"].std() == pytest.approx(1, abs=0.01)


def test_standard_errors_are_near_those_of_the_whole_information_matrix():
    """Six items are the hard case: the approximation grows better with the length of the test."""
    scored, _ = simulate(600, 6, seed=16)
    items = irt.calibrate(scored).items
    at = items[["a", "b"]].to_numpy().ravel()

    def value(y: np.ndarray) -> float:
        return log_likelihood(scored, items.assign(a=y[::2], b=y[1::2]))

    h, n = 1e-3, len(at)
    eye = np.eye(n) * h
    hessian = np.array(
        [
            [(value(at + u + v) - value(at + u - v) - value(at - u + v) + value(at - u - v)) / (4 * h * h) for v in eye]
            for u in eye
        ]
    )
    expected = np.sqrt(np.diag(np.linalg.inv(-hessian)))
    assert np.allclose(items[["a_se", "b_se"]].to_numpy().ravel(), expected, rtol=0.1)


@pytest.mark.parametrize("model", ["1pl", "3pl"])
def test_intervals_cover_the_truth_under_other_models(model):
    covered = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        truth = pd.DataFrame({"a": np.exp(rng.normal(0.3, 0.2, 40)), "b": rng.normal(0, 1, 40), "c": 0.2, "d": 1.0})
        if model == "1pl":
            truth[["a", "c"]] = 1.3, 0.0
        right = rng.random((1500, 40)) < probability(rng.standard_normal(1500), truth)
        items = irt.calibrate(pd.DataFrame(right), model=model, priors=irt.Priors(guessing=0.2)).items
        each = "b" if model == "1pl" else "ab"  # six draws of the common slope are too few to count
        covered += [(items[name] - truth[name]).abs() < 1.96 * items[f"{name}_se"] for name in each]
    assert 0.92 < np.mean(covered) < 0.985
