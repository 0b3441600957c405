"""Splits of a corpus: stratified by label, grouped so that no premise crosses; balance, weights, re-sampling.

A premise that stands in training and test pairs lets a model recognise what it should understand. So pairs are
assigned by group, all pairs of one premise to one part. `sklearn.model_selection.StratifiedGroupKFold` does so too, but
one group at a time, in minutes where a corpus has half a million premises, and into equal parts only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cift.corpora import folded, label_codes
from cift.errors import InputError
from cift.files import one_message
from cift.selection import balance

if TYPE_CHECKING:
    from datasets import Dataset


def split(
    corpus: Dataset, shares: Mapping[str, float], seed: int = 0, group: str | None = "premise"
) -> dict[str, Dataset]:
    """The corpus cut into named parts, each with about its share of the pairs of every label, in the corpus's order.

    shares: for instance {"train": 0.8, "validation": 0.1, "test": 0.1}; above 0, together 1.
    seed: which groups go where, among those that have as many pairs of every label.
    group: the column whose values stay together, values that differ only by case or spacing being the same; None lets
        every pair go by itself.

    Sizes and label counts are exact to a few pairs unless groups are few and large. Raises one InputError with all of:
    impossible shares, an empty corpus, pairs without label, no such column, empty values in it; and one where a part
    would stay empty.
    """
    problems = []
    if len(shares) < 2:
        problems.append(f"{len(shares)} parts are named; name at least two")
    problems += [f"the share of {name!r} is {share}" for name, share in shares.items() if not share > 0]
    if not math.isclose(sum(shares.values()), 1, abs_tol=1e-6):
        problems.append(f"the shares sum to {sum(shares.values()):g}")
    problems += _problems(corpus, group)
    if problems:
        raise one_message("split", problems, "Give shares above 0 that sum to 1, for pairs with label and group")
    part = _assign(corpus, np.array(list(shares.values())), seed, group)
    empty = [name for i, name in enumerate(shares) if not (part == i).any()]
    if empty:
        raise InputError(f"split: nothing falls to {', '.join(empty)}; {_counted(corpus, group)}; give larger shares")
    return {name: corpus.select(np.flatnonzero(part == i)) for i, name in enumerate(shares)}


def folds(corpus: Dataset, k: int = 5, seed: int = 0, group: str | None = "premise") -> list[tuple[Dataset, Dataset]]:
    """k pairs of training and test corpora for cross-validation: every pair of sentences is in one test corpus.

    Assigned as in `split`, with the same errors, and one for k below 2 or above the number of groups.
    """
    problems = _problems(corpus, group) + ([f"k is {k}"] if k < 2 else [])
    if problems:
        raise one_message("folds", problems, "Give k of at least 2, for pairs with label and group")
    part = _assign(corpus, np.full(k, 1 / k), seed, group)
    if len(np.unique(part)) < k:
        raise InputError(f"folds: k is {k}, but there are too few groups to fill as many; {_counted(corpus, group)}")
    return [(corpus.select(np.flatnonzero(part != i)), corpus.select(np.flatnonzero(part == i))) for i in range(k)]


def crossing(splits: Mapping[str, Dataset], group: str = "premise") -> pd.DataFrame:
    """Groups with pairs in more than one split: a row each, a column a split, cells count pairs. No leak: no rows.

    Values that differ only by case or spacing are the same group; it is named in lower case.
    Raises InputError for a split without such a column.
    """
    absent = [name for name, corpus in splits.items() if group not in corpus.column_names]
    if absent:
        raise one_message("crossing", [f"{name} has no column {group!r}" for name in absent], "Name one that all have")
    counts = pd.DataFrame({name: _keys(corpus, group).value_counts() for name, corpus in splits.items()})
    counts = counts.fillna(0).astype(int).rename_axis(index=group)
    return counts[(counts > 0).sum(axis=1) > 1]


def label_balance(splits: Mapping[str, Dataset]) -> pd.DataFrame:
    """A row a split: pairs, their share of all; then for each label its count, and share_<label> within the split."""
    rows = {name: _label_counts(corpus) for name, corpus in splits.items()}
    counts = pd.DataFrame(rows).T.rename_axis(index="split")
    pairs = counts.sum(axis=1)
    table = pd.DataFrame({"pairs": pairs, "share": pairs / pairs.sum()})
    return table.join(counts).join(counts.div(pairs, axis=0).add_prefix("share_"))


def class_weights(corpus: Dataset) -> pd.Series:
    """A weight for each label, N / (K n_label): N pairs, K labels, n_label pairs of that label.

    So every label weighs the same in sum, and the weights of the pairs have mean 1, which leaves the learning rate's
    meaning as it was. Raises InputError for a label that no pair has.
    """
    counts = _label_counts(corpus)
    absent = list(counts.index[counts == 0])
    if absent:
        raise InputError(f"class weights: no pair is labelled {', '.join(absent)}; take the label out of the corpus")
    return (counts.sum() / (len(counts) * counts)).rename("weight")


def resample(corpus: Dataset, how: str, seed: int = 0) -> Dataset:
    """The corpus with as many pairs of one label as of another.

    how: "over" repeats pairs of rarer labels (`selection.balance`, after shuffling: which ones come once more than
    others is random), and returns them label by label; "under" keeps a random part of the more frequent labels.
    Split first and re-sample the training part only: repeated pairs must not be met again in a test, and a test on
    balanced labels is not a test on the labels as they come. Raises InputError for another `how`.
    """
    if how not in ("over", "under"):
        raise InputError(f"resample: how is {how!r}; choose over or under")
    shuffled = corpus.shuffle(seed=seed)
    if how == "over":
        return balance(shuffled)
    labels = pd.Series(shuffled["label"][:])
    return shuffled.select(labels.groupby(labels).head(labels.value_counts().min()).index)


def _assign(corpus: Dataset, shares: np.ndarray, seed: int, group: str | None) -> np.ndarray:
    """The part, 0, 1, ..., that each pair goes to.

    Groups with the same number of pairs of every label are alike. Of each kind every part gets its share, rounded
    down, at random. The few groups left over go, the largest first, where their labels are most wanting: with
    w = target - count, the part with the largest sum over labels of n_label w_label, which is the step that lowers the
    squared error of all counts most.
    """
    codes = np.arange(len(corpus)) if group is None else pd.factorize(_keys(corpus, group))[0]
    names = corpus.features["label"].names
    counts = np.zeros((codes.max() + 1, len(names)), int)  # groups x labels
    np.add.at(counts, (codes, np.array(corpus["label"][:])), 1)
    order = np.random.default_rng(seed).permutation(len(counts))
    part = np.full(len(counts), -1)
    kinds, kind_of, sizes = np.unique(counts[order], axis=0, return_inverse=True, return_counts=True)
    by_kind = np.split(order[np.argsort(kind_of.ravel(), kind="stable")], sizes.cumsum()[:-1])
    left_over: list[int] = []
    for members in by_kind:
        each = np.floor(shares * len(members) + 1e-9).astype(int)
        part[members[: each.sum()]] = np.repeat(np.arange(len(shares)), each)
        left_over.extend(members[each.sum() :])
    wanting = np.outer(shares, counts.sum(axis=0)).astype(float)
    placed = part >= 0
    np.subtract.at(wanting, part[placed], counts[placed])
    for member in sorted(left_over, key=lambda i: -counts[i].sum()):
        part[member] = np.argmax(wanting @ counts[member])
        wanting[part[member]] -= counts[member]
    return part[codes]


def _keys(corpus: Dataset, group: str) -> pd.Series:
    """The group of each pair, as text without difference of case and spacing."""
    return pd.Series([folded(str(value)) for value in corpus[group][:]], dtype=object)


def _problems(corpus: Dataset, group: str | None) -> list[str]:
    if not len(corpus):
        return ["the corpus is empty"]
    problems = []
    unlabelled = sum(label is None or label < 0 for label in corpus["label"][:])
    if unlabelled:
        problems.append(f"{unlabelled} pairs have no label")
    if group is not None and group not in corpus.column_names:
        problems.append(f"the corpus has no column {group!r}, but {', '.join(corpus.column_names)}")
    elif group is not None:
        empty = sum(value is None or not str(value).strip() for value in corpus[group][:])
        if empty:
            problems.append(f"{empty} pairs have an empty {group}")
    return problems


def _counted(corpus: Dataset, group: str | None) -> str:
    return f"there are {len(corpus)} pairs" + (f" with {_keys(corpus, group).nunique()} {group}s" if group else "")


def _label_counts(corpus: Dataset) -> pd.Series:
    names = corpus.features["label"].names
    return pd.Series(np.bincount(label_codes(corpus), minlength=len(names)), index=names)
