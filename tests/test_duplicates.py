import itertools
import math
import os
import random
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from cift.corpora import load_corpus, to_dataset, without
from cift.duplicates import _jaccard, _trigrams, leakage, near_duplicates
from cift.errors import InputError

BASE = [
    ("A woman in a red coat is walking her dog.", "A woman is outside.", "entailment"),
    ("A woman in a red coat is walking her dog.", "A woman is asleep at home.", "contradiction"),
    ("Two boys play football on the beach.", "The boys are brothers.", "neutral"),
]


def corpus(rows, prefix):
    table = pd.DataFrame(rows, columns=["premise", "hypothesis", "label"])
    return to_dataset(table.assign(item_id=[f"{prefix}{i}" for i in range(len(table))]))


def edited(text, kind, rng):
    """The text after one edit, as people and copying make them."""
    words = text.split()
    i = rng.randrange(len(words))
    if kind == "typo":
        at = rng.randrange(len(words[i]))
        words[i] = words[i][:at] + rng.choice("bcdfghjklmn") + words[i][at + 1 :]
    elif kind == "inserted":
        words.insert(i, rng.choice(["very", "big", "also", "old"]))
    elif kind == "case":
        return text.upper().replace(" ", "  ")
    return " ".join(words)


def test_the_four_kinds_are_told_apart():
    other = [
        (BASE[0][0].upper(), "A  woman is outside.", "entailment"),
        (BASE[0][0], "A woman is outside!", "entailment"),
        (BASE[2][0], BASE[2][1], "entailment"),
        ("Two boys play football on a beach.", "The boys are not brothers.", "contradiction"),
    ]
    found = near_duplicates({"train": corpus(BASE, "a"), "test": corpus(other, "b")})
    kinds = found.set_index(["item_id", "other_id"])["kind"].to_dict()
    assert kinds == {
        ("a0", "b0"): "copy",
        ("a0", "b1"): "near copy",
        ("b0", "b1"): "near copy",
        ("a2", "b2"): "conflict",
        ("a2", "b3"): "contrast",
        ("b2", "b3"): "contrast",
    }
    assert found["similarity"].is_monotonic_decreasing and found["similarity"].iloc[0] == 1
    assert (found["same_label"] == found["kind"].isin(["copy", "near copy"])).all()
    assert set(found.loc[found["item_id"] == "a2", ["split", "other_split"]].itertuples(index=False, name=None)) == {
        ("train", "test")
    }


def test_a_shared_premise_makes_no_duplicate_but_is_one_of_the_premise():
    data = corpus(BASE, "a")
    assert near_duplicates(data).empty
    premises = near_duplicates(data, columns=("premise",))
    assert premises[["item_id", "other_id", "kind"]].to_numpy().tolist() == [["a0", "a1", "conflict"]]


def test_similarity_is_the_jaccard_index_of_the_least_similar_column():
    data = corpus([("abcd", "one two three", "neutral"), ("abcd", "one two three four", "neutral")], "a")
    # " one two three ": 13 trigrams, of which the last, "ee ", is also in the other; that has 18
    assert near_duplicates(data, 0.6)["similarity"].tolist() == [13 / 18]


