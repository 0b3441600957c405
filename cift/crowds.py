"""Crowd responses: load them, score them against gold labels, count labels.

Responses are a wide table of labels: one row a respondent, one column an item, missing cells allowed. Long answers, one
row an answer, are the form for a crowd of whom each member answers few items. Files are read by `cift.answers`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cift.answers import ANSWER, read_answers, read_gold, read_responses
from cift.corpora import LABELS, data_dir, load_corpus, scale_name
from cift.errors import InputError
from cift.fetch import fetch
from cift.files import one_message


class Stratum(NamedTuple):
    """One crowd: `responses` (respondents x items, labels) and the items' `gold` labels."""

    responses: pd.DataFrame
    gold: pd.Series


# crowds by name


def load_crowd(name: str) -> dict[str, Stratum]:
    """A crowd's strata by name: items that one group of people answered, with their gold labels.

    ``probes``: the embedded simulated crowd. ``lalor2016``: 983 and 976 people on 90 items each (Lalor, Wu
    and Yu, 2016). Both have the strata "G5" (all five first annotators agreed on an item's label) and "G4" (four of
    five), in the same files: irt_file_{5,4}.csv and group_{5,4}.txt.
    ``snow2008``: 164 people, 10 of whom answered each of the 800 items of the RTE-1 test set, entailment or
    not_entailment (Snow, O'Connor, Jurafsky and Ng, 2008); one stratum, "RTE-1". item_id is the pair's id there.

    InputError: an unknown name, or data that cannot be had (`cift.fetch.fetch`).
    """
    if name == "probes":
        return _strata(data_dir() / "probes")
    if name == "lalor2016":
        return _strata(zipfile.Path(fetch("lalor2016/data_emnlp2016.zip")))
    if name == "snow2008":
        return {"RTE-1": _snow2008()}
    raise InputError(f"no crowd is called {name!r}; there are probes, lalor2016 and snow2008")


def _strata(folder: Path | zipfile.Path) -> dict[str, Stratum]:
    return {f"G{n}": _stratum(folder, n) for n in (5, 4)}


def _snow2008() -> Stratum:
    labels = {"1": "entailment", "0": "not_entailment"}
    columns = {"respondent": "!amt_worker_ids", "item_id": "orig_id", "answer": "response"}
    answers = read_answers(fetch("snow2008/rte.standardized.tsv"), labels, columns=columns)
    gold = answers.groupby("item_id", sort=False)["gold"].first().map(labels).rename("label")
    return Stratum(to_wide(answers), gold)


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


# forms, scores and counts


def to_wide(answers: pd.DataFrame) -> pd.DataFrame:
    """Long answers as respondents x items, cells the answers or None, both in the order of first appearance.

    The table takes 8 bytes a cell, answered or not: 0.8 GB for 10,000 people and 10,000 items. InputError: a column or
    an id that is missing, a respondent who answers an item twice.
    """
    problems = [f"there is no column {name!r}" for name in ANSWER if name not in answers]
    if not problems:
        answers = answers[list(ANSWER)].astype(object)
        for name in ("respondent", "item_id"):
            problems += [f"row {row} has no {name}" for row in answers.index[answers[name].isna()]]
        twice = answers[answers.duplicated(["respondent", "item_id"])]
        problems += [f"{who!r} answers {item!r} twice" for who, item in twice[["respondent", "item_id"]].to_numpy()]
    if problems:
        remedy = "Give a respondent, an item_id and an answer in each row, and each respondent's to an item once"
        raise one_message("answers", problems, remedy)
    rows, respondents = pd.factorize(answers["respondent"])
    columns, items = pd.factorize(answers["item_id"])
    cells = np.full((len(respondents), len(items)), None, dtype=object)
    cells[rows, columns] = answers["answer"].where(answers["answer"].notna(), None)
    return pd.DataFrame(cells, pd.Index(respondents, name="respondent"), pd.Index(items, name="item_id"))


