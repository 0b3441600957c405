"""Metrics over a predictions table, each with an interval, and paired differences between the arms of a study.

Beside it: `cift.reliability` (is the confidence deserved), `cift.paired` (two models on the same items) and
`cift.people` (how near a model comes to people's label distributions).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import t

from cift.errors import InputError
from cift.files import one_message
from cift.resampling import percentiles, resampled_sums


def wilson(right: Any, n: Any) -> tuple[Any, Any]:
    """95 % interval of a share (Wilson, 1927, JASA 22, 209): numbers or arrays; `right` may hold halves.

    NaN where n is 0.
    """
    z2 = 1.959963984540054**2
    right, n = np.asarray(right, float), np.asarray(n, float)
    with np.errstate(invalid="ignore", divide="ignore"):
        middle = (right + z2 / 2) / (n + z2)
        half = np.sqrt(z2 * (right * (n - right) / n + z2 / 4)) / (n + z2)
        return np.where(n > 0, middle - half, np.nan)[()], np.where(n > 0, middle + half, np.nan)[()]


def proportion(hits: Sequence[bool] | np.ndarray | pd.Series) -> dict[str, float]:
    """n, the share of hits (any sequence of true and false), and its 95 % Wilson interval: n, share, low, high."""
    k, n = int(np.sum(hits)), len(hits)
    low, high = wilson(k, n)
    return {"n": n, "share": k / n, "low": low, "high": high}


# metrics


def accuracy(predictions: pd.DataFrame) -> float:
    """Share of items whose predicted label is the gold label."""
    return float((predictions["predicted"] == predictions["label"]).mean())


def confusion(predictions: pd.DataFrame) -> pd.DataFrame:
    """How many items of each gold label (rows) got each predicted label (columns), in the order of the logits."""
    names = logits(predictions).columns
    cells = _cells(tally(predictions).sum(axis=0)).astype(int)
    return pd.DataFrame(cells, names.rename("label"), names.rename("predicted"))


def by_label(predictions: pd.DataFrame) -> pd.DataFrame:
    """A row a label: precision, recall, F1, and n_gold and n_predicted, the numbers of items that have it.

    Precision is NaN for a label that is never predicted, recall for one that no item has, F1 where both is so. (In
    scikit-learn this is `zero_division=np.nan`; by default it warns and says 0.)
    """
    cells = _cells(tally(predictions).sum(axis=0))
    columns = {name: metric(cells) for name, metric in BY_LABEL.items()}
    counts = {"n_gold": cells.sum(axis=1).astype(int), "n_predicted": cells.sum(axis=0).astype(int)}
    return pd.DataFrame(columns | counts, logits(predictions).columns.rename("label"))


def precision(predictions: pd.DataFrame) -> float:
    """Macro precision: the mean of `by_label` over the labels that items have or are given; NaN if one of it is."""
    return _metric("macro precision", predictions)


def recall(predictions: pd.DataFrame) -> float:
    """Macro recall: the mean of `by_label` over the labels that items have or are given; NaN if one of it is."""
    return _metric("macro recall", predictions)


def f1(predictions: pd.DataFrame) -> float:
    """Macro F1: the mean of `by_label` over the labels that items have or are given.

    A label that items have and none is given counts 0. (Micro-averaged, over all labels, precision, recall and F1
    are all the accuracy, since each item has one label and is given one.)
    """
    return _metric("macro F1", predictions)


def mcc(predictions: pd.DataFrame) -> float:
    """Correlation of predicted with gold labels, -1 to 1 (Matthews 1975; for several labels Gorodkin 2004).

    NaN where all items have, or are given, one label: nothing correlates with a constant. (scikit-learn says 0.)
    """
    return _metric("MCC", predictions)


def log_loss(predictions: pd.DataFrame) -> float:
    """Mean of -log p(gold label), in nats; infinite where a gold label has probability 0."""
    return _metric("log-loss", predictions)


def brier(predictions: pd.DataFrame) -> float:
    """Mean squared distance between probabilities and gold label, summed over labels: 0 to 2 (Brier 1950).

    With two labels, too. (scikit-learn then halves it, unless `scale_by_half=False`.)
    """
    return _metric("Brier score", predictions)


def evaluate(
    predictions: pd.DataFrame, groups: pd.Series | None = None, seed: int = 0, draws: int = 2000
) -> pd.DataFrame:
    """All metrics of this module in one table, each with its 95 % interval.

    groups: item_id -> group, where items are not independent, such as the premise of each pair.

    metric, label: the metric and, where it is of one label, that label (else ""). "micro F1" is the accuracy.
    value, low, high: intervals of shares are Wilson's, all others from the percentile bootstrap over items, and with
        groups all from that over groups (`cift.resampling`). NaN where a metric is undefined, as its own function
        says; so are the ends of an interval where the value is not finite, or the same in all resamples.
    n: items that it is a mean over: those predicted to have the label for its precision, those that have it for its
        recall and F1.
    interval: "Wilson" or "bootstrap".

    The bootstrap leaves out resamples in which a metric is undefined. Raises InputError as `codes` and
    `resampling.resamples` do.
    """
    names, parts = logits(predictions).columns, tally(predictions)
    sums = parts.sum(axis=0)
    scores = _scores(sums, names)
    drawn = _scores(resampled_sums(parts, predictions["item_id"], groups, seed, draws), names)
    table = pd.DataFrame(list(scores), columns=["metric", "label"])
    table["value"] = np.array(list(scores.values()))
    ends = percentiles(np.column_stack(list(drawn.values())))
    table["low"], table["high"] = (np.where(np.isfinite(table["value"]), end, np.nan) for end in ends)
    gold, given = _cells(sums).sum(axis=1), _cells(sums).sum(axis=0)
    table["n"] = np.concatenate([np.full(len(METRICS), len(parts)), given, gold, gold]).astype(int)
    shares = table["metric"].isin(["accuracy", "micro F1", "precision", "recall"]) & (groups is None)
    of_shares = table[shares]
    table.loc[shares, ["low", "high"]] = np.column_stack(wilson(of_shares["value"] * of_shares["n"], of_shares["n"]))
    return table.assign(interval=np.where(shares, "Wilson", "bootstrap"))


# how they are computed: as functions of sums over items, since sums over thousands of resamples are one matrix product


def tally(predictions: pd.DataFrame) -> np.ndarray:
    """What each item adds to the sums that `METRICS` are functions of: (items, labels x labels + 2).

    1 for its cell of the confusion matrix, gold by predicted, row by row, then -log p(gold), then the squared error.
    Raises InputError as `codes` does.
    """
    gold, predicted = codes(predictions)
    log_p = log_softmax(logits(predictions).to_numpy(), axis=1)
    k = log_p.shape[1]
    squared = ((np.exp(log_p) - np.eye(k)[gold]) ** 2).sum(axis=1)
    return np.column_stack([np.eye(k * k)[gold * k + predicted], -log_p[np.arange(len(gold)), gold], squared])


def codes(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Each item's gold and predicted label, as positions among the logit columns.

    Raises InputError where there are no items, or a label without logits.
    """
    names = logits(predictions).columns
    if predictions.empty:
        raise InputError("predictions: no items; give some")
    found = {column: names.get_indexer(predictions[column]) for column in ("label", "predicted")}
    unknown = [
        f"item {item!r} has {value!r} as {column}"
        for column, positions in found.items()
        for item, value in predictions.loc[positions < 0, ["item_id", column]].itertuples(index=False)
    ]
    if unknown:
        raise one_message("predictions", unknown, f"There are logits for {', '.join(names) or 'no label'}")
    return found["label"], found["predicted"]


