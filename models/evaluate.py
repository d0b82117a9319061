"""Measures a checkpoint on the world, with and without visual-token reduction, in plain torch.

    python models/evaluate.py models/miniature --dump DIR [--pictures 40] [--cells vanilla,sparsevlm-64,...]

Every question is asked with the instruction that its benchmark has: a word, a letter, VizWiz's "Unanswerable". Kinds
beside the world's types: "ocr" a number beside its OCR line, "vizwiz" an answerable question with VizWiz's
instruction, "text" options without a picture.

The forward pass reads the Hugging Face files and shares nothing with the training code, so it checks the export too.
Cells: vanilla, blank (grey 110), other (another picture), sparsevlm-B (v1.5: raters; cuts after layers 2, 6, 15;
recycling; compact positions), fastv-B (K=2, last row of layer 1, original positions), random-B (SparseVLM's counts),
none-after-N (all visual tokens removed after layer N).
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer

from training.tokenizer import (
    CLOSE,
    CONTEXT,
    OCR,
    ROLE,
    SUFFIX,
    SUFFIX_LETTER,
    SUFFIX_LETTER_ZH,
    SUFFIX_VIZWIZ,
    SYSTEM,
)
from training.world import Dump

CUTS = (2, 6, 15)
TABLE = {"192": (300, 200, 110), "128": (303, 110, 36), "64": (66, 30, 17)}
FASTV = {"192": 180, "128": 114, "64": 48}


class Model:
    """LLaVA forward pass for one picture at a time; parts that do not depend on the question are kept."""

    def __init__(self, folder: Path):
        self.config = json.loads((folder / "config.json").read_text())
        self.weights = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        text = self.config["text_config"]
        self.depth, self.heads, self.theta = text["num_hidden_layers"], text["num_attention_heads"], text["rope_theta"]
        self.dim, self.eps = text["head_dim"], text["rms_norm_eps"]

    def w(self, name):
        return self.weights[name]

    def look(self, picture: np.ndarray) -> torch.Tensor:
        """(336, 336, 3) u8 -> visual tokens (576, 128)."""
        mean, std = (
            torch.tensor([0.48145466, 0.4578275, 0.40821073]),
            torch.tensor([0.26862954, 0.26130258, 0.27577711]),
        )
        x = ((torch.from_numpy(picture.copy()).float() / 255 - mean) / std).permute(2, 0, 1)[None]
        root = "vision_tower.vision_model."
        x = F.conv2d(x, self.w(root + "embeddings.patch_embedding.weight"), stride=14).flatten(2)[0].T
        x = torch.cat([self.w(root + "embeddings.class_embedding")[None], x])
        x = x + self.w(root + "embeddings.position_embedding.weight")

        def norm(x, name):
            return F.layer_norm(x, (x.shape[-1],), self.w(name + ".weight"), self.w(name + ".bias"), 1e-5)

        def linear(x, name):
            return F.linear(x, self.w(name + ".weight"), self.w(name + ".bias"))

        x = norm(x, root + "pre_layrnorm")
        for i in range(self.config["vision_config"]["num_hidden_layers"] - 1):
            layer = f"{root}encoder.layers.{i}."
            h = norm(x, layer + "layer_norm1")
            q, k, v = (linear(h, f"{layer}self_attn.{n}_proj").view(len(h), 4, -1).transpose(0, 1) for n in "qkv")
            a = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
            x = x + linear((a @ v).transpose(0, 1).reshape(len(h), -1), layer + "self_attn.out_proj")
            h = linear(norm(x, layer + "layer_norm2"), layer + "mlp.fc1")
            x = x + linear(h * torch.sigmoid(1.702 * h), layer + "mlp.fc2")
        x = F.gelu(linear(x[1:], "multi_modal_projector.linear_1"))
        return linear(x, "multi_modal_projector.linear_2")

    def embed(self, ids):
        return F.embedding(torch.tensor(ids), self.w("language_model.model.embed_tokens.weight"))

    def rope(self, positions):
        frequency = self.theta ** (-torch.arange(0, self.dim, 2).float() / self.dim)
        angle = positions.float()[:, None] * frequency
        return torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()

    def layer(self, i, x, positions, past=None):
        """One decoder layer. past: (k, v) of earlier rows. Returns output, head-mean attention, (k, v) of x."""
        name = f"language_model.model.layers.{i}."

        def norm(x, part):
            return F.rms_norm(x, (x.shape[-1],), self.w(name + part + ".weight"), self.eps)

        def turn(t):
            return t * cosine + torch.cat([-t[..., self.dim // 2 :], t[..., : self.dim // 2]], -1) * sine

        h, (cosine, sine) = norm(x, "input_layernorm"), self.rope(positions)
        q, k, v = (
            F.linear(h, self.w(f"{name}self_attn.{n}_proj.weight")).view(len(x), self.heads, -1).transpose(0, 1)
            for n in "qkv"
        )
        q, k = turn(q), turn(k)
        keys, values = (k, v) if past is None else (torch.cat([past[0], k], 1), torch.cat([past[1], v], 1))
        scores = q @ keys.transpose(1, 2) / self.dim**0.5
        a = (scores + torch.full(scores.shape[1:], float("-inf")).triu(1 + keys.shape[1] - len(x))).softmax(-1)
        x = x + F.linear((a @ values).transpose(0, 1).reshape(len(x), -1), self.w(name + "self_attn.o_proj.weight"))
        h = norm(x, "post_attention_layernorm")
        h = F.silu(F.linear(h, self.w(name + "mlp.gate_proj.weight"))) * F.linear(
            h, self.w(name + "mlp.up_proj.weight")
        )
        return x + F.linear(h, self.w(name + "mlp.down_proj.weight")), a.mean(0), (k, v)

    def context(self, prefix, visual):
        """States and keys/values of prefix and picture in every layer: they never see the question."""
        x = torch.cat([self.embed(prefix), visual])
        states, caches = [x], []
        for i in range(self.depth):
            x, _, cache = self.layer(i, x, torch.arange(len(x)))
            states.append(x)
            caches.append(cache)
        return len(prefix), visual, states, caches

    def answer(self, context, ids, reducer=None, steps=1):
        """Greedy answer ids. reducer(layer, attention, states) -> None or (kept rows, merged tokens, compact?)."""
        out = []
        for _ in range(steps):
            logits = self.logits(context, ids + out, len(ids), reducer)
            out.append(int(logits.argmax()))
        return out

    def logits(self, context, ids, prompt, reducer):
        head, visual, states, caches = context
        x, n = self.embed(ids), head + len(visual)
        positions = torch.arange(n, n + len(ids))
        whole = False  # True once a cut has made the context depend on the question
        for i in range(self.depth):
            if whole:
                x, a, _ = self.layer(i, x, positions)
            else:
                x, a, _ = self.layer(i, x, positions, caches[i])
            kept = None
            if reducer is not None:
                count = (len(positions) - len(ids) if whole else n) - head
                rows = a[-len(ids) :][:prompt, head : head + count]
                before = x[: head + count] if whole else states[i + 1]
                kept = reducer(i, rows, before[head:])
            if kept is not None:
                index, merged, compact = kept
                text, old = x[-len(ids) :], torch.cat([torch.arange(n), positions]) if not whole else positions
                x = torch.cat([before[:head], before[head:][index], merged, text])
                positions = torch.cat([old[:head], old[head : head + count][index], old[-len(ids) :]])
                if compact:
                    positions = torch.arange(len(x))
                whole = True
        x = F.rms_norm(x[-1], (x.shape[-1],), self.w("language_model.model.norm.weight"), self.eps)
        return F.linear(x, self.w("language_model.lm_head.weight"))


def raters(model: Model, visual, ids) -> torch.Tensor:
    """SparseVLM's text raters: rows of the text behind the picture that get more than their share."""
    share = (visual @ model.embed(ids).T).softmax(-1).mean(0)
    return torch.nonzero(share > 1 / len(ids))[:, 0]


