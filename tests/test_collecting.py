"""Design arithmetic: against scipy's own intervals, simulated respondents and a calibration's standard errors."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from cift import collecting
from cift.corpora import data_dir
from cift.crowds import load_crowd, score
from cift.errors import InputError
from cift.irt import calibrate


def test_qualification_is_what_simulated_people_do():
    rng = np.random.default_rng(0)
    table = collecting.qualification(10, accuracy=0.85, guess=1 / 3)
    for mark in (4, 7, 10):
        guessed, able = (rng.binomial(10, p, 100_000) for p in (1 / 3, 0.85))
        assert table.loc[mark, "guesser_passes"] == pytest.approx((guessed >= mark).mean(), abs=0.005)
        assert table.loc[mark, "able_fails"] == pytest.approx((able < mark).mean(), abs=0.005)


def test_the_shortest_qualification_keeps_both_rates_and_none_shorter_does():
    found = collecting.shortest_qualification(accuracy=0.85)
    assert (found["items"], found["pass_mark"]) == (9, 6)
    assert max(found["guesser_passes"], found["able_fails"]) <= 0.05
    for n in range(1, 9):
        assert (collecting.qualification(n, 0.85).max(axis=1) > 0.05).all()
    with pytest.raises(InputError, match="cannot be told apart by 200 items"):
        collecting.shortest_qualification(accuracy=0.35)


def test_three_checks_catch_a_guesser_among_three_labels():
    found = collecting.attention_checks(slip=0.02)
    assert found["checks"] == 3
    assert found["careless_caught"] == pytest.approx(1 - (1 / 3) ** 3)
    assert found["attentive_accused"] == pytest.approx(1 - 0.98**3)
    tolerant = collecting.attention_checks(slip=0.02, allowed=1)
    assert tolerant["checks"] == 5 and tolerant["attentive_accused"] < 0.005
    assert collecting.attention_checks(careless=0.5)["checks"] > 3
    with pytest.raises(InputError, match="200 checks do not catch"):
        collecting.attention_checks(guess=1.0, slip=0.0)


def test_payment_adds_up():
    cost = collecting.payment(
        180, 10, 30, seconds_per_item=12, hourly_wage=15, extra_items=8, extra_minutes=2, platform_fee=0.3
    )
    assert cost["respondents"] == 60 and cost["minutes"] == pytest.approx(38 * 12 / 60 + 2)
    assert cost["pay"] == 2.4 and cost["total"] == pytest.approx(60 * 2.4 * 1.3)
    assert cost["per_answer"] == pytest.approx(cost["total"] / 1800)
    uneven = collecting.payment(100, 1, 30, seconds_per_item=10, hourly_wage=12.34)
    assert uneven["respondents"] == 4 and uneven["pay"] == 1.03  # 1.0283, never rounded down


@pytest.mark.parametrize(("share", "half_width"), [(0.5, 0.1), (0.9, 0.05), (1.0, 0.1), (0.0, 0.02)])
def test_so_many_answers_give_the_half_width_and_fewer_do_not(share, half_width):
    n = collecting.answers_for_share(half_width, share)
    for answers, enough in ((n, True), (n - 1, False)):
        if float(share * answers).is_integer():
            interval = binomtest(int(share * answers), answers).proportion_ci(0.95, "wilson")
            width = (interval.high - interval.low) / 2
        else:  # the same interval at a share that whole numbers miss
            z2 = 1.959963984540054**2
            width = np.sqrt(z2 * (answers * share * (1 - share) + z2 / 4)) / (answers + z2)
        if share in (0.0, 1.0):  # there binomtest cuts its interval at the end of the scale; so does the formula
            assert width <= half_width + 1e-12 or not enough
        assert (width <= half_width + 1e-9) == enough


def test_difficulty_errors_agree_with_a_calibration_of_the_embedded_crowd():
    """Known abilities are a lower bound; with 90 items to know them by, half of the items are within 15 % of it."""
    for name, stratum in load_crowd("probes").items():
        bank = calibrate(score(*stratum), name).items
        expected = collecting.expected_errors(bank, len(stratum.responses))
        for parameter in ("a_se", "b_se"):
            ratio = bank[parameter] / expected[parameter]
            assert ratio.min() > 1 and 1.05 < ratio.median() < 1.2, (name, parameter)


def test_difficulty_errors_are_those_of_a_logistic_regression_on_known_abilities():
    """The same items, abilities known: the spread of maximum-likelihood estimates is the formula's, within 7 %."""
    items = pd.DataFrame({"a": [0.8, 1.6, 1.6], "b": [0.0, -2.0, 1.0]})
    rng, n, runs = np.random.default_rng(1), 2000, 300
    spread = []
    for a, b in items.to_numpy():
        estimates = []
        for _ in range(runs):
            theta = rng.standard_normal(n)
            right = rng.random(n) < 1 / (1 + np.exp(-a * (theta - b)))
            design, beta = np.column_stack([theta, np.ones(n)]), np.array([a, -a * b])
            for _ in range(6):
                p = 1 / (1 + np.exp(-design @ beta))
                beta = beta + np.linalg.solve(design.T * (p * (1 - p)) @ design, design.T @ (right - p))
            estimates.append([beta[0], -beta[1] / beta[0]])
        spread.append(np.std(estimates, axis=0))
    expected = collecting.expected_errors(items, n)
    np.testing.assert_allclose(spread, expected[["a_se", "b_se"]], rtol=0.13)
    assert np.mean(spread / expected[["a_se", "b_se"]].to_numpy()) == pytest.approx(1, abs=0.05)
    assert (expected["b_se_known_a"] <= expected["b_se"] + 1e-12).all()


