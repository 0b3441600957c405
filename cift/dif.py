"""Differential item functioning: is an item easier for one group than for an equally able other one?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import chi2, norm

from cift.dependence import holm
from cift.dimensions import checked
from cift.errors import InputError


def dif(scored: pd.DataFrame, focal: pd.Series, anchor: Sequence[str] | None = None) -> pd.DataFrame:
    """Compare the focal group with everyone else on each item, among people of equal ability.

    scored: respondents x items, cells 1, 0 or missing. focal: True or False for each respondent, by the same index.
    anchor: items that are fair to both groups (default all); ability is matched by the number right on them and on
    the item studied, or where answers are missing by the share right of those given, times that many items.

    Returns one row an item, signs positive where the item is easier for the focal group than its ability explains:
        item_id, n_focal, n_reference: who answered.
        mh_delta, mh_se: Mantel-Haenszel common odds ratio over the levels of ability on the ETS delta scale,
            -2.35 log(reference : focal) (Holland & Thayer 1988), and its standard error (Phillips & Holland 1987).
        mh_x2, mh_p, mh_p_holm: the Mantel-Haenszel test, with continuity correction, one degree of freedom.
        ets_class: "C" large, |delta| at least 1.5 and significantly above 1; "A" negligible, |delta| below 1 or not
            significantly different from 0; "B" between (Zwick & Ericikan 1989); each at 5 %, not adjusted.
        lr_x2, lr_p, lr_p_holm: likelihood-ratio test of logistic regression on ability against that on ability,
            group and their product, two degrees of freedom (Swaminathan & Rogers 1990): it also sees an item that is
            easier for the able and harder for the others of one group.
        nonuniform_p: the product's part of it, one degree of freedom.
        r2_change: by how much Nagelkerke's R^2 grows; below .035 negligible, above .070 large (Jodoin & Gierl 2001).
    Where the groups differ much in ability and the test is short, matching on scores leaves part of that difference
    over, and both tests then find DIF too often: read the effect sizes.

    Raises InputError for other cells, a `focal` that is not boolean or not of the same index, fewer than two people in
    a group, and an unknown anchor item.
    """
    answers = checked(scored)
    in_focal = _membership(answers, focal)
    unknown = [item for item in anchor or [] if item not in answers.columns]
    if unknown:
        raise InputError(f"anchor: item {unknown[0]!r} has no column in the responses")
    x = answers.to_numpy()
    answered = ~np.isnan(x)
    is_anchor = answers.columns.isin(answers.columns if anchor is None else list(anchor))
    level = _levels(x, is_anchor)
    table = {
        "item_id": list(answers.columns),
        "n_focal": answered[in_focal].sum(axis=0),
        "n_reference": answered[~in_focal].sum(axis=0),
    }
    return pd.DataFrame(table | _mantel_haenszel(x, in_focal, level) | _logistic_regression(x, in_focal, level))


def _membership(answers: pd.DataFrame, focal: pd.Series) -> np.ndarray:
    if not isinstance(focal, pd.Series) or focal.dtype != bool or focal.index.duplicated().any():
        raise InputError(
            "focal: give a pandas Series of True and False with each respondent once, e.g. group == 'model'"
        )
    if set(focal.index) != set(answers.index):
        raise InputError("focal: its index is not that of the responses; give True or False for each respondent")
    member = focal.loc[answers.index].to_numpy()
    if min(member.sum(), (~member).sum()) < 2:
        raise InputError(f"focal: {member.sum()} people in the focal group, {(~member).sum()} others; need two of each")
    return member


def _levels(x: np.ndarray, is_anchor: np.ndarray) -> np.ndarray:
    """Each person's matching score for each item, (people, items): integers from 0 on."""
    answered, right = ~np.isnan(x), np.nan_to_num(x)
    own = np.where(is_anchor, 0, 1)
    total = right[:, is_anchor].sum(axis=1)[:, None] + own * right
    given = answered[:, is_anchor].sum(axis=1)[:, None] + own * answered
    return np.rint(total / np.maximum(given, 1) * (is_anchor.sum() + own)).astype(int)


