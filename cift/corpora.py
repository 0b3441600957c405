"""Corpora of sentence pairs: embedded, public, or the user's own, all checked and in one form.

A corpus is a `datasets.Dataset` with the columns item_id, premise, hypothesis, label (a ClassLabel) and
whatever else its source offers. How the named ones are read is in `cift.public`.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from cift.files import LISTED, Rows, as_text, one_message
from cift.public import LABELS, TWO_WAY, data_dir, read_source, scale_name

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["LABELS", "data_dir", "load_corpus", "overlap", "scale_name", "to_dataset", "validate", "without"]

_REQUIRED = ("premise", "hypothesis", "label")
_OURS = ("item_id", *_REQUIRED)
_ALIASES = {  # what others call our columns, in lower case and without punctuation
    "item_id": ("itemid", "pairid", "id", "uid", "guid", "idx"),
    "premise": ("premise", "sentence1", "sentencea", "text1", "text", "t", "context", "s1"),
    "hypothesis": ("hypothesis", "sentence2", "sentenceb", "text2", "h", "s2"),
    "label": ("label", "labels", "goldlabel", "gold", "entailmentjudgment", "entailment", "class", "value"),
}
_NUMBER = re.compile(r"\s*[-+]?[\d.,]*\d\s*")


def load_corpus(
    source: str | Path,
    split: str | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    labels: Sequence[str] | Mapping[Any, str | None] | None = None,
) -> Dataset:
    """A corpus by name, or the user's own: a file, a folder, or a data set of the Hugging Face hub.

    ``scenes``: train, validation, test. Embedded and generated; column phenomenon.
    ``probes``: 180 embedded items for two simulated crowds; columns stratum, group, position, difficulty, ...
    ``snli``: train (18,000 pairs), train_extra (2,000), validation, test, and test_hard, the pairs of test that a
    hypothesis alone does not give away (Gururangan et al., 2018). The first two have no pairIDs and may hold pairs
    of lalor2016: find them with `overlap`. The others have the distribution of up to five annotators' labels in
    p_entailment, p_neutral, p_contradiction and n_responses.
    ``snli-full``: train without the 180 pairs of lalor2016.
    ``chaosnli``: 1,514 pairs of SNLI dev; label is the original gold, columns majority, p_entailment,
    p_neutral, p_contradiction and n_responses are those of 100 new annotators (Nie et al., 2020).
    ``lalor2016``: 180 items of the published scales (Lalor et al., 2016); columns stratum, group, position.
    ``sick``: train (4,500), validation (500, its "trial"), test (4,927); column relatedness, 1 to 5 (Marelli et
    al., 2014).
    ``rte``: rte1_dev (567), rte1_test (800), rte2_dev (400), rte2_test, rte3_dev, rte3_test (800 each), labels
    entailment and not_entailment; columns challenge, task. White space is evened out, and three texts of
    rte1_dev whose encoding was damaged are mended.
    ``snow2008``: rte1_test as the crowd of that name answered it: the same pairs, item_id as there; column task.

    SNLI (Bowman et al., 2015) is without the pairs that have no gold label. `split` may be left out where
    there is one.

    A file is .csv (separated by commas, semicolons, tabs or bars), .tsv, .jsonl or .parquet, all its columns text, and
    has no splits. A folder is one that `datasets` saved, or holds a file for each split (train.csv, test.csv), or is
    anything that `datasets.load_dataset` reads; so is a hub id, "org/name" or "org/name:config". No code of a data set
    is run. A ClassLabel's codes become its names, and -1 becomes "-1".

    Parameters
    ----------
    columns:
        The source's name for ours where they differ: ``{"premise": "sentence1", "label": "gold_label"}``.
    labels:
        The labels there may be, in the order of their codes (default: entailment, neutral, contradiction, or the
        named corpus's own); or what the source's values mean: ``{"0": "entailment", "-": None}``. Values that already
        are labels need not be named. None leaves rows out, with a UserWarning that counts them.

    Raises
    ------
    InputError
        An unknown name or split, data that cannot be had (`fetch`); or one message with every kind of problem
        that the file, `columns`, `labels` and `validate` show.
    """
    rows, expected = read_source(source, split)
    where = f"{source}, {split}" if split else str(source)
    table, misnamed = _renamed(rows.table, columns or {})
    if isinstance(labels, Mapping):
        table = _relabelled(table, {str(value): label for value, label in labels.items()}, where)
        allowed = _label_set([label for label in labels.values() if label is not None], expected)
    else:
        allowed = labels or expected
    table = _checked(table, where, allowed, rows._replace(problems=[*misnamed, *rows.problems]))
    return _encoded(table, allowed)


# columns and labels by other names


def _renamed(table: pd.DataFrame, columns: Mapping[str, str]) -> tuple[pd.DataFrame, list[tuple[int, str]]]:
    """The table with our names for its columns, and what is wrong with `columns`."""
    texts = []
    for ours, theirs in columns.items():
        if theirs not in table:
            near = get_close_matches(theirs, map(str, table), n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            texts.append(f"there is no column {theirs!r} to be called {ours!r}{hint}")
    given = list(columns.values())
    texts += [f"the column {name!r} cannot be two columns" for name in dict.fromkeys(given) if given.count(name) > 1]
    table = table.rename(columns={theirs: ours for ours, theirs in columns.items()})
    return table, [(0, text) for text in texts]


def _relabelled(table: pd.DataFrame, meanings: Mapping[str, str | None], source: str) -> pd.DataFrame:
    """The table with our labels, without the rows whose value means None."""
    if list(table).count("label") != 1:
        return table
    table = _numbered(table)
    values = table["label"].map(as_text)
    dropped = values.isin([value for value, label in meanings.items() if label is None])
    if dropped.any():
        counts = ", ".join(f"{count:,} labelled {value!r}" for value, count in values[dropped].value_counts().items())
        warnings.warn(f"{source}: left out {counts}, as labels says", UserWarning, stacklevel=3)
    return table.assign(label=values.map(lambda value: meanings.get(value, value)))[~dropped]


def _label_set(targets: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """The labels of a corpus whose values were given these meanings, in a standard order if they are standard."""
    for standard in (known, LABELS, TWO_WAY):
        if set(targets) <= set(standard):
            return standard
    return list(dict.fromkeys(targets))


# checks


def validate(table: pd.DataFrame, source: str, labels: Sequence[str] = LABELS) -> pd.DataFrame:
    """The table with item_id first, made as "row-1", "row-2", ... if it has none; all else as it was.

    Rows are named by the table's index if that is called "row" (lines of the file, from `read_table`), else
    by position from 1; the table returned is indexed by them.

    Raises
    ------
    InputError
        One message with some of every kind of problem: a missing column, two of one name, no rows; an empty
        premise, hypothesis, label or item_id; a premise or hypothesis that is not text, or a column of them that is
        all numbers; an unknown label; an item_id that is repeated or has spaces around it.
    """
    return _checked(table, source, labels, Rows(table))


class _Fault(NamedTuple):
    """One kind of problem: the first few, (row or 0, in words), and how many there are."""

    first: list[tuple[int, str]]
    total: int


def _checked(table: pd.DataFrame, source: str, labels: Sequence[str], read: Rows) -> pd.DataFrame:
    """As `validate`, with the problems that reading the file showed."""
    faults = [_Fault(read.problems[:LISTED], len(read.problems))]
    twice = table.columns.duplicated()
    faults += _of_table(f"two columns are called {name!r}" for name in dict.fromkeys(table.columns[twice]))
    table = _numbered(table.loc[:, ~twice])
    faults += _of_table(f"there is no column {name!r}" for name in _REQUIRED if name not in table)
    faults += _of_table(["there are no rows"] if table.empty else [])
    faults += _row_faults(table, labels)
    count = sum(fault.total for fault in faults)
    if count:
        remedies = [read.remedy] if any(row for row, _ in read.problems) else []
        remedies += [
            "A corpus needs the columns premise, hypothesis and label (item_id is optional, and unique), its "
            f"labels are {', '.join(labels)}; the columns here: {', '.join(map(str, table)) or 'none'}",
            *_hints(table, labels),
        ]
        raise one_message(source, _some_of_each(faults), ". ".join(remedies), count)
    if "item_id" not in table:
        table = table.assign(item_id=[f"row-{i}" for i in range(1, len(table) + 1)])
    return table[[*_OURS, *(name for name in table if name not in _OURS)]]


def _numbered(table: pd.DataFrame) -> pd.DataFrame:
    """The table with rows named as `validate` says."""
    if table.index.name == "row":
        return table
    return table.set_axis(pd.RangeIndex(1, len(table) + 1, name="row"), axis=0)


def _some_of_each(faults: Sequence[_Fault]) -> list[str]:
    """As many problems as one message lists: the first of every kind, then the second, ...; in the order of rows."""
    ranked = sorted(
        (rank, kind, row, text)
        for kind, fault in enumerate(faults)
        for rank, (row, text) in enumerate(fault.first[:LISTED])
    )
    return [text for _, _, text in sorted((row, kind, text) for _, kind, row, text in ranked[:LISTED])]


def _of_table(texts: Iterable[str]) -> list[_Fault]:
    return [_Fault([(0, text)], 1) for text in texts]


def _row_faults(table: pd.DataFrame, labels: Sequence[str]) -> list[_Fault]:
    faults = []
    for name in (name for name in _OURS if name in table):
        column = table[name]
        text = column.astype(str)
        stripped = text.str.strip()
        empty = column.isna() | (stripped == "")
        faults.append(_row_fault(column[empty], f"has an empty {name}"))
        if name == "label":
            faults.append(_row_fault(column[~empty & ~column.isin(labels)], "has the label {!r}"))
        elif name == "item_id":
            faults.append(_row_fault(column[~empty & text.duplicated()], "repeats the item_id {!r}"))
            faults.append(_row_fault(column[~empty & (text != stripped)], "has spaces around the item_id {!r}"))
        elif len(column) and all(map(_NUMBER.fullmatch, stripped)):
            faults += _of_table([f"the column {name!r} has nothing but numbers, as {stripped.iloc[0]}"])
        else:
            other = ~column.map(lambda value: isinstance(value, str))
            faults.append(_row_fault(column[~empty & other], f"has a {name} that is not text, {{!r}}"))
    return faults


def _row_fault(found: pd.Series, template: str) -> _Fault:
    texts = [(row, f"row {row} {template.format(value)}") for row, value in found.head(LISTED).items()]
    return _Fault(texts, len(found))


def _hints(table: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """What to give `load_corpus` for columns and labels that seem to be called otherwise."""
    hints = []
    plain = {_plain(str(name)): name for name in reversed(list(table)) if name not in _OURS}
    columns = {
        ours: next(plain[alias] for alias in aliases if alias in plain)
        for ours, aliases in _ALIASES.items()
        if ours not in table and plain.keys() & set(aliases)
    }
    if columns.keys() & set(_REQUIRED):
        hints.append(f"Perhaps load_corpus should be given columns={columns}")
    if "label" in table:
        values = table["label"].dropna().map(as_text)
        found = values[~values.isin([*labels, ""])].value_counts()
        if len(found) and set(found.index) <= set(TWO_WAY):
            hints.append(f"Perhaps load_corpus should be given labels={TWO_WAY}")
        elif len(found):
            meanings = ", ".join(f"{value!r}: {_meaning(value, labels)}" for value in found.index[:8])
            more = ", ..." if len(found) > 8 else ""
            hints.append(f"Perhaps load_corpus should be given labels={{{meanings}{more}}}; None leaves rows out")
    return hints


def _meaning(value: str, labels: Sequence[str]) -> str:
    if value.strip() in ("-", "-1"):  # SNLI's mark, and that of `datasets`, for a pair without gold label
        return "None"
    known = {_plain(label): label for label in labels}
    initials = [label for label in labels if _plain(value) and _plain(label)[:1] == _plain(value)]
    near = get_close_matches(_plain(value), known, n=1, cutoff=0.8)
    if len(initials) == 1:
        return repr(initials[0])
    return repr(known[near[0]]) if near else "'...'"


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold()))


# the common form


def to_dataset(table: pd.DataFrame, labels: Sequence[str] = LABELS, source: str = "the table") -> Dataset:
    """The table as a corpus, after `validate`: label a ClassLabel in this order, the other columns kept.

    Columns of numbers and of true and false stay that; of others, what is not text is written out (lists as JSON).
    """
    return _encoded(validate(table, source, labels), labels)


def _encoded(table: pd.DataFrame, labels: Sequence[str]) -> Dataset:
    from datasets import ClassLabel, Dataset, Features, Value

    codes = table["label"].map({label: code for code, label in enumerate(labels)}).astype("int64")
    table = table.assign(item_id=table["item_id"].astype(str), label=codes)
    kinds = {"i": "int64", "u": "int64", "f": "float64", "b": "bool"}
    features = Features({name: Value(kinds.get(table[name].dtype.kind, "string")) for name in table})
    texts = [name for name in table if features[name].dtype == "string"]
    table = table.assign(**{name: table[name].astype(object).map(as_text, na_action="ignore") for name in texts})
    features["label"] = ClassLabel(names=list(labels))
    return Dataset.from_pandas(table, features=features, preserve_index=False)


def label_codes(corpus: Dataset) -> np.ndarray:
    """The code of each pair's label. InputError: pairs without label, whose code is None or, by custom, -1."""
    codes = np.array([-1 if code is None else code for code in corpus["label"][:]], int)
    unlabelled = np.flatnonzero(codes < 0) + 1
    if len(unlabelled):
        problems = [f"pair {number} has no label" for number in unlabelled]
        raise one_message("corpus", problems, 'Leave such pairs out; load_corpus does, with labels={"-1": None}')
    return codes


def without(corpus: Dataset, item_ids: Collection[str]) -> Dataset:
    """The corpus without these items; ids that it does not hold are ignored."""
    excluded = set(item_ids)
    return corpus.select([i for i, item_id in enumerate(corpus["item_id"][:]) if item_id not in excluded])


def prefixed(corpus: Dataset, word: str) -> Dataset:
    """The corpus with a word before each item_id ("sick 12"), so that none is that of another corpus's pair."""
    return corpus.remove_columns("item_id").add_column("item_id", [f"{word} {item}" for item in corpus["item_id"]])


def overlap(corpus: Dataset, other: Dataset) -> list[str]:
    """item_ids of `corpus` whose sentence pair, apart from case and spacing, is also in `other`.

    For corpora that share sentences but not ids: `without(train, overlap(train, test))` leaves no leak.
    """

    def pairs(data: Dataset) -> Iterator[tuple[str, str]]:
        return zip(map(folded, data["premise"][:]), map(folded, data["hypothesis"][:]), strict=True)

    known = set(pairs(other))
    return [item_id for item_id, pair in zip(corpus["item_id"][:], pairs(corpus), strict=True) if pair in known]


def folded(text: str) -> str:
    """The text without what case and spacing tell: sentences that differ by these only are the same."""
    return " ".join(text.casefold().split())
