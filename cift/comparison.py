"""Ways to fine-tune, compared fairly: the same pairs, steps, seeds and search for a learning rate, for each of them.

The grid is models x strategies x numbers of training pairs x seeds. Its cells are functions from data to numbers, sent
through joblib, so that processes of this machine or of a cluster (Dask, Ray) compute them. Results are kept in a
ledger: a comparison that is stopped, or runs out of its time, goes on where it was.
"""

from __future__ import annotations

import copy
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cift import evaluation, finetuning, models, optimization, strategies
from cift.bias import predict_from
from cift.corpora import overlap, without
from cift.errors import Diverged, InputError
from cift.fetch import cache_dir
from cift.files import write_text
from cift.recipe import Recipe
from cift.records import code, digest, fingerprint, provenance, software
from cift.splits import split

if TYPE_CHECKING:
    from datasets import Dataset
    from joblib import Parallel

SIZES = (32, 128, 512, 2048)
BATCH = 16
STEPS, EPOCHS = 96, 2  # at least so many of each: a fine-tuning on few pairs repeats them
FACTORS = (1 / 3, 1, 3)  # of a strategy's own learning rate: what its search tries
SEARCH_SEED = 1000  # none of the seeds that are reported
COSTED = 512  # pairs: costs are measured at the largest size up to here
VALIDATION = 500  # pairs to choose the learning rate by, and a fifth of the training split at most
LEAST = 1e-12  # probability
_TURN = threading.Lock()


# what is measured


def cell(model: str, recipe: Recipe, seed: int, lesson: Dataset, exam: Dataset) -> dict[str, Any]:
    """Fine-tune a fresh model on the lesson and let it answer the exam.

    Returns accuracy, log_loss (mean of -log p of the gold label, in nats; p is at least `LEAST`), seconds in all, and
    whether training diverged: then there is no model, so no answer is right. The state of random numbers belongs to a
    process, so cells in threads of one process take turns.
    """
    accuracy, log_loss = 0.0, -math.log(LEAST)
    with _TURN:
        start = time.perf_counter()
        try:
            classifier, tokenizer, _ = finetuning.fine_tune(lesson, recipe, seed, model, progress=False)
        except Diverged:
            diverged = True
        else:
            diverged = False
            found = finetuning.predict(classifier, finetuning.encode(exam, tokenizer, recipe.max_length), exam)
            gold = evaluation.probabilities(found).to_numpy()[np.arange(len(found)), exam["label"][:]]
            accuracy, log_loss = evaluation.accuracy(found), float(-np.log(np.maximum(gold, LEAST)).mean())
        seconds = round(time.perf_counter() - start, 2)
    return {"accuracy": accuracy, "log_loss": log_loss, "diverged": diverged, "seconds": seconds}


def cost(model: str, recipe: Recipe, seed: int, lesson: Dataset) -> dict[str, float]:
    """What a fine-tuning costs, measured in a process of its own that uses all threads.

    Returns seconds_per_1000 (a pair counts as often as it is trained on; caching of frozen states is included),
    loaded_mb (the process's peak once the model is loaded: about 600 are Python with torch), memory_mb (its peak after
    training; on a GPU both are of the GPU's memory) and disk_mb (what must be kept of the result).
    """
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        return alone.submit(_cost, model, recipe, seed, lesson).result()


def _cost(model: str, recipe: Recipe, seed: int, lesson: Dataset) -> dict[str, float]:
    classifier: Any = models.load(model, lesson.features["label"].names)[0]
    classifier.to(finetuning.device())
    loaded = finetuning.peak_memory_mb() or math.nan
    del classifier
    spent = finetuning.fine_tune(lesson, recipe, seed, model, progress=False)[2]
    seconds = spent["cache_seconds"] + spent["train_seconds"]
    return {
        "seconds_per_1000": 1000 * seconds / (recipe.epochs * len(lesson)),
        "loaded_mb": loaded,
        "memory_mb": spent["peak_memory_mb"] or math.nan,
        "disk_mb": spent["disk_mb"],
    }


# the grid


