"""Does PEFT read the adapter that was exported, and does it give the same log-probabilities?

usage: peft_roundtrip.py ADAPTER_DIR MODEL_DIR DATA LOGPROBS.jsonl [TOLERANCE]

LOGPROBS.jsonl is what `dpop-studio logprobs --model MODEL_DIR --data DATA --adapter ADAPTER_DIR` printed: completion
tokens and their log-probabilities. The prompt is tokenised here, from DATA, with the model's own
tokenizer; PEFT then scores prompt + completion, and every token must agree within TOLERANCE (1e-3).
Exit code 0: all agree, or SKIPPED because torch, transformers or peft is missing; 1: they differ.
"""

import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"

try:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
except ImportError as error:
    print(f"SKIPPED: {error}")
    sys.exit(0)


def prompt_ids(row: dict, tokenizer) -> list[int]:
    """Pre-tokenised rows are taken as they are; text goes through the tokenizer with its special tokens."""
    if "prompt_input_ids" in row:
        return row["prompt_input_ids"]
    return tokenizer(row["prompt"])["input_ids"]


def token_logps(model, prompt: list[int], completion: list[int]) -> torch.Tensor:
    ids = torch.tensor([prompt + completion])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].double()
    return torch.log_softmax(logits, -1).gather(-1, torch.tensor(completion)[:, None])[:, 0]


def main() -> int:
    adapter, folder, data, printed = sys.argv[1:5]
    tolerance = float(sys.argv[5]) if len(sys.argv) > 5 else 1e-3
    # The tokenizer file itself: no model-specific Python class stands between. Rows of ids need none.
    path = os.path.join(folder, "tokenizer.json")
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=path) if os.path.exists(path) else None
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with open(data, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    with open(printed, encoding="utf-8") as file:
        ours = [json.loads(line) for line in file if line.strip()]
    if not ours:
        print(f"{printed} is empty: nothing was compared")
        return 1

    # The base first: an adapter that changes nothing would make the comparison empty.
    sides = [
        (entry, prompt_ids(rows[entry["row"]], tokenizer), side) for entry in ours for side in ("chosen", "rejected")
    ]
    without = [token_logps(base.eval(), prompt, entry[side]["ids"]) for entry, prompt, side in sides]
    model = PeftModel.from_pretrained(base, adapter).eval()
    largest, effect, tokens = 0.0, 0.0, 0
    for (entry, prompt, side), bare in zip(sides, without):
        theirs = token_logps(model, prompt, entry[side]["ids"])
        mine = torch.tensor(entry[side]["logps"], dtype=torch.float64)
        largest = max(largest, (theirs - mine).abs().max().item())
        effect = max(effect, (theirs - bare).abs().max().item())
        tokens += len(mine)
    print(
        f"{len(ours)} pairs, {tokens} tokens: max |PEFT - ours| = {largest:.2e} (tolerance {tolerance:.0e}); the adapter moves a token by up to {effect:.2e}"
    )
    if effect <= tolerance:
        print("the adapter changes nothing that could be seen: not a test")
        return 1
    return 0 if largest <= tolerance else 1


if __name__ == "__main__":
    sys.exit(main())
