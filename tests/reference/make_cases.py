#!/usr/bin/env python3
"""Cases for `winnow parity` from the independent reference beside this file.

    make_cases.py --models DIR --images DIR --out DIR [--only WORD …]
    build/winnow parity DIR/*

Neither building nor testing Winnow needs this. It takes torch, transformers 4.57 and Pillow and writes the layout that
harness/cmd_parity.c reads. --models holds llava15-mha and llava15-gqa (Hugging Face layout); PICTURES lie below
--images. A question is taken only if two more runs with every layer's output disturbed by 1e-5 choose the same tokens
and answers, no cut by score is closer than 1e-4 and every answer token leads by 2e-3: an implementation in f32 must get
every index right.
"""
import argparse
import itertools
import json
import os
import zlib

import torch
from safetensors.torch import save_file

from reference import STEPS, Model, dialogue

CASES = """
visionzip model=mha|gqa budget=192|128|64
visionzip images=2 budget=129
visionzip dominant=40 contextual=7
visionzip turns=reselect budget=128
divprune model=mha|gqa budget=192|64
uniform|center|divprune images=2 quota=union|per-image budget=193
uniform|center|top|bottom budget=128
top|bottom images=2 budget=129
uniform|center|top|bottom at=decoder like=sparsevlm budget=64
uniform|center|top|bottom at=decoder like=fastv budget=128
pool|downsample budget=192|128|64
pool images=2 budget=130
downsample model=gqa budget=128
sparsevlm model=mha|gqa images=2 quota=per-image budget=192
sparsevlm images=3 quota=per-image keep=500,101,50
fastv images=2 quota=per-image keep=115
sparsevlm|fastv|pdrop turns=reselect|full budget=192
sparsevlm images=2 turns=reselect positions=original budget=192
sparsevlm mode=plus heads=half positions=compact budget=192
sparsevlm model=gqa mode=paper lambda=0.5
sparsevlm mode=v1.0 recycle=off scale=13.5 bias=0
tome r=50,130,10,170,24
pdrop positions=original budget=192
fastv positions=compact budget=128"""
PICTURES = [n + ".jpg" for n in "1 21 503 544 672 718 768 862 1156 1745 2222 2318 2368 2399 2705 2789 2870".split()]
QUESTIONS = ["Where is the red bicycle?", "What is the woman doing?", "Is the table round or square?",
             "Why is the child near the river?", "What colour is the small door?", "Which animal is the largest one?",
             "Describe the image in detail.", "What will the driver do next?", "Who is standing near the old bus?"]


def shown(cut):
    return {k: v for k, v in cut.items() if k[0] != "_"}


def number(text):
    try:
        numbers = json.loads("[%s]" % text)
        return numbers if len(numbers) > 1 else numbers[0]
    except ValueError:
        return text


def cases():
    for line in CASES.strip().split("\n"):
        words = [w.split("=") if "=" in w else ["method", w] for w in line.split()]
        for row in itertools.product(*[[(k, v) for v in values.split("|")] for k, values in words]):
            short = ("method", "model", "turns", "mode", "quota", "budget", "at", "like")
            case = {"case": "-".join(v if k in short else k + "-" + v for k, v in row), "model": "mha", "images": 1,
                    "params": {}}
            for k, v in row:
                (case if k in ("method", "model", "images") else case["params"])[k] = number(v)
            yield case


def questions(case):
    """Pictures and prompts to try, in an order of the case's own."""
    start = zlib.crc32(case["case"].encode())
    for n in range(start, start + 420, 7):
        prompts = [["", "A chat between two people. "][n // 3 % 2] + "USER: <image>\n" + "and this one: <image>\n" *
                   (case["images"] - 1) + QUESTIONS[n // 2 % len(QUESTIONS)] + " ASSISTANT:"]
        if "turns" in case["params"]:
            prompts.append("</s>USER: %s ASSISTANT:" % QUESTIONS[(n + 4) % len(QUESTIONS)])
        yield [PICTURES[(n + 5 * j) % len(PICTURES)] for j in range(case["images"])], prompts


def has_margins(model, case, files, prompts, result):
    if min(result["leads"]) < 2e-3 or any(cut.get("_gap", 1) < 1e-4 for cut in result["cuts"]):
        return False
    others = [dialogue(model, case, files, prompts, noise) for noise in (1, 2)]
    return all([shown(c) for c in other["cuts"]] == [shown(c) for c in result["cuts"]] and
               [t["answer_ids"] for t in other["turns"]] == [t["answer_ids"] for t in result["turns"]]
               for other in others)


def write(path, case, files, result, model):
    tensors, about = {}, {}
    os.makedirs(path, exist_ok=True)
    for name, t in (result["taps"] | {"logits": torch.stack(result["logits"])}).items():
        rows = sorted(set(range(0, len(t), max(1, len(t) // 16))) | set(range(max(0, len(t) - 8), len(t))))
        tensors[name] = t[rows].float().contiguous()
        about[name] = {"shape": list(t.shape), "rows": rows, "tol": 3e-5 if name == "projector.out" else 1e-4}
    save_file(tensors, os.path.join(path, "expect.safetensors"))
    body = {"case": case["case"], "doc": "from make_cases.py", "model": os.path.relpath(model.path, path),
            "images": [os.path.relpath(file, path) for file in files], "image_mode": "crop", "max_new_tokens": STEPS,
            "method": {"name": case["method"], "params": case["params"]}, "tensors": about}
    body["cuts"] = [shown(c) | ({"score_gap": c["_gap"]} if "_gap" in c else {}) for c in result["cuts"]]
    with open(os.path.join(path, "case.json"), "w") as f:
        json.dump(body | {k: result[k] for k in ("turns", "visual_in", "visual_out", "kv_len")}, f, indent=1)


def check_model(model, file):
    """What is written out here against transformers' own forward."""
    prompt = "USER: <image>\nWhere is the red bicycle? ASSISTANT:"
    got = dialogue(model, {"method": "vanilla", "params": {}}, [file], [prompt])["logits"][0]
    ids = sum([[i] * (576 if i == model.image_id else 1) for i in model.tokenizer(prompt)["input_ids"]], [])
    want = model.hf(torch.tensor([ids]), pixel_values=model.pixels(file)).logits[0, -1]
    assert (got - want).abs().max() < 1e-5 * want.abs().max()


@torch.no_grad()
def main():
    parser, models = argparse.ArgumentParser(description=__doc__.split("\n")[0]), {}
    for name in ("--models", "--images", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--only", nargs="*", default=[""])
    options = parser.parse_args()
    at = {name: os.path.join(top, name) for top, _, names in os.walk(options.images) for name in names}
    for case in cases():
        if not any(word in case["case"] for word in options.only):
            continue
        if case["model"] not in models:
            models[case["model"]] = Model(os.path.join(options.models, "llava15-" + case["model"]))
            check_model(models[case["model"]], at[PICTURES[0]])
        model, verdict = models[case["model"]], "no question has margins"
        for tried, (names, prompts) in enumerate(questions(case)):
            files = [at[name] for name in names]
            result = dialogue(model, case, files, prompts)
            if has_margins(model, case, files, prompts, result):
                write(os.path.join(options.out, case["case"]), case, files, result, model)
                verdict = "question %d" % (tried + 1)
                break
        print("%s: %s" % (case["case"], verdict), flush=True)


if __name__ == "__main__":
    main()
