"""Item response models: the curve of an item, its information, and the calibration of a scale.

The model is the two-parameter logistic (2PL; Birnbaum 1968)

    P(correct | theta) = sigmoid(a (theta - b)),        theta ~ N(0, 1) in the population,

with `a` the discrimination and `b` the difficulty of an item. The bank keeps columns for a lower
asymptote `c` and an upper asymptote `d` as well, 0 and 1 under the 2PL. Fixing the population at
N(0, 1) fixes origin and unit of the scale; the sign is chosen so that most items have a > 0.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logsumexp

from cift import __version__
from cift.errors import InputError
from cift.files import write_text

PARAMETERS = ["a", "b", "c", "d"]
SLOPE_SD = 0.5  # of log a between the items of a scale, for method "map"


@dataclass(frozen=True)
class Priors:
    """Priors on the items' parameters: mean and sd of normal ones.

    log_a, b: (mean, sd); None: estimated from the items themselves (empirical Bayes). Used by method "map".
    guessing, upper: centres of c (3PL, 4PL) and d (4PL), with the sd of their logits. Always used, because answers
    alone hardly tell an asymptote from a difficulty; a tiny sd fixes them.
    """

    log_a: tuple[float, float] | None = None
    b: tuple[float, float] | None = None
    guessing: float = 1 / 3
    guessing_sd: float = 0.5
    upper: float = 0.98
    upper_sd: float = 0.5


@dataclass(frozen=True)
class ItemBank:
    """A calibrated scale.

    items: one row an item, with `item_id`, `a`, `b`, `c`, `d` and the standard errors `a_se`, `b_se`.
    population: one row a respondent (index), with `theta` and `theta_se` (EAP).
    info: scale name, model, method, counts, log-likelihood, convergence, items left out, versions.
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


def probability(theta: np.ndarray, items: pd.DataFrame) -> np.ndarray:
    """P(correct) for each ability and item: array (len(theta), len(items)).

    c + (d - c) sigmoid(a (theta - b)); with c = 0 and d = 1 the 2PL (Birnbaum 1968).
    """
    a, b, c, d = (items[name].to_numpy(float) for name in PARAMETERS)
    return c + (d - c) * expit(a * (np.asarray(theta, float)[:, None] - b))


def information(theta: np.ndarray, items: pd.DataFrame) -> np.ndarray:
    """Fisher information of each item at each ability: array (len(theta), len(items)).

    P'^2 / (P (1 - P)); for the 2PL this is a^2 P (1 - P). Its sum over items is 1 / SE^2 of the
    maximum-likelihood ability.
    """
    p = np.clip(probability(theta, items), 1e-12, 1 - 1e-12)
    a, _, c, d = (items[name].to_numpy(float) for name in PARAMETERS)
    slope = a * (p - c) * (d - p) / (d - c)
    return slope**2 / (p * (1 - p))


