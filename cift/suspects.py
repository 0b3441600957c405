"""Items that a person should look at: outliers, gibberish, and labels that may be wrong.

Each table is sorted by suspicion, so that `.head(20)` is what to read first. A score orders the items of one corpus;
it is no probability, and how far down to read is for the reader to decide.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.special import softmax

from cift import finetuning
from cift.corpora import folded, label_codes
from cift.embeddings import embed, embed_pairs
from cift.errors import InputError
from cift.evaluation import wilson
from cift.files import one_message

if TYPE_CHECKING:
    from datasets import Dataset

COLUMNS = ("premise", "hypothesis")

# What is odd about a text, as a pattern that is found in it once it is casefolded and single-spaced.
NOISE = {
    "markup": r"</?[a-z][^>]*>|&#?\w+;|https?://|[{}\\|]",
    "another script": r"[^\W\d_a-z\u00aa-\u024f]",
    "no vowel": r"^[^aeiouy\u00e0-\u024f]*$",
    "six consonants": r"[bcdfghjklmnpqrstvwxz]{6}",
    "repeated character": r"(.)\1\1\1",
    "no word of three letters": r"^(?!.*[^\W\d_]{3})",
}


def outliers(corpus: Dataset, neighbours: int = 10, model: str = "minilm") -> pd.DataFrame:
    """Items by how far their sentences are from the corpus's others.

    The distance of a text is the mean cosine distance of its embedding to those of the nearest other texts of the
    same column, equal texts taken once. Returns item_id, premise, hypothesis, premise_distance, hypothesis_distance and
    score, the larger of the two. Time grows with the square of the corpus.
    Raises InputError when a column has too few different texts, and as `embed` does.
    """
    from sklearn.neighbors import NearestNeighbors

    table = corpus.select_columns(["item_id", *COLUMNS]).to_pandas()
    for name in COLUMNS:
        codes, texts = pd.factorize(table[name])
        if len(texts) <= neighbours:
            raise InputError(f"outliers: {len(texts)} different texts in {name}; more than {neighbours} are needed")
        nearest = NearestNeighbors(n_neighbors=neighbours, metric="cosine").fit(embed(texts, model))
        table[f"{name}_distance"] = nearest.kneighbors()[0].mean(1)[codes]
    return _sorted(table.assign(score=table[[f"{name}_distance" for name in COLUMNS]].max(axis=1)))


def gibberish(corpus: Dataset) -> pd.DataFrame:
    """Items by how unlike the rest of the corpus they are spelt.

    Returns item_id, premise, hypothesis, reasons (what NOISE finds in one of the two, or "premise is hypothesis";
    empty for most) and score: the larger of the two texts' bits per character (`surprise`).
    """
    table = corpus.select_columns(["item_id", *COLUMNS]).to_pandas()
    texts = table[list(COLUMNS)].map(folded)
    distinct = pd.Index(pd.unique(texts.to_numpy().ravel()))
    bits = pd.Series(surprise(distinct), index=distinct)
    odd = {reason: {text for text in distinct if re.search(pattern, text)} for reason, pattern in NOISE.items()}
    found = {reason: texts.isin(those).any(axis=1) for reason, those in odd.items()}
    found["premise is hypothesis"] = texts["premise"] == texts["hypothesis"]
    reasons = [", ".join(names) for names in pd.DataFrame(found).apply(lambda row: row.index[row], axis=1)]
    return _sorted(table.assign(reasons=reasons, score=texts.apply(lambda column: column.map(bits)).max(axis=1)))


def surprise(texts: Sequence[str]) -> np.ndarray:
    """Mean bits per character of each text under a model of character trigrams made from all the other texts.

    P(c | ab) = (n(abc) + P(c | b)) / (n(ab) + 1), P(c | b) likewise from P(c), and that from equal chances. A
    text's own counts are taken out before it is judged, so that gibberish cannot vouch for itself; give each text once.
    """
    padded = [f"  {text} " for text in texts]  # so that the ends have trigrams, too
    alphabet, codes = np.unique(list("".join(padded)), return_inverse=True)
    owner = np.repeat(np.arange(len(texts)), [len(text) for text in padded])
    last = np.flatnonzero(owner[2:] == owner[:-2]) + 2
    owner, size = owner[last], len(alphabet)

    def elsewhere(grams: np.ndarray) -> np.ndarray:
        """How often each position's n-gram stands in other texts than the position's own."""
        _, which, total = np.unique(grams, return_inverse=True, return_counts=True)
        _, here, own = np.unique(which * len(texts) + owner, return_inverse=True, return_counts=True)
        return total[which] - own[here]

    a, b, c = codes[last - 2], codes[last - 1], codes[last]
    probability = np.full(len(c), 1 / size)
    for context in (np.zeros_like(c), b, a * size + b):
        probability = (elsewhere(context * size + c) + probability) / (elsewhere(context) + 1)
    return np.bincount(owner, -np.log2(probability)) / np.bincount(owner)


def out_of_sample(
    corpus: Dataset,
    seed: int,
    folds: int = 5,
    recipe: finetuning.Recipe | None = None,
    model: str = "minilm",
    group: str = "premise",
) -> pd.DataFrame:
    """Predictions table in which each item is judged by a classifier that has seen neither it nor any of its group.

    group: the column whose values are not torn apart, case and spacing aside: what items share that tells their labels.

    Without a recipe the classifier is a logistic regression on frozen features (`embed_pairs`), strongly regularised:
    seconds for some thousand pairs. With one, the model is fine-tuned anew in each fold: minutes on a CPU.
    Raises InputError when there are fewer groups, or items of a label, than folds, or all labels are the same.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    names, labels = corpus.features["label"].names, label_codes(corpus)
    texts = pd.Series(corpus[group][:], dtype=object)
    groups = texts.groupby(texts.map(folded)).transform("first").to_numpy()
    counts = {
        f"values of {group}": len(set(groups)),
        **{f"items {names[code]}": sum(labels == code) for code in set(labels)},
    }
    few = [f"{count} {what}" for what, count in counts.items() if count < folds]
    if few or len(set(labels)) < 2:
        found = ", ".join(few) or f"only the label {names[labels[0]]}"
        raise InputError(f"out of sample: {found}; {folds} folds need as many, and items of two labels or more")
    logits = np.empty((len(corpus), len(names)))
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    features = embed_pairs(corpus, model) if recipe is None else np.empty(0)
    for train, test in splitter.split(groups, labels, groups):
        if recipe is None:
            logits[test] = _regression(features[train], labels[train], features[test], len(names))
        else:
            logits[test] = _finetuned(corpus.select(train), corpus.select(test), recipe, seed, model)
    table = pd.DataFrame({"item_id": corpus["item_id"], "label": np.array(names)[labels]})
    table[[f"logit_{name}" for name in names]] = logits
    return table.assign(predicted=np.array(names)[logits.argmax(1)])


