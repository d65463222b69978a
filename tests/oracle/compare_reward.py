#!/usr/bin/env python3
"""Holds reward models against the transformers and peft libraries.

    python3 -m venv venv && venv/bin/pip install torch transformers peft h5py
    venv/bin/python tests/oracle/compare_reward.py make OUT [--seed N]
    venv/bin/python tests/oracle/compare_reward.py scores --model DIR --tokens FILE.json
        [--adapter DIR] [--prompts FILE.json] [--float32 FILE.json] [--bfloat16 FILE.json] [--bound B]
    venv/bin/python tests/oracle/compare_reward.py fixtures

make: OUT/<case>/{causal,classifier,adapter,causal_adapter}: random models of a case in CASES with the
tiny backbone's tokenizer, and low-rank adapters as peft saves them, for classifier (with a head of its
own) and causal; OUT/tokens.json: sequences, OUT/prompts.json: tokens of their prompts.

scores: --float32 and --bfloat16 name lists of scores of the sequences (lists of ids) in --tokens, as
computed in these precisions. The folder is loaded strictly: every tensor of the file is taken, none is
missing, and the config says all that a sequence classifier needs. With --adapter, the adapter is loaded
over it by peft; it must bring a head where the folder has none. With --prompts (list of prompt lengths)
the model is a causal LM and a score is the mean log-probability of the tokens behind the prompt.
Prints the largest differences. Ends with 1 where float32 differs by more than --bound times the largest
score (or 1), or bfloat16 is further from the library's float32 than twice what its bfloat16 is: trunk
in bfloat16, head and sums in float32.

fixtures: rewards, losses and gradients of tests/fixtures/reward by these libraries in float32.
"""
import argparse
import json
import os
import shutil
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import (AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig,
                          Qwen2Config, Qwen3Config, logging)

from compare_logits import ROPES

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
TOKENIZER = os.path.join(ROOT, "configs", "tiny", "backbone", "tokenizer.json")
FIXTURES = os.path.join(ROOT, "tests", "fixtures", "reward")
VOCABULARY, EOS, PAD = 320, 1, 319  # of that tokenizer; it has no use for the last ids
# name: family, q heads, kv heads, head_dim, hidden, MLP, layers, tied
CASES = {"qwen3-tied": ("qwen3", 8, 4, 32, 128, 256, 3, True),
         "qwen3-untied": ("qwen3", 8, 2, 16, 96, 192, 2, False),
         "llama": ("llama", 8, 4, 24, 192, 256, 2, False),
         "qwen2": ("qwen2", 8, 2, 16, 128, 192, 2, True)}
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LENGTHS = (2, 3, 17, 64, 65, 300, 700, 1500)


def read_json(path):
    with open(path) as f:
        return json.load(f)


# --- folders --------------------------------------------------------------------------------------
def make_case(folder, case):
    family, q, kv, dim, hidden, mlp, layers, tied = case
    common = dict(hidden_size=hidden, intermediate_size=mlp, num_hidden_layers=layers,
                  num_attention_heads=q, num_key_value_heads=kv, head_dim=dim,
                  vocab_size=VOCABULARY, tie_word_embeddings=tied, max_position_embeddings=4096,
                  bos_token_id=EOS, eos_token_id=EOS, initializer_range=0.08)

    def config(**more):
        if family == "qwen3":
            return Qwen3Config(rope_theta=1000000.0, **common, **more)
        if family == "qwen2":
            return Qwen2Config(rope_theta=1000000.0, **common, **more)
        rope = {"rope_theta": 500000.0, **ROPES["llama3"][0]}
        return LlamaConfig(rope_parameters=rope, rms_norm_eps=1e-5, **common, **more)

    causal = AutoModelForCausalLM.from_config(config())
    randomize(causal, lambda n: "norm" in n, 0.1)
    randomize(causal, lambda n: n.endswith("bias"), 0.5)
    classifier = AutoModelForSequenceClassification.from_config(config(num_labels=1, pad_token_id=PAD))
    classifier.model.load_state_dict(causal.model.state_dict())
    for model, name, adapter, task in ((causal, "causal", "causal_adapter", "CAUSAL_LM"),
                                       (classifier, "classifier", "adapter", "SEQ_CLS")):
        model.save_pretrained(f"{folder}/{name}")
        shutil.copy(TOKENIZER, f"{folder}/{name}")
        lora = LoraConfig(task_type=task, r=4, lora_alpha=8, target_modules=TARGETS)
        adapted = get_peft_model(model, lora)
        randomize(adapted, lambda n: "lora_B" in n or "score" in n, 0.05)
        adapted.save_pretrained(f"{folder}/{adapter}")