def _mantel_haenszel(x: np.ndarray, in_focal: np.ndarray, level: np.ndarray) -> dict[str, np.ndarray]:
    n_items, n_levels = x.shape[1], level.max() + 1
    cell = ((np.arange(n_items) * n_levels + level) * 2 + in_focal[:, None]) * 2 + np.nan_to_num(x).astype(int)
    counts = (
        np.bincount(cell[~np.isnan(x)], minlength=n_items * n_levels * 4).reshape(n_items, n_levels, 4).astype(float)
    )
    wrong_r, right_r, wrong_f, right_f = np.moveaxis(counts, 2, 0)  # reference, focal: (items, levels)
    reference, focal, right, wrong = right_r + wrong_r, right_f + wrong_f, right_r + right_f, wrong_r + wrong_f
    n = np.maximum(reference + focal, 1)
    for_reference, for_focal = right_r * wrong_f / n, wrong_r * right_f / n
    variance = reference * focal * right * wrong / (n**2 * np.maximum(n - 1, 1))
    gap = np.abs((right_r - reference * right / n).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):  # no level holds both groups, right and wrong: missing
        odds = for_reference.sum(axis=1) / for_focal.sum(axis=1)
        delta = -2.35 * np.log(odds)
        x2 = np.maximum(gap - 0.5, 0) ** 2 / variance.sum(axis=1)
        ratio = odds[:, None]
        terms = (
            (right_r * wrong_f + ratio * wrong_r * right_f) * (right_r + wrong_f + ratio * (wrong_r + right_f)) / n**2
        )
        se = 2.35 * np.sqrt(terms.sum(axis=1) / 2) / for_reference.sum(axis=1)
        large = (np.abs(delta) >= 1.5) & ((np.abs(delta) - 1) / se > norm.ppf(0.95))
    p = chi2.sf(x2, 1)
    ets_class = np.where((np.abs(delta) < 1) | (p >= 0.05), "A", np.where(large, "C", "B"))
    ets_class = np.where(np.isnan(p), "", ets_class)
    return {
        "mh_delta": delta,
        "mh_se": se,
        "mh_x2": x2,
        "mh_p": p,
        "mh_p_holm": holm(p),
        "ets_class": ets_class,
    }


def _logistic_regression(x: np.ndarray, in_focal: np.ndarray, level: np.ndarray) -> dict[str, np.ndarray]:
    answered, right = ~np.isnan(x), np.nan_to_num(x)
    ability = (level - level.mean(axis=0)) / np.maximum(level.std(axis=0), 1e-9)
    group = np.broadcast_to(in_focal[:, None], x.shape).astype(float)
    design = np.stack([np.ones_like(ability), ability, group, ability * group], axis=2)
    null, matched, uniform, full = (_log_likelihoods(design[:, :, :k], right, answered) for k in (1, 2, 3, 4))
    n = np.maximum(answered.sum(axis=0), 1)

    def nagelkerke(log_likelihood: np.ndarray) -> np.ndarray:
        return -np.expm1(2 * (null - log_likelihood) / n) / np.maximum(-np.expm1(2 * null / n), 1e-12)

    judged = (null < 0) & answered[in_focal].any(axis=0) & answered[~in_focal].any(axis=0)
    x2 = np.where(judged, np.maximum(2 * (full - matched), 0), np.nan)
    p = chi2.sf(x2, 2)
    return {
        "lr_x2": x2,
        "lr_p": p,
        "lr_p_holm": holm(p),
        "nonuniform_p": np.where(judged, chi2.sf(np.maximum(2 * (full - uniform), 0), 1), np.nan),
        "r2_change": np.where(judged, nagelkerke(full) - nagelkerke(matched), np.nan),
    }


def _log_likelihoods(design: np.ndarray, right: np.ndarray, answered: np.ndarray) -> np.ndarray:
    """Maximised log-likelihood of a logistic regression for every item at once. design: (people, items, k)."""
    weight = np.zeros(design.shape[1:])

    def log_likelihood(weight: np.ndarray) -> np.ndarray:
        logit = np.einsum("njk,jk->nj", design, weight)
        return (answered * (right * logit - np.logaddexp(0, logit))).sum(axis=0)

    found, scale = log_likelihood(weight), np.ones(len(weight))
    for _ in range(50):
        p = expit(np.einsum("njk,jk->nj", design, weight))
        gradient = np.einsum("njk,nj->jk", design, answered * (right - p))
        hessian = np.einsum("njk,nj,njl->jkl", design, answered * p * (1 - p), design, optimize=True)
        step = np.linalg.solve(hessian + 1e-6 * np.eye(design.shape[2]), gradient[..., None])[..., 0]
        # bounded, for data that a group or a score separates perfectly; halved where the last one went downhill
        step *= (scale / np.maximum(1, np.abs(step).max(axis=1)))[:, None]
        if np.abs(step).max(initial=0) < 1e-6:
            break
        new = log_likelihood(weight + step)
        better = new >= found
        weight, found = weight + np.where(better[:, None], step, 0), np.where(better, new, found)
        scale = np.where(better, 1.0, scale / 2)
    return found
