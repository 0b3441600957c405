"""`transformers.Trainer` as a recipe asks for it. This imports torch: `finetuning.train` does so when it is called."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_utils import SaveStrategy

from cift import finetuning, optimization, strategies
from cift.errors import Diverged, InputError
from cift.files import one_message, write_text
from cift.finetuning import LengthBuckets, Row
from cift.losses import LOSSES
from cift.recipe import Recipe

if TYPE_CHECKING:
    from peft import PeftModel

NAMES = {  # the Trainer's words, and those of the history
    "epoch": "epoch",
    "learning_rate": "learning_rate",
    "loss": "loss",
    "grad_norm": "gradient_norm",
    "eval_loss": "validation_loss",
    "eval_accuracy": "validation_accuracy",
}
BEST, ABOUT = "best.safetensors", "run.json"
POINTS = 200  # of a history


def check(
    model: PreTrainedModel | PeftModel,
    rows: Sequence[Row],
    targets: np.ndarray,
    recipe: Recipe,
    validation: tuple[Sequence[Row], np.ndarray] | None = None,
) -> None:
    """Raise InputError for all that can be known not to work before training."""
    parts = [("training", rows, targets), ("validation", *(validation or (rows, targets)))]
    for name, items, wanted in parts:
        if not len(items) or len(items) != len(wanted):
            raise InputError(
                f"{name}: {len(items)} items with {len(wanted)} targets; need as many of each, at least one"
            )
        labels = model.config.num_labels
        if wanted.shape != (len(items), labels) or (wanted < 0).any() or not np.allclose(wanted.sum(1), 1, atol=1e-3):
            raise InputError(f"{name}: each target must be {labels} probabilities, one for each label, of the sum 1")
    problems = []
    if validation is None and recipe.patience is not None:
        problems.append("patience needs validation data")
    if validation is None and recipe.schedule == "plateau":
        problems.append("schedule 'plateau' needs validation data")
    if recipe.gradient_checkpointing and not getattr(model, "supports_gradient_checkpointing", False):
        problems.append(f"gradient_checkpointing: a {model.config.model_type} model does not have it")
    if recipe.gradient_checkpointing and recipe.strategy == "prefix":  # it would train something else, silently
        problems.append("gradient_checkpointing does not go with strategy 'prefix'")
    longest = max(len(row["attention_mask"]) for _, items, _ in parts for row in items)
    if (limit := strategies.longest(model)) is not None and longest > limit:
        problems.append(f"max_length: a pair has {longest} tokens, the model takes {limit}")
    compilers = [os.environ.get("CXX", "c++"), "g++", "clang++", "cl"]
    if recipe.compile and not any(map(shutil.which, compilers)):
        problems.append("compile needs a C++ compiler, and there is none; install g++ or clang++")
    if problems:
        raise one_message("recipe", problems, "Give what is needed, or leave the setting out")


class RecipeTrainer(Trainer):
    """A Trainer of probabilities as targets, whose batches, optimizer, schedule and stopping are the recipe's.

    examples: rows with `labels`, target probabilities, and `weights`, the weight of each item, where items differ.
    validation: rows and target probabilities that `evaluate` looks at after each epoch.
    """

    model: Any
    optimizer: Any
    lr_scheduler: Any
    train_dataset: Any

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        examples: Sequence[Row],
        recipe: Recipe,
        seed: int,
        folder: Path,
        keep: bool,
        bar: bool,
        validation: tuple[Sequence[Row], np.ndarray] | None = None,
        after_evaluation: Callable[[dict[str, float]], None] | None = None,
        log_dir: Path | None = None,
    ) -> None:
        self.recipe, self.after_evaluation = recipe, after_evaluation
        self.validation: Any = validation
        self.best: dict[str, Tensor] = {}
        # what gradual unfreezing has frozen will learn later
        frozen = (name for name, weights in model.named_parameters() if not weights.requires_grad)
        self.frozen = set() if recipe.strategy == "gradual" else set(frozen)
        args = _arguments(recipe, seed, folder, keep)
        if recipe.strategy == "gradual" and args.world_size > 1:  # only what learns at the start would be kept the same
            raise InputError("recipe: gradual unfreezing runs in one process; start it without accelerate launch")
        lengths = [len(example["attention_mask"]) if recipe.group_by_length else 0 for example in examples]
        self.buckets = LengthBuckets(lengths, recipe.batch_size * recipe.accumulation * args.world_size, seed)
        first = args.process_index == 0
        tf32 = torch.get_float32_matmul_precision()
        super().__init__(
            model=model,
            args=args,
            train_dataset=examples,
            data_collator=partial(finetuning.collate, pad_id=finetuning.pad_id(model)),
            callbacks=[
                _Steps(recipe, self.buckets, validation is not None, bar and first),
                *_tensorboard(log_dir if first else None),
            ],
        )
        if recipe.compile:  # accelerate turns TF32 on with it, for good, on a GPU where fp32 was asked for
            torch.set_float32_matmul_precision(tf32)
        self.remove_callback(PrinterCallback)  # it would print what the history holds
        if self.is_fsdp_enabled and (recipe.patience is not None or recipe.l1):
            raise InputError("recipe: patience and l1 need whole weights, and FSDP shards them; leave them out")
        self.model_accepts_loss_kwargs = True  # `compute_loss` wants to know how large the whole step's batch is

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.buckets

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.optimizer = optimization.optimizer(model or self.model, self.recipe)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        if self.lr_scheduler is None:
            optimizer = optimizer or self.optimizer
            optimizer = getattr(optimizer, "optimizer", optimizer)  # accelerate's wrapper takes no hooks
            self.lr_scheduler = optimization.schedule(optimizer, self.recipe, num_training_steps)
        return self.lr_scheduler

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # the Trainer's estimate walks through all modules, for each batch, to fill a field of its log

    def compute_loss(
        self, model: nn.Module, inputs: Row, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Loss of a batch, times its share of the step's items: steps are the same however a batch is cut up."""
        targets, weights = inputs.pop("labels"), inputs.pop("weights", None)
        output = model(**inputs)
        loss = LOSSES[self.recipe.loss](output.logits.float(), targets, weights if weights is None else weights[:, 0])
        if self.recipe.l1:
            loss = loss + optimization.l1(self.model, self.recipe)
        # the Trainer counts numbers in `labels`; gradients are averaged over processes
        loss = loss * (targets.numel() / num_items_in_batch * self.accelerator.num_processes)
        return (loss, output) if return_outputs else loss

    def training_step(self, model: nn.Module, inputs: Row, num_items_in_batch: Any = None) -> Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not loss.isfinite():
            raise self._diverged(f"the loss is {loss.item()} in step {self.state.global_step + 1}")
        return loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Loss and accuracy on the validation data: without dropout, smoothing, class weights and penalties."""
        rows, targets = self.validation
        logits = finetuning.logits(self.model, rows, targets.shape[1], self.args.bf16)
        loss = LOSSES[self.recipe.loss](torch.from_numpy(logits), torch.from_numpy(targets)).item()
        if not np.isfinite(loss):
            raise self._diverged(f"the validation loss is {loss} after step {self.state.global_step}")
        metrics = {"eval_loss": loss, "eval_accuracy": float((logits.argmax(1) == targets.argmax(1)).mean())}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        if self.recipe.patience is not None:
            if self._evaluations_since_best() == 0:
                self.best = self._learnt()
            self.control.should_training_stop |= self._lost_patience()
        if self.after_evaluation:
            self.after_evaluation(self.history()[-1])
        return metrics

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        return False  # `evaluate` keeps the best weights; the Trainer would delete the latest checkpoint in the end

    def save_model(self, output_dir: Any = None, _internal_call: bool = False) -> None:
        """What the run changes goes into a checkpoint, by name: the same for all models, and small if little learns."""
        self.check_weights()
        if self.args.should_save:
            write_text(f"{output_dir}/{ABOUT}", json.dumps(self.about))
        if self.is_fsdp_enabled:
            super().save_model(output_dir, _internal_call)
        elif self.args.should_save:
            save_file(self._learnt(), f"{output_dir}/model.safetensors")
            if self.best:
                save_file(self.best, f"{output_dir}/{BEST}")

    def run(self, checkpoint: str | None) -> None:
        """Train, from a checkpoint on where there is one; where patience was asked for, end with the best weights."""
        if checkpoint:
            self._check_resumable(checkpoint)
            self.state = TrainerState.load_from_json(f"{checkpoint}/trainer_state.json")
            if os.path.exists(f"{checkpoint}/{BEST}"):
                self.best = load_file(f"{checkpoint}/{BEST}")
        if not self._lost_patience():
            self.train(resume_from_checkpoint=checkpoint)
            self.check_weights()
        if self.best:
            self.model.load_state_dict(self.best, strict=False)

    def close(self) -> None:
        """What a run's end owes, also one by an error: all layers of gradual learn, bar and curves are closed."""
        strategies.unfreeze(self.model, self.recipe, 1)
        self.callback_handler.on_train_end(self.args, self.state, self.control)

    def history(self) -> list[dict[str, Any]]:
        """A dict each time that something was logged: step, and what there is of `NAMES`."""
        by_step: dict[int, dict[str, Any]] = {}
        entries: list[dict[str, Any]] = self.state.log_history
        for entry in entries:
            if "loss" in entry or "eval_loss" in entry:
                row = by_step.setdefault(entry["step"], {"step": entry["step"]})
                row.update({NAMES[name]: value for name, value in entry.items() if name in NAMES})
        return list(by_step.values())

    def _lost_patience(self) -> bool:
        return self.recipe.patience is not None and self._evaluations_since_best() >= self.recipe.patience

    def _evaluations_since_best(self) -> int:
        """How many evaluations followed the best one; of equal ones the first is best. All of it is in the log."""
        sign = 1 if self.recipe.metric == "loss" else -1
        name = f"eval_{self.recipe.metric}"
        values = [sign * entry[name] for entry in self.state.log_history if name in entry]
        return len(values) - 1 - int(np.argmin(values)) if values else 0

    @cached_property
    def about(self) -> dict[str, Any]:
        """What decides the run, as far as it can be told from outside the model."""
        items = [(len(item["attention_mask"]), *item["labels"].tolist()) for item in self.train_dataset]
        data = hashlib.sha256(json.dumps(items).encode()).hexdigest()
        about = {"seed": self.args.seed, "data": data} | asdict(self.recipe)
        return json.loads(json.dumps(about, default=float))  # of tuples lists, as in the file

    def _check_resumable(self, checkpoint: str) -> None:
        """Raise InputError for a checkpoint of another run: what came of it would be neither of the two."""
        file = Path(checkpoint, ABOUT)
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if other := [name for name, value in self.about.items() if found.get(name, ...) != value]:
            raise InputError(f"{checkpoint}: is of a run with another {', '.join(other)}; give another folder")

    def check_weights(self) -> None:
        if not all(weights.isfinite().all() for weights in self.model.parameters() if weights.requires_grad):
            raise self._diverged(f"weights are not finite after step {self.state.global_step}")

    def _learnt(self) -> dict[str, Tensor]:
        """Copy of the state that training changes: all but the frozen parameters."""
        return {
            name: value.to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, value in self.model.state_dict().items()
            if name not in self.frozen
        }

    def _diverged(self, what: str) -> Diverged:
        rate = self.optimizer.param_groups[0]["lr"]
        clip = "" if self.recipe.clip else ", clip=1.0"
        return Diverged(
            f"training diverged: {what} of {self.state.max_steps}, at a learning rate of {rate:.2g}; "
            f"take a lower learning_rate or a longer warmup{clip}"
        )


