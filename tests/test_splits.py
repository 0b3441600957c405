import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils.class_weight import compute_class_weight

from cift import splits
from cift.corpora import LABELS, load_corpus, to_dataset
from cift.errors import InputError

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


def corpus_of(premises, labels):
    rows = {"premise": premises, "hypothesis": "It is so.", "label": [LABELS[label] for label in labels]}
    return to_dataset(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def topics():
    """2,000 pairs with 300 premises, some frequent and some rare, each with its own mix of labels."""
    rng = np.random.default_rng(1)
    sizes = rng.zipf(1.8, 300).clip(max=60)
    topic = rng.permutation(np.repeat(np.arange(300), sizes))[:2000]
    mix = rng.dirichlet([2, 2, 1], 300)
    spelt = [("A  {} Thing. ", "a {} thing.")[i % 2].format(t) for i, t in enumerate(topic)]
    return corpus_of(spelt, [rng.choice(3, p=mix[t]) for t in topic])


def ids(corpora):
    return [item for corpus in corpora for item in corpus["item_id"]]


def worst(parts, corpus, shares):
    """The largest difference between a part's count of a label and its share of that label's pairs."""
    counts = splits.label_balance(parts)[list(LABELS)].to_numpy()
    wanted = np.outer(list(shares), np.bincount(corpus["label"]))
    return np.abs(counts - wanted).max()


def test_every_pair_is_in_one_split_and_no_premise_crosses(topics):
    parts = splits.split(topics, SHARES, seed=3)
    assert list(parts) == list(SHARES)
    assert sorted(ids(parts.values())) == sorted(topics["item_id"])
    assert splits.crossing(parts).empty
    assert worst(parts, topics, SHARES.values()) <= 1.5
    numbers = [int(item.removeprefix("row-")) for item in parts["test"]["item_id"]]
    assert numbers == sorted(numbers)  # the corpus's order


def test_crossing_finds_what_ungrouped_splits_leak(topics):
    parts = splits.split(topics, SHARES, group=None)
    leaks = splits.crossing(parts)
    assert list(leaks) == list(SHARES) and ((leaks > 0).sum(axis=1) >= 2).all()
    keys = {name: {" ".join(p.lower().split()) for p in part["premise"]} for name, part in parts.items()}
    assert set(leaks.index) == (
        keys["train"] & keys["test"] | keys["train"] & keys["validation"] | keys["validation"] & keys["test"]
    )
    assert worst(parts, topics, SHARES.values()) < 2


def test_the_seed_decides(topics):
    first, again, other = (splits.split(topics, SHARES, seed=seed)["test"]["item_id"][:] for seed in (0, 0, 1))
    assert first == again != other


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), min_size=60, max_size=200),
    st.integers(0, 5),
)
def test_no_premise_crosses_whatever_the_corpus(pairs, seed):
    corpus = corpus_of([f"Premise {premise}" for premise, _ in pairs], [label for _, label in pairs])
    try:
        parts = splits.split(corpus, {"a": 0.6, "b": 0.4}, seed)
    except InputError as error:
        assert "nothing falls to" in str(error)
    else:
        assert splits.crossing(parts).empty and sorted(ids(parts.values())) == sorted(corpus["item_id"])


def test_folds_test_every_pair_once(topics):
    found = splits.folds(topics, 4, seed=1)
    assert len(found) == 4 and sorted(ids(test for _, test in found)) == sorted(topics["item_id"])
    for train, test in found:
        assert splits.crossing({"train": train, "test": test}).empty
        assert len(train) + len(test) == len(topics)
    tests = {str(i): test for i, (_, test) in enumerate(found)}
    assert worst(tests, topics, [1 / 4] * 4) <= 2


def test_at_least_as_even_as_scikit_learn():
    """On the scenes by phenomenon: 25 groups of very different size and mix."""
    corpus = load_corpus("scenes", "train")
    labels, groups = np.array(corpus["label"]), pd.factorize(np.array(corpus["phenomenon"]))[0]
    theirs = StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups)
    theirs = {str(i): corpus.select(test) for i, (_, test) in enumerate(theirs)}
    ours = {str(i): test for i, (_, test) in enumerate(splits.folds(corpus, 5, group="phenomenon"))}
    assert splits.crossing(ours, "phenomenon").empty
    assert worst(ours, corpus, [0.2] * 5) < worst(theirs, corpus, [0.2] * 5)


def test_scenes_are_split_exactly():
    table = splits.label_balance(splits.split(load_corpus("scenes", "train"), SHARES))
    assert table[list(LABELS)].to_numpy().tolist() == [[3200] * 3, [400] * 3, [400] * 3]