def _cells(sums: np.ndarray) -> np.ndarray:
    """The confusion matrices in sums of `tally`: (..., gold, predicted)."""
    k = math.isqrt(sums.shape[-1] - 2)
    return sums[..., :-2].reshape(*sums.shape[:-1], k, k)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b > 0)


def _right(cells: np.ndarray) -> np.ndarray:
    return np.diagonal(cells, axis1=-2, axis2=-1)


def _precision(cells: np.ndarray) -> np.ndarray:
    return _ratio(_right(cells), cells.sum(axis=-2))


def _recall(cells: np.ndarray) -> np.ndarray:
    return _ratio(_right(cells), cells.sum(axis=-1))


def _f1(cells: np.ndarray) -> np.ndarray:
    return _ratio(2 * _right(cells), cells.sum(axis=-1) + cells.sum(axis=-2))


def _accuracy(sums: np.ndarray) -> np.ndarray:
    cells = _cells(sums)
    return _right(cells).sum(axis=-1) / cells.sum(axis=(-2, -1))


def _macro(metric: Callable[[np.ndarray], np.ndarray], sums: np.ndarray) -> np.ndarray:
    cells = _cells(sums)
    occurs = cells.sum(axis=-1) + cells.sum(axis=-2) > 0
    return np.where(occurs, metric(cells), 0).sum(axis=-1) / occurs.sum(axis=-1)


def _mcc(sums: np.ndarray) -> np.ndarray:
    cells = _cells(sums)
    gold, given, n = cells.sum(axis=-1), cells.sum(axis=-2), cells.sum(axis=(-2, -1))
    together = n * _right(cells).sum(axis=-1) - (gold * given).sum(axis=-1)
    return _ratio(together, np.sqrt((n**2 - (gold**2).sum(axis=-1)) * (n**2 - (given**2).sum(axis=-1))))


def _mean(column: int, sums: np.ndarray) -> np.ndarray:
    return sums[..., column] / _cells(sums).sum(axis=(-2, -1))


