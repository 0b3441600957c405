"""Fine-tuning with cift against what one would do instead, as ratios in one run; and its share of the machine's peak.

python benchmarks/finetuning.py --json build/finetuning.json       see README.md beside this file
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd

RUNS = Path(__file__).with_name("finetuning_runs.py")
RATIOS = {  # part: the slower engine, the faster one, and how many times faster it should be at least
    "trainer": [("plain", "cift auto", 2.5), ("plain", "cift fp32", 1.7)],
    "features": [("every-epoch", "cached", 8.0), ("full", "cached", 20.0)],
    "peak": [],
    "nse": [("plain fp32", "cift fp32", None), ("plain bf16", "cift bf16", None)],
}


def plan(part: str, scale: float) -> tuple[list[str], dict[str, object]]:
    """A part's engines, and the settings that they share."""
    from cift.fetch import available
    from cift.finetuning import device, has_bf16

    corpus = {"corpus": "snli" if available("snli/cat_snli_train.csv") else "scenes"}
    gpu, bf16 = device().type == "cuda", has_bf16()

    def pairs(count: int, batch: int = 32) -> int:
        return max(1, round(count * scale / batch)) * batch

    if part == "trainer":
        engines = ["plain", "cift auto", "cift fp32"] if bf16 else ["plain", "cift fp32"]
        return engines, corpus | {"pairs": pairs(1024), "test_pairs": 1000}
    if part == "features":
        return ["every-epoch", "cached", "full"], corpus | {"pairs": pairs(384), "epochs": 10}
    if part == "nse":
        engines = [f"{way} {precision}" for precision in ("fp32", "bf16")[: 1 + bf16] for way in ("plain", "cift")]
        return engines, {"pairs": pairs(768, 128)}
    if gpu:
        hows = ("bf16", "bf16 compiled") if bf16 else ("fp32",)
        engines = [f"{model} {how}" for model in ("minilm", "bert-large") for how in hows]
        return engines, corpus | {"pairs": pairs(8192, 512)}
    return ["minilm fp32", "minilm bf16"][: 1 + bf16], corpus | {"pairs": pairs(384)}


def run(part: str, engine: str, **settings: object) -> dict[str, object]:
    """One run in a process of its own."""
    given = {"part": part, "engine": engine, **settings}
    print(f"{part}: {engine}, seed {settings['seed']} ...", file=sys.stderr)
    environment = os.environ | {"CIFT_QUIET": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    told = subprocess.run(
        [sys.executable, str(RUNS), json.dumps(given)], check=True, stdout=subprocess.PIPE, text=True, env=environment
    )
    return given | json.loads(told.stdout.splitlines()[-1])


def benchmark(parts: list[str], repeats: int, scale: float) -> pd.DataFrame:
    """A row a run: the engines of a part take turns, a turn for each seed."""
    runs = []
    for part in parts:
        engines, settings = plan(part, scale)
        runs += [run(part, engine, **settings, seed=seed) for seed in range(repeats) for engine in engines]
    return pd.DataFrame(runs)


def ratios(runs: pd.DataFrame) -> pd.DataFrame:
    """How many times slower an engine is than another with the same seed: median, lowest and highest over seeds."""
    rows = []
    for part, found in runs.groupby("part", sort=False):
        seconds = found.pivot(index="seed", columns="engine", values="seconds")
        for slower, faster, bound in RATIOS[part]:
            if {slower, faster} <= set(seconds):
                times = seconds[slower] / seconds[faster]
                row = {"part": part, "slower": slower, "faster": faster, "times": times.median()}
                rows.append(row | {"lowest": times.min(), "highest": times.max(), "wanted": bound})
    return pd.DataFrame(rows)


def cells(table: pd.DataFrame) -> list[dict[str, object]]:
    """The rows, each with what it has."""
    return [{name: value for name, value in row.items() if not pd.isna(value)} for row in table.to_dict("records")]


def machine() -> dict[str, object]:
    import irt

    from cift import doctor

    found = irt.machine() | {name: doctor.machine()[name] for name in ("device", "threads", "bf16")}
    names = ("transformers", "accelerate", "datasets")
    return found | {"load_at_start": os.getloadavg()[0], "versions": found["versions"] | {n: version(n) for n in names}}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", nargs="*", default=list(RATIOS), choices=list(RATIOS), help="parts (all)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each engine, with seeds 0, 1, ... (3)")
    parser.add_argument("--scale", type=float, default=1.0, help="times as many pairs as usual (1)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write a record of the run")
    given = parser.parse_args()
    about, started = machine(), time.perf_counter()
    runs = benchmark(given.rows, given.repeats, given.scale)
    found = ratios(runs)
    medians = runs.drop(columns=["seed", "corpus"], errors="ignore").groupby(["part", "engine"], sort=False).median()
    for part in given.rows:
        print(medians.loc[part].dropna(axis="columns").to_string(float_format="{:.3g}".format), end="\n\n")
    if len(found):
        print(found.to_string(index=False, float_format="{:.3g}".format))
    if given.json:
        record = {"machine": about | {"seconds": time.perf_counter() - started}}
        record |= {"runs": cells(runs), "ratios": cells(found)}
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
