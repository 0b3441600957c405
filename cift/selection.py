"""Which items become the supplemental set that a model is fine-tuned on.

The road: `candidates` puts what is known of a corpus's items into one table, `choose` picks from it,
`supplemental_set` gives the picked pairs their hard, majority and soft labels. What is left out on the way is told.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import entr

from cift.ability import refuse_nominal
from cift.crowds import consensus, label_distributions
from cift.errors import InputError
from cift.irt import PARAMETERS, ItemBank, information

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

# What each criterion needs to know of an item.
CRITERIA: dict[str, list[str]] = {
    "discrimination": ["a"],
    "information": PARAMETERS,
    "easy": ["b"],
    "middle": ["b"],
    "hard": ["b"],
    "entropy": ["entropy"],
    "random": [],
}


class Choice(NamedTuple):
    """items: the chosen item_ids, first choice first. left_out: one row each other item, item_id and reason."""

    items: list[str]
    left_out: pd.DataFrame


class Supplement(NamedTuple):
    """corpus: pairs with all three kinds of label. left_out: one row an item without them, item_id and reason."""

    corpus: Dataset
    left_out: pd.DataFrame


def drop_positions(item_ids: Sequence[str], positions: Sequence[int]) -> list[str]:
    """The items whose 1-based positions are not listed, in order."""
    return [item for position, item in enumerate(item_ids, 1) if position not in positions]


def discriminating(bank: ItemBank) -> list[str]:
    """Items that separate the able from the less able: the 95 % interval of `a` lies above zero.

    For banks fitted by maximum likelihood. Priors make every a positive (method "map"), and then nearly all pass.
    Raises InputError for a nominal scale.
    """
    refuse_nominal(bank)
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
    labels = np.array(corpus["label"][:])
    by_label = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    most = max(map(len, by_label))
    return corpus.select(np.concatenate([np.resize(items, most) for items in by_label]))


def candidates(
    corpus: Dataset, banks: Iterable[ItemBank] = (), distributions: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The corpus as a table, label in words, with what is known of its items: the input of `choose`.

    banks: scales that hold the items (each item in one at most): columns a, b, c, d, missing for items of none.
    distributions: as from `crowds.label_distributions`: column entropy, of the crowd's labels in bits (0: all agree).
    Strata and groups that the corpus names stay as columns; filter by them before choosing. Items of different strata
    were answered by different people: their difficulties have different zero points.
    Raises InputError for an item in two banks.
    """
    names = corpus.features["label"].names
    table = corpus.to_pandas().assign(label=lambda rows: [names[code] for code in rows["label"]])
    scales = [bank.items[["item_id", *PARAMETERS]] for bank in banks]
    if scales:
        known = pd.concat(scales).set_index("item_id")
        if not known.index.is_unique:
            raise InputError(f"banks: item {known.index[known.index.duplicated()][0]!r} is in two; give one bank of it")
        table[PARAMETERS] = known.reindex(table["item_id"]).to_numpy()
    if distributions is not None:
        shares = distributions[names].reindex(table["item_id"]).to_numpy(float)
        table["entropy"] = entr(shares).sum(axis=1) / np.log(2)
    return table


def choose(
    table: pd.DataFrame,
    n: int | None = None,
    by: str = "information",
    *,
    theta: float = 0.0,
    spread: Sequence[str] = ("label",),
    pairs: pd.DataFrame | None = None,
    seed: int = 0,
) -> Choice:
    """The n best items by one criterion, as many of each gold label as of the others.

    table: one row an item: item_id, the columns of `spread`, and what the criterion needs (`candidates`).
    n: how many; None takes every item that can be taken, however many a label has (see `balance`).
    by: "discrimination", largest a; "information", largest Fisher information at `theta`; "easy" and "hard", lowest and
        highest b; "middle", b nearest to the median; "entropy", where people disagree most; "random".
    spread: the columns over whose combinations the n are divided evenly, sizes differing by one at most:
        ("stratum", "label") takes as many from each agreement stratum and label.
    pairs: locally dependent items, columns item_1 and item_2. Of a pair only the item that comes first by the criterion
        is taken, since the second one tells little more.
    seed: of the random order, and of ties.

    Raises InputError for an unknown criterion, a column that is missing, n below 1, an empty table, an item that
    occurs twice, and a combination with too few items to give its part.
    """
    if by not in CRITERIA:
        raise InputError(f"by {by!r}: unknown; choose from {', '.join(CRITERIA)}")
    absent = [name for name in ("item_id", *spread, *CRITERIA[by]) if name not in table]
    if absent:
        raise InputError(
            f"items: no column {absent[0]!r}, which choosing by {by} needs; selection.candidates adds a bank's "
            "parameters (a, b, c, d) and a crowd's entropy"
        )
    if table["item_id"].duplicated().any():
        twice = table.loc[table["item_id"].duplicated(), "item_id"].iloc[0]
        raise InputError(f"items: item {twice!r} occurs twice; choose first, and balance what is chosen")
    partners = _partners(pairs)
    cells = [tuple(row) for row in table[list(spread)].to_numpy(object)]
    parts = _parts(cells, n)
    room = dict(parts)
    unknown = table[CRITERIA[by]].isna().any(axis=1).to_numpy()
    ids = list(table["item_id"])
    items: list[str] = []
    taken: set[str] = set()
    reasons: dict[str, str] = {}
    for i in _preference(table, by, theta, np.random.default_rng(seed)):
        item, rivals = ids[i], partners.get(ids[i], set()) & taken
        if unknown[i]:
            reasons[item] = f"{' '.join(CRITERIA[by])} unknown"
        elif rivals:
            reasons[item] = f"locally dependent with {min(rivals)}"
        elif room[cells[i]] < 1:
            reasons[item] = f"others come first by {by}"
        else:
            items.append(item)
            taken.add(item)
            room[cells[i]] -= 1
    for cell, missing in room.items():
        if n is not None and missing:
            raise InputError(
                f"items: {' '.join(map(str, cell)) or 'the table'} has only {parts[cell] - missing} that can be taken "
                f"of the {parts[cell]} that are its part of {n}; ask for fewer, or give more candidates"
            )
    return Choice(items, _left_out([item for item in ids if item in reasons], reasons))


