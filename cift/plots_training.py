"""Figures of fine-tuning: what strategies reach and cost (`cift.comparison`), and how a run went.

In the look of `cift.plots`, one function a figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cift.comparison_report import BASELINE, accuracies
from cift.errors import InputError
from cift.plots import COLOURS, LINES, MARKERS, clean_axes
from cift.search import suggest

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = "#999999"
FAMILIES = {  # panels of a figure: few enough lines in each to tell them apart in grey print
    "the encoder's own weights": ("features", "frozen", "gradual", "discriminative", "bitfit"),
    "small modules inside its layers": ("houlsby", "pfeiffer", "lora", "ia3"),
    "learned words before the text": ("prefix", "prompt", "p-tuning"),
}


def accuracy_by_size(record: dict[str, Any]) -> np.ndarray:
    """Test accuracy against the number of training pairs: a row of panels a model, a panel a family of strategies.

    record: what `cift.comparison.run` returns. Points are means with 95 % intervals over seeds, set apart a little so
    that they do not cover each other. In grey in every panel: the baseline `full`, and a classifier that reads the
    hypotheses alone (dashed). Returns the array of Axes, (models, families).
    """
    import matplotlib.pyplot as plt

    found = accuracies(record)
    there = set(found["strategy"])
    families = {name: family for name, family in FAMILIES.items() if there & set(family)} or {"": ()}
    names, sizes = record["run"]["models"], record["run"]["sizes"]
    read = pd.DataFrame(record["baseline"]).groupby("size")["accuracy"].mean()
    _, axes = plt.subplots(
        len(names),
        len(families),
        figsize=(0.8 + 3.9 * len(families), 3.9 * len(names)),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for row, model in zip(axes, names, strict=True):
        ours = found[found["model"] == model]
        for ax, (title, family) in zip(row, families.items(), strict=True):
            clean_axes(ax)
            ax.plot(read.index, read, "--", color=GREY, label="hypothesis alone")
            lines = [(name, ours[ours["strategy"] == name]) for name in (BASELINE, *family)]
            for k, (name, line) in enumerate((name, line) for name, line in lines if len(line)):
                style: dict[str, Any] = {"color": GREY, "linewidth": 3}
                if name != BASELINE:
                    style = {"color": COLOURS[k], "marker": MARKERS[k], "linestyle": LINES[k % len(LINES)]}
                _with_interval(ax, line["size"] * 1.03 ** (k - len(family) / 2), line, label=name, **style)
            ax.set_xscale("log")
            ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
            ax.set_xticks([], minor=True)
            ax.set_title(title, fontsize=10, loc="left")
            ax.set_xlabel("training pairs")
            ax.legend(frameon=False, fontsize=8, loc="upper left")
        row[0].set_ylabel(f"test accuracy, {record['comparison']}" + (f", {model}" if len(names) > 1 else ""))
    return axes


def accuracy_by_parameters(record: dict[str, Any], size: int, ax: Axes | None = None) -> Axes:
    """Test accuracy against the number of trainable parameters, for one number of training pairs.

    Points are means with 95 % intervals over seeds; their names stand at the right, in the order of accuracy. Raises
    InputError where nothing of that size is finished.
    """
    found = accuracies(record)
    found = found[found["size"] == size].merge(pd.DataFrame(record["ways"]), on=["model", "strategy"])
    if found.empty:
        sizes = sorted({result["size"] for result in record["results"]})
        raise InputError(f"figure: size {size}: no result; choose from {', '.join(map(str, sizes)) or 'none so far'}")
    found = found.sort_values("accuracy", ignore_index=True)
    ax = clean_axes(ax, size=(6.4, 4.6))
    for k, (name, family) in enumerate({"all weights": (BASELINE,), **FAMILIES}.items()):
        points = found[found["strategy"].isin(family)]
        _with_interval(ax, points["trainable"], points, label=name, color=COLOURS[k], marker=MARKERS[k], linestyle="")
    ax.set_xscale("log")
    ax.set(xlabel="trainable parameters", ylabel=f"test accuracy, {record['comparison']}, {size:,} training pairs")
    low, high = ax.get_ylim()
    heights = _apart(found["accuracy"].to_numpy(), (high - low) / 22)
    edge = ax.get_xlim()[1] * 1.5
    for height, (_, point) in zip(heights, found.iterrows(), strict=True):
        ax.annotate(
            f"{_name(record, point)} {point['accuracy']:.3f}",
            (point["trainable"], point["accuracy"]),
            (edge, height),
            fontsize=8,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "#DDDDDD", "shrinkB": 4, "zorder": 0},
        )
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.14), ncols=2)
    return ax


def cost(record: dict[str, Any]) -> np.ndarray:
    """Seconds to train 1,000 pairs, peak memory and size on disk of each way, from the fastest to the slowest.

    Memory is a bar from the peak once the model was loaded to the peak of training. Returns the array of Axes. Raises
    InputError where no cost was measured.
    """
    import matplotlib.pyplot as plt

    if not record["cost"]:
        raise InputError("figure: no cost is measured so far; go on with the same comparison")
    bills = pd.DataFrame(record["cost"]).sort_values("seconds_per_1000", ignore_index=True)
    y = np.arange(len(bills))
    figure, axes = plt.subplots(1, 3, figsize=(10, 1.2 + 0.26 * len(bills)), sharey=True, layout="constrained")
    columns = {
        "seconds_per_1000": "seconds per 1,000 pairs",
        "memory_mb": "memory, MB, loaded to peak",
        "disk_mb": "on disk, MB",
    }
    for ax, (column, label) in zip(axes, columns.items(), strict=True):
        clean_axes(ax)
        ax.plot(bills[column], y, "o", color=COLOURS[2])
        ax.set_xlabel(label)
        ax.grid(axis="y", color="#EEEEEE")
        ax.set_axisbelow(True)
    axes[0].set_xlim(left=0)
    axes[1].hlines(y, bills["loaded_mb"], bills["memory_mb"], color=COLOURS[2])
    axes[1].plot(bills["loaded_mb"], y, "|", color=COLOURS[2])
    axes[2].set_xscale("log")
    axes[0].set_yticks(y, [_name(record, bill) for _, bill in bills.iterrows()])
    axes[0].invert_yaxis()
    return axes


def _with_interval(ax: Axes, x: Any, points: pd.DataFrame, **style: Any) -> None:
    """Means with their 95 % intervals, which are nan, and not drawn, for one seed."""
    mean, low, high = (points[name].to_numpy(float) for name in ("accuracy", "low", "high"))
    ax.errorbar(x, mean, yerr=[mean - low, high - mean], markersize=5, capsize=2, **style)


def _apart(values: np.ndarray, gap: float) -> np.ndarray:
    """Increasing values moved as little as need be for each to be a gap above the one before (least squares)."""
    from sklearn.isotonic import isotonic_regression

    steps = gap * np.arange(len(values))
    return isotonic_regression(values - steps) + steps


def _name(record: dict[str, Any], row: pd.Series) -> str:
    return row["strategy"] if len(record["run"]["models"]) == 1 else f"{row['model']} {row['strategy']}"


def learning_curve(history: Sequence[Mapping[str, float]], ax: Axes | None = None) -> Axes:
    """Loss against steps: of the training batches, and of the validation data after each epoch, the least marked.

    history: as `finetuning.train` returns it; a training loss is the mean since the one before. The curves differ by
    more than overfitting: label smoothing, class weights, L1 and dropout are in the training loss only.
    """
    table = pd.DataFrame(list(history)).sort_values("step")
    ax = clean_axes(ax)
    ax.plot(table["step"], table["loss"], color=GREY, linewidth=1, label="training")
    if "validation_loss" in table:
        seen = table.dropna(subset="validation_loss")
        ax.plot(seen["step"], seen["validation_loss"], "--s", color=COLOURS[2], markersize=4, label="validation")
        best = seen.loc[seen["validation_loss"].idxmin()]
        label = f"least, {best['validation_loss']:.3f}, after epoch {best['epoch']:.0f}"
        ax.plot(best["step"], best["validation_loss"], "*", color=COLOURS[5], markersize=13, label=label)
    ax.set(xlabel="step", ylabel="loss")
    ax.legend(frameon=False)
    return ax


def rate_finder(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Loss against the rising learning rate, and the rate that `search.suggest` reads off it, or why it reads none.

    table: as `search.find_learning_rate` returns it. Losses above twice the first are out of the picture.
    """
    ax = clean_axes(ax)
    ax.plot(table["learning_rate"], table["loss"], ".", color=GREY, label="batches")
    ax.plot(table["learning_rate"], table["smoothed"], color=COLOURS[2], label="smoothed")
    try:
        rate = suggest(table)
        ax.axvline(rate, linestyle="--", color=COLOURS[5], label=f"suggested: {rate:.1e}")
    except InputError as error:
        ax.set_title(str(error), fontsize=9, loc="left")
    ax.set(xscale="log", xlabel="learning rate", ylabel="training loss", ylim=(0, 2 * table["loss"].iloc[0]))
    ax.legend(frameon=False)
    return ax
