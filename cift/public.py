"""Where corpora come from: embedded and public ones by name, the user's files and folders, the hub; read into tables.

What is read here is not checked yet: that is for `cift.corpora`, and so is what the names and splits stand for.
"""

from __future__ import annotations

import csv
import gzip
import html
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import pandas as pd

from cift.errors import InputError
from cift.fetch import fetch
from cift.files import FORMS, Rows, as_text, one_message, parse_csv, read_rows, read_table, read_text

LABELS = ("entailment", "neutral", "contradiction")
TWO_WAY = ("entailment", "not_entailment")

_INITIALS = {label[0]: label for label in LABELS}
_PAIR = ["item_id", "premise", "hypothesis", "label"]
_SNLI_ZIP = "snli/snli_1.0.zip"
_HUB_ID = re.compile(r"(?P<name>\w[\w.-]*/\w[\w.-]*)(?::(?P<config>[\w.-]+))?")


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


def scale_name(stratum: str, label: str) -> str:
    """The published name of a group of items: ("G5", "entailment") -> "5GS-E"."""
    return f"{stratum[1:]}GS-{label[0].upper()}"


# embedded


def _scenes(split: str) -> pd.DataFrame:
    return read_table(data_dir() / "scenes" / f"{split}.parquet")


def _probes(_: str) -> pd.DataFrame:
    return _grouped(read_table(data_dir() / "probes" / "probes.csv"))


def _grouped(items: pd.DataFrame) -> pd.DataFrame:
    """Items with their scale's name, and their place from 1 within it: the published lists count items so."""
    names = [scale_name(s, label) for s, label in zip(items["stratum"], items["label"], strict=True)]
    items = items.assign(group=names)
    return items.assign(position=items.groupby("group").cumcount() + 1)


# SNLI and what was made of it


def _snli(split: str) -> pd.DataFrame:
    if split == "train":
        return _cat_pairs("snli/cat_snli_train.csv", "cat-train")
    if split == "train_extra":
        return _cat_pairs("snli/cat_snli_test.csv", "cat-extra")
    part = {"validation": "dev", "test": "test", "test_hard": "test_hard"}[split]
    with gzip.open(fetch(f"snli/snli_1.0_{part}.jsonl.gz"), "rb") as lines:
        return pd.DataFrame([_pair(record) | _shares(record["annotator_labels"]) for record in _judged(lines)])


def _snli_full(_: str) -> pd.DataFrame:
    held_out = set(_lalor_items()["item_id"])
    return pd.DataFrame([pair for pair in _snli_train() if pair["item_id"] not in held_out])


def _chaosnli(_: str) -> pd.DataFrame:
    rows = []
    for line in read_text(fetch("chaosnli/chaosNLI_snli.jsonl")).splitlines():
        record = json.loads(line)
        counts = record["label_count"]  # in the order entailment, neutral, contradiction
        row = {"item_id": record["uid"]}
        row |= {name: record["example"][name] for name in ("premise", "hypothesis")}
        row |= {"label": _INITIALS[record["old_label"]], "majority": _INITIALS[record["majority_label"]]}
        rows.append(row | _distribution(counts))
    return pd.DataFrame(rows)


def _lalor2016(_: str) -> pd.DataFrame:
    items = _lalor_items()
    wanted = set(items["item_id"])
    found = pd.DataFrame([pair for pair in _snli_train() if pair["item_id"] in wanted], columns=_PAIR)
    missing = items["item_id"][~items["item_id"].isin(found["item_id"])]
    if len(missing):
        problems = [f"no sentence pair {item_id}" for item_id in missing]
        raise one_message(fetch(_SNLI_ZIP), problems, "The full SNLI 1.0 has all 180: download its zip again")
    return items.merge(found.drop(columns="label"), on="item_id", validate="one_to_one")


def _lalor_items() -> pd.DataFrame:
    """The 180 items of the published scales: item_id, label, stratum, group, position; no sentences."""
    archive = zipfile.Path(fetch("lalor2016/data_emnlp2016.zip"))
    rows = []
    for stratum in ("G5", "G4"):
        for line in read_text(archive / f"group_{stratum[1]}.txt").splitlines():
            rows.append((*line.split(), stratum))
    return _grouped(pd.DataFrame(rows, columns=["item_id", "label", "stratum"]))


