"""Golden values for tests/chat_template.rs and tests/tokenizer.rs, from Python's own jinja2 and tokenizers.

    pip install jinja2 tokenizers
    python tests/goldens/data_goldens.py ../shared/data > tests/goldens/data.json

Holds hashes and counts, never the texts: the inputs are other people's files, read from the folder given.
The Jinja environment is transformers' (`utils/chat_template_utils.py`), the split is TRL 1.16's
(`trainer/dpo_trainer.py::tokenize_fn`).
"""
import datetime
import hashlib
import json
import os
import re
import sys

import jinja2
import tokenizers
from jinja2.sandbox import ImmutableSandboxedEnvironment

DATA = sys.argv[1]


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime(2024, 7, 4).strftime(f)
    return env


def compiled(source):
    # The generation tag marks text for masks and prints nothing.
    source = re.sub(r"{%(-?) *generation *(-?)%}", r"{%\1 if true \2%}", source)
    source = re.sub(r"{%(-?) *endgeneration *(-?)%}", r"{%\1 endif \2%}", source)
    return environment().from_string(source)


SYSTEM = {"role": "system", "content": "  You are terse. \n"}
USER = {"role": "user", "content": 'What is 3 < 5 & "x"?\n\nZażółć gęślą jaźń 🙂 '}
ANSWER = {"role": "assistant", "content": "<think>\nhm\n</think>\n\n True. "}
AGAIN = {"role": "user", "content": "And now?"}
LAST = {"role": "assistant", "content": "Yes."}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'Weather, "now" <b>',
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1, "minimum": 0.5}},
            "required": ["city"],
        },
    },
}
CASES = {
    "question": {"messages": [USER], "add_generation_prompt": True},
    "system": {"messages": [SYSTEM, USER], "add_generation_prompt": True},
    "turns": {"messages": [SYSTEM, USER, ANSWER, AGAIN], "add_generation_prompt": True},
    "closed": {"messages": [USER, ANSWER, AGAIN, LAST], "add_generation_prompt": False},
    "tools": {"messages": [SYSTEM, USER], "tools": [TOOL], "add_generation_prompt": True},
}


def templates():
    out = {}
    root = os.path.join(DATA, "chat_templates")
    for folder in ("llama.cpp", "trl"):
        for name in sorted(os.listdir(os.path.join(root, folder))):
            with open(os.path.join(root, folder, name), encoding="utf8") as f:
                template = compiled(f.read())
            for case, variables in CASES.items():
                if "tool_use" in name and case != "tools":
                    continue  # iterates over the tools, which these cases lack
                variables = {"tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>", **variables}
                text = template.render(**variables)
                out[f"{folder}/{name} {case}"] = hashlib.sha256(text.encode()).hexdigest()
    return out


class Model:
    def __init__(self, folder):
        folder = os.path.join(DATA, folder)
        self.tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.tokenizer.no_truncation()
        with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf8") as f:
            self.config = json.load(f)
        self.eos = self.config["eos_token"]
        self.template = compiled(self.config["chat_template"]) if "chat_template" in self.config else None

    def chat(self, messages, generate):
        tokens = {k: v for k, v in self.config.items() if k in ("bos_token", "eos_token", "unk_token", "pad_token") and v}
        text = self.template.render(messages=messages, tools=None, documents=None, add_generation_prompt=generate, **tokens)
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def plain(self, text):
        return self.tokenizer.encode(text).ids

    def closed(self, text):
        return text if text.endswith(self.eos) else text + self.eos


def common(a, b):
    n = 0
    for x, y in zip(a, b):
        if x != y:
            break
        n += 1
    return n


def rows(name):
    with open(os.path.join(DATA, "preferences", name), encoding="utf8") as f:
        return json.load(f) if name.endswith(".json") else [json.loads(line) for line in f]


ROLES = {"human": "user", "gpt": "assistant", "system": "system"}


def sharegpt(row):
    read = lambda m: {"role": ROLES[m["from"]], "content": m["value"]}
    return [read(m) for m in row["conversations"]], [read(row["chosen"])], [read(row["rejected"])]


def v1(row):
    read = lambda m: {"role": m["role"], "content": "".join(part["value"] for part in m["content"])}
    chosen, rejected = ([read(m) for m in row[k]] for k in ("chosen_messages", "rejected_messages"))
    n = common(chosen, rejected)
    return chosen[:n], chosen[n:], rejected[n:]


def hh(row):
    shared = row["chosen"][: common(row["chosen"], row["rejected"])]
    n = shared.rfind("\n\nAssistant:") + len("\n\nAssistant:")
    return row["chosen"][:n], row["chosen"][n:], row["rejected"][n:]


def plain(row):
    return row["prompt"], row["chosen"], row["rejected"]


def alpaca(row):
    question = row["instruction"] + ("\n" + row["input"] if row["input"] else "")
    wrap = lambda text: [{"role": "assistant", "content": text}]
    return [{"role": "user", "content": question}], wrap(row["chosen"]), wrap(row["rejected"])


def tokenised(model, file, read):
    digest, pairs, tokens, mismatch = hashlib.sha256(), 0, 0, 0
    for row in rows(file):
        prompt, chosen, rejected = read(row)
        text = lambda x: x.strip() if isinstance(x, str) else x
        if not text(chosen) or not text(rejected) or chosen == rejected:
            continue
        if isinstance(prompt, str):
            ids = [model.plain(prompt)] + [model.plain(prompt + model.closed(x)) for x in (chosen, rejected)]
        else:
            ids = [model.chat(prompt, True)] + [model.chat(prompt + x, False) for x in (chosen, rejected)]
        n = min(common(ids[0], ids[1]), common(ids[0], ids[2]))
        pairs, mismatch = pairs + 1, mismatch + (n < len(ids[0]))
        for part in (ids[0][:n], ids[1][n:], ids[2][n:]):
            tokens += len(part)
            digest.update((" ".join(map(str, part)) + "\n").encode())
    return {"pairs": pairs, "tokens": tokens, "prefix_mismatch": mismatch, "sha256": digest.hexdigest()}


QWEN = "tokenizers/qwen2.5-0.5b-instruct"
MISTRAL = "tokenizers/mistral-7b-instruct-v0.3"
SETS = [
    (QWEN, "llamafactory_dpo_en_demo.json", sharegpt),
    (QWEN, "llamafactory_dpo_zh_demo.json", sharegpt),
    (QWEN, "llamafactory_v1_dpo_demo.jsonl", v1),
    (QWEN, "ultrafeedback_noise_eval_clean.jsonl", plain),
    (QWEN, "hh-rlhf_harmless-base_test_rows_1-1200.jsonl", hh),
    (QWEN, "rasbt_instruction-data-with-preference.json", alpaca),
    (MISTRAL, "ultrafeedback_noise_eval_clean.jsonl", plain),
    (MISTRAL, "rasbt_instruction-data-with-preference.json", alpaca),
    (MISTRAL, "hh-rlhf_harmless-base_test_rows_1-1200.jsonl", hh),
]


def main():
    models = {folder: Model(folder) for folder in (QWEN, MISTRAL)}
    out = {
        "versions": {"jinja2": jinja2.__version__, "tokenizers": tokenizers.__version__},
        "cases": CASES,
        "templates": templates(),
        "tokenised": [
            {"model": folder, "file": file, **tokenised(models[folder], file, read)} for folder, file, read in SETS
        ],
    }
    json.dump(out, sys.stdout, indent=1, ensure_ascii=False)
    print()


main()