METRICS: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # name: function of sums of `tally`, (..., columns)
    "accuracy": _accuracy,
    "macro precision": partial(_macro, _precision),
    "macro recall": partial(_macro, _recall),
    "macro F1": partial(_macro, _f1),
    "micro F1": _accuracy,
    "MCC": _mcc,
    "log-loss": partial(_mean, -2),
    "Brier score": partial(_mean, -1),
}
BY_LABEL = {"precision": _precision, "recall": _recall, "F1": _f1}  # functions of the confusion matrix


def _metric(name: str, predictions: pd.DataFrame) -> float:
    return float(METRICS[name](tally(predictions).sum(axis=0)))


def _scores(sums: np.ndarray, names: Sequence[str]) -> dict[tuple[str, str], np.ndarray]:
    """(metric, label) -> value of each row of sums."""
    scores = {(name, ""): metric(sums) for name, metric in METRICS.items()}
    for name, metric in BY_LABEL.items():
        of_each = metric(_cells(sums))
        scores |= {(name, label): of_each[..., k] for k, label in enumerate(names)}
    return scores


# probabilities, and people


def logits(predictions: pd.DataFrame) -> pd.DataFrame:
    """The logits alone: index `item_id`, one column per label."""
    found = predictions.filter(regex="^logit_").astype(float).set_axis(predictions["item_id"])
    return found.rename(columns=lambda name: name.removeprefix("logit_"))


def probabilities(predictions: pd.DataFrame) -> pd.DataFrame:
    """The model's label probabilities: index `item_id`, one column per label, rows sum to 1."""
    found = logits(predictions)
    return pd.DataFrame(softmax(found.to_numpy(), axis=1), found.index, found.columns)


def people(predictions: pd.DataFrame, distributions: pd.DataFrame) -> pd.DataFrame:
    """The crowd's label distributions in the order of the predictions' items and logits: shares, like `probabilities`.

    Raises InputError where an item or a label has none, an item has two, or shares do not sum to 1 (by more than .02,
    for rounded ones).
    """
    model = logits(predictions)
    missing = model.index.difference(distributions.index)
    if len(missing):
        raise InputError(f"label distributions: none for item {missing[0]!r} ({len(missing)} missing)")
    unknown = model.columns.difference(distributions.columns)
    if len(unknown):
        raise InputError(f"label distributions: no column {unknown[0]!r}; give one for each label of the predictions")
    shares = distributions.loc[model.index.unique(), model.columns].astype(float)
    twice = shares.index[shares.index.duplicated()]
    if len(twice):
        raise InputError(f"label distributions: item {twice[0]!r} occurs twice; give each item once")
    total = shares.sum(axis=1, skipna=False)
    wrong = shares.index[~(total - 1).abs().le(0.02) | (shares < 0).any(axis=1)]
    if len(wrong):
        raise InputError(
            f"label distributions: those of item {wrong[0]!r} are {shares.loc[wrong[0]].round(4).tolist()}; "
            "give shares that sum to 1"
        )
    return shares.div(total, axis=0).loc[model.index]


def distance_to_people(predictions: pd.DataFrame, distributions: pd.DataFrame) -> float:
    """Mean Jensen-Shannon distance, base 2, between the model's and the crowd's label distributions.

    0: the same distribution on every item; 1: no label in common (Lin 1991; its square root, as in
    Nie, Zhou & Bansal 2020). Raises InputError as `people` does.
    """
    shares = people(predictions, distributions).to_numpy()
    return float(jensen_shannon(probabilities(predictions).to_numpy(), shares).mean())


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon distance, base 2, of each two rows, (items, labels), that sum to 1.

    (scipy's is NaN where rounding makes the divergence of like rows less than 0.)
    """
    middle = (p + q) / 2
    divergence = (rel_entr(p, middle) + rel_entr(q, middle)).sum(axis=1) / (2 * np.log(2))
    return np.sqrt(np.maximum(divergence, 0))


# seeds


def paired_difference(
    results: pd.DataFrame, arm: str, baseline: str, metric: str, over: str = "seed"
) -> dict[str, float]:
    """Mean difference arm - baseline of a metric, with a 95 % interval and p over seeds, or over held-out scales.

    Differences are taken seed by seed and scale by scale, and averaged within each seed (or scale); interval and p
    (two-sided) are Student's t over these averages (nan for one; p also where all are the same). Over seeds they
    speak of the randomness of fine-tuning (order, dropout, random items) for these scales and this base model; over
    scales, of other scales like these.

    Returns difference, low, high, seeds (or whatever `over` is called, with an s: how many), p.
    """
    table = results.pivot(index=["seed", "held_out"], columns="arm", values=metric)
    averages = (table[arm] - table[baseline]).groupby(over).mean()
    n = len(averages)
    error = averages.std(ddof=1) / np.sqrt(n)  # nan for one
    mean = float(averages.mean())
    half = t.ppf(0.975, n - 1) * error
    p = float(2 * t.sf(abs(mean) / error, n - 1)) if error > 1e-12 else np.nan  # less is rounding
    return {"difference": mean, "low": float(mean - half), "high": float(mean + half), f"{over}s": n, "p": p}
