"""The peer: a lean torch + PEFT loop that trains LoRA adapters with DPOP (and the DPO twin) on a CPU.

usage: lora_dpo.py --size 15m|110m [--steps N] [--arms 1|2] [--threads N] [--reference cached|each-step]

Random weights in the shapes of two small Llamas, r 16 on all linear layers, 4 pairs of full length, half prompt,
half completion, float32. Only completion positions go through the head. A step is: the reference's
log-probabilities (adapter off), then for each arm forward, backward and AdamW. `tokens` counts the
2 * pairs * length tokens of a batch once, whatever the number of arms. The first step is left out of the
figures where there is more than one. Prints one JSON line.
"""

import argparse
import json
import os
import resource
import statistics
import time

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

SHAPES = {
    "15m": dict(length=256, hidden_size=288, intermediate_size=768, num_hidden_layers=6, heads=6),
    "110m": dict(length=512, hidden_size=768, intermediate_size=2048, num_hidden_layers=12, heads=12),
}
VOCABULARY = 32000
PAIRS = 4
BETA, LAMBDA = 0.1, 50.0
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ARMS = ["dpop", "dpo"]


def build(size: str, arms: int):
    shape = dict(SHAPES[size])
    length, heads = shape.pop("length"), shape.pop("heads")
    base = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            **shape,
        )
    )
    config = LoraConfig(r=16, lora_alpha=32, target_modules=TARGETS, lora_dropout=0.0, task_type="CAUSAL_LM")
    model = get_peft_model(base, config, adapter_name=ARMS[0])
    for arm in ARMS[1:arms]:
        model.add_adapter(arm, config)
    return model, length


def batch(length: int) -> torch.Tensor:
    """Chosen rows, then rejected rows with the same prompts."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, VOCABULARY, (2 * PAIRS, length), generator=generator)
    ids[PAIRS:, : length // 2] = ids[:PAIRS, : length // 2]
    return ids


def summed_logps(model, ids: torch.Tensor):
    prompt = ids.shape[1] // 2
    hidden = model.model.model(input_ids=ids).last_hidden_state[:, prompt - 1 : -1]
    logits = model.model.lm_head(hidden)
    picked = logits.gather(-1, ids[:, prompt:, None])[..., 0]
    return (picked - torch.logsumexp(logits, -1)).sum(1).chunk(2)


def loss_of(arm: str, policy, reference) -> torch.Tensor:
    chosen, rejected = (p - r for p, r in zip(policy, reference))
    z = chosen - rejected
    if arm == "dpop":
        z = z - LAMBDA * torch.relu(-chosen)
    return -F.logsigmoid(BETA * z).mean()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", choices=SHAPES, required=True)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--arms", type=int, choices=[1, 2], default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--reference", choices=["cached", "each-step"], default="each-step")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    model, length = build(options.size, options.arms)
    ids = batch(length)
    arms = ARMS[: options.arms]
    optimizers = {}
    for arm in arms:
        model.set_adapter(arm)
        optimizers[arm] = torch.optim.AdamW(
            [p for p in model.parameters() if p.requires_grad], lr=1e-4, weight_decay=0.0
        )

    reference, seconds, losses = None, [], {}
    for _ in range(options.steps):
        began = time.perf_counter()
        if reference is None or options.reference == "each-step":
            with torch.no_grad(), model.disable_adapter():
                reference = summed_logps(model, ids)
        for arm in arms:
            model.set_adapter(arm)
            loss = loss_of(arm, summed_logps(model, ids), reference)
            optimizers[arm].zero_grad()
            loss.backward()
            optimizers[arm].step()
            losses[arm] = loss.item()
        seconds.append(time.perf_counter() - began)

    counted = seconds[1:] or seconds
    tokens = ids.numel()
    print(
        json.dumps(
            dict(
                engine=f"torch {torch.__version__}",
                size=options.size,
                arms=options.arms,
                reference=options.reference,
                threads=options.threads,
                steps=options.steps,
                tokens_per_step=tokens,
                median_s=round(statistics.median(counted), 4),
                best_s=round(min(counted), 4),
                tok_s_median=round(tokens / statistics.median(counted), 1),
                tok_s_best=round(tokens / min(counted), 1),
                peak_rss_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                losses=losses,
            )
        )
    )


if __name__ == "__main__":
    main()
