"""Runs our training step and torch's in turn, round after round, and prints the ratio of medians.

usage: compare.py [--size 15m 110m] [--arms 1 2] [--rounds N] [--steps N] [--threads N]

Two comparisons, each of like with like: steps that score the reference as well (`with reference`: ours when it
sees pairs for the first time, torch at every step), and steps that find it cached (`cached`: ours in every
later epoch). The torch side runs under $DPOP_PYTHON (default: this interpreter) and is left out, loudly,
where torch or peft is missing. Both sides get the same number of threads and run alone, one after the
other, so a machine that slows down slows both. The ratio is torch's seconds per step over ours: above 1,
ours is faster.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = os.environ.get("DPOP_PYTHON", sys.executable)

# Name of the comparison, torch's option, our key.
KINDS = [("with reference", "each-step", "first_visit_s"), ("cached", "cached", "cached_s")]


def build_bench() -> str:
    """The path of the bench program, built with the profile that `./dev run` and `./dev test` use."""
    command = ["cargo", "bench", "--profile", "dev", "--bench", "step", "--no-run", "--message-format", "json"]
    output = subprocess.run(command, check=False, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if output.returncode != 0:
        sys.exit("the bench did not build")
    for line in output.stdout.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "step":
            return message["executable"]
    sys.exit("cargo names no program for the bench `step`")


def torch_is_there() -> bool:
    check = [PYTHON, "-c", "import torch, peft, transformers"]
    result = subprocess.run(check, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return result.returncode == 0


def measure(command: list[str], threads: int) -> dict:
    names = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"]
    environment = os.environ | {name: str(threads) for name in names}
    output = subprocess.run(command, check=False, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    lines = [line for line in output.stdout.splitlines() if line.startswith("{")]
    if output.returncode != 0 or not lines:
        sys.exit(f"{' '.join(command)} failed with exit code {output.returncode}")
    print(lines[-1], flush=True)
    return json.loads(lines[-1])


def rounds_of(ours: str, with_torch: bool, shape: list[str], options) -> tuple[list[dict], dict[str, list[dict]]]:
    """All results of one shape: ours, and torch's by comparison."""
    mine: list[dict] = []
    theirs: dict[str, list[dict]] = {name: [] for name, _, _ in KINDS}
    for _ in range(options.rounds):
        mine.append(measure([ours, *shape], options.threads))
        for name, reference, _ in KINDS if with_torch else []:
            peer = [PYTHON, "benches/torch/lora_dpo.py", *shape, "--threads", str(options.threads)]
            theirs[name].append(measure([*peer, "--reference", reference], options.threads))
    return mine, theirs


def row(size: str, arms: str, kind: tuple[str, str, str], mine: list[dict], theirs: list[dict]) -> str:
    name, _, key = kind
    tokens = mine[0]["tokens_per_step"]
    our_s = statistics.median(run[key] for run in mine)
    our_mb = max(run["peak_rss_mb"] for run in mine)
    line = f"{size:>6} {arms:>4}  {name:<14} {our_s:9.3f} {tokens / our_s:9.0f} {our_mb:8.0f}"
    if not theirs:
        return line
    torch_s = statistics.median(run["median_s"] for run in theirs)
    torch_mb = max(run["peak_rss_mb"] for run in theirs)
    return line + f" {torch_s:9.3f} {tokens / torch_s:11.0f} {torch_mb:8.0f} {torch_s / our_s:6.2f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", nargs="+", default=["15m"], choices=["15m", "110m"])
    parser.add_argument("--arms", nargs="+", default=["1", "2"], choices=["1", "2"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()

    ours = build_bench()
    with_torch = torch_is_there()
    if not with_torch:
        print(f"SKIPPED: {PYTHON} has no torch, peft and transformers; set DPOP_PYTHON", file=sys.stderr)
    table = []
    for size in options.size:
        for arms in options.arms:
            shape = ["--size", size, "--steps", str(options.steps), "--arms", arms]
            mine, theirs = rounds_of(ours, with_torch, shape, options)
            table += [row(size, arms, kind, mine, theirs[kind[0]]) for kind in KINDS]

    print(
        f"\nmedian seconds of a step over {options.rounds} rounds of {options.steps} steps, {options.threads} threads;"
    )
    print(f"load average now {os.getloadavg()[0]:.2f}")
    titles = f"{'size':>6} {'arms':>4}  {'step':<14} {'ours s':>9} {'ours t/s':>9} {'ours MB':>8}"
    print(titles + (f" {'torch s':>9} {'torch t/s':>11} {'torch MB':>8} {'ratio':>6}" if with_torch else ""))
    print("\n".join(table))


if __name__ == "__main__":
    main()
