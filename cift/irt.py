"""Item response theory: the calibration of a scale, and the item bank that comes of it.

The models' curves are in `cift.curves`, whose functions are here too, the engines in `cift.marginal` (1PL to 4PL),
`cift.nominal` and `cift.bayes`. The population N(0, 1) fixes origin and unit of a scale; its sign is chosen so that
most items have a > 0. A single item may have a < 0: the able then get it wrong, so look at its gold label.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import chdtrc

from cift import __version__
from cift.curves import PARAMETERS, grid, information, posterior, probability
from cift.errors import InputError
from cift.files import write_text

__all__ = [
    "ItemBank",
    "PARAMETERS",
    "Priors",
    "calibrate",
    "compare",
    "grid",
    "information",
    "posterior",
    "probability",
]

MODELS = ("1pl", "2pl", "3pl", "4pl", "nominal")
METHODS = ("mml", "map", "py-irt")
SPARSE_ITEM = 30  # answers: an item with fewer has no slope to speak of without a prior


@dataclass(frozen=True)
class Priors:
    """Priors on the items' parameters: mean and sd of normal ones.

    log_a, b: (mean, sd); None: estimated from the items themselves (empirical Bayes). Used by method "map"; the 1PL's
        one slope has none.
    guessing, upper: centres of c (3PL, 4PL) and d (4PL), with the sd of their logits. Always used, because answers
    alone hardly tell an asymptote from a difficulty; a tiny sd fixes them.
    """

    log_a: tuple[float, float] | None = None
    b: tuple[float, float] | None = None
    guessing: float = 1 / 3
    guessing_sd: float = 0.5
    upper: float = 0.98
    upper_sd: float = 0.5

    def __post_init__(self) -> None:
        """Raises InputError for an sd that is not positive, and unless 0 < guessing < upper < 1."""
        if not 0 < self.guessing < self.upper < 1:
            raise InputError(f"priors: guessing {self.guessing} and upper {self.upper}; give 0 < guessing < upper < 1")
        for name in ("log_a", "b"):
            given = getattr(self, name)
            if given is not None and not (isinstance(given, tuple) and len(given) == 2 and given[1] > 0):
                raise InputError(f"priors: {name} {given!r}; give (mean, sd) with a positive sd, or None")
        if not min(self.guessing_sd, self.upper_sd) > 0:
            raise InputError(f"priors: sds {self.guessing_sd} and {self.upper_sd}; give positive ones")


@dataclass(frozen=True)
class Fit:
    """What an engine found.

    items, errors: (items, 4), a, b, c, d and their standard errors (0 where fixed).
    theta, theta_se: each person's EAP and its standard error.
    report: log_likelihood, iterations, converged, largest_change, nodes, and the priors in use.
    """

    items: np.ndarray
    errors: np.ndarray
    theta: np.ndarray
    theta_se: np.ndarray
    report: dict


@dataclass(frozen=True)
class ItemBank:
    """A calibrated scale.

    items: one row an item, with `item_id`, `a`, `b`, `c`, `d` and their standard errors `a_se` to `d_se` (0 where the
        model fixes them). Of a nominal scale: one row an item and label, gold label first, with `item_id`, `label`,
        `slope`, `intercept` and their standard errors; a label that nobody chose has no row.
    population: one row a respondent (index), with `theta` and `theta_se` (EAP).
    info: scale name, model, method, counts, log-likelihood, AIC, BIC, convergence, priors, items left out, what was
        done instead of what was asked (`notes`), a hash of the data, versions.
    """

    items: pd.DataFrame
    population: pd.DataFrame
    info: dict

    def save(self, path: str | Path) -> None:
        """Write the bank as one JSON file; `ItemBank.load` gives the same numbers back."""
        population = self.population.rename_axis("respondent").reset_index()
        text = json.dumps(
            {"info": self.info, "items": self.items.to_dict("list"), "population": population.to_dict("list")}
        )
        write_text(path, text)

    @classmethod
    def load(cls, path: str | Path) -> ItemBank:
        """Read a bank that `save` wrote. Raises InputError when the file is not one."""
        try:
            stored = json.loads(Path(path).read_text(encoding="utf-8"))
            population = pd.DataFrame(stored["population"]).set_index("respondent")
            return cls(pd.DataFrame(stored["items"]), population, stored["info"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not an item bank ({error}); write one with ItemBank.save") from error


def calibrate(
    responses: pd.DataFrame,
    scale: str = "scale",
    model: str = "2pl",
    method: str = "mml",
    seed: int = 0,
    gold: pd.Series | None = None,
    priors: Priors | None = None,
    device: str = "cpu",
) -> ItemBank:
    """Fit an item response model to responses and return the item bank.

    responses: one row a respondent, one column an item; cells 1, 0 or missing; for the nominal model labels or
        missing, with `gold` the right one of each item.
    model: "1pl", "2pl", "3pl", "4pl" or "nominal".
    method: "mml", marginal maximum likelihood by EM (Bock & Aitkin 1981; c and d have priors all the same);
        "map", with priors on log a and b too, whose means and sds are estimated from the items unless `priors` names
        them (empirical Bayes; every a is then positive);
        "py-irt", the hierarchical Bayesian fit of the py-irt package (Lalor & Rodriguez 2023) for 1PL and 2PL, on
        Python below 3.12; only that uses the seed.
    device: where the tensors are, "cpu" or "cuda".

    Where maximum likelihood of a 1PL to 4PL has nothing to hold on to (half of the items with fewer than SPARSE_ITEM
    answers, or a slope that grows without end), "mml" becomes "map", with a warning and a line in `info["notes"]`.
    Items on which everyone gave the same result have no finite difficulty: they are left out, with a warning, and
    listed under `info["left_out"]`. Respondents without an answer to the others stay in the population at its mean and
    change nothing else. A standard error is infinite where the answers do not identify a parameter.

    Raises InputError for an unknown model or method, cells of another kind, an item with two columns, fewer than two
    respondents or items.
    """
    for what, value, known in (("model", model, MODELS), ("method", method, METHODS)):
        if value not in known:
            raise InputError(f"{what} {value!r}: unknown; choose from {', '.join(known)}")
    twice = responses.columns[responses.columns.duplicated()]
    if len(twice):
        raise InputError(f"{scale}: item {twice[0]!r} has two columns; keep one answer an item")
    if model == "nominal":
        if gold is None or method != "mml":
            raise InputError("model 'nominal': give the items' gold labels as gold=, and method 'mml'")
        return _calibrate_nominal(responses, gold, scale, device)
    right, answered = _as_right(responses, scale)
    keep, usable = _usable(right, answered, list(responses.columns), scale)
    left_out = [item for item, kept in zip(responses.columns, usable, strict=True) if not kept]
    items = [item for item, kept in zip(responses.columns, usable, strict=True) if kept]
    if left_out or not keep.all():
        right = right[np.ix_(keep, usable)]
        answered = None if answered is None else answered[np.ix_(keep, usable)]
        if answered is not None and answered.all():
            answered = None
    notes: list[str] = []
    if method == "py-irt":
        from cift.bayes import fit as fit_bayes

        fitted = fit_bayes(right, answered, model, seed)
    else:
        method, fitted = _fit(right, answered, model, method, priors or Priors(), device, notes, scale)
    sign = -1 if (fitted.items[:, 0] < 0).sum() * 2 > len(items) else 1
    table = pd.DataFrame(
        np.hstack([fitted.items * [sign, sign, 1, 1], fitted.errors]),
        columns=PARAMETERS + [f"{name}_se" for name in PARAMETERS],
    )
    table.insert(0, "item_id", items)
    _warn_of_negative(table, scale, notes)
    _warn_of_unknown(table, scale, notes)
    population = pd.DataFrame({"theta": 0.0, "theta_se": 1.0}, index=responses.index)
    population.loc[keep, ["theta", "theta_se"]] = np.column_stack([sign * fitted.theta, fitted.theta_se])
    n_parameters = {"1pl": len(items) + 1, "2pl": 2 * len(items), "3pl": 3 * len(items), "4pl": 4 * len(items)}[model]
    info = _info(scale, model, method, [right, answered], len(right), n_parameters, left_out, fitted.report, notes)
    return ItemBank(table, population, info)


def _fit(
    right: np.ndarray,
    answered: np.ndarray | None,
    model: str,
    method: str,
    priors: Priors,
    device: str,
    notes: list[str],
    scale: str,
) -> tuple[str, Fit]:
    """The fit by "mml" or "map", and which of the two it was in the end."""
    from cift import marginal
    from cift.expectation import Answers

    answers = Answers.of(right, answered, device)
    n = len(right) if answered is None else np.median(answered.sum(axis=0))
    why = f"half of the items have {n:.0f} answers or fewer" if n < SPARSE_ITEM else None
    if method == "mml" and not why:
        fitted = marginal.fit(answers, model, priors, pooled=False)
        if fitted.report["converged"]:
            return "mml", fitted
        why = "a slope grows without end" if fitted.report["ran_away"] else "the iteration did not settle"
    if why and method == "mml":
        given = "the given priors" if priors.log_a and priors.b else "priors estimated from the items"
        notes.append(f"{why}: maximum likelihood would fail, so log a and b got {given} (map)")
        warnings.warn(f"{scale}: {notes[-1]}", stacklevel=4)
    fitted = marginal.fit(answers, model, priors, pooled=True)
    if not fitted.report["converged"]:
        notes.append(f"not converged, largest change {fitted.report['largest_change']:.1e}")
        warnings.warn(f"{scale}: {notes[-1]}", stacklevel=4)
    return "map", fitted


def _calibrate_nominal(responses: pd.DataFrame, gold: pd.Series, scale: str, device: str) -> ItemBank:
    from cift import nominal

    if gold.index.has_duplicates:
        raise InputError(f"{scale}: item {gold.index[gold.index.duplicated()][0]!r} has two gold labels; keep one")
    missing = [item for item in responses.columns if item not in gold.index or pd.isna(gold[item])]
    if missing:
        raise InputError(f"{scale}: item {missing[0]!r} has no gold label; add it to gold, or drop the column")
    cells = responses.astype(object).where(responses.notna(), None).to_numpy(object)
    right = gold.loc[list(responses.columns)].to_numpy(object)
    answered = responses.notna().to_numpy()
    labels = sorted(set(cells[answered]) | set(right), key=str)
    index = np.full(cells.shape, -1, np.int16)
    names = np.empty((len(right), len(labels)), object)  # each item's labels, gold first
    for j, label in enumerate(right):
        names[j] = [label, *(other for other in labels if other != label)]
        for k, name in enumerate(names[j]):
            index[cells[:, j] == name, j] = k
    keep, usable = _usable((index == 0).astype(np.uint8), answered.astype(np.uint8), list(responses.columns), scale)
    left_out = [item for item, kept in zip(responses.columns, usable, strict=True) if not kept]
    index, names = index[np.ix_(keep, usable)], names[usable]
    fitted = nominal.fit(index, len(labels), device)
    chosen = np.stack([(index == k).any(axis=0) for k in range(len(labels))], 1)
    chosen[:, 0] = True
    items = np.repeat(responses.columns[usable].to_numpy(object), chosen.sum(axis=1))
    columns = ("slope", "intercept", "slope_se", "intercept_se")
    table = pd.DataFrame(
        {"item_id": items, "label": names[chosen]} | {name: getattr(fitted, name)[chosen] for name in columns}
    )
    population = pd.DataFrame({"theta": 0.0, "theta_se": 1.0}, index=responses.index)
    population.loc[keep, ["theta", "theta_se"]] = np.column_stack([fitted.theta, fitted.theta_se])
    notes: list[str] = []
    if not fitted.report["converged"]:
        notes.append(f"not converged, largest change {fitted.report['largest_change']:.1e}")
        warnings.warn(f"{scale}: {notes[-1]}", stacklevel=3)
    _warn_of_unknown(table, scale, notes)
    n_parameters = 2 * (len(table) - len(names))
    info = _info(scale, "nominal", "mml", [index, None], len(index), n_parameters, left_out, fitted.report, notes)
    return ItemBank(table, population, info)


def _as_right(responses: pd.DataFrame, scale: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Right and answered as uint8 arrays, people x items; answered is None where nothing is missing."""
    values = responses.to_numpy()
    if values.dtype.kind == "O":
        values = responses.apply(pd.to_numeric, errors="coerce").to_numpy(float, na_value=np.nan)
        values[responses.notna().to_numpy() & np.isnan(values)] = -1
    right = np.ascontiguousarray(values == 1).view(np.uint8)
    wrong = values == 0
    if np.count_nonzero(right) + np.count_nonzero(wrong) == values.size:
        return right, None
    answered = right.view(bool) | wrong
    bad = ~answered & (values == values)  # NaN is not itself
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise InputError(
            f"{scale}: respondent {responses.index[row]!r}, item {responses.columns[column]!r}: "
            f"{responses.to_numpy(object)[row, column]!r} is not 1, 0 or missing; "
            "score raw labels with cift.crowds.score first"
        )
    return right, np.ascontiguousarray(answered).view(np.uint8)


