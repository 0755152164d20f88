"""Runs our training step and torch's in turn, round after round, and prints the ratio of medians.

usage: compare.py [--size 15m 110m] [--arms 1 2] [--rounds N] [--steps N] [--threads N] [--reference cached|each-step]

The torch side runs under $DPOP_PYTHON (default: this interpreter) and is left out, loudly, where torch or
peft is missing. Both sides get the same number of threads and run alone, one after the other, so a
machine that slows down slows both. The ratio is torch's seconds per step over ours: above 1, ours is faster.
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


def build_bench() -> str:
    """The path of the bench program, built with the profile that `./dev run` and `./dev test` use."""
    command = ["cargo", "bench", "--profile", "dev", "--bench", "step", "--no-run", "--message-format", "json"]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if output.returncode != 0:
        sys.exit("the bench did not build")
    for line in output.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["target"]["name"] == "step":
            return message["executable"]
    sys.exit("cargo names no program for the bench `step`")


def torch_is_there() -> bool:
    check = [PYTHON, "-c", "import torch, peft, transformers"]
    return subprocess.run(check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


def measure(command: list[str], threads: int) -> dict:
    names = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"]
    environment = dict(os.environ, **{name: str(threads) for name in names})
    output = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    lines = [line for line in output.stdout.splitlines() if line.startswith("{")]
    if output.returncode != 0 or not lines:
        sys.exit(f"{' '.join(command)} failed with exit code {output.returncode}")
    result = json.loads(lines[-1])
    print(json.dumps(result), flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", nargs="+", default=["15m"], choices=["15m", "110m"])
    parser.add_argument("--arms", nargs="+", default=["1", "2"], choices=["1", "2"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--reference", choices=["cached", "each-step"], default="each-step")
    options = parser.parse_args()

    ours = build_bench()
    with_torch = torch_is_there()
    if not with_torch:
        print(f"SKIPPED: {PYTHON} has no torch, peft and transformers; set DPOP_PYTHON", file=sys.stderr)

    rows = []
    for size in options.size:
        for arms in options.arms:
            shape = ["--size", size, "--steps", str(options.steps), "--arms", arms]
            peer = [PYTHON, "benches/torch/lora_dpo.py", *shape]
            peer += ["--threads", str(options.threads), "--reference", options.reference]
            runs = {"ours": [], "torch": []}
            for _ in range(options.rounds):
                runs["ours"].append(measure([ours, *shape], options.threads))
                if with_torch:
                    runs["torch"].append(measure(peer, options.threads))
            rows.append((size, arms, runs))

    print(
        f"\nmedian seconds per step over {options.rounds} rounds of {options.steps} steps, {options.threads} threads,"
    )
    print(f"torch's reference {options.reference}; load average now {os.getloadavg()[0]:.2f}")
    print(
        f"{'size':>6} {'arms':>4} {'ours s':>9} {'torch s':>9} {'ours tok/s':>11} {'torch tok/s':>11} {'ours MB':>8} {'torch MB':>8} {'ratio':>6}"
    )
    for size, arms, runs in rows:
        middle = lambda side, key: statistics.median(run[key] for run in runs[side]) if runs[side] else float("nan")
        most = lambda side: max((run["peak_rss_mb"] for run in runs[side]), default=float("nan"))
        ours_s, torch_s = middle("ours", "median_s"), middle("torch", "median_s")
        print(
            f"{size:>6} {arms:>4} {ours_s:9.3f} {torch_s:9.3f} {middle('ours', 'tok_s_median'):11.0f}"
            f" {middle('torch', 'tok_s_median'):11.0f} {most('ours'):8.0f} {most('torch'):8.0f} {torch_s / ours_s:6.2f}"
        )


if __name__ == "__main__":
    main()
