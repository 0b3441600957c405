"""Shortcuts that are planted are found and taken away, those of SNLI are the published ones, scenes has few."""

import gzip
import json

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from scipy.stats import fisher_exact

from cift import bias
from cift.corpora import LABELS, load_corpus, to_dataset
from cift.errors import InputError
from cift.fetch import fetch


def planted(n: int, seed: int):
    """Pairs of random words; 80 % of the contradictions and 20 % of the others have "nobody" in the hypothesis."""
    rng = np.random.default_rng(seed)
    words = np.array([f"word{i}" for i in range(200)])
    rows = []
    for i in range(n):
        label = LABELS[i % 3]
        hypothesis = list(rng.choice(words, 6))
        if rng.random() < (0.8 if label == "contradiction" else 0.2):
            hypothesis[0] = "nobody"
        premise = " ".join(rng.choice(words, 10))
        rows.append({"item_id": f"{seed}-{i}", "premise": premise, "hypothesis": " ".join(hypothesis), "label": label})
    return to_dataset(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def train():
    return planted(3000, 0)


@pytest.fixture(scope="module")
def test():
    return planted(1500, 1)


def test_shortcuts_find_the_planted_one_where_it_is(train, test):
    table = bias.shortcuts(train, test).set_index("reads")
    assert list(table.index) == ["nothing", *bias.READS]
    assert table.loc["nothing", "accuracy"] == pytest.approx(1 / 3)
    knowing_the_rule = 0.8 / 3 + 0.8 / 3
    assert table.loc["hypothesis", "accuracy"] == pytest.approx(knowing_the_rule, abs=0.04)
    assert table.loc["hypothesis", "p"] < 1e-9
    assert table.loc["hypothesis", "gain"] == pytest.approx(table.loc["hypothesis", "accuracy"] - 1 / 3)
    assert table.loc["premise", "low"] < 1 / 3 < table.loc["premise", "high"]
    assert table.loc["overlap", "p"] < 1e-9  # it sees the negation, though not the words


def test_predictions_can_be_repeated_and_are_log_probabilities(train, test):
    first, again = (bias.predict_from(train, test, "overlap") for _ in range(2))
    pd.testing.assert_frame_equal(first, again)
    assert np.exp(first.filter(like="logit_")).sum(axis=1).to_numpy() == pytest.approx(1)
    assert list(first) == ["item_id", "label", *(f"logit_{label}" for label in LABELS), "predicted"]


def test_overlap_counts_what_it_says():
    told = bias.overlap_features("The man isn't asleep, he eats.", "The man sleeps")
    assert told == [2 / 3, 2 / 8, False, 1, True, False, 7, 3, 4]
    assert bias.overlap_features("A man eats an apple.", "man eats")[2]


def test_predict_from_says_what_it_cannot_use(train, test):
    with pytest.raises(InputError, match="reads 'both'.*hypothesis, premise, overlap"):
        bias.predict_from(train, test, "both")
    two = to_dataset(pd.DataFrame({"premise": ["a"], "hypothesis": ["b"], "label": ["yes"]}), labels=["yes", "no"])
    with pytest.raises(InputError, match="entailment, neutral, contradiction in train, yes, no in test"):
        bias.predict_from(train, two)
    with pytest.raises(InputError, match="without two different labels"):
        bias.predict_from(two, two)
    with pytest.raises(InputError, match="item '0-0' has none.*0 or more"):
        bias.predict_from(train, test, weights=pd.Series({"0-1": 1.0}))


def test_words_find_the_planted_one_and_no_other(train):
    table = bias.word_label_association(train)
    assert (table.loc[0, "word"], table.loc[0, "label"]) == ("nobody", "contradiction")
    found = table[table["p_adjusted"] < 0.05]
    assert set(found["word"]) == {"nobody"} and len(found) == 3


def test_words_are_counted_once_a_sentence_and_tested_exactly():
    texts = {"entailment": ["yes yes", "yes", "maybe"], "neutral": ["no", "no maybe"], "contradiction": ["no yes"]}
    rows = [{"premise": "x", "hypothesis": text, "label": label} for label in texts for text in texts[label]]
    table = bias.word_label_association(to_dataset(pd.DataFrame(rows)), min_count=2).set_index(["word", "label"])
    row = table.loc["yes", "entailment"]
    assert (row["count"], row["with_label"], row["share"], row["expected"]) == (3, 2, 2 / 3, 1 / 2)
    assert row["z"] == pytest.approx((2 / 3 - 1 / 2) / np.sqrt(1 / 4 / 3))
    tails = [fisher_exact([[2, 1], [1, 2]], side).pvalue for side in ("less", "greater")]
    assert row["p"] == pytest.approx(min(1, 2 * min(tails)))
    with pytest.raises(InputError, match="no word is in 9 sentences"):
        bias.word_label_association(to_dataset(pd.DataFrame(rows)), min_count=9)


def answers(right: int, n: int, group: str) -> pd.DataFrame:
    predicted = ["neutral"] * right + ["entailment"] * (n - right)
    return pd.DataFrame({"label": "neutral", "predicted": predicted, "group": group})


def test_gap_meets_the_published_interval():
    table = pd.concat([answers(56, 70, "a"), answers(48, 80, "b")], ignore_index=True)
    table["item_id"] = [f"i{k}" for k in range(len(table))]
    row = bias.gap(table, "group").set_index("group").loc["a"]
    # Newcombe (1998), Statistics in Medicine 17, 873, table II, 56/70 - 48/80 by method 10
    assert [row["difference"], row["difference_low"], row["difference_high"]] == pytest.approx(
        [0.2, 0.0524, 0.3339], abs=5e-5
    )
    pd.testing.assert_frame_equal(
        bias.gap(table, "group"), bias.gap(table, table.set_index("item_id")["group"]), check_names=False
    )


def test_gap_keeps_small_groups_corrects_and_says_what_lacks_a_group():
    table = pd.concat([answers(80, 100, "a"), answers(50, 100, "b"), answers(1, 2, "c")], ignore_index=True)
    table["item_id"] = [f"i{k}" for k in range(len(table))]
    found = bias.gap(table, "group").set_index("group")
    assert found.loc["c", "n"] == 2 and found.loc["c", "high"] - found.loc["c", "low"] > 0.7
    assert found.loc["a", "p_holm"] == pytest.approx(3 * found.loc["a", "p"])
    alone = bias.gap(answers(3, 5, "a").assign(item_id=list("vwxyz")), "group")
    assert alone["difference"].isna().all() and alone["accuracy"].item() == 0.6
    with pytest.raises(InputError, match="no column 'place'"):
        bias.gap(table, "place")
    with pytest.raises(InputError, match="item 'i1' has none"):
        bias.gap(table, pd.Series({"i0": "a"}))


def test_weights_take_the_shortcut_away(train, test):
    weights = bias.balancing_weights(train, seed=0)
    assert weights.mean() == pytest.approx(1)
    pd.testing.assert_series_equal(weights, bias.balancing_weights(train, seed=0))
    contradiction = np.array(train["label"]) == 2
    nobody = np.array(["nobody" in text for text in train["hypothesis"]])
    assert contradiction[nobody].mean() == pytest.approx(2 / 3, abs=0.03)
    assert 0.3 < np.average(contradiction[nobody], weights=weights[nobody]) < 0.42
    assert np.average(contradiction, weights=weights) == pytest.approx(1 / 3)
    before, after = _right(train, test), _right(train, test, weights)
    assert before.mean() > 0.5 and after.mean() - 1 / 3 < 0.8 * (before.mean() - 1 / 3)
    hard = bias.gap(bias.predict_from(train, test), (~before).map({True: "hard", False: "easy"}))
    assert list(hard["group"]) == ["hard", "easy"] and list(hard["accuracy"]) == [0, 1]


def _right(train, test, weights=None):
    """Whether the hypothesis alone gave the label, by item_id."""
    table = bias.predict_from(train, test, weights=weights).set_index("item_id")
    return table["predicted"] == table["label"]


def test_weights_of_repeated_hypotheses_are_not_learned_from_their_copies(train):
    chance = train.to_pandas().assign(label=np.random.default_rng(0).choice(LABELS, len(train)))
    copies = [chance.assign(item_id=[f"{item}-{i}" for item in chance["item_id"]]) for i in range(3)]
    corpus = to_dataset(pd.concat([*(copy[:500] for copy in copies), chance[500:]], ignore_index=True))
    weights = bias.balancing_weights(corpus, seed=0)
    assert weights[:1500].mean() == pytest.approx(weights[1500:].mean(), rel=0.05)


def test_weights_need_hypotheses_to_learn_from(train):
    with pytest.raises(InputError, match="label 'entailment' has only 1 different hypotheses.*at least 5"):
        bias.balancing_weights(train.select([0, *range(1, 30, 3), *range(2, 30, 3)]), seed=0)


def test_effective_size():
    assert bias.effective_size(pd.Series([1.0, 1, 1])) == 3
    assert bias.effective_size(pd.Series([4.0, 0, 0])) == 1


def test_sample_has_the_copies_that_weights_ask_for(train):
    corpus = train.select(range(4))
    weights = pd.Series([2.0, 1.5, 0.5, 0], corpus["item_id"])
    drawn = [pd.Series(bias.reweighted_sample(corpus, weights, 4, seed)["item_id"]) for seed in range(200)]
    copies = pd.DataFrame([sample.value_counts().reindex(corpus["item_id"], fill_value=0) for sample in drawn])
    assert copies.mean().to_numpy() == pytest.approx([2, 1.5, 0.5, 0], abs=0.15)
    assert (copies["0-0"] == 2).all() and set(copies["0-1"]) == {1, 2}
    assert drawn[3].tolist() == bias.reweighted_sample(corpus, weights, 4, 3)["item_id"][:]
    with pytest.raises(InputError, match="n is 0"):
        bias.reweighted_sample(corpus, weights, 0, 0)
    with pytest.raises(InputError, match="item '0-1' has -1"):
        bias.reweighted_sample(corpus, weights.replace(1.5, -1), 4, 0)


def test_scenes_has_no_words_in_its_hypotheses_that_tell():
    table = bias.shortcuts(load_corpus("scenes", "train"), load_corpus("scenes", "test")).set_index("reads")
    assert table.loc["hypothesis", "accuracy"] == pytest.approx(1 / 3, abs=0.02)
    assert 0.55 < table.loc["premise", "accuracy"] < 0.68  # the known weakness of its README
    words = bias.word_label_association(load_corpus("scenes", "train"))
    assert (words["p_adjusted"] == 1).all()


@pytest.fixture
def snli(mirror):
    return load_corpus("snli", "train"), load_corpus("snli", "test")


def test_snli_has_the_published_artefacts(snli):
    table = bias.word_label_association(snli[0])
    found = table[(table["z"] > 0) & (table["p_adjusted"] < 1e-6)].set_index("word")["label"]
    # Gururangan et al. (2018), table 4; Poliak et al. (2018)
    for word in ("sleeping", "nobody", "no", "cat"):
        assert found[word] == "contradiction"
    for word in ("outdoors", "outside", "person"):
        assert found[word] == "entailment"
    assert found["friends"] == "neutral"


def test_snli_hypotheses_give_less_away_after_weighting(snli):
    train, test = snli[0].select(range(6000)), snli[1]
    with gzip.open(fetch("snli/snli_1.0_test_hard.jsonl.gz")) as lines:
        hard = {json.loads(line)["pairID"] for line in lines}
    weights = bias.balancing_weights(train, seed=0)
    before, after = _right(train, test), _right(train, test, weights)
    assert before.mean() == pytest.approx(0.56, abs=0.03)  # 60 % from 18,000 pairs, 67 % from all 550,000
    easy = ~before.index.isin(hard)
    gaps = [right[easy].mean() - right[~easy].mean() for right in (before, after)]
    assert gaps[0] > 0.3 and gaps[1] < 0.8 * gaps[0]
    assert 0.5 * len(train) < bias.effective_size(weights) < 0.8 * len(train)


def test_sentences_without_words_and_weights_of_nothing_are_input_errors(train):
    rows = [{"premise": "🙂 !", "hypothesis": "🙂", "label": label} for label in LABELS]
    smileys = to_dataset(pd.DataFrame(rows))
    with pytest.raises(InputError, match="train, hypothesis: no sentence has a word"):
        bias.predict_from(smileys, smileys)
    assert len(bias.predict_from(smileys, smileys, "overlap")) == 3
    with pytest.raises(InputError, match="premise: no sentence has a word"):
        bias.word_label_association(smileys, "premise")
    with pytest.raises(InputError, match="weights: all are 0"):
        bias.reweighted_sample(train, pd.Series(0.0, index=train["item_id"][:]), 3, seed=0)


def test_pairs_without_label_do_not_count_as_the_last_label(train):
    few = train.select(range(30))
    unlabelled = Dataset.from_dict(few[:] | {"label": [-1, *few["label"][1:]]}, features=few.features)
    for ask in (
        lambda: bias.predict_from(unlabelled, few),
        lambda: bias.predict_from(few, unlabelled),
        lambda: bias.word_label_association(unlabelled, min_count=1),
        lambda: bias.balancing_weights(unlabelled, seed=0),
    ):
        with pytest.raises(InputError, match="pair 1 has no label"):
            ask()