def randomize(model, which, std):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if which(name):
                p.add_(torch.randn_like(p) * std)


def make(a):
    torch.manual_seed(a.seed)
    for name, case in CASES.items():
        make_case(f"{a.out}/{name}", case)
    sequences = [torch.randint(2, PAD, (n - 1,)).tolist() + [EOS] for n in LENGTHS]
    for name, value in {"tokens": sequences, "prompts": [n // 2 for n in LENGTHS]}.items():
        with open(f"{a.out}/{name}.json", "w") as f:
            json.dump(value, f)


# --- scores ---------------------------------------------------------------------------------------
def stored(folder):
    """All tensors of a folder's safetensors files, by name."""
    files = sorted(f for f in os.listdir(folder) if f.endswith(".safetensors"))
    return {n: t for f in files for n, t in load_file(os.path.join(folder, f)).items()}


def require(condition, what):
    if not condition:
        sys.exit(f"error: {what}")


def load(a, dtype, attention="sdpa"):
    """The model, strictly, with its adapter; its head in float32 (None of a causal LM)."""
    auto = AutoModelForCausalLM if a.prompts else AutoModelForSequenceClassification
    # A causal LM's folder can carry an adapter with a head: it takes the place of a random one.
    headed = a.adapter and not a.prompts
    settings = {"num_labels": 1} if headed else {}
    allowed = {"score.weight", "lm_head.weight"} if headed else set()
    model, info = auto.from_pretrained(a.model, dtype=dtype, attn_implementation=attention,
                                       output_loading_info=True, **settings)
    tensors = stored(a.model)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        odd = set(info[kind]) - allowed
        require(not odd, f"{a.model}: {kind}: {odd}")
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    odd = (set(tensors) ^ set(model.state_dict())) - allowed - tied
    require(not odd, f"{a.model}: tensors not both in the file and in the model: {sorted(odd)}")
    head = tensors.get("score.weight")
    if a.adapter:
        model = PeftModel.from_pretrained(model, a.adapter)
        delta, taken = stored(a.adapter), get_peft_model_state_dict(model)
        odd = set(delta) ^ set(taken)
        require(not odd, f"{a.adapter}: tensors not both in the file and in peft's model: {sorted(odd)}")
        for name, t in delta.items():
            require(torch.equal(t.to(taken[name].dtype), taken[name]), f"{a.adapter}: {name} differs")
        head = delta.get("base_model.model.score.weight", head)
    require(a.prompts or head is not None, f"{a.adapter}: no head, and {a.model} has none either")
    return model.eval(), None if a.prompts else head.float()


def check_classifier(a, sequences):
    """What the library needs to know without being told."""
    config = read_json(os.path.join(a.model, "config.json"))
    names = config["architectures"]
    require(len(names) == 1 and names[0].endswith("ForSequenceClassification"), f"{a.model}: {names}")
    score = stored(a.model)["score.weight"]
    require(score.shape == (1, config["hidden_size"]), f"{a.model}: score.weight {score.shape}")
    pad = config.get("pad_token_id")
    require(pad is not None, f"{a.model}: no pad_token_id: batches of more than one are refused")
    ends = [i for i, s in enumerate(sequences) if s[-1] == pad]
    require(not ends, f"{a.model}: sequences {ends} end with pad_token_id, which is passed over")


@torch.no_grad()
def classifier_scores(model, head, sequences):
    """Of the last token's hidden state, by the head in float32."""
    trunk = (model.get_base_model() if isinstance(model, PeftModel) else model).model
    hidden = [trunk(torch.tensor([s])).last_hidden_state[0, -1] for s in sequences]
    return torch.stack([(head @ h.float())[0] for h in hidden])


@torch.no_grad()
def library_scores(model, sequences, side=None):
    """As the library gives them: alone, or in one batch padded on a side."""
    if side is None:
        return torch.stack([model(torch.tensor([s])).logits[0, 0].float() for s in sequences])
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    ids, mask, pad = [], [], base.config.pad_token_id
    for s in sequences:
        fill = max(map(len, sequences)) - len(s)
        ids.append([pad] * fill + s if side == "left" else s + [pad] * fill)
        mask.append([0] * fill + [1] * len(s) if side == "left" else [1] * len(s) + [0] * fill)
    return model(torch.tensor(ids), attention_mask=torch.tensor(mask)).logits[:, 0].float()


@torch.no_grad()
def likelihood_scores(model, sequences, prompts):
    out = []
    for s, prompt in zip(sequences, prompts):
        logits = model(torch.tensor([s])).logits[0, prompt - 1: -1].float()
        out.append(torch.log_softmax(logits, -1).gather(1, torch.tensor(s[prompt:])[:, None]).mean())
    return torch.stack(out)


def scores_of(model, head, sequences, prompts):
    return (likelihood_scores(model, sequences, prompts) if head is None
            else classifier_scores(model, head, sequences))


def worst(a, b):
    return (a - b).abs().max().item()


def scores(a):
    sequences = read_json(a.tokens)
    prompts = read_json(a.prompts) if a.prompts else None
    require(a.float32 or a.bfloat16, "no scores: give --float32 or --bfloat16")
    model, head = load(a, torch.float32)
    exact = scores_of(model, head, sequences, prompts)
    allowed = a.bound * max(1.0, exact.abs().max().item())
    print(f"{len(sequences)} sequences, scores from {exact.min():.4f} to {exact.max():.4f}")
    failed = False

    def report(title, difference, most):
        nonlocal failed
        good = difference <= most  # not for a difference that is no number
        failed |= not good
        print(f"{title}: largest difference {difference:.3g} (allowed {most:.3g}) "
              + ("ok" if good else "TOO MUCH"), flush=True)

    if head is not None and not a.adapter:
        check_classifier(a, sequences)
    if head is not None:
        report("the library's own, alone", worst(library_scores(model, sequences), exact), allowed)
        base = model.get_base_model() if a.adapter else model
        if base.config.pad_token_id is not None:
            for side in ("left", "right"):
                padded = library_scores(model, sequences, side)
                report(f"the library's own, padded {side}", worst(padded, exact), allowed)
    ours = {}
    for name in filter(lambda n: getattr(a, n), ("float32", "bfloat16")):
        ours[name] = torch.tensor(read_json(getattr(a, name)))
        require(ours[name].shape == exact.shape, f"{getattr(a, name)}: not {len(exact)} scores")
    if "float32" in ours:
        report("float32", worst(ours["float32"], exact), allowed)
    if "bfloat16" in ours:
        model, head = load(a, torch.bfloat16)
        half = scores_of(model, head, sequences, prompts)
        print(f"bfloat16: {worst(ours['bfloat16'], half):.3g} from the library's bfloat16, which is "
              f"{worst(half, exact):.3g} from its float32")
        report("bfloat16, from float32", worst(ours["bfloat16"], exact), 2 * worst(half, exact))
    sys.exit(failed)


# --- fixtures -------------------------------------------------------------------------------------
def relative(got, want):
    return worst(got.double(), want.double()) / want.abs().max().item()


def fixtures(_):
    expected = load_file(f"{FIXTURES}/expected.safetensors")
    scalars = read_json(f"{FIXTURES}/scalars.json")
    s, pairs = scalars["settings"], scalars["pairs"]
    head = expected["score.weight"]
    largest = 0.0

    def compare(name, values, loss, model):
        """`model`: its gradients go by the fixture's names once peft's additions are taken off."""
        loss.backward()
        title = "mean_log_probs" if name.startswith("simpo") else "rewards"
        errors = {title: relative(values.detach(), expected[f"{name}.{title}"]),
                  "loss": relative(loss.detach(), expected[f"{name}.loss"])}
        found = {n.replace("base_model.model.", "").replace(".modules_to_save", "")
                 .replace(".default", ""): p.grad for n, p in model.named_parameters()}
        for full in expected:
            if full.startswith(f"{name}.grad."):
                errors[full] = relative(found[full[len(name) + 6:]], expected[full])
        nonlocal largest
        largest = max(largest, *errors.values())
        at = max(errors, key=errors.get)
        print(f"{name}: {len(errors)} tensors, largest relative difference {errors[at]:.2e} ({at})")

    def side_by_side(score):
        return torch.stack([torch.stack([score(p[k], len(p["prompt"])) for k in ("chosen", "rejected")])
                            for p in pairs])

    def with_adapter(model, task):
        with tempfile.TemporaryDirectory() as folder:
            tensors = {n.replace("lora.param.", "base_model.model."): t for n, t in expected.items()
                       if n.startswith("lora.param.")}
            if task == "SEQ_CLS":
                tensors["base_model.model.score.weight"] = head
            save_file(tensors, f"{folder}/adapter_model.safetensors")
            LoraConfig(task_type=task, r=s["rank"], lora_alpha=s["alpha"],
                       target_modules=s["targets"]).save_pretrained(folder)
            return PeftModel.from_pretrained(model, folder, is_trainable=True)

    softplus = torch.nn.functional.softplus
    for adapter in (False, True):
        model = AutoModelForSequenceClassification.from_pretrained(FIXTURES, num_labels=1)
        model.score.load_state_dict({"weight": head})
        model = (with_adapter(model, "SEQ_CLS") if adapter else model).train()
        r = side_by_side(lambda ids, _: model(torch.tensor([ids])).logits[0, 0])
        compare("bt_lora" if adapter else "bt", r, softplus(r[:, 1] - r[:, 0]).mean(), model)
        model = AutoModelForCausalLM.from_pretrained(FIXTURES)
        model = (with_adapter(model, "CAUSAL_LM") if adapter else model).train()

        def mean_log_prob(ids, prompt):
            logits = model(torch.tensor([ids])).logits[0, prompt - 1: -1]
            chosen = torch.tensor(ids[prompt:])[:, None]
            return torch.log_softmax(logits, -1).gather(1, chosen).mean()

        p = side_by_side(mean_log_prob)
        loss = softplus(s["gamma"] - s["beta"] * (p[:, 0] - p[:, 1])).mean()
        compare("simpo_lora" if adapter else "simpo", p, loss, model)
    sys.exit(not largest < 1e-4)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("make")
    command.add_argument("out")
    command.add_argument("--seed", type=int, default=1)
    command.set_defaults(run=make)
    command = commands.add_parser("scores")
    for name in ("model", "tokens"):
        command.add_argument(f"--{name}", required=True)
    for name in ("adapter", "prompts", "float32", "bfloat16"):
        command.add_argument(f"--{name}")
    command.add_argument("--bound", type=float, default=1e-4)
    command.set_defaults(run=scores)
    commands.add_parser("fixtures").set_defaults(run=fixtures)
    a = parser.parse_args()
    logging.set_verbosity_error()
    a.run(a)


if __name__ == "__main__":
    main()
