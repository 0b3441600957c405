import random

import numpy as np
import pandas as pd
import pytest

from cift.corpora import LABELS, load_corpus, to_dataset
from cift.errors import InputError
from cift.recipe import Recipe
from cift.suspects import gibberish, label_errors, out_of_sample, outliers, precision_recall, surprise

FOREIGN = [
    "Der Mann steht vor dem Haus und wartet auf den Bus.",
    "Die Katze schläft auf dem Sofa neben dem Ofen.",
    "La ragazza mangia una mela rossa nella cucina.",
    "Les enfants jouent dans le jardin derrière l'église.",
    "La mujer camina por la calle con su perro.",
    "Mężczyzna jedzie na rowerze przez miasto.",
    "De jongen drinkt een glas melk.",
    "Мальчик читает книгу в саду.",
]
ELSEWHERE = [
    "The mitochondrial membrane potential was measured by flow cytometry.",
    "Pursuant to section 4, the lessee shall indemnify the lessor against all claims.",
    "The Federal Reserve raised interest rates by 25 basis points on Wednesday.",
    "Click the settings icon and select export to save the file as a PDF.",
    "Let f be a continuous function on a compact metric space.",
    "Patients with type 2 diabetes received 10 mg of the drug daily.",
    "The kernel module failed to load because of a missing symbol.",
    "Quarterly earnings exceeded the analysts' forecasts.",
]


def table_of(corpus):
    names = np.array(corpus.features["label"].names)
    table = corpus.select_columns(["item_id", "premise", "hypothesis", "label"]).to_pandas()
    return table.assign(label=names[table["label"]])


def with_texts(corpus, texts, seed=0):
    """The corpus with each text in place of a premise or hypothesis drawn at random, and the changed item_ids."""
    rng, table = random.Random(seed), table_of(corpus)
    rows = rng.sample(range(len(table)), len(texts))
    for row, text in zip(rows, texts, strict=True):
        table.at[row, rng.choice(["premise", "hypothesis"])] = text
    return to_dataset(table), list(table["item_id"][rows])


def with_flipped_labels(corpus, share, seed=0):
    rng, table = random.Random(seed), table_of(corpus)
    rows = rng.sample(range(len(table)), round(share * len(table)))
    for row in rows:
        table.at[row, "label"] = rng.choice([label for label in LABELS if label != table.at[row, "label"]])
    return to_dataset(table), list(table["item_id"][rows])


def keyboard(n, seed=0):
    rng = random.Random(seed)
    return [" ".join("".join(rng.choices("asdfghjklqwertz", k=rng.randint(3, 9))) for _ in range(4)) for _ in range(n)]


def precision_at_planted(table, planted):
    return table["item_id"][: len(planted)].isin(planted).mean()


# gibberish


@pytest.mark.parametrize("name, split", [("scenes", "train"), ("probes", "test")])
@pytest.mark.parametrize("texts, least", [(keyboard(8), 0.95), (FOREIGN, 0.75)])
def test_gibberish_and_other_languages_come_first(name, split, texts, least):
    corpus, planted = with_texts(load_corpus(name, split).select(range(180)), texts)
    assert precision_at_planted(gibberish(corpus), planted) >= least


def test_gibberish_among_real_sentences(mirror):
    corpus, planted = with_texts(load_corpus("snli", "train").select(range(4000)), keyboard(100))
    table = gibberish(corpus)
    assert precision_at_planted(table, planted) >= 0.9
    assert (table["reasons"] == "").mean() > 0.97


@pytest.mark.parametrize(
    "text, reason",
    [
        ("A man <b>sleeps</b> here.", "markup"),
        ("Tom &amp; Ann dance.", "markup"),
        ("The see https://example.org now.", "markup"),
        ("Человек спит.", "another script"),
        ("Hmm, pst brr.", "no vowel"),
        ("The man wlkndgs home.", "six consonants"),
        ("Helloooooo there.", "repeated character"),
        ("12 34 a! 5.", "no word of three letters"),
        ("Nobody sleeps.", "premise is hypothesis"),
    ],
)
def test_each_reason_is_named(text, reason):
    rows = [("Nobody sleeps.", text), ("Der Mann läuft.", "The boys aren't 12 years old, are they?")]
    corpus = to_dataset(pd.DataFrame(rows, columns=["premise", "hypothesis"]).assign(label="neutral"))
    reasons = gibberish(corpus).set_index("item_id")["reasons"]
    assert reason in reasons["row-1"] and reasons["row-2"] == ""


def test_surprise_is_the_interpolated_trigram_model_without_the_text_itself():
    texts = ["ab", "abc", "ba"]
    alphabet = " abc"

    def bits(text, others):
        total = 0.0
        padded = f"  {text} "
        grams = [f"  {other} " for other in others]
        for i in range(2, len(padded)):
            p = 1 / len(alphabet)
            for k in (0, 1, 2):
                context, full = padded[i - k : i], padded[i - k : i + 1]
                # only positions from the third on are characters to be predicted
                ends = [g[: j + 1] for g in grams for j in range(2, len(g))]
                n_context = sum(end[:-1].endswith(context) for end in ends)
                p = (sum(end.endswith(full) for end in ends) + p) / (n_context + 1)
            total -= np.log2(p)
        return total / (len(padded) - 2)

    wanted = [bits(text, texts[:i] + texts[i + 1 :]) for i, text in enumerate(texts)]
    np.testing.assert_allclose(surprise(texts), wanted)


# outliers


def test_texts_from_elsewhere_are_outliers():
    corpus, planted = with_texts(load_corpus("scenes", "validation").select(range(400)), ELSEWHERE)
    table = outliers(corpus)
    assert precision_at_planted(table, planted) >= 0.85
    assert (table["score"] == table[["premise_distance", "hypothesis_distance"]].max(axis=1)).all()
    assert table["score"].is_monotonic_decreasing


