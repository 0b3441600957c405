import gzip
import json
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.stats import beta

from cift import crowds, distributions
from cift.corpora import LABELS
from cift.errors import InputError

E, N, C = LABELS
COUNTS = pd.DataFrame([[4, 1, 0], [0, 0, 5], [2, 2, 1], [0, 0, 0]], columns=LABELS, index=["i1", "i2", "i3", "i4"])
COUNTS = COUNTS.rename_axis("item_id")


def simulated(rng, alpha, items, answers):
    """Label counts of a crowd whose items have Dirichlet distributions, and those distributions."""
    shares = rng.dirichlet(alpha, items)
    return pd.DataFrame(rng.multinomial(answers, shares), columns=LABELS), shares


# priors and shares


def test_smoothed_shares_by_hand():
    table = distributions.smooth(COUNTS)
    np.testing.assert_allclose(table.loc["i1", list(LABELS)].astype(float), [5 / 8, 2 / 8, 1 / 8])
    np.testing.assert_allclose(table.loc["i4", list(LABELS)].astype(float), [1 / 3] * 3)  # nobody answered: the prior
    assert table.columns.tolist() == [*LABELS, "n_responses"] and table["n_responses"].tolist() == [5, 5, 5, 0]
    own = distributions.smooth(COUNTS, pd.Series({C: 2.0, N: 1.0, E: 1.0}))
    np.testing.assert_allclose(own.loc["i1", list(LABELS)].astype(float), [5 / 9, 2 / 9, 2 / 9])


def test_prior_has_the_crowds_mean():
    prior = distributions.prior_of(COUNTS, 9.0)
    assert prior.to_dict() == pytest.approx({E: 3.5, N: 2.0, C: 3.5})  # answers 6, 3, 6, and one more of each
    assert distributions.prior_of(COUNTS[[E]].assign(never=0), 1.0)["never"] > 0


@pytest.mark.parametrize("concentration", [0.5, 3.0, 30.0])
def test_concentration_is_recovered(concentration):
    alpha = concentration * np.array([0.5, 0.3, 0.2])
    counts, _ = simulated(np.random.default_rng(0), alpha, items=3000, answers=30)
    assert distributions.prior_of(counts).sum() == pytest.approx(concentration, rel=0.15)


def test_items_that_do_not_differ_make_a_strong_prior():
    counts = pd.DataFrame(np.random.default_rng(0).multinomial(500, [0.5, 0.3, 0.2], 400), columns=LABELS)
    assert distributions.prior_of(counts).sum() > 2000


def test_smoothing_comes_nearer_to_the_truth():
    counts, shares = simulated(np.random.default_rng(1), np.array([1.5, 1.0, 0.5]), items=500, answers=5)
    raw = counts.div(counts.sum(axis=1), axis=0).to_numpy()
    errors = [
        ((table - shares) ** 2).mean()
        for table in (raw, distributions.smooth(counts, distributions.prior_of(counts))[list(LABELS)].to_numpy())
    ]
    assert errors[1] < 0.7 * errors[0]


def test_intervals_hold_the_truth_as_often_as_they_say():
    counts, shares = simulated(np.random.default_rng(2), np.array([1.5, 1.0, 0.5]), items=2000, answers=10)
    prior = distributions.prior_of(counts)
    found = distributions.intervals(counts, prior)
    assert found.index.names == [None, "label"] and (found["low"] < found["share"]).all()
    held = (found["low"] <= shares.ravel()) & (shares.ravel() <= found["high"])
    assert held.mean() == pytest.approx(0.95, abs=0.012)
    bits = distributions.bits(pd.DataFrame(shares))
    sure = distributions.entropy(counts, prior)
    assert ((sure["low"] <= bits) & (bits <= sure["high"])).mean() == pytest.approx(0.95, abs=0.015)
    assert (sure["entropy"] - bits).mean() == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("prior", [0.0, -1.0, pd.Series({E: 1.0, N: 1.0})])
def test_priors_that_cannot_be_meant(prior):
    with pytest.raises(InputError, match="give each label of the counts a number above 0"):
        distributions.smooth(COUNTS, prior)


def test_concentrations_that_cannot_be_had():
    with pytest.raises(InputError, match="concentration is 0"):
        distributions.prior_of(COUNTS, 0.0)
    with pytest.raises(InputError, match="no item has two answers"):
        distributions.prior_of(COUNTS.clip(upper=1).iloc[1:2])


# entropy