def _cat_pairs(name: str, prefix: str) -> pd.DataFrame:
    """A tab-separated file without header or pairIDs: code, code, premise, hypothesis."""
    codes = {"1": "neutral", "2": "contradiction", "3": "entailment"}
    with fetch(name).open(encoding="utf-8", newline="") as file:
        rows = enumerate(csv.reader(file, delimiter="\t"), start=1)
        pairs = [
            (f"{prefix}-{number:05d}", premise, hypothesis, codes[code])
            for number, (code, _, premise, hypothesis) in rows
            if premise.strip() and hypothesis.strip()
        ]
    return pd.DataFrame(pairs, columns=_PAIR)


def _judged(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """SNLI's records with two sentences and a gold label ("-" stands where no three annotators agreed)."""
    for line in lines:
        record = json.loads(line)
        if record["gold_label"] != "-" and record["sentence1"].strip() and record["sentence2"].strip():
            yield record


def _snli_train() -> Iterator[dict[str, Any]]:
    """The training pairs out of the zip, line by line: with its parses the member is half a gigabyte."""
    with zipfile.ZipFile(fetch(_SNLI_ZIP)) as archive, archive.open("snli_1.0/snli_1.0_train.jsonl") as lines:
        yield from map(_pair, _judged(lines))


def _pair(record: dict[str, Any]) -> dict[str, Any]:
    return {ours: record[theirs] for ours, theirs in zip(_PAIR, _SNLI_NAMES, strict=True)}


_SNLI_NAMES = ("pairID", "sentence1", "sentence2", "gold_label")


def _shares(given: list[str]) -> dict[str, float]:
    return _distribution([given.count(label) for label in LABELS])


def _distribution(counts: list[int]) -> dict[str, float]:
    """A label distribution's columns, from how many people chose each of `LABELS`."""
    shares = {f"p_{label}": count / sum(counts) for label, count in zip(LABELS, counts, strict=True)}
    return shares | {"n_responses": sum(counts)}


# SICK and RTE


def _sick(split: str) -> pd.DataFrame:
    name = {"train": "SICK_train.txt", "validation": "SICK_trial.txt", "test": "SICK_test_annotated.txt"}[split]
    path = fetch(f"sick/{name}")
    table = parse_csv(read_text(path), path, "\t")
    table.columns = pd.Index(["item_id", "premise", "hypothesis", "relatedness", "label"])
    return table.assign(label=table["label"].str.lower(), relatedness=table["relatedness"].astype(float))


def _rte(split: str) -> pd.DataFrame:
    """One challenge's pairs: RTE-1 says TRUE and FALSE, the later ones YES and NO, in an attribute of another name.

    The standard library's parser loads no external entity, and the file's hash is checked.
    """
    import ftfy

    root = ElementTree.fromstring((zipfile.Path(fetch("rte/rte.zip")) / "rte" / f"{split}.xml").read_bytes())
    rows = []
    for pair in root.iter("pair"):
        texts = {ours: pair.findtext(theirs, "") for ours, theirs in (("premise", "t"), ("hypothesis", "h"))}
        row = {"item_id": f"{split}-{pair.get('id')}"}
        row |= {name: _evened(ftfy.fix_encoding(text)) for name, text in texts.items()}
        row["label"] = _VERDICTS[pair.get("value", pair.get("entailment", ""))]
        rows.append(row | {"challenge": f"RTE-{root.get('challenge')}", "task": pair.get("task", "")})
    return pd.DataFrame(rows)


_VERDICTS = {"TRUE": "entailment", "YES": "entailment", "FALSE": "not_entailment", "NO": "not_entailment"}


def _snow2008(_: str) -> pd.DataFrame:
    path = fetch("snow2008/rte1.tsv")
    table = parse_csv(read_text(path), path, "\t")
    table = table.rename(columns={"id": "item_id", "value": "label", "text": "premise"})
    texts = {name: table[name].map(html.unescape).map(_evened) for name in ("premise", "hypothesis")}
    return table.assign(**texts, label=table["label"].map(_VERDICTS))


def _evened(text: str) -> str:
    """Text without the line ends and doubled or outer spaces that its file's layout gave it."""
    return " ".join(text.split())


class Reader(NamedTuple):
    """How a named corpus is read: `read(split)` gives a table with a corpus's columns, its labels among `labels`."""

    splits: tuple[str, ...]
    read: Callable[[str], pd.DataFrame]
    labels: tuple[str, ...] = LABELS


READERS = {
    "scenes": Reader(("train", "validation", "test"), _scenes),
    "probes": Reader(("test",), _probes),
    "snli": Reader(("train", "train_extra", "validation", "test", "test_hard"), _snli),
    "snli-full": Reader(("train",), _snli_full),
    "chaosnli": Reader(("test",), _chaosnli),
    "lalor2016": Reader(("test",), _lalor2016),
    "sick": Reader(("train", "validation", "test"), _sick),
    "rte": Reader(("rte1_dev", "rte1_test", "rte2_dev", "rte2_test", "rte3_dev", "rte3_test"), _rte, TWO_WAY),
    "snow2008": Reader(("test",), _snow2008, TWO_WAY),
}


# files, folders, the hub


def read_source(source: str | Path, split: str | None) -> tuple[Rows, tuple[str, ...]]:
    """Rows of a named corpus, a file, a folder or a data set of the hub, and the labels to expect of it."""
    if str(source) in READERS:
        splits, read, labels = READERS[str(source)]
        return Rows(read(_one_of(splits, split, f"corpus {str(source)!r}"))), labels
    return _read_own(source, split), LABELS


def _read_own(source: str | Path, split: str | None) -> Rows:
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, split)
    if path.suffix.lower() in FORMS or path.is_file():
        if split is not None:
            raise InputError(f"{source}: a file has no split {split!r}; leave it out, or name the split's own file")
        return read_rows(path)
    if isinstance(source, str) and (match := _HUB_ID.fullmatch(source)):
        return _read_hub(match["name"], match["config"], split)
    if path.suffix or len(path.parts) > 1:
        raise InputError(f"{source}: no such file or folder; check the path")
    raise InputError(f"no corpus is called {str(source)!r}; there are {', '.join(READERS)}, or give a path or a hub id")


