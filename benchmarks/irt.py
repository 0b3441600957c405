"""Calibration in cift against what one would use instead: seconds, memory, fit and recovery of a known truth.

python benchmarks/irt.py --peers all --rows small       see README.md beside this file
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logsumexp

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = HERE.parent / "build" / "peers"
PACKAGES = {"mirt": "mirt==1.2.0", "theta-irt": "theta-irt==0.1.1", "girth": "girth==0.8.0"}  # each its own environment
PEERS = ("mirt", "theta-irt", "girth", "py-irt")  # py-irt is installed beside cift
PATIENCE = 1800  # seconds for one engine on one data set

THETA = np.linspace(-8.0, 8.0, 1601)  # one grid for all engines: .01 apart, where 20,000 items leave an SE of .016
LOG_WEIGHTS = -0.5 * THETA**2 - logsumexp(-0.5 * THETA**2)


@dataclass(frozen=True)
class Row:
    """A simulated data set.

    peers: who is run on it; without: why the others are not. answers: of each item (None: everyone's).
    dtype: of the table that cift is given, where no answer is missing.
    """

    name: str
    people: int
    items: int
    peers: tuple[str, ...]
    model: str = "2pl"
    answers: int | None = None
    seeds: tuple[int, ...] = (0,)
    dtype: str = "float64"
    without: str = ""


ROWS = {
    "small": [
        Row("1,000 x 180, 2PL", 1_000, 180, PEERS),
        Row("1,000 x 180, 3PL", 1_000, 180, PEERS, model="3pl"),
        Row(
            "164 x 800, 10 answers an item, 2PL",
            164,
            800,
            ("mirt", "theta-irt", "py-irt"),
            answers=10,
            seeds=(0, 1, 2),
            without="not run: its missing answers are not supported here",
        ),
    ],
    "medium": [Row("10,000 x 1,000, 2PL", 10_000, 1_000, ("mirt", "theta-irt"), without="not run: too long")],
    "large": [
        Row("100,000 x 500, 2PL", 100_000, 500, (), dtype="int8", without="not run: cift alone"),
        Row("1,000 x 20,000, 2PL", 1_000, 20_000, (), dtype="int8", without="not run: cift alone"),
    ],
}


# data


def simulate(row: Row, seed: int) -> tuple[np.ndarray, pd.DataFrame, np.ndarray]:
    """Answers (people, items) as int8 with -1 for missing, the items' true a, b, c, and the true theta.

    log a ~ N(0, 0.3^2), b and theta ~ N(0, 1), c = 1/3 under the 3PL. The theta drawn are standardised, so
    that k tells about the engine, not about the luck of the draw. Items that everyone answered alike are left out.
    """
    rng = np.random.default_rng(seed)
    a, b = np.exp(rng.normal(0, 0.3, row.items)), rng.standard_normal(row.items)
    theta = rng.standard_normal(row.people)
    theta = (theta - theta.mean()) / theta.std()
    c = 1 / 3 if row.model == "3pl" else 0.0
    x = np.empty((row.people, row.items), np.int8)
    for part in _blocks(row.people, row.items):
        x[part] = rng.random((len(theta[part]), row.items)) < c + (1 - c) * expit(a * (theta[part, None] - b))
    if row.answers is not None:
        order = rng.random(x.shape).argsort(axis=0).argsort(axis=0)
        x[order >= row.answers] = -1
    varied = ((x == 0).any(axis=0)) & ((x == 1).any(axis=0))
    return x[:, varied], pd.DataFrame({"a": a, "b": b, "c": c})[varied], theta


def _blocks(people: int, width: int) -> list[slice]:
    rows = max(1, 20_000_000 // width)
    return [slice(start, start + rows) for start in range(0, people, rows)]


# engines


def environment(engine: str) -> str:
    """The Python that has the engine; its environment is made on the first call."""
    if engine not in PACKAGES:
        return sys.executable
    folder = ENVIRONMENTS / engine
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PACKAGES[engine]], check=True)
        (folder / "ready").touch()
    return str(python)


def run(engine: str, x: np.ndarray, model: str, dtype: str = "float64") -> dict:
    """Estimates `a`, `b`, `c`, with `seconds` of each call, `peak_mb` and `version`; or `note`, why there are none."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.npz"), Path(folder, "out.npz")
        np.savez(source, x=x, model=model, dtype=dtype)
        command = [environment(engine), str(HERE / "irt_peers.py"), engine, str(source), str(target)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            return {"note": f"stopped after {PATIENCE} s"}
        except subprocess.CalledProcessError as error:
            return {"note": (error.stderr.strip().splitlines() or ["no message"])[-1]}
        with np.load(target) as found:
            return {name: found[name] if found[name].ndim else found[name].item() for name in found.files}


def warm(seconds: np.ndarray) -> float:
    """Median of all calls but the first, which pays for compilation and caches, if there are others."""
    return float(np.median(seconds[1:] if len(seconds) > 1 else seconds))


# yardsticks, the same for every engine


def judge(x: np.ndarray, items: pd.DataFrame) -> tuple[float, np.ndarray]:
    """Marginal log-likelihood of the answers under theta ~ N(0, 1), and each person's EAP, both on the common grid."""
    blocks = [_judge_block(x[part], items) for part in _blocks(len(x), len(THETA))]
    return sum(block[0] for block in blocks), np.concatenate([block[1] for block in blocks])


def _judge_block(x: np.ndarray, items: pd.DataFrame) -> tuple[float, np.ndarray]:
    a, b, c = (items[name].to_numpy()[:, None] for name in "abc")
    log_joint = np.tile(LOG_WEIGHTS, (len(x), 1))
    for of in _blocks(x.shape[1], 10 * len(THETA)):
        z = a[of] * (THETA - b[of])
        log_wrong = np.log1p(-c[of]) - np.logaddexp(0, z)
        log_right = np.log(c[of] + (1 - c[of]) * expit(z) + 1e-300)
        log_joint += (x[:, of] == 1).astype(float) @ log_right + (x[:, of] == 0).astype(float) @ log_wrong
    log_marginal = logsumexp(log_joint, axis=1)
    return float(log_marginal.sum()), np.exp(log_joint - log_marginal[:, None]) @ THETA


def compare(row: Row, seed: int, engine: str, data: tuple) -> dict:
    """One line of the table: how long an engine took, and how well its estimates fit and recover the truth."""
    x, truth, theta = data
    line = {"row": row.name, "seed": seed, "engine": engine}
    if engine not in ("cift", *row.peers):
        return line | {"note": row.without}
    found = run(engine, x, row.model, row.dtype)
    if "note" in found:
        return line | found
    items = pd.DataFrame({name: found[name] for name in "abc"})
    line |= {
        "seconds": warm(found["seconds"]),
        "first_call": float(found["seconds"][0]),
        "calls": len(found["seconds"]),
        "peak_mb": found["peak_mb"],
        "version": found["version"],
    }
    if not np.isfinite(items.to_numpy()).all():
        return line | {"note": "estimates are not finite"}
    log_likelihood, eap = judge(x, items)
    error = {name: items[name].to_numpy() - truth[name].to_numpy() for name in "ab"} | {"theta": eap - theta}
    return line | {
        "log_likelihood": log_likelihood,
        "k": float(items["a"] @ truth["a"].to_numpy() / (truth["a"] @ truth["a"])),
        **{f"rmse_{name}": float(np.sqrt(np.mean(values**2))) for name, values in error.items()},
        "r_b": float(np.corrcoef(items["b"], truth["b"])[0, 1]),
    }


# the table, the record, the figure


def benchmark(rows: list[Row], peers: list[str]) -> pd.DataFrame:
    """A line for each data set, seed and engine; `times_cift`: its seconds over cift's in this run."""
    lines = []
    for row in rows:
        for seed in row.seeds:
            data = simulate(row, seed)
            for engine in ("cift", *peers):
                print(f"{row.name}, seed {seed}: {engine} ...", file=sys.stderr)
                lines.append(compare(row, seed, engine, data))
    results = pd.DataFrame(lines)
    own = results[results["engine"] == "cift"].set_index(["row", "seed"])["seconds"]
    results["times_cift"] = (
        results["seconds"] / own.loc[list(zip(results["row"], results["seed"], strict=True))].to_numpy()
    )
    return results


COLUMNS = {
    "engine": "{}", "seconds": "{:.3g}", "first_call": "{:.3g}", "times_cift": "{:.4g}", "peak_mb": "{:.0f}",
    "log_likelihood": "{:.2f}", "k": "{:.4g}", "rmse_a": "{:.3g}", "rmse_b": "{:.3g}", "rmse_theta": "{:.3g}",
    "r_b": "{:.3f}", "note": "{}",
}  # fmt: skip


def table(results: pd.DataFrame) -> str:
    """Results as text, a block for each data set."""
    blocks = []
    for (name, seed), lines in results.groupby(["row", "seed"], sort=False):
        cells = pd.DataFrame(
            {
                column: ["" if pd.isna(value) else form.format(value) for value in lines[column]]
                for column, form in COLUMNS.items()
                if column in lines and lines[column].notna().any()
            }
        )
        blocks.append(f"{name}, seed {seed}\n{cells.to_string(index=False)}")
    return "\n\n".join(blocks)


def scaling(peers: list[str]) -> pd.DataFrame:
    """Seconds against people, items and answers an item, one varied at a time."""
    quick = tuple(peer for peer in peers if peer in ("mirt", "theta-irt"))
    sizes = {
        "people": [Row("", n, 100, quick if n <= 10_000 else ()) for n in (300, 1_000, 3_000, 10_000, 30_000, 100_000)],
        "items": [Row("", 1_000, n, quick if n <= 1_000 else ()) for n in (30, 100, 300, 1_000, 3_000, 10_000)],
        "answers an item": [Row("", 1_000, 300, quick, answers=n) for n in (10, 30, 100, 300, 1_000)],
    }
    found = []
    for varied, rows in sizes.items():
        for row in rows:
            x, _, _ = simulate(row, seed=0)
            for engine in ("cift", *row.peers):
                print(f"scaling with {varied}: {engine}, {row.people} x {row.items} ...", file=sys.stderr)
                seconds = run(engine, x, row.model).get("seconds", np.array([np.nan]))
                size = {"people": row.people, "items": row.items, "answers an item": row.answers}[varied]
                found.append({"varied": varied, "size": size, "engine": engine, "seconds": warm(seconds)})
    return pd.DataFrame(found)


def draw(costs: pd.DataFrame, stem: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from cift import plots

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained", sharey=True)
    fixed = ("100 items", "1,000 people", "1,000 people, 300 items")
    for ax, (varied, lines), title in zip(axes, costs.groupby("varied", sort=False), fixed, strict=True):
        plots.clean_axes(ax)
        for k, (engine, line) in enumerate(lines.groupby("engine", sort=False)):
            ax.loglog(line["size"], line["seconds"], marker=plots.MARKERS[k], color=plots.COLOURS[k], label=engine)
        ax.set_title(title, fontsize=9, loc="left")
        ax.set_xlabel(varied)
    axes[0].set_ylabel("seconds to calibrate a 2PL")
    axes[0].legend(frameon=False)
    plots.save(figure, stem)


def machine() -> dict:
    from cift import doctor

    return {
        "processor": doctor.machine()["name"],
        "cores": os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
        "versions": {name: doctor.versions()[name] for name in ("cift", "python", "numpy", "scipy", "torch")},
        "date": date.today().isoformat(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peers", nargs="*", default=[], choices=["all", *PEERS], help="engines to compare with")
    parser.add_argument("--rows", nargs="*", default=["small"], choices=["all", *ROWS], help="data sets (small)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write a record of the run")
    parser.add_argument("--figure", type=Path, metavar="STEM", help="also measure and draw how cost grows")
    given = parser.parse_args()
    peers = list(PEERS) if "all" in given.peers else given.peers
    rows = [row for name, group in ROWS.items() if {name, "all"} & set(given.rows) for row in group]
    started = time.perf_counter()
    results = benchmark(rows, peers)
    print(table(results))
    record = {"machine": machine(), "data": [asdict(row) for row in rows]}
    record["results"] = [{k: v for k, v in line.items() if not pd.isna(v)} for line in results.to_dict("records")]
    if given.figure:
        costs = scaling(peers)
        draw(costs, given.figure)
        record["scaling"] = costs.to_dict("records")
    record["seconds"] = time.perf_counter() - started
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
