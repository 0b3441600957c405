"""What this installation has: versions, device, threads, weights, data; and what to do about what is missing."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

from cift import __version__

PACKAGES = (
    "torch", "transformers", "datasets", "accelerate", "peft", "optuna", "numpy", "scipy", "pandas", "scikit-learn",
    "py-irt", "crowd-kit", "krippendorff", "cleanlab", "datasketch", "ftfy", "pooch", "matplotlib", "seaborn",
    "papermill", "jupytext", "jupyterlab", "nbval",
)  # fmt: skip


def versions() -> dict[str, str | None]:
    """Installed version of each package that `cift` works with, None where it is absent."""
    found: dict[str, str | None] = {"cift": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def machine() -> dict[str, object]:
    """Device, processor, threads and precision that a training run would use."""
    import torch

    from cift.finetuning import device, has_bf16

    where = device()
    return {
        "device": where.type,
        "name": torch.cuda.get_device_name() if where.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "bf16": has_bf16(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def report() -> tuple[str, bool]:
    """A readable report, and whether everything that `make case-study` needs is there."""
    from cift.errors import InputError
    from cift.fetch import REGISTRY, available, cache_dir
    from cift.models import MINILM_HUB_ID, embedded_minilm, resolve

    lines, ok = ["Versions"], True
    for name, found in versions().items():
        if found:
            lines.append(f"  {name:13} {found}")
        elif name == "py-irt" and sys.version_info >= (3, 12):
            lines.append("  py-irt        absent: it needs Python 3.11; method='mml', the default, does without it")
        else:
            lines.append(f"  {name:13} MISSING: run `make install`")
            ok = False
    lines.append("Machine")
    lines += [f"  {name:13} {value}" for name, value in machine().items()]
    lines.append("Embedded weights")
    if embedded_minilm() is None:
        lines.append(f"  minilm        MISSING: run `make install`; until then {MINILM_HUB_ID} is taken from the hub")
        ok = False
    else:
        try:
            lines.append(f"  minilm        hash verified, {resolve('minilm')}")
        except InputError as error:
            lines.append(f"  minilm        DAMAGED: {error}")
            ok = False
    lines.append("Embedded data")
    for source in ("scenes", "probes"):
        try:
            lines.append(f"  {source:13} {_count(source)} pairs")
        except InputError as error:
            lines.append(f"  {source:13} MISSING: {error}")
            ok = False
    lines.append("Public data (downloaded when a study asks for it)")
    lines.append(f"  cache         {cache_dir()}")
    lines.append(f"  mirror        {os.environ.get('CIFT_MIRROR') or 'none; CIFT_MIRROR may name one'}")
    for name in REGISTRY:
        lines.append(f"  {'found  ' if available(name) else 'not yet'}       {name}")
    lines.append("All that `make case-study` needs is here." if ok else "Something is missing: see above.")
    return "\n".join(lines), ok


def _count(source: str) -> int:
    from cift.corpora import load_corpus

    splits = ("train", "validation", "test") if source == "scenes" else (None,)
    return sum(len(load_corpus(source, split)) for split in splits)
