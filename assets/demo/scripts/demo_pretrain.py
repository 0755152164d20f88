"""Pretrain the tiny demo Llama on the synthetic solutions. Wall-clock budget; prints loss and greedy accuracy."""

import sys, time, random, math, json, torch, os

sys.path.insert(0, "assets/demo/scripts")
from demo_data import gen, render, OUT
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

torch.set_num_threads(int(os.environ.get("THREADS", "2")))
torch.manual_seed(0)
SECS = float(sys.argv[1])
BS = 32  # wall-clock budget: the cosine schedule follows elapsed time
tok = PreTrainedTokenizerFast.from_pretrained(OUT + "/tiny-math-llama")
cfg = LlamaConfig(
    vocab_size=512,
    hidden_size=128,
    intermediate_size=352,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=192,
    rms_norm_eps=1e-5,
    tie_word_embeddings=True,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
    rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    initializer_range=0.02,
)
m = LlamaForCausalLM(cfg)
print("params", sum(p.numel() for p in m.parameters()), flush=True)
rng = random.Random(7)
fast = tok.backend_tokenizer


def batch():
    # half of the rows: full problems with loss on everything
    enc = [fast.encode("".join(render(*gen(rng)))).ids + [2] for _ in range(BS)]
    L = max(map(len, enc))
    x = torch.zeros(BS, L, dtype=torch.long)
    y = torch.full((BS, L), -100)
    for i, e in enumerate(enc):
        x[i, : len(e)] = torch.tensor(e)
        y[i, : len(e)] = torch.tensor(e)
    return x, y


LR = 4e-3
opt = torch.optim.AdamW(m.parameters(), lr=LR, betas=(0.9, 0.98), weight_decay=0.05)
t0 = time.time()
logf = open(OUT + "/pretrain_log.jsonl", "w")
s = -1
while time.time() - t0 < SECS:
    s += 1
    fr = (time.time() - t0) / SECS
    lr = LR * min(1, (s + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fr)))
    for g in opt.param_groups:
        g["lr"] = lr
    x, y = batch()
    out = m(input_ids=x).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(out.reshape(-1, 512), y[:, 1:].reshape(-1), ignore_index=-100)
    opt.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(m.parameters(), 1.0)
    opt.step()
    if s % 50 == 0:
        r = dict(step=s, loss=loss.item(), sec=round(time.time() - t0, 1))
        logf.write(json.dumps(r) + "\n")
        logf.flush()
        print(r, flush=True)
    if s and s % 500 == 0:
        m.save_pretrained(OUT + "/tiny-math-llama")
m.save_pretrained(OUT + "/tiny-math-llama")
# greedy accuracy on held-out pairs
m.eval()
ok = n = 0
rows = [json.loads(l) for l in open(OUT + "/pairs_eval.jsonl")][:64]
with torch.no_grad():
    for r in rows:
        ids = torch.tensor([fast.encode(r["prompt"]).ids])
        g = m.generate(ids, max_new_tokens=90, do_sample=False, eos_token_id=2, pad_token_id=0)
        txt = tok.decode(g[0, ids.shape[1] :], skip_special_tokens=True)
        ok += txt.strip() == r["chosen"].strip()
        n += 1
print("exact-solution greedy accuracy", ok, "/", n, "total sec", time.time() - t0)
