"""Files of answers and gold labels: wide or long, in words or initials, checked with one error for all that is wrong.

Wide answers that are already scored are read by `cift.tables.read_scored`.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cift.corpora import LABELS
from cift.errors import InputError
from cift.files import delimiter_of, one_message, parse_csv, read_table, read_text

_MISSING = ("", "na", "nan")
ANSWER = ("respondent", "item_id", "answer")  # the columns of long answers


def read_responses(
    path: str | Path | zipfile.Path, labels: Sequence[str] = LABELS, items: Sequence[str] | None = None
) -> pd.DataFrame:
    """Responses from a csv whose rows are a respondent's id and answers; the header names the items.

    Cells are separated by commas, semicolons, tabs or bars. An answer is a label or its initial, in any case; empty,
    "na" and "nan" are missing.

    Returns
    -------
    DataFrame
        Respondents (index "respondent") x items, cells one of `labels` or None. Respondents without any
        answer are left out, with a UserWarning that names them.

    Raises
    ------
    InputError
        One message with all of: an unknown label, an item that is not in `items` (if given), a repeated or
        empty respondent or item id, no items, no respondents.
    """
    path = Path(path) if isinstance(path, str) else path
    text = read_text(path)
    table = parse_csv(text, path, delimiter_of(text)).rename(columns=str.strip)
    known = _spellings(labels)
    cells = table.iloc[:, 1:].map(lambda cell: known.get(cell.strip().lower(), cell)).astype(object)
    problems = _id_problems(table, items)
    for row, answers in zip(table.index, cells.to_numpy(), strict=True):
        problems += [
            f"row {row}, item {item!r} has the answer {answer!r}"
            for item, answer in zip(cells.columns, answers, strict=True)
            if answer is not None and answer not in labels
        ]
    if problems:
        remedy = (
            "The first column holds the respondents' ids, each other column an item's answers; an answer is "
            f"one of {', '.join(labels)} or its initial, or empty where it is missing"
        )
        if {"item_id", "answer"} & set(table):
            remedy += ". A file with a row an answer is read by crowds.read_answers"
        raise one_message(path, problems, remedy)
    responses = cells.set_axis(pd.Index(table.iloc[:, 0].str.strip(), name="respondent"), axis=0)
    return _with_answers(responses, path)


def read_answers(
    path: str | Path,
    labels: Sequence[str] | Mapping[Any, Any] = LABELS,
    items: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Long answers from a .csv, .tsv, .jsonl or .parquet file with one row an answer.

    labels: what an answer may be, written as for `read_responses`; or what each value of the file means:
        {"1": "entailment", "0": "not_entailment"}. {"1": 1.0, "0": 0.0} reads answers that are already scored.
    items: the items that may be answered. columns: our names of columns to the file's: {"respondent": "worker"}.

    Returns
    -------
    DataFrame
        Columns respondent, item_id, answer, and what else the file has, as text; order and seconds are numbers, NaN
        where empty. Rows without an answer are left out, with a UserWarning that counts them.

    Raises
    ------
    InputError
        One message with all of: a column that is missing or would be there twice, no answers, an empty respondent or
        item_id, an unknown answer, an item that is not in `items` (if given), a respondent who answers an item twice,
        an order or seconds that is no number.
    """
    path = Path(path)
    table = _with_our_names(_read_long(path), columns or {}, path)
    for name in ANSWER:
        table[name] = table[name].str.strip()
    meanings = _meanings(table["answer"].unique(), labels)
    problems = _answer_problems(table, meanings, items)
    for name in table.columns.intersection(["order", "seconds"]):
        numbers = pd.to_numeric(table[name], errors="coerce").where(lambda found: np.isfinite(found))
        wrong = table.loc[numbers.isna() & (table[name].str.strip() != ""), name]
        problems += [(row, f"row {row} has the {name} {text!r}") for row, text in wrong.items()]
        table[name] = numbers
    if problems:
        known = ", ".join(map(str, labels))
        remedy = f"Give each row a respondent, an item_id and an answer, one of {known}, or empty where it is missing"
        raise one_message(path, [text for _, text in sorted(problems)], remedy)
    given = table["answer"].map(meanings).astype(object)
    absent = int(given.isna().sum())
    if absent == len(table):
        raise InputError(f"{path}: no respondent answered anything; give at least one answer")
    if absent:
        warnings.warn(f"{path}: left out {absent} of {len(table)} rows, which hold no answer", stacklevel=2)
    others = [name for name in table if name not in ANSWER]
    return table.assign(answer=given)[[*ANSWER, *others]][given.notna()].reset_index(drop=True)


def _read_long(path: Path) -> pd.DataFrame:
    if path.suffix.lower() not in (".csv", ".tsv"):
        return read_table(path)
    text = read_text(path)
    return parse_csv(text, path, delimiter_of(text)).rename(columns=str.strip)


def _with_our_names(table: pd.DataFrame, columns: Mapping[str, str], path: Path) -> pd.DataFrame:
    theirs = {name: columns.get(name, name) for name in (*ANSWER, *columns)}
    renamed = table.rename(columns={other: name for name, other in theirs.items()})
    problems = [
        f"there is no column {other!r}" + f" for {name}" * (other != name)
        for name, other in theirs.items()
        if other not in table or name not in renamed  # named for two
    ]
    table = renamed
    problems += [f"two columns are {name!r}" for name in table.columns[table.columns.duplicated()].unique()]
    if table.empty:
        problems.append("there are no answers")
    if problems:
        remedy = (
            'Name the columns in columns={"respondent": ..., "item_id": ..., "answer": ...}. A file with a row a '
            "respondent and a column an item is read by crowds.read_responses"
        )
        raise one_message(path, problems, remedy)
    return table


