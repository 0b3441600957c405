"""The bootstrap over items: how much a number would differ with other items of the same kind (Efron 1979)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from cift.files import one_message

CELLS = 2**21  # draws x items held at a time


def resamples(
    item_ids: pd.Series, groups: pd.Series | None = None, seed: int = 0, draws: int = 2000
) -> Iterator[np.ndarray]:
    """How often each item is in each resample: arrays (some of the draws, items), of `draws` rows in all.

    groups: item_id -> group, for items that are not independent, such as pairs with the same premise: whole groups are
        drawn, as many as there are (cluster bootstrap; Davison & Hinkley 1997, section 3.8). With fewer than about 20
        groups intervals come out too narrow.
    Raises InputError for items without group, and for an item_id that has two.
    """
    units = np.arange(len(item_ids)) if groups is None else _groups_of(item_ids, groups)
    n_units, rng = units.max() + 1, np.random.default_rng(seed)
    block = max(1, CELLS // len(units))
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        drawn = rng.integers(n_units, size=(rows, n_units)) + n_units * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * n_units).reshape(rows, n_units)
        yield counts.astype(float)[:, units]


def resampled_sums(
    values: np.ndarray,
    item_ids: pd.Series,
    groups: pd.Series | None = None,
    seed: int = 0,
    draws: int = 2000,
) -> np.ndarray:
    """Sums over the items of each resample: (draws, columns) of values (items, columns)."""
    with np.errstate(invalid="ignore"):  # an infinite value makes all its column's sums infinite or NaN
        return np.concatenate([counts @ values for counts in resamples(item_ids, groups, seed, draws)])


def percentiles(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95 % percentile interval of each column of (draws, columns); what is not finite is left out.

    NaN where all resamples give the same, as they do where no item is wrong: a bootstrap does not see what is rare
    enough to be missing from the sample, and an interval of no width would say that it is impossible.
    """
    table = pd.DataFrame(drawn).where(np.isfinite(drawn))
    varies = table.max() - table.min() > 1e-12  # less is rounding
    low, high = np.where(varies, table.quantile([0.025, 0.975]), np.nan)
    return low, high


def _groups_of(item_ids: pd.Series, groups: pd.Series) -> np.ndarray:
    twice = groups.index[groups.index.duplicated()].unique()
    if len(twice):
        raise one_message("groups", [f"item {item!r} occurs twice" for item in twice], "Give each item once")
    found = groups.reindex(item_ids)
    lost = found.index[found.isna()]
    if len(lost):
        raise one_message("groups", [f"item {item!r} has none" for item in lost], "Give each item its group")
    return pd.factorize(found)[0]
