"""One training run and one prediction run, over rows that are either token ids or cached states.

`transformers.Trainer` does the training. A row is a dict of tensors for one item, without a batch
dimension: `input_ids`, `attention_mask` and whatever else the tokenizer gives, or, where a frozen
prefix has been run once (`cift.strategies.cut`), `inputs_embeds` and `attention_mask`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cift.errors import InputError
from cift.losses import LOSSES

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

Row = dict[str, Any]  # of torch tensors
EVAL_BATCH = 128


@dataclass(frozen=True)
class Recipe:
    """What a training run does. Raises InputError for values that cannot be meant.

    trainable_layers: None trains everything, k the last k layers and the head.
    warmup: share of the steps over which the learning rate rises linearly before it falls to zero.
    """

    loss: str = "cce"
    epochs: int = 2
    learning_rate: float = 5e-5
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup: float = 0.06
    trainable_layers: int | None = None
    max_length: int = 128

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InputError(f"recipe: loss {self.loss!r} is unknown; choose from {', '.join(LOSSES)}")
        for name in ("epochs", "learning_rate", "batch_size", "max_length"):
            if not getattr(self, name) > 0:
                raise InputError(f"recipe: {name} is {getattr(self, name)!r}; it must be above 0")


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bf16() -> bool:
    """Whether this device multiplies bfloat16 matrices in hardware; emulated it would be slower than float32."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    found = torch.cpu.get_capabilities()
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16"))


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


def collate(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """Batch of rows, padded to the longest; padding is 0 everywhere and has attention 0."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    return {
        name: torch.stack([row[name] for row in rows])
        if name == "targets"
        else pad_sequence([row[name] for row in rows], batch_first=True)
        for name in rows[0]
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


def forward(model: torch.nn.Module, rows: Sequence[Row]) -> Iterator[tuple[list[int], Any, torch.Tensor]]:
    """Yield (indices, model output, attention mask) over rows in batches of similar length, without gradients."""
    import torch

    where = device()
    model.to(where).eval()
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]["attention_mask"]))
    with torch.inference_mode(), torch.autocast(where.type, torch.bfloat16, enabled=has_bf16()):
        for start in range(0, len(order), EVAL_BATCH):
            indices = order[start : start + EVAL_BATCH]
            batch = {name: value.to(where) for name, value in collate([rows[i] for i in indices]).items()}
            yield indices, model(**batch), batch["attention_mask"]


def cache_states(prefix: PreTrainedModel, rows: Sequence[Row]) -> list[Row]:
    """Rows whose tokens are replaced by the frozen prefix's output, (tokens, hidden), computed once.

    The prefix runs without dropout, so training on cached states has dropout in the suffix only.
    """
    import torch

    cached: list[Row] = [{}] * len(rows)
    dtype = torch.bfloat16 if has_bf16() else torch.float32
    for indices, output, mask in forward(prefix, rows):
        for i, states, attention in zip(indices, output.last_hidden_state.to(dtype).cpu(), mask.cpu(), strict=True):
            length = int(attention.sum())
            cached[i] = {"inputs_embeds": states[:length].clone(), "attention_mask": attention[:length].clone()}
    return cached


def predict(model: PreTrainedModel, rows: Sequence[Row], corpus: Dataset) -> pd.DataFrame:
    """Predictions table: `item_id`, `label`, one logit column per label, `predicted`."""
    names = corpus.features["label"].names
    logits = np.empty((len(rows), len(names)))
    for indices, output, _ in forward(model, rows):
        logits[indices] = output.logits.float().cpu().numpy()
    table = pd.DataFrame({"item_id": corpus["item_id"][:], "label": [names[i] for i in corpus["label"][:]]})
    table[[f"logit_{name}" for name in names]] = logits
    table["predicted"] = [names[i] for i in logits.argmax(1)]
    return table


def train(
    model: PreTrainedModel,
    rows: Sequence[Row],
    targets: np.ndarray,
    recipe: Recipe,
    seed: int,
    folder: Path | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Train the model in place to match target probabilities, (items, labels); returns what it cost.

    Where the recipe freezes layers, they stay frozen in the model.

    folder: where checkpoints go, one each fifth of the run; a run that finds one there resumes from it.
    Returns `train_seconds`, `train_loss` and `steps`. Raises InputError when there is nothing to learn from.
    """
    import torch
    from transformers import PrinterCallback, Trainer

    if not rows or len(rows) != len(targets):
        raise InputError(f"training: {len(rows)} items with {len(targets)} targets; need as many of each, at least one")
    if recipe.trainable_layers is not None:
        from cift.strategies import freeze

        freeze(model, recipe.trainable_layers)
    loss_of = LOSSES[recipe.loss]

    class MatchTargets(Trainer):
        """A Trainer whose loss compares logits with target probabilities, in batches of similar length."""

        def _get_train_sampler(self, train_dataset=None):
            return LengthBuckets([len(row["attention_mask"]) for row in rows], recipe.batch_size, seed)

        def compute_loss(self, model, inputs, return_outputs=False, **_):
            wanted = inputs.pop("targets")
            output = model(**inputs)
            loss = loss_of(output.logits.float(), wanted)
            return (loss, output) if return_outputs else loss

    examples = [
        {**row, "targets": torch.as_tensor(t)} for row, t in zip(rows, np.asarray(targets, np.float32), strict=True)
    ]
    steps = -(-len(examples) // recipe.batch_size) * recipe.epochs
    with tempfile.TemporaryDirectory() as scratch:
        trainer = MatchTargets(
            model=model,
            train_dataset=examples,
            data_collator=collate,
            args=_arguments(recipe, seed, str(folder or scratch), steps, keep=folder is not None, progress=progress),
        )
        trainer.remove_callback(PrinterCallback)  # it would print a summary that the return value holds
        start = time.perf_counter()
        outcome = trainer.train(resume_from_checkpoint=last_checkpoint(folder) if folder else None)
        # accelerate leaves a forward bound to this very model, which copies and cuts of it would go on calling
        for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
            vars(model).pop(name, None)
    return {
        "train_seconds": time.perf_counter() - start,
        "train_loss": outcome.training_loss,
        "steps": outcome.global_step,
    }


def _arguments(recipe: Recipe, seed: int, output: str, steps: int, keep: bool, progress: bool) -> TrainingArguments:
    """The recipe in the Trainer's words. keep: checkpoints, one each fifth of the steps."""
    import torch
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir=output,
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        per_device_train_batch_size=recipe.batch_size,
        weight_decay=recipe.weight_decay,
        adam_beta2=0.98,  # the default, 0.999, forgets so slowly that short runs at high rates collapse
        warmup_steps=round(recipe.warmup * steps),
        seed=seed,
        bf16=has_bf16(),
        use_cpu=device().type == "cpu",
        save_strategy="steps" if keep else "no",
        save_steps=max(1, steps // 5),
        save_total_limit=1,
        logging_strategy="no",
        report_to="none",
        remove_unused_columns=False,
        disable_tqdm=quiet() or not progress,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


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
