"""The notebooks: built from their percent scripts, executed with the parameters of a profile.

`notebooks/src/NN_name.py` is the side that is edited; `notebooks/NN_name.ipynb` is what a reader opens.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cift.errors import InputError
from cift.files import write_text

FOLDER = Path(__file__).parent.parent / "notebooks"
PROFILES = ("quick", "laptop", "full")
TIMEOUT = {"quick": 300, "laptop": 1800, "full": 3600}  # seconds a cell may take; a killed kernel can hang papermill


def names() -> list[str]:
    """The notebooks in order, by name. Raises InputError where there is no checkout of the repository."""
    found = sorted(path.stem for path in (FOLDER / "src").glob("[0-9][0-9]_*.py"))
    if not found:
        raise InputError(f"{FOLDER}: no notebooks; run this in a full checkout of the repository")
    return found


def parameters(name: str, profile: str) -> dict[str, Any]:
    """What a profile sets in a notebook's parameters cell; the rest keeps the cell's own values.

    Raises InputError for an unknown notebook or profile, and for a name that the cell lacks.
    """
    import papermill
    import yaml

    if name not in names():
        raise InputError(f"notebook {name!r}: unknown; choose from {', '.join(names())}")
    if profile not in PROFILES:
        raise InputError(f"profile {profile!r}: unknown; choose from {', '.join(PROFILES)}")
    path = FOLDER / "profiles.yaml"
    chosen = (yaml.safe_load(path.read_text(encoding="utf-8")).get(name) or {}).get(profile) or {}
    unknown = set(chosen) - set(papermill.inspect_notebook(str(FOLDER / f"{name}.ipynb")))
    if unknown:
        raise InputError(
            f"{path}: {name}, {profile}: {', '.join(sorted(unknown))} is not in the notebook's parameters cell"
        )
    return chosen


def build(name: str) -> Path:
    """Write the notebook of a percent script, without outputs; cell ids are stable. Returns its path."""
    import jupytext

    notebook = jupytext.read(FOLDER / "src" / f"{name}.py")
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata.pop("jupytext", None)
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"{name[:2]}-{i:03d}"
    path = FOLDER / f"{name}.ipynb"
    write_text(path, jupytext.writes(notebook, fmt="ipynb"))
    return path


def execute(name: str, profile: str, out: Path) -> Path:
    """Execute a notebook from a fresh kernel, in the notebooks folder, into a folder; returns the copy's path.

    Raises papermill's PapermillExecutionError when a cell fails; the copy then ends with the error.
    """
    import papermill

    chosen = parameters(name, profile)
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{name}.ipynb"
    os.environ |= {"CIFT_QUIET": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    papermill.execute_notebook(
        str(FOLDER / f"{name}.ipynb"),
        str(target),
        parameters=chosen,
        cwd=str(FOLDER),
        kernel_name="python3",
        progress_bar=False,
        execution_timeout=TIMEOUT[profile],
    )
    return target


def refresh(name: str) -> None:
    """Build a notebook from its script and execute it in place, as it is committed: laptop profile, no timings."""
    import nbformat

    build(name)
    target = execute(name, "laptop", FOLDER.parent / "build" / "notebooks")
    notebook = nbformat.read(target, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":  # warnings of this machine's installation
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    for part in (notebook, *notebook.cells):
        for key in ("papermill", "execution"):  # paths and times of this machine
            part.metadata.pop(key, None)
    write_text(FOLDER / f"{name}.ipynb", nbformat.writes(notebook) + "\n")


if __name__ == "__main__":
    for each in names():
        refresh(each)
