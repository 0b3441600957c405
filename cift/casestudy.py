"""The protocol: one base model, arms x held-out scales x seeds, a ledger of finished cells, one record.

The base model is trained once and cached under a hash of its data, weights and recipe. For each kind of arm and each
held-out scale a small search chooses learning rate and epochs. Each cell fine-tunes a copy of the base model and
measures the copy (`cift.bench`). Finished trials and cells are small JSON files in the ledger, so a run that is stopped
anywhere goes on where it was.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pandas as pd

from cift import arms, finetuning, models
from cift.arms import ARMS, MAIN
from cift.bench import Bench
from cift.errors import InputError
from cift.fetch import cache_dir
from cift.files import write_text
from cift.recipe import Recipe
from cift.records import code, digest, fingerprint, once, peak_memory_mb, provenance, software
from cift.strategies import STRATEGIES
from cift.studies import HeldOut, Study

if TYPE_CHECKING:
    from datasets import Dataset

FACTORS, EPOCHS = (1 / 3, 1, 3), (2, 6)  # of the recipe's learning rate, and instead of its epochs: what is tried
NSE_EPOCHS, NSE_RATE = 10, 3e-4
SEARCH_SEED = 1000  # none of the seeds that are reported
MEASURING = (  # modules that decide what a cell's numbers are, besides `finetuning.MADE_BY`
    "ability", "arms", "bench", "crowds", "curves", "evaluation", "irt", "outcomes", "reliability", "selection",
)  # fmt: skip


def run(
    study: Study,
    seeds: Sequence[int] = (0, 1, 2),
    model: str = "minilm",
    arm_names: Sequence[str] | None = MAIN,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Run a study and return its record: {"study", "run": provenance, "search", "results"}, the last two by column.

    Parameters
    ----------
    arm_names:
        Of `arms.ARMS`. None takes all that the study has the data for; the record says what is left out, and why.
    jobs:
        Processes at a time, which share the cores; None is joblib's default, one. The numbers are the same, but for
        rounding, which may depend on how many threads are left to each.

    Returns
    -------
    The record. results: arm, held_out, seed, learning_rate, epochs, what `Bench.cell` tells, and id in the ledger.
    search: arm (whose settings all of its kind take: `arms.tuned_as`), held_out, seed, learning_rate, epochs, log_loss
    and id.

    Raises InputError, before any training, for an arm that is unknown or that the study lacks the data for, and for
    an item_id that two different pairs have.
    """
    start = time.perf_counter()
    names, left_out = _possible(study, arm_names)
    _check_ids(study)
    base_recipe, recipe = recipes(study, model)
    rate = recipe.learning_rate or STRATEGIES[recipe.strategy].learning_rate
    data = {name: fingerprint(corpus) for name, corpus in _corpora(study)}
    data |= {f"held out {name}": _scale_fingerprint(study, held) for name, held in study.held_out.items()}
    made_by = (software(), code(finetuning.MADE_BY))
    base_id = digest(data["base"], models.fingerprint(model), asdict(base_recipe), *made_by)
    bench_id = digest(base_id, data, study.balanced, asdict(recipe), code(MEASURING))
    base_cost: dict[str, Any] = {"id": base_id, "cached": True, "seconds": 0.0}
    peaks: list[int | None] = []

    def finish(work: str, cells: Sequence[_Cell]) -> tuple[list[dict[str, Any]], int]:
        """What `Bench.trial` or `Bench.cell` gives for all cells, and how many of them were in the ledger before."""
        nonlocal base_cost
        keys = [digest(bench_id, work, asdict(ARMS[cell.arm]), cell.settled) for cell in cells]
        missing = {key: cell for key, cell in zip(keys, cells, strict=True) if not _entry(work, key).exists()}
        if missing:
            base_cost = _train_base(study, model, base_recipe, base_id) if base_cost["cached"] else base_cost
            peaks.extend(_compute(work, missing, partial(_bench, bench_id, study, base_id, recipe), jobs))
        found = [json.loads(_entry(work, key).read_text(encoding="utf-8")) | {"id": key} for key in keys]
        return [asdict(cell) | its for cell, its in zip(cells, found, strict=True)], sum(
            key not in missing for key in keys
        )

    trials = [
        _Cell(arm, held_out, SEARCH_SEED, rate * factor, epochs)
        for arm in dict.fromkeys(arms.tuned_as(name) for name in names if ARMS[name].trains)
        for held_out in study.held_out
        for factor in FACTORS
        for epochs in EPOCHS
    ]
    search, _ = finish("trial", trials)
    best = best_settings(search)
    cells = [
        _Cell(name, held_out, seed, *best.get((arms.tuned_as(name), held_out), (None, None)))
        for name in names
        for seed in seeds
        for held_out in study.held_out
    ]
    results, cached = finish("cell", cells)
    made = provenance() | {
        "model": model,
        "population": study.population,
        "crowd": _crowd(study),
        "arms": names,
        "left_out": left_out,
        "seeds": list(seeds),
        "base": base_cost,
        "base_recipe": asdict(base_recipe),
        "recipe": asdict(recipe),
        "data": data,
        "cells_from_ledger": cached,
        "seconds": round(time.perf_counter() - start, 1),
        "peak_memory_mb": max((peak for peak in (peak_memory_mb(), *peaks) if peak), default=None),  # of any process
    }
    return {"study": study.name, "run": made, "search": _by_column(search), "results": _by_column(results)}