def test_so_many_respondents_give_the_standard_error():
    item = pd.DataFrame({"a": [1.6], "b": [-2.0]})
    n = collecting.answers_for_difficulty(0.1, 1.6, -2.0)
    assert (
        collecting.expected_errors(item, n)["b_se"].item()
        <= 0.1
        < collecting.expected_errors(item, n - 1)["b_se"].item()
    )
    assert collecting.answers_for_difficulty(0.1, 1.6, 0.0) < n / 5


def test_a_class_is_too_small_for_slopes_and_a_thousand_are_not():
    truth = pd.read_csv(data_dir() / "probes" / "truth_items.csv").query("item_id.str.startswith('g5')")
    table = collecting.calibration_errors(truth, [25, 1000], replications=5)
    few, many = table.loc[25], table.loc[1000]
    assert few["needed_priors"] == 1 and many["needed_priors"] == 0 and few["left_out"] > 0.05 > many["left_out"]
    assert few["a_correlation"] < 0.45 and many["a_correlation"] > 0.75 and few["b_correlation"] > 0.8
    assert many["b_error"] == pytest.approx(many["b_expected"], rel=0.2)
    assert many["b_reported"] == pytest.approx(many["b_expected"], rel=0.2)
    assert table.equals(collecting.calibration_errors(truth, [25, 1000], replications=5))


def test_an_assignment_is_balanced_after_every_respondent_and_links_all_items():
    items = [f"i{k}" for k in range(30)]
    people = [f"r{k}" for k in range(25)]
    table = collecting.assign(items, people, 7, seed=1)
    assert table.equals(collecting.assign(items, people, 7, seed=1))
    assert not table.duplicated(["respondent", "item_id"]).any()
    assert table.groupby("respondent")["order"].apply(list).map(lambda order: order == list(range(1, 8))).all()
    for k in range(1, 26):
        counts = table[table["respondent"].isin(people[:k])]["item_id"].value_counts().reindex(items, fill_value=0)
        assert counts.max() - counts.min() <= 1
    answered = pd.crosstab(table["respondent"], table["item_id"]).to_numpy()
    together = (answered.T @ answered)[np.triu_indices(30, 1)]  # 525 pairs of places for 435 pairs of items
    assert together.max() <= 4 and together.var() < 0.6  # 1.1 where parts are drawn by chance


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: collecting.qualification(0, 0.9), "n is 0; give a whole number"),
        (lambda: collecting.qualification(5, 1.2), "accuracy is 1.2; give a probability"),
        (lambda: collecting.payment(10, 3, 20, 10, 12), "per_person is 20, but there are 10 items"),
        (lambda: collecting.payment(10, 3, 5, 0, 12), "seconds_per_item is 0; give a number above 0"),
        (lambda: collecting.payment(10, 3, 5, 9, 12, platform_fee=-1), "platform_fee: one is below 0"),
        (lambda: collecting.answers_for_share(0.6), "at most 0.5"),
        (lambda: collecting.answers_for_share(0.0), "half_width is 0.0"),
        (lambda: collecting.answers_for_difficulty(0.1, -1, 0), "the columns a, all positive"),
        (lambda: collecting.expected_errors(pd.DataFrame({"a": [1.0]}), 5), "the columns a, all positive, and b"),
        (lambda: collecting.assign(["i", "i"], ["r"], 1), "item_ids: none, or one occurs twice"),
        (lambda: collecting.assign(["i", "j"], ["r"], 3), "per_person is 3; give 1 to 2"),
    ],
)
def test_what_cannot_be_meant_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_assigned_items_may_be_part_of_a_table():
    items = pd.Series(list("abcdef"))[2:]
    assert collecting.assign(items, ["p"], 2).equals(collecting.assign(list("cdef"), ["p"], 2))
