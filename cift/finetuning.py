"""One training run and one prediction run, over rows that are either token ids or cached states.

`transformers.Trainer` does the training (`cift.trainer`). A row is a dict of tensors for one item, without a batch
dimension: `input_ids`, `attention_mask` and whatever else the tokenizer gives, or, where a frozen
prefix has been run once (`cift.features`), `inputs_embeds` and `attention_mask`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cift.errors import InputError
from cift.losses import class_weights, one_hot, smooth
from cift.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Row = dict[str, Any]  # of torch tensors
CUT = ("features", "frozen")  # strategies that freeze whole layers, from the bottom
MADE_BY = (  # modules that decide what a fine-tuned model is, besides data
    "adapters", "anatomy", "features", "finetuning", "losses", "mann", "models", "nse", "nse_cell", "optimization",
    "pairs", "peft_models", "recipe", "strategies", "trainer", "word_vectors",
)  # fmt: skip
EVAL_BATCH = 128
CACHE_BYTES = 2 * 2**30  # of cached states: a quarter of a laptop's 8 GB; in bf16 100,000 pairs on MiniLM


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bf16() -> bool:
    """Whether this device multiplies bfloat16 matrices in hardware; emulated it would be slower than float32."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16"))


def peak_memory_mb() -> float | None:
    """The most memory that this process ever held: of the GPU where there is one, else its own (None on Windows)."""
    import torch

    from cift import records

    return torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else records.peak_memory_mb()


def uses_bf16(precision: str) -> bool:
    """Whether a recipe's precision means bfloat16 on this device."""
    return precision == "bf16" or (precision == "auto" and has_bf16())


def quiet() -> bool:
    """Whether progress bars would only fill a log: in CI, under papermill, and without a terminal or notebook."""
    if os.environ.get("CI") or os.environ.get("CIFT_QUIET"):
        return True
    return not (sys.stderr.isatty() or "ipykernel" in sys.modules)


def encode(corpus: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int = 128) -> list[Row]:
    """Rows of token ids, one per item, each as long as its pair; longer pairs are truncated."""
    import torch

    if not len(corpus):
        return []
    encoded = tokenizer(corpus["premise"][:], corpus["hypothesis"][:], truncation=True, max_length=max_length)
    return [
        {name: torch.tensor(values[i]) for name, values in encoded.items()} for i in range(len(encoded["input_ids"]))
    ]


def pad_id(model: torch.nn.Module) -> int:
    """The token id that a model takes for padding; a decoder's head finds the last token by it."""
    return getattr(model.config, "pad_token_id", None) or 0


def collate(rows: Sequence[Row], pad_id: int = 0) -> dict[str, torch.Tensor]:
    """Batch of rows, padded to the longest: `input_ids` with pad_id, all else with 0, which is attention 0."""
    from torch.nn.utils.rnn import pad_sequence

    return {
        name: pad_sequence([row[name] for row in rows], True, pad_id if name == "input_ids" else 0) for name in rows[0]
    }