def label_errors(corpus: Dataset, predictions: pd.DataFrame) -> pd.DataFrame:
    """Items by how improbable their label is for a classifier that has not learnt from it.

    predictions: item_id and logit_<label> for each label, from `out_of_sample`, or `finetuning.predict` of a model
    that was trained on other items. Returns item_id, premise, hypothesis, label, predicted, score (1 less the
    probability of the label) and flagged (cleanlab's confident learning takes it for an error: Northcutt, Jiang and
    Chuang, 2021). What a weak classifier finds hard is flagged too.
    Raises InputError for predictions that lack items or labels.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    names, labels = corpus.features["label"].names, label_codes(corpus)
    columns = [f"logit_{name}" for name in names]
    problems = [f"there is no column {name!r}" for name in ("item_id", *columns) if name not in predictions]
    if not problems:
        known = set(predictions["item_id"])
        problems = [f"no prediction for the item {item!r}" for item in corpus["item_id"] if item not in known]
        repeated = predictions["item_id"][predictions["item_id"].duplicated()]
        problems += [f"two predictions for the item {item!r}" for item in repeated]
    if problems:
        raise one_message("predictions", problems, "Give the table that out_of_sample returns for this corpus")
    logits = predictions.set_index("item_id").loc[corpus["item_id"], columns].to_numpy(float)
    probabilities = softmax(logits, axis=1)
    table = corpus.select_columns(["item_id", *COLUMNS]).to_pandas()
    table["label"], table["predicted"] = np.array(names)[labels], np.array(names)[logits.argmax(1)]
    table["score"] = 1 - get_label_quality_scores(labels, probabilities, method="self_confidence")
    table["flagged"] = find_label_issues(labels, probabilities, n_jobs=1)
    return _sorted(table)


def precision_recall(found: Collection[str], planted: Collection[str], n_items: int) -> pd.DataFrame:
    """How well the errors found among n_items items match those that were planted.

    Rows precision and recall; columns share, low and high (Wilson's 95 % interval), chance (what as many items
    drawn at random would give on average), hits and of (the share's numerator and denominator).
    Raises InputError when nothing was found or planted, or more than there are items.
    """
    found, planted = set(found), set(planted)
    if not found or not planted or len(found | planted) > n_items:
        raise InputError(
            f"precision and recall: {len(found)} items found and {len(planted)} planted among {n_items}; give at least "
            "one of each, and the number of items of the corpus"
        )
    hits = len(found & planted)
    rows = {}
    for name, of, chance in (("precision", found, planted), ("recall", planted, found)):
        rows[name] = (hits / len(of), *wilson(hits, len(of)), len(chance) / n_items, hits, len(of))
    return pd.DataFrame.from_dict(rows, orient="index", columns=["share", "low", "high", "chance", "hits", "of"])


def _regression(features: np.ndarray, labels: np.ndarray, others: np.ndarray, n_labels: int) -> np.ndarray:
    """Log probabilities of each label for the other pairs; a label that is never seen gets almost none."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.001, max_iter=1000)).fit(features, labels)
    logits = np.full((len(others), n_labels), -20.0)
    logits[:, classifier.classes_] = classifier.predict_log_proba(others)
    return logits


def _finetuned(train: Dataset, test: Dataset, recipe: finetuning.Recipe, seed: int, model: str) -> np.ndarray:
    names = train.features["label"].names
    classifier, tokenizer, _ = finetuning.fine_tune(train, recipe, seed, model, progress=False)
    predictions = finetuning.predict(classifier, finetuning.encode(test, tokenizer, recipe.max_length), test)
    return predictions[[f"logit_{name}" for name in names]].to_numpy()


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    return table.sort_values("score", ascending=False, kind="stable", ignore_index=True)