def quadrature(abcd: np.ndarray, answered: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Nodes on [-6, 6] and the log weights of N(0, 1) on them, for items (items, 4): a, b, c, d.

    answered: the largest share of the items that one person answered.
    """
    items = pd.DataFrame(abcd, columns=PARAMETERS)
    return spaced(answered * information(np.linspace(-6.0, 6.0, 49), items).sum(axis=1).max())


def spaced(most_information: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and log weights for a test that tells so much where it tells most.

    The nodes are a quarter apart, or as close as the smallest standard error: a posterior that falls between
    two nodes would distort the scale.
    """
    spacing = min(0.25, 1 / np.sqrt(1 + most_information))
    nodes = np.linspace(-6.0, 6.0, int(np.ceil(12 / spacing)) + 1)
    return nodes, -0.5 * nodes**2 - logsumexp(-0.5 * nodes**2)


def grid(items: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """`quadrature` for an item table."""
    return quadrature(items[PARAMETERS].to_numpy(float))


def posterior(scored: pd.DataFrame, items: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Nodes, each person's posterior of ability on them, (people, nodes), and log marginal likelihood.

    scored: 1, 0 or missing; columns are the bank's `item_id`s, in the bank's order. A missing answer
    says nothing: it drops out of the product over items.
    """
    nodes, log_weights = grid(items)
    answered = scored.notna().to_numpy()
    correct = np.where(answered, scored.to_numpy(float), 0.0)
    p = np.clip(probability(nodes, items), 1e-12, 1 - 1e-12)
    log_joint = correct @ np.log(p).T + (answered - correct) @ np.log1p(-p).T + log_weights
    log_marginal = logsumexp(log_joint, axis=1)
    return nodes, np.exp(log_joint - log_marginal[:, None]), log_marginal


def calibrate(scored: pd.DataFrame, scale: str = "scale", method: str = "mml", seed: int = 0) -> ItemBank:
    """Fit a 2PL to scored responses and return the item bank.

    scored: one row a respondent, one column an item, cells 1, 0 or missing.
    method: "mml", marginal maximum likelihood by EM (Bock & Aitkin 1981); "map", the same with the
        prior log a ~ N(m, SLOPE_SD^2), m being the items' mean, for crowds too small to fix a slope
        without it (it takes every item to discriminate in the same direction); "py-irt", the
        hierarchical Bayesian fit of the py-irt package (Lalor & Rodriguez 2023), Python below 3.12.
        Only that uses the seed.

    Items on which everyone gave the same result have no finite difficulty: they are left out, with a
    warning, and listed under `info["left_out"]`. Raises InputError for cells other than 1, 0 or
    missing, and for fewer than two respondents or items.
    """
    from cift.ability import eap

    methods = {"mml": _fit_mml, "map": _fit_map, "py-irt": _fit_py_irt}
    if method not in methods:
        raise InputError(f"method {method!r}: unknown; choose from {', '.join(methods)}")
    scored, left_out = _usable(scored, scale)
    a, b, a_se, b_se, fit = methods[method](scored, seed)
    if np.sum(np.sign(a)) < 0:
        a, b = -a, -b
    items = pd.DataFrame(
        {"item_id": list(scored.columns), "a": a, "b": b, "c": 0.0, "d": 1.0, "a_se": a_se, "b_se": b_se}
    )
    info = {
        "scale": scale,
        "model": "2pl",
        "method": method,
        "respondents": len(scored),
        "left_out": left_out,
        "cift": __version__,
        **fit,
    }
    population = eap(scored, ItemBank(items, pd.DataFrame(), info))[["theta", "theta_se"]]
    return ItemBank(items, population, info)


def _usable(scored: pd.DataFrame, scale: str) -> tuple[pd.DataFrame, list[str]]:
    values = scored.apply(pd.to_numeric, errors="coerce")
    bad = (values.isna() & scored.notna()) | (values.notna() & ~values.isin([0, 1]))
    if bad.to_numpy().any():
        row, column = np.argwhere(bad.to_numpy())[0]
        raise InputError(
            f"{scale}: respondent {scored.index[row]!r}, item {scored.columns[column]!r}: "
            f"{scored.to_numpy(object)[row, column]!r} is not 1, 0 or missing; score raw labels with cift.crowds.score first"
        )
    constant = values.nunique() < 2
    left_out = [str(item) for item in values.columns[constant]]
    if left_out:
        warnings.warn(
            f"{scale}: left out {', '.join(left_out)}: all answers are alike, so the item has no finite difficulty",
            stacklevel=3,
        )
    values = values.loc[:, ~constant]
    if min(values.shape) < 2:
        raise InputError(f"{scale}: {values.shape[0]} respondents and {values.shape[1]} usable items; need two of each")
    return values, left_out


def _fit_mml(scored: pd.DataFrame, seed: int, pooled: bool = False):
    """EM over the quadrature nodes; a vectorised Newton step for all items at once is the M step.

    Works on slope a and intercept g = -a b, in which each item's expected log-likelihood is concave.
    pooled: with a normal prior on log a, centred on the items' mean rather than on a fixed value, because
    many items pulled to a fixed slope would move the unit of the scale away from theta ~ N(0, 1).
    """
    tolerance, max_iterations = 1e-6, 2000
    answered = scored.notna().to_numpy().astype(float)
    correct = np.nan_to_num(scored.to_numpy(float))
    share = np.clip(correct.sum(0) / answered.sum(0), 0.02, 0.98)
    x = np.stack([np.ones(len(share)), np.log(share / (1 - share))], 1)  # (items, 2): a, g
    change, iterations = np.inf, 0
    while change >= tolerance and iterations < max_iterations:
        iterations += 1
        nodes, weight, log_marginal = posterior(scored, _as_items(x))
        trials, right = answered.T @ weight, correct.T @ weight  # expected counts, (items, nodes)
        design = np.stack([nodes, np.ones_like(nodes)], 1)  # (nodes, 2)
        before = x
        for _ in range(3):
            x = _newton_step(x, design, trials, right, pooled)
        # parameter expansion (Liu, Rubin & Wu 1998): let the population's mean and variance be free for this
        # step, then express the items in its units; origin and unit of long scales settle much sooner
        people = weight.mean(axis=0)
        center = people @ nodes
        unit = np.sqrt(people @ (nodes - center) ** 2)
        x = np.stack([x[:, 0] * unit, x[:, 1] + x[:, 0] * center], 1)
        change = np.abs(x - before).max()
    if change >= tolerance:
        warnings.warn(
            f"calibration stopped at {max_iterations} iterations, largest change {change:.1e}; "
            "with so few answers, method='map' may be better",
            stacklevel=3,
        )
    a_se, b_se = _standard_errors(answered, correct, nodes, weight, x, (SLOPE_SD * x[:, 0]) ** -2 if pooled else 0.0)
    fit = {
        "log_likelihood": float(log_marginal.sum()),
        "iterations": iterations,
        "converged": bool(change < tolerance),
    }
    return x[:, 0], -x[:, 1] / x[:, 0], a_se, b_se, fit


def _newton_step(x, design, trials, right, pooled: bool) -> np.ndarray:
    """One Newton step of every item towards its expected log-likelihood's maximum, never downhill.

    x: (items, 2), a and g. design: (nodes, 2). trials, right: expected counts, (items, nodes).
    """
    log_a_mean = np.log(x[:, 0]).mean() if pooled else 0.0

    def objective(x: np.ndarray) -> np.ndarray:
        logit = x @ design.T
        prior = ((np.log(x[:, 0]) - log_a_mean) / SLOPE_SD) ** 2 / 2 if pooled else 0.0
        return (right * logit - trials * np.logaddexp(0, logit)).sum(axis=1) - prior

    p = expit(x @ design.T)
    gradient = (right - trials * p) @ design
    hessian = np.einsum("jq,qk,ql->jkl", trials * p * (1 - p), design, design, optimize=True)
    if pooled:  # the same step in log a, where the prior is normal
        gradient[:, 0] = x[:, 0] * gradient[:, 0] - (np.log(x[:, 0]) - log_a_mean) / SLOPE_SD**2
        hessian[:, 0, :] *= x[:, :1]
        hessian[:, :, 0] *= x[:, :1]
        hessian[:, 0, 0] += SLOPE_SD**-2
    step = np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient[..., None])[..., 0]
    step /= np.maximum(1, np.abs(step).max(axis=1, keepdims=True))
    start, best = objective(x), x
    for _ in range(10):  # far from the optimum the curvature misleads: halve the step where it went downhill
        new = np.stack([x[:, 0] * np.exp(step[:, 0]) if pooled else x[:, 0] + step[:, 0], x[:, 1] + step[:, 1]], 1)
        better = objective(new) >= start
        best = np.where(better[:, None], new, best)
        if better.all():
            break
        step = np.where(better[:, None], step, step / 2)
    return best


def _fit_map(scored: pd.DataFrame, seed: int):
    return _fit_mml(scored, seed, pooled=True)


def _as_items(x: np.ndarray) -> pd.DataFrame:
    a = np.where(np.abs(x[:, 0]) < 1e-8, 1e-8, x[:, 0])
    return pd.DataFrame({"a": a, "b": -x[:, 1] / a, "c": 0.0, "d": 1.0})


def _standard_errors(answered, correct, nodes, weight, x, slope_precision) -> tuple[np.ndarray, np.ndarray]:
    """Standard errors of a and b from the observed information of the marginal likelihood (Louis 1982).

    Information = expected complete-data information - posterior covariance of the complete-data
    score, over all items jointly, plus the prior's; b's follows from (a, g) by the delta method.
    """
    n_items = len(x)
    design = np.stack([nodes, np.ones_like(nodes)], 1)
    p = expit(design @ x.T)  # (nodes, items)
    mean_score = np.stack(
        [(weight @ u)[:, None] * correct - answered * (weight @ (u[:, None] * p)) for u in design.T], 2
    ).reshape(len(weight), -1)  # posterior mean of each person's score, (people, 2 items)
    matrix = mean_score.T @ mean_score
    curvature = np.einsum("qj,qk,ql->jkl", (weight.T @ answered) * p * (1 - p), design, design, optimize=True)
    each = np.arange(n_items)
    blocks = matrix.reshape(n_items, 2, n_items, 2)
    curvature[:, 0, 0] += slope_precision
    blocks[each, :, each, :] += curvature
    for q in range(len(nodes)):  # node by node, so that memory stays people x items
        residual = correct - answered * p[q]
        product = residual.T @ (weight[:, q, None] * residual)
        blocks -= product[:, None, :, None] * np.outer(design[q], design[q])[None, :, None, :]
    covariance = np.linalg.pinv(matrix, hermitian=True).reshape(n_items, 2, n_items, 2)[each, :, each, :]
    a, g = x.T
    gradient_b = np.stack([g / a**2, -1 / a], 1)
    b_variance = np.einsum("ik,ikl,il->i", gradient_b, covariance, gradient_b)
    return np.sqrt(np.maximum(covariance[:, 0, 0], 0)), np.sqrt(np.maximum(b_variance, 0))


def _fit_py_irt(scored: pd.DataFrame, seed: int):
    """Hierarchical variational fit by py-irt, brought to theta ~ N(0, 1).

    py-irt ignores its own seed, filters the dataset it is given and clears Pyro's global parameter
    store, so it gets a copy, a seeded and forked generator, and the store is put back afterwards.
    Its hierarchical prior leaves origin and unit free: they are taken from its abilities.
    """
    try:
        import pyro
        from py_irt.config import IrtConfig
        from py_irt.dataset import Dataset
        from py_irt.training import IrtModelTrainer
    except ImportError as error:
        raise InputError(
            "method 'py-irt': the py-irt package is not installed; it needs Python 3.11 "
            "(pip install py-irt), or use method 'mml'"
        ) from error
    import torch

    person, item = np.nonzero(scored.notna().to_numpy())
    people = {f"p{i}": i for i in range(scored.shape[0])}
    items = {f"i{j}": j for j in range(scored.shape[1])}
    dataset = Dataset(
        item_ids=set(items),
        subject_ids=set(people),
        item_id_to_ix=items,
        ix_to_item_id={j: name for name, j in items.items()},
        subject_id_to_ix=people,
        ix_to_subject_id={i: name for name, i in people.items()},
        observation_subjects=person.tolist(),
        observation_items=item.tolist(),
        observations=scored.to_numpy(float)[person, item].tolist(),
        training_example=[True] * len(person),
    )
    epochs = 2000
    kept = pyro.get_param_store().get_state()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = IrtConfig(model_type="2pl", epochs=epochs, priors="hierarchical")
        trainer = IrtModelTrainer(data_path=Path("responses"), config=config, dataset=dataset, verbose=False)
        try:
            trainer.train()
            found = {name: pyro.param(name).detach().double().numpy() for name in pyro.get_param_store()}
        finally:
            pyro.clear_param_store()  # set_state only adds
            pyro.get_param_store().set_state(kept)
    center = found["loc_ability"].mean()
    unit = np.sqrt(found["loc_ability"].var() + (found["scale_ability"] ** 2).mean())
    a = np.exp(found["loc_slope"]) * unit
    b = (found["loc_diff"] - center) / unit
    fit = {"epochs": epochs, "seed": seed, "converged": None}
    return a, b, a * found["scale_slope"], found["scale_diff"] / unit, fit
