"""Which items go into the supplemental set, with which labels, and what is left out."""

import numpy as np
import pandas as pd
import pytest

from cift import crowds, selection
from cift.corpora import LABELS, load_corpus
from cift.errors import InputError
from cift.irt import ItemBank, information


@pytest.fixture(scope="module")
def table():
    """90 candidates of two strata: 40 entailment, 30 neutral, 20 contradiction, with random parameters."""
    rng = np.random.default_rng(0)
    labels = np.repeat(LABELS, [40, 30, 20])
    return pd.DataFrame(
        {
            "item_id": [f"i{j}" for j in range(90)],
            "label": labels,
            "stratum": np.where(np.arange(90) % 2, "G5", "G4"),
            "a": np.exp(rng.normal(0, 0.5, 90)),
            "b": rng.normal(0, 1, 90),
            "c": 0.0,
            "d": 1.0,
            "entropy": rng.random(90),
        }
    )


def chosen_rows(table, found):
    return table.set_index("item_id").loc[found.items]


def test_published_positions_leave_the_published_counts():
    items = [f"i{k}" for k in range(1, 31)]
    kept = {scale: selection.drop_positions(items, drops) for scale, drops in selection.PUBLISHED_DROPS.items()}
    assert {scale: len(left) for scale, left in kept.items()} == {"5GS-E": 28, "5GS-N": 28, "5GS-C": 20, "4GS-N": 28}
    assert "i22" not in kept["5GS-E"] and "i21" in kept["5GS-E"]


def test_only_items_that_surely_discriminate_are_kept():
    items = pd.DataFrame({"item_id": ["x", "y", "z"], "a": [1.0, 0.3, -1.0], "a_se": [0.3, 0.3, 0.1]})
    assert selection.discriminating(ItemBank(items, pd.DataFrame(), {})) == ["x"]


def test_labels_are_balanced_by_repetition(pairs):
    kept = [i for i, label in enumerate(pairs["label"]) if label == 0 or i < 12]  # 16 entailment, 4 and 4 others
    balanced = selection.balance(pairs.select(kept))
    counts = pd.Series(balanced["label"]).value_counts()
    assert counts.tolist() == [16, 16, 16]
    assert set(balanced["item_id"]) == {pairs["item_id"][i] for i in kept}
    assert pd.Series(balanced["item_id"]).value_counts().max() == 4


def test_the_held_out_group_is_not_learnt_from():
    groups = {"E": ["1", "2"], "N": ["3"], "C": ["4"]}
    assert selection.leave_one_out(groups, "E") == ["3", "4"]
    with pytest.raises(InputError, match="group 'X': unknown; choose from E, N, C"):
        selection.leave_one_out(groups, "X")


@pytest.mark.parametrize("by", selection.CRITERIA)
def test_every_criterion_takes_as_many_of_each_label(table, by):
    found = selection.choose(table, 31, by, seed=1)
    assert sorted(chosen_rows(table, found)["label"].value_counts()) == [10, 10, 11]
    assert len(found.left_out) == 59 and set(found.left_out["reason"]) == {f"others come first by {by}"}
    assert set(found.items) | set(found.left_out["item_id"]) == set(table["item_id"])
    again = selection.choose(table.sample(frac=1, random_state=0), 31, by, seed=1)
    assert by == "random" or again.items == found.items


@pytest.mark.parametrize(
    ("by", "value"),
    [
        ("discrimination", lambda t: t["a"]),
        ("easy", lambda t: -t["b"]),
        ("hard", lambda t: t["b"]),
        ("middle", lambda t: -(t["b"] - t["b"].median()).abs()),
        ("entropy", lambda t: t["entropy"]),
        ("information", lambda t: pd.Series(information(np.array([1.5]), t)[0], index=t.index)),
    ],
)
def test_the_best_of_each_label_are_taken_best_first(table, by, value):
    found = selection.choose(table, 15, by, theta=1.5)
    worth = value(table).set_axis(table["item_id"])
    expected = worth.groupby(table.set_index("item_id")["label"]).nlargest(5).index.get_level_values("item_id")
    assert set(found.items) == set(expected)
    assert worth.loc[found.items].is_monotonic_decreasing


