"""Ability: the four estimates and their errors, ceilings and floors, percentiles, a model's place."""

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from cift.ability import METHODS, eap, place, plausible_values, score
from cift.adaptive import simulate_answers
from cift.errors import InputError
from cift.irt import ItemBank, information, probability

ITEMS = pd.DataFrame({"item_id": ["x", "y", "z"], "a": [1.0, 1.5, 2.0], "b": [-1.0, 0.0, 1.0], "c": 0.0, "d": 1.0})
BANK = ItemBank(ITEMS, pd.DataFrame(), {"scale": "three items"})
ASYMPTOTES = [(0.0, 1.0), (0.25, 1.0), (0.2, 0.95)]  # 2PL, 3PL, 4PL


def bank_of(n: int, c: float = 0.0, d: float = 1.0) -> ItemBank:
    rng = np.random.default_rng(0)
    items = {"a": np.exp(rng.normal(0.3, 0.3, n)), "b": rng.normal(0, 1, n), "c": c, "d": d}
    return ItemBank(pd.DataFrame({"item_id": [f"i{j}" for j in range(n)], **items}), pd.DataFrame(), {})


def likelihood(theta: float, answers: np.ndarray, items: pd.DataFrame) -> float:
    p = probability(np.array([theta]), items)[0]
    return float(np.prod(np.where(np.isnan(answers), 1, np.where(answers == 1, p, 1 - p))))


@pytest.mark.parametrize(("c", "d"), ASYMPTOTES)
def test_eap_is_the_posterior_mean_by_adaptive_integration(c, d):
    answers, items = np.array([1.0, 1.0, 0.0]), ITEMS.assign(c=c, d=d)

    def density(theta, power=0):
        return theta**power * norm.pdf(theta) * likelihood(theta, answers, items)

    total, first, second = (quad(density, -9, 9, args=(k,), epsabs=1e-12)[0] for k in range(3))
    found = eap(pd.DataFrame([answers], columns=["x", "y", "z"]), ItemBank(items, pd.DataFrame(), {})).iloc[0]
    assert found["theta"] == pytest.approx(first / total, abs=1e-6)
    assert found["theta_se"] == pytest.approx(np.sqrt(second / total - (first / total) ** 2), abs=1e-6)
    assert found["percentile"] == pytest.approx(100 * norm.cdf(first / total), abs=1e-4)


@pytest.mark.parametrize(("c", "d"), ASYMPTOTES)
def test_the_other_estimates_maximise_what_they_should(c, d):
    """Against a one-dimensional search by scipy, one person after the other, with missing answers."""
    bank = bank_of(12, c, d)
    answers = simulate_answers(np.linspace(-1, 2, 20), bank, seed=3)
    answers = answers.mask(np.random.default_rng(4).random(answers.shape) < 0.2)
    found = {method: score(answers, bank, method) for method in ("map", "mle", "wle")}
    finite = 0
    for row, person in enumerate(answers.to_numpy()):

        def height(theta, method, person=person):
            value = np.log(likelihood(theta, person, bank.items)) - (theta**2 / 2 if method == "map" else 0)
            # Warm's weight is sqrt(I) where the slope's derivative is that of a 2PL
            return value + (np.log(informed(theta, person)) / 2 if method == "wle" else 0)

        def informed(theta, person=person):
            return information(np.array([theta]), bank.items)[0][~np.isnan(person)].sum()

        for method, table in found.items():
            theta, theta_se = table.iloc[row][["theta", "theta_se"]]
            if np.isinf(theta) or (method == "wle" and (c, d) != (0.0, 1.0)):
                continue
            nodes = np.linspace(-8, 8, 321)
            near = nodes[np.argmax([height(t, method) for t in nodes])]
            best = minimize_scalar(lambda t, m=method: -height(t, m), bounds=(near - 0.1, near + 0.1), method="bounded")
            assert theta == pytest.approx(best.x, abs=1e-4)
            assert theta_se == pytest.approx(1 / np.sqrt(informed(theta) + (method == "map")))
            finite += 1
    assert finite > 30


@pytest.mark.parametrize(("c", "d"), ASYMPTOTES)
def test_estimates_recover_theta_with_the_spread_that_they_announce(c, d):
    bank = bank_of(60, c, d)
    for theta in (-0.5, 0.5, 1.5):
        answers = simulate_answers(np.full(2500, theta), bank, seed=1)
        mle, wle = (score(answers, bank, method) for method in ("mle", "wle"))
        assert wle["theta"].mean() == pytest.approx(theta, abs=0.02)  # 2500 draws of SD 0.3: +-0.012 at 95 %
        mle = mle[np.isfinite(mle["theta"])]
        assert len(mle) > 2450  # with an upper asymptote even 96 % right may have no maximum
        assert mle["theta"].mean() == pytest.approx(theta, abs=0.06)
        for found in (mle, wle):
            assert found["theta"].std() == pytest.approx(found["theta_se"].median(), rel=0.1)


def test_bias_is_outwards_in_mle_inwards_in_eap_and_absent_in_wle():
    bank = bank_of(30)
    answers = simulate_answers(np.full(6000, 1.5), bank, seed=2)
    bias = {method: score(answers, bank, method)["theta"] for method in METHODS}
    bias = {method: theta[np.isfinite(theta)].mean() - 1.5 for method, theta in bias.items()}
    assert bias["map"] < bias["eap"] < -0.1
    assert bias["mle"] > 0.03
    assert abs(bias["wle"]) < 0.015


