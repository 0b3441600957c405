"""Corpora of sentence pairs: embedded, public, or the user's own file, all in one form.

A corpus is a `datasets.Dataset` with the columns item_id, premise, hypothesis, label (a ClassLabel) and
whatever else its source offers. Public files come through `cift.fetch`.
"""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cift.errors import InputError
from cift.fetch import fetch
from cift.files import one_message, read_table, read_text

if TYPE_CHECKING:
    from datasets import Dataset

LABELS = ("entailment", "neutral", "contradiction")

_INITIALS = {label[0]: label for label in LABELS}
_REQUIRED = ("premise", "hypothesis", "label")
_SNLI_ZIP = "snli/snli_1.0.zip"


def data_dir() -> Path:
    """The folder of the embedded data: in the installed package, or at the top of a repository checkout."""
    here = Path(__file__).parent
    for folder in (here / "data", here.parent / "data"):
        if folder.is_dir():
            return folder
    raise InputError(
        f"the embedded data is neither in {here / 'data'} nor in {here.parent / 'data'}; install the package "
        "again, or run from a full checkout of the repository"
    )


# checks and the common form


def validate(table: pd.DataFrame, source: str, labels: Sequence[str] = LABELS) -> pd.DataFrame:
    """The table with item_id first, made as "row-1", "row-2", ... if it has none; all else as it was.

    Rows are named by the table's index if that is called "row" (lines of the file, from `read_table`), else
    by position from 1; the table returned is indexed by them.

    Raises
    ------
    InputError
        One message with all of: a missing column, no rows, an empty premise or hypothesis, an unknown label,
        an empty or repeated item_id.
    """
    rows = table.index if table.index.name == "row" else pd.RangeIndex(1, len(table) + 1, name="row")
    table = table.set_axis(rows, axis=0)
    problems = [f"there is no column {name!r}" for name in _REQUIRED if name not in table]
    if table.empty:
        problems.append("there are no rows")
    problems += _row_problems(table, labels)
    if problems:
        remedy = (
            "A corpus needs the columns premise, hypothesis and label (item_id is optional, and unique), its "
            f"labels are {', '.join(labels)}; the columns here: {', '.join(map(str, table)) or 'none'}"
        )
        raise one_message(source, problems, remedy)
    if "item_id" not in table:
        table = table.assign(item_id=[f"row-{i}" for i in range(1, len(table) + 1)])
    return table[["item_id", *_REQUIRED, *(name for name in table if name not in ("item_id", *_REQUIRED))]]


