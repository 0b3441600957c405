"""What a model gets wrong: every answer beside what is known of its item, accuracy by it, and the errors to read first.

`describe` makes the table; `accuracy_by` and `instructive` read it. (A confusion matrix of each slice of it is
`pandas.crosstab([table[column], table["label"]], table["predicted"])`.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import ttest_ind

from cift.bias import newcombe, overlap_features
from cift.corpora import folded
from cift.distributions import bits
from cift.errors import InputError
from cift.evaluation import probabilities, wilson
from cift.files import one_message

if TYPE_CHECKING:
    from datasets import Dataset

    from cift.irt import ItemBank

KINDS = {  # of errors, and what makes one of them instructive: large (-1) or small (1) values
    "clear": {"confidence": -1, "share_predicted": 1, "difficulty": 1},
    "disputed": {"confidence": -1, "share_predicted": -1},
    "unasked": {"confidence": -1, "difficulty": 1},
}


def describe(
    predictions: pd.DataFrame, corpus: Dataset, bank: ItemBank | None = None, distributions: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The predictions beside what is known of the items: one row an item, in the predictions' order.

    corpus: has all these items, and may have more. bank: a scale with difficulties (1PL to 4PL). distributions: of
    people's labels. Where one of these two lacks an item, its columns are NaN.

    item_id, premise, hypothesis, label, predicted.
    right; confidence: the probability of the predicted label; p_gold: of the gold label.
    premise_words, hypothesis_words: how many; overlap: the share of the hypothesis's words that are in the premise;
        premise_negation, hypothesis_negation: whether there is a word such as "nobody" or "n't".
    With a bank difficulty: b. With distributions entropy: of people's labels, in bits; share_gold, share_predicted: the
        shares of people who gave the gold and the predicted label.
    And the corpus's other columns, such as phenomenon; as corpus_<name> where one of these has the name already.

    Raises InputError for predictions of an item that the corpus lacks, a bank or distributions without any of the
    items, a nominal bank, and labels without logits or distribution.
    """
    items, model = predictions["item_id"], probabilities(predictions)
    given = corpus.to_pandas().drop_duplicates("item_id").set_index("item_id").drop(columns="label")
    given = _of_items(given, items, "corpus", every=True)
    counted = np.array(
        [overlap_features(*pair) for pair in zip(given["premise"], given["hypothesis"], strict=True)], float
    )
    found = {
        "label": predictions["label"].to_numpy(),
        "predicted": predictions["predicted"].to_numpy(),
        "right": (predictions["predicted"] == predictions["label"]).to_numpy(),
        "confidence": _at(model, predictions["predicted"]),
        "p_gold": _at(model, predictions["label"]),
        "premise_words": counted[:, 6].astype(int),
        "hypothesis_words": counted[:, 7].astype(int),
        "overlap": counted[:, 0],
        "premise_negation": counted[:, 4] > 0,
        "hypothesis_negation": counted[:, 5] > 0,
    }
    if bank is not None:
        if "b" not in bank.items:
            raise InputError("bank: a nominal scale has no difficulties; calibrate a 1pl, 2pl, 3pl or 4pl")
        found["difficulty"] = _of_items(bank.items.set_index("item_id"), items, "bank")["b"].to_numpy()
    if distributions is not None:
        absent = model.columns.difference(distributions.columns)
        if len(absent):
            raise InputError(f"label distributions: no column {absent[0]!r}; give one for each label with logits")
        people = _of_items(distributions[model.columns], items, "label distributions")
        found["entropy"] = bits(people).to_numpy()
        found["share_gold"] = _at(people, predictions["label"])
        found["share_predicted"] = _at(people, predictions["predicted"])
    texts = given[["premise", "hypothesis"]]
    rest = given.drop(columns=texts.columns).rename(columns={name: f"corpus_{name}" for name in found})
    return pd.concat([texts.assign(**found), rest], axis=1).reset_index()


def accuracy_by(table: pd.DataFrame, column: str, bins: int | None = None) -> pd.DataFrame:
    """Accuracy by what is known of items: one row a value of a column of `describe`, or a bin of its values.

    bins: so many, with about as many items in each. Equal values stay together, so there are fewer bins where one value
        would fill several.

    Columns: the column, sorted (of a bin the mean, then min and max); n; accuracy, and its 95 % Wilson interval: low,
    high. Items without a value are the last row. The interval takes items as independent: where pairs share a sentence
    it is somewhat too narrow.
    Raises InputError for a column that is not there, bins below 2, and bins of what is not a number.
    """
    absent = [f"no column {name!r}" for name in ("right", column) if name not in table]
    if absent:
        raise InputError(f"table: {absent[0]}; `describe` gives one with {', '.join(table)} and right")
    values = which = table[column]
    if bins is not None:
        if bins < 2 or values.dtype.kind not in "iuf":
            raise InputError(f"bins is {bins} for {column!r} ({values.dtype}); give 2 or more, for numbers")
        which = np.ceil(values.rank() * bins / values.count() - 1e-9)  # equal values stay together
    right = table["right"].groupby(which, dropna=False)
    found = pd.DataFrame({"n": right.size(), "accuracy": right.mean()})
    found["low"], found["high"] = wilson(right.sum(), found["n"])
    if bins is None:
        return found.rename_axis(column).reset_index()
    of_bin = values.groupby(which, dropna=False).agg(["mean", "min", "max"]).rename(columns={"mean": column})
    return pd.concat([of_bin, found], axis=1).reset_index(drop=True)


