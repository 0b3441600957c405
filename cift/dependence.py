"""Local dependence: pairs of items that share more, or less, than the ability that the scale measures."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import chi2

from cift.ability import mean_and_sd, of_bank
from cift.irt import ItemBank, grid, posterior, probability


def local_dependence(scored: pd.DataFrame, bank: ItemBank) -> pd.DataFrame:
    """Do the answers to two items go together beyond theta? One row a pair, the largest `ld_x2` first.

    scored: respondents x items with at least the bank's, cells 1, 0 or missing; the crowd that the bank was fitted to.

    item_1, item_2, n: the pair, in the bank's order, and how many answered both.
    q3: correlation of the residuals at EAP (Yen 1984); about -1 / (items - 1), not 0, when the model holds.
    ld_x2, p, p_holm: Pearson's chi-squared of the pair's two-by-two table against the model's, given the sign of the
        dependence, and its p-value with one degree of freedom (Chen & Thissen 1997). Conservative for complete data:
        as the slopes were fitted to the same tables, it rejects 1 to 2 % of a true model's pairs at 5 %.

    Raises InputError as `cift.ability.score` does.
    """
    answers = of_bank(scored, bank)
    right, wrong = ((answers == value).to_numpy(float) for value in (1, 0))
    answered = right + wrong
    nodes, log_weight = grid(bank.items)
    p, people = probability(nodes, bank.items), np.exp(log_weight)[:, None]
    first, second = np.triu_indices(answers.shape[1], 1)

    def pairs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x.T @ y)[first, second]

    n = pairs(answered, answered)
    sides = [(right, p), (wrong, 1 - p)]
    observed = np.stack([pairs(x, y) for x, _ in sides for y, _ in sides])
    expected = np.stack([pairs(people * x, y) for _, x in sides for _, y in sides])
    with np.errstate(invalid="ignore", divide="ignore"):  # nobody answered both: missing
        x2 = ((observed - n * expected) ** 2 / (n * expected)).sum(axis=0)
    p_value = np.where(n > 0, chi2.sf(x2, 1), np.nan)
    table = pd.DataFrame(
        {
            "item_1": answers.columns[first],
            "item_2": answers.columns[second],
            "n": n.astype(int),
            "q3": _residual_correlations(answers, bank)[first, second],
            "ld_x2": np.sign(_association(observed) - _association(expected)) * x2,
            "p": p_value,
            "p_holm": holm(p_value),
        }
    )
    return table.sort_values("ld_x2", key=np.abs, ascending=False, kind="stable", ignore_index=True)


def partners(pairs: pd.DataFrame) -> pd.DataFrame:
    """Each item's most dependent partner: the row of `local_dependence` by item, the partner under `item_2`."""
    turned = pairs.rename(columns={"item_1": "item_2", "item_2": "item_1"})
    both = pd.concat([pairs, turned]).sort_values("ld_x2", key=np.abs, ascending=False, kind="stable")
    return both.drop_duplicates("item_1").set_index("item_1")


def holm(p: np.ndarray) -> np.ndarray:
    """P-values adjusted for their number (Holm 1979), in the same order; NaN is not counted and stays NaN."""
    p = np.asarray(p, float)
    order = np.argsort(p)[: np.isfinite(p).sum()]
    adjusted = np.full(p.shape, np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return adjusted


def _residual_correlations(answers: pd.DataFrame, bank: ItemBank) -> np.ndarray:
    """Correlations of observed less expected answers at EAP, each over those who answered both: (items, items)."""
    nodes, weight, _ = posterior(answers, bank.items)
    theta, _ = mean_and_sd(nodes, weight)
    answered = answers.notna().to_numpy(float)
    residual = np.where(answered > 0, answers.to_numpy() - probability(theta, bank.items), 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        n = answered.T @ answered
        mean = residual.T @ answered / n  # of the row's item, among those who also answered the column's
        variance = (residual**2).T @ answered / n - mean**2
        return (residual.T @ residual / n - mean * mean.T) / np.sqrt(variance * variance.T)


def _association(cells: np.ndarray) -> np.ndarray:
    """Phi coefficient of two-by-two tables, (4, tables), with the cells both, first, second, neither."""
    both, first, second, neither = cells
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    return (both * neither - first * second) / np.sqrt(np.maximum(margins, 1e-300))
