"""Does a model's confidence deserve its name: calibration error, its diagram, and temperature scaling.

A predicted label's probability is the model's confidence. It is calibrated where, of the items predicted with a
confidence of .8, 80 % are right.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import softmax

from cift.errors import InputError
from cift.evaluation import codes, logits, people, probabilities, wilson
from cift.resampling import resampled_sums

BINS = 10  # as Naeini et al. (2015); Guo et al. (2017) have 15, which makes the bias for few items larger


def reliability(predictions: pd.DataFrame, bins: int = BINS, equal_mass: bool = False) -> pd.DataFrame:
    """The reliability diagram as a table (DeGroot & Fienberg 1983): a row for each bin of confidence that has items.

    equal_mass: bins with as many items each, apart from ties, which stay together; else bins of the same width between
        0 and 1, each with its upper edge.

    bin (from 1), confidence (mean), accuracy, n, low and high (95 % Wilson interval of the accuracy).
    Raises InputError for bins below 1, and as `evaluation.codes` does.
    """
    confidence, right = _confidence(predictions)
    table = pd.DataFrame({"bin": _bin(confidence, bins, equal_mass) + 1, "confidence": confidence, "right": right})
    found = table.groupby("bin", as_index=False).agg(
        confidence=("confidence", "mean"), accuracy=("right", "mean"), n=("right", "size"), hits=("right", "sum")
    )
    low, high = wilson(found.pop("hits"), found["n"])
    return found.assign(low=low, high=high)


def ece(predictions: pd.DataFrame, bins: int = BINS, equal_mass: bool = False) -> float:
    """Expected calibration error: the bins' |accuracy - confidence|, weighted by their items (Naeini et al. 2015).

    Bins as in `reliability`. Equal width is the default since published numbers are made so. Confident models leave
    most of these bins nearly empty; bins of equal mass (Nguyen & O'Connor 2015) look more closely where the items are,
    but, having more bins in use, are more biased. Biased both are: chance alone sets accuracy and confidence of a bin
    apart, and absolute values do not cancel. `calibration` says by how much. On the other hand, errors of opposite sign
    within a bin go unseen.
    """
    confidence, right = _confidence(predictions)
    in_bin = _bin(confidence, bins, equal_mass)
    return float(np.abs(np.bincount(in_bin, confidence - right)).sum() / len(right))


def calibration(
    predictions: pd.DataFrame, bins: int = BINS, equal_mass: bool = False, seed: int = 0, draws: int = 2000
) -> pd.Series:
    """The calibration error beside what it would be without any: n, ece, low, high, ece_if_calibrated, p.

    ece_if_calibrated, p: the mean of the error where each item is right with the probability of its confidence (about
        .02 to .05 for 300 items and 10 bins of equal width), and how often it is then as large as observed (consistency
        resampling; Bröcker & Smith 2007).
    low, high: 95 % basic bootstrap interval over items, in the same bins: with observed error e and quantiles q of the
        resamples, 2 e - q(97.5 %) to 2 e - q(2.5 %), which takes the bias off that resampling adds, as sampling did
        (the percentile interval never contains a true 0); not below 0, and 0 where p is .05 or more. In simulations
        (100 to 5,000 items, 10 bins, a true error of .07 or .09) it contained the truth 88 to 94 % of the time.

    Items are taken as independent. Raises InputError as `reliability` does.
    """
    confidence, right = _confidence(predictions)
    n, in_bin = len(right), _bin(confidence, bins, equal_mass)
    member = np.eye(in_bin.max() + 1)[in_bin]
    gaps = member * (confidence - right)[:, None]
    found = np.abs(gaps.sum(axis=0)).sum() / n
    drawn = np.abs(resampled_sums(gaps, predictions["item_id"], seed=seed, draws=draws)).sum(axis=1) / n
    rng = np.random.default_rng(seed)
    calibrated = np.array(
        [np.abs((confidence - (rng.random(n) < confidence)) @ member).sum() / n for _ in range(draws)]
    )
    p = (1 + (calibrated >= found).sum()) / (1 + draws)
    high, low = np.maximum(0, 2 * found - np.quantile(drawn, [0.025, 0.975]))
    interval = {"low": low if p < 0.05 else 0.0, "high": high}
    return pd.Series({"n": n, "ece": found, **interval, "ece_if_calibrated": calibrated.mean(), "p": p})


# temperature scaling


def fit_temperature(predictions: pd.DataFrame, targets: pd.DataFrame | None = None) -> float:
    """The temperature T at which softmax(logits / T) has the least log-loss (Guo et al. 2017, section 4.2).

    predictions: of validation items, which neither taught the model nor test it. targets: people's label distributions,
    to which the cross-entropy is minimised instead; the gold labels are not used then.

    The loss is convex in 1 / T; this is where its derivative, the mean over items of the expected logit under the model
    less that under the targets, is 0. Raises InputError where it is nowhere: the logits fit the targets no better than
    none would, or perfectly; where logits are not finite; and as `evaluation.codes` and `evaluation.people` do.
    """
    gold, _ = codes(predictions)
    table = logits(predictions)
    unusable = table.index[~np.isfinite(table).all(axis=1)]
    if len(unusable):
        raise InputError(
            f"predictions: item {unusable[0]!r} has logits that are not finite ({len(unusable)} items have); "
            "no temperature scales these, so train again or leave them out"
        )
    z = table.to_numpy() - table.to_numpy().max(axis=1, keepdims=True)
    target = np.eye(z.shape[1])[gold] if targets is None else people(predictions, targets).to_numpy()

    def slope(inverse: float) -> float:
        return float(((softmax(inverse * z, axis=1) - target) * z).sum(axis=1).mean())

    if slope(0) >= 0:
        raise InputError(
            f"predictions: the logits of {len(z)} items fit their targets no better than equal logits would, so no "
            "temperature is best; check that label names and logit columns belong together"
        )
    if not (target * z).any():
        raise InputError(
            f"predictions: all {len(z)} items are right, so the loss falls as long as the temperature does; fit it "
            "on more validation items, some of them wrong"
        )
    upper = 1.0
    while slope(upper) <= 0:
        upper *= 2
    return 1 / brentq(slope, 0, upper, xtol=1e-12)


def scale(predictions: pd.DataFrame, temperature: float) -> pd.DataFrame:
    """The predictions with their logits divided by a temperature: above 1 less sure, below 1 surer, the same labels.

    Raises InputError for a temperature that is not a positive number.
    """
    if not 0 < temperature < np.inf:
        raise InputError(f"temperature is {temperature}; give a number above 0")
    return predictions.assign(**{name: predictions[name] / temperature for name in predictions.filter(regex="^logit_")})


def _confidence(predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Probability of each item's predicted label, and 1 where that is right, else 0."""
    gold, predicted = codes(predictions)
    return probabilities(predictions).to_numpy()[np.arange(len(gold)), predicted], (predicted == gold).astype(float)


def _bin(confidence: np.ndarray, bins: int, equal_mass: bool) -> np.ndarray:
    """The bin of each item, from 0; each with its upper edge."""
    if bins < 1:
        raise InputError(f"bins is {bins}; give 1 or more")
    edges = np.linspace(0, 1, bins + 1)
    edges = np.quantile(confidence, edges) if equal_mass else edges
    return np.searchsorted(np.unique(edges[1:-1]), confidence)