def supplemental_set(items: Collection[str], corpus: Dataset, responses: pd.DataFrame, gold: pd.Series) -> Supplement:
    """Chosen items as a corpus to fine-tune on, with hard, majority and soft labels, in the order of `items`.

    responses: respondents x items, labels (`crowds.load_crowd`); strata go in as one, by pd.concat. gold: item_id ->
    label. Returns the pairs with the corpus's columns (label is the gold label) and majority (the label that most
    people gave), p_<label> for each label (their shares) and n_responses.

    Left out are items that lack any of these, so that models which learn from different kinds of label learn from the
    same items: not in the corpus, without gold label, without answers, or with labels tied for the majority.
    Raises InputError where gold and corpus disagree, for an unknown label, and where no item is left.
    """
    names = corpus.features["label"].names
    position = {item: i for i, item in enumerate(corpus["item_id"][:])}
    crowd = responses[[item for item in items if item in responses]]
    shares = label_distributions(crowd, names)
    answered = crowd.loc[:, crowd.notna().any()]
    majority = pd.Series(dtype=object) if answered.empty else consensus(answered)
    reasons = {}
    for item in items:
        if item not in position:
            reasons[item] = "not in the corpus"
        elif item not in gold.index:
            reasons[item] = "no gold label"
        elif item not in majority.index:
            reasons[item] = "nobody answered it"
        elif pd.isna(majority[item]):
            first = shares.loc[item, names]
            reasons[item] = f"no majority: {' and '.join(first.index[first == first.max()])} tie"
    kept = [item for item in items if item not in reasons]
    if not kept:
        raise InputError(f"supplemental set: none of the {len(items)} items is left; {_counted(reasons)}")
    chosen = corpus.select([position[item] for item in kept])
    for item, code in zip(kept, chosen["label"], strict=True):
        if names[code] != gold[item]:
            raise InputError(
                f"item {item!r}: the corpus's label is {names[code]}, its gold label {gold[item]}; "
                "give the gold labels that belong to this corpus"
            )
    shares = shares.loc[kept]
    columns = {"majority": list(majority[kept])} | {f"p_{name}": shares[name].to_numpy() for name in names}
    columns["n_responses"] = shares["n_responses"].to_numpy()
    chosen = chosen.remove_columns([name for name in columns if name in chosen.column_names])
    for name, values in columns.items():
        chosen = chosen.add_column(name, values)
    return Supplement(chosen, _left_out(reasons, reasons))


def _preference(table: pd.DataFrame, by: str, theta: float, rng: np.random.Generator) -> np.ndarray:
    """Positions of the table's rows, best first; ties, and everything where `by` is random, in random order."""
    worth = {
        "discrimination": lambda: table["a"],
        "information": lambda: information(np.array([theta]), table)[0],
        "easy": lambda: -table["b"],
        "middle": lambda: -(table["b"] - table["b"].median()).abs(),
        "hard": lambda: table["b"],
        "entropy": lambda: table["entropy"],
        "random": lambda: np.zeros(len(table)),
    }[by]()
    shuffled = rng.permutation(len(table))
    return shuffled[np.argsort(-np.asarray(worth, float)[shuffled], kind="stable")]


def _parts(cells: Sequence[tuple[Hashable, ...]], n: int | None) -> dict[tuple[Hashable, ...], float]:
    """How many items each combination may give: n divided evenly, the remainder to the first ones."""
    different = sorted(set(cells), key=str)
    if n is None:
        return dict.fromkeys(different, np.inf)
    if n < 1:
        raise InputError(f"n is {n}; choose at least one item")
    if not different:
        raise InputError(f"items: none to choose {n} from; the table is empty")
    each, more = divmod(n, len(different))
    return {cell: each + (i < more) for i, cell in enumerate(different)}


def _partners(pairs: pd.DataFrame | None) -> dict[str, set[str]]:
    if pairs is None:
        return {}
    absent = [name for name in ("item_1", "item_2") if name not in pairs]
    if absent:
        raise InputError(f"pairs: no column {absent[0]!r}; give the dependent items as item_1 and item_2")
    partners: dict[str, set[str]] = {}
    for one, other in zip(pairs["item_1"], pairs["item_2"], strict=True):
        partners.setdefault(one, set()).add(other)
        partners.setdefault(other, set()).add(one)
    return partners


def _left_out(items: Iterable[str], reasons: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame([(item, reasons[item]) for item in items], columns=["item_id", "reason"])


def _counted(reasons: Mapping[str, str]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in pd.Series(reasons).value_counts().items())
