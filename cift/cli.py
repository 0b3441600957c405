"""The command line: `cift case-study`, `cift notebook`, `cift doctor`. Bad input ends with one line and exit code 2."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cift import __version__
from cift.errors import InputError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0, 1 (doctor found something missing), 2 (bad input), 130 (Ctrl-C)."""
    parser = argparse.ArgumentParser(prog="cift", description="Crowd-Informed Fine-Tuning")
    parser.add_argument("--version", action="version", version=f"cift {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    study = commands.add_parser("case-study", help="run a study and print its table")
    study.add_argument("--study", default="embedded", help="embedded (default), chaosnli or lalor2016")
    study.add_argument("--model", default="minilm", help="minilm (default, embedded), a folder or a hub id")
    study.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N-1 (default 3)")
    study.add_argument("--json", type=Path, metavar="OUT", help="write the record to this file")
    study.add_argument("--figure", type=Path, metavar="STEM", help="write the figure to STEM.png and STEM.svg")
    study.set_defaults(run=_case_study)

    notebook = commands.add_parser("notebook", help="execute notebooks with a profile's parameters")
    notebook.add_argument("names", nargs="*", metavar="NAME", help="e.g. 00_start_here (default: all)")
    notebook.add_argument("--profile", default="laptop", help="quick, laptop (default) or full")
    notebook.add_argument("--out", type=Path, default=Path("build/notebooks"), metavar="FOLDER")
    notebook.set_defaults(run=_notebook)

    doctor = commands.add_parser("doctor", help="print what is here, and what to do about what is missing")
    doctor.set_defaults(run=_doctor)

    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except InputError as error:
        print(f"cift: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a full disk, a folder that cannot be written: the user's to mend, too
        print(f"cift: {error}; free space or choose another place, then run the same command again", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cift: stopped; finished work is kept, the same command goes on from there", file=sys.stderr)
        return 130


def _case_study(options: argparse.Namespace) -> int:
    if options.seeds < 1:
        raise InputError(f"--seeds {options.seeds}: need at least 1")
    from cift import casestudy
    from cift.files import write_text
    from cift.studies import load_study

    _quiet_libraries()
    record = casestudy.run(load_study(options.study), range(options.seeds), options.model)
    print(casestudy.headline(record))
    print(casestudy.summary(record).to_string())
    if options.json:
        write_text(options.json, json.dumps(record, indent=1) + "\n")
        print(f"record    {options.json}")
    if options.figure:
        from cift import plots

        for path in plots.save(plots.study(record).flat[0].figure, options.figure):
            print(f"figure    {path}")
    return 0


def _notebook(options: argparse.Namespace) -> int:
    from cift import notebooks

    for name in options.names or notebooks.names():
        print(f"notebook  {notebooks.execute(name, options.profile, options.out)}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from cift import doctor

    _quiet_libraries()
    text, ok = doctor.report()
    print(text)
    return 0 if ok else 1


def _quiet_libraries() -> None:
    """One progress bar is enough: ours."""
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


if __name__ == "__main__":
    sys.exit(main())
