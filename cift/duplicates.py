"""Duplicates and near-duplicates of sentence pairs, within and across splits.

Two items are as similar as their least similar column: the Jaccard index of the columns' sets of character trigrams.
Trigrams, because these texts are short: one substituted word leaves a sentence of seven words with less than half of
its word bigrams, but most of its trigrams. Candidates come from MinHash and banding (Broder, 1997; Leskovec, Rajaraman
and Ullman, Mining of Massive Datasets, chapter 3), and are then compared exactly.

In NLI, likeness alone is no error. Premises are repeated by design, and a near-duplicate with another label is a
minimal pair, or contrast: the small change is what matters. So every pair found is one of four kinds.

=========  ==========  ===========
texts      same label  other label
=========  ==========  ===========
the same   copy        conflict
similar    near copy   contrast
=========  ==========  ===========

Of the two labels of a conflict at least one is wrong, or the item is ambiguous.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations, combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cift.corpora import folded, label_codes
from cift.errors import InputError
from cift.finetuning import quiet

if TYPE_CHECKING:
    from datasets import Dataset

COLUMNS = ("premise", "hypothesis")
KINDS = ("copy", "near copy", "conflict", "contrast")
PERMUTATIONS = 256
RECALL = 0.99  # of banding, for pairs at the threshold; it is higher above


def near_duplicates(
    corpora: Mapping[str, Dataset] | Dataset, threshold: float = 0.7, columns: Sequence[str] = COLUMNS, seed: int = 0
) -> pd.DataFrame:
    """Pairs of items with similarity at or above the threshold, the most similar first.

    corpora: one corpus, or splits by name. columns: those that must all be similar; ("premise",) finds like premises.
    Returns one row a pair: item_id, split, other_id, other_split, similarity (of the least similar column, exact; 1
    also for texts of the same trigrams), same_label, kind (copy, near copy, conflict or contrast, see the module;
    texts are the same if they differ in case and spacing only). `other` is the later one, in the order given.
    A pair is missed with probability 0.01 at most (RECALL); n copies of one text make n (n - 1) / 2 rows. At 0.7 nearly
    all copies with a typo or an inserted word in each sentence are found, and most with a substituted word; 0.6 finds
    more of these, and more pairs that only look alike.
    Raises InputError for a threshold below 0.5, where nearly everything becomes a candidate, or above 1.
    """
    if not 0.5 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}; give a Jaccard index between 0.5 and 1")
    items = _items(corpora, columns)
    items["text"], texts = pd.factorize(items["text"])
    similar = _similar_texts(texts, threshold, seed)
    links = [(i, i, 1.0) for i in range(len(texts))] + similar + [(j, i, value) for i, j, value in similar]
    pairs = pd.DataFrame(links, columns=["text", "other_text", "similarity"]).merge(items, on="text")
    pairs = pairs.merge(items.add_prefix("other_"), on="other_text").query("row < other_row")
    pairs["same_label"] = pairs["label"] == pairs["other_label"]
    same_text = pairs["text"] == pairs["other_text"]
    which = [same_text & pairs["same_label"], pairs["same_label"], same_text]  # the first that holds
    pairs["kind"] = np.select(which, KINDS[:3], KINDS[3])
    pairs = pairs.sort_values(["similarity", "row", "other_row"], ascending=[False, True, True], ignore_index=True)
    pairs = pairs.rename(columns={"other_item_id": "other_id"})
    return pairs[["item_id", "split", "other_id", "other_split", "similarity", "same_label", "kind"]]


def leakage(splits: Mapping[str, Dataset], threshold: float = 0.7, seed: int = 0) -> pd.DataFrame:
    """What each split shares with itself and with each earlier one, counted in items of the later split.

    One row a pair of splits (index: split, later), two blocks of columns, items and share (of the later split): how
    many have a copy, near copy, conflict or contrast in the earlier split (`near_duplicates`), and how many have the
    same premise or hypothesis as an item there. An item may count in several columns. In the row of a split
    with itself an item counts if an earlier item is its partner: so many would go if duplicates were dropped.
    `without(later, ids)` drops them. A premise shared within a split is no fault; across splits it is a leak.
    """
    pairs = near_duplicates(splits, threshold, seed=seed).drop_duplicates(["split", "other_split", "other_id", "kind"])
    kinds = pairs.groupby(["split", "other_split", "kind"]).size()
    texts = {(name, column): _items({name: splits[name]}, [column])["text"] for name in splits for column in COLUMNS}
    rows = {}
    for split, later in combinations_with_replacement(splits, 2):
        row = {kind: int(kinds.get((split, later, kind), 0)) for kind in KINDS}
        for column in COLUMNS:
            text = texts[later, column]
            repeated = text.duplicated() if split == later else text.isin(set(texts[split, column]))
            row[f"same {column}"] = int(repeated.sum())
        rows[split, later] = row
    counts = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["split", "later"])
    sizes = [len(splits[later]) for _, later in counts.index]
    return pd.concat({"items": counts, "share": counts.div(sizes, axis=0).round(4)}, axis=1)


def _items(corpora: Mapping[str, Dataset] | Dataset, columns: Sequence[str]) -> pd.DataFrame:
    """One row an item: row (0, 1, ... over all splits), item_id, split, label, text (of all columns, normalised)."""
    splits = corpora if isinstance(corpora, Mapping) else {"corpus": corpora}
    tables = []
    for split, corpus in splits.items():
        absent = [name for name in columns if name not in corpus.column_names]
        if absent:
            raise InputError(f"{split}: there is no column {absent[0]!r}; it has {', '.join(corpus.column_names)}")
        texts = [list(map(folded, corpus[column][:])) for column in columns]
        names = corpus.features["label"].names
        labels = [names[code] for code in label_codes(corpus)]
        rows = {
            "item_id": corpus["item_id"][:],
            "split": split,
            "label": labels,
            "text": list(zip(*texts, strict=True)),
        }
        tables.append(pd.DataFrame(rows))
    return pd.concat(tables, ignore_index=True).rename_axis("row").reset_index()


def _similar_texts(texts: Sequence[tuple[str, ...]], threshold: float, seed: int) -> list[tuple[int, int, float]]:
    """(i, j, similarity) of all i < j whose similarity meets the threshold.

    The Jaccard index of two unions of disjoint sets lies between those of the parts, so whatever is as similar as
    the threshold in each column is so in all columns together, and one signature of all of them finds it.
    """
    shingles = lru_cache(100_000)(_trigrams)
    found = []
    for i, j in sorted(_candidates(_signatures(texts, seed), threshold)):
        similarity = min(_jaccard(shingles(a), shingles(b)) for a, b in zip(texts[i], texts[j], strict=True))
        if similarity >= threshold:
            found.append((i, j, similarity))
    return found


def _trigrams(text: str) -> frozenset[str]:
    """Trigrams of characters, the text's ends marked by a space: any text but the empty one has some."""
    padded = f" {text} "
    return frozenset(padded[i : i + 3] for i in range(len(padded) - 2))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def _signatures(texts: Sequence[tuple[str, ...]], seed: int) -> np.ndarray:
    """MinHash signatures, (texts, PERMUTATIONS); a trigram counts once for each column that has it."""
    from datasketch import MinHash
    from tqdm import tqdm

    shingles = (
        [f"{column}{gram}".encode() for column, text in enumerate(row) for gram in _trigrams(text)]
        for row in tqdm(texts, desc="MinHash", unit="text", disable=quiet())
    )
    # crc32 is the same in every process, as hash() is not, and faster than the default, sha1; datasketch mixes its bits
    hashed = MinHash.generator(shingles, num_perm=PERMUTATIONS, seed=seed, hashfunc=zlib.crc32)
    values = np.empty((len(texts), PERMUTATIONS), dtype=np.uint32)
    for i, minhash in enumerate(hashed):
        values[i] = minhash.hashvalues
    return values


def _candidates(signatures: np.ndarray, threshold: float) -> set[tuple[int, int]]:
    """Pairs i < j that agree in a whole band of their signatures.

    Bands are as long as RECALL allows. Held one at a time: datasketch's MinHashLSH, which keeps the tables of all,
    takes 9 kB a text and three times as long, and by default finds only half of the pairs at the threshold.
    """
    length = max(r for r in range(1, PERMUTATIONS + 1) if 1 - (1 - threshold**r) ** (PERMUTATIONS // r) >= RECALL)
    found: set[tuple[int, int]] = set()
    for start in range(0, PERMUTATIONS - length + 1, length):
        buckets = defaultdict(list)
        for i, band in enumerate(signatures[:, start : start + length]):
            buckets[band.tobytes()].append(i)
        for alike in buckets.values():
            found.update(combinations(alike, 2))
    return found
