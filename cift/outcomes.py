"""What is measured of a model in a study: one flat dict a held-out scale.

The metrics by their names in tables and figures, and which direction is better.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd

from cift import evaluation, reliability
from cift.ability import place
from cift.irt import ItemBank


class Metric(NamedTuple):
    """What a column is called in words, and whether more of it is better (+1) or less (-1)."""

    words: str
    better: int


METRICS = {
    "theta": Metric("ability θ", 1),
    "accuracy": Metric("held-out accuracy", 1),
    "hard_accuracy": Metric("accuracy on hard items", 1),
    "jsd": Metric("distance to people", -1),
    "test_accuracy": Metric("test accuracy", 1),
    "test_f1": Metric("test macro-F1", 1),
    "test_log_loss": Metric("test log-loss", -1),
    "test_ece": Metric("test ECE", -1),
    "base_accuracy": Metric("base task accuracy", 1),
}
MAIN = ("theta", "accuracy", "test_accuracy", "jsd")  # of the small table and figure


def on_scale(
    predictions: pd.DataFrame, bank: ItemBank, people: pd.DataFrame, distributions: pd.DataFrame
) -> dict[str, Any]:
    """theta, theta_se, percentile, at_ceiling, accuracy, n_items, hard_accuracy, jsd.

    hard_accuracy: on the items above the scale's median difficulty. jsd: the mean Jensen-Shannon distance
    (`evaluation.distance_to_people`) to the crowd on `people`, predictions on other items.
    """
    found = place(predictions, bank).iloc[0]
    items = bank.items
    hard = predictions["item_id"].isin(items.loc[items["b"] > items["b"].median(), "item_id"])
    return {
        "theta": float(found["theta"]),
        "theta_se": float(found["theta_se"]),
        "percentile": float(found["percentile"]),
        "at_ceiling": bool(found["at_ceiling"]),
        "accuracy": evaluation.accuracy(predictions),
        "n_items": len(predictions),
        "hard_accuracy": evaluation.accuracy(predictions[hard]),
        "jsd": evaluation.distance_to_people(people, distributions),
    }


def on_test(predictions: pd.DataFrame, base: pd.DataFrame | None, parts: Iterable[str] | None) -> dict[str, Any]:
    """test_accuracy, test_f1 (macro), test_log_loss, test_ece, n_test, and base_accuracy.

    base: predictions on pairs of the base task; None: the test is of it. parts: of each test pair the part of the test
    set that it belongs to, if it has parts: adds test_accuracy of each, as "test_accuracy: PART".
    """
    found = {
        "test_accuracy": evaluation.accuracy(predictions),
        "test_f1": evaluation.f1(predictions),
        "test_log_loss": evaluation.log_loss(predictions),
        "test_ece": reliability.ece(predictions),
        "n_test": len(predictions),
        "base_accuracy": evaluation.accuracy(predictions if base is None else base),
    }
    if parts is not None:
        for part, its in predictions.groupby(list(parts)):
            found[f"test_accuracy: {part}"] = evaluation.accuracy(its)
    return found
