"""The questions of a dump as arrays, and batches of them packed behind the pictures of a few scenes."""

import dataclasses
import hashlib
import pickle

import numpy as np
import torch

from training.tokenizer import COLORS, PLURALS, SHAPES, SIZES, TEXTURES, Words
from training.world import AMBIGUOUS, MAX_OBJECTS, Dump

ATTRIBUTE = (
    {word: (0, i) for i, word in enumerate(COLORS)}
    | {word: (1, i) for i, word in enumerate(SHAPES)}
    | {word: (1, i) for i, word in enumerate(PLURALS)}
    | {word: (2, i) for i, word in enumerate(SIZES)}
    | {word: (3, i) for i, word in enumerate(TEXTURES)}
)
HOP = ("relv", "relc", "same", "larger")
SHORT = 12  # questions of at most so many tokens are packed apart from longer ones
LONGEST = 26  # tokens of "\n" + question
ROOM = LONGEST + 16  # ... with instruction, "ASSISTANT:" and answer


@dataclasses.dataclass
class Questions:
    """All questions of a dump as arrays (N, Q, ...), -1 or 0 where there is nothing. Rows count from the "▁" on."""

    types: list
    kind: np.ndarray  # index into types, -1 = no question
    tokens: np.ndarray  # (N, Q, LONGEST)
    length: np.ndarray
    answer: np.ndarray  # token id
    look: np.ndarray  # (N, Q, LONGEST) bit mask of the objects a row should look at
    noun: np.ndarray  # (N, Q, 2) rows of the first two nouns
    fits: np.ndarray  # (N, Q, 2) bit mask of the objects of their phrases
    key: np.ndarray  # row of the word that says what is asked, -1 if there is none
    hop: np.ndarray  # 1 if the answer is Yes, left or above, else 0; -1 if nothing is compared
    target: np.ndarray  # the winner of an extreme


def read_questions(dump: Dump, words: Words) -> Questions:
    """Parses questions.jsonl; the result is kept beside it, keyed by the tokenizer."""
    key = hashlib.sha256(
        repr((3, words.content, LONGEST, [f.name for f in dataclasses.fields(Questions)])).encode()
    ).hexdigest()[:12]
    cache = dump.folder / f"questions-{key}.pickle"
    if cache.exists():
        return pickle.loads(cache.read_bytes())
    types = list(dump.meta["types"])
    most = dump.meta["questions"]
    shape = (dump.count, most)
    q = Questions(
        types,
        np.full(shape, -1, np.int8),
        np.zeros((*shape, LONGEST), np.int16),
        np.zeros(shape, np.int8),
        np.zeros(shape, np.int16),
        np.zeros((*shape, LONGEST), np.int16),
        np.full((*shape, 2), -1, np.int8),
        np.zeros((*shape, 2), np.int16),
        np.full(shape, -1, np.int8),
        np.full(shape, -1, np.int8),
        np.full(shape, -1, np.int8),
    )
    for i, questions in enumerate(dump.questions()):
        for j, question in enumerate(questions[:most]):
            if question["type"] == "mc":
                continue
            encoded = words.tokenizer.encode("\n" + question["text"])
            ids = encoded.ids[1:]
            if len(ids) > LONGEST:
                raise ValueError(f"longer than {LONGEST} tokens: {question['text']!r}")
            row = {start: r for r, (start, _) in enumerate(encoded.offsets[1:])}
            # A piece's offsets may include the space before it.
            row |= {
                start + 1: r
                for r, (start, end) in enumerate(encoded.offsets[1:])
                if ("\n" + question["text"])[start:end].startswith(" ")
            }
            q.kind[i, j] = types.index(question["type"])
            q.tokens[i, j, : len(ids)] = ids
            q.length[i, j] = len(ids)
            q.answer[i, j] = words.word(question["answer"])
            for k, phrase in enumerate(question["phrases"][:2]):
                fitting = set(range(dump.objects[i]))
                for start, end in phrase["words"]:
                    name = question["text"][start:end]
                    if name in ATTRIBUTE:
                        axis, value = ATTRIBUTE[name]
                        fitting = {o for o in fitting if dump.attributes[i, o, axis] == value}
                    q.look[i, j, row[start + 1]] = sum(1 << o for o in fitting)
                noun = row[phrase["noun"][0] + 1]
                fits = sum(1 << o for o in phrase["objects"] if o < MAX_OBJECTS)
                q.look[i, j, noun] = fits
                q.noun[i, j, k], q.fits[i, j, k] = noun, fits
            if question["key"]:
                # What matters in "the same color as" is the word behind "same".
                q.key[i, j] = row[question["key"][0] + 1] + (question["type"] == "same")
            if question["type"] in HOP:
                q.hop[i, j] = question["answer"] in ("Yes", "left", "above")
            if question["type"] == "extreme":
                q.target[i, j] = question["targets"][0]
    used = q.tokens[q.kind >= 0]
    if (used == 0).all(axis=1).any() or dump.objects.max() > MAX_OBJECTS:
        raise ValueError("a question without tokens, or a scene with too many objects")
    cache.write_bytes(pickle.dumps(q, protocol=4))
    return q


