"""Agreement of a crowd: percent, Cohen's and Fleiss' kappa, Krippendorff's alpha, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from cift.crowds import label_counts
from cift.errors import InputError

BLOCK = 64  # respondents whose pairs are taken together, so that they fit the processor's cache
SHARED = 50  # items that pairs must share for an interval of Cohen's kappa


def agreement(responses: pd.DataFrame, seed: int = 0, draws: int = 1000) -> pd.DataFrame:
    """Four measures of agreement between respondents: index statistic, columns value, low and high.

    low and high are the ends of the 95 % percentile bootstrap interval: what would come out had these people answered
    other items of the same kind. Respondents are not resampled, since someone drawn twice agrees with themself.
    Cohen's kappa is the mean over all pairs of respondents that have one (`cohen_kappas`); it is what takes the time.
    That mean is too low where pairs share few items, and the more so in resamples, which repeat some of them: it has no
    interval (NaN) where the median pair shares fewer than 50. In sparse crowds go by Fleiss and Krippendorff.

    responses: respondents x items, labels or None. NaN where a measure is not defined.
    Raises InputError where no item has two answers.
    """
    counts = label_counts(responses, None).to_numpy()
    if not (counts.sum(axis=1) >= 2).any():
        raise InputError("responses: no item has two answers; agreement needs people who answered the same items")
    given = _given(responses)
    cohen = cohen_kappas(responses)
    dense = cohen["n_items"].median() >= SHARED

    def resampled(items: np.ndarray) -> list[float]:
        drawn, kappa = counts[items], _mean_cohen(given[:, :, items]) if dense else np.nan
        return [_percent(drawn), kappa, _fleiss(drawn), _krippendorff(drawn)]

    rng = np.random.default_rng(seed)
    drawn = pd.DataFrame([resampled(rng.integers(len(counts), size=len(counts))) for _ in range(draws)])
    value = [_percent(counts), cohen["kappa"].mean(), _fleiss(counts), _krippendorff(counts)]
    names = ["percent agreement", "Cohen's kappa, mean of pairs", "Fleiss' kappa", "Krippendorff's alpha"]
    return pd.DataFrame(
        {"value": value, "low": drawn.quantile(0.025).to_numpy(), "high": drawn.quantile(0.975).to_numpy()},
        pd.Index(names, name="statistic"),
    )


def percent_agreement(responses: pd.DataFrame) -> float:
    """Share of pairs of answers to an item that are alike, 0 to 1; the mean over items with two answers or more."""
    return _percent(label_counts(responses, None).to_numpy())


def fleiss_kappa(responses: pd.DataFrame) -> float:
    """Agreement between respondents beyond chance, at most 1 (Fleiss, 1971, Psychological Bulletin 76, 378).

    With n_ij people giving item i the label j and n_i = sum_j n_ij (which differs between items where answers
    are missing), agreement on an item is P_i = sum_j n_ij (n_ij - 1) / (n_i (n_i - 1)), and chance is
    P_e = sum_j p_j^2 with p_j the share of label j among all answers: kappa = (mean P_i - P_e) / (1 - P_e).
    Items with fewer than two answers are left out. NaN where no item is left, or all answers are the same.
    """
    return _fleiss(label_counts(responses, None).to_numpy())


def krippendorff_alpha(responses: pd.DataFrame) -> float:
    """1 - observed over expected disagreement, nominal (Krippendorff, 2004, Content Analysis, chapter 11).

    Like Fleiss' kappa, but each answer counts the same where items have different numbers of them, and chance is drawn
    without replacement, which matters for few answers. NaN where fewer than two labels occur in pairs.
    """
    return _krippendorff(label_counts(responses, None).to_numpy())


def cohen_kappas(responses: pd.DataFrame) -> pd.DataFrame:
    """Agreement of each two respondents beyond chance (Cohen, 1960), on the items that both answered.

    Returns one row a pair that shares an item: respondent_1, respondent_2, n_items, kappa; NaN where both gave all of
    them one and the same label. Raises InputError where nobody answered anything.
    """
    # scikit-learn's cohen_kappa_score gives the same for one pair, and takes minutes for the pairs of a thousand people
    tables = []
    for first, second, n, kappa in _pairs(_given(responses)):
        shared = n > 0
        names = {
            "respondent_1": responses.index[first[shared]],
            "respondent_2": responses.index[second[shared]],
        }
        tables.append(pd.DataFrame({**names, "n_items": n[shared].astype(int), "kappa": kappa[shared]}))
    return pd.concat(tables, ignore_index=True)


def _percent(counts: np.ndarray) -> float:
    n = counts.sum(axis=1)
    alike = (counts * (counts - 1)).sum(axis=1)[n >= 2] / (n * (n - 1))[n >= 2]
    return float(alike.mean()) if len(alike) else float("nan")


def _fleiss(counts: np.ndarray) -> float:
    counts = counts[counts.sum(axis=1) >= 2]
    chance = float(((counts.sum(axis=0) / max(counts.sum(), 1)) ** 2).sum())
    return (_percent(counts) - chance) / (1 - chance) if chance < 1 else float("nan")


def _krippendorff(counts: np.ndarray) -> float:
    import krippendorff

    counts = counts[counts.sum(axis=1) >= 2]
    if np.count_nonzero(counts.any(axis=0)) < 2:  # where the library divides by zero
        return float("nan")
    return float(krippendorff.alpha(value_counts=counts, level_of_measurement="nominal"))


def _given(responses: pd.DataFrame) -> np.ndarray:
    """Who gave which item which label: (labels, respondents, items), 1 or 0."""
    labels = label_counts(responses, None).columns
    if labels.empty:
        raise InputError("responses: nobody answered anything; agreement needs people who answered the same items")
    exact = np.float32 if responses.shape[1] <= 4096 else np.float64  # the squared number of items must be exact
    return np.stack([responses.eq(label).fillna(False).to_numpy(exact) for label in labels])


def _mean_cohen(given: np.ndarray) -> float:
    kappas = np.concatenate([kappa for *_, kappa in _pairs(given)])
    return float(np.nanmean(kappas)) if np.isfinite(kappas).any() else float("nan")


def _pairs(given: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Of each two respondents, block by block: their positions, the number of items both answered, and kappa."""
    people = given.shape[1]
    missing = 1 - given.sum(axis=0)
    gaps = missing.any(axis=0)  # elsewhere everybody answered, and only the totals count
    answers = given.transpose(1, 0, 2).reshape(people, -1)
    missing, with_gaps, totals = missing[:, gaps], given[:, :, gaps], given.sum(axis=2)
    for start in range(0, people, BLOCK):
        these, those = slice(start, start + BLOCK), slice(start, None)
        # how often one of these gave a label where one of those answered, and the reverse: (labels, these, those)
        first = totals[:, these, None] - with_gaps[:, these] @ missing[those].T
        second = totals[:, None, those] - missing[these] @ with_gaps[:, those].mT
        n = first.sum(axis=0)
        alike = answers[these] @ answers[those].T
        chance = np.einsum("lij,lij->ij", first, second)
        with np.errstate(divide="ignore", invalid="ignore"):
            kappa = (n * alike - chance) / (n * n - chance)
        row, column = np.triu_indices(len(n), 1, people - start)
        yield start + row, start + column, n[row, column], kappa[row, column]