def recycle(states, priority, dropped):
    """Merged tokens of the best dropped ones (DPC-KNN), best centre first."""
    count = int(0.3 * len(dropped)) + 1
    pool = dropped[priority[dropped].argsort(descending=True, stable=True)[:count]]
    x, clusters = states[pool].double(), count // 10 + 1
    distance = torch.cdist(x, x) / x.shape[1] ** 0.5
    density = (-distance.sort(1).values[:, :clusters].square().mean(1)).exp()
    order = torch.arange(count)
    difference = density[None, :] - density[:, None]
    denser = (difference > 1e-6) | ((difference.abs() <= 1e-6) & (order[None, :] < order[:, None]))
    nearest = torch.where(denser, distance, torch.inf).min(1).values
    nearest = torch.where(torch.isinf(nearest), distance.max(), nearest)
    centres = (density * nearest).argsort(descending=True, stable=True)[:clusters]
    member = distance[:, centres].argmin(1)
    member[centres] = torch.arange(clusters)
    return torch.stack([states[pool[member == c]].mean(0) for c in range(clusters)])


class Reducers:
    """Makes a reducer for a cell and a question."""

    def __init__(self, model, seed=0):
        self.model, self.random = model, torch.Generator().manual_seed(seed)

    def make(self, cell, visual, ids):
        kind, _, argument = cell.rpartition("-")
        none = torch.zeros(0, visual.shape[1])
        if kind == "sparsevlm":
            rows = raters(self.model, visual, ids)

            def reduce(layer, attention, states):
                if layer not in CUTS or len(rows) == 0:
                    return None
                priority = attention[rows].mean(0)
                keep = TABLE[argument][CUTS.index(layer)]
                if keep >= len(priority):
                    return None
                order = priority.argsort(descending=True, stable=True)
                kept, dropped = order[:keep].sort().values, order[keep:].sort().values
                return kept, recycle(states, priority, dropped), True
        elif kind == "fastv":

            def reduce(layer, attention, states):
                if layer != 1:
                    return None
                return attention[-1].topk(FASTV[argument]).indices.sort().values, none, False
        elif kind == "random":

            def reduce(layer, attention, states):
                if layer not in CUTS:
                    return None
                keep = min(TABLE[argument][CUTS.index(layer)], len(states))
                return torch.randperm(len(states), generator=self.random)[:keep].sort().values, none, True
        elif kind == "none-after":

            def reduce(layer, attention, states):
                return (torch.zeros(0, dtype=torch.long), none, False) if layer == int(argument) else None
        else:
            return None
        return reduce


