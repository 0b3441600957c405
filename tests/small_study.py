"""A study that runs in seconds, for tests of the protocol, in this process or another."""

import numpy as np
import pandas as pd

from cift import arms, outcomes
from cift.corpora import LABELS, to_dataset
from cift.irt import ItemBank
from cift.recipe import Recipe
from cift.studies import HeldOut, Study

SCALES, SEEDS = ("5GS-E", "5GS-N", "5GS-C"), (0, 1, 2)


def _record():
    """A record of all arms: a metric is the arm's place in the protocol / 10 + the numbers of scale and seed / 100."""
    rows = []
    for k, arm in enumerate(arms.ARMS):
        for i, held_out in enumerate(SCALES):
            for seed in SEEDS:
                value = k / 10 + (i + seed * (k > 0)) / 100
                row = {"arm": arm, "held_out": held_out, "seed": seed, "n_train": 10 * k, "theta_se": 0.4}
                row |= {"n_items": 30, "n_test": 2000, "id": f"{arm} {held_out} {seed if k else 0}"}
                rows.append(row | {"percentile": 50.0 + k} | dict.fromkeys(outcomes.METRICS, value))
    run = {
        "model": "m", "seeds": list(SEEDS), "population": "nobody", "seconds": 1.0, "peak_memory_mb": 1,
        "cells_from_ledger": 0, "base": {"cached": True, "seconds": 1.0}, "left_out": {"SICK items": "no such corpus"},
        "crowd": {"items": 180, "gold_is_majority": 160},
        "machine": {"name": "cpu", "device": "cpu", "threads": 1, "bf16": False},
    }  # fmt: skip
    return {"study": "tiny", "run": run, "search": {}, "results": pd.DataFrame(rows).to_dict("list")}


RECORD = _record()


def learnable_pairs():
    """A corpus of 48 pairs whose label can be read off the hypothesis, so that a small model can learn it."""
    words = {"entailment": "yes indeed it does", "neutral": "maybe", "contradiction": "no way this is true at all"}
    rows = [
        {"item_id": f"pair-{i}", "premise": f"The {animal} sleeps.", "hypothesis": words[label], "label": label}
        for i, (animal, label) in enumerate(
            (animal, label)
            for animal in "cat dog cow pig hen fox bee ant owl elk emu ape eel ewe yak bat".split()
            for label in LABELS
        )
    ]
    return to_dataset(pd.DataFrame(rows))


def small_study():
    """Two held-out scales of 12 pairs, each learnt from the other; items of known parameters."""
    pairs = learnable_pairs()

    def bank(items):
        table = pd.DataFrame({"item_id": items["item_id"], "a": 1.0, "b": np.linspace(-1, 1, 12), "c": 0.0, "d": 1.0})
        return ItemBank(table, pd.DataFrame({"theta": [0.0], "theta_se": [1.0]}), {"scale": "tiny"})

    first, second = pairs.select(range(12)), pairs.select(range(12, 24))
    distributions = pd.DataFrame(
        [[0.6, 0.3, 0.1]] * len(pairs), index=pairs["item_id"], columns=["entailment", "neutral", "contradiction"]
    )
    return Study(
        name="tiny",
        population="nobody",
        base=pairs.select(range(24, 36)),
        validation=pairs.select(range(36, 48)),
        pool=pairs.select(range(36, 48)),
        test=pairs.select(range(24, 48)),
        held_out={
            "first": HeldOut(bank(first), first, second, first, [bank(second)]),
            "second": HeldOut(bank(second), second, first, second, [bank(first)]),
        },
        distributions=distributions,
        base_recipe=Recipe(epochs=2, batch_size=8, learning_rate=1e-3),
        recipe=Recipe(epochs=2, batch_size=4, learning_rate=1e-3, strategy="frozen", options={"trainable_layers": 1}),
    )
