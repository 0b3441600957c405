"""Shorter tests: items chosen one by one for each examinee, or once for all (short forms).

Answers are known beforehand, so that an adaptive test can be replayed on any crowd or model: `administer` asks, the
table of scored answers replies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import softmax

from cift.ability import eap, mean_and_sd, of_bank, refuse_nominal
from cift.errors import InputError
from cift.irt import ItemBank, grid, information, probability

ORDERS = ("information", "random")


def simulate_answers(theta: Sequence[float], bank: ItemBank, seed: int = 0) -> pd.DataFrame:
    """Answers, 1.0 or 0.0, of examinees with these abilities to the bank's items: (len(theta), items)."""
    chance = np.random.default_rng(seed).random((len(theta), len(bank.items)))
    right = chance < probability(np.asarray(theta, float), bank.items)
    return pd.DataFrame(right.astype(float), columns=bank.items["item_id"].to_numpy())


def administer(
    scored: pd.DataFrame,
    bank: ItemBank,
    order: str = "information",
    *,
    stop_se: float | None = None,
    max_items: int | None = None,
    among: int = 1,
    groups: Mapping[str, str] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Replay a test in which each examinee's next item depends on the answers so far.

    scored: one row an examinee, columns with at least the bank's items, cells 1, 0 or missing; an item without an
        answer is not asked.
    order: "information", the item that tells most at the examinee's EAP (Lord 1980, ch. 10); "random", for comparison.
    stop_se, max_items: an examinee stops at that standard error or after so many items; without them, after all.
    among: the next item is drawn from the so many best, so that not everybody sees the same ones (randomesque
        exposure control, Kingsbury & Zara 1989).
    groups: item_id -> group (a gold label, say). The next item comes from the group that is furthest behind its share
        of the bank (constrained adaptive testing, Kingsbury & Zara 1989), so that no short test lacks a label.

    Returns one row a question, examinees in the order of `scored`: respondent, step (from 1), item_id, answer, and
    after it theta and theta_se (EAP, posterior SD). Raises InputError for an unknown order, stopping rules that cannot
    be met, an item without a group, and bad answers as `ability.score` does.
    """
    _check_rules(order, stop_se, max_items, among)
    answers = of_bank(scored, bank).to_numpy()
    items, item_ids = bank.items, bank.items["item_id"].to_numpy()
    member = _group_members(item_ids, groups)
    nodes, log_weights = grid(items)
    p = np.clip(probability(nodes, items).T, 1e-12, 1 - 1e-12)
    log_likelihood = np.stack([np.log1p(-p), np.log(p)])  # of a wrong and a right answer, (2, items, nodes)
    rng = np.random.default_rng((seed, 1))  # another stream than `simulate_answers` draws from
    chance = rng.random(answers.shape)
    log_posterior = np.tile(log_weights, (len(answers), 1))
    theta, theta_se = np.zeros(len(answers)), np.ones(len(answers))
    unasked = ~np.isnan(answers)
    asked_of = np.zeros((len(answers), member.shape[1]))
    parts = []
    for step in range(1, min(max_items or len(items), len(items)) + 1):
        luck = rng.random(len(answers))  # drawn for all, so that nobody's test depends on when others stop
        going = np.flatnonzero(unasked.any(axis=1) & (theta_se > (stop_se or 0)))
        if not len(going):
            break
        # the group's turn: the one furthest behind its share of the bank, of those with items left
        behind = step * member.mean(axis=0) - asked_of[going]
        turn = np.where(unasked[going] @ member > 0, behind, -np.inf).argmax(axis=1)
        allowed = unasked[going] & (member.T[turn] > 0)
        value = information(theta[going], items) if order == "information" else chance[going]
        item = _one_of_best(np.where(allowed, value, -np.inf), among, luck[going])
        answer = answers[going, item]
        unasked[going, item] = False
        asked_of[going, turn] += 1
        log_posterior[going] += log_likelihood[answer.astype(int), item]
        weight = softmax(log_posterior[going], axis=1)
        theta[going], theta_se[going] = mean_and_sd(nodes, weight)
        parts.append((going, np.full(len(going), step), item, answer, theta[going], theta_se[going]))
    rows = [np.concatenate(values) for values in zip(*parts, strict=True)] if parts else [np.empty(0, int)] * 6
    who, steps, item, answer, at, error = rows
    table = pd.DataFrame({"step": steps, "item_id": item_ids[item], "answer": answer, "theta": at, "theta_se": error})
    table.insert(0, "respondent", scored.index.to_numpy()[who])
    return table.iloc[np.lexsort([steps, who])].reset_index(drop=True)


def items_needed(sequence: pd.DataFrame, se: float) -> pd.Series:
    """How many items `administer`'s table took to reach the standard error: respondent -> number, NaN if it did not."""
    first = sequence[sequence["theta_se"] <= se].groupby("respondent", sort=False)["step"].min()
    return first.reindex(sequence["respondent"].unique()).rename("n_items").rename_axis("respondent")


def by_length(sequence: pd.DataFrame, reference: pd.Series) -> pd.DataFrame:
    """How close `administer`'s abilities come to known ones (true, or of the full scale) as the test grows.

    reference: respondent -> theta. Returns one row a number of items: n_items, theta_se (mean), spearman, rmse. Who
    stopped earlier counts with the last ability. Raises InputError for a respondent without a reference.
    """
    absent = sequence["respondent"][~sequence["respondent"].isin(reference.index)]
    if len(absent):
        raise InputError(f"reference: no theta for respondent {absent.iloc[0]!r}; give one for each who was tested")
    theta, theta_se = (
        sequence.pivot(index="respondent", columns="step", values=name).ffill(axis=1) for name in ("theta", "theta_se")
    )
    known = reference.loc[theta.index].to_numpy(float)
    rows = [_closeness(step, theta[step].to_numpy(), theta_se[step].to_numpy(), known) for step in theta]
    return pd.DataFrame(rows)


def short_form(bank: ItemBank, n: int) -> list[str]:
    """The n items that keep most of the scale's precision for its population, in the order in which they were chosen.

    Greedy: each next item is the one that most lowers the mean over people of the approximate posterior variance,
    1 / (1 + I(theta)). Information alone would pile up where it is easiest to have; this asks for it where people are
    and are not yet measured. People are the bank's population, or N(0, 1) where it has none. The first m of n items are
    the form of m items. Raises InputError for n below 1 or above the number of items.
    """
    refuse_nominal(bank)
    if not 1 <= n <= len(bank.items):
        raise InputError(f"short form: {n} items of {len(bank.items)}; ask for 1 to {len(bank.items)}")
    if len(bank.population):
        theta = np.quantile(bank.population["theta"], (np.arange(200) + 0.5) / 200)
        share = np.full(len(theta), 1 / len(theta))
    else:
        theta, log_weights = grid(bank.items)
        share = np.exp(log_weights)
    gain = information(theta, bank.items)
    precision = np.ones(len(theta))
    chosen: list[int] = []
    for _ in range(n):
        variance = share @ (1 / (precision[:, None] + gain))
        variance[chosen] = np.inf
        chosen.append(int(variance.argmin()))
        precision += gain[:, chosen[-1]]
    return list(bank.items["item_id"].iloc[chosen])


def short_form_error(
    scored: pd.DataFrame,
    bank: ItemBank,
    sizes: Sequence[int] = (5, 10, 20, 40, 80),
    order: str = "information",
    draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """What short forms lose: their abilities (EAP) against those of the whole bank, for each number of items.

    scored: answers of the people that the forms are tried on, as for `ability.score`. The bank chooses the items: try
        them on people on whom it was not calibrated, or the errors come out too small.
    order: "information", the form of `short_form`; "random", the mean over `draws` random forms, for comparison.

    Returns one row a size: n_items, theta_se (mean), spearman (rank correlation), rmse (in units of theta). The form's
    items are part of the whole, which flatters long forms: a form of all items has no error at all.
    Raises InputError for an unknown order, sizes below 1 or above the bank's, and as `ability.score` does.
    """
    _check_rules(order, None, None, 1)
    known = eap(scored, bank)["theta"].to_numpy()
    best = short_form(bank, max(sizes))
    rng = np.random.default_rng((seed, 1))  # another stream than `simulate_answers` draws from
    shuffled = [list(rng.permutation(bank.items["item_id"])) for _ in range(draws)]
    rows = []
    for size in sizes:
        for form in [best] if order == "information" else shuffled:
            items = bank.items[bank.items["item_id"].isin(form[:size])]
            found = eap(scored, ItemBank(items, bank.population, bank.info))
            rows.append(_closeness(size, found["theta"].to_numpy(), found["theta_se"].to_numpy(), known))
    return pd.DataFrame(rows).groupby("n_items", sort=False).mean().reset_index()


def _check_rules(order: str, stop_se: float | None, max_items: int | None, among: int) -> None:
    if order not in ORDERS:
        raise InputError(f"order {order!r}: unknown; choose from {', '.join(ORDERS)}")
    for name, value in (("stop_se", stop_se), ("max_items", max_items), ("among", among)):
        if value is not None and not value > 0:
            raise InputError(f"{name} is {value!r}; it must be above 0")


def _group_members(item_ids: np.ndarray, groups: Mapping[str, str] | None) -> np.ndarray:
    """Which item is in which group, (items, groups) of 1.0 and 0.0; one group where none are given."""
    if groups is None:
        return np.ones((len(item_ids), 1))
    absent = [item for item in item_ids if item not in groups]
    if absent:
        raise InputError(f"groups: none for item {absent[0]!r} ({len(absent)} missing); give one for each bank item")
    return pd.get_dummies([groups[item] for item in item_ids]).to_numpy(float)


def _one_of_best(value: np.ndarray, among: int, luck: np.ndarray) -> np.ndarray:
    """For each row the column of one of its `among` largest values, drawn by `luck` in [0, 1); -inf is not allowed."""
    among = min(among, value.shape[1])
    best = np.argpartition(-value, among - 1, axis=1)[:, :among]
    possible = np.isfinite(np.take_along_axis(value, best, axis=1))
    best = np.take_along_axis(best, np.argsort(~possible, axis=1, kind="stable"), axis=1)  # the possible ones first
    return best[np.arange(len(best)), (luck * possible.sum(axis=1)).astype(int)]


def _closeness(n_items: int, theta: np.ndarray, theta_se: np.ndarray, known: np.ndarray) -> dict[str, float]:
    return {
        "n_items": n_items,
        "theta_se": float(theta_se.mean()),
        "spearman": float(pd.Series(theta).rank().corr(pd.Series(known).rank())),
        "rmse": float(np.sqrt(np.mean((theta - known) ** 2))),
    }
