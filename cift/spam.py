"""Spam: whose answers look as if given without reading. No gold labels are needed, and every reason is stated."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import binom, false_discovery_control, norm, pearson3, poisson_binom

from cift.workers import Crowd, beside_others

_ONE_LABEL = 0.95  # from this share of one label on somebody answers constantly
_VERDICTS = ["suspect", "unclear", "reads"]


def suspects(answers: pd.DataFrame, alpha: float = 0.05) -> pd.DataFrame:
    """Whose answers look as if given without reading: no gold labels are needed, and every reason is stated.

    Four criteria. p-values of all respondents and criteria are corrected together (Benjamini & Hochberg, 1995) before
    they are held against `alpha`; only p_chance is not, for it acquits. `alpha` would be the share of false
    accusations if all who read were equally good; in simulated crowds of unequal ones, 3 to 11 % were false at 0.05.
    So look before you reject anybody's work.

    disagrees: agreement (`cift.workers.quality`) is lower than that of a typical respondent on the same items
    (p_typical), and not better than that of the same answers dealt out at random over the same items (p_chance >=
    alpha). For a typical respondent any of an item's answers may be the own one; the sum over items is taken as
    Pearson type III with the mean, variance and skewness that this gives. Of the random deal, mean and variance are
    exact (Hoeffding, 1951, Annals of Mathematical Statistics 22, 558), the shape is taken as normal.

    one label: 95 % or more of the answers are one label, more than typical respondents would give (p_one_label;
    Poisson binomial).

    too fast (with the column seconds): most answers took less than a third of their item's median (p_fast; binomial,
    against half of them). It is blind where most of the crowd hurries.

    pattern (with the column order): the answers change more often, or less often, than the same answers in random
    order (p_pattern; Barton & David, 1957, Biometrika 44, 168, two-sided). It supposes that items came in an order of
    no pattern.

    Returns
    -------
    DataFrame
        index respondent, suspects first; n; agreement, typical (what a typical respondent's would be on these items);
        p_chance, p_typical, p_one_label and, where known, p_fast and p_pattern, uncorrected; verdict: "suspect",
        "unclear" (too few answers to tell from chance) or "reads"; reasons, in words.

    Raises
    ------
    InputError
        As `cift.consensus.checked`.
    """
    crowd = beside_others(answers)
    rows = [_tests(crowd, rows) for rows in crowd.data.groupby("worker").indices.values()]
    table = pd.DataFrame(rows, index=crowd.respondents.rename("respondent"))
    tested = [name for name in ("p_typical", "p_one_label", "p_fast", "p_pattern") if name in table]
    corrected = false_discovery_control(table[tested].fillna(1).to_numpy(), axis=None).reshape(len(table), -1)
    low = pd.DataFrame(corrected < alpha, index=table.index, columns=tested)
    low["p_typical"] &= ~(table["p_chance"] < alpha)
    reasons = [
        "; ".join(_REASONS[name].format(**row) for name in tested if low.at[respondent, name])
        for respondent, row in table.iterrows()
    ]
    table["verdict"] = np.select([low.any(axis=1), ~(table["p_chance"] < alpha)], _VERDICTS[:2], _VERDICTS[2])
    table = table.assign(reasons=reasons).drop(columns=["one_label", "fast"], errors="ignore")
    return table.sort_values("verdict", key=lambda verdict: verdict.map(_VERDICTS.index), kind="stable")


_REASONS = {
    "p_typical": "agrees with {agreement:.0%} of the others, as by chance; typical here is {typical:.0%}",
    "p_one_label": "{one_label:.0%} of the answers are one label",
    "p_fast": "{fast:.0%} of the answers took less than a third of their item's median time",
    "p_pattern": "the answers follow each other in a pattern",
}


def _tests(crowd: Crowd, rows: np.ndarray) -> dict[str, float]:
    """The numbers of one respondent, whose answers are these rows."""
    label = crowd.data["label"].to_numpy()[rows]
    others, n = crowd.others[rows], crowd.n[rows]
    told = n >= 1
    found: dict[str, float] = {"n": len(rows)}
    found |= dict.fromkeys(("agreement", "typical", "p_chance", "p_typical"), np.nan)
    if told.any():
        found |= _agreement(label[told], others[told], n[told])
    count = np.bincount(label, minlength=len(crowd.labels))
    most = int(count.argmax())
    shares = (others[:, most] + 1 / len(crowd.labels)) / (n + 1)
    constant = count[most] >= _ONE_LABEL * len(rows) and len(crowd.labels) > 1
    found["one_label"] = count[most] / len(rows)
    found["p_one_label"] = float(poisson_binom.sf(count[most] - 1, shares)) if constant else 1.0
    if crowd.fast is not None:
        fast = int(crowd.fast[rows].sum())
        found |= {"fast": fast / len(rows), "p_fast": float(binom.sf(fast - 1, len(rows), 0.5))}
    if "order" in crowd.answers:
        found["p_pattern"] = _pattern(label[np.argsort(crowd.answers["order"].to_numpy()[rows], kind="stable")])
    return found


def _agreement(label: np.ndarray, others: np.ndarray, n: np.ndarray) -> dict[str, float]:
    value = others / n[:, None]  # the agreement that each label would bring
    observed = value[np.arange(len(label)), label].sum()
    dealt = value[:, label]
    # typical: any of the item's answers is as likely to be this respondent's as any other's
    counts = others + np.eye(others.shape[1])[label]
    share, value = counts / (n + 1)[:, None], np.clip(counts - 1, 0, None) / n[:, None]
    mean = (share * value).sum(axis=1)
    away = value - mean[:, None]
    variance, third = (share * away**2).sum(), (share * away**3).sum()
    if variance > 1e-12:
        skew = third / variance**1.5
        p_typical = float(pearson3.cdf(observed, skew, loc=mean.sum(), scale=np.sqrt(variance)))
    else:
        p_typical = float(observed > mean.sum() - 1e-9)
    # chance: the same answers on the same items, in random order
    centred = dealt - dealt.mean(axis=0) - dealt.mean(axis=1, keepdims=True) + dealt.mean()
    spread = np.sqrt((centred**2).sum() / max(len(label) - 1, 1))
    p_chance = float(norm.sf((observed - len(label) * dealt.mean()) / spread)) if spread > 1e-9 else 1.0
    return {
        "agreement": observed / len(label), "typical": mean.mean(), "p_chance": p_chance, "p_typical": p_typical,
    }  # fmt: skip


def _pattern(label: np.ndarray) -> float:
    n, count = len(label), np.bincount(label).astype(float)
    squares, cubes = (count**2).sum(), (count**3).sum()
    if n < 3 or count.max() >= n - 1:
        return 1.0
    runs = 1 + (label[1:] != label[:-1]).sum()
    mean = (n * (n + 1) - squares) / n
    variance = (squares * (squares + n * (n + 1)) - 2 * n * cubes - n**3) / (n**2 * (n - 1))
    return float(2 * norm.sf(abs(runs - mean) / np.sqrt(variance))) if variance > 0 else 1.0
