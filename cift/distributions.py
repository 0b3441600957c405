"""What a crowd's labels say of an item when answers are few: smoothed label distributions, and how sure they are.

Counts are items x labels (`cift.crowds.label_counts`). The share of each label among all who might have answered has a
Dirichlet distribution: the prior's pseudo-counts plus the counts. A prior is one pseudo-count a label: 1.0 for all
(uniform), or `prior_of` a crowd.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import digamma, entr, gammaln
from scipy.stats import beta, gamma, spearmanr

from cift.errors import InputError
from cift.files import one_message

NODES = 200  # of the Gauss-Legendre rule


def prior_of(counts: pd.DataFrame, concentration: float | None = None) -> pd.Series:
    """A prior with the crowd's own mean: label -> pseudo-count, which sum to `concentration`.

    The mean is each label's share of all answers, one answer added to each label, so that none is impossible.
    concentration: how many answers the prior is worth; None: that under which the counts are most probable (empirical
        Bayes: maximum likelihood of the Dirichlet-multinomial; Minka, 2000, Estimating a Dirichlet distribution). It is
        large, 10,000 at most, where items do not differ.
    Raises InputError for a concentration that is not positive, and counts without an item that has two answers, which
    tell nothing of how items differ.
    """
    mean = (counts.sum() + 1) / (counts.to_numpy().sum() + counts.shape[1])
    if concentration is None:
        concentration = _likeliest_concentration(counts.to_numpy(float), mean.to_numpy())
    if not concentration > 0:
        raise InputError(f"concentration is {concentration}; it counts answers, so give a number above 0")
    return mean * concentration


def smooth(counts: pd.DataFrame, prior: float | pd.Series = 1.0) -> pd.DataFrame:
    """Posterior mean of each label's share: items x (labels, n_responses), as `crowds.label_distributions` has them."""
    posterior = _posterior(counts, prior)
    return posterior.div(posterior.sum(axis=1), axis=0).assign(n_responses=counts.sum(axis=1))


def intervals(counts: pd.DataFrame, prior: float | pd.Series = 1.0) -> pd.DataFrame:
    """Posterior mean and 95 % credible interval of each label's share: rows (item_id, label); share, low, high.

    The share of one label has a Beta distribution; its quantiles at 2.5 and 97.5 % are the interval.
    """
    posterior = _posterior(counts, prior).rename_axis(columns="label")
    a = posterior.stack()
    b = (-posterior).add(posterior.sum(axis=1), axis=0).stack()
    return pd.DataFrame({"share": a / (a + b), "low": beta.ppf(0.025, a, b), "high": beta.ppf(0.975, a, b)})


def bits(shares: pd.DataFrame) -> pd.Series:
    """Entropy of each row's shares, which sum to 1: 0 where all agree, log2 of the number of columns at most."""
    by_share = np.sort(entr(shares.to_numpy(float)), axis=1)  # sorted, so that the same shares of other labels tie
    return pd.Series(by_share.sum(axis=1) / np.log(2), shares.index, name="entropy")


def entropy(counts: pd.DataFrame, prior: float | pd.Series = 1.0, seed: int = 0, draws: int = 1000) -> pd.DataFrame:
    """How much people disagree on each item, in bits: items x (entropy, low, high), n_responses.

    The entropy of observed shares (`bits`) is too low where answers are few. This is its posterior mean, exactly
    (Wolpert & Wolf, 1995, Physical Review E 52, 6841), and the 95 % credible interval of `draws` posterior draws.
    """
    posterior = np.sort(_posterior(counts, prior).to_numpy(), axis=1)  # so that the same counts of other labels tie
    total = posterior.sum(axis=1)
    mean = digamma(total + 1) - (posterior * digamma(posterior + 1)).sum(axis=1) / total
    rng = np.random.default_rng(seed)
    drawn = [entr(rng.dirichlet(alpha, draws)).sum(axis=1) for alpha in posterior]
    low, high = np.quantile(drawn, [0.025, 0.975], axis=1) / np.log(2)
    ends = {"entropy": mean / np.log(2), "low": low, "high": high, "n_responses": counts.sum(axis=1)}
    return pd.DataFrame(ends, index=counts.index)


