"""Two models on the same items: McNemar's test, the paired bootstrap, and a family of comparisons.

(Two arms over seeds: `evaluation.paired_difference`.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import binom, norm

from cift.dependence import holm
from cift.errors import InputError
from cift.evaluation import METRICS, tally
from cift.files import one_message
from cift.resampling import percentiles, resampled_sums, resamples

Metric = Callable[[pd.DataFrame], float]


def mcnemar(predictions: pd.DataFrame, baseline: pd.DataFrame) -> dict[str, float]:
    """Is one model right more often than another on the same items?

    n: items. gained, lost: items that only the model, or only the baseline, has right.
    difference, low, high: of accuracies, model less baseline, and its 95 % interval, Wald's with half an item added to
        each cell of the two-by-two table (Bonett & Price 2012, JEBS 37, 479).
    p: exact, two-sided: of gained + lost items each is one or the other with probability 1/2 (McNemar 1947). Rejects
        less often than its level says. p_mid: with half the probability of the observed split left out of each tail,
        nearer to the level and rarely above it (Fagerland, Lydersen & Laake 2013, BMC Med Res Methodol 13, 91).

    Items are taken as independent: where they come in groups use `difference`. Raises InputError as `aligned` does.
    """
    ours, theirs = (table["predicted"] == table["label"] for table in aligned(predictions, baseline))
    gained, lost, n = int((ours & ~theirs).sum()), int((theirs & ~ours).sum()), len(ours)
    fewer = binom(gained + lost, 0.5)
    p_gained, p_lost = (np.array([gained, lost]) + 1) / (n + 2)
    centre = p_gained - p_lost
    half = norm.ppf(0.975) * np.sqrt((p_gained + p_lost - centre**2) / (n + 2))
    tail = fewer.cdf(min(gained, lost))
    return {
        "n": n,
        "gained": gained,
        "lost": lost,
        "difference": (gained - lost) / n,
        "low": float(centre - half),
        "high": float(centre + half),
        "p": float(min(1.0, 2 * tail)),
        "p_mid": float(2 * tail - fewer.pmf(gained)),
    }


def difference(
    predictions: pd.DataFrame,
    baseline: pd.DataFrame,
    metric: str | Metric = "accuracy",
    groups: pd.Series | None = None,
    seed: int = 0,
    draws: int = 2000,
) -> dict[str, float]:
    """Difference of a metric between two models on the same items, model less baseline, by paired bootstrap.

    metric: a name of `evaluation.METRICS`, computed for all resamples at once, or any function of a predictions table,
        which is called twice for each resample. groups: item_id -> group, for items that are not independent.

    n, value, baseline: items, and the metric of both.
    difference, low, high: with the 95 % percentile interval: both models answer the same resampled items.
    p: two-sided, below .05 where the interval leaves 0 out: twice the share of resamples on the side of 0 that has
        fewer, with one resample more, so not below 2 / (draws + 1): for many comparisons take more draws.
    low, high and p are NaN where a value is not finite, and where no resample differs from the next.

    Raises InputError for an unknown name, and as `aligned`, `evaluation.codes` and `resampling.resamples` do.
    """
    both = aligned(predictions, baseline)
    item_ids = both[0]["item_id"]
    if callable(metric):
        value, other = (float(metric(table)) for table in both)
        chosen = (
            np.repeat(np.arange(len(item_ids)), count.astype(int))
            for counts in resamples(item_ids, groups, seed, draws)
            for count in counts
        )
        drawn = np.array([metric(both[0].iloc[rows]) - metric(both[1].iloc[rows]) for rows in chosen])
    elif metric in METRICS:
        parts = [tally(table) for table in both]
        value, other = (float(METRICS[metric](part.sum(axis=0))) for part in parts)
        sums = resampled_sums(np.hstack(parts), item_ids, groups, seed, draws)
        ours, theirs = np.split(sums, [parts[0].shape[1]], axis=1)
        drawn = METRICS[metric](ours) - METRICS[metric](theirs)
    else:
        raise InputError(f"metric {metric!r}: unknown; choose from {', '.join(METRICS)}, or give a function")
    low, high = (float(end[0]) for end in percentiles(drawn[:, None]))
    defined = drawn[~np.isnan(drawn)]
    p = float(min(1, 2 * (1 + min((defined <= 0).sum(), (defined >= 0).sum())) / (1 + len(defined))))
    if not np.isfinite([value, other, low]).all():
        low, high, p = np.nan, np.nan, np.nan
    found = {"n": len(item_ids), "value": value, "baseline": other, "difference": value - other}
    return found | {"low": low, "high": high, "p": p}


def compare(
    models: Mapping[str, pd.DataFrame],
    baseline: str,
    metrics: Sequence[str] = ("accuracy",),
    groups: pd.Series | None = None,
    seed: int = 0,
    draws: int = 10_000,
) -> pd.DataFrame:
    """Each model's `difference` from the baseline in each metric: a row a model and metric.

    models: name -> predictions, the baseline's among them. Columns model, metric, those of `difference`, and p_holm: p
    adjusted for the number of rows (Holm 1979), so that in all of them together a chance finding below .05 has a
    probability of 5 % at most. (For p-values from elsewhere: `cift.dependence.holm`.)
    Raises InputError where the baseline is none of the models or the only one, and as `difference` does.
    """
    if baseline not in models or len(models) < 2:
        raise InputError(f"baseline {baseline!r}, models {', '.join(models)}: give the baseline and another model")
    rows = [
        {"model": name, "metric": metric} | difference(predictions, models[baseline], metric, groups, seed, draws)
        for name, predictions in models.items()
        if name != baseline
        for metric in metrics
    ]
    table = pd.DataFrame(rows)
    return table.assign(p_holm=holm(table["p"].to_numpy(float)))


def aligned(predictions: pd.DataFrame, baseline: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables with the baseline's rows in the model's order.

    Raises InputError where an item occurs twice, is in one of them only, or has two gold labels.
    """
    ours, theirs = predictions["item_id"], baseline["item_id"]
    if not len(ours):
        raise InputError("predictions: no items; give some")
    problems = [
        f"item {item!r} {words}"
        for items, words in (
            (ours[ours.duplicated()].unique(), "occurs twice in the first"),
            (theirs[theirs.duplicated()].unique(), "occurs twice in the second"),
            (ours[~ours.isin(theirs)], "is in the first only"),
            (theirs[~theirs.isin(ours)], "is in the second only"),
        )
        for item in items
    ]
    if problems:
        raise one_message("two predictions tables", problems, "Give both models the same items, each once")
    other = baseline.set_index("item_id", drop=False).loc[ours]
    differ = ours[other["label"].to_numpy() != predictions["label"].to_numpy()]
    if len(differ):
        raise one_message(
            "two predictions tables",
            [f"item {item!r} has two gold labels" for item in differ],
            "Give both the same gold",
        )
    return predictions, other.reset_index(drop=True)
