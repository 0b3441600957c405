"""Loading and checking 550,000 pairs with cift against loading them unchecked: seconds and memory.

python benchmarks/corpora.py --json build/corpora.json       see README.md beside this file
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

PAIRS = 550_000  # as many as SNLI's training set has
FORMS = ("csv", "jsonl", "parquet")
ENGINES = ("cift", "datasets", "pandas")


# data


def write_pairs(folder: Path, pairs: int) -> dict[str, float]:
    """The embedded training pairs over and over, in each form; returns the mean lengths of their texts.

    Every text has a number of its own, so that no reader gains by keeping equal texts once.
    """
    from cift.corpora import LABELS, load_corpus

    scenes = load_corpus("scenes", "train").to_pandas()
    table = scenes.iloc[np.arange(pairs) % len(scenes)].reset_index(drop=True)
    number = table.index.astype(str)
    table = pd.DataFrame(
        {
            "item_id": "pair-" + number,
            "premise": table["premise"] + " " + number,
            "hypothesis": table["hypothesis"] + " " + number,
            "label": table["label"].map(dict(enumerate(LABELS))),
        }
    )
    table.to_csv(folder / "pairs.csv", index=False)
    table.to_json(folder / "pairs.jsonl", orient="records", lines=True, force_ascii=False)
    table.to_parquet(folder / "pairs.parquet", index=False)
    return {name: float(table[name].str.len().mean()) for name in ("premise", "hypothesis")}


# engines


def load(engine: str, path: Path, cache: str) -> dict:
    """One load, timed without imports: cift's ends in a checked corpus, the others' in a table as it stands."""
    from irt_peers import peak_mb

    read = {"cift": _cift, "datasets": _datasets, "pandas": _pandas}[engine](path, cache)
    wall, cpu = time.perf_counter(), time.process_time()
    rows = len(read())
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    return {"rows": rows, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak_mb()}


def _cift(path: Path, _: str) -> Callable:
    import datasets  # noqa: F401  (its import is not timed)

    from cift.corpora import load_corpus

    return lambda: load_corpus(path)


def _datasets(path: Path, cache: str) -> Callable:
    import datasets

    kind = {".csv": "csv", ".jsonl": "json", ".parquet": "parquet"}[path.suffix]
    return lambda: datasets.load_dataset(kind, data_files=str(path), split="train", cache_dir=cache)


def _pandas(path: Path, _: str) -> Callable:
    read = {".csv": pd.read_csv, ".jsonl": partial(pd.read_json, lines=True), ".parquet": pd.read_parquet}
    return lambda: read[path.suffix](path)


def run(engine: str, path: Path) -> dict:
    """One load in a process of its own, with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, __file__, "--load", engine, str(path), cache]
        found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(found.stdout.splitlines()[-1])


# the table and the record


def benchmark(folder: Path, repeats: int) -> pd.DataFrame:
    """A line for each form and engine: medians over repeats; `times_<peer>`: its processor time over the peer's."""
    lines = []
    for form in FORMS:
        for engine in ENGINES:
            print(f"{form}: {engine} ...", file=sys.stderr)
            runs = pd.DataFrame([run(engine, folder / f"pairs.{form}") for _ in range(repeats)])
            lines.append({"form": form, "engine": engine} | runs.median().to_dict())
    results = pd.DataFrame(lines).astype({"rows": int})
    for peer in ("datasets", "pandas"):
        theirs = results[results["engine"] == peer].set_index("form")["cpu_seconds"]
        results[f"times_{peer}"] = results["cpu_seconds"] / results["form"].map(theirs)
    return results


def machine() -> dict:
    import irt

    names = ("datasets", "pandas", "pyarrow")
    found = irt.machine()
    return found | {"versions": found["versions"] | {name: version(name) for name in names}}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=PAIRS, help=f"how many pairs ({PAIRS:,})")
    parser.add_argument("--repeats", type=int, default=3, help="loads of each form by each engine (3)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write a record of the run")
    parser.add_argument("--load", nargs=3, metavar=("ENGINE", "FILE", "CACHE"), help="one load alone, told as JSON")
    given = parser.parse_args()
    if given.load:
        engine, path, cache = given.load
        print(json.dumps(load(engine, Path(path), cache)))
        return
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        lengths = write_pairs(Path(folder), given.pairs)
        sizes = {form: round(Path(folder, f"pairs.{form}").stat().st_size / 2**20, 1) for form in FORMS}
        busy = os.getloadavg()[0]
        results = benchmark(Path(folder), given.repeats)
    print(results.to_string(index=False, float_format="{:.3g}".format))
    if given.json:
        record = {
            "machine": machine() | {"load_at_start": busy},
            "data": {"pairs": given.pairs, "mean_characters": lengths, "file_mb": sizes, "repeats": given.repeats},
            "results": results.to_dict("records"),
            "seconds": time.perf_counter() - started,
        }
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
