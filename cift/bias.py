"""Shortcuts in a corpus of sentence pairs: what part of a pair gives its label away, which words do, and to whose cost.

The road: `shortcuts` says how far a classifier comes that does not read the pair, `word_label_association` which words
it can go by, `gap` how a model's accuracy differs between groups. `balancing_weights` and `reweighted_sample` take away
what the hypothesis says about the label. (Whether a model goes by gender: `cift.counterfactual`.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest, false_discovery_control, fisher_exact, hypergeom

from cift.corpora import folded, label_codes
from cift.dependence import holm
from cift.errors import InputError
from cift.evaluation import proportion
from cift.files import one_message

if TYPE_CHECKING:
    from datasets import Dataset
    from sklearn.pipeline import Pipeline

READS = ("hypothesis", "premise", "overlap")
FOLDS = 5

_WORD = r"(?u)\b\w+\b"
_NEGATIONS = frozenset("no not none nobody nothing nowhere never neither nor without cannot n't".split())


# what a part of the pair gives away


def predict_from(
    train: Dataset, test: Dataset, reads: str = "hypothesis", weights: pd.Series | None = None
) -> pd.DataFrame:
    """Predictions for `test` by a classifier that learned from a part of each pair in `train`.

    reads: "hypothesis" or "premise": logistic regression on TF-IDF of that sentence's words and word pairs (Gururangan
        et al. 2018; Poliak et al. 2018). "overlap": boosted trees on nine numbers: the share of the hypothesis's words
        that are in the premise, words in both over words in either, whether the hypothesis stands in the premise as it
        is (as in HANS; McCoy, Pavlick & Linzen 2019), how many of its words are new, a negation on either side, both
        lengths and their difference.
    weights: item_id -> weight of the training pairs (`balancing_weights`); all alike by default.

    Columns item_id, label, logit_<label> (log probabilities), predicted. Nothing in it is random.
    Raises InputError for another `reads`, corpora with different labels, pairs without label, a training set without
    two labels or without a word to go by, and training pairs without weight.
    """
    if reads not in READS:
        raise InputError(f"reads {reads!r}: unknown; choose from {', '.join(READS)}")
    names = train.features["label"].names
    if test.features["label"].names != names:
        raise InputError(
            f"labels: {', '.join(names)} in train, {', '.join(test.features['label'].names)} in test; "
            "give two corpora with the same labels in the same order"
        )
    each = None if weights is None else _weights_of(train, weights)
    model = _fit(_seen(train, reads), label_codes(train), reads, each)
    log_p = np.log(_predicted(model, _seen(test, reads), len(names)))
    table = pd.DataFrame({"item_id": test["item_id"], "label": [names[code] for code in label_codes(test)]})
    table[[f"logit_{name}" for name in names]] = log_p
    return table.assign(predicted=[names[code] for code in log_p.argmax(1)])


def shortcuts(train: Dataset, test: Dataset) -> pd.DataFrame:
    """How often the label can be told without reading the pair: the commonest label, and each way of `predict_from`.

    Columns: reads, n, accuracy with its 95 % Wilson interval low and high, gain over always giving train's commonest
    label, and p of that gain (McNemar's exact test on the same items, two-sided). Interval and p take test items as
    independent; where pairs share a sentence they are somewhat too narrow and too small.
    """
    names = train.features["label"].names
    common = names[np.bincount(label_codes(train), minlength=len(names)).argmax()]
    gold = np.array(names)[label_codes(test)]
    by_common = gold == common
    rows = [{"reads": "nothing", **proportion(by_common), "gain": 0.0, "p": np.nan}]
    for reads in READS:
        right = (predict_from(train, test, reads)["predicted"] == gold).to_numpy()
        won, lost = int((right & ~by_common).sum()), int((by_common & ~right).sum())
        p = binomtest(won, won + lost).pvalue if won + lost else 1.0
        rows.append({"reads": reads, **proportion(right), "gain": (won - lost) / len(gold), "p": p})
    return pd.DataFrame(rows).rename(columns={"share": "accuracy"})


def _fit(seen: Any, labels: np.ndarray, reads: str, weights: np.ndarray | None = None) -> Pipeline:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    if len(np.unique(labels)) < 2:
        raise InputError(f"train: {len(labels)} pairs without two different labels; a classifier needs both")
    if reads == "overlap":  # its early stopping would set pairs aside at random
        model = make_pipeline(HistGradientBoostingClassifier(max_iter=50, max_leaf_nodes=8, early_stopping=False))
    else:
        _check_words(seen, f"train, {reads}")
        words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=_WORD)
        model = make_pipeline(words, LogisticRegression(max_iter=1000))
    return model.fit(seen, labels, **{f"{model.steps[-1][0]}__sample_weight": weights})


def _predicted(model: Pipeline, seen: Any, n_labels: int) -> np.ndarray:
    """Label probabilities, (items, labels); a label that the model never met gets next to nothing."""
    p = np.full((len(seen), n_labels), 1e-9)
    p[:, model.classes_] = model.predict_proba(seen)
    return p


def _seen(corpus: Dataset, reads: str) -> Any:
    """What the classifier sees of each pair: a sentence, or the numbers that stand for the overlap."""
    if reads != "overlap":
        return list(corpus[reads])
    return np.array(
        [overlap_features(*pair) for pair in zip(corpus["premise"], corpus["hypothesis"], strict=True)], float
    )


def _check_words(sentences: Iterable[str], source: str) -> None:
    if not any(re.search(_WORD, sentence) for sentence in sentences):
        raise InputError(f"{source}: no sentence has a word of letters or digits; give sentences that have some")


def overlap_features(premise: str, hypothesis: str) -> list[float]:
    """Nine numbers of one pair.

    Share of the hypothesis's words that the premise has, share of both's words that are in both, whether the hypothesis
    is a part of the premise as it stands, number of new words, negations in premise and in hypothesis (0 or 1), numbers
    of words, and the difference of these.
    """
    p, h = (re.findall(r"n't|\w+(?=n't)|\w+", text.lower()) for text in (premise, hypothesis))
    shared, either = set(p) & set(h), set(p) | set(h)
    return [
        sum(word in shared for word in h) / max(len(h), 1),
        len(shared) / max(len(either), 1),
        f" {' '.join(h)} " in f" {' '.join(p)} ",
        len(set(h) - shared),
        not _NEGATIONS.isdisjoint(p),
        not _NEGATIONS.isdisjoint(h),
        len(p),
        len(h),
        len(p) - len(h),
    ]


# words and labels


def word_label_association(corpus: Dataset, column: str = "hypothesis", min_count: int = 20) -> pd.DataFrame:
    """Which words go with which label: one row a word and label, the strongest over-representation first.

    A word counts once a sentence; words in fewer than `min_count` sentences are left out.

    word, label, count: sentences with the word; with_label: those of them with the label; share: one over the other.
    expected: the label's share in the corpus. z: (share - expected) / sqrt(expected (1 - expected) / count) (Gardner et
        al. 2021, with the corpus's shares for their 1 / labels).
    pmi: pointwise mutual information in bits, with 100 added to each count, as Gururangan et al. (2018) do.
    p, p_adjusted: Fisher's exact test, two-sided (twice the smaller tail), and adjusted by Benjamini & Hochberg (1995)
        over all rows: about 5 % at most of those below .05 are expected to be chance. Holm's guard against a single
        false alarm would be needlessly strict for a list of thousands that is read to see where to look.

    Raises InputError when no word is frequent enough.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    names = corpus.features["label"].names
    _check_words(corpus[column], column)
    vectorizer = CountVectorizer(binary=True, token_pattern=_WORD)
    occurs = vectorizer.fit_transform(list(corpus[column]))
    label = np.eye(len(names), dtype=np.int64)[label_codes(corpus)]
    both = np.asarray(occurs.T @ label)
    frequent = both.sum(1) >= min_count
    if not frequent.any():
        raise InputError(f"{column}: no word is in {min_count} sentences or more; give a smaller min_count")
    both, words = both[frequent], vectorizer.get_feature_names_out()[frequent]
    count, totals = both.sum(1, keepdims=True), label.sum(0)
    share, expected = both / count, totals / totals.sum()
    smooth = both + 100
    expected_smooth = smooth.sum(1, keepdims=True) * smooth.sum(0) / smooth.sum()
    with np.errstate(invalid="ignore", divide="ignore"):  # a label that the corpus lacks: z is missing
        z = (share - expected) / np.sqrt(expected * (1 - expected) / count)
    drawn = hypergeom(len(label), totals[None], count)
    p = np.minimum(1, 2 * np.minimum(drawn.cdf(both), drawn.sf(both - 1)))
    columns = {"with_label": both, "share": share, "expected": np.broadcast_to(expected, both.shape), "z": z}
    columns |= {"pmi": np.log2(smooth / expected_smooth), "p": p}
    columns["p_adjusted"] = false_discovery_control(p.ravel(), method="bh").reshape(p.shape)
    table = pd.DataFrame(
        {"word": np.repeat(words, len(names)), "label": names * len(words), "count": np.repeat(count, len(names))}
        | {name: values.ravel() for name, values in columns.items()}
    )
    return table.sort_values("z", ascending=False, kind="stable", ignore_index=True)


# groups


def gap(predictions: pd.DataFrame, by: str | pd.Series) -> pd.DataFrame:
    """Accuracy by group, and its difference from all other items: one row a group, the worst first.

    by: a column of the predictions, or a Series item_id -> group.

    group, n, accuracy, low, high (95 %, Wilson): small groups stay, and their interval says how little they tell.
    difference from the rest, difference_low, difference_high (95 %, Newcombe 1998, method 10), p (Fisher's exact test)
        and p_holm (adjusted for the number of groups); all missing if there is one group only.

    Raises InputError for a column that is not there and for items without group.
    """
    group = groups_of(predictions, by)
    right = (predictions["predicted"] == predictions["label"]).to_numpy()
    rows = []
    for name in sorted(group.unique(), key=str):
        inside = (group == name).to_numpy()
        here, rest = right[inside], right[~inside]
        row = {"group": name, **proportion(here)}
        rows.append(row | (newcombe(here, rest) if len(rest) else {}))
    columns = ["group", "n", "share", "low", "high", "difference", "difference_low", "difference_high", "p"]
    table = pd.DataFrame(rows).reindex(columns=columns).rename(columns={"share": "accuracy"})
    return table.assign(p_holm=holm(table["p"].to_numpy(float))).sort_values("accuracy", ignore_index=True)


def groups_of(predictions: pd.DataFrame, by: str | pd.Series) -> pd.Series:
    """Each item's group, from a column of the predictions or a Series item_id -> group.

    Raises InputError for a column that is not there and for items without group.
    """
    if isinstance(by, str) and by not in predictions:
        raise InputError(f"predictions: no column {by!r}; the columns: {', '.join(predictions)}")
    group = predictions[by] if isinstance(by, str) else predictions["item_id"].map(by)
    lost = predictions["item_id"][group.isna()]
    if len(lost):
        raise one_message("groups", [f"item {item!r} has none" for item in lost], "Give each item its group")
    return group


def newcombe(here: np.ndarray, rest: np.ndarray) -> dict[str, float]:
    """Share of hits here less that in the rest, its 95 % interval (Newcombe 1998, method 10), and Fisher's exact p.

    here, rest: arrays of true and false, of different items. Returns difference, difference_low, difference_high, p.
    """
    a, b = proportion(here), proportion(rest)
    difference = a["share"] - b["share"]
    return {
        "difference": difference,
        "difference_low": difference - np.hypot(a["share"] - a["low"], b["high"] - b["share"]),
        "difference_high": difference + np.hypot(a["high"] - a["share"], b["share"] - b["low"]),
        "p": fisher_exact([[x.sum(), len(x) - x.sum()] for x in (here, rest)]).pvalue,
    }


# re-weighting


def balancing_weights(corpus: Dataset, seed: int, clip: float = 10.0) -> pd.Series:
    """item_id -> weight under which the hypothesis alone says little about the label; mean 1 within each label.

    w is proportional to p(label) / p(label | hypothesis), the denominator by `predict_from`'s classifier of
    hypotheses, cross-fitted: in five folds, each predicted by the other four, pairs with the same hypothesis in one
    fold. With a perfect p(label | hypothesis) the weighted labels are independent of the hypothesis; labels stay as
    frequent as they were. A word that is found under one label only can be weighed down, but not balanced. (Inverse
    probability weighting; compare the example reweighting in Clark, Yatskar & Zettlemoyer 2019, and Schuster et al.
    2019, who learn weights that take single phrases' association with the label away.)

    seed: of the folds. clip: no ratio beyond clip or 1 / clip, lest single pairs outweigh all others.
    Raises InputError where a label has fewer than five different hypotheses.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    names = corpus.features["label"].names
    labels, seen = label_codes(corpus), np.array(corpus["hypothesis"], object)
    groups = pd.factorize(np.array([folded(text) for text in seen], object))[0]
    kinds = pd.Series(groups).groupby(labels).nunique()
    few = [f"label {names[code]!r} has only {n} different hypotheses" for code, n in kinds.items() if n < FOLDS]
    if few:
        raise one_message("corpus", few, f"Give at least {FOLDS} of each label, as many as there are folds")
    p = np.empty((len(labels), len(names)))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for others, fold in folds.split(seen, labels, groups):
        p[fold] = _predicted(_fit(seen[others], labels[others], "hypothesis"), seen[fold], len(names))
    prior = np.bincount(labels, minlength=len(names)) / len(labels)
    ratio = pd.Series(prior[labels] / p[np.arange(len(labels)), labels]).clip(1 / clip, clip)
    weights = ratio / ratio.groupby(labels).transform("mean")
    return weights.set_axis(pd.Index(corpus["item_id"], name="item_id")).rename("weight")


def effective_size(weights: pd.Series) -> float:
    """How many equally weighted items say as much as these: (sum w)^2 / sum w^2 (Kish 1965)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def reweighted_sample(corpus: Dataset, weights: pd.Series, n: int, seed: int) -> Dataset:
    """n pairs drawn in proportion to their weights, in the corpus's order: for a training that takes no weights.

    Systematic sampling over the pairs in random order: of n w / sum(w) expected copies a pair has the whole part
    or one more. Repeated pairs keep their item_id. Raises InputError for pairs without weight, and for n below 1.
    """
    if n < 1:
        raise InputError(f"n is {n}; draw at least one pair")
    each = _weights_of(corpus, weights)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(each))
    upto = np.cumsum(each[order])
    marks = (np.arange(n) + rng.random()) * upto[-1] / n
    return corpus.select(np.sort(order[np.searchsorted(upto, marks, side="right")]))


def _weights_of(corpus: Dataset, weights: pd.Series) -> np.ndarray:
    each = weights.reindex(list(corpus["item_id"]))
    faulty = each[~(each >= 0) | (each == np.inf)]
    if len(faulty):
        problems = [f"item {item!r} has {'none' if pd.isna(w) else w}" for item, w in faulty.items()]
        raise one_message("weights", problems, "Give each item a weight of 0 or more, as balancing_weights does")
    if not each.any():
        raise InputError("weights: all are 0; give at least one item a weight above 0")
    return each.to_numpy(float)
