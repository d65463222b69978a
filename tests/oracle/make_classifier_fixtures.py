#!/usr/bin/env python3
"""Small reward model folders with the transformers library's scores, whatever it pads with.

    venv/bin/python tests/oracle/make_classifier_fixtures.py     (torch, transformers)

Writes tests/fixtures/classifier/ and classifier_moe/: a Qwen3ForSequenceClassification and a
Qwen3MoeForSequenceClassification folder with a tokenizer of words, pairs.jsonl, and expected.json with
the scores of chosen and rejected by pad_token_id: the token that ends every sequence (then the library
scores the one before it), another one, and none.
"""
import json
import os
import shutil

import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import AutoModelForSequenceClassification, Qwen3Config, Qwen3MoeConfig

FIXTURES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures")
WORDS = ["<unk>", "<end>", "<pad>"] + [f"w{i}" for i in range(20)]
END, PAD = 1, 2
PAIRS = [("w1 w2 w3", "w4 w5", "w6"), ("w7", "w8 w9 w10 w11", "w12 w13"),
         ("w1 w1 w2 w19", "w18", "w17 w16 w15"), ("w5 w6", "w7 w7 w7", "w7 w7")]


def make(out, kind, **more):
    shutil.rmtree(out, ignore_errors=True)
    torch.manual_seed(3)
    config = kind(
        vocab_size=len(WORDS), hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=64,
        tie_word_embeddings=True, eos_token_id=END, bos_token_id=END, pad_token_id=END,
        num_labels=1, initializer_range=0.3, **more)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(out)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(w, special=True) for w in WORDS[:3]])
    tokenizer.save(os.path.join(out, "tokenizer.json"))
    with open(os.path.join(out, "pairs.jsonl"), "w") as f:
        for prompt, chosen, rejected in PAIRS:
            f.write(json.dumps({"prompt": prompt, "chosen": chosen, "rejected": rejected}) + "\n")
    expected = {}
    for name, pad in (("end", END), ("other", PAD), ("none", None)):
        model = AutoModelForSequenceClassification.from_pretrained(out).eval()
        model.config.pad_token_id = pad
        expected[name] = []
        for prompt, *responses in PAIRS:
            scores = []
            for response in responses:
                ids = tokenizer.encode(prompt).ids + tokenizer.encode(response).ids + [END]
                with torch.no_grad():
                    scores.append(float(model(torch.tensor([ids])).logits[0, 0]))
            expected[name].append(scores)
    with open(os.path.join(out, "expected.json"), "w") as f:
        json.dump(expected, f, indent=1)
    print(json.dumps(expected))


make(os.path.join(FIXTURES, "classifier"), Qwen3Config)
make(os.path.join(FIXTURES, "classifier_moe"), Qwen3MoeConfig, num_experts=6, num_experts_per_tok=2,
     moe_intermediate_size=8, norm_topk_prob=True)
