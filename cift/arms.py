"""The arms of a study: which items a model learns from, by what labels, with what loss.

Every arm is one row of `ARMS`. Crowd-Informed Fine-Tuning has four (one for each kind of label and loss), the others
are its controls and its variations: what a gain must beat, and what the crowd's knowledge of the items is worth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cift.errors import InputError
from cift.irt import PARAMETERS
from cift.losses import one_hot, smooth
from cift.selection import balance, candidates, choose

if TYPE_CHECKING:
    from datasets import Dataset

    from cift.studies import HeldOut, Study

SHARE = 1 / 3  # of the crowd's items that an arm which selects learns from
OWN = "own information"  # of an item, at the ability of the model that is to learn


@dataclass(frozen=True)
class Arm:
    """What a model learns from.

    items: "crowd" (the supplemental set), "pool" (random pairs of the base corpus) or "other" (random pairs of an
    independent corpus), as many of each gold label as the supplemental set has, `times` as many; or "none".
    by: a criterion of `selection.choose`, or `OWN`, by which `n` of the crowd's items are chosen (None: a share `SHARE`
    of them), as many of each gold label; without it all are learnt.
    labels: "gold"; "majority" (the label most people gave; tied ones share it); "crowd" (the share of people who gave
    each label); "smoothed" (gold labels, made as soft as the crowd's are on average, the same for every item).
    loss: of `cift.losses`; None trains nothing; "temperature" only divides the logits by a number, fitted to the labels
    (Guo et al. 2017).
    """

    items: str = "crowd"
    labels: str = "gold"
    loss: str | None = "cce"
    by: str | None = None
    n: int | None = None
    times: int = 1

    @property
    def trains(self) -> bool:
        return self.loss not in (None, "temperature")


BASELINE, CONTROL = "no fine-tuning", "random items"
ARMS = {
    BASELINE: Arm(items="none", loss=None),
    "temperature": Arm(labels="crowd", loss="temperature"),
    CONTROL: Arm(items="pool"),
    "5x random items": Arm(items="pool", times=5),
    "SICK items": Arm(items="other"),
    "CIFT-CCE": Arm(),
    "CIFT-CCE majority": Arm(labels="majority"),
    "CIFT-MSE": Arm(labels="crowd", loss="mse"),
    "CIFT-soft": Arm(labels="crowd", loss="soft-cross-entropy"),
    "label smoothing": Arm(labels="smoothed"),
    "third: random": Arm(by="random"),
    "third: information": Arm(by="information"),
    "third: own information": Arm(by=OWN),
    "third: easy": Arm(by="easy"),
    "third: middle": Arm(by="middle"),
    "third: hard": Arm(by="hard"),
    "third: disputed": Arm(by="entropy"),
    "10 items": Arm(by="random", n=10),
    "30 items": Arm(by="random", n=30),
    "90 items": Arm(by="random", n=90),
}
MAIN = (BASELINE, CONTROL, "CIFT-CCE", "CIFT-MSE", "CIFT-soft")


def tuned_as(name: str) -> str:
    """The arm whose learning rate and epochs an arm takes: the first with its source of items and its loss."""
    arm = ARMS[name]
    return next(other for other, its in ARMS.items() if (its.items, its.loss) == (arm.items, arm.loss))


def lesson(name: str, study: Study, held: HeldOut, seed: int, theta: pd.Series | None = None) -> Dataset | None:
    """The pairs that an arm learns from before it is measured on a held-out scale; None: nothing.

    theta: ability of the model that is to learn, by the name of the scale; only `OWN` asks for it.
    Raises InputError where the study cannot give what the arm asks for.
    """
    arm = ARMS[name]
    if arm.items == "none":
        return None
    if arm.items == "crowd":
        if arm.by is None:
            return balance(held.supplement) if study.balanced else held.supplement
        return _selected(arm, study, held, seed, theta)
    source = study.pool if arm.items == "pool" else study.other
    if source is None:
        raise InputError(f"study {study.name}: it has no independent corpus, which the arm {name!r} learns from")
    like = balance(held.supplement) if study.balanced else held.supplement
    return matched(source, like, arm.times, seed)


def matched(source: Dataset, like: Dataset, times: int, seed: int) -> Dataset:
    """Random pairs of a corpus, `times` as many of each gold label as another corpus has, in the corpus's order.

    Raises InputError where there are not as many.
    """
    rng, labels = np.random.default_rng(seed), np.array(source["label"][:])
    chosen: list[int] = []
    for code, label in enumerate(source.features["label"].names):
        wanted = times * like["label"][:].count(code)
        there = np.flatnonzero(labels == code)
        if len(there) < wanted:
            raise InputError(
                f"pairs to draw from: {len(there)} are labelled {label}, {wanted} are asked for; give more pairs"
            )
        chosen.extend(rng.permutation(there)[:wanted])
    return source.select(sorted(chosen))


def targets(name: str, corpus: Dataset, distributions: pd.DataFrame) -> np.ndarray:
    """Probabilities for the arm's loss to match: (pairs, labels) float32, rows sum to 1.

    distributions: of the crowd's labels, index item_id (`crowds.label_distributions`).
    """
    names = corpus.features["label"].names
    gold = one_hot(corpus["label"][:], len(names))
    how = ARMS[name].labels
    if how == "gold":
        return gold
    shares = distributions.loc[list(corpus["item_id"]), names].to_numpy(np.float32)
    if how == "crowd":
        return shares
    if how == "majority":
        first = np.isclose(shares, shares.max(axis=1, keepdims=True)).astype(np.float32)
        return first / first.sum(axis=1, keepdims=True)
    agreed = float((shares * gold).sum(axis=1).mean())  # what `smooth` leaves to gold: 1 - amount + amount / k
    return smooth(gold, min((1 - agreed) * len(names) / (len(names) - 1), 1.0))


def _selected(arm: Arm, study: Study, held: HeldOut, seed: int, theta: pd.Series | None) -> Dataset:
    """Chosen items of the supplemental set; a share is of the items whose parameters are known."""
    by, banks = arm.by or "random", held.banks
    if by == OWN:
        if theta is None:
            raise InputError("arms: the items' information at a model's own ability needs that ability as theta")
        banks = [
            replace(bank, items=bank.items.assign(b=bank.items["b"] - theta[bank.info["scale"]])) for bank in banks
        ]
        by = "information"
    table, n = candidates(held.supplement, banks, study.distributions), arm.n
    if n is None:
        if banks:
            table = table.dropna(subset=PARAMETERS)
        labels = table["label"].value_counts()
        n = len(labels) * min(int(SHARE * len(table) / len(labels)), int(labels.min()))
    chosen = set(choose(table, n, by, seed=seed).items)
    return held.supplement.select([i for i, item in enumerate(held.supplement["item_id"]) if item in chosen])
