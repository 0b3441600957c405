"""What a crowd says together: one label an item, by majority or by models of who errs how, and how well that does.

Answers are in long form: a DataFrame with the columns respondent, item_id, answer. The models are crowd-kit's
(Ustalov, Pavlichenko & Tseitlin, 2024, JOSS 9(96), 6227).
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cift.crowds import gold_of
from cift.errors import InputError
from cift.evaluation import wilson
from cift.files import one_message, write_text

_CLIP = 1e-6  # the least probability that a log-loss counts with: 13.8 nats at most an item


def checked(answers: pd.DataFrame, columns: Sequence[str] = ()) -> pd.DataFrame:
    """The answers sorted by item and respondent, with these columns besides respondent, item_id and answer.

    InputError, one message: a missing column, no answers, an empty cell, somebody who answers an item twice.
    """
    needed = ["respondent", "item_id", "answer", *columns]
    problems = [f"there is no column {name!r}" for name in needed if name not in answers]
    if not problems and answers.empty:
        problems.append("there are no answers")
    if not problems:
        for name in needed:
            problems += [f"row {row} has no {name}" for row in answers.index[answers[name].isna()]]
        again = answers[answers.duplicated(["respondent", "item_id"])]
        problems += [
            f"row {row}: {respondent!r} answers the item {item!r} again"
            for row, respondent, item in zip(again.index, again["respondent"], again["item_id"], strict=True)
        ]
    if problems:
        raise one_message("answers", problems, f"A row is one answer, with the columns {', '.join(needed)}")
    plain = dict.fromkeys(needed[:3], object)  # categories would bring those that nobody uses
    return answers[needed].astype(plain).sort_values(["item_id", "respondent"], ignore_index=True)


# methods: from answers as `coded` gives them to probabilities, tasks x labels


def _votes(data: pd.DataFrame, seed: int) -> pd.DataFrame:
    counts = data.groupby(["task", "label"]).size().unstack(fill_value=0)
    return counts.div(counts.sum(axis=1), axis=0)


def _weighted(name: str) -> Callable[[pd.DataFrame, int], pd.DataFrame]:
    """Majority votes weighted by skill; fitted apart, for these classes' own predict fails beside scikit-learn 1.7."""

    def probabilities(data: pd.DataFrame, seed: int) -> pd.DataFrame:
        from crowdkit.aggregation import classification

        skills = getattr(classification, name)().fit(data).skills_
        return classification.MajorityVote().fit_predict_proba(data, skills=skills)

    return probabilities


def _model(name: str, seeded: bool = False, **settings: Any) -> Callable[[pd.DataFrame, int], pd.DataFrame]:
    def probabilities(data: pd.DataFrame, seed: int) -> pd.DataFrame:
        from crowdkit.aggregation import classification

        return getattr(classification, name)(**settings, **({"random_state": seed} if seeded else {})).fit(data).probas_

    return probabilities


# Of crowd-kit's others, KOS is for two labels, M-MSR has no probabilities, and both find less than the majority does
# on snow2008. MACE's ten restarts all start from the same random state in crowd-kit 1.4, so one does.
METHODS: dict[str, Callable[[pd.DataFrame, int], pd.DataFrame]] = {
    "majority": _votes,
    "wawa": _weighted("Wawa"),
    "zero-based-skill": _weighted("ZeroBasedSkill"),
    "dawid-skene": _model("DawidSkene"),
    "one-coin": _model("OneCoinDawidSkene"),
    "glad": _model("GLAD"),
    "mace": _model("MACE", seeded=True, n_restarts=1),
}


def coded(answers: pd.DataFrame) -> tuple[pd.DataFrame, pd.Index, pd.Index, pd.Index]:
    """Checked answers as crowd-kit wants them (task, worker, label, all numbers), and the names behind the numbers.

    Numbers rise in the order in which tasks, workers and labels first occur. crowd-kit's MACE mixes workers up
    otherwise (checked with 1.4.2); and with numbers no label can have the name of one of its columns.
    """
    tasks, items = pd.factorize(answers["item_id"])
    workers, respondents = pd.factorize(answers["respondent"])
    labels, names = pd.factorize(answers["answer"])
    data = pd.DataFrame({"task": tasks, "worker": workers, "label": labels})
    return data, pd.Index(items), pd.Index(respondents), pd.Index(names)