CELLS = ["vanilla", "blank", "other"] + [
    f"{m}-{b}" for m in ("sparsevlm", "fastv", "random") for b in ("192", "128", "64")
]


def variants(line: dict, letter: str, forms: bool):
    """(kind, what stands before the text, question, what stands behind it) of all questions of a picture."""
    for i, question in enumerate(line["questions"]):
        kind = question["type"]
        if kind == "mc":
            hint = "\n" + (CONTEXT + question["hint"] + "\n" if "hint" in question and i % 2 else "")
            yield question["form"] if forms else "mc", hint, question, letter
        elif kind == "text":
            yield kind, "", question, letter
        elif kind == "unanswerable":
            yield kind, "\n", question, SUFFIX_VIZWIZ
        else:
            yield kind, "\n", question, SUFFIX
            if kind == "number":
                yield "ocr", "\n", question, OCR + line["ocr"] + SUFFIX
            if kind in ("color", "shape", "size", "number") and "ocr" in line:
                yield "vizwiz", "\n", question, SUFFIX_VIZWIZ


@torch.no_grad()
def evaluate(
    model: Model,
    dump: Dump,
    pictures: int,
    cells,
    system=False,
    suffix=True,
    start=0,
    letter=SUFFIX_LETTER,
    forms=False,
):
    """Accuracy by cell and kind, and the share of raters that are content words of the question."""
    right, total = defaultdict(lambda: defaultdict(int)), defaultdict(lambda: defaultdict(int))
    content, chosen = 0, 0
    before = (SYSTEM if system else "") + ROLE
    prefix = model.tokenizer.encode(before).ids
    grey = model.context(prefix, model.look(np.full((336, 336, 3), 110, np.uint8)))
    role = model.tokenizer.encode(before[:-1]).ids
    blind = model.context(role, torch.zeros(0, grey[1].shape[1]))
    reducers, previous = Reducers(model), None
    for i, line in enumerate(dump.lines()):
        if i < start:
            continue
        if i >= start + pictures:
            break
        context = model.context(prefix, model.look(dump.pictures[i]))
        if previous is None:
            previous = model.context(prefix, model.look(dump.pictures[(start + pictures) % dump.count]))
        for kind, ahead, question, behind in variants(line, letter, forms):
            text = ahead + question["text"] + (behind if suffix else "") + CLOSE
            if kind == "text":  # without a picture there is but one cell
                ids = model.tokenizer.encode(before + text).ids[len(role) :]
                answer = model.tokenizer.decode(model.answer(blind, ids)).strip()
                for cell in cells:
                    right[cell][kind] += answer == question["answer"]
                    total[cell][kind] += 1
                continue
            encoded = model.tokenizer.encode(text)
            ids, at = encoded.ids[1:], len(ahead)
            ends = {end + at for phrase in question["phrases"] for _, end in phrase["words"]}
            picked = raters(model, context[1], ids).tolist()
            chosen += len(picked)
            content += sum(encoded.offsets[1 + r][1] in ends for r in picked)
            for cell in cells:
                source = {"blank": grey, "other": previous}.get(cell, context)
                reducer = reducers.make(cell, context[1], ids)
                answer = model.tokenizer.decode(model.answer(source, ids, reducer)).strip()
                right[cell][kind] += answer == question["answer"]
                total[cell][kind] += 1
        previous = context
    return right, total, content / max(1, chosen)