def _meanings(cells: Iterable[str], labels: Sequence[str] | Mapping[Any, Any]) -> dict[str, Any]:
    """Of each cell that can be read: the label it means, None where it is missing."""
    if isinstance(labels, Mapping):
        absent = {cell: None for cell in cells if cell.lower() in _MISSING}
        return absent | {str(value): label for value, label in labels.items()}
    known = _spellings(labels)
    return {cell: known[cell.lower()] for cell in cells if cell.lower() in known}


def _answer_problems(
    table: pd.DataFrame, meanings: Mapping[str, Any], items: Sequence[str] | None
) -> list[tuple[int, str]]:
    problems = []
    for name in ("respondent", "item_id"):
        problems += [(row, f"row {row} has an empty {name}") for row in table.index[table[name] == ""]]
    unknown = table["answer"][~table["answer"].isin(list(meanings))]
    problems += [(row, f"row {row} has the answer {answer!r}") for row, answer in unknown.items()]
    if items is not None:
        strange = table["item_id"][~table["item_id"].isin([*items, ""])]
        more = f"which is not one of the {len(items)} items expected"
        problems += [(row, f"row {row} has the item {item!r}, {more}") for row, item in strange.items()]
    answered = table[table["answer"].map(meanings).notna()]
    pair = ["respondent", "item_id"]
    twice = answered[answered.duplicated(pair, keep=False)]
    first = twice.assign(row=twice.index).groupby(pair)["row"].transform("first")
    problems += [
        (row, f"row {row} repeats {respondent!r} on {item!r}, in row {first[row]} before")
        for row, respondent, item in twice[pair].itertuples()
        if row != first[row]
    ]
    return problems


def _spellings(labels: Sequence[str]) -> dict[str, str | None]:
    """Every accepted spelling of a cell, in lower case; initials only where they are unambiguous."""
    initials = [label[0].lower() for label in labels]
    known: dict[str, str | None] = {
        initial: label for initial, label in zip(initials, labels, strict=True) if initials.count(initial) == 1
    }
    return known | {label.lower(): label for label in labels} | dict.fromkeys(_MISSING)


def _id_problems(table: pd.DataFrame, items: Sequence[str] | None) -> list[str]:
    columns, respondents = table.columns[1:], table.iloc[:, 0].str.strip()
    problems = [f"item {item!r} has two columns" for item in columns[columns.duplicated()].unique()]
    if items is not None:
        unknown = columns[~columns.isin(list(items))]
        problems += [f"item {item!r} is not one of the {len(items)} items expected" for item in unknown]
    if (columns.str.strip() == "").any():
        problems.append("an item has no id in the header")
    if columns.empty:
        problems.append("there are no items")
    if table.empty:
        problems.append("there are no respondents")
    problems += [f"row {row} has no respondent id" for row in table.index[respondents == ""]]
    repeated = respondents[respondents.duplicated() & (respondents != "")]
    return problems + [f"row {row} repeats the respondent {name!r}" for row, name in repeated.items()]


def _with_answers(responses: pd.DataFrame, source: object) -> pd.DataFrame:
    silent = responses.index[responses.isna().all(axis=1)]
    if len(silent) == len(responses):
        raise InputError(f"{source}: no respondent answered anything; give at least one answer")
    if len(silent):
        more = f" and {len(silent) - 20} more" if len(silent) > 20 else ""
        warnings.warn(
            f"{source}: left out {len(silent)} of {len(responses)} respondents, who answered nothing: "
            f"{', '.join(silent[:20])}{more}",
            UserWarning,
            stacklevel=3,
        )
    return responses.drop(index=silent)


def read_gold(path: str | Path | zipfile.Path, labels: Sequence[str] | None = LABELS) -> pd.Series:
    """Gold labels, item_id -> label in file order: lines "item label", or a .csv with columns item_id, label.

    labels: what a label may be; None: anything. A .csv may have other separators than commas (or be called .tsv).

    InputError, one message: a line of another form, an unknown label, a repeated item, no items.
    """
    path = Path(path) if isinstance(path, str) else path
    text = read_text(path)
    if path.name.lower().endswith((".csv", ".tsv")):
        table = parse_csv(text, path, delimiter_of(text))
        if list(table) != ["item_id", "label"]:
            raise InputError(f"{path}: the columns are {', '.join(table.columns)}; name them item_id, label")
        rows = {row: [item.strip(), label.strip()] for row, item, label in table.itertuples()}
    else:
        lines = enumerate(text.splitlines(), start=1)
        rows = {row: line.rsplit(maxsplit=1) for row, line in lines if line.strip()}
    problems, gold = [], {}
    for row, parts in rows.items():
        if len(parts) != 2 or not all(parts):
            problems.append(f"row {row} is not an item and a label: {' '.join(parts)!r}")
        elif labels is not None and parts[1] not in labels:
            problems.append(f"row {row} has the label {parts[1]!r}")
        elif parts[0] in gold:
            problems.append(f"row {row} repeats the item {parts[0]!r}")
        else:
            gold[parts[0]] = parts[1]
    if not rows:
        problems.append("there are no items")
    if problems:
        which = "its label" if labels is None else f"one of {', '.join(labels)}"
        remedy = f"Give each item once, with {which}"
        raise one_message(path, problems, remedy)
    return pd.Series(gold, name="label", dtype=object).rename_axis("item_id")
