"""Figures of evaluation, in the look of `cift.plots`, one function a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cift.plots import COLOURS, clean_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def reliability_diagram(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Accuracy against confidence, bin by bin, with 95 % intervals; on the dashed line confidence is deserved.

    table: as `reliability.reliability` returns it. Below the line a model is too sure of itself, above it not enough.
    The grey numbers count the items of each bin.
    """
    ax = clean_axes(ax, size=(4.4, 4.4))
    ax.axline((0, 0), slope=1, linestyle="--", color="#999999", linewidth=1, zorder=0)
    error = [table["accuracy"] - table["low"], table["high"] - table["accuracy"]]
    ax.errorbar(table["confidence"], table["accuracy"], yerr=error, fmt="o-", color=COLOURS[2], capsize=3)
    for x, n in zip(table["confidence"], table["n"], strict=True):
        ax.annotate(f"{n:,}", (x, 0.01), color="#777777", fontsize=8, ha="center", rotation=90)
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
    return ax
