"""One engine, one data set: fit it, time the fit, store the estimates. Runs in that engine's own environment.

python irt_peers.py ENGINE IN.npz OUT.npz        (called by irt.py; needs numpy and the engine, nothing else)

IN: `x`, people x items, int8 with -1 where missing; `model`, "2pl" or "3pl"; `dtype`, of the table for cift.
OUT: `a`, `b`, `c` for theta ~ N(0, 1); `seconds` of each call of the fit; `peak_mb` of the process; `version`.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

NODES = 61
EPOCHS = 2000
GUESSING = (6.0, 11.0)  # Beta prior on c for the peers that take one: mode 1/3, about as wide as cift's
CALLS, ENOUGH = 6, 15.0  # stop calling after so many calls or seconds


def cift(x, model, dtype):
    import pandas as pd

    from cift import irt

    values = x.astype(dtype) if (x >= 0).all() else np.where(x < 0, np.nan, x)
    scored = pd.DataFrame(values, columns=[f"i{j}" for j in range(x.shape[1])])
    return lambda: irt.calibrate(scored, model=model, method="mml"), lambda bank: bank.items[
        ["a", "b", "c"]
    ].T.to_numpy()


def mirt(x, model, _, nodes=NODES, **options):
    """Without standard errors, which would double the time, and with SQUAREM, which divides it by four."""
    import mirt as package
    from mirt.estimation.priors import BetaPrior

    priors = {"priors": {"guessing": BetaPrior(*GUESSING)}} if model == "3pl" else {}
    options = {"compute_standard_errors": False} | priors | options
    answers = x.astype(int)

    def read(result):
        found = result.model.parameters
        return found["discrimination"].ravel(), found["difficulty"].ravel(), found.get("guessing", 0.0)

    return lambda: package.fit_mirt(answers, model.upper(), n_quadpts=nodes, accelerate="squarem", **options), read


def theta_irt(x, model, _):
    import theta

    answers = np.where(x < 0, np.nan, x)
    priors = theta.Priors(c_a=GUESSING[0], c_b=GUESSING[1])
    fit = lambda: theta.fit(answers, model.upper(), n_points=NODES, priors=priors)  # noqa: E731
    return fit, lambda found: (found.a, found.b, found.c)


def girth(x, model, _):
    import girth as package

    answers = x.T.astype(int)
    fit = {"2pl": package.twopl_mml, "3pl": package.threepl_mml}[model]
    read = lambda found: (found["Discrimination"], found["Difficulty"], found.get("Guessing", 0.0))  # noqa: E731
    return lambda: fit(answers, {"quadrature_n": NODES}), read


def py_irt(x, model, _):
    """Hierarchical priors leave origin and unit of the scale free: they are taken from its abilities."""
    import pyro
    import torch
    from py_irt.config import IrtConfig
    from py_irt.training import IrtModelTrainer

    from cift.bayes import center_and_unit, dataset

    torch.manual_seed(0)
    config = IrtConfig(model_type=model, epochs=EPOCHS, priors="hierarchical")
    trainer = IrtModelTrainer(
        data_path=Path("responses"), config=config, dataset=dataset(x == 1, x >= 0), verbose=False
    )

    def read(_):
        found = {name: pyro.param(name).detach().double().numpy() for name in pyro.get_param_store()}
        center, unit = center_and_unit(found)
        log_a = found["loc_slope"] if model == "2pl" else found["loc_disc"]
        return np.exp(log_a) * unit, (found["loc_diff"] - center) / unit, found.get("lambdas", 0.0)

    return trainer.train, read


ENGINES = {"cift": cift, "mirt": mirt, "theta-irt": theta_irt, "girth": girth, "py-irt": py_irt}
AT_LEAST = {"theta-irt": 2}  # calls: the first one compiles


def peak_mb() -> float:
    """Largest resident memory of this process so far. (On Linux, rusage would count the parent's as well.)"""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


def main(engine: str, source: str, target: str) -> None:
    with np.load(source) as given:
        x, model, dtype = given["x"], str(given["model"]), str(given["dtype"])
    seconds: list[float] = []
    while len(seconds) < AT_LEAST.get(engine, 1) or (len(seconds) < CALLS and sum(seconds) < ENOUGH):
        fit, read = ENGINES[engine](x, model, dtype)
        start = time.perf_counter()
        found = fit()
        seconds.append(time.perf_counter() - start)
    a, b, c = (np.broadcast_to(part, x.shape[1:]) for part in read(found))
    np.savez(target, a=a, b=b, c=c, seconds=seconds, peak_mb=peak_mb(), version=version(engine))


if __name__ == "__main__":
    main(*sys.argv[1:])
