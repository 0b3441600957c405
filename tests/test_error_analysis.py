"""What is said of each answer by hand, accuracies by it, the order of errors, and the gap's interval."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from cift import bias, error_analysis
from cift.corpora import LABELS, to_dataset
from cift.errors import InputError
from cift.evaluation import wilson
from cift.irt import ItemBank

PAIRS = pd.DataFrame(
    [
        ("a", "A man eats an apple.", "The man eats.", "entailment", "synonym", "9"),
        ("b", "Nobody is here.", "A dog barks, doesn't it?", "contradiction", "negation", "8"),
        ("c", "A cat sleeps.", "An animal sleeps well.", "neutral", "hypernym", "7"),
        ("unused", "So.", "So.", "neutral", "none", "6"),
    ],
    columns=["item_id", "premise", "hypothesis", "label", "phenomenon", "difficulty"],
)


def predictions(items, gold, p):
    """A predictions table with these probabilities, (items, labels)."""
    table = pd.DataFrame({"item_id": items, "label": gold})
    table[[f"logit_{label}" for label in LABELS]] = np.log(np.array(p, float)) + 3
    return table.assign(predicted=[LABELS[i] for i in np.argmax(p, axis=1)])


@pytest.fixture
def corpus():
    return to_dataset(PAIRS)


@pytest.fixture
def answers():
    """c is right; a is wrong and sure, b is wrong and unsure."""
    p = [[0.1, 0.6, 0.3], [0.05, 0.9, 0.05], [0.5, 0.1, 0.4]]
    return predictions(["c", "a", "b"], ["neutral", "entailment", "contradiction"], p)


def bank_of(items, b):
    table = pd.DataFrame({"item_id": items, "a": 1.0, "b": b, "c": 0.0, "d": 1.0})
    return ItemBank(table, pd.DataFrame({"theta": [], "theta_se": []}), {})


PEOPLE = pd.DataFrame(
    {"neutral": [0.25, 0.5], "entailment": [0.75, 0.25], "contradiction": [0, 0.25], "n_responses": 4}, ["a", "b"]
)


def test_describe_by_hand(corpus, answers):
    found = error_analysis.describe(answers, corpus, bank_of(["b", "a"], [2.0, -1.0]), PEOPLE).set_index("item_id")
    assert list(found.index) == ["c", "a", "b"]
    assert found["right"].tolist() == [True, False, False]
    assert found["confidence"].tolist() == pytest.approx([0.6, 0.9, 0.5])
    assert found["p_gold"].tolist() == pytest.approx([0.6, 0.05, 0.4])
    assert found["premise_words"].tolist() == [3, 5, 3] and found["hypothesis_words"].tolist() == [4, 3, 6]
    assert found["overlap"].tolist() == pytest.approx([1 / 4, 2 / 3, 0])
    assert found["premise_negation"].tolist() == found["hypothesis_negation"].tolist() == [False, False, True]
    assert found["difficulty"].tolist()[1:] == [-1, 2] and np.isnan(found.loc["c", "difficulty"])
    assert found["entropy"].tolist()[1:] == pytest.approx([2 - 0.75 * np.log2(3), 1.5])
    assert found["share_gold"].tolist()[1:] == [0.75, 0.25] and found["share_predicted"].tolist()[1:] == [0.25, 0.25]
    assert found.loc["c", ["entropy", "share_gold", "share_predicted"]].isna().all()
    assert found["phenomenon"].tolist() == ["hypernym", "synonym", "negation"]
    assert found["corpus_difficulty"].tolist() == ["7", "9", "8"]


def test_describe_adds_nothing_that_is_not_known(corpus, answers):
    alone = error_analysis.describe(answers, corpus)
    assert list(alone)[:6] == ["item_id", "premise", "hypothesis", "label", "predicted", "right"]
    assert list(alone)[-2:] == ["phenomenon", "difficulty"]  # the corpus's own
    assert not {"entropy", "share_gold", "share_predicted"} & set(alone)
    two_models = pd.concat([answers, answers], ignore_index=True)
    pd.testing.assert_frame_equal(
        error_analysis.describe(two_models, corpus), pd.concat([alone, alone], ignore_index=True)
    )


def test_describe_says_what_does_not_go_together(corpus, answers):
    with pytest.raises(InputError, match="corpus: item 'a' is missing. Give the one that goes with"):
        error_analysis.describe(answers, corpus.select([1, 2]))
    with pytest.raises(InputError, match="bank: item 'c' is missing; item 'a' is missing"):
        error_analysis.describe(answers, corpus, bank_of(["x"], [0.0]))
    nominal = pd.DataFrame({"item_id": ["a"], "label": ["neutral"], "slope": [0.0], "intercept": [0.0]})
    with pytest.raises(InputError, match="nominal scale has no difficulties"):
        error_analysis.describe(answers, corpus, ItemBank(nominal, pd.DataFrame(), {}))
    with pytest.raises(InputError, match="label distributions: no column 'neutral'"):
        error_analysis.describe(answers, corpus, distributions=PEOPLE.drop(columns="neutral"))
    with pytest.raises(InputError, match="label distributions: item 'a' is there twice"):
        error_analysis.describe(answers, corpus, distributions=PEOPLE.loc[["a", "b", "a"]])
    with pytest.raises(InputError, match="label 'maybe' has no logits; there are those of entailment, neutral"):
        error_analysis.describe(answers.assign(label="maybe"), corpus)


def test_accuracy_by_value_and_by_bin():
    table = pd.DataFrame(
        {
            "right": [True, False, True, True, False, True, True],
            "kind": ["y", "x", "x", "y", "x", None, "y"],
            "b": [0.5, 0.1, 0.2, 0.4, 0.3, np.nan, 0.6],
            "flat": [1.0] * 5 + [0.0, 1.0],
        }
    )
    found = error_analysis.accuracy_by(table, "kind")
    assert found["kind"].tolist()[:2] == ["x", "y"] and pd.isna(found["kind"][2])
    assert found["n"].tolist() == [3, 3, 1] and found["accuracy"].tolist() == pytest.approx([1 / 3, 1, 1])
    assert found.loc[0, ["low", "high"]].tolist() == pytest.approx(wilson(1, 3))
    found = error_analysis.accuracy_by(table, "b", bins=3)
    assert found["min"].tolist()[:3] == [0.1, 0.3, 0.5] and found["max"].tolist()[:3] == [0.2, 0.4, 0.6]
    assert found["b"].tolist()[:3] == pytest.approx([0.15, 0.35, 0.55])
    assert found["n"].tolist() == [2, 2, 2, 1] and found["accuracy"].tolist() == [0.5, 0.5, 1, 1]
    assert pd.isna(found["b"][3])
    found = error_analysis.accuracy_by(table, "flat", bins=4)  # a value that fills more than a bin is one
    assert found["flat"].tolist() == found["min"].tolist() == found["max"].tolist() == [0, 1]
    assert found["n"].tolist() == [1, 6]


@pytest.mark.parametrize("n", [100, 101, 999])
def test_bins_hold_as_many_items_each(n):
    rng = np.random.default_rng(n)
    table = pd.DataFrame({"right": rng.random(n) < 0.7, "b": rng.normal(size=n)})
    for bins in (2, 3, 7, 10):
        found = error_analysis.accuracy_by(table, "b", bins)
        assert len(found) == bins and found["n"].max() - found["n"].min() <= 1
        assert (found["n"] * found["accuracy"]).sum() == pytest.approx(table["right"].sum())
        assert (found["max"][:-1].to_numpy() < found["min"][1:].to_numpy()).all()


def test_accuracy_by_says_what_it_lacks():
    table = pd.DataFrame({"right": [True], "kind": ["x"]})
    with pytest.raises(InputError, match="no column 'length'; `describe` gives one with right, kind"):
        error_analysis.accuracy_by(table, "length")
    with pytest.raises(InputError, match="no column 'right'"):
        error_analysis.accuracy_by(table[["kind"]], "kind")
    for column, bins in (("kind", 3), ("right", 1)):
        with pytest.raises(InputError, match=f"bins is {bins} for '{column}'.*give 2 or more, for numbers"):
            error_analysis.accuracy_by(table, column, bins)


def errors(**columns):
    n = len(columns["confidence"])
    premises = [f"premise {i}" for i in range(n)]
    return pd.DataFrame({"item_id": range(n), "premise": premises, "right": False} | columns)


def test_clear_errors_come_by_confidence_agreement_and_ease():
    table = errors(
        confidence=[0.5, 0.9, 0.9, 0.99, 0.7],
        share_gold=[0.9, 0.9, 0.6, 0.5, np.nan],
        share_predicted=[0.1, 0.1, 0.4, 0.5, np.nan],
        difficulty=[-3.0, -2.0, -1.0, -9.0, 0.0],
    )
    found = error_analysis.instructive(table)
    assert found["kind"].tolist() == ["clear", "clear", "clear", "disputed", "unasked"]
    assert found["item_id"].tolist() == [1, 0, 2, 3, 4]
    # of three clear ones: confidence ranks 3, 1.5, 1.5; share_predicted 1.5, 1.5, 3; difficulty 1, 2, 3
    assert found["score"].tolist()[:3] == pytest.approx([5 / 9, 5.5 / 9, 7.5 / 9])
    assert list(found)[:3] == ["kind", "score", "item_id"]


def test_disputed_errors_come_first_where_people_make_them_too():
    table = errors(
        confidence=[0.8, 0.8, 0.8], share_gold=[0.4, 0.1, 0.3], share_predicted=[0.3, 0.9, 0.6], difficulty=[-5, 5, 0]
    )
    assert error_analysis.instructive(table)["item_id"].tolist() == [1, 2, 0]


def test_without_people_confidence_and_ease_are_left_and_a_premise_comes_once():
    table = errors(confidence=[0.6, 0.9, 0.8, 0.7, 0.95])
    table["premise"] = ["x", "A  premise", "y", "a Premise", "z"]
    table.loc[4, "right"] = True
    found = error_analysis.instructive(table)
    assert found["item_id"].tolist() == [1, 2, 0] and set(found["kind"]) == {"unasked"}
    assert error_analysis.instructive(table, n=1)["item_id"].tolist() == [1]
    easy = table.assign(difficulty=[-9.0, 1.0, 0.0, 0.0, 0.0])
    assert error_analysis.instructive(easy)["item_id"].tolist() == [2, 1, 0]  # ranks 2 + 2.5, 1 + 4, 4 + 1
    none = error_analysis.instructive(table.assign(right=True))
    assert len(none) == 0 and list(none) == list(found)


def test_gap_by_hand():
    train = predictions(range(4), "neutral", [[0.1, 0.8, 0.1], [0.1, 0.8, 0.1], [0.2, 0.6, 0.2], [0.5, 0.4, 0.1]])
    validation = predictions(range(2), "neutral", [[0.3, 0.4, 0.3], [0.5, 0.1, 0.4]])
    found = error_analysis.train_validation_gap(train, validation)
    assert found.loc["accuracy", ["train", "validation", "gap"]].tolist() == [0.75, 0.5, 0.25]
    by_group = bias.gap(pd.concat([train.assign(part="train"), validation.assign(part="x")]), "part").set_index("group")
    assert found.loc["accuracy", ["low", "high"]].tolist() == pytest.approx(
        by_group.loc["train", ["difference_low", "difference_high"]].tolist()
    )
    losses = [-np.log([0.8, 0.8, 0.6, 0.4]), -np.log([0.4, 0.1])]
    assert found.loc["log-loss", ["train", "validation"]].tolist() == pytest.approx([each.mean() for each in losses])
    assert found.loc["log-loss", "gap"] == pytest.approx(losses[0].mean() - losses[1].mean())
    with pytest.raises(InputError, match="4 training and 1 validation pairs; give 2 or more"):
        error_analysis.train_validation_gap(train, validation[:1])


def test_the_gaps_interval_holds_the_truth():
    """Probabilities of the gold label are uniform on the training pairs, and their square root's on the others."""
    rng, held = np.random.default_rng(0), {"accuracy": 0, "log-loss": 0}
    for _ in range(200):
        gold = [np.sqrt(rng.random(150)), rng.random(100)]
        found = error_analysis.train_validation_gap(
            *(predictions(range(len(p)), "neutral", np.column_stack([1 - p, p, np.full(len(p), 1e-9)])) for p in gold)
        )
        # P(p > 1/2) = 3/4 and 1/2; E(-log p) = 1/2 and 1
        for metric, truth in (("accuracy", 0.25), ("log-loss", -0.5)):
            held[metric] += found.loc[metric, "low"] <= truth <= found.loc[metric, "high"]
    assert all(0.91 <= each / 200 <= 0.99 for each in held.values()), held


def test_import_is_light():
    code = "import sys, cift.error_analysis, cift.fairness, cift.cross_validation; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "datasets", "peft", "sklearn"} & set(loaded)