def instructive(table: pd.DataFrame, n: int = 20) -> pd.DataFrame:
    """The errors to read first: of each kind the n most instructive ones, and no premise twice.

    table: of `describe`. Returns its rows, with kind and score before them, the lowest score first.

    kind: "clear", more than half of the people who were asked gave the gold label, so the error is the model's;
        "disputed", half or fewer did, so the item or its gold label may be at fault; "unasked", there are no people's
        labels.
    score: the mean of an error's ranks among those of its kind, as shares of their number. First come, by one rank
        each, errors in which the model is confident; clear ones of which few people gave the model's label, disputed
        ones of which many did; and, if not disputed, items that are easy. Ranks by what is not known are left out.
    """
    errors = table[~table["right"]]
    gold = errors.get("share_gold", pd.Series(np.nan, errors.index))
    errors.insert(0, "kind", np.select([gold > 0.5, gold <= 0.5], ["clear", "disputed"], "unasked"))
    chosen = []
    for kind, signs in KINDS.items():
        rows = errors[errors["kind"] == kind]
        clues = pd.DataFrame({name: sign * rows[name] for name, sign in signs.items() if name in rows})
        rows.insert(1, "score", clues.rank(pct=True).mean(axis=1))
        rows = rows.sort_values(["score", "confidence"], ascending=[True, False], kind="stable")
        chosen.append(rows[~rows["premise"].map(folded).duplicated()].head(n))
    return pd.concat(chosen, ignore_index=True)


def train_validation_gap(train: pd.DataFrame, validation: pd.DataFrame) -> pd.DataFrame:
    """What a model does better on the pairs it learnt from: rows accuracy and log-loss (nats).

    train, validation; gap: train less validation, above 0 for the accuracy and below it for the log-loss where the
    model has learnt what does not carry over; low, high: its 95 % interval, by Newcombe (1998, method 10) for the
    accuracy, by Welch's t for the log-loss. Both take pairs as independent, and speak of this model, not of its seed.
    Raises InputError for labels without logits, and fewer than two pairs in either.
    """
    parts = (train, validation)
    if min(map(len, parts)) < 2:
        raise InputError(f"gap: {len(train)} training and {len(validation)} validation pairs; give 2 or more of each")
    right = [(part["predicted"] == part["label"]).to_numpy() for part in parts]
    losses = [-np.log(_at(probabilities(part), part["label"])) for part in parts]
    of_accuracy = newcombe(*right)
    welch = ttest_ind(*losses, equal_var=False).confidence_interval()
    ends = [(of_accuracy["difference_low"], of_accuracy["difference_high"]), tuple(welch)]
    rows = [(a.mean(), b.mean(), a.mean() - b.mean(), *end) for (a, b), end in zip((right, losses), ends, strict=True)]
    index = pd.Index(["accuracy", "log-loss"], name="metric")
    return pd.DataFrame(rows, index, ["train", "validation", "gap", "low", "high"])


def _of_items(table: pd.DataFrame, items: pd.Series, source: str, every: bool = False) -> pd.DataFrame:
    """The rows of these items, NaN where there is none. InputError if that is so for all, or with `every` for any."""
    twice = table.index[table.index.duplicated()]
    lacking = items[~items.isin(table.index)]
    problems = [f"item {item!r} is there twice" for item in twice]
    if every or len(lacking) == len(items):
        problems += [f"item {item!r} is missing" for item in lacking]
    if problems:
        raise one_message(source, problems, "Give the one that goes with these predictions, each item once")
    return table.reindex(pd.Index(items, name="item_id"))


def _at(table: pd.DataFrame, labels: pd.Series) -> np.ndarray:
    """Each row's value in the column of its label."""
    codes = table.columns.get_indexer(labels)
    if (codes < 0).any():
        label = labels.to_numpy()[codes < 0][0]
        raise InputError(f"predictions: label {label!r} has no logits; there are those of {', '.join(table)}")
    return table.to_numpy(float)[np.arange(len(table)), codes]