def run(
    corpus: str,
    train: Dataset,
    test: Dataset,
    model_names: Sequence[str] = ("minilm",),
    strategy_names: Sequence[str] | None = None,
    sizes: Sequence[int] = SIZES,
    seeds: int = 5,
    minutes: float | None = None,
    jobs: int | None = None,
) -> dict[str, Any]:
    """Compare strategies on each model, as the number of training pairs grows.

    Every strategy gets the same training pairs: of seed 0, 1, ... the first n of one random order of `train`, without
    what is in `test` and without the validation pairs and others with their premises. It gets as many batches of
    `BATCH` pairs, at least `STEPS`, and `EPOCHS` epochs at least; and the same search for a learning rate: its own one
    times each of `FACTORS`, with a seed that is not reported. The highest validation accuracy wins, of equal ones that
    with the lowest log loss. Sizes of `STEPS` batches share a search, at the largest of them; each larger size has its
    own.

    Parameters
    ----------
    corpus:
        What the record calls the corpus.
    test:
        Every cell of the grid answers all of it.
    strategy_names:
        None: all that the model takes; what it does not is in the record as `left_out`.
    minutes:
        Nothing starts later than this; what runs then is finished. The same call goes on where this one stopped.
    jobs:
        Processes at a time, which share the cores. None is joblib's default: one, or what `joblib.parallel_config`
        says: `with joblib.parallel_config(backend="dask"): run(...)` computes the cells on a Dask cluster, whose
        workers must find the models under the same names.

    Returns
    -------
    The record, with "comparison" (the corpus), "run" (provenance, settings, "missing": counts of what there was no time
    for) and lists of dicts: "ways" (model, strategy, its own learning_rate, trainable and total parameters); "search",
    "cost" and "results" (model, strategy, size, seed, learning_rate, id in the ledger, and what `cell` returns on the
    validation pairs, `cost` at the largest size up to `COSTED`, `cell` on `test`); "baseline" (size, seed, and accuracy
    of a classifier that reads the hypotheses of the same pairs alone, `bias.predict_from`).

    Raises InputError, before any training, for a grid that cannot be made.
    """
    from joblib import Parallel

    _check(train, test, sizes, seeds, minutes, jobs)
    start = time.monotonic()
    deadline = math.inf if minutes is None else start + 60 * minutes
    sizes, model_names = sorted(set(sizes)), list(dict.fromkeys(model_names))
    searched = searched_at(sizes)
    pool, validation = _parts(train, test, sizes[-1])
    ways, left_out = _ways(model_names, strategy_names, test.features["label"].names)
    lessons = {(size, seed): _sample(pool, size, seed) for size in sizes for seed in (SEARCH_SEED, *range(seeds))}
    read = [
        {"size": size, "seed": seed, "accuracy": evaluation.accuracy(predict_from(lessons[size, seed], test))}
        for size in sizes
        for seed in range(seeds)
    ]
    made_by = (software(), code(("comparison", *finetuning.MADE_BY)))
    made_of = {name: digest(models.fingerprint(name), *made_by) for name in model_names}

    def task(way: dict[str, Any], size: int, seed: int, rate: float, *exam: Dataset) -> _Task:
        model, data = way["model"], (lessons[size, seed], *exam)
        recipe = Recipe(strategy=way["strategy"], learning_rate=rate, batch_size=min(BATCH, size), epochs=epochs(size))
        what = {"model": model, "strategy": way["strategy"], "size": size, "seed": seed, "learning_rate": rate}
        key = digest(made_of[model], asdict(recipe), seed, [fingerprint(part) for part in data])
        return _Task(what, (model, recipe, seed, *data), key)

    trials = [
        task(way, size, SEARCH_SEED, way["learning_rate"] * factor, validation)
        for size in sorted(set(searched.values()))
        for way in ways
        for factor in FACTORS
    ]
    together = Parallel(n_jobs=jobs, return_as="generator_unordered", pre_dispatch="n_jobs", batch_size=1)
    search = _finish("search", cell, trials, deadline, together)
    rates = best_rates(search)
    alone = Parallel(n_jobs=1, backend="sequential", return_as="generator")  # so that nothing beside it slows it down
    costed = max((size for size in sizes if size <= COSTED), default=sizes[0])
    bills = [task(way, costed, 0, way["learning_rate"]) for way in ways]
    costs = _finish("cost", cost, bills, deadline, alone)
    grid = [  # seed by seed, so that what is finished can be compared
        task(way, size, seed, rate, test)
        for seed in range(seeds)
        for size in sizes
        for way in ways
        if (rate := rates.get((way["model"], way["strategy"], searched[size])))
    ]
    results = _finish("grid", cell, grid, deadline, together)
    made = provenance() | {
        "data": {"pool": fingerprint(pool), "validation": fingerprint(validation), "test": fingerprint(test)},
        "pairs": {"pool": len(pool), "validation": len(validation), "test": len(test)},
        "models": model_names,
        "strategies": list(dict.fromkeys(way["strategy"] for way in ways)),
        "left_out": left_out,
        "sizes": sizes,
        "epochs": [epochs(size) for size in sizes],
        "batch_size": BATCH,
        "seeds": list(range(seeds)),
        "commonest_label": float(np.bincount(test["label"][:]).max() / len(test)),
        "missing": {
            "search": len(trials) - len(search),
            "cost": len(bills) - len(costs),
            "results": len(ways) * len(sizes) * seeds - len(results),
        },
        "seconds": round(time.monotonic() - start, 1),
    }
    found = {"ways": ways, "search": search, "cost": costs, "baseline": read, "results": results}
    return {"comparison": corpus, "run": made, **found}


def epochs(size: int) -> int:
    """How often a training set of this size is gone through."""
    return max(EPOCHS, math.ceil(STEPS * min(BATCH, size) / size))


