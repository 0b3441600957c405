"""A transformer with an external memory that the premise writes and the hypothesis reads.

The backbone encodes the pair jointly, as it was made to. A memory of slots, whose initial content is learnt, is then
written token by token over the premise's states, and every token of the hypothesis reads it by attention. What is read
is added to the summary that the bare backbone would classify, so that the difference to `memory_slots=0` is what the
memory adds.

With d the backbone's hidden size, s the mean of all its states, x_1 ... x_T the states of the premise's tokens (token
type 0) and y_1 ... y_L those of the hypothesis's (type 1), both layer-normalised, so that their scale is every
backbone's, and M_0 the learnt initial content (slots x d). (The mean serves encoders and decoders, where the first
token has seen nothing; on MiniLM it also learnt faster than the first token's state.)

    address     w_t = softmax(M_{t-1} A x_t / sqrt d)                           over the slots
    gate        g_t = sigmoid(G x_t + b)                                        in (0, 1)^d
    candidate   c_t = tanh(C x_t + b')
    write       M_t[i] = M_{t-1}[i] * (1 - w_t[i] g_t) + w_t[i] g_t * c_t       for each slot i
    read        r_j = M_T' softmax(M_T Q y_j / sqrt d),   r = mean_j r_j
    classify    logits = O dropout(tanh(D s + b'' + R r)) + b'''                memory_slots=0: without R r

Addressing by content and the erasing and adding write are those of the Neural Turing Machine (Graves, Wayne & Danihelka
2014, arXiv 1410.5401, equations 3 to 6), with a scaled dot product for the cosine and the erase vector used as the
input gate too, so that a slot moves from what it held towards the candidate and stays bounded; writing over the
premise to read from the hypothesis follows Munkhdalai & Yu (2017, Neural Semantic Encoders, arXiv 1607.04315).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    initialization,
)
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import SequenceClassifierOutput

from cift.errors import InputError

UNEVEN = ("funnel", "reformer")  # the one pools tokens and the other's states are twice as wide
SIZES = ("hidden_size", "dim", "d_model", "n_embd")  # what configs call the width of the last layer's states


class MannConfig(PreTrainedConfig):
    """The backbone's config (`text_config`, where transformers and PEFT look for it) and the memory's size."""

    model_type = "mann"
    sub_configs_defaults = {"text_config": SubConfigSpec(config_class=AutoConfig, model_type="bert")}

    text_config: dict | PreTrainedConfig | None = None
    memory_slots: int = 16
    classifier_dropout: float = 0.1

    def __post_init__(self, **kwargs) -> None:
        super().__post_init__(**kwargs)
        if self.memory_slots < 0:
            raise InputError(f"mann: memory_slots is {self.memory_slots}; give 0 (no memory) or more")
        backbone = self.get_text_config()
        if backbone.is_encoder_decoder or backbone.model_type in UNEVEN:
            raise InputError(
                f"mann: {backbone.model_type} does not give one state of its width a token; give another backbone"
            )


def hidden_size(config: PreTrainedConfig) -> int:
    """The width of a backbone's states. Raises InputError where its config does not say."""
    for name in SIZES:
        if isinstance(size := getattr(config, name, None), int):
            return size
    raise InputError(f"mann: the config of {config.model_type} has none of {', '.join(SIZES)}; give another backbone")


