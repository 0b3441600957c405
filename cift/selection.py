"""Which items become the supplemental set that a model is fine-tuned on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cift.errors import InputError
from cift.irt import ItemBank

if TYPE_CHECKING:
    from datasets import Dataset

# Items of lalor2016 that the published study dropped for low communality, misfit or local dependence
# (Lalor, Wu & Yu 2016, D16-1062), as positions within a group in file order. 4GS-E was not scalable;
# of 4GS-C about 20 items were kept, but the list was never published.
PUBLISHED_DROPS: dict[str, tuple[int, ...]] = {
    "5GS-E": (1, 22),
    "5GS-N": (3, 7),
    "5GS-C": (9, 10, 11, 14, 19, 20, 22, 26, 28, 30),
    "4GS-N": (17, 23),
}


def drop_positions(item_ids: Sequence[str], positions: Sequence[int]) -> list[str]:
    """The items whose 1-based positions are not listed, in order."""
    return [item for position, item in enumerate(item_ids, 1) if position not in positions]


def discriminating(bank: ItemBank) -> list[str]:
    """Items that separate the able from the less able: the 95 % interval of `a` lies above zero."""
    items = bank.items
    return list(items.loc[items["a"] - 1.96 * items["a_se"] > 0, "item_id"])


def leave_one_out(groups: Mapping[str, Sequence[str]], held_out: str) -> list[str]:
    """Items of all groups but the held-out one: what a model may learn from before it is measured on that.

    Raises InputError for an unknown group.
    """
    if held_out not in groups:
        raise InputError(f"group {held_out!r}: unknown; choose from {', '.join(groups)}")
    return [item for name, items in groups.items() if name != held_out for item in items]


def balance(corpus: Dataset) -> Dataset:
    """The corpus with items of rarer gold labels repeated, in order, until every label is as frequent as the first.

    A scale's items share one gold label. Left out, they leave that label half as frequent as the others, and a model
    that learns the rest mostly learns to avoid the very label that it is measured on.
    """
    labels = np.array(corpus["label"])
    by_label = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    most = max(map(len, by_label))
    return corpus.select(np.concatenate([np.resize(items, most) for items in by_label]))