def bits(masks: torch.Tensor) -> torch.Tensor:
    """(...,) bit masks -> (..., MAX_OBJECTS) floats."""
    return ((masks.long()[..., None] >> torch.arange(MAX_OBJECTS)) & 1).float()


class Packed:
    """One batch: B scenes, Q questions each, V visual tokens. All index tensors speak of flat question rows."""

    def __init__(
        self,
        dump: Dump,
        questions: Questions,
        scenes,
        weights: np.ndarray,
        per_scene: int,
        words: Words,
        random: np.random.Generator,
        suffix: bool,
    ):
        # Short and long questions go into different batches, so that little is padded.
        short = random.random() < 0.5
        kinds = np.where((questions.length <= SHORT) == short, questions.kind, -1)
        kind = kinds[scenes]
        chance = np.where(kind >= 0, weights[kind], 0.0) + 1e-9
        order = np.argsort(-np.log(random.random(kind.shape)) / chance, axis=1)[:, :per_scene]
        scene = np.asarray(scenes)[:, None]
        kind = kinds[scene, order]
        self.kind = torch.from_numpy(kind.astype(np.int64))
        self.count_kind = questions.types.index("count")
        length = np.where(kind >= 0, questions.length[scene, order], 0).astype(np.int64)
        close = np.array(words.close_suffix if suffix else words.close)
        total = int(length.max()) + len(close) + 1
        batch, count = length.shape
        ids = np.zeros((batch, count, max(total, ROOM)), np.int64)
        ids[:, :, : questions.tokens.shape[2]] = questions.tokens[scene, order]
        rows = np.arange(len(close))
        b, c = np.ogrid[:batch, :count]
        ids[b[..., None], c[..., None], length[..., None] + rows] = close
        answer = questions.answer[scene, order].astype(np.int64)
        last = length + len(close) - 1
        ids[b, c, last + 1] = answer
        self.ids = torch.from_numpy(ids[:, :, :total])
        self.valid = self.kind >= 0
        base = (np.arange(batch)[:, None] * count + np.arange(count)) * total
        self.rows_per_scene = count * total
        self.last = torch.from_numpy(base + last)  # flat row that answers
        self.answer = torch.from_numpy(answer)
        look = np.zeros((batch, count, max(total, ROOM)), np.int64)
        look[:, :, : questions.look.shape[2]] = questions.look[scene, order]
        look[kind < 0] = 0
        self.look = torch.from_numpy(look[:, :, :total].reshape(batch * count * total))
        noun = questions.noun[scene, order].astype(np.int64)
        self.has_noun = torch.from_numpy(noun >= 0) & self.valid[..., None]
        self.noun_own = torch.from_numpy(noun)  # row within the question
        self.noun = torch.from_numpy(base[..., None] + noun)  # flat row
        self.fits = torch.from_numpy(questions.fits[scene, order].astype(np.int64))
        self.hop = torch.from_numpy(np.where(kind >= 0, questions.hop[scene, order], -1).astype(np.int64))
        self.key = torch.from_numpy(np.where(kind >= 0, questions.key[scene, order], -1).astype(np.int64))
        self.target = torch.from_numpy(questions.target[scene, order].astype(np.int64))
        self.per_question = total
        self.scene_of = torch.arange(batch)[:, None].expand(batch, count)


def choose_patches(owner, anchors, count: int, random: np.random.Generator, keep: float) -> np.ndarray:
    """Visual tokens of a scene, in order: every anchor, a share `keep` of the object patches, background to fill up."""
    chance = random.random(owner.shape)
    chance[owner < MAX_OBJECTS] += np.where(chance[owner < MAX_OBJECTS] < keep, 2.0, 0.0)
    for scene, patches in enumerate(anchors):
        chance[scene, patches[patches >= 0]] += 4.0
    chance[owner == AMBIGUOUS] -= 1.0
    return np.sort(np.argsort(-chance, axis=1)[:, :count], axis=1)
