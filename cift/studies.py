"""The studies by name: which corpus, which crowd, which scales, which recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cift import crowds, selection
from cift.corpora import load_corpus, prefixed
from cift.errors import InputError
from cift.irt import ItemBank, calibrate
from cift.public import TWO_WAY
from cift.recipe import Recipe
from cift.splits import folds

if TYPE_CHECKING:
    from datasets import Dataset

BASE = 14_000  # pairs of SNLI to train base models on
BASE_RECIPE = Recipe(epochs=2, learning_rate=5e-5)
# Of the few items of a lesson two layers learn as much as all (notebook 06), in a third of the time
LESSON = Recipe(learning_rate=1e-4, batch_size=16, strategy="frozen", options={"trainable_layers": 2})
BASE_TEST = 2_000  # pairs that tell what a model has forgotten of its base task, where that is not the test


@dataclass(frozen=True)
class HeldOut:
    """A scale and what may be learnt before a model is measured on it.

    bank: the scale. items: its items. supplement: the crowd's items to fine-tune on, none of them on the scale.
    people: items whose crowd distribution is compared with the model's, none in the supplement. banks: scales of the
    supplement's items, for arms that select by them; an item that is on none is not selected.
    """

    bank: ItemBank
    items: Dataset
    supplement: Dataset
    people: Dataset
    banks: Sequence[ItemBank] = ()


@dataclass(frozen=True)
class Study:
    """Everything that a case study needs, as plain tables. All corpora have the same labels.

    base: pairs for base training. validation: pairs by which learning rates and epochs are chosen, in no scale and no
    test. pool: further pairs of the base corpus, which the random control draws from. other: pairs of an independent
    corpus (None: there is none, and no such control). test: the large test set; a column `part` names its parts.
    base_test: pairs of the base task, if the test is of another: what is forgotten shows on them. distributions: the
    crowd's label distribution of every crowd item. recipe: of the fine-tunings, whose loss comes from the arm, learning
    rate (near this one) and epochs from the search. balanced: whether items of rarer gold labels are repeated
    (`selection.balance`), as is needed where a whole group of one label is left out.
    """

    name: str
    population: str  # who stands behind the scales, in words
    base: Dataset
    validation: Dataset
    pool: Dataset
    test: Dataset
    held_out: Mapping[str, HeldOut]
    distributions: pd.DataFrame
    base_recipe: Recipe
    recipe: Recipe
    other: Dataset | None = None
    base_test: Dataset | None = None
    balanced: bool = False


def embedded() -> Study:
    """Scenes and probes, all embedded: six groups of probes with simulated respondents."""
    train = load_corpus("scenes", "train")
    return Study(
        name="embedded",
        population="1,000 simulated respondents per stratum",
        base=train.select(range(11_000)),
        validation=load_corpus("scenes", "validation"),
        pool=train.select(range(11_000, len(train))),
        test=load_corpus("scenes", "test"),
        held_out=_leave_group_out(load_corpus("probes"), *_scales(crowds.load_crowd("probes"), {}, " (simulated)")),
        distributions=_distributions(crowds.load_crowd("probes")),
        base_recipe=Recipe(epochs=2, learning_rate=1.5e-4, warmup=0.1),
        recipe=LESSON,
        balanced=True,
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
        validation=load_corpus("snli", "validation"),
        pool=full.select(chosen[train_pairs : train_pairs + 2_000]),
        other=load_corpus("sick", "train"),
        test=load_corpus("snli", "test"),
        held_out=_leave_group_out(load_corpus("lalor2016"), banks, groups),
        distributions=_distributions(crowd),
        base_recipe=BASE_RECIPE,
        recipe=LESSON,
        balanced=True,
    )


def chaosnli(scale_items: int = 300) -> Study:
    """Real sentences and real people: ChaosNLI's 100 labels an item; ability among 90 model checkpoints.

    Half of ChaosNLI-SNLI, drawn at random by premise, is learnt from; the other half is kept to compare with
    people. The scale is a 2PL on SNLI test items that between 10 % and 90 % of the checkpoints of `model-crowd`
    get right. They are 18 models at five stages of training each, so 0 on this scale is a half-trained model, and
    the rows are not independent, which makes the items' standard errors too small. The items that are learnt from are
    on no scale, so no arm selects by their parameters. Validation pairs are those of SNLI dev without ChaosNLI's
    premises.
    """
    chaos = load_corpus("chaosnli")
    premises = np.array(chaos["premise"])
    learnt = np.isin(premises, np.random.default_rng(0).permutation(np.unique(premises))[: len(set(premises)) // 2])
    distributions = chaos.select_columns(["item_id", "p_entailment", "p_neutral", "p_contradiction", "n_responses"])
    distributions = distributions.to_pandas().set_index("item_id")
    distributions.columns = distributions.columns.str.removeprefix("p_")
    test, validation = load_corpus("snli", "test"), load_corpus("snli", "validation")
    checkpoints = crowds.load_model_crowd()
    share = checkpoints.mean()
    band = share.index[share.between(0.1, 0.9)]
    chosen = np.sort(np.random.default_rng(0).choice(len(band), scale_items, replace=False))
    # 90 rows are too few to fix each slope without a prior
    bank = calibrate(checkpoints[band[chosen]], "SNLI test among 90 checkpoints", method="map")
    base, pool = _snli()
    return Study(
        name="chaosnli",
        population="90 checkpoints of 18 models",
        base=base,
        validation=validation.select(np.flatnonzero(~np.isin(validation["premise"], premises))),
        pool=pool,
        other=load_corpus("sick", "train"),
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
        base_recipe=BASE_RECIPE,
        recipe=LESSON,
    )


def snow_rte(k: int = 5) -> Study:
    """Real pairs and real people: RTE-1's 800 test pairs, each answered by 10 of 164 workers (Snow et al. 2008).

    Two labels. k folds by premise: what the workers answered to one fold is the scale, the others are learnt from, and
    a scale of them is what arms select by. A worker answered 20 to 800 items, so the scales are sparse and their items'
    parameters have priors ("map"). Base corpus is SNLI, with neutral and contradiction taken together; the test set is
    RTE-2's and RTE-3's, longer pairs of news. RTE-1's development pairs are the validation pairs.
    """
    from datasets import concatenate_datasets

    crowd = crowds.load_crowd("snow2008")["RTE-1"]
    scored, items = crowds.score(crowd.responses, crowd.gold), load_corpus("snow2008")
    meanings = {"entailment": "entailment", "neutral": "not_entailment", "contradiction": "not_entailment"}
    held_out = {}
    for number, (others, fold) in enumerate(folds(items, k), 1):
        bank = calibrate(scored[fold["item_id"][:]], f"RTE-1, fold {number}", method="map")
        rest = calibrate(scored[others["item_id"][:]], f"RTE-1 without fold {number}", method="map")
        measured = _pick(fold, bank.items["item_id"])
        held_out[f"fold {number}"] = HeldOut(bank, measured, others, measured, [rest])
    base, pool = _snli(meanings)
    years = [load_corpus("rte", f"rte{year}_test") for year in (2, 3)]
    return Study(
        name="snow-rte",
        population="164 workers of Snow et al. 2008",
        base=base,
        validation=load_corpus("rte", "rte1_dev"),
        pool=pool,
        other=prefixed(load_corpus("sick", "train", labels=meanings), "sick"),  # RTE-1's items have numbers, too
        test=concatenate_datasets([test.rename_column("challenge", "part") for test in years]),
        base_test=load_corpus("snli", "test", labels=meanings).select(range(BASE_TEST)),
        held_out=held_out,
        distributions=crowds.label_distributions(crowd.responses, TWO_WAY),
        base_recipe=BASE_RECIPE,
        recipe=LESSON,
    )


STUDIES: dict[str, Callable[[], Study]] = {
    "embedded": embedded,
    "lalor2016": lalor2016,
    "chaosnli": chaosnli,
    "snow-rte": snow_rte,
}


def load_study(name: str) -> Study:
    """A study by name, or the user's own by the path of its TOML file (`cift.own_study`).

    Raises InputError for an unknown name, and for a file that does not hold a study.
    """
    if name in STUDIES:
        return STUDIES[name]()
    if name.endswith(".toml"):
        from cift.own_study import read_study

        return read_study(name)
    raise InputError(f"study {name!r}: unknown; choose from {', '.join(STUDIES)}, or give your own as a .toml file")


def _snli(meanings: Mapping[str, str] | None = None) -> tuple[Dataset, Dataset]:
    """20,000 pairs of SNLI as base and pool; a pool five times as large as a supplemental set has its label counts."""
    from datasets import concatenate_datasets

    train, extra = (load_corpus("snli", split, labels=meanings) for split in ("train", "train_extra"))
    return train.select(range(BASE)), concatenate_datasets([train.select(range(BASE, len(train))), extra])


def _pick(corpus: Dataset, item_ids: Iterable[str]) -> Dataset:
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
    held_out = {}
    for group, bank in banks.items():
        measured = _pick(items, bank.items["item_id"])
        supplement = _pick(items, selection.leave_one_out(groups, group))
        others = [other for name, other in banks.items() if name != group]
        held_out[group] = HeldOut(bank, measured, supplement, measured, others)
    return held_out
