"""One look; each function draws one figure and returns its Axes.

Colours are the Okabe-Ito set, told apart by the colour-blind, and every arm has a marker of its own, so
that figures also work in grey print.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cift.evaluation import paired_difference
from cift.irt import ItemBank, probability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES = ("-", "--", ":", "-.")


def clean_axes(ax: Axes | None = None, size: tuple[float, float] = (6.4, 4.0)) -> Axes:
    """New Axes, or the given ones, in the look of all figures here: no box, only the two axes."""
    import matplotlib.pyplot as plt

    ax = ax or plt.subplots(figsize=size, layout="constrained")[1]
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as STEM.png and STEM.svg, each atomically; returns the paths."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    paths = [stem.with_name(f"{stem.name}.{suffix}") for suffix in ("png", "svg")]
    for path in paths:
        part = path.with_name(f"{path.name}.part")
        figure.savefig(part, format=path.suffix[1:], dpi=150)
        os.replace(part, path)
    return paths


def item_curves(bank: ItemBank, item_ids: Sequence[str], ax: Axes | None = None) -> Axes:
    """Item characteristic curves: the probability of the right answer against ability."""
    ax = clean_axes(ax)
    theta = np.linspace(-4, 4, 161)
    items = bank.items.set_index("item_id").loc[list(item_ids)]
    curves = probability(theta, items).T
    for k, (item, curve) in enumerate(zip(item_ids, curves, strict=True)):
        a, b = items.loc[item, ["a", "b"]]
        ax.plot(
            theta,
            curve,
            LINES[k % len(LINES)],
            color=COLOURS[k % len(COLOURS)],
            label=f"{item}  (a {a:.1f}, b {b:+.1f})",
        )
    ax.set(xlabel="ability θ", ylabel="P(right answer)", ylim=(0, 1))
    ax.legend(frameon=False)
    return ax


def ability(bank: ItemBank, placed: pd.DataFrame, people: str = "respondents", ax: Axes | None = None) -> Axes:
    """Models among people: the population's abilities as a histogram, each model as a point ± 1 SE.

    placed: index = a name per model, columns `theta`, `theta_se`, `percentile` (`cift.ability.eap`).
    people: what to call the bank's population, such as "simulated respondents".
    """
    ax = clean_axes(ax)
    counts, *_ = ax.hist(bank.population["theta"], bins=30, color="#BBBBBB", label=people)
    heights = np.max(counts) * (1.08 + 0.12 * np.arange(len(placed)))
    for k, (name, row) in enumerate(placed.iterrows()):
        ax.errorbar(
            row["theta"],
            heights[k],
            xerr=row["theta_se"],
            fmt=MARKERS[k % len(MARKERS)],
            color=COLOURS[k % len(COLOURS)],
            capsize=3,
            label=f"{name}: θ {row['theta']:+.2f} ± {row['theta_se']:.2f}, percentile {row['percentile']:.0f}",
        )
    ax.set(xlabel=f"ability θ on {bank.info['scale']}", ylabel=people)
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, -0.16))
    return ax


def study(record: dict[str, Any]) -> np.ndarray:
    """Result of a case study: abilities on each held-out scale, then each arm's difference from the base model.

    record: what `cift.casestudy.run` returns. Left, the main arms: means over seeds with the mean standard error of an
    ability; right, all arms: paired differences with 95 % intervals over seeds. Returns the array of Axes.
    """
    import matplotlib.pyplot as plt

    from cift.arms import BASELINE
    from cift.arms import MAIN as MAIN_ARMS
    from cift.casestudy_report import arms_of
    from cift.outcomes import MAIN, METRICS

    results = pd.DataFrame(record["results"])
    arms, scales = arms_of(results), list(results["held_out"].unique())
    marks = {arm: (MARKERS[k], COLOURS[k]) for k, arm in enumerate(arm for arm in arms if arm in MAIN_ARMS)}
    gaining = [arm for arm in arms if arm != BASELINE]
    figure, axes = plt.subplots(
        1,
        1 + len(MAIN),
        figsize=(13, 1.8 + max(0.6 * len(scales), 0.28 * len(gaining), 1.7)),
        layout="constrained",
        width_ratios=[2.2] + [1] * len(MAIN),
    )
    left = clean_axes(axes[0])
    means = results.groupby(["held_out", "arm"])[["theta", "theta_se"]].mean()
    for k, (arm, (marker, colour)) in enumerate(marks.items()):
        points = means.xs(arm, level="arm").loc[scales]
        y = np.arange(len(scales)) + 0.14 * (k - (len(marks) - 1) / 2)
        xerr = points["theta_se"]
        left.errorbar(points["theta"], y, xerr=xerr, fmt=marker, color=colour, capsize=2, markersize=5, label=arm)
    left.set(yticks=range(len(scales)), yticklabels=scales, xlabel="ability θ ± SE on the held-out scale")
    left.axvline(0, color="#BBBBBB", zorder=0, linewidth=1)
    left.set_ylim(len(scales) - 0.5, -0.5)
    left.set_title(f"0 is the average of {record['run']['population']}", fontsize=9, loc="left")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=len(marks), frameon=False)
    for ax, metric in zip(axes[1:], MAIN, strict=True):
        clean_axes(ax)
        for k, arm in enumerate(gaining):
            marker, colour = marks.get(arm, ("o", "#777777"))
            found = paired_difference(results, arm, BASELINE, metric)
            error = [[found["difference"] - found["low"]], [found["high"] - found["difference"]]]  # nan: not drawn
            ax.errorbar(found["difference"], k, xerr=error, fmt=marker, color=colour, capsize=3, markersize=5)
        ax.set(yticks=range(len(gaining)), yticklabels=gaining if metric == MAIN[0] else [])
        ax.set_xlabel(f"change in\n{METRICS[metric].words}")
        ax.locator_params(axis="x", nbins=3)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set_ylim(len(gaining) - 0.5, -0.5)
        ax.axvline(0, color="#BBBBBB", zorder=0, linewidth=1)
    return axes