def _row_problems(table: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    faults: list[tuple[Any, str]] = []
    for name in ("item_id", "premise", "hypothesis"):
        if name in table:
            empty = table[name].isna() | (table[name].astype(str).str.strip() == "")
            faults += [(row, f"row {row} has an empty {name}") for row in table.index[empty]]
    if "label" in table:
        unknown = table["label"][~table["label"].isin(labels)]
        faults += [(row, f"row {row} has the label {value!r}") for row, value in unknown.items()]
    if "item_id" in table:
        repeated = table["item_id"][table["item_id"].duplicated()]
        faults += [(row, f"row {row} repeats the item_id {value!r}") for row, value in repeated.items()]
    return [text for _, text in sorted(faults)]


def to_dataset(table: pd.DataFrame, labels: Sequence[str] = LABELS, source: str = "the table") -> Dataset:
    """The table as a corpus, after `validate`: label a ClassLabel in this order, the other columns kept."""
    from datasets import ClassLabel, Dataset, Features, Value

    table = validate(table, source, labels)
    codes = table["label"].map({label: code for code, label in enumerate(labels)}).astype("int64")
    texts = {name: table[name].astype(str) for name in ("item_id", "premise", "hypothesis")}
    table = table.assign(**texts, label=codes)
    kinds = {"i": "int64", "f": "float64", "b": "bool"}
    features = Features({name: Value(kinds.get(table[name].dtype.kind, "string")) for name in table})
    features["label"] = ClassLabel(names=list(labels))
    return Dataset.from_pandas(table, features=features, preserve_index=False)


def without(corpus: Dataset, item_ids: Collection[str]) -> Dataset:
    """The corpus without these items; ids that it does not hold are ignored."""
    excluded = set(item_ids)
    return corpus.select([i for i, item_id in enumerate(corpus["item_id"]) if item_id not in excluded])


def overlap(corpus: Dataset, other: Dataset) -> list[str]:
    """item_ids of `corpus` whose sentence pair, apart from case and spacing, is also in `other`.

    For corpora that share sentences but not ids: `without(train, overlap(train, test))` leaves no leak.
    """

    def pairs(data: Dataset) -> Iterator[tuple[str, str]]:
        for premise, hypothesis in zip(data["premise"], data["hypothesis"], strict=True):
            yield " ".join(premise.casefold().split()), " ".join(hypothesis.casefold().split())

    known = set(pairs(other))
    return [item_id for item_id, pair in zip(corpus["item_id"], pairs(corpus), strict=True) if pair in known]


def scale_name(stratum: str, label: str) -> str:
    """The published name of a group of items: ("G5", "entailment") -> "5GS-E"."""
    return f"{stratum[1:]}GS-{label[0].upper()}"


# corpora by name


def _scenes(split: str) -> pd.DataFrame:
    return read_table(data_dir() / "scenes" / f"{split}.parquet")


def _probes(_: str) -> pd.DataFrame:
    return _grouped(read_table(data_dir() / "probes" / "probes.csv"))


def _snli(split: str) -> pd.DataFrame:
    if split == "train":
        return _cat_pairs("snli/cat_snli_train.csv", "cat-train")
    if split == "train_extra":
        return _cat_pairs("snli/cat_snli_test.csv", "cat-extra")
    part = {"validation": "dev", "test": "test"}[split]
    with gzip.open(fetch(f"snli/snli_1.0_{part}.jsonl.gz"), "rb") as lines:
        return _pairs_table(_snli_pairs(lines))


def _snli_full(_: str) -> pd.DataFrame:
    held_out = set(_lalor_items()["item_id"])
    return _pairs_table(pair for pair in _snli_train_pairs() if pair[0] not in held_out)


def _chaosnli(_: str) -> pd.DataFrame:
    rows = []
    for line in read_text(fetch("chaosnli/chaosNLI_snli.jsonl")).splitlines():
        record = json.loads(line)
        counts = record["label_count"]  # in the order entailment, neutral, contradiction
        row = {"item_id": record["uid"]}
        row |= {name: record["example"][name] for name in ("premise", "hypothesis")}
        row |= {"label": _INITIALS[record["old_label"]], "majority": _INITIALS[record["majority_label"]]}
        row |= {f"p_{label}": count / sum(counts) for label, count in zip(LABELS, counts, strict=True)}
        rows.append(row | {"n_responses": sum(counts)})
    return pd.DataFrame(rows)


def _lalor2016(_: str) -> pd.DataFrame:
    items = _lalor_items()
    wanted = set(items["item_id"])
    pairs = _pairs_table(pair for pair in _snli_train_pairs() if pair[0] in wanted).drop(columns="label")
    missing = items["item_id"][~items["item_id"].isin(pairs["item_id"])]
    if len(missing):
        problems = [f"no sentence pair {item_id}" for item_id in missing]
        raise one_message(fetch(_SNLI_ZIP), problems, "The full SNLI 1.0 has all 180: download its zip again")
    return items.merge(pairs, on="item_id", validate="one_to_one")


_Pair = tuple[str, str, str, str]  # item_id, premise, hypothesis, label


def _pairs_table(pairs: Iterable[_Pair]) -> pd.DataFrame:
    return pd.DataFrame(list(pairs), columns=["item_id", *_REQUIRED])


def _cat_pairs(name: str, prefix: str) -> pd.DataFrame:
    """A tab-separated file without header or pairIDs: code, code, premise, hypothesis."""
    codes = {"1": "neutral", "2": "contradiction", "3": "entailment"}
    with fetch(name).open(encoding="utf-8", newline="") as file:
        rows = enumerate(csv.reader(file, delimiter="\t"), start=1)
        return _pairs_table(
            (f"{prefix}-{number:05d}", premise, hypothesis, codes[code])
            for number, (code, _, premise, hypothesis) in rows
            if premise.strip() and hypothesis.strip()
        )


def _snli_pairs(lines: Iterable[bytes]) -> Iterator[_Pair]:
    """Pairs with two sentences and a gold label ("-" stands where no three annotators agreed)."""
    for line in lines:
        record = json.loads(line)
        premise, hypothesis = record["sentence1"], record["sentence2"]
        if record["gold_label"] != "-" and premise.strip() and hypothesis.strip():
            yield record["pairID"], premise, hypothesis, record["gold_label"]


def _snli_train_pairs() -> Iterator[_Pair]:
    """The training pairs out of the zip, line by line: with its parses the member is half a gigabyte."""
    with zipfile.ZipFile(fetch(_SNLI_ZIP)) as archive, archive.open("snli_1.0/snli_1.0_train.jsonl") as lines:
        yield from _snli_pairs(lines)


def _lalor_items() -> pd.DataFrame:
    """The 180 items of the published scales: item_id, label, stratum, group, position; no sentences."""
    archive = zipfile.Path(fetch("lalor2016/data_emnlp2016.zip"))
    rows = []
    for stratum in ("G5", "G4"):
        for line in read_text(archive / f"group_{stratum[1]}.txt").splitlines():
            rows.append((*line.split(), stratum))
    return _grouped(pd.DataFrame(rows, columns=["item_id", "label", "stratum"]))


def _grouped(items: pd.DataFrame) -> pd.DataFrame:
    """Items with their scale's name, and their place from 1 within it: the published lists count items so."""
    names = [scale_name(s, label) for s, label in zip(items["stratum"], items["label"], strict=True)]
    items = items.assign(group=names)
    return items.assign(position=items.groupby("group").cumcount() + 1)


_READERS: dict[str, tuple[tuple[str, ...], Callable[[str], pd.DataFrame]]] = {  # name: (splits, reader)
    "scenes": (("train", "validation", "test"), _scenes),
    "probes": (("test",), _probes),
    "snli": (("train", "train_extra", "validation", "test"), _snli),
    "snli-full": (("train",), _snli_full),
    "chaosnli": (("test",), _chaosnli),
    "lalor2016": (("test",), _lalor2016),
}


def load_corpus(source: str | Path, split: str | None = None) -> Dataset:
    """A corpus by name, or the user's own .csv, .tsv, .jsonl or .parquet file (which has no splits).

    ``scenes``: train, validation, test. Embedded and generated; column phenomenon.
    ``probes``: 180 embedded items for two simulated crowds; columns stratum, group, position, difficulty, ...
    ``snli``: train (18,000 pairs), train_extra (2,000), validation and test. The first two have no pairIDs
    and may hold pairs of lalor2016: find them with `overlap`.
    ``snli-full``: train without the 180 pairs of lalor2016.
    ``chaosnli``: 1,514 pairs of SNLI dev; label is the original gold, columns majority, p_entailment,
    p_neutral, p_contradiction and n_responses are those of 100 new annotators (Nie et al., 2020).
    ``lalor2016``: 180 items of the published scales (Lalor et al., 2016); columns stratum, group, position.

    SNLI (Bowman et al., 2015) is without the pairs that have no gold label. `split` may be left out where
    there is one. InputError: an unknown name or split, data that cannot be had (`fetch`) or is not a corpus
    (`validate`).
    """
    name = str(source)
    if name in _READERS:
        splits, read = _READERS[name]
        split = splits[0] if split is None and len(splits) == 1 else split
        if split not in splits:
            raise InputError(f"corpus {name!r} has no split {split!r}; its splits: {', '.join(splits)}")
        return to_dataset(read(split), source=f"{name}, {split}")
    if not Path(source).suffix and not Path(source).exists():
        known = ", ".join(_READERS)
        raise InputError(f"no corpus is called {name!r}; there are {known}, or give the path of a file")
    if split is not None:
        raise InputError(f"{name}: a file has no split {split!r}; leave it out, or name the split's own file")
    return to_dataset(read_table(source), source=name)
