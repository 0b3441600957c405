"""Linking: putting two scales that share items on one, so that results from two crowds can be compared.

Each calibration fixes its own crowd at N(0, 1). If a second crowd is abler, its items look easier: the two scales
differ by theta_reference = A theta + B, and the items that both hold tell A and B.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from cift.ability import refuse_nominal
from cift.errors import InputError
from cift.irt import ItemBank, grid, probability


class Link(NamedTuple):
    """theta_reference = A theta + B."""

    A: float
    B: float


def mean_sigma(bank: ItemBank, reference: ItemBank) -> Link:
    """The link under which the common items' difficulties have the same mean and SD on both scales (Marco 1977).

    Simple, and thrown off by a single item whose difficulty is badly known; and as noise widens the SD of estimated
    difficulties, a noisier `bank` comes out with too small an A. `stocking_lord` suffers from neither.
    Raises InputError for fewer than two common items, or where their difficulties do not differ.
    """
    ours, theirs = _common(bank, reference)
    ours_sd, theirs_sd = ours["b"].std(), theirs["b"].std()
    if not min(ours_sd, theirs_sd) > 0:
        raise InputError("linking: the common items are all equally difficult, so the unit is unknown; share others")
    slope = theirs_sd / ours_sd
    return Link(float(slope), float(theirs["b"].mean() - slope * ours["b"].mean()))


def stocking_lord(bank: ItemBank, reference: ItemBank) -> Link:
    """The link under which the common items' expected number right agrees best on both scales (Stocking & Lord 1983).

    Minimises the mean squared difference between the two test characteristic curves over N(0, 1) on the reference
    scale, by least squares from the mean-sigma link. Raises InputError as `mean_sigma` does.
    """
    ours, theirs = _common(bank, reference)
    nodes, log_weights = grid(theirs)
    weight = np.exp(log_weights / 2)
    target = probability(nodes, theirs).sum(axis=1)

    def difference(link: np.ndarray) -> np.ndarray:  # log A, so that A stays positive
        return weight * (probability(nodes, _moved(ours, np.exp(link[0]), link[1])).sum(axis=1) - target)

    start = mean_sigma(bank, reference)
    found = least_squares(difference, [np.log(start.A), start.B], xtol=1e-10, ftol=1e-10).x
    return Link(float(np.exp(found[0])), float(found[1]))


def transform(bank: ItemBank, A: float, B: float) -> ItemBank:
    """The bank on the scale theta_new = A theta + B: items, standard errors and population; info says so.

    Standard errors are those of the calibration in new units; the link's own uncertainty is not in them. The
    probability of a right answer is unchanged. MLE and WLE scored with the new bank are A theta + B; EAP and MAP are
    not, as their prior N(0, 1) then is the reference's population. Raises InputError unless A > 0 and both are finite.
    """
    refuse_nominal(bank)
    if not (np.isfinite([A, B]).all() and A > 0):
        raise InputError(f"linking: A = {A} and B = {B}; A must be above 0, and both finite")
    population = bank.population.copy()
    if not population.empty:
        population = population.assign(theta=A * population["theta"] + B, theta_se=A * population["theta_se"])
    return ItemBank(_moved(bank.items, A, B), population, bank.info | {"linked": {"A": float(A), "B": float(B)}})


def _moved(items: pd.DataFrame, A: float, B: float) -> pd.DataFrame:
    errors = {name: items[name] * unit for name, unit in (("a_se", 1 / A), ("b_se", A)) if name in items}
    return items.assign(a=items["a"] / A, b=A * items["b"] + B, **errors)


def _common(bank: ItemBank, reference: ItemBank) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both banks' rows of the items that both hold, in the same order."""
    for found in (bank, reference):
        refuse_nominal(found)
    ours, theirs = (found.items.set_index("item_id", drop=False) for found in (bank, reference))
    shared = ours.index[ours.index.isin(theirs.index)]
    if len(shared) < 2:
        raise InputError(
            f"linking: the banks share {len(shared)} of {len(ours)} and {len(theirs)} items; calibrate at least two "
            "common items (better ten or more) under the same item_id"
        )
    return ours.loc[shared], theirs.loc[shared]