def test_random_is_of_the_seed_and_ties_are_broken_by_it(table):
    draws = [tuple(selection.choose(table, 30, "random", seed=seed).items) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    tied = table.assign(entropy=1.0)
    ties = [tuple(selection.choose(tied, 30, "entropy", seed=seed).items) for seed in (1, 1, 2)]
    assert ties[0] == ties[1] != ties[2]


def test_strata_and_labels_are_spread(table):
    found = selection.choose(table, 24, "hard", spread=("stratum", "label"))
    assert chosen_rows(table, found).groupby(["stratum", "label"]).size().tolist() == [4] * 6
    alone = selection.choose(table[table["stratum"] == "G5"], 12, "hard")
    assert set(chosen_rows(table, alone)["stratum"]) == {"G5"}


def test_of_a_dependent_pair_only_the_better_item_is_taken(table):
    first, second, third = selection.choose(table, 3, "hard", spread=()).items
    pairs = pd.DataFrame({"item_1": [second, third], "item_2": [first, second]})
    found = selection.choose(table, 5, "hard", spread=(), pairs=pairs)
    assert found.items[:2] == [first, third] and second not in found.items  # its partner went: third may stay
    assert found.left_out.set_index("item_id").loc[second, "reason"] == f"locally dependent with {first}"
    everything = selection.choose(table, by="hard", pairs=pairs)
    assert len(everything.items) == 89


def test_items_without_parameters_are_left_out_and_named(table):
    holes = table.assign(b=table["b"].where(table.index > 1))
    found = selection.choose(holes, by="easy")
    assert len(found.items) == 88
    assert found.left_out.to_dict("list") == {"item_id": ["i0", "i1"], "reason": ["b unknown", "b unknown"]}
    assert len(selection.choose(holes, by="discrimination").items) == 90


def test_what_cannot_be_chosen_is_said(table):
    with pytest.raises(InputError, match="by 'beauty': unknown; choose from discrimination, information"):
        selection.choose(table, 3, "beauty")
    with pytest.raises(InputError, match="no column 'entropy', which choosing by entropy needs"):
        selection.choose(table.drop(columns="entropy"), 3, "entropy")
    with pytest.raises(
        InputError, match="contradiction has only 20 that can be taken of the 30 that are its part of 90"
    ):
        selection.choose(table, 90, "hard")
    with pytest.raises(InputError, match="the table has only 90 that can be taken of the 91 that are its part of 91"):
        selection.choose(table, 91, "hard", spread=())
    with pytest.raises(InputError, match="n is 0"):
        selection.choose(table, 0, "hard")
    with pytest.raises(InputError, match="none to choose 3 from; the table is empty"):
        selection.choose(table.head(0), 3, "hard")
    with pytest.raises(InputError, match="item 'i0' occurs twice"):
        selection.choose(pd.concat([table, table.head(1)]), 3, "hard")
    with pytest.raises(InputError, match="pairs: no column 'item_2'"):
        selection.choose(table, 3, "hard", pairs=pd.DataFrame({"item_1": ["i0"]}))


def test_candidates_know_parameters_and_disagreement(pairs):
    items = pd.DataFrame({"item_id": ["pair-4", "pair-2"], "a": [1.0, 2.0], "b": [0.5, -0.5], "c": 0.0, "d": 1.0})
    bank = ItemBank(items, pd.DataFrame(), {})
    shares = pd.DataFrame([[1.0, 0, 0], [0.5, 0.5, 0]], index=["pair-0", "pair-4"], columns=list(LABELS))
    table = selection.candidates(pairs, [bank], shares).set_index("item_id")
    assert len(table) == len(pairs) and table["label"].iloc[:3].tolist() == list(LABELS)
    assert table.loc["pair-4", ["a", "b", "entropy"]].tolist() == [1.0, 0.5, 1.0]
    assert table.loc["pair-2", "b"] == -0.5 and table["a"].notna().sum() == 2
    assert table.loc["pair-0", "entropy"] == 0 and table["entropy"].notna().sum() == 2
    with pytest.raises(InputError, match="item 'pair-4' is in two"):
        selection.candidates(pairs, [bank, bank])


def answers_of(*columns):
    return pd.DataFrame({f"pair-{i}": list(answers) for i, answers in columns}).map(
        {label[0]: label for label in LABELS}.get
    )


def test_supplemental_set_has_hard_majority_and_soft_labels(pairs):
    gold = pd.Series({f"pair-{i}": LABELS[i % 3] for i in range(8)})
    responses = answers_of((0, "eeen"), (1, "ccn-"), (2, "cn--"), (3, "----"), (60, "eeee"), (9, "eeee"))
    items = ["pair-1", "pair-0", "pair-2", "pair-3", "pair-60", "pair-9", "pair-4"]
    found = selection.supplemental_set(items, pairs, responses, gold)
    table = found.corpus.to_pandas().set_index("item_id")
    assert list(table.index) == ["pair-1", "pair-0"]
    assert found.corpus.features["label"].names == list(LABELS) and table["label"].tolist() == [1, 0]
    assert table["majority"].tolist() == ["contradiction", "entailment"]
    soft = table[[f"p_{label}" for label in LABELS]].to_numpy()
    assert soft == pytest.approx(np.array([[0, 1 / 3, 2 / 3], [3 / 4, 1 / 4, 0]]))
    assert table["n_responses"].tolist() == [3, 4]
    assert table["premise"].tolist() == ["The cat sleeps."] * 2
    assert found.left_out.set_index("item_id")["reason"].to_dict() == {
        "pair-2": "no majority: neutral and contradiction tie",
        "pair-3": "nobody answered it",
        "pair-60": "not in the corpus",
        "pair-9": "no gold label",
        "pair-4": "nobody answered it",
    }
    repeated = selection.supplemental_set(items, found.corpus, responses, gold).corpus
    assert repeated.to_pandas().equals(found.corpus.to_pandas())  # columns that are there already are replaced


def test_supplemental_set_refuses_contradictions(pairs):
    responses = answers_of((0, "eeen"), (1, "----"))
    gold = pd.Series({"pair-0": "neutral", "pair-1": "neutral"})
    with pytest.raises(InputError, match="'pair-0': the corpus's label is entailment, its gold label neutral"):
        selection.supplemental_set(["pair-0"], pairs, responses, gold)
    with pytest.raises(InputError, match="none of the 1 items is left; 1 nobody answered it"):
        selection.supplemental_set(["pair-1"], pairs, responses, gold)


def test_from_the_embedded_crowd_to_a_lesson():
    """The road that a study takes: candidates, choice, labels, all of two strata at once."""
    corpus, crowd = load_corpus("probes"), crowds.load_crowd("probes")
    responses = pd.concat([stratum.responses for stratum in crowd.values()])
    gold = pd.concat([stratum.gold for stratum in crowd.values()])
    table = selection.candidates(corpus, distributions=crowds.label_distributions(responses))
    found = selection.choose(table, 60, "entropy", spread=("stratum", "label"))
    lesson, left_out = selection.supplemental_set(found.items, corpus, responses, gold)
    assert left_out.empty and list(lesson["item_id"]) == found.items
    assert pd.Series(lesson["group"]).value_counts().tolist() == [10] * 6
    shares = crowds.label_distributions(responses).loc[found.items, list(LABELS)]
    assert lesson.to_pandas()[[f"p_{label}" for label in LABELS]].to_numpy() == pytest.approx(shares.to_numpy())
    assert sum(selection.balance(lesson)["n_responses"]) == sum(lesson["n_responses"])  # balanced already
