"""Crowd responses: read and check them, score them against gold labels, describe agreement.

Responses are a wide table of labels: one row a respondent, one column an item, missing cells allowed.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cift.corpora import LABELS, data_dir, load_corpus, scale_name
from cift.errors import InputError
from cift.fetch import fetch
from cift.files import delimiter_of, one_message, parse_csv, read_text

_MISSING = ("", "na", "nan")


class Stratum(NamedTuple):
    """One crowd: `responses` (respondents x items, labels) and the items' `gold` labels."""

    responses: pd.DataFrame
    gold: pd.Series


# reading


def read_responses(
    path: str | Path | zipfile.Path, labels: Sequence[str] = LABELS, items: Sequence[str] | None = None
) -> pd.DataFrame:
    """Responses from a csv whose rows are a respondent's id and answers; the header names the items.

    An answer is a label or its initial, in any case; empty, "na" and "nan" are missing.

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
    table = parse_csv(read_text(path), path).rename(columns=str.strip)
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
        raise one_message(path, problems, remedy)
    responses = cells.set_axis(pd.Index(table.iloc[:, 0].str.strip(), name="respondent"), axis=0)
    return _with_answers(responses, path)


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


# crowds by name


def load_crowd(name: str) -> dict[str, Stratum]:
    """A crowd's strata, "G5" (all five first annotators agreed on an item's label) and "G4" (four of five).

    ``probes``: the embedded simulated crowd. ``lalor2016``: 983 and 976 people on 90 items each (Lalor, Wu
    and Yu, 2016). Both have the same files: irt_file_{5,4}.csv and group_{5,4}.txt.

    InputError: an unknown name, or data that cannot be had (`cift.fetch.fetch`).
    """
    folder: Path | zipfile.Path
    if name == "probes":
        folder = data_dir() / "probes"
    elif name == "lalor2016":
        folder = zipfile.Path(fetch("lalor2016/data_emnlp2016.zip"))
    else:
        raise InputError(f"no crowd is called {name!r}; there are probes and lalor2016")
    return {f"G{n}": _stratum(folder, n) for n in (5, 4)}


def _stratum(folder: Path | zipfile.Path, number: int) -> Stratum:
    gold = read_gold(folder / f"group_{number}.txt")
    return Stratum(read_responses(folder / f"irt_file_{number}.csv", items=list(gold.index)), gold)


def load_model_crowd() -> pd.DataFrame:
    """Scored answers of 90 model checkpoints to the 9,824 SNLI test items (Vania et al., 2021): 1.0 or 0.0.

    The published columns are numbered in the order of SNLI's test pairs with a gold label; here they are
    named by pairID. InputError: data that cannot be had (`cift.fetch.fetch`).
    """
    scored = pd.read_csv(fetch("model-crowd/snli_irt_all_coded.csv"), index_col=0).astype(float)
    item_ids = load_corpus("snli", "test")["item_id"]
    return scored.set_axis(pd.Index(item_ids, name="item_id"), axis=1).rename_axis("respondent")


# scores and agreement


def score(responses: pd.DataFrame, gold: pd.Series) -> pd.DataFrame:
    """Responses as 1.0 (the gold label), 0.0 (another) or NaN (missing), in the same shape.

    `gold` may hold further items. InputError: an item without a gold label.
    """
    unknown = [item for item in responses.columns if item not in gold.index]
    if unknown:
        problems = [f"item {item!r} has no gold label" for item in unknown]
        raise one_message("responses", problems, "Add the items to the gold labels, or drop their columns")
    right = responses.eq(gold.loc[responses.columns], axis=1).astype(float)
    return right.where(responses.notna())


def label_distributions(responses: pd.DataFrame, labels: Sequence[str] = LABELS) -> pd.DataFrame:
    """Share of each label among an item's answers: items x (labels, n_responses); NaN where nobody answered.

    InputError: an answer that is none of `labels`.
    """
    counts = _counts(responses)
    unknown = [str(label) for label in counts.columns if label not in labels]
    if unknown:
        problems = [f"the answer {label!r} occurs" for label in unknown]
        raise one_message("responses", problems, f"The labels are {', '.join(labels)}")
    counts = counts.reindex(columns=list(labels), fill_value=0)
    n = counts.sum(axis=1)
    return counts.div(n.where(n > 0), axis=0).assign(n_responses=n)


def consensus(responses: pd.DataFrame) -> pd.Series:
    """The label most people gave, item_id -> label; None where labels tie for first, or nobody answered."""
    counts = _counts(responses)
    top = counts.eq(counts.max(axis=1), axis=0)
    return counts.idxmax(axis=1).where(top.sum(axis=1) == 1, None).rename("label")


def fleiss_kappa(responses: pd.DataFrame) -> float:
    """Agreement between respondents beyond chance, at most 1 (Fleiss, 1971, Psychological Bulletin 76, 378).

    With n_ij people giving item i the label j and n_i = sum_j n_ij (which differs between items where answers
    are missing), agreement on an item is P_i = sum_j n_ij (n_ij - 1) / (n_i (n_i - 1)), and chance is
    P_e = sum_j p_j^2 with p_j the share of label j among all answers: kappa = (mean P_i - P_e) / (1 - P_e).
    Items with fewer than two answers are left out. NaN where no item is left, or all answers are the same.
    """
    counts = _counts(responses).to_numpy(float)
    counts = counts[counts.sum(axis=1) >= 2]
    if not len(counts):
        return float("nan")
    n = counts.sum(axis=1)
    observed = np.mean((counts * (counts - 1)).sum(axis=1) / (n * (n - 1)))
    expected = np.sum((counts.sum(axis=0) / n.sum()) ** 2)
    return float((observed - expected) / (1 - expected)) if expected < 1 else float("nan")


def groups(gold: pd.Series, stratum: str) -> dict[str, list[str]]:
    """A stratum's items by scale, name -> item ids in the order of `gold`: "G5" gives 5GS-E, 5GS-N, 5GS-C."""
    return {scale_name(stratum, label): gold.index[gold == label].tolist() for label in LABELS if (gold == label).any()}


def _counts(responses: pd.DataFrame) -> pd.DataFrame:
    """How many respondents gave each item each label: items x the labels that occur."""
    found = sorted(pd.unique(responses.to_numpy()[responses.notna().to_numpy()]))
    counts = {label: responses.eq(label).sum() for label in found}
    return pd.DataFrame(counts, index=responses.columns).rename_axis("item_id")
