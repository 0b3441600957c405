"""Rates and differences worked out by hand, against scikit-learn, and held against what they should be on average."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import multilabel_confusion_matrix

from cift import bias, fairness
from cift.errors import InputError

ENTAILED, NOT = "entailment", "not_entailment"


def answers(group, label, predicted, n):
    return pd.DataFrame({"group": [group] * n, "label": label, "predicted": predicted})


def table(*cells):
    """Cells of (group, label, predicted, how many) as a predictions table."""
    joined = pd.concat([answers(*cell) for cell in cells], ignore_index=True)
    return joined.assign(item_id=[f"i{k}" for k in range(len(joined))])


@pytest.fixture
def two():
    """Group a: tpr 30/40, fpr 6/60, 36/100 selected, 84/100 right. b: 10/20, 10/80, 20/100, 80/100. c: 3 items."""
    return table(
        ("a", ENTAILED, ENTAILED, 30), ("a", ENTAILED, NOT, 10), ("a", NOT, ENTAILED, 6), ("a", NOT, NOT, 54),
        ("b", ENTAILED, ENTAILED, 10), ("b", ENTAILED, NOT, 10), ("b", NOT, ENTAILED, 10), ("b", NOT, NOT, 70),
        ("c", NOT, NOT, 3),
    )  # fmt: skip


def test_differences_by_hand(two):
    found = fairness.gaps(two, "group", draws=200)
    assert found["difference"].to_dict() == pytest.approx(
        {"accuracy": 0.04, "equalised odds": 0.25, "demographic parity": 0.16}
    )
    odds = found.loc["equalised odds"]
    # 1 - tpr of the one label is fpr of the other, so both differ by as much; the first is named
    assert (odds["rate"], odds["label"], odds["highest"], odds["lowest"]) == ("tpr", ENTAILED, "a", "b")
    assert found.loc["accuracy", "label"] is None and found.loc["accuracy", "highest"] == "a"
    assert found.loc["accuracy", "too_small"] == found.loc["demographic parity", "too_small"] == "c (3)"
    assert odds["too_small"] == "c (4 of 4 rates)"
    without_c = fairness.gaps(two[two["group"] != "c"], "group", draws=200)
    assert not without_c["too_small"].any()
    assert without_c["difference"].equals(found["difference"])
    with_c = fairness.gaps(two, "group", least=1, draws=200)
    assert with_c["difference"].to_dict() == pytest.approx(
        {"accuracy": 0.2, "equalised odds": 0.25, "demographic parity": 0.36}
    )


def test_rates_meet_scikit_learn_and_keep_small_groups(two):
    rng = np.random.default_rng(0)
    labels = ["x", "y", "z"]
    many = pd.DataFrame(
        {"group": rng.choice([3, 20, 100], 300), "label": rng.choice(labels, 300), "predicted": rng.choice(labels, 300)}
    ).assign(item_id=range(300))
    found = fairness.rates(many, "group").set_index(["group", "rate", "label"])["share"]
    for group, part in many.groupby("group"):
        for label, ((tn, fp), (fn, tp)) in zip(
            labels, multilabel_confusion_matrix(part["label"], part["predicted"], labels=labels), strict=True
        ):
            assert found[group, "tpr", label] == tp / (tp + fn)
            assert found[group, "fpr", label] == fp / (fp + tn)
            assert found[group, "selected", label] == (tp + fp) / len(part)
    accuracy = fairness.rates(two, "group").query("rate == 'accuracy'")
    by_group = bias.gap(two, "group").set_index("group").loc[["a", "b", "c"], ["n", "accuracy", "low", "high"]]
    assert accuracy[["n", "share", "low", "high"]].to_numpy() == pytest.approx(by_group.to_numpy())
    of_c = fairness.rates(two, "group").query("group == 'c'").set_index(["rate", "label"])
    assert of_c.loc[("tpr", ENTAILED), "n"] == 0 and of_c.loc[("tpr", ENTAILED), ["share", "low", "high"]].isna().all()


def test_a_series_of_groups_is_as_good_as_a_column_and_a_seed_gives_the_same(two):
    by = two.set_index("item_id")["group"]
    pd.testing.assert_frame_equal(fairness.gaps(two, by, seed=4), fairness.gaps(two, "group", seed=4))
    assert not fairness.gaps(two, by, seed=4).equals(fairness.gaps(two, by, seed=5))


def test_p_is_that_of_fishers_exact_test_for_two_equally_large_groups():
    # the assignments are hypergeometric; with equal sizes both tails are as far apart
    from scipy.stats import fisher_exact

    found = fairness.gaps(
        table(("a", "x", "x", 40), ("a", "x", "y", 10), ("b", "x", "x", 30), ("b", "x", "y", 20)), "group", draws=20_000
    )
    exact = fisher_exact([[40, 10], [30, 20]]).pvalue
    assert found.loc["accuracy", "p"] == pytest.approx(exact, abs=0.01)


def test_different_labels_in_groups_are_no_unequal_odds():
    """The model is as good for both groups, but one has more of one label: parity differs, odds do not."""
    cells = [("a", "x", 160, 40), ("a", "y", 40, 10), ("b", "x", 40, 10), ("b", "y", 160, 40)]
    rows = []
    for group, label, right, wrong in cells:
        rows += [(group, label, label, right), (group, label, "y" if label == "x" else "x", wrong)]
    found = fairness.gaps(table(*rows), "group")
    assert found["difference"].to_dict() == pytest.approx(
        {"accuracy": 0.0, "equalised odds": 0.0, "demographic parity": 0.36}
    )
    assert found.loc["equalised odds", "p"] == found.loc["accuracy", "p"] == 1
    assert found.loc["demographic parity", "p"] < 0.001 and found.loc["demographic parity", "low"] > 0.2


def drawn(accuracy_of, n, rng):
    """n items a group with two labels, equally probable, answered rightly with each group's probability."""
    rows = []
    for group, accuracy in accuracy_of.items():
        of_x = rng.binomial(n, 0.5)
        for label, other, of in (("x", "y", of_x), ("y", "x", n - of_x)):
            right = rng.binomial(of, accuracy)
            rows += [(group, label, label, right), (group, label, other, of - right)]
    return table(*rows)