def test_all_right_and_all_wrong_have_no_finite_maximum_likelihood():
    answers = pd.DataFrame([[1, 1, 1], [0, 0, 0], [1, 1, None], [1, 0, 1], [None] * 3], columns=["x", "y", "z"])
    mle = score(answers, BANK, "mle")
    assert mle["theta"].iloc[:3].tolist() == [np.inf, -np.inf, np.inf]
    assert mle["theta_se"].iloc[:3].tolist() == [np.inf] * 3
    assert mle["percentile"].iloc[:2].tolist() == [100, 0]
    assert np.isfinite(mle["theta"].iloc[3]) and mle[["theta", "theta_se", "percentile"]].iloc[4].isna().all()
    for method in METHODS:
        found = score(answers, BANK, method)
        assert found["at_ceiling"].tolist() == [True, False, True, False, False]
        assert found["at_floor"].tolist() == [False, True, False, False, False]
        if method != "mle":
            assert np.isfinite(found["theta"].iloc[:4]).all()
    assert score(answers, BANK, "map").loc[4, ["theta", "theta_se"]].tolist() == [0, 1]
    assert score(answers, BANK, "wle").loc[4, ["theta", "theta_se"]].isna().all()


def test_with_guessing_an_answer_pattern_below_chance_has_no_finite_maximum_either():
    bank = bank_of(12, c=0.25)
    bank = ItemBank(bank.items.assign(a=1.0), bank.population, bank.info)
    hard = bank.items["b"].nlargest(2).index
    lucky = pd.DataFrame(0.0, index=["lucky"], columns=bank.items["item_id"])
    lucky.iloc[0, hard] = 1.0  # right on the two hardest items only: guessed
    found = score(lucky, bank, "mle").iloc[0]
    assert found["theta"] == -np.inf and not found["at_floor"]
    assert np.isfinite(score(lucky, bank, "wle").iloc[0]["theta"])


def test_blocks_of_people_change_nothing(monkeypatch):
    bank = bank_of(15, c=0.2)
    answers = simulate_answers(np.linspace(-2, 2, 50), bank)
    whole = score(answers, bank, "wle")
    monkeypatch.setattr("cift.ability._CELLS", 4000)
    pd.testing.assert_frame_equal(score(answers, bank, "wle"), whole, rtol=1e-6)


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
    assert found["percentile_empirical"].isna().all()  # this bank has no population


def test_empirical_percentile_counts_ties_half():
    answers = pd.DataFrame([[0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 1]], columns=["x", "y", "z"])
    bank = ItemBank(ITEMS, eap(answers, BANK)[["theta", "theta_se"]], {})
    placed = eap(pd.DataFrame([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]], columns=["x", "y", "z"]), bank)
    assert placed["percentile_empirical"].tolist() == [12.5, 50, 75, 87.5]
    extreme = score(answers, bank, "mle")["percentile_empirical"]
    assert [extreme.iloc[0], extreme.iloc[3]] == [0, 100]


def test_plausible_values_have_the_spread_that_eaps_lack():
    bank = bank_of(10)
    theta = np.random.default_rng(5).standard_normal(4000)
    answers = simulate_answers(theta, bank, seed=6)
    drawn = plausible_values(answers, bank, 5, seed=7)
    assert drawn.shape == (4000, 5)
    assert eap(answers, bank)["theta"].std() < 0.95
    assert drawn.std().mean() == pytest.approx(1, abs=0.03)
    one = pd.concat([answers.iloc[[0]]] * 20_000)
    draws, found = plausible_values(one, bank, 1, seed=8)[0], eap(answers.iloc[[0]], bank).iloc[0]
    assert draws.mean() == pytest.approx(found["theta"], abs=0.02)
    assert draws.std() == pytest.approx(found["theta_se"], rel=0.02)
    assert draws.nunique() == 20_000
    pd.testing.assert_frame_equal(drawn, plausible_values(answers, bank, 5, seed=7))
    assert not drawn.equals(plausible_values(answers, bank, 5, seed=8))


def test_a_model_is_placed_by_item_id():
    predictions = pd.DataFrame(
        {"item_id": ["z", "other", "x", "y"], "label": list("aaaa"), "predicted": ["b", "b", "a", "a"]}
    )
    answers = pd.DataFrame([[1.0, 1.0, 0.0]], index=["mine"], columns=["x", "y", "z"])
    pd.testing.assert_frame_equal(place(predictions, BANK, "mine"), eap(answers, BANK))
    pd.testing.assert_frame_equal(place(predictions, BANK, "mine", "wle"), score(answers, BANK, "wle"))
    with pytest.raises(InputError, match=r"no column for item 'z' \(1 of the bank's 3"):
        place(predictions.iloc[1:], BANK)
    with pytest.raises(InputError, match="item 'z' occurs twice"):
        place(pd.concat([predictions, predictions.head(1)]), BANK)


def test_bad_answers_are_named():
    answers = pd.DataFrame([[1, 0, 1], [1, 2, 0]], index=["ann", "bob"], columns=["x", "y", "z"])
    with pytest.raises(InputError, match=r"row 'bob', item 'y': .*2.* is not 1, 0 or missing"):
        eap(answers, BANK)
    with pytest.raises(InputError, match="row 'ann', item 'z': 'neutral' is not 1, 0 or missing; score raw labels"):
        eap(answers.astype(object).replace({"z": {1: "neutral"}}), BANK)
    with pytest.raises(InputError, match="method 'mean': unknown; choose from eap, map, mle, wle"):
        score(answers, BANK, "mean")
    with pytest.raises(InputError, match="0 draws"):
        plausible_values(answers.head(1), BANK, 0)