class _Steps(TrainerCallback):
    """What happens at each step besides the step: thawing, the order of an epoch, what is due, the progress bar."""

    def __init__(self, recipe: Recipe, buckets: LengthBuckets, validated: bool, bar: bool) -> None:
        self.recipe, self.buckets, self.validated = recipe, buckets, validated
        self.bar = tqdm(desc="training", unit="step", disable=not bar)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.reset(state.max_steps)
        self.bar.update(state.global_step)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.buckets.set_epoch(int(state.epoch or 0))  # the dataloader of a resumed run in two processes does not

    def on_step_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        strategies.unfreeze(model, self.recipe, state.global_step / state.max_steps)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        ends_epoch = state.global_step % (state.max_steps // state.num_train_epochs) == 0
        control.should_evaluate = self.validated and ends_epoch
        # a resumed run counts the loss from its checkpoint on, so what was before it must be in the log
        control.should_log |= control.should_evaluate or control.should_save or control.should_training_stop
        self.bar.update()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        shown = {NAMES[name]: f"{value:.3g}" for name, value in (logs or {}).items() if name in ("loss", "eval_loss")}
        self.bar.set_postfix(shown)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()


def _tensorboard(log_dir: Path | None) -> list[TrainerCallback]:
    if log_dir is None:
        return []
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    return [TensorBoardCallback(SummaryWriter(str(log_dir)))]


def _arguments(recipe: Recipe, seed: int, folder: Path, keep: bool) -> TrainingArguments:
    """The recipe in the Trainer's words. keep: checkpoints, one each fifth of the steps."""
    args = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.accumulation,
        max_grad_norm=recipe.clip or 0.0,
        seed=seed,
        bf16=finetuning.uses_bf16(recipe.precision),
        activation_checkpointing=recipe.gradient_checkpointing,
        torch_compile=recipe.compile,
        use_cpu=finetuning.device().type == "cpu",
        metric_for_best_model=recipe.metric,  # what the Trainer steps a plateau schedule with
        save_strategy=SaveStrategy.STEPS if keep else SaveStrategy.NO,
        save_steps=0.2,
        save_total_limit=1,
        logging_steps=1 / POINTS,
        logging_nan_inf_filter=False,  # `training_step` stops at such a loss
        report_to="none",
        remove_unused_columns=False,
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    args._n_gpu = min(1, args.n_gpu)  # a process takes one GPU: DataParallel would multiply the batch without a word
    return args


@contextmanager
def dropout(model: nn.Module, share: float | None) -> Iterator[None]:
    """Set the share of every dropout that the model has, for a while; None leaves it as it is.

    That is every number in a module or in the config whose name says dropout, and the `p` of dropout modules.
    """
    before = [] if share is None else [(owner, name, getattr(owner, name)) for owner, name in _dropouts(model)]
    for owner, name, _ in before:
        setattr(owner, name, share)
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _dropouts(model: nn.Module) -> Iterator[tuple[Any, str]]:
    for owner in (*model.modules(), model.config):
        is_dropout = "dropout" in type(owner).__name__.lower()
        for name, value in vars(owner).items():
            told = "dropout" in name or name.endswith("_pdrop") or (is_dropout and name == "p")
            if told and isinstance(value, int | float) and not isinstance(value, bool):
                yield owner, name