def table(right, total, types) -> str:
    lines = ["| cell | all | " + " | ".join(types) + " |", "|---" * (len(types) + 2) + "|"]
    for cell in right:
        share = [sum(right[cell].values()) / sum(total[cell].values())]
        share += [right[cell][t] / total[cell][t] if total[cell][t] else float("nan") for t in types]
        lines.append(f"| {cell} | " + " | ".join(f"{s:.3f}" for s in share) + " |")
    first = next(iter(total))
    lines.append(
        f"| questions | {sum(total[first].values())} | " + " | ".join(str(total[first][t]) for t in types) + " |"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--dump", type=Path, required=True, help="training dump of the world, with a seed of its own")
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the counts there")
    parser.add_argument("--cells", default=",".join(CELLS))
    parser.add_argument("--system", action="store_true", help="put the vicuna_v1 system prompt before USER:")
    parser.add_argument("--chinese", action="store_true", help="MMBench-CN's instruction for multiple choice")
    parser.add_argument("--forms", action="store_true", help="multiple choice by form")
    parser.add_argument("--bare", action="store_true", help="leave the answer instruction out")
    args = parser.parse_args()
    torch.set_num_threads(1)
    dump = Dump(args.dump)
    right, total, content = evaluate(
        Model(args.checkpoint),
        dump,
        args.pictures,
        args.cells.split(","),
        args.system,
        not args.bare,
        args.start,
        SUFFIX_LETTER_ZH if args.chinese else SUFFIX_LETTER,
        args.forms,
    )
    types = list(dump.meta["types"]) + ["ocr", "vizwiz"]
    asked = next(iter(total.values()))
    types = [t for t in types if t in asked] + sorted(t for t in asked if t not in types)
    if args.json:
        args.json.write_text(json.dumps({"right": right, "total": total, "content": content}))
    print(table(right, total, types))
    print(f"raters that are content words: {content:.3f}")


if __name__ == "__main__":
    main()