class Memory(nn.Module):
    """Slots written over one sequence and read by another: the equations above."""

    def __init__(self, size: int, slots: int) -> None:
        super().__init__()
        self.initial = nn.Parameter(torch.empty(slots, size))
        self.norm = nn.LayerNorm(size)
        self.address = nn.Linear(size, size, bias=False)
        self.gate = nn.Linear(size, size)
        self.candidate = nn.Linear(size, size)
        self.seek = nn.Linear(size, size, bias=False)
        self.recall = nn.Linear(size, size, bias=False)

    @torch.compiler.disable  # unrolled, the loop would be compiled anew for every length
    def write(self, states: Tensor, mask: Tensor) -> Tensor:
        """The memory (batch, slots, d) after the states (batch, tokens, d) where the mask is 1, in their order."""
        memory = self.initial.expand(len(states), -1, -1)
        keys = (self.address(states) / states.shape[-1] ** 0.5).to(memory.dtype)
        gates = self.gate(states).sigmoid() * mask[:, :, None]  # 0: the slots stay as they are
        candidates = self.candidate(states).tanh().to(memory.dtype)
        for t in mask.any(0).nonzero().flatten().tolist():
            address = (memory @ keys[:, t, :, None]).softmax(1)  # (batch, slots, 1)
            memory = memory.lerp(candidates[:, t, None], (address * gates[:, t, None]).to(memory.dtype))
        return memory

    def read(self, memory: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """What the states (batch, tokens, d) where the mask is 1 find in the memory, on average: (batch, d)."""
        found = nn.functional.scaled_dot_product_attention(self.seek(states).to(memory.dtype), memory, memory)
        return mean(found, mask)

    def forward(self, states: Tensor, premise: Tensor, hypothesis: Tensor) -> Tensor:
        states = self.norm(states)
        return self.recall(self.read(self.write(states, premise), states, hypothesis))


class Classifier(nn.Module):
    """Logits from the pair's states: everything that is not the backbone, so that PEFT trains and saves it."""

    def __init__(self, config: MannConfig) -> None:
        super().__init__()
        size, labels = hidden_size(config.get_text_config()), config.num_labels or 1
        self.dense = nn.Linear(size, size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.output = nn.Linear(size, labels)
        self.memory = Memory(size, config.memory_slots) if config.memory_slots else None  # last: the head's seed stays

    def forward(self, states: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        summary = self.dense(mean(states, mask))
        if self.memory is not None:
            summary = summary + self.memory(states, mask * (types == 0), mask * (types == 1))
        return self.output(self.dropout(summary.tanh()))


def mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean (batch, d) of the states (batch, tokens, d) where the mask is 1; 0 where it is nowhere."""
    summed = (states.float() * mask[:, :, None]).sum(1)
    return (summed / mask.sum(1, keepdim=True).clamp(min=1)).to(states.dtype)


class MannForSequenceClassification(PreTrainedModel):
    """Takes what its backbone takes, and `token_type_ids` that tell premise (0) from hypothesis (1)."""

    config_class = MannConfig
    base_model_prefix = "backbone"
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False  # the Trainer takes **kwargs for a loss that sums over accumulated batches
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: MannConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels  # PEFT asks the model
        self.backbone = without_pooler(AutoModel.from_config(config.text_config))
        self.classifier = Classifier(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Memory):
            initialization.normal_(module.initial)
            for linear in (module.address, module.gate, module.candidate, module.seek):
                initialization.normal_(linear.weight, std=linear.in_features**-0.5)  # keeps scale 1: addresses differ

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: object = None,
        labels: Tensor | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput:
        """Logits (batch, labels), and the loss where labels are given. Raises InputError without token_type_ids."""
        if token_type_ids is None and self.config.memory_slots:
            raise InputError("mann: token_type_ids are missing; encode pairs with the tokenizer that comes with it")
        if getattr(self.config.text_config, "type_vocab_size", 0) > 1:
            kwargs["token_type_ids"] = token_type_ids
        if past_key_values is not None:
            kwargs["past_key_values"] = past_key_values
        kwargs.pop("return_dict", None)
        found = self.backbone(
            input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, return_dict=True, **kwargs
        )
        states = found.last_hidden_state
        if attention_mask is None:
            attention_mask = torch.ones(states.shape[:2], device=states.device)
        mask = attention_mask[:, -states.shape[1] :].float()  # prefix tuning's mask is longer than the states
        logits = self.classifier(states, mask, token_type_ids)
        loss = None if labels is None else self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=found.get("hidden_states"), attentions=found.get("attentions")
        )


def without_pooler(backbone: PreTrainedModel) -> PreTrainedModel:
    """The backbone without the layer over its first state that BERT and its kin can add, which nothing here uses."""
    if "add_pooling_layer" in inspect.signature(type(backbone)).parameters:
        backbone.pooler = None  # type: ignore[assignment]
    return backbone


def build(backbone: PreTrainedModel, labels: Sequence[str], memory_slots: int) -> MannForSequenceClassification:
    """A pretrained backbone with a new memory and head, drawn from torch's generator.

    Raises InputError where the backbone cannot have a memory.
    """
    config = MannConfig(
        text_config=backbone.config,
        memory_slots=memory_slots,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    weights = {f"backbone.{name}": value for name, value in without_pooler(backbone).state_dict().items()}
    return MannForSequenceClassification.from_pretrained(None, config=config, state_dict=weights)


AutoConfig.register(MannConfig.model_type, MannConfig, exist_ok=True)
AutoModelForSequenceClassification.register(MannConfig, MannForSequenceClassification, exist_ok=True)
