"""Which learning rate, and which other settings: a learning-rate finder, and a search on validation data.

The finder costs as much as a hundred training steps and looks at the training loss only. The search trains a model for
each trial, and answers what the finder cannot: what is best after the last step, on other data.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cift import finetuning, models
from cift.doctor import versions
from cift.errors import Diverged, InputError
from cift.files import one_message
from cift.finetuning import MADE_BY, Row
from cift.losses import LOSSES, class_weights, smooth
from cift.recipe import Recipe
from cift.records import code, digest, fingerprint, once, software

if TYPE_CHECKING:
    from datasets import Dataset
    from optuna import Trial
    from transformers import PreTrainedModel

WINDOW = 15  # steps of the learning-rate finder whose median is the smoothed loss: a decade in its default range
EXPLODED = 4  # times the loss at the start


def find_learning_rate(
    model: PreTrainedModel,
    rows: Sequence[Row],
    targets: np.ndarray,
    recipe: Recipe,
    seed: int,
    low: float = 1e-7,
    high: float = 1.0,
    steps: int = 100,
) -> pd.DataFrame:
    """Loss of training batches while the learning rate rises from step to step (Smith 2017, WACV, arXiv 1506.01186).

    A copy of the model is trained; the model itself stays as it is. All that the recipe says counts but its
    learning rate, schedule and grouping by length: batches are drawn at random, so that one's loss can be compared with
    the next one's. What a strategy thaws bit by bit is trained from the start here.

    Returns a row per step: learning_rate (from low to high, each the same factor times the last), loss (of the step's
    batch, before its update, without L1) and smoothed (the centred median of 15 losses). It ends early where the loss
    is no number, or the median of five losses is four times that of the first 15.

    Raises InputError when there is nothing to learn from, or for a range that is none.
    """
    if not 0 < low < high or steps < 2 * WINDOW:
        raise InputError(
            f"learning-rate finder: {steps} steps from {low:g} to {high:g}; "
            f"give at least {2 * WINDOW} steps, and a range that rises, above 0"
        )
    if not len(rows) or len(rows) != len(targets):
        raise InputError(f"learning-rate finder: {len(rows)} items with {len(targets)} targets; need as many of each")
    import torch
    from torch.nn.utils import clip_grad_norm_
    from torch.optim.lr_scheduler import LambdaLR

    from cift import optimization, strategies
    from cift.trainer import dropout

    where, pad = finetuning.device(), finetuning.pad_id(model)
    wanted = torch.as_tensor(smooth(np.asarray(targets, np.float32), recipe.label_smoothing), device=where)
    weights = torch.as_tensor(class_weights(targets, recipe.class_weights), device=where)
    twin: Any = copy.deepcopy(model)
    twin.to(where).train()
    strategies.unfreeze(twin, recipe, 1)
    optimizer = optimization.optimizer(twin, replace(recipe, learning_rate=low))
    ramp = LambdaLR(optimizer, lambda step: (high / low) ** (step / (steps - 1)))
    size = recipe.batch_size * recipe.accumulation
    rng, order, losses = np.random.default_rng(seed), np.empty(0, int), []
    with torch.random.fork_rng(), dropout(twin, recipe.dropout):
        torch.manual_seed(seed)
        for _ in range(steps):
            while len(order) < size:
                order = np.concatenate([order, rng.permutation(len(rows))])
            batch, order, loss = order[:size], order[size:], 0.0
            for part in np.split(batch, recipe.accumulation):
                inputs = finetuning.collate([rows[i] for i in part], pad)
                inputs = {name: value.to(where) for name, value in inputs.items()}
                with torch.autocast(where.type, torch.bfloat16, enabled=finetuning.uses_bf16(recipe.precision)):
                    logits = twin(**inputs).logits
                share = LOSSES[recipe.loss](logits.float(), wanted[part], weights[part]) / recipe.accumulation
                share.backward()
                loss += share.item()
            if recipe.l1:
                optimization.l1(twin, recipe).backward()
            losses.append(loss)
            if not np.isfinite(loss) or np.median(losses[-5:]) > EXPLODED * np.median(losses[:WINDOW]):
                break
            if recipe.clip:
                clip_grad_norm_(twin.parameters(), recipe.clip)
            optimizer.step()
            optimizer.zero_grad()
            ramp.step()
    table = pd.DataFrame({"learning_rate": np.geomspace(low, high, steps)[: len(losses)], "loss": losses})
    table["smoothed"] = table["loss"].rolling(WINDOW, center=True, min_periods=WINDOW // 2 + 1).median()
    return table


def suggest(table: pd.DataFrame) -> float:
    """A learning rate from a finder's table: a tenth of the highest one that does no harm yet.

    That is the last one whose smoothed loss is least, or as good as: within 1 % of it, or four standard errors, as
    estimated from the first 15 losses, when nothing is learnt yet. Where the loss falls before it explodes, a tenth of
    the rate at which it is least, as is often advised, comes to about the same. Where it does not, as with few steps on
    a hard task, its least value and its steepest descent can be anywhere. It is where to begin, not the best rate.

    Raises InputError when the loss does not rise before the table ends, or rises from its beginning.
    """
    smoothed, noise = table["smoothed"], table["loss"][:WINDOW].std()
    tolerance = max(0.01 * smoothed.min(), 4 * 1.25 * noise / np.sqrt(WINDOW))  # 1.25: of a median, not a mean
    sound = table["loss"] <= EXPLODED * table["loss"][:WINDOW].median()  # medians miss an explosion at the very end
    harmless = np.flatnonzero(sound & (smoothed <= smoothed.min() + tolerance))
    if not len(harmless) or harmless[-1] < WINDOW // 2 or smoothed.min() > EXPLODED * table["loss"].iloc[0]:
        raise InputError(f"learning-rate finder: the loss rises from {table['learning_rate'].iloc[0]:g} on; lower low")
    if harmless[-1] == len(table) - 1:
        raise InputError(
            f"learning-rate finder: the loss does not rise up to {table['learning_rate'].iloc[-1]:g}; raise high"
        )
    return float(table["learning_rate"].iloc[harmless[-1]]) / 10


def search(
    corpus: Dataset,
    validation: Dataset,
    space: Mapping[str, tuple | list],
    trials: int = 20,
    minutes: float | None = None,
    seed: int = 0,
    model: str = "minilm",
    recipe: Recipe = Recipe(),  # noqa: B008  # frozen
) -> tuple[Recipe, pd.DataFrame]:
    """The recipe of the best of so many trainings, judged by `recipe.metric` on the validation data, and all of them.

    A tree-structured Parzen estimator (Bergstra et al. 2011, NeurIPS; optuna's) proposes settings, the first ten times
    at random. Once five trials are complete, one that has had a third of `recipe.epochs` is given up after an epoch by
    which its best value is worse than the median of what the others had there. (Earlier, the rate is still warming up,
    and the fast look slow.) The winner was chosen on the validation data: measure it on other data.

    Parameters
    ----------
    space:
        Settings of the recipe to vary, by name. (low, high): a number between, whole if both are; (low, high, "log"):
        the same, as likely from 1 to 10 as from 10 to 100; a list: one of its values. The others stay as in `recipe`.
    minutes:
        No trial starts that would end later if it took as long as the longest so far; the first one always does.
    seed:
        Of the proposals and of every training. Finished trials are kept in the cache, so that the same call takes
        them from there, after an interruption or with more trials or minutes, and goes on as it would have.

    Returns the recipe, and a row a trial: trial, a column per setting, value (the metric on the validation data: the
    last one, with patience the best one), state (complete, pruned, or diverged), seconds, epochs_seen.

    Raises InputError for a space that cannot be meant, for what `finetuning.fine_tune` refuses, and when every trial
    diverged.
    """
    import optuna
    from tqdm.auto import tqdm

    _check(space, recipe, trials, minutes)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = [models.fingerprint(model), fingerprint(corpus), fingerprint(validation)]
    made_by = (software(), versions()["optuna"], code(("search", *MADE_BY)))
    # as written: [8, 16] is not (8, 16), and another order of settings draws other values
    made_of = digest(data, asdict(recipe), repr(dict(space)), seed, *made_by)
    less = recipe.metric == "loss"
    pruner = optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=math.ceil(recipe.epochs / 3))
    study = optuna.create_study(direction="minimize" if less else "maximize", pruner=pruner)
    start = time.monotonic()
    found: list[dict[str, Any]] = []
    for number in tqdm(range(trials), desc="trials", disable=finetuning.quiet()):
        longest = max((row["seconds"] for row in found), default=0.0)
        if found and minutes is not None and time.monotonic() - start + longest > 60 * minutes:
            break
        # a sampler for each trial: a search that goes on proposes what an uninterrupted one would have
        drawn = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=drawn)
        trial = study.ask()
        chosen = {name: _propose(trial, name, values) for name, values in space.items()}
        reported: list[float] = []
        run = partial(_run, trial, reported, replace(recipe, **chosen), corpus, validation, seed, model)
        done = once("searches", digest(made_of, number), run)
        for epoch, value in enumerate(done["reported"], start=1):
            if epoch > len(reported):
                trial.report(value, epoch)
        if done["state"] == "complete":
            study.tell(trial, done["value"])
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        epochs_seen = len(done.pop("reported"))
        found.append({"trial": number, **chosen, **done, "epochs_seen": epochs_seen})
    table = pd.DataFrame(found)
    complete = table.loc[table["state"] == "complete", "value"]
    if complete.empty:
        raise InputError("search: training diverged in every trial; search lower learning rates")
    winner = found[complete.idxmin() if less else complete.idxmax()]
    return replace(recipe, **{name: winner[name] for name in space}), table


def _run(
    trial: Trial,
    reported: list[float],
    recipe: Recipe,
    corpus: Dataset,
    validation: Dataset,
    seed: int,
    model: str,
) -> dict[str, Any]:
    """One training, reported to the trial epoch by epoch: reported (the metric's values), value, state, seconds."""
    from optuna import TrialPruned

    def report(evaluated: dict[str, float]) -> None:
        reported.append(evaluated[f"validation_{recipe.metric}"])
        trial.report(reported[-1], len(reported))
        if len(reported) < recipe.epochs and trial.should_prune():
            raise TrialPruned

    start, state = time.perf_counter(), "complete"
    try:
        finetuning.fine_tune(
            corpus, recipe, seed, model, validation=validation, progress=False, after_evaluation=report
        )
    except TrialPruned:
        state = "pruned"
    except Diverged:
        state = "diverged"
    judged = reported if recipe.patience else reported[-1:]
    value = math.nan if state == "diverged" else (min if recipe.metric == "loss" else max)(judged)
    return {"reported": reported, "value": value, "state": state, "seconds": round(time.perf_counter() - start, 2)}


def _propose(trial: Trial, name: str, values: tuple | list) -> Any:
    if isinstance(values, list):  # by position, as optuna takes only plain values
        return values[trial.suggest_categorical(name, range(len(values)))]
    low, high, *log = values
    suggest = trial.suggest_int if isinstance(low, int) and isinstance(high, int) else trial.suggest_float
    return suggest(name, low, high, log=bool(log))


def _check(space: Mapping[str, tuple | list], recipe: Recipe, trials: int, minutes: float | None) -> None:
    """Raise InputError for what cannot be meant."""
    settings = {field.name for field in fields(Recipe)} - {"metric"}
    problems = [] if space else ["the space is empty"]
    if trials < 1 or (minutes is not None and minutes <= 0):
        problems.append(f"a budget of {trials} trials and {minutes} minutes lets nothing start")
    if "loss" in space and recipe.metric == "loss":
        problems.append("losses cannot be compared by their own values: take a recipe with metric='accuracy'")
    for name, values in space.items():
        if name not in settings:
            problems.append(f"{name!r} is not among {', '.join(sorted(settings))}")
            continue
        tried = values if isinstance(values, list) else values[:2] if _is_range(values) else ()
        if not tried:
            problems.append(f"{name} {values!r} is neither a list of values nor (low, high) nor (low, high, 'log')")
        for value in tried:
            try:
                replace(recipe, **{name: value})
            except InputError as error:
                problems.append(str(error))
    if problems:
        raise one_message("search", problems, 'Give for instance {"learning_rate": (1e-5, 1e-3, "log")}')


def _is_range(values: object) -> bool:
    """Whether it is (low, high) or (low, high, "log"), of numbers that rise."""
    if not isinstance(values, tuple) or len(values) not in (2, 3) or values[2:] not in ((), ("log",)):
        return False
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values[:2]):
        return False
    return values[0] < values[1] and (len(values) == 2 or values[0] > 0)