class LengthBuckets:
    """Sampler of indices whose batches hold rows of similar length, the batches in random order.

    Within chunks of 32 batches rows are sorted by length, cut into batches, and all batches are shuffled. (The
    Trainer's own grouping leaves each chunk's batches in order, long to short; where length goes with content, as in
    the scenes corpus, the model then forgets the long half while it reads the short one.)
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = np.asarray(lengths), batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.lengths))
        full = len(order) - len(order) % self.batch_size  # the incomplete batch stays last
        for start in range(0, full, 32 * self.batch_size):
            chunk = order[start : min(start + 32 * self.batch_size, full)]  # a view: this sorts in place
            chunk[:] = chunk[np.argsort(self.lengths[chunk], kind="stable")]
        yield from rng.permutation(order[:full].reshape(-1, self.batch_size)).ravel().tolist()
        yield from order[full:].tolist()


def forward(
    model: torch.nn.Module, rows: Sequence[Row], bf16: bool | None = None
) -> Iterator[tuple[list[int], Any, torch.Tensor]]:
    """Yield (indices, model output, attention mask) over rows in batches of similar length, without gradients.

    bf16: None takes it where the device has it.
    """
    import torch

    where = device()
    model.to(where).eval()
    padding = pad_id(model)
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]["attention_mask"]))
    with (
        torch.inference_mode(),
        torch.autocast(where.type, torch.bfloat16, enabled=has_bf16() if bf16 is None else bf16),
    ):
        for start in range(0, len(order), EVAL_BATCH):
            indices = order[start : start + EVAL_BATCH]
            batch = {name: value.to(where) for name, value in collate([rows[i] for i in indices], padding).items()}
            yield indices, model(**batch), batch["attention_mask"]


def logits(model: torch.nn.Module, rows: Sequence[Row], n_labels: int, bf16: bool | None = None) -> np.ndarray:
    """Logits, (rows, n_labels) float32, computed as `forward` does."""
    found = np.empty((len(rows), n_labels), np.float32)
    for indices, output, _ in forward(model, rows, bf16):
        found[indices] = output.logits.float().cpu().numpy()
    return found


def predict(model: PreTrainedModel | PeftModel, rows: Sequence[Row], corpus: Dataset) -> pd.DataFrame:
    """Predictions table: `item_id`, `label`, one logit column per label, `predicted`.

    Raises InputError for pairs without label.
    """
    from cift.corpora import label_codes

    names = corpus.features["label"].names
    found = logits(model, rows, len(names))
    table = pd.DataFrame({"item_id": corpus["item_id"][:], "label": [names[i] for i in label_codes(corpus)]})
    table[[f"logit_{name}" for name in names]] = found.astype(float)
    table["predicted"] = [names[i] for i in found.argmax(1)]
    return table


def train(
    model: PreTrainedModel | PeftModel,
    rows: Sequence[Row],
    targets: np.ndarray,
    recipe: Recipe,
    seed: int,
    folder: Path | None = None,
    progress: bool = True,
    validation: tuple[Sequence[Row], np.ndarray] | None = None,
    after_evaluation: Callable[[dict[str, float]], None] | None = None,
    log_dir: Path | None = None,
) -> dict[str, Any]:
    """Train what is trainable in the model, in place, to match target probabilities, (items, labels).

    The strategy is not applied here (`strategies.prepare` does that, and `fine_tune` all of it), but gradual unfreezing
    is carried on, and rates by layer are taken from it. The same model, rows, recipe and seed give the same weights on
    the same machine and versions: on a CPU bit by bit, on a GPU but for the order in which it adds.

    Parameters
    ----------
    folder:
        Where checkpoints go, one each fifth of the run; a run that finds one there resumes from it, and ends with the
        weights of an uninterrupted run. A checkpoint of another recipe, seed or data is an error.
    validation:
        Rows and targets that are looked at after each epoch: the recipe's loss (without label smoothing, class weights
        and L1) and accuracy (does the likeliest label have the largest target?). Patience and a plateau need it.
    after_evaluation:
        Called then with the newest row of the history; may raise, to end the run.
    log_dir:
        Where TensorBoard finds the learning curves.

    Returns
    -------
    What it cost: train_seconds (of a resumed run those since), train_loss (mean over all steps, L1 included), steps,
    and history: dicts of step, epoch, learning_rate, loss (mean since the row before), gradient_norm (before clipping)
    and, after epochs, validation_loss and validation_accuracy, about 200 in all.

    Of several processes (`accelerate launch`) each takes its part of every batch: two with half the batch size train
    what one does, but for rounding and dropout. Where an epoch does not divide into batches for all of them, a few
    items come twice.

    Raises InputError when there is nothing to learn from, the recipe asks for what this machine, model or data cannot
    give, and when training diverges; checkpoints then hold finite weights.
    """
    import torch

    from cift.trainer import RecipeTrainer, check, dropout

    targets = np.asarray(targets, np.float32)
    check(model, rows, targets, recipe, validation)
    if recipe.precision == "bf16" and not has_bf16():
        warnings.warn("recipe: this device emulates bf16, more slowly than fp32; take precision='auto'", stacklevel=2)
    examples = [
        {**row, "labels": t}
        for row, t in zip(rows, torch.from_numpy(smooth(targets, recipe.label_smoothing)), strict=True)
    ]
    if recipe.class_weights is not None:
        for example, weight in zip(examples, class_weights(targets, recipe.class_weights), strict=True):
            example["weights"] = torch.tensor([weight])
    with tempfile.TemporaryDirectory() as scratch, dropout(model, recipe.dropout):
        trainer = RecipeTrainer(
            model, examples, recipe, seed, folder or Path(scratch), folder is not None, progress and not quiet(),
            validation, after_evaluation, log_dir,
        )  # fmt: skip
        start = time.perf_counter()
        try:
            trainer.run(last_checkpoint(folder) if folder else None)
        finally:
            # accelerate leaves a forward bound to this very model, which copies and cuts of it would go on calling
            for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
                vars(model).pop(name, None)
            trainer.close()
            if recipe.gradient_checkpointing:
                model.activation_checkpointing_disable()
    history = trainer.history()
    steps = np.diff([0, *(row["step"] for row in history)])
    return {
        "train_seconds": time.perf_counter() - start,
        "train_loss": float(np.average([row["loss"] for row in history], weights=steps)),
        "steps": trainer.state.global_step,
        "history": history,
    }


def fine_tune(
    corpus: Dataset,
    recipe: Recipe = Recipe(),  # noqa: B008  # frozen
    seed: int = 0,
    model: str = "minilm",
    *,
    targets: np.ndarray | None = None,
    validation: Dataset | None = None,
    folder: Path | None = None,
    progress: bool = True,
    after_evaluation: Callable[[dict[str, float]], None] | None = None,
    log_dir: Path | None = None,
) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase, dict[str, Any]]:
    """A backbone by name, fine-tuned on a corpus by the recipe's strategy: the model, its tokenizer, and what it cost.

    The seed fixes the new parameters and the training. targets: probabilities to match, (items, labels); None takes the
    corpus's labels. The other arguments are those of `train`.

    Where whole layers from the bottom are frozen (features, frozen), they run once, without dropout, and the rest is
    trained on what they gave, as long as that fits `CACHE_BYTES`, the model can be cut (`features.cut`) and gradient
    checkpointing is off.

    The cost is that of `train`, with trainable and total (numbers of parameters), train_pairs, cache_seconds (0 where
    nothing was cached), peak_memory_mb (see there) and disk_mb (what `strategies.save` would keep).

    Raises InputError as `models.load`, `strategies.prepare` and `train` do.
    """
    from cift import models, strategies
    from cift.corpora import label_codes
    from cift.trainer import check

    names = corpus.features["label"].names
    backbone, tokenizer = models.load(model, names, seed)
    learner = classifier = strategies.prepare(backbone, recipe.strategy, recipe.options, seed)
    rows = [encode(part, tokenizer, recipe.max_length) for part in (corpus, validation) if part is not None]
    targets = np.asarray(one_hot(label_codes(corpus), len(names)) if targets is None else targets, np.float32)
    watched = (rows[1], one_hot(label_codes(validation), len(names))) if validation is not None else None
    check(classifier, rows[0], targets, recipe, watched)
    trainable, total = strategies.count(classifier)
    start = time.perf_counter()
    if recipe.strategy in CUT and not recipe.gradient_checkpointing:  # which a cut model cannot do
        learner, rows = _cached(classifier, rows, recipe)
    cost: dict[str, Any] = {
        "trainable": trainable,
        "total": total,
        "train_pairs": len(corpus),
        "cache_seconds": time.perf_counter() - start if learner is not classifier else 0.0,
    }
    cost |= train(
        learner,
        rows[0],
        targets,
        recipe,
        seed,
        folder,
        progress,
        watched and (rows[1], watched[1]),
        after_evaluation,
        log_dir,
    )
    cost = cost | {"peak_memory_mb": peak_memory_mb(), "disk_mb": strategies.size_on_disk(classifier) / 2**20}
    return classifier, tokenizer, cost


def _cached(model: Any, parts: list[list[Row]], recipe: Recipe) -> tuple[Any, list[list[Row]]]:
    """What of the model learns, and rows for it; both as they are where rows would be too large or cannot be had."""
    from cift import features, strategies

    try:
        prefix, suffix = features.cut(model, **strategies.settings(recipe.strategy, recipe.options))
    except InputError:
        return model, parts
    first, bf16 = parts[0][0], uses_bf16(recipe.precision)
    states = features.cache_states(prefix, [first], bf16)[0]["inputs_embeds"]
    bytes_per_token = states.nbytes / len(first["attention_mask"])
    if bytes_per_token * sum(len(row["attention_mask"]) for rows in parts for row in rows) > CACHE_BYTES:
        return model, parts
    return suffix, [features.cache_states(prefix, rows, bf16) for rows in parts]


def last_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint in a folder; one whose writing was interrupted does not count."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for checkpoint in found:
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())  # the Trainer writes this file last
            return str(checkpoint)
        except (OSError, ValueError):
            continue
    return None
