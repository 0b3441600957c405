"""What a comparison of strategies (`cift.comparison`) found, read off its record."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from scipy.stats import t

from cift.comparison import FACTORS, best_rates

BASELINE = "full"  # what the other strategies are compared with


def accuracies(record: dict[str, Any]) -> pd.DataFrame:
    """A row for each model, strategy and size that has results: how it did, and how much better than `BASELINE`.

    Columns: model, strategy, size, seeds (finished), accuracy with its 95 % interval low and high; paired_seeds (that
    both have finished), difference, difference_low, difference_high. Intervals are Student's t over seeds, nan for one
    seed: they speak of the randomness of training pairs, head and order, for these test pairs. Differences are
    taken within a seed, which means on the same training pairs.
    """
    columns = ["model", "strategy", "size", "seed", "accuracy"]
    results = pd.DataFrame(record["results"], columns=columns)
    ours = results.set_index(["model", "size", "seed"])
    theirs = ours.loc[ours["strategy"] == BASELINE, "accuracy"].reindex(ours.index).to_numpy()
    results["change"] = (results["accuracy"] - theirs).where(results["strategy"] != BASELINE)
    rows = []
    for way, found in results.groupby(["model", "strategy", "size"], sort=False):
        change = found["change"].dropna()
        rows.append((*way, len(found), *_over_seeds(found["accuracy"]), len(change), *_over_seeds(change)))
    return pd.DataFrame(
        rows,
        columns=[
            "model",
            "strategy",
            "size",
            "seeds",
            "accuracy",
            "low",
            "high",
            "paired_seeds",
            "difference",
            "difference_low",
            "difference_high",
        ],
    )


def _over_seeds(values: pd.Series) -> tuple[float, float, float]:
    """Mean and 95 % interval (Student's t)."""
    n = len(values)
    half = t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n) if n > 1 else math.nan
    return values.mean(), values.mean() - half, values.mean() + half


def headline(record: dict[str, Any]) -> str:
    """What a record is of: data, seeds, time, machine; how its learning rates came about, and what is missing."""
    run, machine = record["run"], record["run"]["machine"]
    rates = best_rates(record["search"])
    own = {(way["model"], way["strategy"]): way["learning_rate"] for way in record["ways"]}
    inner = sum(math.isclose(rate, own[model, strategy]) for (model, strategy, _), rate in rates.items())
    lines = [
        f"{record['comparison']}: {len(record['ways'])} ways to fine-tune, seeds {run['seeds'][0]} to "
        f"{run['seeds'][-1]}, {run['pairs']['test']} test pairs; commonest label {run['commonest_label']:.3f}",
        f"learning rates: the best of {len(FACTORS)} on {run['pairs']['validation']} validation pairs; the "
        f"lowest or highest in {len(rates) - inner} of {len(rates)} searches, where a wider search might do better",
        f"{run['seconds']:.0f} s this time, on {machine['name']} ({machine['device']}, {machine['threads']} threads, "
        f"{'bf16' if machine['bf16'] else 'float32'})",
    ]
    if diverged := sum(cell["diverged"] for cell in record["results"]):
        lines.append(f"diverged, and counted as no right answer: {diverged} of {len(record['results'])} results")
    lines += [f"left out: {way['strategy']} on {way['model']}: {way['why']}" for way in run["left_out"]]
    if any(run["missing"].values()):
        missing = ", ".join(f"{count} of {name}" for name, count in run["missing"].items() if count)
        lines.append(f"not finished: {missing} are missing; the same command goes on from here")
    return "\n".join(lines)


def summary(record: dict[str, Any]) -> pd.DataFrame:
    """A readable table: a row a way; one for reading the hypothesis alone; then each way's differences from `BASELINE`.

    Columns: trainable parameters; for each size test accuracy, or the paired difference, with its 95 % interval over
    seeds; seconds to train 1,000 pairs, peak memory and size on disk.
    """
    sizes = record["run"]["sizes"]
    found = accuracies(record).set_index(["model", "strategy", "size"])
    bills = {(bill["model"], bill["strategy"]): bill for bill in record["cost"]}
    several = len(record["run"]["models"]) > 1
    rows: dict[str, dict[str, str]] = {}
    changes: dict[str, dict[str, str]] = {}
    for way in record["ways"]:
        key = way["model"], way["strategy"]
        name = " ".join(key) if several else way["strategy"]
        cells = {f"{size} pairs": found.loc[(*key, size)] for size in sizes if (*key, size) in found.index}
        row = {column: _in_words(cell, "accuracy", "low", "high") for column, cell in cells.items()}
        if bill := bills.get(key):
            row |= {"s / 1,000 pairs": f"{bill['seconds_per_1000']:.1f}", "peak MB": f"{bill['memory_mb']:,.0f}"}
            row["disk MB"] = f"{bill['disk_mb']:.1f}"
        rows[name] = row | {"trainable": f"{way['trainable']:,}"}
        changes[f"{name}, less {BASELINE}"] = {
            column: _in_words(cell, "difference", "difference_low", "difference_high", sign="+")
            for column, cell in cells.items()
            if cell["paired_seeds"]
        }
    read = pd.DataFrame(record["baseline"]).groupby("size")["accuracy"].mean()
    rows["hypothesis alone, no encoder"] = {f"{size} pairs": f"{read[size]:.3f}" for size in sizes}
    rows |= {name: change for name, change in changes.items() if change}
    columns = ["trainable", *(f"{size} pairs" for size in sizes), "s / 1,000 pairs", "peak MB", "disk MB"]
    return pd.DataFrame(list(rows.values()), index=list(rows), columns=columns).fillna("")


def _in_words(cell: pd.Series, mean: str, low: str, high: str, sign: str = "") -> str:
    interval = "" if math.isnan(cell[low]) else f" [{cell[low]:{sign}.3f}, {cell[high]:{sign}.3f}]"
    return f"{cell[mean]:{sign}.3f}{interval}"