def test_snli(mirror):
    for name, n in (("train", 18000), ("validation", 9842)):
        corpus = load_corpus("snli", name)
        parts = splits.split(corpus, SHARES)
        assert splits.crossing(parts).empty and worst(parts, corpus, SHARES.values()) < 2
        assert splits.label_balance(parts)["pairs"].sum() == n


@pytest.mark.parametrize(
    ("shares", "group", "messages"),
    [
        ({"train": 1.0}, None, ["1 parts are named"]),
        ({"train": 0.8, "test": 0.3}, None, ["the shares sum to 1.1"]),
        ({"train": 1.2, "test": -0.2}, "topic", ["share of 'test' is -0.2", "no column 'topic', but item_id"]),
        ({"train": 1.0, "test": float("nan")}, None, ["share of 'test' is nan", "sum to nan"]),
    ],
)
def test_all_that_is_wrong_with_the_shares_and_the_group(pairs, shares, group, messages):
    with pytest.raises(InputError) as caught:
        splits.split(pairs, shares, group=group)
    for message in messages:
        assert message in str(caught.value)


def test_what_is_wrong_with_the_pairs(pairs):
    with pytest.raises(InputError, match="the corpus is empty"):
        splits.split(pairs.select([]), SHARES)
    unlabelled = pairs.remove_columns("label").add_column(
        "label", [-1, *pairs["label"][1:]], feature=pairs.features["label"]
    )
    unlabelled = unlabelled.add_column("topic", [" ", None] + ["x"] * 46)
    with pytest.raises(InputError, match="1 pairs have no label; 2 pairs have an empty topic"):
        splits.folds(unlabelled, group="topic")


def test_parts_that_would_stay_empty():
    corpus = corpus_of(["A.", "a. ", "B."] * 20, [0, 1, 2] * 20)
    with pytest.raises(InputError, match="nothing falls to test; there are 60 pairs with 2 premises"):
        splits.split(corpus, {"train": 0.9, "test": 0.1})
    with pytest.raises(InputError, match="k is 3, but there are too few groups .* 60 pairs with 2 premises"):
        splits.folds(corpus, 3)
    with pytest.raises(InputError, match="k is 1"):
        splits.folds(corpus, 1)


def test_label_balance():
    table = splits.label_balance(
        {"train": corpus_of(["A."] * 6, [0, 0, 0, 1, 1, 2]), "test": corpus_of(["B."] * 2, [1, 1])}
    )
    assert table.loc["train"].to_dict() == pytest.approx(
        {"pairs": 6, "share": 0.75, "entailment": 3, "neutral": 2, "contradiction": 1}
        | {"share_entailment": 1 / 2, "share_neutral": 1 / 3, "share_contradiction": 1 / 6}
    )
    assert table.loc["test", ["pairs", "entailment", "share_neutral"]].tolist() == [2, 0, 1]


def test_class_weights():
    labels = [0] * 6 + [1] * 3 + [2]
    weights = splits.class_weights(corpus_of(["A."] * 10, labels))
    assert weights.to_dict() == pytest.approx({"entailment": 10 / 18, "neutral": 10 / 9, "contradiction": 10 / 3})
    assert weights.to_numpy() == pytest.approx(compute_class_weight("balanced", classes=np.arange(3), y=labels))
    assert weights.to_numpy()[labels].mean() == pytest.approx(1)
    with pytest.raises(InputError, match="no pair is labelled neutral, contradiction"):
        splits.class_weights(corpus_of(["A."], [0]))


def test_resample():
    corpus = corpus_of([f"P{i}." for i in range(40)], [0] * 25 + [1] * 10 + [2] * 5)
    over, under = splits.resample(corpus, "over"), splits.resample(corpus, "under")
    assert np.bincount(over["label"]).tolist() == [25] * 3 and np.bincount(under["label"]).tolist() == [5] * 3
    assert set(over["item_id"]) == set(corpus["item_id"]) and len(set(under["item_id"])) == 15
    assert pd.Series(over["item_id"][:]).value_counts()[[f"row-{i}" for i in range(26, 36)]].isin([2, 3]).all()
    for how, found in (("over", over), ("under", under)):
        assert splits.resample(corpus, how)["item_id"][:] == found["item_id"][:]
        assert sorted(splits.resample(corpus, how, seed=1)["item_id"]) != sorted(found["item_id"])
    with pytest.raises(InputError, match="how is 'both'; choose over or under"):
        splits.resample(corpus, "both")


def test_crossing_needs_the_column_in_every_split(topics):
    with pytest.raises(InputError, match="crossing: b has no column 'premise'"):
        splits.crossing({"a": topics, "b": topics.remove_columns("premise")})
