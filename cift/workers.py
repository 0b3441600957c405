"""Who answers how well: quality of respondents, learning and fatigue, and how many answers are enough.

Answers are in long form: a DataFrame with the columns respondent, item_id, answer, and order (a respondent's own,
from 1) and seconds where they are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon
from scipy.stats import t

from cift.consensus import checked, coded, consensus, credit, known_gold
from cift.errors import InputError
from cift.evaluation import wilson
from cift.files import one_message

_TOO_FAST = 1 / 3  # of an item's median seconds: less is too fast


class Crowd(NamedTuple):
    """Answers, and for each one what the others said of its item."""

    answers: pd.DataFrame  # checked
    data: pd.DataFrame  # coded: task, worker, label; same rows
    respondents: pd.Index
    labels: pd.Index
    others: np.ndarray  # answers x labels: how many others gave each label
    n: np.ndarray  # how many others
    fast: np.ndarray | None  # which answers were too fast, where that is known


def beside_others(answers: pd.DataFrame) -> Crowd:
    """The answers beside what others said of the same items. InputError as `cift.consensus.checked`."""
    known = [name for name in ("order", "seconds") if name in answers]
    answers = checked(answers, known)
    data, items, respondents, labels = coded(answers)
    own = np.eye(len(labels))[data["label"]]
    counts = np.zeros((len(items), len(labels)))
    np.add.at(counts, data["task"], own)
    others = counts[data["task"]] - own
    fast = None
    if "seconds" in answers:
        seconds = answers["seconds"].astype(float)
        fast = (seconds < _TOO_FAST * seconds.groupby(data["task"]).transform("median")).to_numpy()
    return Crowd(answers, data, respondents, labels, others, others.sum(axis=1), fast)


def _same(crowd: Crowd) -> np.ndarray:
    """Share of the others who gave the same answer; NaN where nobody else answered."""
    same = np.take_along_axis(crowd.others, crowd.data[["label"]].to_numpy(), axis=1)[:, 0]
    return np.divide(same, crowd.n, out=np.full(len(same), np.nan), where=crowd.n > 0)


def quality(answers: pd.DataFrame, gold: pd.Series | None = None) -> pd.DataFrame:
    """What can be said of each respondent, most answers first.

    Returns
    -------
    DataFrame
        index respondent; n answers; agreement: mean share of an item's other respondents who gave the same answer;
        skill: from the respondent's confusion matrix in a Dawid-Skene model, (K d - 1) / (K - 1) with d the mean of
        its diagonal over K labels: 1 never errs, 0 answers without reading, whatever labels are preferred (for two
        labels, informedness or Youden's J); one_label: share of the label given most; median_seconds where `answers`
        has seconds; accuracy against `gold` where given, with Wilson's 95 % interval (low, high).

        Agreement and accuracy depend on which items somebody had. With 20 answers skill is rough, and too far from 0.

    Raises
    ------
    InputError
        As `cift.consensus.consensus`; an item without gold label.
    """
    crowd = beside_others(answers)
    by = crowd.data["worker"].to_numpy()
    given = np.zeros((len(crowd.respondents), len(crowd.labels)))
    np.add.at(given, (by, crowd.data["label"]), 1)
    table = pd.DataFrame(
        {
            "n": given.sum(axis=1).astype(int),
            "agreement": pd.Series(_same(crowd)).groupby(by).mean(),
            "skill": _skill(crowd),
            "one_label": given.max(axis=1) / given.sum(axis=1),
        }
    )
    if "seconds" in crowd.answers:
        table["median_seconds"] = crowd.answers["seconds"].groupby(by).median()
    if gold is not None:
        right = crowd.answers["answer"].eq(crowd.answers["item_id"].map(known_gold(crowd.answers, gold))).groupby(by)
        table["accuracy"] = right.mean()
        table["low"], table["high"] = wilson(right.sum(), right.size())
    table.index = crowd.respondents.rename("respondent")
    return table.sort_values("n", ascending=False, kind="stable")


def _skill(crowd: Crowd) -> np.ndarray:
    from crowdkit.aggregation.classification import DawidSkene

    k = len(crowd.labels)
    if k == 1:
        return np.full(len(crowd.respondents), np.nan)
    model: Any = DawidSkene().fit(crowd.data)
    errors = model.errors_  # (worker, answer) x true label
    diagonal = np.zeros((len(crowd.respondents), k))  # an answer that somebody never gave has no row
    for label in range(k):
        rows = errors.xs(label, level="label")[label]
        diagonal[rows.index, label] = rows
    return (k * diagonal.mean(axis=1) - 1) / (k - 1)


# learning and fatigue


def curve(answers: pd.DataFrame, gold: pd.Series, by: str = "order", bins: int = 8) -> pd.DataFrame:
    """Accuracy along `by` (the order of a respondent's answers), in bins with about as many answers each.

    Whoever stays long may be better or worse than who leaves early, so late answers come from other people than
    early ones. adjusted takes that out: an answer's accuracy less its respondent's mean, plus the mean of all.

    Returns
    -------
    DataFrame
        from, to (of `by`), n, respondents, accuracy with Wilson's 95 % interval (low, high), adjusted.

    Raises
    ------
    InputError
        As `cift.consensus.checked`; an item without gold label.
    """
    answers, right = _right(answers, gold, by)
    centred = right - right.groupby(answers["respondent"]).transform("mean") + right.mean()
    bin_ = pd.qcut(answers[by], bins, labels=False, duplicates="drop")
    groups = pd.DataFrame(
        {"by": answers[by], "respondent": answers["respondent"], "right": right, "c": centred}
    ).groupby(bin_)
    low, high = wilson(groups["right"].sum(), groups.size())
    columns = {"from": groups["by"].min(), "to": groups["by"].max(), "n": groups.size()}
    columns |= {"respondents": groups["respondent"].nunique(), "accuracy": groups["right"].mean()}
    table = pd.DataFrame(columns | {"low": low, "high": high, "adjusted": groups["c"].mean()})
    return table.reset_index(drop=True)


def trend(answers: pd.DataFrame, gold: pd.Series, by: str = "order", unit: float = 10) -> pd.DataFrame:
    """Does accuracy rise or fall along `by`? Change of accuracy for `unit` more of it, by linear regression.

    Returns
    -------
    DataFrame
        Rows "pooled" (all answers alike; who stays long can fake a trend) and "within" (deviations from each
        respondent's means: fixed effects, so that nobody is compared with others). Columns change, low and high (95 %),
        p: by standard errors that allow for any dependence within a respondent (Liang & Zeger, 1986, Biometrika 73,
        13; small-sample factor G / (G - 1) and t with G - 1 degrees of freedom, G respondents). NaN where `by` does
        not vary.

    Raises
    ------
    InputError
        As `curve`.
    """
    answers, right = _right(answers, gold, by)
    who = answers["respondent"]
    x, y = answers[by].astype(float) / unit, right
    rounding = 1e-9 * x.abs().max()  # what does not vary is still off its mean by this much at most
    means = {"pooled": (x.mean(), y.mean()), "within": [z.groupby(who).transform("mean") for z in (x, y)]}
    rows = {
        name: _slope((x - x_mean).where(lambda off: off.abs() > rounding, 0.0), y - y_mean, who)
        for name, (x_mean, y_mean) in means.items()
    }
    return pd.DataFrame(rows, index=["change", "low", "high", "p"]).T


def _slope(x: pd.Series, y: pd.Series, who: pd.Series) -> list[float]:
    people = who[x != 0].nunique()  # who answered once says nothing of a change within a person
    if people < 2:
        return [np.nan] * 4
    slope = (x * y).sum() / (x**2).sum()
    score = (x * (y - slope * x)).groupby(who).sum()
    se = np.sqrt((score**2).sum() * people / (people - 1)) / (x**2).sum()
    half = t.ppf(0.975, people - 1) * se
    return [slope, slope - half, slope + half, 2 * t.sf(abs(slope / se), people - 1) if se > 0 else np.nan]


def _right(answers: pd.DataFrame, gold: pd.Series, by: str) -> tuple[pd.DataFrame, pd.Series]:
    answers = checked(answers, [by])
    return answers, answers["answer"].eq(answers["item_id"].map(known_gold(answers, gold))).astype(float)


# how many answers


def enough(
    answers: pd.DataFrame,
    gold: pd.Series,
    sizes: Sequence[int],
    repeats: int = 50,
    seed: int = 0,
    method: str = "majority",
    distributions: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """What an item's consensus and label distribution are worth with fewer answers an item.

    `repeats` times, each item's answers are put into random order, and the first 1, 2, 3, ... of `sizes` are looked at.

    Parameters
    ----------
    method
        Of `cift.consensus.METHODS`; the model is fitted to the answers drawn.
    distributions
        What the label distributions should be (items x labels); without it, the shares among all answers of the item.
        These hold the answers drawn, so that the error falls to 0 at all of them: let `sizes` stay far below.

    Returns
    -------
    DataFrame
        index size; accuracy of the consensus against `gold` (ties as `cift.consensus.credit` says); ties: mean number;
        total_variation and js_distance (Jensen-Shannon, base 2) of the shares of the answers drawn, mean over items.
        Each is the mean over repeats, and with _low and _high its range without the extreme 2.5 % on either side,
        which speaks of the choice of answers, not of items.

    Raises
    ------
    InputError
        As `cift.consensus.consensus`; an item without gold label or distribution, or with fewer answers than the
        largest size; a size below 1.
    """
    from tqdm.auto import tqdm

    from cift.finetuning import quiet

    answers = checked(answers)
    gold = known_gold(answers, gold)
    data, items, _, names = coded(answers)
    fewest = int(data.groupby("task").size().min())
    if not len(sizes) or min(sizes) < 1 or max(sizes) > fewest:
        raise InputError(f"sizes: {list(sizes)}; give sizes from 1 to {fewest}, the answers of the item with fewest")
    task, label = data["task"].to_numpy(), data["label"].to_numpy()
    if distributions is not None:
        wanted = distributions.reindex(items).drop(columns="n_responses", errors="ignore")
        names = names.append(wanted.columns.difference(names))  # also those that nobody gave
        truth = wanted.reindex(columns=names, fill_value=0.0).to_numpy(float)
        if np.isnan(truth).any():
            missing = items[np.isnan(truth).any(axis=1)]
            raise one_message("distributions", [f"item {item!r} has none" for item in missing], "Give every item's")
    else:
        truth = _shares(task, label, len(items), len(names))
    rng = np.random.default_rng(seed)
    rows = []
    for _ in tqdm(range(repeats), desc="Subsamples", disable=quiet()):
        shuffled = np.lexsort((rng.random(len(task)), task))
        place = np.empty(len(task), int)
        place[shuffled] = np.arange(len(task)) - np.searchsorted(task, task)  # tasks are in order
        for size in sizes:
            drawn = place < size
            found = consensus(answers[drawn], method, seed)
            shares = _shares(task[drawn], label[drawn], len(items), len(names))
            row = {"size": size, "accuracy": credit(found, gold).mean(), "ties": found["tie"].sum()}
            row["total_variation"] = np.abs(shares - truth).sum(axis=1).mean() / 2
            row["js_distance"] = np.nan_to_num(jensenshannon(shares, truth, axis=1, base=2)).mean()
            rows.append(row)
    groups = pd.DataFrame(rows).groupby("size")
    table = groups.mean()
    for name in ("accuracy", "total_variation", "js_distance"):
        table[[f"{name}_low", f"{name}_high"]] = groups[name].quantile([0.025, 0.975]).unstack()
    order = ["accuracy", "accuracy_low", "accuracy_high", "ties"]
    return table[
        order + [f"{name}{end}" for name in ("total_variation", "js_distance") for end in ("", "_low", "_high")]
    ]


def _shares(task: np.ndarray, label: np.ndarray, n_items: int, n_labels: int) -> np.ndarray:
    counts = np.bincount(task * n_labels + label, minlength=n_items * n_labels).reshape(n_items, n_labels)
    return counts / counts.sum(axis=1, keepdims=True)