@pytest.mark.parametrize("accuracies", [(0.8, 0.8, 0.8, 0.8), (0.8, 0.8, 0.8, 0.6)])
def test_intervals_cover_and_p_is_level(accuracies):
    rng = np.random.default_rng(1)
    accuracy_of = dict(zip("abcd", accuracies, strict=True))
    found = [fairness.gaps(drawn(accuracy_of, 100, rng), "group", draws=300, seed=i) for i in range(150)]
    truth = {"accuracy": np.ptp(accuracies), "equalised odds": np.ptp(accuracies), "demographic parity": 0.0}
    for measure, true in truth.items():
        rows = pd.DataFrame([each.loc[measure] for each in found])
        covered = ((rows["low"] <= true) & (true <= rows["high"])).mean()
        assert covered >= 0.9, measure
        if true == 0:
            assert (rows["p"] < 0.05).mean() <= 0.1 and 0.4 < rows["p"].mean() < 0.65
            assert rows["difference"].mean() == pytest.approx(rows["expected"].mean(), rel=0.1)
            assert rows["difference"].mean() > 0.05  # though there is none
        else:
            assert (rows["p"] < 0.05).mean() > 0.6


def test_rates_of_one_are_not_certain():
    perfect = table(*((group, label, label, 20) for group in "ab" for label in "xy"))
    found = fairness.gaps(perfect, "group").loc[["accuracy", "equalised odds"]]
    assert (found["difference"] == 0).all() and (found["low"] == 0).all() and (found["p"] == 1).all()
    assert found["high"].between(0.02, 0.2).all()


def test_what_no_two_groups_have_is_missing():
    found = fairness.gaps(table(("a", "x", "x", 30), ("b", "y", "y", 30)), "group", draws=100)
    assert found.loc["accuracy", "difference"] == 0 and found.loc["demographic parity", "difference"] == 1
    odds = found.loc["equalised odds"]
    assert odds.drop("too_small").isna().all()
    assert odds["too_small"] == "a (2 of 4 rates), b (2 of 4 rates)"


def test_what_cannot_be_grouped_is_said(two):
    with pytest.raises(InputError, match="no column 'place'; the columns: group"):
        fairness.gaps(two, "place")
    with pytest.raises(InputError, match="item 'i1' has none"):
        fairness.rates(two, pd.Series({"i0": "a"}))
    with pytest.raises(InputError, match="'a' has 100, 'b' has 100, 'c' has 3; `least` is 101: let two groups"):
        fairness.gaps(two, "group", least=101)
    with pytest.raises(InputError, match="`least` is 0"):
        fairness.gaps(two, "group", least=0)