def recipes(study: Study, model: str) -> tuple[Recipe, Recipe]:
    """For base training and for fine-tuning: the study's, or what a memory network needs, which starts from scratch.

    It has to read the corpus more often, its learning rate is the published one (Munkhdalai & Yu 2017), and it has no
    layers to freeze.
    """
    base, recipe = study.base_recipe, study.recipe
    if model in models.NSE:
        base = replace(base, epochs=NSE_EPOCHS, learning_rate=NSE_RATE)
        recipe = replace(recipe, strategy="full", options={}, learning_rate=NSE_RATE)
    return base, recipe


def best_settings(search: Sequence[dict[str, Any]]) -> dict[tuple[str, str], tuple[float, int]]:
    """(arm, held_out) -> learning rate and epochs of the trial with the lowest log-loss."""
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for trial in search:
        rival = best.setdefault((trial["arm"], trial["held_out"]), trial)
        if _loss(trial) < _loss(rival):
            best[trial["arm"], trial["held_out"]] = trial
    return {way: (trial["learning_rate"], trial["epochs"]) for way, trial in best.items()}


def _loss(trial: dict[str, Any]) -> float:
    return math.inf if trial["log_loss"] is None else trial["log_loss"]


# the ledger


@dataclass(frozen=True)
class _Cell:
    """What `Bench.trial` and `Bench.cell` are called with, as columns of the record."""

    arm: str
    held_out: str
    seed: int
    learning_rate: float | None
    epochs: int | None

    @property
    def settled(self) -> tuple:
        """All that decides the result: what does not train is the same with every seed."""
        return (self.held_out, self.learning_rate and (self.seed, self.learning_rate, self.epochs))


def _entry(work: str, key: str) -> Any:
    return cache_dir() / f"{work}s" / f"{key}.json"


def _compute(work: str, cells: dict[str, _Cell], make_bench: partial[Bench], jobs: int | None) -> list[int | None]:
    """Put results into the ledger: in portions for one process each, of cells that may have a lesson in common.

    Returns the peak memory that each portion's process has had.
    """
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    def portion(key: str) -> tuple:
        cell = cells[key]
        return (cell.arm, cell.seed, cell.held_out if work == "trial" else "")

    portions = [{key: cells[key] for key in keys} for _, keys in groupby(cells, portion)]
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1)
    with warnings.catch_warnings(), tqdm(total=len(cells), desc=f"{work}s", disable=finetuning.quiet()) as bar:
        warnings.filterwarnings("ignore", message="A worker stopped")  # one that has grown large is replaced
        peaks = []
        for finished, peak in parallel(delayed(_work)(work, its, make_bench) for its in portions):
            bar.update(finished)
            peaks.append(peak)
    return peaks


def _work(work: str, cells: dict[str, _Cell], make_bench: partial[Bench]) -> tuple[int, int | None]:
    bench = make_bench()
    for key, cell in cells.items():
        once(f"{work}s", key, partial(getattr(bench, work), *astuple(cell)))
    return len(cells), peak_memory_mb()


_KEPT: dict[str, Bench] = {}  # the bench of this process's latest portion: encoding everything takes longer than a cell


def _bench(bench_id: str, study: Study, base_id: str, recipe: Recipe) -> Bench:
    if bench_id not in _KEPT:
        _KEPT.clear()
        _KEPT[bench_id] = Bench(study, str(cache_dir() / "base" / base_id), recipe)
    return _KEPT[bench_id]