def to_long(responses: pd.DataFrame) -> pd.DataFrame:
    """Responses as long answers, columns respondent, item_id, answer; missing cells have no row."""
    given = responses.notna().to_numpy()
    rows, columns = given.nonzero()
    cells = responses.to_numpy()[given]
    return pd.DataFrame(dict(zip(ANSWER, (responses.index[rows], responses.columns[columns], cells), strict=True)))


def gold_of(items: Iterable[Any], gold: pd.Series, answers: Iterable[Any]) -> pd.Series:
    """The gold labels of these items, in their order; `gold` may hold further items.

    InputError: an item without a gold label, or with two; gold labels that are text where no answer is, or the reverse:
    numbers of labels would make every answer wrong.
    """
    wanted, known = pd.Index(items), gold[gold.notna()]
    problems = [f"item {item!r} has no gold label" for item in wanted[~wanted.isin(known.index)]]
    again = known.index[known.index.duplicated()].unique()
    problems += [f"item {item!r} has two gold labels" for item in again[again.isin(wanted)]]
    if not problems:
        labels, given = known.loc[wanted].unique().tolist(), [answer for answer in answers if not pd.isna(answer)]
        if labels and given and {isinstance(x, str) for x in labels}.isdisjoint(isinstance(x, str) for x in given):
            problems.append(f"labels such as {labels[0]!r} are compared with answers such as {given[0]!r}")
    if problems:
        remedy = "Give each item one gold label, named as the answers name it, or leave the item's answers out"
        raise one_message("gold", problems, remedy)
    return known.loc[wanted]


def score(responses: pd.DataFrame, gold: pd.Series) -> pd.DataFrame:
    """Responses as 1.0 (the gold label), 0.0 (another) or NaN (missing), in the same shape.

    `gold` may hold further items. InputError as `gold_of`.
    """
    found = gold_of(responses.columns, gold, pd.unique(responses.to_numpy(object).ravel()))
    right = responses.eq(found, axis=1).astype(float)
    return right.where(responses.notna())


def label_counts(responses: pd.DataFrame, labels: Sequence[str] | None = LABELS) -> pd.DataFrame:
    """How many respondents gave each item each label: items x labels; None: the labels that occur, sorted.

    InputError: an answer that is none of `labels`.
    """
    found = sorted(pd.unique(responses.to_numpy(object)[responses.notna().to_numpy(bool)]))
    labels = found if labels is None else list(labels)
    problems = [f"the answer {label!r} occurs" for label in found if label not in labels]
    if problems:
        raise one_message("responses", problems, f"The labels are {', '.join(map(str, labels))}")
    counts = {label: responses.eq(label).sum().astype(int) for label in labels}
    return pd.DataFrame(counts, index=responses.columns, columns=labels).rename_axis("item_id")


def label_distributions(responses: pd.DataFrame, labels: Sequence[str] = LABELS) -> pd.DataFrame:
    """Share of each label among an item's answers: items x (labels, n_responses); NaN where nobody answered.

    InputError: an answer that is none of `labels`.
    """
    counts = label_counts(responses, labels)
    n = counts.sum(axis=1)
    return counts.div(n.where(n > 0), axis=0).assign(n_responses=n)


def consensus(responses: pd.DataFrame) -> pd.Series:
    """The label most people gave, item_id -> label; None where labels tie for first, or nobody answered."""
    counts = label_counts(responses, None)
    first = counts.eq(counts.max(axis=1), axis=0) & counts.gt(0)
    tops = [counts.columns[row] for row in first.to_numpy(bool)]
    return pd.Series([top[0] if len(top) == 1 else None for top in tops], counts.index, dtype=object, name="label")


def groups(gold: pd.Series, stratum: str) -> dict[str, list[str]]:
    """A stratum's items by scale, name -> item ids in the order of `gold`: "G5" gives 5GS-E, 5GS-N, 5GS-C."""
    return {scale_name(stratum, label): gold.index[gold == label].tolist() for label in LABELS if (gold == label).any()}