def test_bits():
    shares = pd.DataFrame([[1, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3, [np.nan] * 3])
    np.testing.assert_allclose(distributions.bits(shares), [0, 1, np.log2(3), np.nan])


def test_entropy_is_that_of_its_posterior():
    found = distributions.entropy(COUNTS, seed=3)
    drawn = np.random.default_rng(0).dirichlet([5, 2, 1], 200_000)
    bits = -(drawn * np.log2(drawn)).sum(axis=1)
    assert found.loc["i1", "entropy"] == pytest.approx(bits.mean(), abs=0.005)
    assert found.loc["i1", ["low", "high"]].tolist() == pytest.approx(np.quantile(bits, [0.025, 0.975]), abs=0.05)
    assert found["n_responses"].tolist() == [5, 5, 5, 0]
    pd.testing.assert_frame_equal(found, distributions.entropy(COUNTS, seed=3))


def test_the_same_counts_of_other_labels_tie():
    rng = np.random.default_rng(0)
    counts = pd.DataFrame([rng.permutation([3, 1, 1]) for _ in range(50)], columns=LABELS)
    assert distributions.entropy(counts, draws=10)["entropy"].nunique() == 1
    assert distributions.bits(counts / 5).nunique() == 1


def test_entropy_against_models():
    rng = np.random.default_rng(4)
    people = pd.Series(rng.random(400), [f"i{k}" for k in range(400)])
    models = (people + rng.normal(0, 0.3, 400)).sample(300, random_state=0)  # another order, fewer items
    found = distributions.entropy_against_models(people, models, draws=200)
    both = pd.DataFrame({"people": people, "models": models}).dropna().rank()
    assert found["n_items"] == 300 and found["spearman"] == pytest.approx(np.corrcoef(both.T)[0, 1])
    assert found["low"] < found["spearman"] < found["high"] < found["low"] + 0.2
    pd.testing.assert_series_equal(found, distributions.entropy_against_models(people, models, draws=200))
    with pytest.raises(InputError, match="have 0 items in common"):
        distributions.entropy_against_models(people, models.add_prefix("x"))


# gold and majority


def test_gold_against_majority():
    gold = pd.Series({"i1": N, "i2": C, "i3": C, "i4": E, "i5": E})
    found = distributions.gold_against_majority(COUNTS, gold)
    assert found.index.tolist() == ["i1"]  # in i3 two labels tie, i4 has no answers
    assert found.loc["i1"].drop("p_gold").to_dict() == {
        "gold": N, "majority": E, "share_gold": 0.2, "share_majority": 0.8, "n_responses": 5
    }  # fmt: skip
    drawn = np.random.default_rng(0).dirichlet([5, 2, 1], 200_000)
    assert found.loc["i1", "p_gold"] == pytest.approx((drawn.argmax(axis=1) == 1).mean(), abs=0.004)
    assert distributions.gold_against_majority(COUNTS[1:2], gold).empty
    with pytest.raises(InputError, match="item 'i1' has the gold label 'yes'"):
        distributions.gold_against_majority(COUNTS, gold.replace(N, "yes"))
    with pytest.raises(InputError, match="item 'i2' has the gold label None"):
        distributions.gold_against_majority(COUNTS, gold.drop("i2"))


def test_more_answers_make_a_difference_surer():
    counts = pd.DataFrame([[6, 4], [60, 40], [600, 400]], columns=["yes", "no"])
    p = distributions.gold_against_majority(counts, pd.Series("no", counts.index))["p_gold"]
    expected = [beta.sf(0.5, no + 1, yes + 1) for yes, no in counts.to_numpy()]  # two labels: the share above one half
    assert p.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_published_crowd_differs_from_gold(mirror):
    responses, gold = crowds.load_crowd("lalor2016")["G4"]
    counts = crowds.label_counts(responses)
    found = distributions.gold_against_majority(counts.loc[crowds.groups(gold, "G4")["4GS-C"]], gold)
    assert len(found) == 13 and (found["gold"] == C).all()
    assert (found["p_gold"] < 0.05).sum() == 10  # in the other three the crowd nearly ties


def test_models_fail_where_people_disagree(mirror):
    counts = {}
    with gzip.open(mirror / "snli" / "snli_1.0_test.jsonl.gz", "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            counts[record["pairID"]] = [record["annotator_labels"].count(label) for label in LABELS]
    table = pd.DataFrame.from_dict(counts, orient="index", columns=LABELS)
    people = distributions.bits(table.div(table.sum(axis=1), axis=0))
    wrong = 1 - crowds.load_model_crowd().mean()
    found = distributions.entropy_against_models(people, wrong, draws=20)
    assert found["n_items"] == 9824 and found["spearman"] == pytest.approx(0.322, abs=0.001)


def test_what_does_not_vary_has_no_correlation_and_no_warnings():
    people, models = pd.Series([1.0, 2.0, 3.0]), pd.Series([0.5, 0.5, 0.5])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert distributions.entropy_against_models(people, models)[["spearman", "low", "high"]].isna().all()
        assert distributions.entropy_against_models(people, people)["spearman"] == pytest.approx(1)
    with pytest.raises(InputError, match="models: item 0 occurs twice"):
        distributions.entropy_against_models(people, models.set_axis([0, 0, 1]))


def test_one_label_and_whole_numbers_of_another_type():
    counts = pd.DataFrame({"x": [5, 0], "y": [1, 4]}, index=["i1", "i2"])
    gold = pd.Series("x", counts.index)
    assert distributions.gold_against_majority(counts[["x"]], gold).empty
    for function in (distributions.entropy, lambda table: distributions.gold_against_majority(table, gold)):
        np.testing.assert_allclose(
            function(counts.astype("Int64")).select_dtypes("number").astype(float),
            function(counts).select_dtypes("number").astype(float),
        )