def _usable(right: np.ndarray, answered: np.ndarray | None, items: list, scale: str) -> tuple[np.ndarray, np.ndarray]:
    """Which respondents answered anything, and which items have right and wrong answers; warns of the others."""
    keep = np.full(len(right), True) if answered is None else answered.any(axis=1)
    n_right = right.sum(axis=0, dtype=np.int64)
    n = np.full_like(n_right, len(right)) if answered is None else answered.sum(axis=0, dtype=np.int64)
    usable = np.logical_and(n_right > 0, n_right < n)
    if not usable.all():
        names = [str(item) for item, kept in zip(items, usable, strict=True) if not kept]
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        warnings.warn(
            f"{scale}: left out {', '.join(names[:20])}{more}: "
            "all answers are alike, so the item has no finite difficulty",
            stacklevel=4,
        )
    if answered is not None:
        keep = answered[:, usable].any(axis=1)
    if keep.sum() < 2 or usable.sum() < 2:
        raise InputError(f"{scale}: {keep.sum()} respondents and {usable.sum()} usable items; need two of each")
    return np.asarray(keep), np.asarray(usable)


def _warn_of_negative(table: pd.DataFrame, scale: str, notes: list[str]) -> None:
    below = table["a"].to_numpy() + 1.96 * table["a_se"].to_numpy() < 0
    if below.any():
        negative = table.loc[below, "item_id"].astype(str)
        notes.append(f"a < 0 for {', '.join(negative)}: the able get them wrong; check their gold labels")
        warnings.warn(f"{scale}: {notes[-1]}", stacklevel=3)