def searched_at(sizes: Sequence[int]) -> dict[int, int]:
    """size -> the size at which its learning rate is searched: as many steps want about the same rate."""
    repeated = [size for size in sizes if epochs(size) > EPOCHS]
    return {size: max(repeated) if size in repeated else size for size in sizes}


def best_rates(search: Iterable[dict[str, Any]]) -> dict[tuple[str, str, int], float]:
    """(model, strategy, size) -> the learning rate that did best, where all were tried."""
    trials: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for trial in search:
        trials.setdefault((trial["model"], trial["strategy"], trial["size"]), []).append(trial)
    return {
        way: max(tried, key=lambda trial: (trial["accuracy"], -trial["log_loss"]))["learning_rate"]
        for way, tried in trials.items()
        if len(tried) == len(FACTORS)
    }


@dataclass(frozen=True)
class _Task:
    """A call, the columns that name it in the record, and the digest of all that decides its result."""

    what: dict[str, Any]
    call: tuple
    key: str

    @property
    def entry(self) -> Path:
        return cache_dir() / "comparison" / f"{self.key}.json"

    @property
    def pairs(self) -> int:
        return self.what["size"] * epochs(self.what["size"])


def _finish(
    name: str, compute: Callable[..., dict[str, Any]], tasks: Sequence[_Task], deadline: float, parallel: Parallel
) -> list[dict[str, Any]]:
    """Results of the tasks that are in the ledger, once those that can be started in time have been added to it."""
    from joblib import delayed
    from tqdm.auto import tqdm

    missing = [task for task in tasks if not task.entry.exists()]
    in_time = (delayed(_named)(task, compute) for task in missing if time.monotonic() < deadline)
    total = sum(task.pairs for task in missing)
    with tqdm(total=total, desc=name, unit=" pairs", unit_scale=True, disable=finetuning.quiet()) as bar:
        for task, result in parallel(in_time):
            write_text(task.entry, json.dumps(result))
            bar.update(task.pairs)
    return [
        task.what | json.loads(task.entry.read_text(encoding="utf-8")) | {"id": task.key}
        for task in tasks
        if task.entry.exists()
    ]


def _named(task: _Task, compute: Callable[..., dict[str, Any]]) -> tuple[_Task, dict[str, Any]]:
    return task, compute(*task.call)


def _check(
    train: Dataset, test: Dataset, sizes: Sequence[int], seeds: int, minutes: float | None, jobs: int | None
) -> None:
    names, others = train.features["label"].names, test.features["label"].names
    problems = []
    if not len(test):
        problems.append("the test split is empty")
    if names != others:
        problems.append(f"labels are {', '.join(names)} in train, {', '.join(others)} in test")
    if not sizes or min(sizes) < 1:
        problems.append(f"sizes are {', '.join(map(str, sizes)) or 'none'}; give at least one, each above 0")
    if seeds < 2:
        problems.append(f"seeds is {seeds}; an interval needs 2 at least")
    if minutes is not None and not minutes > 0:
        problems.append(f"minutes is {minutes:g}; give more than 0")
    if jobs is not None and jobs < 1:
        problems.append(f"jobs is {jobs}; give at least 1")
    if problems:
        raise InputError(f"comparison: {'; '.join(problems)}")


def _parts(train: Dataset, test: Dataset, largest: int) -> tuple[Dataset, Dataset]:
    """Pairs to train on and pairs to choose the learning rate by, no premise in both and no pair in test."""
    clean = without(train, overlap(train, test))
    share = min(0.2, VALIDATION / max(len(clean), 1))
    parts = split(clean, {"pool": 1 - share, "validation": share}, seed=SEARCH_SEED)
    if len(parts["pool"]) < largest:
        raise InputError(
            f"comparison: sizes go up to {largest}, but {len(parts['pool'])} of the {len(train)} training pairs are "
            f"left without validation and what is in test; give sizes up to {len(parts['pool'])}"
        )
    return parts["pool"], parts["validation"]


def _sample(pool: Dataset, size: int, seed: int) -> Dataset:
    """The first pairs of the seed's random order of the pool, as a corpus that does not drag the pool along."""
    from datasets import Dataset

    chosen = np.random.default_rng(seed).permutation(len(pool))[:size]
    return Dataset.from_dict(pool[chosen], features=pool.features)


def _ways(
    model_names: Sequence[str], strategy_names: Sequence[str] | None, labels: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Each strategy on each model, prepared once to see that it can be; and what cannot, where none was asked for."""
    ways, left_out = [], []
    for model in model_names:
        classifier, _ = models.load(model, labels)
        for name in dict.fromkeys(strategy_names or strategies.STRATEGIES):
            try:
                prepared = strategies.prepare(copy.deepcopy(classifier), name)
            except InputError as error:
                if strategy_names:
                    raise
                left_out.append({"model": model, "strategy": name, "why": str(error)})
                continue
            trainable, total = strategies.count(prepared)
            rate = optimization.learning_rate(prepared, Recipe(strategy=name))
            ways.append(
                {"model": model, "strategy": name, "learning_rate": rate, "trainable": trainable, "total": total}
            )
    return ways, left_out