def test_leakage_counts_items_of_the_later_split():
    test = [
        BASE[0],
        BASE[0],
        (BASE[1][0], "Nobody is there.", "contradiction"),
        ("The sun is up.", "It is dark.", "neutral"),
    ]
    report = leakage({"train": corpus(BASE, "a"), "test": corpus(test, "b")})
    assert list(report.index) == [("train", "train"), ("train", "test"), ("test", "test")]
    counts = report["items"].T.to_dict()
    none = {"copy": 0, "near copy": 0, "conflict": 0, "contrast": 0}
    assert counts["train", "train"] == none | {"same premise": 1, "same hypothesis": 0}
    assert counts["train", "test"] == none | {"copy": 2, "same premise": 3, "same hypothesis": 2}
    assert counts["test", "test"] == none | {"copy": 1, "same premise": 2, "same hypothesis": 1}
    assert report.loc[("train", "test"), ("share", "same premise")] == 0.75


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_banding_finds_99_of_100_pairs_that_just_meet_the_threshold(threshold):
    """Random letters in one column, where the bound is tight: pairs begin alike, and end differently."""
    rng, rows = random.Random(0), []
    for i in range(3000):
        letters = rng.choices("abcdefghijklmnopqrstuvwxyz", k=60)
        alike = math.ceil(120 * threshold / (1 + threshold)) + rng.choice(
            [1, 2]
        )  # letters; the trigrams are one fewer, of 60
        rows += [
            (f"x{i}a", "".join(letters)),
            (f"x{i}b", "".join(letters[:alike] + rng.choices("0123456789", k=60 - alike))),
        ]
    similarity = {
        one[0]: _jaccard(_trigrams(one[1]), _trigrams(two[1])) for one, two in zip(rows[::2], rows[1::2], strict=True)
    }
    wanted = {item for item, value in similarity.items() if threshold <= value < threshold + 0.02}
    table = pd.DataFrame(rows, columns=["item_id", "hypothesis"]).assign(premise="-", label="neutral")
    found = near_duplicates(to_dataset(table), threshold, columns=("hypothesis",))
    assert found["similarity"].to_list() == [similarity[item] for item in found["item_id"]]
    assert len(wanted) > 500 and len(wanted & set(found["item_id"])) >= 0.985 * len(wanted)


def test_among_real_neighbours_nothing_is_found_that_is_not_similar():
    data = load_corpus("scenes", "validation").select(range(600))
    sets = {item: _trigrams(text.casefold()) for item, text in zip(data["item_id"], data["hypothesis"], strict=True)}
    found = near_duplicates(data, 0.5, columns=("hypothesis",)).set_index(["item_id", "other_id"])["similarity"]
    every = {(i, j): _jaccard(sets[i], sets[j]) for i, j in itertools.combinations(sets, 2)}
    assert found.to_dict() == {pair: value for pair, value in every.items() if value >= 0.5}


@pytest.mark.parametrize("kind, recall", [("case", 1.0), ("typo", 0.97), ("inserted", 0.97)])
def test_planted_copies_across_splits_are_found_and_little_else(kind, recall):
    train, rng = load_corpus("scenes", "train").select(range(3000)), random.Random(0)
    rows = train.select(rng.sample(range(3000), 150)).to_pandas()
    rows = rows.assign(
        item_id="leak-" + rows["item_id"], label=[train.features["label"].names[i] for i in rows["label"]]
    )
    for name in ("premise", "hypothesis"):
        rows[name] = [edited(text, kind, rng) for text in rows[name]]
    found = near_duplicates({"train": train, "test": to_dataset(rows)})
    found = found[(found["other_split"] == "test") & (found["split"] == "train") & found["same_label"]]
    right = "leak-" + found["item_id"] == found["other_id"]
    assert found.loc[right, "other_id"].nunique() >= recall * len(rows)
    assert right.mean() >= 0.9
    clean = without(to_dataset(rows), set(found["other_id"]))
    assert len(clean) == len(rows) - found["other_id"].nunique()


def test_results_do_not_depend_on_the_process():
    code = (
        "from cift.corpora import load_corpus\nfrom cift.duplicates import near_duplicates\n"
        "print(near_duplicates(load_corpus('scenes', 'validation'), 0.6, seed=3).to_csv())"
    )
    run = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": salt},
            capture_output=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    ]
    assert run[0] == run[1] and len(run[0].splitlines()) > 10


def test_what_cannot_be_meant_is_an_input_error():
    with pytest.raises(InputError, match="threshold is 0.2; give"):
        near_duplicates(corpus(BASE, "a"), 0.2)
    with pytest.raises(InputError, match="test: there is no column 'text'"):
        near_duplicates({"test": corpus(BASE, "a")}, columns=("text",))


def test_snli_shares_little_across_splits_and_repeats_premises_within(mirror):
    report = leakage({name: load_corpus("snli", name) for name in ("validation", "test")})
    items, share = report["items"], report["share"]
    assert items.loc[("validation", "test"), "copy"] == 0 and items.loc[("validation", "test"), "near copy"] <= 5
    assert items.loc[("validation", "test"), "same premise"] <= 10
    assert np.isclose(share.loc[("test", "test"), "same premise"], 1 - 3323 / 9824, atol=0.01)
    assert items.loc[("test", "test"), "contrast"] > 100
