"""The studies by name: which corpus, which crowd, which scales, which recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cift import crowds, selection
from cift.corpora import load_corpus
from cift.errors import InputError
from cift.irt import ItemBank, calibrate
from cift.recipe import Recipe

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class HeldOut:
    """A scale and what may be learnt before a model is measured on it.

    bank: the scale. items: its items. supplement: the crowd's items to fine-tune on, none of them on the
    scale, balanced by gold label where a whole group is left out. people: items whose crowd distribution is
    compared with the model's, none in the supplement.
    """

    bank: ItemBank
    items: Dataset
    supplement: Dataset
    people: Dataset


@dataclass(frozen=True)
class Study:
    """Everything that a case study needs, as plain tables.

    base: pairs for base training. pool: further pairs that the random control draws from. test: the
    corpus's test set. distributions: the crowd's label distribution of every crowd item.
    """

    name: str
    population: str  # who stands behind the scales, in words
    base: Dataset
    pool: Dataset
    test: Dataset
    held_out: Mapping[str, HeldOut]
    distributions: pd.DataFrame
    base_recipe: Recipe
    recipe: Recipe


def embedded() -> Study:
    """Scenes and probes, all embedded: six groups of probes with simulated respondents."""
    train = load_corpus("scenes", "train")
    return Study(
        name="embedded",
        population="1,000 simulated respondents per stratum",
        base=train.select(range(11_000)),
        pool=train.select(range(11_000, len(train))),
        test=load_corpus("scenes", "test"),
        held_out=_leave_group_out(load_corpus("probes"), *_scales(crowds.load_crowd("probes"), {}, " (simulated)")),
        distributions=_distributions(crowds.load_crowd("probes")),
        base_recipe=Recipe(epochs=2, learning_rate=1.5e-4, warmup=0.1),
        recipe=Recipe(epochs=3, learning_rate=1e-4, batch_size=16, strategy="frozen", options={"trainable_layers": 2}),
    )


def lalor2016(train_pairs: int = 18_000) -> Study:
    """The published study's crowd: about 980 people on 180 SNLI pairs; needs the SNLI zip for the sentences.

    The four scales whose kept items were published are kept so; of the other two groups those items stay
    that discriminate, and 4GS-E, not scalable in the publication, is learnt from but not measured on.
    """
    crowd = crowds.load_crowd("lalor2016")
    full = load_corpus("snli-full", "train")
    chosen = np.random.default_rng(0).permutation(len(full))
    banks, groups = _scales(crowd, selection.PUBLISHED_DROPS, "")
    banks.pop("4GS-E", None)
    return Study(
        name="lalor2016",
        population="983 (G5) and 976 (G4) people of Lalor et al. 2016",
        base=full.select(chosen[:train_pairs]),
        pool=full.select(chosen[train_pairs : train_pairs + 2_000]),
        test=load_corpus("snli", "test"),
        held_out=_leave_group_out(load_corpus("lalor2016"), banks, groups),
        distributions=_distributions(crowd),
        base_recipe=Recipe(epochs=2, learning_rate=5e-5),
        recipe=Recipe(epochs=3, learning_rate=3e-5),
    )


def chaosnli(scale_items: int = 300) -> Study:
    """Real sentences and real people: ChaosNLI's 100 labels an item; ability among 90 model checkpoints.

    Half of ChaosNLI-SNLI, drawn at random by premise, is learnt from; the other half is kept to compare with
    people. The scale is a 2PL on SNLI test items that between 10 % and 90 % of the checkpoints of `model-crowd`
    get right. They are 18 models at five stages of training each, so 0 on this scale is a half-trained model, and
    the rows are not independent, which makes the items' standard errors too small.
    """
    chaos = load_corpus("chaosnli")
    premises = np.array(chaos["premise"])
    learnt = np.isin(premises, np.random.default_rng(0).permutation(np.unique(premises))[: len(set(premises)) // 2])
    distributions = chaos.select_columns(["item_id", "p_entailment", "p_neutral", "p_contradiction", "n_responses"])
    distributions = distributions.to_pandas().set_index("item_id")
    distributions.columns = distributions.columns.str.removeprefix("p_")
    test = load_corpus("snli", "test")
    checkpoints = crowds.load_model_crowd()
    share = checkpoints.mean()
    band = share.index[share.between(0.1, 0.9)]
    chosen = np.sort(np.random.default_rng(0).choice(len(band), scale_items, replace=False))
    # 90 rows are too few to fix each slope without a prior
    bank = calibrate(checkpoints[band[chosen]], "SNLI test among 90 checkpoints", method="map")
    return Study(
        name="chaosnli",
        population="90 checkpoints of 18 models",
        base=load_corpus("snli", "train"),
        pool=load_corpus("snli", "train_extra"),
        test=test,
        held_out={
            "model-crowd": HeldOut(
                bank=bank,
                items=_pick(test, bank.items["item_id"]),
                supplement=chaos.select(np.flatnonzero(learnt)),
                people=chaos.select(np.flatnonzero(~learnt)),
            )
        },
        distributions=distributions,
        base_recipe=Recipe(epochs=2, learning_rate=5e-5),
        recipe=Recipe(epochs=3, learning_rate=3e-5),
    )


STUDIES: dict[str, Callable[[], Study]] = {"embedded": embedded, "lalor2016": lalor2016, "chaosnli": chaosnli}


def load_study(name: str) -> Study:
    """A study by name. Raises InputError for an unknown one."""
    if name not in STUDIES:
        raise InputError(f"study {name!r}: unknown; choose from {', '.join(STUDIES)}")
    return STUDIES[name]()


def _pick(corpus: Dataset, item_ids: pd.Series | list[str]) -> Dataset:
    position = {item: i for i, item in enumerate(corpus["item_id"])}
    return corpus.select([position[item] for item in item_ids])


def _distributions(crowd: Mapping[str, crowds.Stratum]) -> pd.DataFrame:
    return pd.concat([crowds.label_distributions(stratum.responses) for stratum in crowd.values()])


def _scales(
    crowd: Mapping[str, crowds.Stratum], published: Mapping[str, tuple[int, ...]], suffix: str
) -> tuple[dict[str, ItemBank], dict[str, list[str]]]:
    """The bank of each group and the items it keeps: the published list, else those that discriminate."""
    banks, kept = {}, {}
    for name, stratum in crowd.items():
        scored = crowds.score(stratum.responses, stratum.gold)
        for group, items in crowds.groups(stratum.gold, name).items():
            if group in published:
                kept[group] = selection.drop_positions(items, published[group])
            else:
                kept[group] = selection.discriminating(calibrate(scored[items], group))
            banks[group] = calibrate(scored[kept[group]], group + suffix)
    return banks, kept


def _leave_group_out(
    items: Dataset, banks: Mapping[str, ItemBank], groups: Mapping[str, list[str]]
) -> dict[str, HeldOut]:
    return {
        group: HeldOut(
            bank=bank,
            items=_pick(items, bank.items["item_id"]),
            supplement=selection.balance(_pick(items, selection.leave_one_out(groups, group))),
            people=_pick(items, bank.items["item_id"]),
        )
        for group, bank in banks.items()
    }
