"""Two models on the same items: tests worked out by hand, simulated error rates, and what must not be compared."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, norm

from cift import evaluation, paired
from cift.errors import InputError


def answers(right, seed=0):
    """Predictions of two labels that are right or not."""
    right, rng = np.asarray(right, bool), np.random.default_rng(seed)
    gold = np.arange(len(right)) % 2
    given = np.where(right, gold, 1 - gold)
    names, size = np.array(["yes", "no"]), 0.5 + rng.random(len(right))
    return pd.DataFrame(
        {
            "item_id": [f"i{k}" for k in range(len(right))],
            "label": names[gold],
            "logit_yes": np.where(given == 0, size, -size),
            "logit_no": 0.0,
            "predicted": names[given],
        }
    )


def two(n, seed, ours=0.7, theirs=0.7):
    """Right or not of two models with these accuracies, which find the same items hard."""
    rng = np.random.default_rng(seed)
    hard, noise = rng.normal(size=n), rng.normal(size=(2, n))
    return [hard + each < np.sqrt(2) * norm.ppf(share) for each, share in zip(noise, (ours, theirs), strict=True)]


# McNemar


def test_mcnemar_by_hand():
    # both right 10, only the first 6, only the second 1, both wrong 3
    found = paired.mcnemar(answers([1] * 16 + [0] * 4), answers([1] * 10 + [0] * 6 + [1] + [0] * 3))
    assert (found["n"], found["gained"], found["lost"]) == (20, 6, 1) and found["difference"] == 0.25
    assert found["p"] == pytest.approx(binomtest(6, 7).pvalue) and found["p"] == pytest.approx(16 / 128)
    assert found["p_mid"] == pytest.approx((1 + 16 - 8) / 128)  # both ends, and half of both splits 6:1 and 1:6
    # (7 - 2) / 22, and 1.96 sqrt((9 / 22 - (5 / 22)^2) / 22)
    assert (found["low"], found["high"]) == pytest.approx((-0.0226, 0.4772), abs=5e-4)
    back = paired.mcnemar(answers([1] * 10 + [0] * 6 + [1] + [0] * 3), answers([1] * 16 + [0] * 4))
    assert back["difference"] == -0.25 and back["low"] == pytest.approx(-found["high"]) and back["p"] == found["p"]


def test_mcnemar_of_models_that_do_not_differ():
    same = paired.mcnemar(answers([1, 0, 1]), answers([1, 0, 1]))
    assert (same["p"], same["p_mid"], same["difference"]) == (1, 1, 0) and same["low"] < 0 < same["high"]
    even = paired.mcnemar(answers([1, 0, 1]), answers([0, 1, 1]))
    assert (even["p"], even["p_mid"]) == pytest.approx((1, 1))


def test_mcnemar_rejects_as_often_as_it_says():
    found = pd.DataFrame([paired.mcnemar(*map(answers, two(80, seed))) for seed in range(300)])
    exact, mid = ((found[name] < 0.05).mean() for name in ("p", "p_mid"))
    assert 0.005 < exact < mid < 0.07
    other = pd.DataFrame([paired.mcnemar(*map(answers, two(80, seed, 0.8, 0.6))) for seed in range(300)])
    assert ((other["low"] <= 0.2) & (0.2 <= other["high"])).mean() == pytest.approx(0.95, abs=0.025)


# the paired bootstrap


def test_difference_of_a_named_metric_and_of_its_function_are_the_same():
    ours, theirs = map(answers, two(60, 0, 0.8, 0.6))
    for name, metric in {"macro F1": evaluation.f1, "log-loss": evaluation.log_loss, "MCC": evaluation.mcc}.items():
        found = paired.difference(ours, theirs, name, draws=60)
        assert found == pytest.approx(paired.difference(ours, theirs, metric, draws=60))
        assert found["value"] == pytest.approx(metric(ours)) and found["baseline"] == pytest.approx(metric(theirs))
        assert found["difference"] == pytest.approx(metric(ours) - metric(theirs)) and found["n"] == 60


def test_difference_in_accuracy_is_as_sure_as_the_differences_are_alike():
    ours, theirs = two(2000, 1, 0.8, 0.7)
    found = paired.difference(answers(ours), answers(theirs))
    each = ours.astype(float) - theirs
    half = 1.96 * each.std() / np.sqrt(2000)
    assert (found["low"], found["high"]) == pytest.approx((each.mean() - half, each.mean() + half), abs=half / 10)
    unpaired = 1.96 * np.sqrt((ours.var() + theirs.var()) / 2000)
    assert found["high"] - found["low"] < 2 * 0.9 * unpaired
    assert found["p"] == pytest.approx(2 / 2001)


def test_order_of_items_does_not_matter():
    ours, theirs = map(answers, two(60, 2, 0.8, 0.6))
    shuffled = theirs.sample(frac=1, random_state=0)
    assert paired.difference(ours, theirs) == paired.difference(ours, shuffled)
    assert paired.mcnemar(ours, theirs) == paired.mcnemar(ours, shuffled)


def test_p_agrees_with_the_interval_and_with_the_level():
    found = pd.DataFrame([paired.difference(*map(answers, two(120, seed)), draws=400) for seed in range(200)])
    excludes = (found["low"] > 0) | (found["high"] < 0)
    assert ((found["p"] < 0.05) == excludes).mean() > 0.98
    assert 0.02 <= (found["p"] < 0.05).mean() <= 0.09


def test_groups_are_resampled_whole():
    ours, theirs = (np.repeat(right, 4) for right in two(100, 3, 0.8, 0.6))
    ours, theirs = answers(ours), answers(theirs)
    groups = pd.Series(np.arange(400) // 4, ours["item_id"])
    naive, grouped = paired.difference(ours, theirs), paired.difference(ours, theirs, groups=groups)
    ratio = (grouped["high"] - grouped["low"]) / (naive["high"] - naive["low"])
    assert ratio == pytest.approx(2, rel=0.15) and grouped["p"] >= naive["p"]


def test_no_interval_where_nothing_varies():
    same = answers([1, 0, 1, 1])
    found = paired.difference(same, same)
    assert found["difference"] == 0 and np.isnan([found["low"], found["high"], found["p"]]).all()


def test_unknown_metric():
    with pytest.raises(InputError, match="metric 'f2': unknown; choose from accuracy, .* or give a function"):
        paired.difference(answers([1, 0]), answers([0, 0]), "f2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table[1:], "item 'i0' is in the first only. Give both models the same items"),
        (lambda table: pd.concat([table, table[:1]]), "item 'i0' occurs twice in the second"),
        (
            lambda table: table.replace({"item_id": {"i1": "new"}}),
            "'i1' is in the first only; item 'new' is in the second",
        ),
        (lambda table: table.assign(label=["no", "no", "yes"]), "item 'i0' has two gold labels"),
    ],
)
def test_other_items_are_an_error(change, message):
    table = answers([1, 0, 1])
    for test in (paired.mcnemar, paired.difference):
        with pytest.raises(InputError, match=message):
            test(table, change(table))
    with pytest.raises(InputError, match="no items"):
        paired.mcnemar(table[:0], table[:0])


# families


def test_a_family_is_corrected():
    right = np.arange(200) < 120
    models = {
        "base": answers(right),
        "good": answers(np.arange(200) < 150),
        "like": answers(np.r_[np.zeros(10), np.ones(126), np.zeros(64)]),
    }
    found = paired.compare(models, "base", ["accuracy", "macro F1"], draws=2000)
    assert found[["model", "metric"]].to_numpy().tolist() == [
        [name, metric] for name in ("good", "like") for metric in ("accuracy", "macro F1")
    ]
    assert found.loc[0, list(paired.difference(answers([1]), answers([1])))].to_dict() == pytest.approx(
        paired.difference(models["good"], models["base"])
    )
    assert (
        found["p_holm"][:2].tolist() == pytest.approx([8 / 2001, 8 / 2001]) and 0.1 < found["p"][2] < found["p_holm"][2]
    )
    for some, baseline in ((models, "none"), ({"base": models["base"]}, "base")):
        with pytest.raises(InputError, match=f"baseline '{baseline}', models base.*: give the baseline and another"):
            paired.compare(some, baseline)
