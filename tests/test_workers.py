import warnings

import numpy as np
import pandas as pd
import pytest

from cift import simulate_crowd, workers
from cift.errors import InputError

GOLD = pd.Series(np.random.default_rng(0).choice(["yes", "no"], 400), index=[f"i{i:03d}" for i in range(400)])
LONG = ["respondent", "item_id", "answer"]


@pytest.fixture(scope="module")
def sparse():
    return simulate_crowd.sparse_answers(GOLD, 80, 10, seed=0)


def answered(rows, columns=LONG):
    return pd.DataFrame(rows, columns=columns)


# quality


def test_quality_by_hand():
    rows = [("a", "i1", "yes"), ("b", "i1", "yes"), ("c", "i1", "no"), ("a", "i2", "no"), ("b", "i2", "no")]
    found = workers.quality(answered(rows).assign(seconds=[1, 2, 3, 5, 4]), pd.Series({"i1": "yes", "i2": "yes"}))
    assert found.index.tolist() == ["a", "b", "c"] and found["n"].tolist() == [2, 2, 1]
    assert found["agreement"].tolist() == [0.75, 0.75, 0.0]  # half of the others on i1, all on i2; none
    assert found["one_label"].tolist() == [0.5, 0.5, 1.0] and found["median_seconds"].tolist() == [3, 3, 3]
    assert found["accuracy"].tolist() == [0.5, 0.5, 0.0]
    assert (found["low"] <= found["accuracy"]).all() and (found["high"] >= found["accuracy"]).all()


def test_skill_is_zero_without_reading_and_high_with(sparse):
    answers, truth = sparse
    found = workers.quality(answers, GOLD).join(truth[["kind", "spammer"]])
    much = found[found["n"] >= 40]
    assert much["spammer"].sum() >= 3
    assert much.loc[much["spammer"], "skill"].abs().max() < 0.3
    assert much.loc[much["kind"] == "careful", "skill"].min() > 0.7
    assert found[["skill", "accuracy"]].corr("spearman").iloc[0, 1] > 0.8


# learning and fatigue


def test_learning_and_fatigue_are_found():
    answers, truth = simulate_crowd.sparse_answers(GOLD, 40, 20, seed=0, kinds={"learning": 1.0, "tiring": 1.0})
    kind = answers["respondent"].map(truth["kind"])
    for name, sign in (("learning", 1), ("tiring", -1)):
        part = answers[kind == name]
        within = workers.trend(part, GOLD).loc["within"]
        assert sign * within["change"] > 0 and within["p"] < 0.05
        table = workers.curve(part, GOLD, bins=4)
        assert table["n"].sum() == len(part) and sign * (table["adjusted"].iloc[-1] - table["adjusted"].iloc[0]) > 0.05
        assert ((table["low"] < table["accuracy"]) & (table["accuracy"] < table["high"])).all()


def test_who_stays_long_does_not_fake_learning():
    """Nobody improves; but who gives many answers is better than who gives few (Simpson's trap)."""
    rng = np.random.default_rng(0)
    rows = []
    for person in range(60):
        n, accuracy = (200, 0.95) if person % 3 == 0 else (20, 0.65)
        for order, item in enumerate(rng.permutation(GOLD.index)[:n], 1):
            right = rng.random() < accuracy
            rows.append((f"p{person}", item, GOLD[item] if right else {"yes": "no", "no": "yes"}[GOLD[item]], order))
    answers = answered(rows, [*LONG, "order"])
    found = workers.trend(answers, GOLD)
    assert found.loc["pooled", "low"] > 0
    assert found.loc["within", "low"] < 0 < found.loc["within", "high"]
    table = workers.curve(answers, GOLD)
    assert table["accuracy"].iloc[-1] - table["accuracy"].iloc[0] > 0.1
    assert table["adjusted"].max() - table["adjusted"].min() < 0.03


def test_within_slope_is_that_of_dummies():
    rng = np.random.default_rng(0)
    rows = [
        (f"p{p}", item, rng.choice(["yes", "no"]), o) for p in range(6) for o, item in enumerate(GOLD.index[: 9 + p])
    ]
    answers = answered(rows, [*LONG, "order"])
    right = (answers["answer"] == answers["item_id"].map(GOLD)).astype(float)
    design = np.column_stack([answers["order"] / 10, pd.get_dummies(answers["respondent"]).to_numpy(float)])
    slope = np.linalg.lstsq(design, right.to_numpy(), rcond=None)[0][0]
    assert workers.trend(answers, GOLD).loc["within", "change"] == pytest.approx(slope)


