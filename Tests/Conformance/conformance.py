#!/usr/bin/env python3
"""Peers read what adze writes, and adze reads what they write. Prints a line for each comparison, and with --table
puts them into a Markdown file between two markers. Status 1 when a row fails."""

import argparse
import datetime
import importlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
import tempfile
import warnings
from pathlib import Path

# Before the packages that look at it.
os.environ["TQDM_DISABLE"] = "1"
os.environ["TORCH_LOGS"] = "-all"
warnings.filterwarnings("ignore", category=UserWarning)

import torch  # noqa: E402
import transformers  # noqa: E402

import models  # noqa: E402
from models import Model  # noqa: E402
from report import Report, Subject  # noqa: E402
from tool import Adze  # noqa: E402

PACKAGES = ["torch", "transformers", "tokenizers", "safetensors", "compressed-tensors", "gguf", "llama-cpp-python"]
PACKAGES += ["gptqmodel", "sentencepiece", "mlx", "mlx-lm", "numpy"]
SECTIONS = ["written", "read", "logits", "dialects", "experts", "gptq", "mlx", "companions", "tokens"]
SECTIONS += ["loading", "identity", "llama", "errors", "perplexity"]
BEGIN, END = "<!-- {0}: begin -->", "<!-- {0}: end -->"


def main() -> int:
    options = arguments()
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory(prefix="adze-conformance-") as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        adze = Adze(options.adze.resolve(), work)
        report = Report(work)
        run(report, adze, options)
    print(report.summary())
    if options.rows:
        report.merge(options.rows, SECTIONS)
        print(f"with {options.rows}: {report.summary()}")
    if options.table:
        insert(options.table, "table", heading(adze, report) + report.markdown())
    if options.digest:
        insert(options.digest, "conformance", heading(adze, report) + report.digest())
    failed = report.count("FAIL") + (0 if options.allow_missing else report.count("missing"))
    return 1 if failed else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adze", type=Path, required=True, help="the program to try")
    parser.add_argument("--work", type=Path, help="where files go and stay (default: a temporary folder)")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="a part; may be repeated")
    parser.add_argument("--table", type=Path, help="Markdown file whose table is replaced")
    parser.add_argument("--digest", type=Path, help="Markdown file whose summary of the table is replaced")
    parser.add_argument("--llama-tools", type=Path, help="folder of llama-imatrix, llama-perplexity and llama-quantize")
    parser.add_argument("--windows", type=int, default=10, help="windows of text for the perplexity of a real model")
    parser.add_argument("--golden", action="append", help="of the dialects, only this one; may be repeated")
    parser.add_argument("--rows", type=Path, help="file that keeps rows: those of parts that are not run are taken from it")
    parser.add_argument("--allow-missing", action="store_true", help="what adze does not list is no failure")
    return parser.parse_args()


def run(report: Report, adze: Adze, options: argparse.Namespace):
    acorn, tiny = models.acorn(), models.tiny(adze.work)
    for section in options.only or SECTIONS:
        report.begin(section)
        run_section(section, report, adze, acorn, tiny, options)


def run_section(section: str, report: Report, adze: Adze, acorn: Model, tiny: Model, options: argparse.Namespace):
    # Imported one by one: a part can be run without what the others need.
    module, package, arguments = {
        "written": ("written", None, (acorn, tiny)),
        "read": ("reading", None, (tiny,)),
        "logits": ("logits", None, (acorn, tiny)),
        "dialects": ("dialects", None, (options.golden,)),
        "experts": ("experts", None, (tiny,)),
        "gptq": ("gptq_models", "gptqmodel", (tiny,)),
        "mlx": ("mlx_models", "mlx_lm", (tiny,)),
        "companions": ("companions", None, (tiny,)),
        "tokens": ("tokens", None, (acorn,)),
        "loading": ("loading", None, (tiny,)),
        "identity": ("identity", None, (tiny,)),
        "llama": ("llama_tools", None, (acorn, options.llama_tools)),
        "errors": ("errors", None, (options.llama_tools,)),
        "perplexity": ("perplexity", None, (options.windows,)),
    }[section]
    if package and importlib.util.find_spec(package) is None:
        return report.not_run(Subject(section, "", f"adze -> {package}", ""), f"{package} is not installed")
    importlib.import_module(module).check(report, adze, *arguments)


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


def insert(path: Path, name: str, text: str):
    begin, end = BEGIN.format(name), END.format(name)
    before, _, rest = path.read_text().partition(begin)
    if not rest:
        sys.exit(f"{path}: there is no {begin}")
    after = rest.partition(end)[2]
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}")


if __name__ == "__main__":
    sys.exit(main())
