"""The scenes corpus is what its card says: reproducible, balanced, and not to be solved by surface cues."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from cift.corpora import LABELS, data_dir
from cift.errors import InputError
from cift.simulate import SIZES, read_grammar, related, scenes, write_scenes

FOLDER = data_dir() / "scenes"


@pytest.fixture(scope="module")
def corpus():
    return scenes()


def overlap(table: pd.DataFrame) -> np.ndarray:
    """For each pair: share of hypothesis words that are in the premise, and the lengths of both in words."""
    rows = []
    for premise, hypothesis in zip(table["premise"], table["hypothesis"], strict=True):
        p, h = (re.findall(r"[a-z'-]+", text.lower()) for text in (premise, hypothesis))
        rows.append((np.mean([word in p for word in h]), len(p), len(h)))
    return np.array(rows)


def bag_of_words_accuracy(corpus, column: str) -> float:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(CountVectorizer(ngram_range=(1, 2)), LogisticRegression(max_iter=200, tol=1e-2))
    model.fit(corpus["train"][column], corpus["train"]["label"])
    return model.score(corpus["test"][column], corpus["test"]["label"])


def overlap_accuracy(corpus, depth: int, features: slice) -> float:
    from sklearn.tree import DecisionTreeClassifier

    tree = DecisionTreeClassifier(max_depth=depth, random_state=0)
    tree.fit(overlap(corpus["train"])[:, features], corpus["train"]["label"])
    return tree.score(overlap(corpus["test"])[:, features], corpus["test"]["label"])


@pytest.mark.parametrize("split", SIZES)
def test_the_committed_files_are_what_the_grammar_writes(corpus, split):
    pd.testing.assert_frame_equal(pd.read_parquet(FOLDER / f"{split}.parquet"), corpus[split])


@pytest.mark.parametrize("split", SIZES)
def test_form_and_balance(corpus, split):
    table = corpus[split]
    assert list(table) == ["item_id", "premise", "hypothesis", "label", "phenomenon"]
    assert len(table) == SIZES[split]
    assert table["item_id"].is_unique
    assert table["item_id"].iloc[0] == f"scenes-{split}-00001"
    counts = Counter(table["label"])
    assert set(counts) == set(LABELS)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert table["premise"].str.split().str.len().between(8, 25).all()
    assert table["hypothesis"].str.split().str.len().between(4, 14).all()


def test_no_sentence_is_in_two_splits_and_no_premise_is_used_twice(corpus):
    everything = pd.concat(corpus.values())
    assert everything["premise"].is_unique
    owners = pd.concat([table.assign(split=split) for split, table in corpus.items()]).groupby("hypothesis")["split"]
    assert (owners.nunique() == 1).all()
    assert not set(everything["premise"]) & set(everything["hypothesis"])


def test_sentences_are_well_formed(corpus):
    for text in pd.concat([pd.concat([t["premise"], t["hypothesis"]]) for t in corpus.values()]):
        assert re.fullmatch(r"[A-Z][A-Za-z',: -]*\.", text), text
        assert not re.search(r"  | ,|\ba [aeio]|\ban [bcdfgjklmnpqrstvwxyz]|\b(\w+) \1\b", text), text


def test_many_phenomena_and_most_with_more_than_one_label(corpus):
    labels = pd.concat(corpus.values()).groupby("phenomenon")["label"].nunique()
    assert len(labels) >= 14
    assert (labels >= 2).all()


def test_hypotheses_alone_do_not_give_the_label_away(corpus):
    assert bag_of_words_accuracy(corpus, "hypothesis") < 0.45


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("features", [slice(0, 1), slice(0, 3)], ids=["share", "share and lengths"])
def test_word_overlap_does_not_give_the_label_away(corpus, depth, features):
    assert overlap_accuracy(corpus, depth, features) < 0.60


def test_relations_between_words():
    from cift.simulate import Word

    root = read_grammar(FOLDER).trees["animal"]
    dog = next(sense for sense in root.children if sense.words[0][0] == "dog")
    word = Word("dog", False, dog, root)
    assert "poodle" in {other.text for other in related(word, "<")}
    assert [other.text for other in related(word, ">")] == ["animal"]
    excluded = {other.text for other in related(word, "!")}
    assert {"cat", "hen"} <= excluded
    assert not excluded & {"dog", "poodle", "animal"}


def test_training_never_shows_the_words_that_are_kept_for_the_test(corpus):
    pets = read_grammar(FOLDER).trees["animal"]
    kept, stack = set(), [pets]
    while stack:
        sense = stack.pop()
        stack += sense.children
        kept |= {text for text, unseen in sense.words if unseen}
    assert kept
    pattern = r"\b(?:" + "|".join(sorted(kept)) + r")s?\b"
    for split, expected in (("train", False), ("validation", False), ("test", True)):
        texts = corpus[split]["premise"] + " " + corpus[split]["hypothesis"]
        assert texts.str.contains(pattern).any() == expected, split


def test_a_seed_gives_its_own_corpus_and_small_sizes_stay_balanced():
    small = {"train": 31}
    one, same, other = scenes(1, small), scenes(1, small), scenes(2, small)
    pd.testing.assert_frame_equal(one["train"], same["train"])
    assert not one["train"].equals(other["train"])
    counts = Counter(one["train"]["label"])
    assert sorted(counts.values()) == [10, 10, 11]


def test_unknown_split_is_refused():
    with pytest.raises(InputError, match="no split 'dev'"):
        scenes(sizes={"dev": 3})


def test_write_scenes_leaves_only_the_files(tmp_path, monkeypatch, corpus):
    monkeypatch.setattr("cift.simulate.scenes", lambda: corpus)
    write_scenes(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test.parquet", "train.parquet", "validation.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "train.parquet"), corpus["train"])