def _read_folder(path: Path, split: str | None) -> Rows:
    import datasets

    saved = (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()
    files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in FORMS]
    if files and not saved:
        chosen = _one_of(sorted({file.stem for file in files}), split, f"folder {path}")
        found = [file for file in files if file.stem == chosen]
        if len(found) > 1:
            raise one_message(path, [f"{file.name} is there" for file in found], f"Leave one file for {chosen!r}")
        return read_rows(found[0])
    try:
        data = datasets.load_from_disk(path) if saved else datasets.load_dataset(str(path))
    except Exception as error:  # of many kinds, by what is wrong with which file
        remedy = "save it again with save_to_disk, or put a file for each split in it (train.csv, test.csv)"
        raise InputError(f"{path}: not a folder that `datasets` can read ({_first_line(error)}); {remedy}") from error
    return _of_split(data, split, f"folder {path}")


def _read_hub(name: str, config: str | None, split: str | None) -> Rows:
    import datasets
    from huggingface_hub import HfApi, constants

    try:
        if not constants.HF_HUB_OFFLINE:
            HfApi().dataset_info(name, timeout=10)  # without a connection, load_dataset tries again for half a minute
        data = datasets.load_dataset(name, config)
    except Exception as error:  # of many kinds: no connection, no such data set or configuration, no permission, ...
        raise InputError(
            f"{name}: neither a file or folder here nor a data set that the Hugging Face hub lets us load "
            f"({_first_line(error)}); check the name (ORG/NAME or ORG/NAME:CONFIG), the connection and, for a gated "
            "data set, `hf auth login`; HF_HUB_OFFLINE=1 takes what was downloaded before"
        ) from error
    return _of_split(data, split, f"hub data set {name!r}")


def _first_line(error: BaseException) -> str:
    error = error.__cause__ or error  # `datasets` says what was wrong in the cause of its own error
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0]}"


def _of_split(data: Any, split: str | None, where: str) -> Rows:
    """Rows of a Dataset, or of the DatasetDict's split; numbers stay numbers, all else is text."""
    from datasets import ClassLabel, Dataset

    if not isinstance(data, Dataset):
        data = data[_one_of(list(data), split, where)]
    elif split is not None:
        raise InputError(f"{where} is one data set, without a split {split!r}; leave it out")
    table = data.to_pandas()
    for name, feature in data.features.items():
        if isinstance(feature, ClassLabel):
            names = dict(enumerate(feature.names)) | {-1: "-1"}
            table[name] = table[name].map(names).fillna("")
        elif table[name].dtype.kind not in "ifb":
            table[name] = table[name].astype(object).map(as_text)
    return Rows(table)


def _one_of(splits: Sequence[str], split: str | None, where: str) -> str:
    if split is None and len(splits) == 1:
        return splits[0]
    if split is None or split not in splits:
        raise InputError(f"{where} has no split {split!r}; its splits: {', '.join(splits)}")
    return split
