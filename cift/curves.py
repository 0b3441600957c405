"""Item response curves: the probability of an answer, its information, and a person's posterior of ability.

Answers that are right or wrong follow a logistic model (Birnbaum 1968; Barton & Lord 1981)

    P(right | theta) = c + (d - c) sigmoid(a (theta - b)),        theta ~ N(0, 1) in the population,

with `a` the discrimination, `b` the difficulty, `c` and `d` the lower and upper asymptote of an item: 4PL. The 3PL has
d = 1, the 2PL c = 0 as well, the 1PL one `a` for all items. The nominal model (Bock 1972) is of raw labels: P(label |
theta) = exp(slope theta + intercept) over the sum of that for all labels, the gold label's two being 0.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import expit, logsumexp

PARAMETERS = ["a", "b", "c", "d"]


def probability(theta: np.ndarray, items: pd.DataFrame) -> np.ndarray:
    """P(right) for each ability and item, (len(theta), len(items)); of a nominal scale each row's label."""
    theta = np.asarray(theta, float)[:, None]
    if "slope" in items:
        z = theta * items["slope"].to_numpy(float) + items["intercept"].to_numpy(float)
        first, item = _first_rows(items)
        z = np.exp(z - np.maximum.reduceat(z, first, axis=1)[:, item])
        return z / np.add.reduceat(z, first, axis=1)[:, item]
    a, b, c, d = (items[name].to_numpy(float) for name in PARAMETERS)
    return c + (d - c) * expit(a * (theta - b))


def information(theta: np.ndarray, items: pd.DataFrame) -> np.ndarray:
    """Fisher information of each item at each ability: (len(theta), items).

    P'^2 / (P (1 - P)); for the 2PL this is a^2 P (1 - P). Of a nominal item, the variance of the slope over its
    labels. Its sum over items is 1 / SE^2 of the maximum-likelihood ability.
    """
    p = np.clip(probability(theta, items), 1e-12, 1 - 1e-12)
    if "slope" in items:
        slope, (first, _) = items["slope"].to_numpy(float), _first_rows(items)
        return np.add.reduceat(p * slope**2, first, axis=1) - np.add.reduceat(p * slope, first, axis=1) ** 2
    a, _, c, d = (items[name].to_numpy(float) for name in PARAMETERS)
    return _information(p, a, c, d)


def _information(p: np.ndarray, a: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    slope = a * (p - c) * (d - p) / (d - c)
    return slope**2 / (p * (1 - p))


def _first_rows(items: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Of a nominal item table: each item's first row, and each row's item."""
    starts = items["item_id"].ne(items["item_id"].shift()).to_numpy()
    return np.flatnonzero(starts), np.cumsum(starts) - 1


def quadrature(abcd: np.ndarray, answered: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Nodes on [-6, 6] and the log weights of N(0, 1) on them, for items (items, 4): a, b, c, d.

    answered: the largest share of the items that one person answered.
    """
    a, b, c, d = abcd.T
    p = np.clip(c + (d - c) * expit(a * (np.linspace(-6.0, 6.0, 49)[:, None] - b)), 1e-12, 1 - 1e-12)
    return spaced(answered * _information(p, a, c, d).sum(axis=1).max())


def spaced(most_information: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and log weights for a test that tells so much where it tells most.

    The nodes are a quarter apart, or at most 1.2 of the smallest standard error: a posterior that falls between two
    nodes would distort the scale. (A sum over nodes so far apart misses a normal integral by a millionth.)
    """
    spacing = min(0.25, 1.2 / np.sqrt(1 + most_information))
    nodes = np.linspace(-6.0, 6.0, int(np.ceil(12 / spacing)) + 1)
    density = np.exp(-0.5 * nodes**2)
    return nodes, -0.5 * nodes**2 - np.log(density.sum())


def grid(items: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and log weights that are fine enough for an item table."""
    return spaced(information(np.linspace(-6.0, 6.0, 49), items).sum(axis=1).max())


def posterior(responses: pd.DataFrame, items: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes, each person's posterior of ability on them, (people, nodes), and log marginal likelihood.

    responses: 1, 0 or missing, columns the items in their table's order; of a nominal scale the labels themselves.
    A missing answer says nothing: it drops out of the product over items.
    """
    nodes, log_weights = grid(items)
    log_p = np.log(np.clip(probability(nodes, items), 1e-12, 1 - 1e-12))
    if "slope" in items:
        chosen = responses[items["item_id"]].to_numpy(object) == items["label"].to_numpy(object)
        log_joint = chosen.astype(float) @ log_p.T + log_weights
    else:
        answered = responses.notna().to_numpy()
        right = np.where(answered, responses.to_numpy(float), 0.0)
        log_wrong = np.log1p(-np.exp(log_p))
        log_joint = right @ (log_p - log_wrong).T + log_weights
        log_joint += log_wrong.sum(axis=1) if answered.all() else answered.astype(float) @ log_wrong.T
    log_marginal = logsumexp(log_joint, axis=1)
    return nodes, np.exp(log_joint - log_marginal[:, None]), log_marginal
