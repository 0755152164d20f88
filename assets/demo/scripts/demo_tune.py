"""LoRA DPO vs DPOP on the demo model. usage: demo_tune.py NAME kind beta lambda lr steps targets pairsfile [bs r seed]
Curves -> demo/curves/NAME.json (train-batch and held-out mean chosen/rejected log-probs, margins, seconds)."""

import os, sys, json, time, random, torch, torch.nn.functional as F
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from peft import LoraConfig, get_peft_model

D = os.environ.get("DEMO", "assets/demo")
os.makedirs(D + "/curves", exist_ok=True)
NAME, KIND = sys.argv[1:3]
BETA, LAM, LR = map(float, sys.argv[3:6])
STEPS = int(sys.argv[6])
TG = sys.argv[7]
PF = sys.argv[8]
BS = int(sys.argv[9]) if len(sys.argv) > 9 else 8
R = int(sys.argv[10]) if len(sys.argv) > 10 else 8
SEED = int(sys.argv[11]) if len(sys.argv) > 11 else 0
GEN = int(os.environ.get("GEN", "0"))
torch.set_num_threads(int(os.environ.get("THREADS", "2")))
tok = PreTrainedTokenizerFast.from_pretrained(D + "/tiny-math-llama")
fast = tok.backend_tokenizer


def load(f):
    o = []
    for l in open(f):
        r = json.loads(l)
        p = fast.encode(r["prompt"]).ids
        c = fast.encode(r["prompt"] + r["chosen"]).ids + [2]
        j = fast.encode(r["prompt"] + r["rejected"]).ids + [2]
        assert c[: len(p)] == p == j[: len(p)]
        o.append((p, c, j, r))
    return o


def coll(rows):
    S = [r[1] for r in rows] + [r[2] for r in rows]
    P = [len(r[0]) for r in rows] * 2
    L = max(map(len, S))
    x = torch.zeros(len(S), L, dtype=torch.long)
    cm = torch.zeros(len(S), L)
    for i, (s, n) in enumerate(zip(S, P)):
        x[i, : len(s)] = torch.tensor(s)
        cm[i, n : len(s)] = 1
    return x, cm  # right padding + causal attention: no mask needed


def lps(m, b):
    x, cm = b
    lp = torch.log_softmax(m(input_ids=x).logits[:, :-1], -1).gather(-1, x[:, 1:, None])[..., 0] * cm[:, 1:]
    return lp.sum(1).chunk(2)


tr = load(D + "/" + PF + "_train.jsonl")
ev = load(D + "/" + PF + "_eval.jsonl")[: int(os.environ.get("EVAL_ROWS", "16"))]
m = LlamaForCausalLM.from_pretrained(D + "/tiny-math-llama", dtype=torch.float32)
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
torch.manual_seed(SEED)
m = get_peft_model(
    m,
    LoraConfig(
        r=R,
        lora_alpha=2 * R,
        target_modules=ALL if TG == "all" else ["q_proj", "v_proj"],
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    ),
)
ps = [p for p in m.parameters() if p.requires_grad]
opt = torch.optim.AdamW(ps, lr=LR, weight_decay=0.0)


def evl():
    with torch.no_grad():
        a, b = lps(m, eb)
    return dict(
        ev_chosen=a.mean().item(),
        ev_rejected=b.mean().item(),
        ev_margin=(BETA * ((a - era) - (b - erb))).mean().item(),
        ev_acc=((a - era) > (b - erb)).float().mean().item(),
        ev_frac_chosen_below_ref=(a < era).float().mean().item(),
    )


def gen_acc(n):
    ok = fin = 0
    with torch.no_grad():
        for p, c, j, r in ev[:n]:
            g = m.generate(
                input_ids=torch.tensor([p]),
                max_new_tokens=len(c) - len(p) + 8,
                do_sample=False,
                eos_token_id=2,
                pad_token_id=0,
            )[0, len(p) :].tolist()
            t = tok.decode(g, skip_special_tokens=True).strip()
            ok += t == r["chosen"].strip()
            fin += t.split("####")[-1].strip() == str(r["answer"])
            if r is ev[0][3]:
                s = t
    return dict(exact=ok / n, final=fin / n, sample=s)


eb = coll(ev)
with torch.no_grad(), m.disable_adapter():
    era, erb = lps(m, eb)
rng = random.Random(SEED)
order = []
cur = []
t0 = time.time()
te = 0
g0 = gen_acc(GEN) if GEN else None
t0 = time.time()
for s in range(STEPS + 1):
    if s % 10 == 0:
        u = time.time()
        e = dict(step=s, **evl())
        te += time.time() - u
        e["train_sec"] = round(time.time() - t0 - te, 2)
        cur.append(e)
        E = e
        json.dump(cur, open(f"{D}/runlogs/{NAME}.partial.json", "w"))
    if s == STEPS:
        break
    if len(order) < BS:
        order = list(range(len(tr)))
        rng.shuffle(order)
    b = coll([tr[order.pop()] for _ in range(BS)])
    with torch.no_grad(), m.disable_adapter():
        rw, rl = lps(m, b)
    pw, pl = lps(m, b)
    d = (pw - rw) - (pl - rl)
    if KIND == "dpop":
        d = d - LAM * torch.relu(rw - pw)
    loss = -F.logsigmoid(BETA * d).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
    cur[-1].setdefault("tr_loss", loss.item())
    cur[-1].setdefault("tr_chosen_minus_ref", (pw - rw).mean().item())
    cur[-1].setdefault("tr_rejected_minus_ref", (pl - rl).mean().item())
sec = time.time() - t0 - te
g1 = gen_acc(GEN) if GEN else None
json.dump(
    dict(
        name=NAME,
        kind=KIND,
        beta=BETA,
        lam=LAM,
        lr=LR,
        steps=STEPS,
        targets=TG,
        pairs=PF,
        bs=BS,
        r=R,
        seed=SEED,
        ref_chosen=era.mean().item(),
        ref_rejected=erb.mean().item(),
        sec=sec,
        gen_before=g0,
        gen_after=g1,
        curve=cur,
    ),
    open(f"{D}/curves/{NAME}.json", "w"),
    indent=1,
)
if os.environ.get("SAVE"):
    m.save_pretrained(D + "/adapters/" + NAME)
pt = [c for c in cur if c["step"] in (0, 20, 50, 100, 150, 200, 300, 400)]
print(
    NAME,
    "ref ch %.2f rj %.2f |" % (era.mean(), erb.mean()),
    " ".join("s%d ch %.2f rj %.2f" % (c["step"], c["ev_chosen"], c["ev_rejected"]) for c in pt),
    "| final acc %.2f below-ref %.2f" % (E["ev_acc"], E["ev_frac_chosen_below_ref"]),
    "| %.1fs" % sec,
    (g0, g1) if GEN else "",
    flush=True,
)