def gold_against_majority(counts: pd.DataFrame, gold: pd.Series, prior: float | pd.Series = 1.0) -> pd.DataFrame:
    """The items whose gold label is not the one that most people gave; labels that tie for most are no difference.

    Returns a row an item: gold, majority, share_gold, share_majority (of the answers), n_responses, and p_gold: the
    posterior probability that among all who might have answered gold is the most frequent label after all. That is
    small where the crowd has spoken, and not where few have answered. Raises InputError for an item without gold label,
    and a gold label that is no column of the counts.
    """
    problem = next((item for item in counts.index if gold.get(item) not in counts), None)
    if problem is not None:
        raise InputError(
            f"item {problem!r} has the gold label {gold.get(problem)!r}; give each item one of "
            f"{', '.join(map(str, counts))}, or leave it out of the counts"
        )
    alone = counts.eq(counts.max(axis=1), axis=0).sum(axis=1) == 1
    majority = counts.idxmax(axis=1)
    gold = gold.loc[counts.index]
    differ = (alone & (majority != gold)).to_numpy()
    counts, gold, majority = counts[differ], gold[differ], majority[differ]
    n, is_gold = counts.sum(axis=1), gold.to_numpy()[:, None] == counts.columns.to_numpy()
    return pd.DataFrame(
        {
            "gold": gold,
            "majority": majority,
            "share_gold": counts.to_numpy(float)[is_gold] / n,
            "share_majority": counts.max(axis=1) / n,
            "n_responses": n,
            "p_gold": _is_mode(_posterior(counts, prior).to_numpy(), is_gold),
        }
    )


def entropy_against_models(people: pd.Series, models: pd.Series, seed: int = 0, draws: int = 1000) -> pd.Series:
    """Do models disagree where people do? Spearman's correlation over the items that both have.

    people, models: item_id -> disagreement, such as `entropy` of people's labels and `bits` of models' answers.
    Take `bits`, or `entropy` under a uniform prior. Under one that differs between labels, items on which all agree do
    not tie: their ranks tell their label, and the correlation is that of labels with the models' difficulties.

    Returns n_items, spearman, low and high: 95 % percentile bootstrap interval over items; NaN where people or models
    are the same on all items. Raises InputError where fewer than 3 items are in both, or one is in either twice.
    """
    for who, disagreement in {"people": people, "models": models}.items():
        again = disagreement.index[disagreement.index.duplicated()].unique()
        if len(again):
            raise one_message(who, [f"item {item!r} occurs twice" for item in again], "Give each item once")
    both = pd.concat([people.rename("people"), models.rename("models")], axis=1, join="inner").dropna()
    if len(both) < 3:
        raise InputError(f"people and models have {len(both)} items in common; give 3 or more, named alike in both")
    pairs = both.to_numpy(float)
    rng = np.random.default_rng(seed)
    drawn = pd.Series([_spearman(pairs[rng.integers(len(pairs), size=len(pairs))]) for _ in range(draws)])
    low, high = drawn.quantile([0.025, 0.975])
    return pd.Series({"n_items": len(pairs), "spearman": _spearman(pairs), "low": low, "high": high})


def _spearman(pairs: np.ndarray) -> float:
    if (pairs == pairs[0]).all(axis=0).any():  # where scipy warns, of each resample
        return float("nan")
    return float(spearmanr(pairs).statistic)


def _posterior(counts: pd.DataFrame, prior: float | pd.Series) -> pd.DataFrame:
    alpha = pd.Series(prior, counts.columns, dtype=float)  # of a Series, its values at these labels
    if not (alpha > 0).all():
        raise InputError(f"prior is {dict(alpha)}; give each label of the counts a number above 0")
    return (counts + alpha).astype(float)


def _likeliest_concentration(counts: np.ndarray, mean: np.ndarray) -> float:
    n = counts.sum(axis=1)
    if not (n >= 2).any():
        raise InputError("counts: no item has two answers, so how items differ is unknown; name the concentration")

    def unlikely(log_concentration: float) -> float:
        total = np.exp(log_concentration)
        alpha = total * mean
        by_item = gammaln(total) - gammaln(total + n) + (gammaln(alpha + counts) - gammaln(alpha)).sum(axis=1)
        return -by_item.sum()

    return float(np.exp(minimize_scalar(unlikely, bounds=np.log([1e-3, 1e4]), method="bounded").x))


def _is_mode(posterior: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Probability that the share of one label, `which`, is the largest: (items,) of (items, labels) pseudo-counts.

    Shares are independent Gamma variables over their sum: the distribution functions of the others, at the quantiles of
    the one, integrated.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    quantiles = gamma.ppf((nodes + 1) / 2, posterior[which][:, None])
    below = gamma.cdf(quantiles[:, None], posterior[:, :, None])
    below[which] = 1.0
    return below.prod(axis=1) @ weights / 2