def _warn_of_unknown(table: pd.DataFrame, scale: str, notes: list[str]) -> None:
    """Note the items that the answers say nothing about: their standard errors are infinite."""
    unknown = np.isinf(table.filter(like="_se").to_numpy()).any(axis=1)
    if unknown.any():
        names = table.loc[unknown, "item_id"].astype(str).unique()
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        notes.append(f"the answers do not identify {', '.join(names[:20])}{more}: standard errors are infinite")
        warnings.warn(f"{scale}: {notes[-1]}", stacklevel=4)


def _info(
    scale: str,
    model: str,
    method: str,
    data: Sequence[np.ndarray | None],
    people: int,
    n_parameters: int,
    left_out: list,
    report: dict,
    notes: list[str],
) -> dict:
    import torch

    digest = hashlib.sha256()
    for part in data:
        digest.update(b"complete" if part is None else repr(part.shape).encode())
        if part is not None:
            digest.update(np.ascontiguousarray(part).data)
    fit_measures = {}
    if method == "mml":  # they compare maximised likelihoods
        deviance = -2 * report["log_likelihood"]
        fit_measures = {"aic": deviance + 2 * n_parameters, "bic": deviance + np.log(people) * n_parameters}
    return {
        "scale": scale,
        "model": model,
        "method": method,
        "respondents": people,
        "left_out": [str(item) for item in left_out],
        "population": "theta ~ N(0, 1)",
        "n_parameters": n_parameters,
        **report,
        **{name: float(value) for name, value in fit_measures.items()},
        "notes": notes,
        "data_sha256": digest.hexdigest(),
        "versions": {"cift": __version__, "numpy": np.__version__, "torch": torch.__version__},
    }


