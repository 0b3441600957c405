"""Metrics with known answers, and as scikit-learn defines them; intervals that cover what they should."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp
from sklearn import metrics

from cift import evaluation
from cift.errors import InputError

PREDICTIONS = pd.DataFrame(
    {
        "item_id": ["x", "y"],
        "label": ["entailment", "neutral"],
        "logit_entailment": [2.0, 0.0],
        "logit_neutral": [0.0, 0.0],
        "predicted": ["entailment", "entailment"],
    }
)


LABELS = ["entailment", "neutral", "contradiction"]


def predictions(n, seed=0, labels=LABELS, never=None):
    """Made-up predictions, better than chance; one label may never be predicted."""
    rng = np.random.default_rng(seed)
    gold = rng.integers(len(labels), size=n)
    logits = rng.normal(size=(n, len(labels))) * 1.5
    logits[np.arange(n), gold] += 1
    if never:
        logits[:, labels.index(never)] -= 100
    names = np.array(labels)
    table = pd.DataFrame({"item_id": [f"i{k}" for k in range(n)], "label": names[gold]})
    table[[f"logit_{label}" for label in labels]] = logits
    return table.assign(predicted=names[logits.argmax(axis=1)])


def test_accuracy_and_probabilities():
    assert evaluation.accuracy(PREDICTIONS) == 0.5
    p = evaluation.probabilities(PREDICTIONS)
    assert p.loc["y"].tolist() == [0.5, 0.5]
    assert p.loc["x", "entailment"] == pytest.approx(1 / (1 + np.exp(-2)))


def test_distance_to_people():
    same = evaluation.probabilities(PREDICTIONS).assign(n_responses=10)
    assert evaluation.distance_to_people(PREDICTIONS, same) == pytest.approx(0, abs=1e-7)
    sure = PREDICTIONS.assign(logit_entailment=100.0, logit_neutral=-100.0)
    opposite = pd.DataFrame({"entailment": 0.0, "neutral": 1.0}, index=["x", "y"])
    assert evaluation.distance_to_people(sure, opposite) == pytest.approx(1)
    with pytest.raises(InputError, match="none for item 'y'"):
        evaluation.distance_to_people(PREDICTIONS, same.drop(index="y"))


def test_distributions_of_people_are_checked_and_put_in_order():
    found = evaluation.people(
        PREDICTIONS, pd.DataFrame({"neutral": [0.3, 0.66], "entailment": [0.7, 0.33]}, index=["y", "x"])
    )
    assert found.index.tolist() == ["x", "y"] and found.columns.tolist() == ["entailment", "neutral"]
    assert found.to_numpy() == pytest.approx(np.array([[1 / 3, 2 / 3], [0.7, 0.3]]))  # rounded shares sum to 1 again
    good = pd.DataFrame({"entailment": [0.2, 1.0], "neutral": [0.8, 0.0]}, index=["x", "y"])
    for bad, message in (
        (good.drop(columns="neutral"), "no column 'neutral'"),
        (pd.concat([good, good]), "item 'x' occurs twice"),
        (good * 10, r"item 'x' are \[2.0, 8.0\]; give shares that sum to 1"),
        (good.replace(0.0, np.nan), r"item 'y' are \[1.0, nan\]"),
        (good.replace({0.2: -0.2, 0.8: 1.2}), r"item 'x' are \[-0.2, 1.2\]"),
    ):
        with pytest.raises(InputError, match=message):
            evaluation.people(PREDICTIONS, bad)


def test_paired_difference_pairs_by_seed_and_scale():
    rows = [
        {"seed": seed, "held_out": scale, "arm": arm, "theta": 10 * seed + shift + (0.1 * seed if arm == "B" else 0)}
        for seed in range(3)
        for scale, shift in (("s", 0.0), ("t", 5.0))
        for arm in "AB"
    ]
    found = evaluation.paired_difference(pd.DataFrame(rows), "B", "A", "theta")
    # differences by seed: 0, .1, .2; t(2) = 4.3027, s = .1
    assert found["difference"] == pytest.approx(0.1)
    assert found["high"] - found["difference"] == pytest.approx(4.3027 * 0.1 / np.sqrt(3), rel=1e-4)
    assert found["p"] == pytest.approx(ttest_1samp([0, 0.1, 0.2], 0).pvalue)
    one = evaluation.paired_difference(pd.DataFrame(rows)[lambda t: t["seed"] == 2], "B", "A", "theta")
    assert one["difference"] == pytest.approx(0.2) and np.isnan(one["low"]) and np.isnan(one["p"])
    same = pd.DataFrame(rows).assign(theta=lambda table: table["theta"].where(table["arm"] == "A", 0.1 * table["seed"]))
    same.loc[same["arm"] == "B", "theta"] = same.loc[same["arm"] == "A", "theta"].to_numpy() + 0.1
    assert np.isnan(evaluation.paired_difference(same, "B", "A", "theta")["p"])  # not 0, for rounding errors


def test_wilson():
    low, high = evaluation.wilson(8, 10)
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert np.isnan(evaluation.wilson(0, 0)[0]) and evaluation.wilson(np.array([0, 5]), 5)[0][0] == pytest.approx(0)


# metrics


@pytest.mark.parametrize("labels", [LABELS, ["entailment", "not_entailment"]])
def test_metrics_are_those_of_scikit_learn(labels):
    table = predictions(200, labels=labels)
    gold, given, p = table["label"], table["predicted"], evaluation.probabilities(table)
    by_label = evaluation.by_label(table)
    wanted = metrics.precision_recall_fscore_support(gold, given, labels=labels)
    assert by_label.index.tolist() == labels
    assert by_label[["precision", "recall", "F1", "n_gold"]].to_numpy().T == pytest.approx(np.array(wanted))
    assert by_label["n_predicted"].tolist() == [(given == label).sum() for label in labels]
    found = evaluation.confusion(table)
    assert found.to_numpy().tolist() == metrics.confusion_matrix(gold, given, labels=labels).tolist()
    assert found.index.tolist() == found.columns.tolist() == labels and found.index.name == "label"
    assert evaluation.precision(table) == pytest.approx(metrics.precision_score(gold, given, average="macro"))
    assert evaluation.recall(table) == pytest.approx(metrics.balanced_accuracy_score(gold, given))
    assert evaluation.f1(table) == pytest.approx(metrics.f1_score(gold, given, average="macro"))
    assert evaluation.accuracy(table) == pytest.approx(metrics.f1_score(gold, given, average="micro"))
    assert evaluation.mcc(table) == pytest.approx(metrics.matthews_corrcoef(gold, given))
    in_order = p[sorted(labels)]
    assert evaluation.log_loss(table) == pytest.approx(metrics.log_loss(gold, in_order, labels=sorted(labels)))
    wanted = metrics.brier_score_loss(gold, in_order, labels=sorted(labels), scale_by_half=False)
    assert evaluation.brier(table) == pytest.approx(wanted)


def test_a_label_that_is_never_predicted_has_no_precision():
    table = predictions(100, never="neutral")
    options = {"labels": LABELS, "average": None, "zero_division": np.nan}
    by_label, gold, given = evaluation.by_label(table), table["label"], table["predicted"]
    assert by_label["precision"].to_numpy() == pytest.approx(
        metrics.precision_score(gold, given, **options), nan_ok=True
    )
    assert np.isnan(by_label.loc["neutral", "precision"]) and by_label.loc["neutral", "n_predicted"] == 0
    assert by_label.loc["neutral", ["recall", "F1"]].tolist() == [0, 0]
    assert np.isnan(evaluation.precision(table))  # the mean of the other two would hide it
    assert evaluation.f1(table) == pytest.approx(metrics.f1_score(gold, given, average="macro"))
    always = table[table["label"] != "contradiction"].assign(predicted="entailment")
    assert np.isnan(evaluation.mcc(always))
    assert evaluation.by_label(always).loc["contradiction"].isna().tolist() == [True, True, True, False, False]
    # which neither items have nor predictions: macro means leave it out, as scikit-learn does
    wanted = metrics.f1_score(always["label"], always["predicted"], average="macro")
    assert evaluation.f1(always) == pytest.approx(wanted) and evaluation.recall(always) == 0.5


def test_log_loss_is_exact_where_probabilities_round_to_zero():
    sure = PREDICTIONS.assign(label="neutral", logit_entailment=2000.0)
    assert evaluation.log_loss(sure) == pytest.approx(2000)
    table = evaluation.evaluate(sure.assign(logit_neutral=-np.inf), draws=50).set_index("metric")
    assert table.loc["log-loss", "value"] == np.inf and table.loc["log-loss", ["low", "high"]].isna().all()


def test_labels_without_logits_are_an_error():
    with pytest.raises(InputError, match="item 'y' has 'neutrl' as label. There are logits for entailment, neutral"):
        evaluation.f1(PREDICTIONS.replace({"label": {"neutral": "neutrl"}}))
    with pytest.raises(InputError, match="item 'x' has None as predicted"):
        evaluation.mcc(PREDICTIONS.assign(predicted=[None, "neutral"]))
    with pytest.raises(InputError, match="predictions: no items"):
        evaluation.evaluate(PREDICTIONS[:0])


# all in one table


def test_table_of_all_metrics():
    table = predictions(300)
    found = evaluation.evaluate(table)
    whole = found[found["label"] == ""].set_index("metric")
    functions = ("accuracy", "precision", "recall", "f1", "accuracy", "mcc", "log_loss", "brier")
    assert whole["value"].tolist() == pytest.approx([getattr(evaluation, name)(table) for name in functions])
    by_label = evaluation.by_label(table)
    for name in ("precision", "recall", "F1"):
        rows = found[(found["metric"] == name) & (found["label"] != "")].set_index("label")
        assert rows["value"].to_dict() == pytest.approx(by_label[name].to_dict())
        assert rows["n"].tolist() == by_label["n_predicted" if name == "precision" else "n_gold"].tolist()
    assert (found["low"] < found["value"]).all() and (found["value"] < found["high"]).all()
    exact = found[found["interval"] == "Wilson"]
    assert set(exact["metric"]) == {"accuracy", "micro F1", "precision", "recall"} and len(exact) == 8
    right = (table["label"] == table["predicted"]) & (table["predicted"] == "neutral")
    row = exact[(exact["metric"] == "precision") & (exact["label"] == "neutral")].iloc[0]
    assert (row["low"], row["high"]) == pytest.approx(
        evaluation.wilson(right.sum(), (table["predicted"] == "neutral").sum())
    )
    pd.testing.assert_frame_equal(found, evaluation.evaluate(table))
    assert not found["low"].equals(evaluation.evaluate(table, seed=1)["low"])


def test_bootstrap_interval_of_a_mean_is_that_of_its_standard_error():
    table = predictions(2000)
    loss = -np.log(evaluation.probabilities(table).to_numpy()[np.arange(2000), evaluation.codes(table)[0]])
    found = evaluation.evaluate(table).set_index("metric").loc["log-loss"]
    half = 1.96 * loss.std() / np.sqrt(2000)
    assert found["low"] == pytest.approx(loss.mean() - half, abs=half / 10)
    assert found["high"] == pytest.approx(loss.mean() + half, abs=half / 10)


def test_repeated_items_do_not_make_surer_when_they_are_a_group():
    table = predictions(100)
    fivefold = pd.concat([table.assign(item_id=table["item_id"] + f"-{k}") for k in range(5)], ignore_index=True)
    groups = pd.Series(fivefold["item_id"].str.split("-").str[0].to_numpy(), fivefold["item_id"])
    once = evaluation.evaluate(table, groups=pd.Series(table["item_id"].to_numpy(), table["item_id"]))
    grouped = evaluation.evaluate(fivefold, groups=groups.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(once.drop(columns="n"), grouped.drop(columns="n"))
    assert (grouped["interval"] == "bootstrap").all()
    naive = evaluation.evaluate(fivefold)
    ratio = (grouped["high"] - grouped["low"]) / (naive["high"] - naive["low"])
    assert ratio.to_numpy() == pytest.approx(np.sqrt(5), rel=0.15)
    with pytest.raises(InputError, match="groups: item 'i3-0' has none; .*Give each item its group"):
        evaluation.evaluate(fivefold, groups=groups[~groups.index.str.startswith("i3-")])
    with pytest.raises(InputError, match="groups: item 'i0-0' occurs twice"):
        evaluation.evaluate(fivefold, groups=pd.concat([groups, groups[:1]]))


def test_nothing_is_sure_where_all_is_right():
    table = predictions(20)
    table = table.assign(predicted=table["label"])
    found = evaluation.evaluate(table, draws=200).set_index(["metric", "label"])
    assert found.loc[("macro F1", "")][["value", "low", "high"]].tolist() == pytest.approx(
        [1, np.nan, np.nan], nan_ok=True
    )
    assert found.loc[("accuracy", ""), "low"] == pytest.approx(20 / (20 + 1.96**2), abs=1e-4)


def test_intervals_cover_the_truth():
    """Of 200 samples from one population, about 95 % have its macro F1 within the interval."""
    population = predictions(40_000)
    truth = evaluation.f1(population)
    covered = 0
    for seed in range(200):
        sample = population.sample(150, random_state=seed, ignore_index=True)
        row = evaluation.evaluate(sample, seed=seed, draws=400).set_index("metric").loc["macro F1"]
        covered += row["low"] <= truth <= row["high"]
    assert 0.90 <= covered / 200 <= 0.985
