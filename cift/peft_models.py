"""The strategies that PEFT has, on the parts of a model that `cift.anatomy` finds.

lora     Hu et al. 2022, LoRA: Low-rank adaptation of large language models, ICLR
ia3      Liu et al. 2022, Few-shot parameter-efficient fine-tuning is better and cheaper than in-context learning,
         NeurIPS
prefix   Li & Liang 2021, Prefix-tuning: Optimizing continuous prompts for generation, ACL
prompt   Lester et al. 2021, The power of scale for parameter-efficient prompt tuning, EMNLP
p-tuning Liu et al. 2021, GPT understands, too, arXiv 2103.10385: its virtual tokens may stand anywhere; PEFT's stand
         before the pair, as in prompt, so that a head that reads the first token reads the first virtual one
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cift import anatomy
from cift.errors import InputError

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel

TARGETS = {  # of lora: the matrices of `anatomy.matrices` that it changes
    "queries values": ("queries", "values"),
    "attention": ("queries", "keys", "values", "attention output"),
    "all linear": ("all",),
}
PROMPTS = ("prefix", "prompt", "p-tuning")


def adapt(model: PreTrainedModel, strategy: str, options: Mapping[str, Any]) -> PeftModel:
    """PEFT's model around this one: lora, ia3, prefix, prompt or p-tuning, with the head trained and saved too.

    Raises InputError where the backbone cannot take it, also where PEFT would not notice.
    """
    from peft import get_peft_model

    config: Any = _prompt(model, strategy, options) if strategy in PROMPTS else _matrices(model, strategy, options)
    # PEFT compares ends of names; with what it puts before them, each of these is the end of one only
    config.modules_to_save = [f"model.{name}" for name in anatomy.head(model)]
    adapted = get_peft_model(model, config)
    if strategy in PROMPTS:
        _try(adapted)
    return adapted


def merge(model: PeftModel) -> PreTrainedModel:
    """A plain model, for use, that computes what a lora or ia3 model does: a copy, with the changes in its weights.

    Raises InputError for other models, whose changes are not changes of weights.
    """
    from peft import PeftModel
    from peft.utils import ModulesToSaveWrapper

    if not isinstance(model, PeftModel) or model.active_peft_config.is_prompt_learning:
        raise InputError(f"{type(model).__name__}: only lora and ia3 can be merged; use the model as it is")
    twin = copy.deepcopy(model)
    base: Any = twin.get_base_model()
    for name, part in list(base.named_modules()):
        if isinstance(part, ModulesToSaveWrapper):  # PEFT's ia3 can unwrap only those that have a weight themselves
            base.set_submodule(name, part.modules_to_save[part.active_adapters[0]])
    return twin.merge_and_unload(safe_merge=True)


def _matrices(model: PreTrainedModel, strategy: str, options: Mapping[str, Any]) -> PeftConfig:
    from peft import IA3Config, LoraConfig

    found = anatomy.matrices(model)
    kinds = TARGETS[options["targets"]] if strategy == "lora" else ("keys", "values", "feedforward output")
    targets = sorted({name for kind in kinds for name in found[kind]})
    if not all(found[kind] for kind in kinds):
        raise InputError(f"{anatomy.kind(model)} keeps its attention in no linear modules; take pfeiffer or bitfit")
    transposed = not hasattr(model.get_submodule(targets[0]), "out_features")  # GPT-2's Conv1D
    shared: dict[str, Any] = {"task_type": "SEQ_CLS", "target_modules": targets, "fan_in_fan_out": transposed}
    if strategy == "ia3":
        return IA3Config(**shared, feedforward_modules=found["feedforward output"])
    return LoraConfig(**shared, r=options["rank"], lora_alpha=options["alpha"], lora_dropout=options["dropout"])


def _prompt(model: PreTrainedModel, strategy: str, options: Mapping[str, Any]) -> PeftConfig:
    from peft import PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig

    config = model.config.get_text_config()
    shared: dict[str, Any] = {
        "task_type": "SEQ_CLS",
        "num_virtual_tokens": options["tokens"],
        "num_layers": len(anatomy.layers(model)),
        "num_attention_heads": config.num_attention_heads,
    }
    if strategy == "prefix":
        if "past_key_values" not in inspect.signature(model.base_model.forward).parameters:
            raise InputError(f"{anatomy.kind(model)} takes no keys and values from outside; take prompt or lora")
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return PrefixTuningConfig(**shared | {"num_attention_heads": heads, "token_dim": heads * width})
    shared["token_dim"] = model.get_input_embeddings().embedding_dim
    if strategy == "prompt":
        return PromptTuningConfig(**shared)
    return PromptEncoderConfig(**shared, encoder_hidden_size=options["size"])


def _try(model: PeftModel) -> None:
    """Raise InputError unless all that is trainable reaches the logits, and padding does not.

    PEFT passes over what a backbone or head does not take in the form that it gives: GPT-2's and Llama's heads look for
    the last token among ids, and find padding where they are given embeddings.
    """
    import torch

    base: Any = model.get_base_model()
    batch = anatomy.example(base)
    was, model = model.training, model.eval()
    try:
        with torch.enable_grad():
            logits = model(**batch).logits
            alone = model(**{name: value[:1, :6] for name, value in batch.items()}).logits
            named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
            found = torch.autograd.grad(logits.sum(), [value for _, value in named], allow_unused=True)
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        raise InputError(f"{anatomy.kind(base)} does not run with it ({error}); take lora or pfeiffer") from error
    finally:
        model.train(was)
    unused = [name for (name, _), gradient in zip(named, found, strict=True) if gradient is None]
    if unused:
        raise InputError(f"{anatomy.kind(base)} does not use {unused[0]}; take lora or pfeiffer")
    if not torch.allclose(logits[:1], alone, atol=1e-4):
        raise InputError(f"the head of {anatomy.kind(base)} would read padding; take prefix, lora or pfeiffer")
