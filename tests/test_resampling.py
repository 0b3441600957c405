"""The bootstrap's draws: the right number of items, groups together, the same for a seed."""

import numpy as np
import pandas as pd
import pytest

from cift import resampling

ITEMS = pd.Series([f"i{k}" for k in range(6)])


def counts(*arguments, **options):
    return np.concatenate(list(resampling.resamples(*arguments, **options)))


def test_items_are_drawn_with_replacement(monkeypatch):
    drawn = counts(ITEMS, draws=5000)
    assert drawn.shape == (5000, 6) and (drawn.sum(axis=1) == 6).all()
    assert drawn.mean(axis=0) == pytest.approx(np.ones(6), abs=0.05)
    assert drawn.var(axis=0) == pytest.approx(np.full(6, 5 / 6), abs=0.06)  # of a binomial, n 6, p 1/6
    monkeypatch.setattr(resampling, "CELLS", 40)  # six draws at a time
    assert (counts(ITEMS, draws=5000) == drawn).all() and not (counts(ITEMS, seed=1, draws=5000) == drawn).all()


def test_groups_are_drawn_whole():
    groups = pd.Series(list("aabbbc"), ITEMS)
    drawn = counts(ITEMS.sample(frac=1, random_state=0), groups, draws=500)
    by_item = pd.DataFrame(drawn, columns=ITEMS.sample(frac=1, random_state=0))[ITEMS]
    assert (by_item["i0"] == by_item["i1"]).all() and (by_item["i2"] == by_item["i4"]).all()
    assert (by_item[["i0", "i2", "i5"]].sum(axis=1) == 3).all()


def test_sums_are_those_of_the_drawn_items():
    values = np.arange(12.0).reshape(6, 2)
    assert resampling.resampled_sums(values, ITEMS, draws=7) == pytest.approx(counts(ITEMS, draws=7) @ values)


def test_percentiles():
    drawn = np.column_stack([np.arange(1001.0), np.full(1001, 0.1), np.full(1001, np.nan), np.arange(1001.0)])
    drawn[:500, 3] = np.nan
    low, high = resampling.percentiles(drawn)
    assert low == pytest.approx([25, np.nan, np.nan, 512.5], nan_ok=True)
    assert high == pytest.approx([975, np.nan, np.nan, 987.5], nan_ok=True)
