"""Metrics over a predictions table, and paired differences between the arms of a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import t

from cift.errors import InputError


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


def accuracy(predictions: pd.DataFrame) -> float:
    """Share of items whose predicted label is the gold label."""
    return float((predictions["predicted"] == predictions["label"]).mean())


def probabilities(predictions: pd.DataFrame) -> pd.DataFrame:
    """The model's label probabilities: index `item_id`, one column per label, rows sum to 1."""
    logits = predictions.filter(regex="^logit_")
    return pd.DataFrame(
        softmax(logits.to_numpy(float), axis=1),
        index=predictions["item_id"],
        columns=logits.columns.str.removeprefix("logit_"),
    )


def distance_to_people(predictions: pd.DataFrame, distributions: pd.DataFrame) -> float:
    """Mean Jensen-Shannon distance, base 2, between the model's and the crowd's label distributions.

    0: the same distribution on every item; 1: no label in common (Lin 1991; its square root, as in
    Nie, Zhou & Bansal 2020). Raises InputError when an item has no crowd distribution.
    """
    model = probabilities(predictions)
    missing = model.index.difference(distributions.index)
    if len(missing):
        raise InputError(f"label distributions: none for item {missing[0]!r} ({len(missing)} missing)")
    people = distributions.loc[model.index, model.columns]
    return float(np.mean(jensenshannon(model.to_numpy(), people.to_numpy(float), axis=1, base=2)))


def paired_difference(results: pd.DataFrame, arm: str, baseline: str, metric: str) -> dict[str, float]:
    """Mean difference arm - baseline of a metric, with a 95 % interval over seeds.

    Within a seed the difference is taken scale by scale and averaged over the held-out scales; the
    interval is Student's t over the seeds' averages (nan for one seed). It speaks of the randomness of
    fine-tuning (order, dropout, random items), for these items and this base model.
    """
    table = results.pivot(index=["seed", "held_out"], columns="arm", values=metric)
    by_seed = (table[arm] - table[baseline]).groupby("seed").mean()
    n = len(by_seed)
    half = t.ppf(0.975, n - 1) * by_seed.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    mean = float(by_seed.mean())
    return {"difference": mean, "low": float(mean - half), "high": float(mean + half), "seeds": n}
