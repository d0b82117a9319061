"""An independent reference of LLaVA-1.5 and of the methods that drop visual tokens, in f64 (rotary angles f32).

Written from the published algorithms, not from the C code. Embeddings, norms, MLPs and projector are transformers'
modules; attention is written out here, and make_cases.py checks the whole against transformers' own forward. Where the
published code leaves a tie to chance, the earlier place wins (visual order; falling priority among recycled tokens).
"""
import math

import torch
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d, normalize
from transformers import AutoTokenizer, CLIPImageProcessor, LlavaForConditionalGeneration

TABLES = {"sparsevlm": {192: [300, 200, 110], 96: [238, 48, 26]}, "plus": {192: [300, 200, 118]},
          "fastv": {192: [180], 128: [114]}, "pdrop": {192: [322, 180, 100]}}
LAYERS = {"fastv": [1], "pdrop": [1, 7, 15]}  # of the cuts
LIKE = {"fastv": {1: 114}, "sparsevlm": {2: 82, 6: 32, 15: 18}}  # lengths at 128 and 64
STEPS = 6  # answer tokens


def falling(score):
    """Places by falling score, the lower index among equals."""
    return sorted(range(len(score)), key=lambda j: (-float(score[j]), j))


def apportion(total, sizes):
    """total in proportion to sizes: largest remainder, the earlier among equals."""
    by_rest = falling([total * s % sum(sizes) for s in sizes])
    n_more = total - sum(total * s // sum(sizes) for s in sizes)
    return [total * s // sum(sizes) + (i in by_rest[:n_more]) for i, s in enumerate(sizes)]


def grid_of(budget):
    """r x c <= budget with r * c largest, then nearest the square, then fewer rows."""
    grids = [(r, c) for r in range(1, 25) for c in range(1, 25) if r * c <= budget]
    return max(grids, key=lambda g: (g[0] * g[1], -round(abs(math.log(g[1] / g[0])), 9), -g[0]))


def split(x, heads):
    return x.view(len(x), heads, -1).transpose(0, 1)


class Model:
    def __init__(self, path):
        self.path, self.noise = path, None
        self.hf = LlavaForConditionalGeneration.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")
        self.vision = self.hf.double().eval().model.vision_tower.vision_model
        self.project, self.decoder = self.hf.model.multi_modal_projector, self.hf.model.language_model
        self.tokenizer, self.processor = AutoTokenizer.from_pretrained(path), CLIPImageProcessor.from_pretrained(path)
        self.embedding = self.decoder.embed_tokens.weight
        self.config, self.image_id = self.hf.config.text_config, self.hf.config.image_token_index
        self.heads, self.kv_heads = self.config.num_attention_heads, self.config.num_key_value_heads
        self.head_dim = self.config.hidden_size // self.heads

    def disturb(self, x):
        return x if self.noise is None else x + 1e-5 * x.std() * torch.randn(x.shape, generator=self.noise).double()

    def rotate(self, x, positions):
        """[heads, n, head_dim], halves, not pairs."""
        inverse = 1.0 / self.config.rope_theta ** (torch.arange(0, self.head_dim, 2).float() / self.head_dim)
        angle = torch.as_tensor(positions).float()[:, None] * inverse
        cos, sin, (a, b) = angle.cos().double(), angle.sin().double(), x.chunk(2, -1)
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def projections(self, number, x, positions):
        a, h = self.decoder.layers[number].self_attn, self.decoder.layers[number].input_layernorm(x)
        return (self.rotate(split(a.q_proj(h), self.heads), positions),
                self.rotate(split(a.k_proj(h), self.kv_heads), positions), split(a.v_proj(h), self.kv_heads))

    def attention(self, q, k):
        """Causal probabilities [heads, n, keys] of the last n rows."""
        later = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).triu(k.shape[1] - q.shape[1] + 1)
        k = k.repeat_interleave(self.heads // self.kv_heads, 0)
        return (q @ k.transpose(1, 2) / math.sqrt(self.head_dim)).masked_fill(later, -math.inf).softmax(-1)

    def layer(self, number, x, positions, cache):
        """One decoder layer on rows x that follow the cache: their output and attention."""
        block, (q, k, v) = self.decoder.layers[number], self.projections(number, x, positions)
        if number in cache:
            k, v = torch.cat([cache[number][0], k], 1), torch.cat([cache[number][1], v], 1)
        cache[number], p = (k, v), self.attention(q, k)
        o = (p @ v.repeat_interleave(self.heads // self.kv_heads, 0)).transpose(0, 1).reshape(len(x), -1)
        x = x + block.self_attn.o_proj(o)
        return self.disturb(x + block.mlp(block.post_attention_layernorm(x))), p

    def pixels(self, file, grid=None):
        picture, options = Image.open(file).convert("RGB"), {}
        if grid:  # the centre square is resized once to what the tower is to see
            (w, h), side = picture.size, min(picture.size)
            left, top = (w - side) // 2, (h - side) // 2
            picture = picture.crop((left, top, left + side, top + side))
            for size in ((grid[1] * 14, side), (grid[1] * 14, grid[0] * 14)):  # across first: Pillow 13 may not
                picture = picture.resize(size, Image.BICUBIC)
            options = {"do_resize": False, "do_center_crop": False}
        return torch.as_tensor(self.processor(picture, return_tensors="pt", **options)["pixel_values"]).double()

    def see(self, file, case, budget):
        """One picture that is to come to `budget` tokens: projected tokens, cell of each, cuts in the tower."""
        method, p, cuts = case["method"], case["params"], []
        grid = grid_of(budget) if method == "downsample" else None
        x = self.vision.embeddings(self.pixels(file, grid), interpolate_pos_encoding=bool(grid))
        x, heads = self.vision.pre_layrnorm(x)[0], self.vision.config.num_attention_heads
        size, groups = torch.ones(len(x)).double(), [[i - 1] for i in range(len(x))]
        for number, block in enumerate(self.vision.encoder.layers[:-1]):
            h, a = block.layer_norm1(x), block.self_attn
            q, k, v = (split(f(h), heads) for f in (a.q_proj, a.k_proj, a.v_proj))
            attention = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]) + size.log()).softmax(-1)
            x = x + a.out_proj((attention @ v).transpose(0, 1).reshape(len(x), -1))
            if method == "tome":
                x, size, groups, cut = tome(x, size, groups, k.mean(0), p["r"][number])
                cuts.append(cut | {"site": "vision", "layer": number})
            x = self.disturb(x + block.mlp(block.layer_norm2(x)))
        if method == "visionzip":
            dominant = p.get("dominant", math.floor(27 * budget / 32 + 0.5))
            contextual = p.get("contextual", budget - dominant)
            x, cut = visionzip(x, attention[:, 0, 1:].sum(0), k.mean(0), dominant, contextual)
            return self.project(x), [-1] * len(x), [cut | {"site": "vision", "layer": number}]
        order = sorted(range(1, len(x)), key=lambda i: groups[i][0])  # raster: by the first patch of each
        if method == "tome":
            cuts[-1]["groups"] = [groups[i] for i in order]
        return self.project(x[order]), [groups[i][0] for i in order], cuts


def gap(score, order, keep):
    return float((score[order[keep - 1]] - score[order[keep]]) / abs(score[order[keep - 1]]))


def tome(x, size, groups, keys, r):
    """Bipartite soft matching: even tokens into odd ones, the class token (row 0) never; sizes weigh the mean."""
    n, m = len(x), normalize(keys, dim=-1)
    similarity = m[0::2] @ m[1::2].T
    similarity[0] = -math.inf
    best, target = similarity.max(-1)
    order, r, into = falling(best), min(r, (n - 1) // 2), {}
    for i in sorted(order[:r]):
        into.setdefault(int(target[i]), []).append(2 * i)
    members = [[2 * i] for i in sorted(order[r:])] + [[2 * j + 1] + into.get(j, []) for j in range(n // 2)]
    sizes = torch.stack([size[m].sum() for m in members])
    x = torch.stack([(x[m] * size[m, None]).sum(0) / s for m, s in zip(members, sizes)])
    return x, sizes, [sorted(sum((groups[i] for i in m), [])) for m in members], {
        "tokens_in": n - 1, "kept": sorted(m[0] - 1 for m in members if m[0] > 0),
        "clusters": [[2 * j] + [i - 1 for i in into[j]] for j in sorted(into)]}


def visionzip(x, score, keys, dominant, contextual):
    """The class token and the patches it attends to most; every step-th of the rest is a target, to which the mean
    of those others is added whose largest cosine it has."""
    order, m, patches = falling(score), normalize(keys[1:], dim=-1), x[1:]
    kept, rest = sorted(order[:dominant - 1]), sorted(order[dominant - 1:])
    targets = rest[::max(1, len(rest) // contextual)][:contextual]
    others = [j for j in rest if j not in set(targets)]
    to = (m[others] @ m[targets].T).argmax(-1).tolist()
    clusters = [[j for j, where in zip(others, to) if where == g] for g in range(contextual)]
    tokens = [patches[t] + (patches[c].mean(0) if c else 0) for t, c in zip(targets, clusters)]
    return torch.cat([x[:1], patches[kept], torch.stack(tokens)]), {
        "tokens_in": len(score), "kept": kept, "centres": targets, "_gap": gap(score, order, dominant - 1),
        "clusters": [sorted(c + [t]) for t, c in zip(targets, clusters)]}


class Sequence:
    """Rows, and of each its picture (-1: text), cell and position. `end`: where the last visual span ends."""

    def __init__(self, x, image, cell, position=None):
        self.x, self.image, self.cell, self.n = x, image, cell, len(x)
        self.position, self.visual = position or list(range(len(x))), [i for i in range(len(x)) if image[i] >= 0]
        self.end, self.n_images = self.visual[-1] + 1, max(image) + 1

    def parts(self, per_image):
        """Places among the visual tokens, by picture or all together; a cluster belongs to its centre's picture."""
        images = [self.image[i] for i in self.visual]
        return [[j for j, image in enumerate(images) if not per_image or image == i]
                for i in range(self.n_images if per_image else 1)]

    def after(self, cut, original):
        """Clusters stand at the end of the last visual span; those of `pool` where they belong."""
        kept, visual = {self.visual[j] for j in cut.get("kept", [])}, self.visual
        rows = [i for i in range(self.n) if self.image[i] < 0 or i in kept]
        made = [(visual[c], self.x[[visual[j] for j in members]].mean(0))
                for c, members in zip(cut.get("centres", []), cut.get("clusters", []))]
        slots = [(i, self.x[i]) for i in rows if i < self.end] + made + [(i, self.x[i]) for i in rows if i >= self.end]
        slots = slots if "kept" in cut else sorted(slots, key=lambda slot: slot[0])
        image, cell, position = ([values[i] for i, _ in slots] for values in (self.image, self.cell, self.position))
        return Sequence(torch.stack([x for _, x in slots]), image, cell, position if original else None)


def best(cut, s, score, keep, per_image):
    """Keeps the best by score; returns the dropped by falling score."""
    order = falling(score)
    parts = [[j for j in order if j in set(part)] for part in s.parts(per_image)]
    shares = apportion(keep, [len(part) for part in parts])
    cut["_gap"], cut["_score"] = min(gap(score, part, n) for part, n in zip(parts, shares)), score
    cut["kept"] = sorted(j for part, n in zip(parts, shares) for j in part[:n])
    return [j for j in order if j not in set(cut["kept"])]


def recycle(cut, x, dropped):
    """DPC-KNN over the best of `dropped` (falling priority; rows x by place)."""
    recycled = dropped[:min(len(dropped), int(0.3 * len(dropped)) + 1)]
    n, h = len(recycled), x[recycled]
    count = min(n, int(0.1 * n) + 1)
    distance = (h[:, None] - h[None]).norm(dim=-1) / math.sqrt(h.shape[1])
    density = (-distance.sort(-1).values[:, :count].pow(2).mean(-1)).exp()
    above = density[None] - density[:, None]  # [i, j]: how much denser j is; the earlier one among equals
    denser = (above > 1e-6) | ((above.abs() <= 1e-6) & (torch.ones(n, n).tril(-1) > 0))
    delta = distance.masked_fill(~denser, math.inf).min(-1).values
    centres = falling(density * torch.where(denser.any(-1), delta, distance.max()))[:count]
    to = {i: g for i, g in enumerate(distance[:, centres].argmin(-1).tolist())} | {c: g for g, c in enumerate(centres)}
    cut["centres"] = [recycled[c] for c in centres]
    cut["clusters"] = [sorted(recycled[i] for i in range(n) if to[i] == g) for g in range(count)]


def sparsevlm(model, p, s, candidates, out):
    """The cut after a layer, as a function of layer, sequence and attention."""
    mode = p.get("mode", "v1.5")
    weights = (s.x[s.visual] @ s.x[s.n - candidates:].T).softmax(-1).mean(0)
    raters = [i for i, w in enumerate(weights.tolist()) if w > 1 / candidates]
    layers = [2, 6, 15] + ([19] if mode == "v1.0" else [])
    out["leads"].append(100 * float((weights * candidates - 1).abs().min()))  # 2e-5 from the threshold

    def cut_after(layer, s, attention):
        if layer not in layers:
            return None
        v, rows = len(s.visual), [s.n - candidates + i for i in raters]
        a = attention[:, rows][:, :, s.visual]
        cut = {"site": "decoder", "layer": layer, "tokens_in": v, "raters": raters}
        if mode == "plus":  # gravity correction, then the heads that look most
            d, where = model.head_dim, torch.tensor(s.position).double()
            angles = (where[rows][:, None] - where[s.visual])[..., None] * model.config.rope_theta ** (
                -torch.arange(0, d, 2).double() / d)
            a = a / (2 / math.sqrt(d) * angles.cos().sum(-1)).clamp(min=math.sqrt(d) / 16)
            a = a[falling(a.sum((1, 2)))[:model.heads // 2]]
        a = a.mean(0)
        if mode in ("v1.0", "paper"):
            sigma = torch.linalg.svdvals(a)
            rank = cut["rank"] = int((sigma > max(a.shape) * 2.0 ** -23 * sigma[0]).sum())
            keep = max(1, int(rank * p["scale"] + p["bias"])) if mode == "v1.0" else v - int(p["lambda"] * (v - rank))
        else:  # the table of each picture's part, times their number
            table = TABLES["plus" if mode == "plus" else "sparsevlm"].get(p.get("budget", 0) // s.n_images, [])
            keep = p.get("keep", [s.n_images * k for k in table])[layers.index(layer)]
        if keep >= v:
            return None
        dropped = best(cut, s, a.mean(0), keep, p.get("quota") == "per-image")
        if p.get("recycle") != "off" and mode != "plus":
            recycle(cut, s.x[s.visual], dropped)
        return cut
    return cut_after


def divprune(h, n):
    """The token whose nearest other is farthest, then always the one whose nearest chosen one is farthest."""
    distance, chosen = 1 - normalize(h, dim=-1) @ normalize(h, dim=-1).T, []
    nearest = distance.topk(2, dim=0, largest=False).values[1]  # the second: not itself
    while len(chosen) < n:
        chosen.append(int(nearest.argmax()))
        nearest = distance[chosen].min(0).values
    return chosen


def rival(model, name, p):
    """The same of fastv, pdrop, divprune, pool and the controls by place."""
    counts = [p["keep"]] if "keep" in p else TABLES.get(name, {}).get(p["budget"], [p["budget"]])
    counts = LIKE[p["like"]] if "like" in p else dict(zip(LAYERS.get(name, [-1]), counts))
    picks = {"uniform": lambda part, n, x: [part[(2 * i + 1) * len(part) // (2 * n)] for i in range(n)],
             "top": lambda part, n, x: part[:n], "bottom": lambda part, n, x: part[len(part) - n:],
             "divprune": lambda part, n, x: [part[j] for j in divprune(x[part], n)]}

    def cut_after(layer, s, attention):
        if layer not in counts:
            return None
        keep, per_image = counts[layer], p.get("quota") == "per-image"
        cut = {"site": "decoder" if layer >= 0 else "before", "layer": layer, "tokens_in": len(s.visual)}
        if name == "fastv":  # the last row of the layer just run
            best(cut, s, attention[:, -1, s.visual].mean(0), keep, per_image)
        elif name == "pdrop":  # the last row through the projections of the layer to come
            q, k, _ = model.projections(layer + 1, s.x, s.position)
            best(cut, s, model.attention(q[:, -1:], k)[:, 0, s.visual].mean(0), keep, per_image)
        elif name == "center":
            places = [divmod(s.cell[i], 24) for i in s.visual]
            best(cut, s, [-math.hypot(r - 11.5, c - 11.5) for r, c in places], keep, per_image)
            del cut["_gap"], cut["_score"]
        elif name == "pool":  # windows from what the pooling does to one cell at a time
            cut["clusters"] = []
            for part, share in zip(s.parts(True), apportion(keep, [576] * s.n_images)):
                windows = adaptive_avg_pool2d(torch.eye(576).view(576, 24, 24), grid_of(share)).flatten(1).T
                cut["clusters"] += [[part[int(j)] for j in window.nonzero()] for window in windows]
            cut["centres"] = [members[0] for members in cut["clusters"]]
        else:
            parts = s.parts(per_image or name in ("top", "bottom"))
            shares = apportion(keep, [len(part) for part in parts])
            cut["kept"] = sorted(j for part, n in zip(parts, shares) for j in picks[name](part, n, s.x[s.visual]))
        return cut
    return cut_after


def dialogue(model, case, files, prompts, noise=None):
    """Runs the case: all that it came to."""
    method, p, ids = case["method"], case["params"], []
    model.noise = noise and torch.Generator().manual_seed(noise)
    original = p.get("positions", "original" if "fastv" in (method, p.get("like")) else "compact") == "original"
    seen = [model.see(f, case, n) for f, n in zip(files, apportion(p.get("budget", 0), [576] * len(files)))]
    out = {"cuts": [cut for one in seen for cut in one[2]], "turns": [], "logits": [], "leads": [],
           "taps": {"projector.out": torch.cat([one[0] for one in seen])}}
    for t, prompt in enumerate(prompts):  # every turn is prefilled anew
        prompt_ids = model.tokenizer(prompt, add_special_tokens=t == 0)["input_ids"]
        ids, x, image, cell = ids + prompt_ids, [], [], []
        for i in ids:
            number = max(image, default=-1) + 1 if i == model.image_id else -1
            tokens, cells = seen[number][:2] if number >= 0 else (model.embedding[i][None], [-1])
            x, image, cell = x + [tokens], image + [number] * len(cells), cell + cells
        s, cut_after = Sequence(torch.cat(x), image, cell), lambda *_: None
        if (t == 0 or p["turns"] == "reselect") and method not in ("vanilla", "visionzip", "tome", "downsample"):
            candidates = len(prompt_ids) if t else s.n - s.end
            cut_after = (sparsevlm(model, p, s, candidates, out) if method == "sparsevlm" else rival(model, method, p))
        answer = answer_of(model, out, s, cut_after, original)
        text = model.tokenizer.decode(answer, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        out["turns"].append({"prompt": prompt, "prompt_ids": prompt_ids, "expanded_len": s.n, "answer_ids": answer,
                             "answer_text": text})
        ids += answer
    return out


def answer_of(model, out, s, cut_after, original):
    """Prefill of s with its cuts, then greedy answer ids."""
    cache, uncut, taps, n_layers = {}, s.n, out["taps"], model.config.num_hidden_layers
    out["visual_in"], out["visual_out"], out["kv_len"], attention = [], [], [], None
    for layer in range(-1, n_layers):
        if layer >= 0:
            out["visual_in"].append(len(s.visual)), out["kv_len"].append(s.n)
            s.x, attention = model.layer(layer, s.x, s.position, cache)
        taps["decoder.19.out"], cut = s.x, cut_after(layer, s, attention)
        if cut:
            s = s.after(cut, original)
            out["cuts"].append(cut)
            taps |= {"decoder.%d.reduced" % layer: s.x}
            taps |= {"decoder.%d.score" % layer: cut["_score"]} if "_score" in cut else {}
        out["visual_out"] += [len(s.visual)] if layer >= 0 else []
    x, answer = s.x[-1:], []
    while True:
        logits = model.hf.lm_head(model.decoder.norm(x[-1]))
        first, second = logits.topk(2).values.tolist()
        out["logits"].append(logits), out["leads"].append((first - second) / float(logits.abs().max()))
        answer.append(int(logits.argmax()))
        if answer[-1] == model.tokenizer.eos_token_id or len(answer) == STEPS:
            return answer
        x = model.embedding[answer[-1]][None]
        for layer in range(n_layers):
            x, _ = model.layer(layer, x, [uncut if original else cache[layer][0].shape[1]], cache)
        uncut += 1