def compare(*banks: ItemBank) -> pd.DataFrame:
    """Likelihood-ratio tests of nested models of the same data, the smallest first.

    Returns a row a bank: `model`, `log_likelihood`, `n_parameters`, `aic`, `bic`, and against the row above `chi2`,
    `df`, `p`. A prior on c or d holds the 3PL and 4PL off their maximum: that makes the test conservative, and where
    the larger model is the less likely one, there is none (missing). A vague prior gives way to the answers.
    Raises InputError where the banks are not of the same data, or not by maximum likelihood.
    """
    for bank in banks:
        if "data_sha256" not in bank.info:
            raise InputError(f"{bank.info.get('scale')}: does not say how it was fitted; compare banks from calibrate")
    banks = tuple(sorted(banks, key=lambda bank: bank.info["n_parameters"]))
    for bank in banks:
        if bank.info["method"] != "mml" or bank.info["model"] == "nominal":
            raise InputError(
                f"{bank.info['scale']}: {bank.info['model']} by {bank.info['method']}; compare 1PL to 4PL by mml"
            )
        if bank.info["data_sha256"] != banks[0].info["data_sha256"]:
            raise InputError(
                f"{bank.info['scale']}: fitted to other answers than {banks[0].info['scale']}; compare like with like"
            )
    table = pd.DataFrame(
        [
            {name: bank.info[name] for name in ("model", "log_likelihood", "n_parameters", "aic", "bic")}
            for bank in banks
        ]
    )
    gain = 2 * table["log_likelihood"].diff()
    table["chi2"] = gain.where(gain >= 0)
    table["df"] = table["n_parameters"].diff()
    return table.assign(p=chdtrc(table["df"], table["chi2"]))
