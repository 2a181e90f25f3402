#!/usr/bin/env python3
"""Peers read what adze writes, and adze reads what they write. Prints a line for each comparison, and with --table
puts them into a Markdown file between two markers. Status 1 when a row fails."""

import argparse
import datetime
import importlib.metadata
import os
import platform
import sys
import tempfile
import warnings
from pathlib import Path

# Before the packages that look at it.
os.environ["TQDM_DISABLE"] = "1"
warnings.filterwarnings("ignore", category=UserWarning)

import torch  # noqa: E402
import transformers  # noqa: E402

import models  # noqa: E402
from report import Report  # noqa: E402
from tool import Adze  # noqa: E402

PACKAGES = ["torch", "transformers", "tokenizers", "safetensors", "compressed-tensors", "gguf", "llama-cpp-python"]
PACKAGES += ["sentencepiece", "mlx", "numpy"]
SECTIONS = ["written", "read", "logits", "tokens", "identity"]
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def main() -> int:
    options = arguments()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory(prefix="adze-conformance-") as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        adze = Adze(options.adze.resolve(), work)
        report = Report(work)
        run(report, adze, options.only or SECTIONS)
    print(report.summary())
    if options.table:
        insert(options.table, heading(adze, report) + report.markdown())
    failed = report.count("FAIL") + (0 if options.allow_missing else report.count("missing"))
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adze", type=Path, required=True, help="the program to try")
    parser.add_argument("--work", type=Path, help="where files go and stay (default: a temporary folder)")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="a part; may be repeated")
    parser.add_argument("--table", type=Path, help="Markdown file whose table is replaced")
    parser.add_argument("--allow-missing", action="store_true", help="what adze does not list is no failure")
    return parser.parse_args()


def run(report: Report, adze: Adze, sections: list[str]):
    # Imported one by one: a part can be run without what the others need.
    acorn, tiny = models.acorn(), models.tiny(adze.work)
    if "written" in sections:
        import written

        written.check(report, adze, acorn, tiny)
    if "read" in sections:
        import reading

        reading.check(report, adze, tiny)
    if "logits" in sections:
        import logits

        logits.check(report, adze, acorn, tiny)
    if "tokens" in sections:
        import tokens

        tokens.check(report, adze, acorn)
    if "identity" in sections:
        import identity

        identity.check(report, adze, tiny)


def heading(adze: Adze, report: Report) -> str:
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            pass
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return (
        f"Made on {date} with adze {adze.version()}, Python {platform.python_version()}, {', '.join(versions)}.\n"
        f"{report.summary()}.\n\n"
    )


def insert(path: Path, text: str):
    before, _, rest = path.read_text().partition(BEGIN)
    if not rest:
        sys.exit(f"{path}: there is no {BEGIN}")
    after = rest.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