def _train_base(study: Study, model: str, recipe: Recipe, base_id: str) -> dict[str, Any]:
    """The backbone trained on the study's base corpus, in the cache: there already, or trained (or resumed) now."""
    folder = cache_dir() / "base" / base_id
    cost_file = folder / "cost.json"
    if cost_file.exists():
        return json.loads(cost_file.read_text(encoding="utf-8")) | {"cached": True}
    start = time.perf_counter()
    unfinished = cache_dir() / "base" / f"{base_id}.unfinished"
    classifier, tokenizer, _ = finetuning.fine_tune(study.base, recipe, 0, model, folder=unfinished)
    ready = cache_dir() / "base" / f"{base_id}.{os.getpid()}.part"
    classifier.save_pretrained(str(ready))
    tokenizer.save_pretrained(ready)
    cost = {"id": base_id, "seconds": round(time.perf_counter() - start, 1)}
    write_text(ready / "cost.json", json.dumps(cost))
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(ready, folder)
    shutil.rmtree(unfinished, ignore_errors=True)
    return cost | {"cached": False}


# before it starts


def _possible(study: Study, arm_names: Sequence[str] | None) -> tuple[list[str], dict[str, str]]:
    """The arms that the study has the data for, in the protocol's order, and why others are left out."""
    unknown = [name for name in arm_names or () if name not in ARMS]
    if unknown:
        raise InputError(f"arm {unknown[0]!r}: unknown; choose from {', '.join(ARMS)}")
    left_out = {}
    for name in ARMS if arm_names is None else arm_names:
        try:
            for held in study.held_out.values():
                theta = pd.Series({bank.info["scale"]: 0.0 for bank in held.banks})
                arms.lesson(name, study, held, 0, theta)
        except InputError as error:
            if arm_names is not None:
                raise InputError(f"arm {name!r}: {error}") from error
            left_out[name] = str(error)
    wanted = ARMS if arm_names is None else arm_names
    return [name for name in ARMS if name in wanted and name not in left_out], left_out


def _check_ids(study: Study) -> None:
    """A pair is known by its item_id across all corpora of a study."""
    pairs: dict[str, tuple[str, str]] = {}
    parts = [corpus for name, corpus in _corpora(study) if name != "base"]  # which is not on the bench
    for held in study.held_out.values():
        parts += [held.items, held.supplement, held.people]
    for corpus in parts:
        for item, *pair in zip(corpus["item_id"], corpus["premise"], corpus["hypothesis"], strict=True):
            if pairs.setdefault(item, tuple(pair)) != tuple(pair):
                raise InputError(
                    f"study {study.name}: item_id {item!r} is of two pairs, with the hypotheses {pairs[item][1]!r} and "
                    f"{pair[1]!r}; give every pair an item_id of its own"
                )


def _crowd(study: Study) -> dict[str, int]:
    """How many items the crowd labelled, and of how many its commonest label, the only one, is the gold label."""
    gold: dict[str, str] = {}
    for held in study.held_out.values():
        for corpus in (held.items, held.supplement, held.people):
            gold |= dict(zip(corpus["item_id"], corpus.features["label"].int2str(corpus["label"][:]), strict=True))
    shares = study.distributions[study.base.features["label"].names]
    shares = shares.loc[[item for item in shares.index if item in gold]]
    right = [row[gold[item]] > row.drop(gold[item]).max() for item, row in shares.iterrows()]
    return {"items": len(right), "gold_is_majority": int(sum(right))}


def _corpora(study: Study) -> Iterator[tuple[str, Dataset]]:
    for name in ("base", "validation", "pool", "other", "test", "base_test"):
        corpus = getattr(study, name)
        if corpus is not None:
            yield name, corpus


def _scale_fingerprint(study: Study, held: HeldOut) -> str:
    parts = [fingerprint(corpus) for corpus in (held.items, held.supplement, held.people)]
    crowd = study.distributions.loc[[*held.supplement["item_id"], *held.people["item_id"]]]
    banks = [bank.items.round(6).to_csv(index=False) for bank in (held.bank, *held.banks)]
    return digest(parts, crowd.to_csv(float_format="%.9g"), banks)


def _by_column(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows as columns, numbers to six digits: what a record keeps."""
    return {
        name: [float(f"{value:.6g}") if isinstance(value, float) else value for value in (row[name] for row in rows)]
        for name in (rows[0] if rows else ())
    }
