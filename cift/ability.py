"""Where respondents and models stand on a scale: theta, its standard error, the percentile among people.

Four estimates of the same ability. EAP and MAP know that theta ~ N(0, 1) and are pulled towards 0, the more the fewer
the answers; MLE and WLE know the answers only. EAP is the default: of all estimates it has the smallest mean squared
error in the population, it exists for every pattern of answers, and the published abilities are EAPs.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.integrate import cumulative_trapezoid
from scipy.special import ndtr

from cift.errors import InputError
from cift.irt import PARAMETERS, ItemBank, posterior, probability

METHODS = ("eap", "map", "mle", "wle")
REACH = 20.0  # where MAP, MLE and WLE are searched, in units of the population's SD, to each side of 0
_CELLS = 4_000_000  # people x items, or people x nodes, that are worked on at once
_TIED = 1e-4  # abilities closer than this count as equal: far below any standard error, far above rounding


def score(scored: pd.DataFrame, bank: ItemBank, method: str = "eap") -> pd.DataFrame:
    """Ability of each respondent or model on a calibrated scale.

    scored: one row a respondent or model, columns with at least the bank's items, cells 1, 0 or missing; on a nominal
        scale the labels themselves, and only "eap".
    method:
        "eap", mean of the posterior under theta ~ N(0, 1); its standard error is the posterior's standard
            deviation (Bock & Mislevy 1982).
        "map", the posterior's mode; 1 / sqrt(I + 1), with I the information of the answered items (Samejima 1969).
        "mle", the likelihood's maximum; 1 / sqrt(I). Where the likelihood still rises at the end of the scale it is
            +inf or -inf with infinite standard error: all right, all wrong, with guessing many patterns below chance.
        "wle", Warm's (1989) weighted likelihood, which removes the bias of order 1 / n that pushes the MLE outwards;
            1 / sqrt(I). Finite for every pattern.
        MLE and WLE of someone who answered nothing are missing. Finite estimates lie within +-REACH.

    Returns, for each row:
        theta, theta_se.
        percentile: 100 Phi(theta), where the estimate falls in N(0, 1).
        percentile_empirical: percentage of the bank's population with a lower theta, ties counted half; missing where
            the bank has no population.
        n_items: how many were answered.
        at_ceiling, at_floor: all of them right, or wrong; nobody can be placed higher, or lower, by these items.

    Two percentiles, because an EAP is shrunk: EAPs spread less than N(0, 1), so `percentile` of an EAP is nearer to 50
    than the share of people who did worse. `percentile_empirical` is that share, as long as both sides are estimated
    alike: a population's thetas are EAPs, so compare EAPs from about as many answers with it. MLE and WLE spread wider
    than the population's EAPs, which makes good look better and bad look worse.

    Raises InputError for an unknown method, a bank item without a column or with two, and cells other than 1, 0 or
    missing.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r}: unknown; choose from {', '.join(METHODS)}")
    if "slope" in bank.items:
        if method != "eap":
            raise InputError(f"method {method!r}: a nominal scale is scored by eap")
        chosen, scored = scored, _right_labels(scored, bank)
        nodes, weight, _ = posterior(chosen, bank.items)
        theta, theta_se = mean_and_sd(nodes, weight)
    elif method == "eap":
        scored = of_bank(scored, bank)
        nodes, weight, _ = posterior(scored, bank.items)
        theta, theta_se = mean_and_sd(nodes, weight)
    else:
        scored = of_bank(scored, bank)
        blocks = max(1, len(scored) * max(len(bank.items), 400) // _CELLS)
        parts = [_climb(part, bank.items, method) for part in np.array_split(scored.to_numpy(), blocks)]
        theta, theta_se = (np.concatenate(values) for values in zip(*parts, strict=True))
    answered, right = scored.notna().sum(axis=1), scored.sum(axis=1)
    return pd.DataFrame(
        {
            "theta": theta,
            "theta_se": theta_se,
            "percentile": 100 * ndtr(theta),
            "percentile_empirical": _empirical_percentile(theta, bank.population),
            "n_items": answered,
            "at_ceiling": (answered > 0) & (right == answered),
            "at_floor": (answered > 0) & (right == 0),
        },
        index=scored.index,
    )


def eap(scored: pd.DataFrame, bank: ItemBank) -> pd.DataFrame:
    """`score` with the expected a posteriori estimate (Bock & Mislevy 1982)."""
    return score(scored, bank, "eap")


def place(predictions: pd.DataFrame, bank: ItemBank, name: str = "model", method: str = "eap") -> pd.DataFrame:
    """Ability of one model from its predictions table (`item_id`, `label`, `predicted`, ...).

    Returns `score`'s table with one row, called `name`. Raises InputError when a bank item was not predicted.
    """
    right = (predictions["predicted"] == predictions["label"]).astype(float)
    if "slope" in bank.items:
        right = predictions["predicted"]
    answers = pd.DataFrame([right.to_numpy()], index=[name], columns=predictions["item_id"].to_numpy())
    return score(answers, bank, method)


def plausible_values(scored: pd.DataFrame, bank: ItemBank, n: int = 5, seed: int = 0) -> pd.DataFrame:
    """Draws from each row's posterior of theta: a table with the rows of `scored` and columns 0 to n - 1.

    For statements about a group (its mean, its spread, a correlation with something else): compute the statement in
    every column and average. EAPs would understate the spread, MLEs overstate it (Mislevy 1991). For one person's
    ability use `score`. Raises InputError as `score` does, and for n below 1.
    """
    if n < 1:
        raise InputError(f"plausible values: {n} draws; ask for at least 1")
    scored = of_bank(scored, bank)
    nodes, weight, _ = posterior(scored, bank.items)
    theta, theta_se = mean_and_sd(nodes, weight)
    rng = np.random.default_rng(seed)
    row = np.arange(len(scored))[:, None]
    cumulated = np.cumsum(weight, axis=1)
    cumulated /= cumulated[:, -1:]
    # all rows' distribution functions end to end are one increasing array, which is searched once
    found = np.searchsorted((cumulated + row).ravel(), (rng.random((len(scored), n)) + row).ravel())
    width = nodes[1] - nodes[0]
    drawn = nodes[(found % len(nodes)).reshape(-1, n)] + width * (rng.random((len(scored), n)) - 0.5)
    # each node's weight is spread evenly over its cell, which widens the posterior by width^2 / 12: taken back here
    narrower = theta_se / np.sqrt(theta_se**2 + width**2 / 12)
    return pd.DataFrame(theta[:, None] + narrower[:, None] * (drawn - theta[:, None]), index=scored.index)


def of_bank(scored: pd.DataFrame, bank: ItemBank) -> pd.DataFrame:
    """The bank's items in its order, as floats, after a check."""
    refuse_nominal(bank)
    wanted = pd.Index(bank.items["item_id"])
    scored = _columns(scored, wanted)
    cells = scored.to_numpy()
    if cells.dtype.kind not in "fiub":
        cells = scored.apply(pd.to_numeric, errors="coerce").to_numpy(float, na_value=np.nan)
        cells[np.isnan(cells) & scored.notna().to_numpy()] = np.inf  # not a number, and not missing either
    good = np.isnan(cells) | (cells == 0) | (cells == 1)
    if not good.all():
        row, column = np.argwhere(~good)[0]
        value = scored.to_numpy(object)[row, column]
        raise InputError(
            f"responses: row {scored.index[row]!r}, item {wanted[column]!r}: {value!r} is not 1, 0 or missing; "
            "score raw labels with cift.crowds.score first"
        )
    return pd.DataFrame(cells.astype(float), index=scored.index, columns=wanted)


def refuse_nominal(bank: ItemBank) -> None:
    """Raise InputError for a nominal scale, where one of right and wrong answers is needed."""
    if "slope" in bank.items:
        raise InputError(
            f"{bank.info['scale']}: a nominal scale of raw labels; this needs one of right and wrong answers"
        )


def _right_labels(labels: pd.DataFrame, bank: ItemBank) -> pd.DataFrame:
    """Labels as 1 for the gold one, which is an item's first in a nominal bank, 0 or missing, after a check."""
    first = bank.items.drop_duplicates("item_id").set_index("item_id")["label"]
    labels = _columns(labels, first.index)
    known = bank.items.groupby("item_id", sort=False)["label"].agg(set)
    for item in first.index:
        unknown = set(labels[item].dropna()) - known[item]
        if unknown:
            raise InputError(
                f"responses: item {item!r} has the answer {sorted(unknown, key=str)[0]!r}, "
                f"which the bank has not seen; it knows {', '.join(map(str, known[item]))}"
            )
    return labels.eq(first, axis=1).astype(float).where(labels.notna())


def _columns(table: pd.DataFrame, wanted: pd.Index) -> pd.DataFrame:
    """The wanted columns in order. Raises InputError where one is missing or there twice."""
    missing = wanted[~wanted.isin(table.columns)]
    if len(missing):
        raise InputError(
            f"responses: no column for item {missing[0]!r} ({len(missing)} of the bank's {len(wanted)} items missing); "
            "score with the bank of the same items, or add the column with empty cells"
        )
    table = table[wanted]
    if len(table.columns) > len(wanted):
        twice = table.columns[table.columns.duplicated()][0]
        raise InputError(f"responses: item {twice!r} occurs twice; keep one answer an item")
    return table


def mean_and_sd(nodes: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of distributions given as (people, nodes) weights."""
    theta = weight @ nodes
    return theta, np.sqrt((weight * (nodes - theta[:, None]) ** 2).sum(axis=1))


def _empirical_percentile(theta: np.ndarray, population: pd.DataFrame) -> np.ndarray:
    if "theta" not in population or population.empty:
        return np.full(len(theta), np.nan)
    people = np.sort(population["theta"].to_numpy(float))
    below, up_to = np.searchsorted(people, theta - _TIED), np.searchsorted(people, theta + _TIED, side="right")
    return np.where(np.isnan(theta), np.nan, 50 * (below + up_to) / len(people))


def _climb(answers: np.ndarray, items: pd.DataFrame, method: str) -> tuple[np.ndarray, np.ndarray]:
    """MAP, MLE or WLE and standard error of each row of (people, items) answers.

    The best of a grid of nodes is found first, since with guessing the likelihood may have several maxima; Fisher
    scoring then climbs from there, and halves the interval between the neighbouring nodes where it would leave it.
    """
    answered = ~np.isnan(answers)
    right = np.where(answered, answers, 0.0)
    nodes = np.linspace(-REACH, REACH, 401)
    p, _, information, asymmetry = _derivatives(nodes, items)
    height = _log_likelihood(right, answered, p)
    if method == "map":
        height -= nodes**2 / 2
    if method == "wle":
        slope = _warm(answered @ information.T, answered @ asymmetry.T)
        height += cumulative_trapezoid(slope, nodes, axis=1, initial=0)
    best = height.argmax(axis=1)
    low, high = nodes[np.maximum(best - 1, 0)], nodes[np.minimum(best + 1, len(nodes) - 1)]
    theta = nodes[best]
    for _ in range(60):  # 60 halvings exhaust a double's precision; Fisher scoring needs about five steps
        p, steepness, information, asymmetry = _derivatives(theta, items)
        gradient = (answered * (right - p) * steepness).sum(axis=1)
        total = (answered * information).sum(axis=1)
        if method == "map":
            gradient, total = gradient - theta, total + 1
        if method == "wle":
            gradient += _warm(total, (answered * asymmetry).sum(axis=1))
        low, high = np.where(gradient > 0, theta, low), np.where(gradient > 0, high, theta)
        new = theta + gradient / np.maximum(total, 1e-12)
        new = np.where((new < low) | (new > high), (low + high) / 2, new)
        moved = np.abs(new - theta).max(initial=0)
        theta = new
        if moved < 1e-9:
            break
    theta_se = 1 / np.sqrt(np.maximum(total, 1e-12))
    if method == "mle":
        a, _, c, d = (items[name].to_numpy(float) for name in PARAMETERS)
        ends = np.stack([np.where(a > 0, c, d), np.where(a > 0, d, c)])  # P(correct) at theta = -inf, +inf
        at_ends = _log_likelihood(right, answered, ends)
        endless = at_ends.max(axis=1) >= height.max(axis=1)
        theta = np.where(endless, np.where(at_ends[:, 1] > at_ends[:, 0], np.inf, -np.inf), theta)
        theta_se = np.where(endless, np.inf, theta_se)
    if method != "map":
        silent = ~answered.any(axis=1)
        theta, theta_se = np.where(silent, np.nan, theta), np.where(silent, np.nan, theta_se)
    return theta, theta_se


def _log_likelihood(right: np.ndarray, answered: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Log-likelihood of each person's answers, (people, items), under each row of p, (abilities, items)."""
    with np.errstate(divide="ignore"):
        log_right, log_wrong = (np.maximum(np.log(q), -1e9) for q in (p, 1 - p))  # 0 x -inf would be nan
    return right @ log_right.T + (answered - right) @ log_wrong.T


def _derivatives(theta: np.ndarray, items: pd.DataFrame) -> tuple[np.ndarray, ...]:
    """P, P' / PQ, the information P'^2 / PQ and Warm's P' P'' / PQ: arrays (abilities, items)."""
    a, _, c, d = (items[name].to_numpy(float) for name in PARAMETERS)
    p = np.clip(probability(theta, items), 1e-12, 1 - 1e-12)
    first = a * (p - c) * (d - p) / (d - c)
    second = a * first * (c + d - 2 * p) / (d - c)
    steepness = first / (p * (1 - p))
    return p, steepness, first * steepness, second * steepness


def _warm(information: np.ndarray, asymmetry: np.ndarray) -> np.ndarray:
    """J / 2I, the slope of Warm's (1989, eq. 8) log weight; for the 2PL the weight is sqrt(I)."""
    return asymmetry / (2 * np.maximum(information, 1e-300))