def consensus(answers: pd.DataFrame, method: str = "majority", seed: int = 0) -> pd.DataFrame:
    """One label an item, and how probable each label is.

    majority: the label most people gave, shares of the votes. wawa, zero-based-skill: votes weighted by how often
    somebody agrees with the outcome. dawid-skene: every respondent has a confusion matrix (Dawid & Skene, 1979,
    Applied Statistics 28, 20); one-coin: every respondent has one accuracy; glad: accuracy depends on ability and
    difficulty (Whitehill et al., 2009, NeurIPS); mace: respondents know, or guess in their own way (Hovy et al., 2013,
    NAACL).

    Probabilities of models assume that people err independently of each other; where an item misleads them all, the
    models are far too sure. The order of the rows does not matter. Only mace draws anything from `seed`.

    Returns
    -------
    DataFrame
        index item_id; label, None where labels tie for first (nothing is drawn); tie; a probability column per label
        that occurs, in alphabetical order; n_responses.

    Raises
    ------
    InputError
        An unknown method, answers that are none (`checked`), answers that are all the same (but for majority), or
        numbers that the method could not hold (mace with hundreds of answers an item).
    """
    if method not in METHODS:
        raise InputError(f"method {method!r}: unknown; choose from {', '.join(METHODS)}")
    data, items, _, names = coded(checked(answers))
    if len(names) == 1 and method != "majority":
        raise InputError(f"answers: all are {names[0]!r}, so {method} has no errors to learn from; use majority")
    with warnings.catch_warnings():  # of the library's own pandas calls; what is not a number is found below
        warnings.simplefilter("ignore")
        found = METHODS[method](data, seed)
    if not np.isfinite(found.to_numpy(float)).all():
        raise InputError(f"{method}: too many answers an item for its arithmetic; use dawid-skene")
    shares = found.reindex(index=range(len(items)), columns=range(len(names)))
    shares = shares.set_axis(items.rename("item_id"), axis=0).set_axis(names, axis=1).sort_index(axis=1)
    shares = shares.div(shares.sum(axis=1), axis=0)
    tie = (_first(shares).sum(axis=1) > 1).rename("tie")
    label = shares.idxmax(axis=1).astype(object).where(~tie, None).rename("label")
    return pd.concat([label, tie, shares], axis=1).assign(n_responses=data.groupby("task").size().to_numpy())


def _first(shares: pd.DataFrame) -> pd.DataFrame:
    """Which labels have the largest share of an item, as True."""
    return shares.ge(shares.max(axis=1) - 1e-9, axis=0)


# against gold


def known_gold(answers: pd.DataFrame, gold: pd.Series) -> pd.Series:
    """The gold labels of the items answered, in the order of their first answer. InputError as `crowds.gold_of`."""
    return gold_of(answers["item_id"].unique(), gold, answers["answer"].unique())


def credit(found: pd.DataFrame, gold: pd.Series) -> pd.Series:
    """What each item of a consensus is worth: 1 right, 0 wrong, 1/k where the gold label is among k tied labels.

    Which is the expected value of drawing among the tied.
    """
    first = _first(_shares(found)).reindex(columns=sorted({*_shares(found), *gold}), fill_value=False).to_numpy()
    among = (first & _is_gold(found, gold)).any(axis=1)
    return pd.Series(among / first.sum(axis=1), index=found.index, name="credit")


def compare(
    answers: pd.DataFrame, gold: pd.Series, methods: Sequence[str] = tuple(METHODS), seed: int = 0
) -> pd.DataFrame:
    """How often each method finds the gold label, and whether that is more often than the majority does.

    Items are those of `answers`; `gold` (item_id -> label) may hold more.

    Returns
    -------
    DataFrame
        index method; accuracy with Wilson's 95 % interval (low, high), ties counting as `credit` says; ties;
        brier: mean sum over labels of (probability - 1 or 0) squared, 0 to 2; log_loss in nats, probabilities taken
        as at least 1e-6; difference of accuracy from the majority's, with a 95 % percentile bootstrap interval over
        items (difference_low, difference_high); better and worse: items on which the method does better and worse
        than the majority, p: McNemar's exact test of these two; seconds.

    Raises
    ------
    InputError
        As `consensus`; an item without gold label.
    """
    from scipy.stats import binomtest, bootstrap

    gold = known_gold(checked(answers), gold)
    baseline = credit(consensus(answers), gold)
    rows = []
    for method in methods:
        start = time.perf_counter()
        found = consensus(answers, method, seed)
        seconds = time.perf_counter() - start
        worth = credit(found, gold)
        low, high = wilson(worth.sum(), len(worth))
        row = {"method": method, "accuracy": worth.mean(), "low": low, "high": high, "ties": int(found["tie"].sum())}
        row |= dict(zip(("brier", "log_loss"), _losses(found, gold), strict=True))
        if method != "majority":
            gain = (worth - baseline).to_numpy()
            interval = (np.nan, np.nan)  # of one item there is none
            if len(gain) > 1:
                drawn = bootstrap((gain,), np.mean, n_resamples=9999, method="percentile", rng=seed, batch=500)
                interval = drawn.confidence_interval
            better, worse = int((gain > 0).sum()), int((gain < 0).sum())
            row |= {"difference": gain.mean()}
            row |= dict(zip(("difference_low", "difference_high"), interval, strict=True))
            row |= {"better": better, "worse": worse}
            row |= {"p": binomtest(better, better + worse).pvalue if better + worse else 1.0}
        rows.append(row | {"seconds": seconds})
    table = pd.DataFrame(rows).set_index("method")
    counts = [name for name in ("better", "worse") if name in table]
    return table.astype(dict.fromkeys(counts, "Int64"))[[name for name in table if name != "seconds"] + ["seconds"]]