def test_repeated_texts_do_not_vouch_for_each_other(pairs, tiny_model):
    """48 pairs have three different hypotheses: equal ones are one text, and two neighbours are left to it."""
    assert (outliers(pairs, neighbours=2, model=tiny_model)["hypothesis_distance"] > 1e-4).all()
    with pytest.raises(InputError, match="3 different texts in hypothesis; more than 3 are needed"):
        outliers(pairs, neighbours=3, model=tiny_model)


# label errors


def test_flipped_labels_come_before_others(pairs, tiny_model):
    corpus, planted = with_flipped_labels(pairs, 0.1)
    table = label_errors(corpus, out_of_sample(corpus, seed=0, model=tiny_model))
    assert precision_at_planted(table, planted) == 1
    assert set(table["item_id"][table["flagged"]]) == set(planted)
    truth = dict(zip(pairs["item_id"], np.array(LABELS)[pairs["label"]], strict=True))
    assert (table["predicted"] == table["item_id"].map(truth)).all()


@pytest.mark.parametrize("written", ["Number {}.", " number  {}. "])
def test_out_of_sample_never_learns_from_an_item_or_its_premise(tiny_model, written):
    """Labels that go with the premise only can be learnt by heart, and are not if the premise is held out."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 60)
    written = [written, "Number {}."]
    rows = [(written[j % 2].format(i), f"Line {j}.", LABELS[codes[i]]) for i in range(60) for j in range(5)]
    corpus = to_dataset(pd.DataFrame(rows, columns=["premise", "hypothesis", "label"]))
    table = out_of_sample(corpus, seed=0, model=tiny_model)
    assert (table["label"] == table["predicted"]).mean() < 0.5
    assert table.equals(out_of_sample(corpus, seed=0, model=tiny_model))


def test_a_recipe_fine_tunes_in_each_fold(pairs, tiny_model):
    recipe = Recipe(epochs=20, learning_rate=3e-3, batch_size=16)
    table = out_of_sample(pairs, seed=0, folds=2, recipe=recipe, model=tiny_model)
    assert list(table["item_id"]) == list(pairs["item_id"])
    assert (table["label"] == table["predicted"]).mean() > 0.6  # chance gives 0.33


def test_a_label_that_does_not_occur_is_no_obstacle(pairs, tiny_model):
    two = pairs.filter(lambda label: label != 1, input_columns="label")
    table = label_errors(two, out_of_sample(two, seed=0, model=tiny_model))
    assert not (table["predicted"] == "neutral").any() and len(table) == 32


def test_predictions_must_fit_the_corpus(pairs, tiny_model):
    predictions = out_of_sample(pairs, seed=0, model=tiny_model)
    with pytest.raises(InputError, match="no prediction for the item 'pair-3'; two predictions for the item 'pair-0'"):
        label_errors(pairs, pd.concat([predictions.drop(3), predictions[:1]]))
    with pytest.raises(InputError, match="there is no column 'logit_neutral'"):
        label_errors(pairs, predictions.drop(columns="logit_neutral"))
    shuffled = label_errors(pairs, predictions.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(shuffled, label_errors(pairs, predictions))


def test_too_little_for_the_folds_is_an_input_error(pairs, tiny_model):
    with pytest.raises(InputError, match="16 values of premise, 16 items entailment, .*; 17 folds need as many"):
        out_of_sample(pairs, seed=0, folds=17, model=tiny_model)
    with pytest.raises(InputError, match="only the label neutral; 5 folds"):
        out_of_sample(pairs.filter(lambda label: label == 1, input_columns="label"), seed=0, model=tiny_model)


def test_flipped_labels_of_generated_pairs_come_before_others_more_often_than_chance():
    corpus, planted = with_flipped_labels(load_corpus("scenes", "train").select(range(1200)), 0.1)
    table = label_errors(corpus, out_of_sample(corpus, seed=0))
    assert precision_recall(table["item_id"][:120], planted, 1200).loc["precision", "low"] > 0.1


# precision and recall


def test_precision_and_recall_with_intervals_and_chance():
    table = precision_recall([f"i{k}" for k in range(10)], [f"i{k}" for k in range(6, 26)], 200)
    # Wilson's interval of 4 out of 10: (p + z2/2n -+ z sqrt(p(1-p)/n + z2/4n2)) / (1 + z2/n), z = 1.959964
    np.testing.assert_allclose(table.loc["precision"], [0.4, 0.16818, 0.68733, 0.1, 4, 10], atol=1e-5)
    np.testing.assert_allclose(table.loc["recall"], [0.2, 0.08066, 0.41602, 0.05, 4, 20], atol=1e-5)
    with pytest.raises(InputError, match="0 items found and 1 planted among 5"):
        precision_recall([], ["a"], 5)
    with pytest.raises(InputError, match="2 items found and 2 planted among 2"):
        precision_recall(["a", "b"], ["b", "c"], 2)


def test_folds_that_tear_a_family_apart_mislead_the_judge():
    """Each hypothesis of scenes stands once under each label: what two of a family have, the third has not."""
    corpus = load_corpus("scenes", "train").to_pandas()
    families = corpus["hypothesis"].isin(corpus["hypothesis"].unique()[:200])
    corpus = load_corpus("scenes", "train").select(np.flatnonzero(families))
    right = {
        group: (found["predicted"] == found["label"]).mean()
        for group in ("premise", "hypothesis")
        for found in [out_of_sample(corpus, seed=0, group=group)]
    }
    assert right["hypothesis"] > right["premise"] + 0.08, right
