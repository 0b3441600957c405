"""Gendered words are swapped as a reader would, in both sentences, and what a model does with it is counted."""

import numpy as np
import pandas as pd
import pytest

from cift.corpora import LABELS, load_corpus, to_dataset
from cift.counterfactual import counterfactuals, flips, swap_gender
from cift.errors import InputError
from cift.evaluation import proportion


@pytest.mark.parametrize(
    ("text", "swapped"),
    [
        ("He saw her in the park.", "She saw him in the park."),
        ("She lost her red hat; it is hers.", "He lost his red hat; it is his."),
        ("The MAN's wife gave him his coat.", "The WOMAN's husband gave her her coat."),
        ("This dog is his, not her dog.", "This dog is hers, not his dog."),
        ("She carries it on her back.", "He carries it on his back."),
        ("Ladies and gentlemen", "Gentlemen and ladies"),
        ("policemen, heroes, daddies, wives, actresses", "policewomen, heroines, mommies, husbands, actors"),
        ("Her brother talks to HER.", "His sister talks to HIM."),
        ("Mankind, a shepherd and the theme", "Mankind, a shepherd and the theme"),
    ],
)
def test_swap(text, swapped):
    assert swap_gender(text) == swapped


def test_swapping_twice_gives_the_text_again_where_words_come_in_pairs():
    text = "A woman and her two sons watch the king, who is himself a father of girls; the boy saw her."
    assert swap_gender(swap_gender(text)) == text


def test_counterfactuals_are_the_pairs_that_change():
    rows = [
        ("a", "A man eats.", "He is eating.", "entailment", 1),
        ("b", "Dogs run.", "Cats run.", "neutral", 2),
        ("c", "Dogs run.", "A girl runs.", "contradiction", 3),
    ]
    corpus = to_dataset(pd.DataFrame(rows, columns=["item_id", "premise", "hypothesis", "label", "extra"]))
    swapped = counterfactuals(corpus)
    assert swapped.features == corpus.features
    assert swapped[:] == {
        "item_id": ["a", "c"],
        "premise": ["A woman eats.", "Dogs run."],
        "hypothesis": ["She is eating.", "A boy runs."],
        "label": [0, 2],
        "extra": [1, 3],
    }


def predictions(items: str, labels: str, p: list[list[float]]) -> pd.DataFrame:
    names = {label[0]: label for label in LABELS}
    table = pd.DataFrame({"item_id": list(items), "label": [names[initial] for initial in labels]})
    table[[f"logit_{name}" for name in LABELS]] = np.log(p)
    return table.assign(predicted=[LABELS[i] for i in np.argmax(p, axis=1)])


def test_flips_counts_changed_labels_and_the_shift():
    before = predictions("abc", "enc", [[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.1, 0.1, 0.8]])
    after = predictions("ca", "ce", [[0.1, 0.1, 0.8], [0.3, 0.6, 0.1]])
    table = flips(before, after).set_index("label")
    assert table.loc["all", ["n", "flipped", "shift", "accuracy", "accuracy_swapped"]].tolist() == pytest.approx(
        [2, 0.5, 0.25, 1, 0.5]
    )
    assert table.loc["all", ["low", "high"]].tolist() == [proportion([True, False])[name] for name in ("low", "high")]
    assert table.loc["entailment", "flipped"] == 1 and table.loc["contradiction", "shift"] == pytest.approx(0)
    with pytest.raises(InputError, match="item 'd' is not among the original"):
        flips(before, predictions("d", "e", [[0.8, 0.1, 0.1]]))
    with pytest.raises(InputError, match="there are no items"):
        flips(before, after.iloc[:0])


def test_snli_is_mostly_about_men_and_women(mirror):
    corpus = load_corpus("snli", "validation")
    share = len(counterfactuals(corpus)) / len(corpus)
    assert 0.6 < share < 0.8


def test_flips_matches_labels_by_name_and_items_once():
    before = predictions("ab", "en", [[0.8, 0.1, 0.1], [0.2, 0.6, 0.2]])
    turned = before[["item_id", "label", *(f"logit_{name}" for name in reversed(LABELS)), "predicted"]]
    assert flips(before, turned)["shift"].tolist() == [0, 0, 0]
    with pytest.raises(InputError, match="item 'a' has two original predictions"):
        flips(pd.concat([before, before]), before)
    with pytest.raises(InputError, match="of other labels"):
        flips(before.drop(columns="logit_neutral"), before)