def test_curve_needs_the_order(sparse):
    with pytest.raises(InputError, match="there is no column 'order'"):
        workers.curve(sparse[0][LONG], GOLD)
    with pytest.raises(InputError, match="has no gold label"):
        workers.trend(sparse[0], GOLD[1:])


# how many answers


def test_more_answers_are_better(sparse):
    found = workers.enough(sparse[0], GOLD, [1, 3, 9], repeats=10)
    assert found.index.tolist() == [1, 3, 9] and found["accuracy"].is_monotonic_increasing
    assert found["total_variation"].is_monotonic_decreasing and found["js_distance"].is_monotonic_decreasing
    assert found.loc[1, "accuracy"] == pytest.approx(
        (sparse[0]["answer"] == sparse[0]["item_id"].map(GOLD)).mean(), abs=0.02
    )
    assert (found["accuracy_low"] <= found["accuracy"]).all() and (found["accuracy"] <= found["accuracy_high"]).all()
    pd.testing.assert_frame_equal(found, workers.enough(sparse[0], GOLD, [1, 3, 9], repeats=10))
    assert workers.enough(sparse[0], GOLD, [10], repeats=2).loc[10, "total_variation"] == 0


def test_error_of_distributions_is_what_multinomial_answers_give():
    """Binary answers with p = 1/2: the mean total variation from (1/2, 1/2) is E|k/n - 1/2|, 3/16 for n = 4."""
    rng = np.random.default_rng(0)
    rows = [(f"r{r}", item, rng.choice(["yes", "no"])) for item in GOLD.index for r in range(12)]
    truth = pd.DataFrame(0.5, index=GOLD.index, columns=["no", "yes"])
    found = workers.enough(answered(rows), GOLD, [4], repeats=10, distributions=truth)
    assert found.loc[4, "total_variation"] == pytest.approx(3 / 16, abs=0.008)


def test_enough_with_a_model_and_with_impossible_sizes(sparse):
    found = workers.enough(sparse[0], GOLD, [3], repeats=3, method="dawid-skene")
    assert found.loc[3, "accuracy"] > workers.enough(sparse[0], GOLD, [3], repeats=3).loc[3, "accuracy"]
    with pytest.raises(InputError, match=r"sizes: \[0, 11\]; give sizes from 1 to 10"):
        workers.enough(sparse[0], GOLD, [0, 11])


def test_what_does_not_vary_has_no_trend_and_categories_do_not_matter():
    rng = np.random.default_rng(0)
    answers = pd.DataFrame({"respondent": np.repeat(list("abcdef"), 10), "item_id": [f"i{i}" for i in range(10)] * 6})
    answers = answers.assign(answer=rng.choice(["x", "y"], 60), order=np.tile(np.arange(1, 11), 6), seconds=0.1)
    gold = pd.Series("x", [f"i{i}" for i in range(10)])
    assert workers.trend(answers, gold, "seconds", unit=3).isna().all(axis=None)
    same = answers.astype(dict.fromkeys(["respondent", "item_id", "answer"], "category"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pd.testing.assert_frame_equal(workers.trend(same, gold), workers.trend(answers, gold))
    once = pd.DataFrame({"respondent": [f"p{i}" for i in range(50)], "item_id": "i1", "answer": "x", "order": 1})
    more = pd.concat([answers, once.assign(seconds=0.1)])  # they tell nothing of a change within a person
    pd.testing.assert_series_equal(workers.trend(more, gold).loc["within"], workers.trend(answers, gold).loc["within"])


def test_labels_that_nobody_gave_count_as_distance():
    answers = pd.DataFrame({"respondent": list("abcd"), "item_id": "i", "answer": "x"})
    truth = pd.DataFrame({"x": [0.9], "y": [0.1], "n_responses": [100]}, index=["i"])
    table = workers.enough(answers, pd.Series({"i": "x"}), [1], 2, distributions=truth)
    assert table["total_variation"].item() == pytest.approx(0.1) and table["js_distance"].item() > 0
    with pytest.raises(InputError, match="item 'i' has none"):
        workers.enough(answers, pd.Series({"i": "x"}), [1], 2, distributions=truth.set_axis(["j"]))
