"""How many abilities the answers speak of: tetrachoric correlations, factors, and what chance would give.

A right or wrong answer is taken as a normal variable cut at a threshold. The correlation of two such variables, the
tetrachoric correlation, does not depend on how difficult the items are, as the correlation of the answers does.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from cift.ability import of_bank
from cift.errors import InputError
from cift.irt import ItemBank

REPLICATIONS = 100  # simulated crowds behind each quantile and p-value
_LIMIT = np.arcsin(0.999)  # tetrachoric correlations are looked for up to here
_POINTS, _POINT_WEIGHTS = np.polynomial.legendre.leggauss(24)


class Dimensionality(NamedTuple):
    """What `dimensionality` found.

    eigenvalues: one row a component, from the largest; `eigenvalue` of the tetrachoric correlations; `chance`, the 95th
        percentile among unrelated items of the same difficulty; `one_factor`, the same among items with one factor.
    items: one row an item; `item_id`, `loading` on the one factor, and `communality`, its square: the share of the
        item's variance that the factor explains.
    summary: `n_factors`, the leading eigenvalues above chance (Horn 1965); `ratio` of the first eigenvalue to the
        second, above 4 where one factor dominates (Reeve et al. 2007); `rmsr_1` and `rmsr_2`, the root mean square
        of the correlations that one and two factors leave over; `p_one_factor`, the probability of a second
        eigenvalue as large as this one if there is one factor only (Drasgow & Lissak 1983).
    """

    eigenvalues: pd.DataFrame
    items: pd.DataFrame
    summary: dict[str, float]


def dimensionality(scored: pd.DataFrame, seed: int = 0) -> Dimensionality:
    """Is it one ability? Parallel analysis, and one factor against two.

    scored: one row a respondent, one column an item, cells 1, 0 or missing. The eigenvalues of the tetrachoric
    correlations are held against those of REPLICATIONS simulated crowds with as many people, the same shares of right
    answers and the same cells missing: once with unrelated items (parallel analysis: Horn 1965), once with the one
    factor that fits these items best (modified parallel analysis: Drasgow & Lissak 1983), which tests one factor
    against more. Factors are principal axes. The same seed gives the same result.

    Raises InputError as `tetrachoric` does.
    """
    correlations = tetrachoric(scored).to_numpy()
    answers = scored.to_numpy(float)
    loading = factor_loadings(correlations, 1)
    unrelated, one_factor = (_simulated_eigenvalues(answers, each, seed) for each in (0 * loading, loading))
    found = _eigenvalues(correlations)
    eigenvalues = pd.DataFrame(
        {
            "component": np.arange(1, len(found) + 1),
            "eigenvalue": found,
            "chance": np.quantile(unrelated, 0.95, axis=0),
            "one_factor": np.quantile(one_factor, 0.95, axis=0),
        }
    )
    summary = {
        "n_factors": int(np.cumprod(eigenvalues["eigenvalue"] > eigenvalues["chance"]).sum()),
        "ratio": float(found[0] / found[1]),
        "rmsr_1": _rmsr(correlations, loading),
        "rmsr_2": _rmsr(correlations, factor_loadings(correlations, 2)),
        "p_one_factor": float((1 + (one_factor[:, 1] >= found[1]).sum()) / (1 + REPLICATIONS)),
    }
    items = pd.DataFrame({"item_id": list(scored.columns), "loading": loading[:, 0], "communality": loading[:, 0] ** 2})
    return Dimensionality(eigenvalues, items, summary)


def tetrachoric(scored: pd.DataFrame) -> pd.DataFrame:
    """Tetrachoric correlations of all pairs of items (Pearson 1900): items x items.

    scored: respondents x items, cells 1, 0 or missing; a pair is judged by those who answered both. A cell of a pair's
    two-by-two table that nobody is in counts as half a person, without which the correlation would be 1 or -1.

    Raises InputError for other cells, fewer than three items, an item on which all answers are alike, and two items
    that nobody answered both.
    """
    answers = checked(scored)
    constant = answers.columns[answers.nunique() < 2]
    if len(constant):
        raise InputError(
            f"responses: all answers to item {constant[0]!r} are alike, so it correlates with nothing; drop it"
        )
    if answers.shape[1] < 3:
        raise InputError(f"responses: {answers.shape[1]} items; factors need at least three")
    together = answers.notna().to_numpy(float)
    together = together.T @ together
    if not together.all():
        row, column = np.argwhere(together == 0)[0]
        first, second = answers.columns[[row, column]]
        raise InputError(f"responses: nobody answered both {first!r} and {second!r}; drop one of them")
    return pd.DataFrame(_tetrachoric(answers.to_numpy()), index=answers.columns, columns=answers.columns)


def checked(scored: pd.DataFrame) -> pd.DataFrame:
    """The answers as floats; InputError for a repeated item and for cells other than 1, 0 or missing."""
    return of_bank(scored, ItemBank(pd.DataFrame({"item_id": scored.columns}), pd.DataFrame(), {}))


def factor_loadings(correlations: np.ndarray, n_factors: int) -> np.ndarray:
    """Loadings of the principal axes, (items, n_factors), most of them positive on the first.

    The communalities on the diagonal are replaced by those of the leading eigenvectors until they stand still, which
    is least squares on the correlations off the diagonal (Harman & Jones 1966).
    """
    communality = np.abs(correlations - np.eye(len(correlations))).max(axis=1)
    reduced, change, rounds = correlations.copy(), np.inf, 0
    while change > 1e-6 and rounds < 1000:
        np.fill_diagonal(reduced, communality)
        values, vectors = np.linalg.eigh(reduced)
        loading = vectors[:, : -n_factors - 1 : -1] * np.sqrt(np.maximum(values[: -n_factors - 1 : -1], 0))
        before, communality = communality, np.minimum((loading**2).sum(axis=1), 0.999)
        change, rounds = np.abs(communality - before).max(), rounds + 1
    loading *= np.sqrt(communality / np.maximum((loading**2).sum(axis=1), 1e-12))[:, None]
    return loading * np.where(loading.sum(axis=0) < 0, -1, 1)


def _tetrachoric(answers: np.ndarray) -> np.ndarray:
    right, wrong = ((answers == value).astype(float) for value in (1, 0))
    first, second = np.triu_indices(answers.shape[1], 1)
    cells = np.stack([(x.T @ y)[first, second] for x in (right, wrong) for y in (right, wrong)])
    cells = np.where(cells == 0, 0.5, cells)
    both, only_first, only_second, _ = cells / cells.sum(axis=0)
    h, k = -ndtri(both + only_first), -ndtri(both + only_second)
    correlations = np.eye(answers.shape[1])
    correlations[first, second] = correlations[second, first] = _correlation(h, k, both)
    return correlations


def _correlation(h: np.ndarray, k: np.ndarray, both: np.ndarray) -> np.ndarray:
    """The correlation r at which a standard binormal pair exceeds (h, k) with probability `both`.

    With r = sin t that probability is Phi(-h) Phi(-k) plus the integral from 0 to t of
    exp(-(h^2 + k^2 - 2 h k sin u) / (2 cos^2 u)) / 2 pi (Drezner & Wesolowsky 1990), whose derivative in t is the
    integrand: Newton's method, with bisection where a step leaves the interval that holds the root.
    """
    excess = both - ndtr(-h) * ndtr(-k)
    squares, product = (h**2 + k**2) / 2, h * k
    low, high, t = np.full(h.shape, -_LIMIT), np.full(h.shape, _LIMIT), np.zeros(h.shape)
    for _ in range(40):
        u = t[:, None] * (_POINTS + 1) / 2
        density = np.exp((product[:, None] * np.sin(u) - squares[:, None]) / np.cos(u) ** 2)
        gap = density @ _POINT_WEIGHTS * t / (4 * np.pi) - excess
        low, high = np.where(gap < 0, t, low), np.where(gap < 0, high, t)
        slope = np.exp((product * np.sin(t) - squares) / np.cos(t) ** 2) / (2 * np.pi)
        step = t - gap / np.maximum(slope, 1e-300)
        new = np.where((step >= low) & (step <= high), step, (low + high) / 2)
        if np.abs(new - t).max(initial=0) < 1e-9:
            break
        t = new
    return np.sin(t)


def _eigenvalues(correlations: np.ndarray) -> np.ndarray:
    return np.linalg.eigvalsh(correlations)[::-1]


def _rmsr(correlations: np.ndarray, loading: np.ndarray) -> float:
    left = correlations - loading @ loading.T
    return float(np.sqrt(np.mean(left[np.triu_indices(len(left), 1)] ** 2)))


def _simulated_eigenvalues(answers: np.ndarray, loading: np.ndarray, seed: int) -> np.ndarray:
    """Eigenvalues of crowds like this one, were the items related by one factor alone: (REPLICATIONS, items)."""
    rng = np.random.default_rng(seed)
    threshold = -ndtri(np.nanmean(answers, axis=0))
    loading = loading[:, 0]
    found = []
    for _ in range(REPLICATIONS):
        ability, rest = rng.standard_normal((len(answers), 1)), rng.standard_normal(answers.shape)
        drawn = (ability * loading + rest * np.sqrt(1 - loading**2) > threshold).astype(float)
        found.append(_eigenvalues(_tetrachoric(np.where(np.isnan(answers), np.nan, drawn))))
    return np.array(found)
