"""The Bayesian reference: the fit of the py-irt package (Lalor & Rodriguez 2023), made repeatable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cift.ability import mean_and_sd
from cift.curves import PARAMETERS, posterior
from cift.errors import InputError
from cift.irt import Fit

if TYPE_CHECKING:
    from py_irt.dataset import Dataset

EPOCHS = 2000


def fit(right: np.ndarray, answered: np.ndarray | None, model: str, seed: int) -> Fit:
    """Hierarchical variational fit by py-irt, brought to theta ~ N(0, 1).

    right, answered: (people, items), uint8; answered None where nothing is missing. model: "1pl" or "2pl" (the
    anchors of py-irt's larger models are broken).

    py-irt ignores its own seed, filters the dataset it is given and clears Pyro's global parameter
    store, so it gets a copy, a seeded and forked generator, and the store is put back afterwards.
    Its hierarchical prior leaves origin and unit free: they are taken from its abilities.
    """
    if model not in ("1pl", "2pl"):
        raise InputError(f"method 'py-irt': model {model!r} is not to be had; choose 1pl or 2pl, or method 'mml'")
    try:
        import pyro
        from py_irt import anchor_utils
        from py_irt.config import IrtConfig
        from py_irt.training import IrtModelTrainer
    except ImportError as error:
        raise InputError(
            "method 'py-irt': the py-irt package is not installed; it needs Python 3.11 "
            "(pip install py-irt), or use method 'mml'"
        ) from error
    import torch

    if answered is None:
        answered = np.ones_like(right)
    kept = pyro.get_param_store().get_state()
    anchor_utils.console.quiet = True  # it would say that there are no anchors
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = IrtConfig(model_type=model, epochs=EPOCHS, priors="hierarchical")
        data = dataset(right, answered)
        trainer = IrtModelTrainer(data_path=Path("responses"), config=config, dataset=data, verbose=False)
        try:
            trainer.train()
            found = {name: pyro.param(name).detach().double().numpy() for name in pyro.get_param_store()}
        finally:
            pyro.clear_param_store()  # set_state only adds
            pyro.get_param_store().set_state(kept)
    center, unit = center_and_unit(found)
    slope = np.exp(found["loc_slope"]) if model == "2pl" else np.ones(right.shape[1])
    a = slope * unit
    a_se = a * found["scale_slope"] if model == "2pl" else np.zeros_like(a)
    b = (found["loc_diff"] - center) / unit
    zero = np.zeros_like(a)
    estimates = np.stack([a, b, zero, zero + 1], 1)
    scored = pd.DataFrame(right, dtype=float).where(answered > 0)
    nodes, weight, log_marginal = posterior(scored, pd.DataFrame(estimates, columns=PARAMETERS))
    theta, theta_se = mean_and_sd(nodes, weight)
    report = {"log_likelihood": float(log_marginal.sum()), "epochs": EPOCHS, "seed": seed, "converged": None}
    return Fit(estimates, np.stack([a_se, found["scale_diff"] / unit, zero, zero], 1), theta, theta_se, report)


def dataset(right: np.ndarray, answered: np.ndarray) -> Dataset:
    """py-irt's own table of the answers: (people, items) each, 1 where right and where answered."""
    from py_irt.dataset import Dataset

    person, item = np.nonzero(answered)
    people, items = ({f"{kind}{k}": k for k in range(n)} for kind, n in zip("pi", right.shape, strict=True))
    return Dataset(
        item_ids=set(items),
        subject_ids=set(people),
        item_id_to_ix=items,
        ix_to_item_id={k: name for name, k in items.items()},
        subject_id_to_ix=people,
        ix_to_subject_id={k: name for name, k in people.items()},
        observation_subjects=person.tolist(),
        observation_items=item.tolist(),
        observations=right[person, item].astype(float).tolist(),
        training_example=[True] * len(person),
    )


def center_and_unit(found: dict[str, np.ndarray]) -> tuple[float, float]:
    """Mean and sd of the population, from py-irt's means and sds of the abilities."""
    return found["loc_ability"].mean(), np.sqrt(found["loc_ability"].var() + (found["scale_ability"] ** 2).mean())
