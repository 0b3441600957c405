"""How near a model's label distributions come to people's: four measures of it, each with an interval."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import rel_entr

from cift import evaluation
from cift.distributions import bits
from cift.resampling import percentiles, resamples

LEAST = 1e-12  # probability that a model is taken to give a label at least: lest one item make the mean infinite


def closeness(
    predictions: pd.DataFrame,
    distributions: pd.DataFrame,
    groups: pd.Series | None = None,
    seed: int = 0,
    draws: int = 2000,
) -> pd.DataFrame:
    """Distance between the model's and people's label distributions, and whether both doubt the same items.

    distributions: index item_id, a column of shares per label. groups: item_id -> group, where items are not
    independent: then groups are resampled.

    Index measure, columns value, low, high (95 % percentile bootstrap interval over items) and n:
    "Jensen-Shannon distance": mean, as `evaluation.distance_to_people`, 0 to 1.
    "KL(people || model)": mean bits that are lost by taking the model's distribution for people's (Kullback & Leibler
        1951); 0 or more. A label costs log2(1 / `LEAST`), 40 bits, at most.
    "total variation": mean of half the sum of absolute differences: the share of answers that would have to change,
        0 to 1.
    "entropy correlation": Spearman's, over items, of the entropy of the model's with that of people's distribution, -1
        to 1; NaN where one of them is the same for all items.

    Shares of few answers are not yet people's: they lie apart from the shares of all who might have answered, so the
    three distances are too large then, for every model, and not 0 for a perfect one; and the correlation is too small.
    Raises InputError as `evaluation.people` and `resampling.resamples` do, and where there are no items.
    """
    evaluation.codes(predictions)
    shares = evaluation.people(predictions, distributions)
    model = evaluation.probabilities(predictions)
    p, q = shares.to_numpy(), model.to_numpy()
    distances = {
        "Jensen-Shannon distance": evaluation.jensen_shannon(p, q),
        "KL(people || model)": rel_entr(p, np.maximum(q, LEAST)).sum(axis=1) / np.log(2),
        "total variation": np.abs(p - q).sum(axis=1) / 2,
    }
    by_item = np.column_stack(list(distances.values()))
    doubts = bits(shares).round(9).to_numpy(), bits(model).round(9).to_numpy()  # rounding errors are not to be ranked

    def measures(counts: np.ndarray) -> np.ndarray:
        """Of resamples, (draws, items), all measures: (draws, measures)."""
        return np.column_stack([counts @ by_item / counts.sum(axis=1, keepdims=True), _spearman(counts, *doubts)])

    drawn = [measures(counts) for counts in resamples(predictions["item_id"], groups, seed, draws)]
    low, high = percentiles(np.concatenate(drawn))
    (value,) = measures(np.ones((1, len(p))))
    names = pd.Index([*distances, "entropy correlation"], name="measure")
    return pd.DataFrame({"value": value, "low": low, "high": high, "n": len(p)}, names)


def _spearman(counts: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman's correlation in each resample, (draws,); NaN where x or y is constant. As scipy's, for all at once."""
    middle = (counts.sum(axis=1, keepdims=True) + 1) / 2
    a, b = (_ranks(counts, values) - middle for values in (x, y))
    with np.errstate(invalid="ignore"):
        return (counts * a * b).sum(axis=1) / np.sqrt((counts * a**2).sum(axis=1) * (counts * b**2).sum(axis=1))


def _ranks(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The rank that each item's value has in each resample, the mean rank of those that tie: (draws, items)."""
    _, position, sizes = np.unique(values, return_inverse=True, return_counts=True)
    starts = np.cumsum(sizes) - sizes
    held = np.add.reduceat(counts[:, np.argsort(position)], starts, axis=1)
    return (held.cumsum(axis=1) - (held - 1) / 2)[:, position]
