"""Does a model treat groups of items alike: accuracy, equalised odds and demographic parity, for any grouping column.

`rates` has every group's rates, however small the group; `gaps` how far apart the groups are, and how far apart chance
alone would bring them. (One group against all the rest: `bias.gap`.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import random_table

from cift.bias import groups_of
from cift.errors import InputError
from cift.evaluation import wilson

MEASURES = {  # name: the rates that should be the same for all groups, and whether within each gold label
    "accuracy": (("accuracy",), False),
    "equalised odds": (("tpr", "fpr"), True),
    "demographic parity": (("selected",), False),
}


def rates(predictions: pd.DataFrame, by: str | pd.Series) -> pd.DataFrame:
    """How often each group's items are answered in which way: one row a group, rate and label.

    by: a column of the predictions, or a Series item_id -> group.

    group; rate: accuracy (label is missing), and for each label selected (it is predicted), tpr (it is predicted where
        it is the gold label: recall), fpr (it is predicted where it is not).
    n: how many items the rate is a share of; share; low, high: its 95 % Wilson interval. NaN where n is 0.

    Raises InputError for a column that is not there and for items without group.
    """
    groups, labels, counts = _counts(predictions, by)
    hits, of = _hits(counts)
    with np.errstate(invalid="ignore"):
        share = hits / of
    low, high = wilson(hits, of)
    rows = [
        (group, rate, label, of[i, j], share[i, j], low[i, j], high[i, j])
        for i, group in enumerate(groups)
        for j, (rate, label) in enumerate(_kinds(labels))
    ]
    return pd.DataFrame(rows, columns=["group", "rate", "label", "n", "share", "low", "high"])


def gaps(
    predictions: pd.DataFrame, by: str | pd.Series, least: int = 20, draws: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """How far apart the groups are, highest less lowest: rows accuracy, equalised odds, demographic parity.

    Equalised odds: the same true and false positive rates in all groups (Hardt, Price & Srebro 2016); the difference is
    the largest between two groups in either rate of any label, that label taken against all others. Demographic
    parity: each label is predicted equally often; the difference is the largest for any label.

    Parameters
    ----------
    by:
        A column of the predictions, or a Series item_id -> group.
    least:
        Of how many items a group's rate must be a share to count here. `rates` has the others, too.

    Returns
    -------
    difference, and where it is: rate and label (see `rates`), highest and lowest (groups). Missing where no rate has
        enough items in two groups.
    low, high: 95 % interval of the difference that any number of such items would show. The observed one is wrong by no
        more than the errors of the rates differ between groups, and that is less than what is added and taken away here
        in 95 % of `draws` bootstrap samples (within groups; for equalised odds within their gold labels). So it holds
        whichever groups come out highest and lowest, and is rather too wide. (The percentile interval of the difference
        itself lies above 0 even where groups are the same. Of 800 simulated data sets of four groups with 200 items,
        equally accurate, that held the truth in none, this one in 94 %.)
    expected, p: the more groups there are and the smaller, the larger is the difference by chance alone. So, its mean
        in `draws` random assignments of items to groups (for equalised odds within gold labels), and how probable one
        as large is among them.
    too_small: groups that do not count, with their numbers of items; for equalised odds, in how many rates they do not.

    All this takes items as independent: where pairs share sentences, intervals are too narrow and p too small.
    Raises InputError as `rates` does, and where fewer than two groups have `least` items.
    """
    groups, labels, counts = _counts(predictions, by)
    sizes = counts.sum(axis=(1, 2))
    if least < 1 or (sizes >= least).sum() < 2:
        found = ", ".join(f"{group!r} has {size}" for group, size in zip(groups, sizes, strict=True))
        raise InputError(f"groups: {found}; `least` is {least}: let two groups have as many items, 1 or more")
    rng, kinds, of = np.random.default_rng(seed), _kinds(labels), _hits(counts)[1]
    rows: dict[str, dict[str, Any]] = {}
    for measure, (names, within_gold) in MEASURES.items():
        columns = [j for j, (rate, _) in enumerate(kinds) if rate in names]
        few = (of[:, columns] < least).sum(axis=1)
        small = [
            f"{groups[i]} ({f'{few[i]} of {len(columns)} rates' if within_gold else sizes[i]})"
            for i in np.flatnonzero(few)
        ]
        rows[measure] = {"too_small": ", ".join(small)}
        comparable = [j for j in columns if (of[:, j] >= least).sum() > 1]
        if comparable:
            counted = of[:, comparable] >= least
            numbers, (highest, lowest, j) = _gap(counts, comparable, counted, within_gold, draws, rng)
            where = {"rate": kinds[j][0], "label": kinds[j][1], "highest": groups[highest], "lowest": groups[lowest]}
            rows[measure] |= numbers | where
    order = ["difference", "low", "high", "expected", "p", "rate", "label", "highest", "lowest", "too_small"]
    return pd.DataFrame(list(rows.values()), pd.Index(rows, name="measure"), order)


def _gap(
    counts: np.ndarray, columns: list[int], counted: np.ndarray, within_gold: bool, draws: int, rng: np.random.Generator
) -> tuple[dict[str, float], tuple[int, int, int]]:
    """The largest difference in any of these rates, with what chance does to it; the two groups, and the rate.

    counted: (groups, rates), two groups or more for each rate.
    """

    def shares(of_counts: np.ndarray) -> np.ndarray:
        hits, of = _hits(of_counts)
        with np.errstate(invalid="ignore"):
            return np.where(counted, hits[..., columns] / of[..., columns], np.nan)

    def apart(values: np.ndarray) -> np.ndarray:
        return np.nanmax(values, axis=-2) - np.nanmin(values, axis=-2)

    def as_counts(strata: np.ndarray) -> np.ndarray:
        return strata.swapaxes(-3, -2).reshape(*strata.shape[:-3], *counts.shape)

    observed = shares(counts)
    which = int(apart(observed).argmax())
    difference = float(apart(observed)[which])
    # what is drawn within: all items or each gold label; of these each group's counts of the answers
    strata = counts.reshape(len(counts), counts.shape[1] if within_gold else 1, -1).swapaxes(0, 1)
    model = strata + 1 / strata.shape[2]  # one answer more, spread over all, lest rates of 0 and 1 seem certain
    p = model / model.sum(axis=2, keepdims=True)
    resampled = rng.multinomial(strata.sum(axis=2), p, size=(draws, *strata.shape[:2]))
    error = np.quantile(apart(shares(as_counts(resampled)) - shares(as_counts(model))).max(axis=1), 0.95)
    assigned = [random_table(table.sum(axis=1), table.sum(axis=0)).rvs(draws, random_state=rng) for table in strata]
    by_chance = apart(shares(as_counts(np.stack(assigned, axis=1)))).max(axis=1)
    as_large = (by_chance >= difference - 1e-12).sum()
    numbers = {
        "difference": difference,
        "low": max(0.0, difference - error),
        "high": min(1.0, difference + error),
        "expected": by_chance.mean(),
        "p": (1 + as_large) / (1 + draws),  # the observed assignment is one of the possible ones
    }
    column = observed[:, which]
    return numbers, (int(np.nanargmax(column)), int(np.nanargmin(column)), columns[which])


def _kinds(labels: Sequence[str]) -> list[tuple[str, str | None]]:
    """The rates of `_hits`, in its order: name and label."""
    return [("accuracy", None), *((rate, label) for rate in ("selected", "tpr", "fpr") for label in labels)]


def _hits(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators of the rates of `_kinds`, (..., groups, rates).

    counts: (..., groups, gold labels, predicted labels).
    """
    both = np.diagonal(counts, axis1=-2, axis2=-1)
    gold, predicted, total = counts.sum(axis=-1), counts.sum(axis=-2), counts.sum(axis=(-2, -1))[..., None]
    hits = both.sum(axis=-1, keepdims=True), predicted, both, predicted - both
    of = total, np.broadcast_to(total, gold.shape), gold, total - gold
    return np.concatenate(hits, axis=-1), np.concatenate(of, axis=-1)


def _counts(predictions: pd.DataFrame, by: str | pd.Series) -> tuple[list[Any], list[str], np.ndarray]:
    """Groups, labels, and how many items of each group have which gold and predicted label."""
    group = groups_of(predictions, by)
    groups = sorted(group.unique(), key=str)
    labels = sorted({*predictions["label"], *predictions["predicted"]})
    counts = np.zeros((len(groups), len(labels), len(labels)), int)
    codes = [
        pd.Index(names).get_indexer(column)
        for names, column in ((groups, group), (labels, predictions["label"]), (labels, predictions["predicted"]))
    ]
    np.add.at(counts, tuple(codes), 1)
    return groups, labels, counts