def _shares(found: pd.DataFrame) -> pd.DataFrame:
    return found.drop(columns=["label", "tie", "n_responses"])


def _is_gold(found: pd.DataFrame, gold: pd.Series) -> np.ndarray:
    """Items x all labels, of the answers and of gold in alphabetical order: True for the gold label."""
    labels = np.array(sorted({*_shares(found), *gold}), dtype=object)
    return gold.loc[found.index].to_numpy()[:, None] == labels


def _losses(found: pd.DataFrame, gold: pd.Series) -> tuple[float, float]:
    """Brier score and log-loss; a gold label that nobody gave has probability 0."""
    is_gold = _is_gold(found, gold)
    p = _shares(found).reindex(columns=sorted({*_shares(found), *gold}), fill_value=0.0).to_numpy(float)
    return float(((p - is_gold) ** 2).sum(axis=1).mean()), float(-np.log(np.clip(p[is_gold], _CLIP, 1)).mean())


# the record of what the public crowds show


def record(seed: int = 0, repeats: int = 100) -> dict[str, Any]:
    """What consensus, worker quality and fewer answers are worth on snow2008 and lalor2016, tables as lists by column.

    Beside them, marked as simulated: the same of the probes, and how well spammers are found in simulated crowds.
    InputError: data that cannot be had (`cift.fetch.fetch`).
    """
    from cift import crowds, spam, workers
    from cift.fetch import REGISTRY
    from cift.records import provenance

    responses, gold = crowds.load_crowd("snow2008")["RTE-1"]
    answers = crowds.to_long(responses)
    suspects = spam.suspects(answers)
    reading = answers[~answers["respondent"].isin(suspects.index[suspects["verdict"] == "suspect"])]
    few = {"majority": repeats, "dawid-skene": max(repeats // 5, 1)}
    snow = {
        "answers": len(answers),
        "compare": _columns(compare(answers, gold, seed=seed)),
        "compare_without_suspects": _columns(compare(reading, gold, ["majority", "dawid-skene"], seed)),
        "quality": _columns(workers.quality(answers, gold)),
        "suspects": _columns(suspects[suspects["verdict"] != "reads"]),
        "enough": {
            method: _columns(workers.enough(answers, gold, range(1, 11), n, seed, method)) for method, n in few.items()
        },
    }
    names = ("snow2008/rte.standardized.tsv", "lalor2016/data_emnlp2016.zip")
    return {
        **provenance(),
        "seed": seed,
        "repeats": few,
        "data": {name: REGISTRY[name].hash for name in names},
        "snow2008": snow,
        "lalor2016": _dense("lalor2016", seed, repeats),
        "probes (simulated)": _dense("probes", seed, repeats),
        "spammers found (simulated)": _columns(_spammers_found(gold)),
    }


def _dense(name: str, seed: int, repeats: int) -> dict[str, Any]:
    from cift import crowds, workers

    methods = ["majority", "wawa", "dawid-skene", "one-coin"]
    sizes = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100, 200]
    found = {}
    for stratum, (responses, gold) in crowds.load_crowd(name).items():
        answers = crowds.to_long(responses)
        fewer = workers.enough(answers, gold, sizes, repeats, seed)
        found[stratum] = {"compare": _columns(compare(answers, gold, methods, seed)), "enough": _columns(fewer)}
    return found


def _spammers_found(gold: pd.Series, crowds: int = 20) -> pd.DataFrame:
    """Precision and recall of `cift.spam.suspects` without order and seconds, by how many answers somebody gave."""
    from cift import simulate_crowd, spam

    found = []
    for seed in range(crowds):
        answers, truth = simulate_crowd.sparse_answers(gold, seed=seed)
        verdicts = spam.suspects(answers[["respondent", "item_id", "answer"]])
        found.append(truth.assign(suspect=verdicts["verdict"] == "suspect"))
    people = pd.concat(found)
    people["answers"] = pd.cut(people["n"], [0, 20, 40, 100, np.inf], labels=["20", "40", "60 to 100", "over 100"])
    groups = people.groupby("answers", observed=True)
    both = people["suspect"] & people["spammer"]
    table = groups[["spammer", "suspect"]].sum().assign(right=both.groupby(people["answers"], observed=True).sum())
    table["precision"], table["recall"] = table["right"] / table["suspect"], table["right"] / table["spammer"]
    return table.assign(respondents=groups.size())


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    rows = json.loads(table.reset_index().to_json(orient="records", double_precision=5))  # NaN as null
    return {name: [row[name] for row in rows] for name in rows[0]}


if __name__ == "__main__":
    write_text(sys.argv[1], json.dumps(record(), indent=1) + "\n")
