"""What a study's record says, as tables: where each arm stands, and what it gains on others, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cift.arms import ARMS, BASELINE, CONTROL
from cift.evaluation import paired_difference
from cift.outcomes import MAIN, METRICS


def headline(record: dict[str, Any]) -> str:
    """What a record is of, in two lines: study, model, seeds, people; time, memory, machine."""
    run, machine = record["run"], record["run"]["machine"]
    base = "from the cache" if run["base"]["cached"] else f"trained in {run['base']['seconds']:.0f} s"
    memory = f", {run['peak_memory_mb'] / 1024:.1f} GB a process at most" if run["peak_memory_mb"] else ""
    return (
        f"Study {record['study']}: {run['model']}, seeds {run['seeds'][0]} to {run['seeds'][-1]}; "
        f"ability among {run['population']}\n"
        f"{run['seconds']:.0f} s{memory}, on {machine['name']} "
        f"({machine['device']}, {machine['threads']} threads, {'bf16' if machine['bf16'] else 'float32'}); "
        f"base model {base}, {run['cells_from_ledger']} of {len(record['results']['arm'])} cells from the ledger"
    )


def arms_of(results: pd.DataFrame) -> list[str]:
    """The arms that results hold, in the protocol's order."""
    return [arm for arm in ARMS if arm in set(results["arm"])]


def abilities(record: dict[str, Any]) -> pd.DataFrame:
    """A row a held-out scale, a column an arm: theta ± its standard error and percentile (P80), means over seeds."""
    results = pd.DataFrame(record["results"])
    mean = results.groupby(["held_out", "arm"])[["theta", "theta_se", "percentile"]].mean()
    cells = [f"{c.theta:+.2f} ± {c.theta_se:.2f}  P{c.percentile:.0f}" for c in mean.itertuples()]
    table = pd.Series(cells, mean.index).unstack("arm")
    return table.loc[results["held_out"].unique(), arms_of(results)].rename_axis(index=None, columns=None)


def means(record: dict[str, Any]) -> pd.DataFrame:
    """A row an arm: n_train and every metric, means over held-out scales and seeds."""
    results = pd.DataFrame(record["results"])
    table = results.groupby("arm")[["n_train", *METRICS]].mean().loc[arms_of(results)]
    words = {name: metric.words for name, metric in METRICS.items()}
    return table.rename(columns=words | {"n_train": "pairs learnt"}).rename_axis(None)


def differences(
    record: dict[str, Any], baseline: str, metrics: Sequence[str] = MAIN, over: str = "seed"
) -> pd.DataFrame:
    """A row an arm and metric: what the arm gains on the baseline arm, paired, with its 95 % interval and p.

    Columns arm, metric, and those of `evaluation.paired_difference`, over seeds or held-out scales.
    """
    results = pd.DataFrame(record["results"])
    rows = [
        {"arm": arm, "metric": metric} | paired_difference(results, arm, baseline, metric, over)
        for arm in arms_of(results)
        for metric in metrics
        if arm != baseline
    ]
    return pd.DataFrame(rows)


def summary(record: dict[str, Any]) -> pd.DataFrame:
    """One readable table of a record, a row an arm: `MAIN` metrics, and what it gains on no fine-tuning and on random.

    Gains have a 95 % interval over seeds (none for one seed).
    """
    results = pd.DataFrame(record["results"])
    table = means(record)
    table = table[["pairs learnt", *(METRICS[name].words for name in MAIN)]].map(lambda value: f"{value:.3f}")
    table["pairs learnt"] = means(record)["pairs learnt"].map("{:.0f}".format)
    for words, other in (("on no fine-tuning", BASELINE), ("on random items", CONTROL)):
        if other in table.index:
            for metric in ("theta", "jsd"):
                gains = [
                    "" if arm == other else in_words(paired_difference(results, arm, other, metric))
                    for arm in table.index
                ]
                table[f"{METRICS[metric].words}, {words}"] = gains
    return table


def in_words(found: dict[str, float]) -> str:
    """A paired difference with its interval, if it has one: "+0.12 [+0.02, +0.22]"."""
    interval = "" if np.isnan(found["low"]) else f" [{found['low']:+.3f}, {found['high']:+.3f}]"
    return f"{found['difference']:+.3f}{interval}"
