"""The questions of a dump as arrays, and batches of them packed behind the pictures of a few scenes."""

import dataclasses
import hashlib
import pickle
import re

import numpy as np
import torch

from training.tokenizer import COLORS, CONTEXT, OCR, PLURALS, ROLE, SHAPES, SIZES, TEXTURES, Words
from training.world import AMBIGUOUS, MAX_OBJECTS, Dump

ATTRIBUTE = (
    {word: (0, i) for i, word in enumerate(COLORS)}
    | {word: (1, i) for i, word in enumerate(SHAPES)}
    | {word: (1, i) for i, word in enumerate(PLURALS)}
    | {word: (2, i) for i, word in enumerate(SIZES)}
    | {word: (3, i) for i, word in enumerate(TEXTURES)}
)
HOP = ("relv", "relc", "same", "larger", "vcolor", "vcount", "vnumber", "mc_relc_x", "mc_relc_y")
COUNTS = ("count", "vcount", "mc_count")
VIZWIZ = ("color", "shape", "size", "number", "unanswerable")  # types that are asked with VizWiz's instruction
SHORT = 12  # questions of at most so many tokens are packed apart from longer ones
LONGEST = 68  # tokens of "\n" + question
ROOM = LONGEST + 40  # ... with instruction, "ASSISTANT:" and answer


@dataclasses.dataclass
class Questions:
    """All questions of a dump as arrays (N, Q, ...), -1 or 0 where there is nothing. Rows count from the "▁" on."""

    types: list  # of the dump, and the forms of multiple choice
    kind: np.ndarray  # index into types, -1 = no question
    tokens: np.ndarray  # (N, Q, LONGEST)
    length: np.ndarray
    answer: np.ndarray  # token id
    look: np.ndarray  # (N, Q, LONGEST) bit mask of the objects a row should look at
    noun: np.ndarray  # (N, Q, 2) rows of the first two nouns; of a statement about one, the second is the value
    fits: np.ndarray  # (N, Q, 2) bit mask of the objects of their phrases
    key: np.ndarray  # row of the word that says what is asked, -1 if there is none
    hop: np.ndarray  # 1 if the answer is Yes, left or above, else 0; -1 if nothing is compared
    judge: np.ndarray  # row where the comparison is made
    target: np.ndarray  # the winner of an extreme
    counts: np.ndarray  # whether the first noun is counted
    option: np.ndarray  # (N, Q, 4) rows of the options' last words
    letter: np.ndarray  # (N, Q, 4) rows of their letters
    right: np.ndarray  # index of the right option
    source: np.ndarray  # without a picture: the row of the context that says what is asked
    said: np.ndarray  # (N, Q, 3, 2) without a picture: rows of what is said and of whom


def with_surroundings(question: dict, line: dict, random: np.random.Generator) -> tuple[str, str]:
    """What stands before and behind the text: sometimes a hint, sometimes the numbers that OCR read."""
    draw = random.random()
    if "hint" in question and draw < 0.5:
        return ("" if draw < 0.15 else CONTEXT) + question["hint"] + "\n", ""
    share = {"number": 0.5, "unanswerable": 0.0, "mc": 0.0, "text": 0.0}.get(question["type"], 0.08)
    return "", OCR + line["ocr"] if "ocr" in line and draw < share else ""


def rows_of_words(text: str, encoded, skip: int) -> dict:
    """Row of the piece that begins at a character of the text. A piece's offsets may include the space before it."""
    rows = {}
    for row, (start, end) in enumerate(encoded.offsets[skip:]):
        rows[start] = row
        if text[start:end].startswith(" "):
            rows[start + 1] = row
    return rows


def read_questions(dump: Dump, words: Words) -> Questions:
    """Parses questions.jsonl; the result is kept beside it, keyed by the tokenizer."""
    mark = (5, words.content, LONGEST, [f.name for f in dataclasses.fields(Questions)])
    source = dump.folder / "questions.jsonl"
    key = hashlib.sha256(repr(mark).encode() + source.read_bytes()).hexdigest()[:12]
    cache = dump.folder / f"questions-{key}.pickle"
    if cache.exists():
        return pickle.loads(cache.read_bytes())
    most, random = dump.meta["questions"], np.random.default_rng(0)
    lines = list(dump.lines())
    forms = sorted({q["form"] for line in lines for q in line["questions"] if q["type"] == "mc"})
    types = list(dump.meta["types"]) + forms
    shape = (dump.count, most)

    def array(fill, kind, *more):
        return np.full((*shape, *more), fill, kind)

    q = Questions(
        types,
        kind=array(-1, np.int8),
        tokens=array(0, np.int16, LONGEST),
        length=array(0, np.int8),
        answer=array(0, np.int16),
        look=array(0, np.int16, LONGEST),
        noun=array(-1, np.int8, 2),
        fits=array(0, np.int16, 2),
        key=array(-1, np.int8),
        hop=array(-1, np.int8),
        judge=array(-1, np.int8),
        target=array(-1, np.int8),
        counts=array(False, bool),
        option=array(-1, np.int8, 4),
        letter=array(-1, np.int8, 4),
        right=array(-1, np.int8),
        source=array(-1, np.int8),
        said=array(-1, np.int8, 3, 2),
    )
    for i, line in enumerate(lines):
        for j, question in enumerate(line["questions"][:most]):
            before, behind = with_surroundings(question, line, random)
            if question["type"] == "text":  # follows "USER:" directly
                before, skip = ROLE, len(words.text_prefixes[0])
            else:
                before, skip = "\n" + before, 1
            text = before + question["text"] + behind
            encoded = words.tokenizer.encode(text)
            ids = encoded.ids[skip:]
            if len(ids) > LONGEST:
                raise ValueError(f"longer than {LONGEST} tokens: {text!r}")
            rows, at = rows_of_words(text, encoded, skip), len(before)
            kind = question["form"] if question["type"] == "mc" else question["type"]
            q.kind[i, j] = types.index(kind)
            q.tokens[i, j, : len(ids)] = ids
            q.length[i, j] = len(ids)
            q.answer[i, j] = words.word(question["answer"])
            if question["key"]:
                # What matters in "the same color as" is the word behind "same".
                q.key[i, j] = rows[question["key"][0] + at] + (kind == "same")
            for k, option in enumerate(question["options"] if question["type"] in ("mc", "text") else []):
                last = option["text"].rfind(" ") + 1
                q.option[i, j, k] = rows[option["span"][0] + last + at]
                q.letter[i, j, k] = rows[option["span"][0] + at] - 2  # "A", ".", "red"
                if option["right"]:
                    q.right[i, j] = k
            if kind == "text":
                name = question["phrases"][0]["text"]
                said = question["options"][q.right[i, j]]["text"]
                place = re.search(rf"The {name} is ({said})\.", text).start(1)
                for k, match in enumerate(re.finditer(r"The (\w+)(?: number)? is (\w+)\.", text)):
                    q.said[i, j, k] = rows[match.start(2)], rows[match.start(1)]
                q.source[i, j], q.noun[i, j, 0] = rows[place], rows[question["phrases"][0]["noun"][0] + at]
                continue
            for k, phrase in enumerate(question["phrases"][:2]):
                fitting = set(range(dump.objects[i]))
                for start, end in phrase["words"]:
                    name = question["text"][start:end]
                    if name in ATTRIBUTE:
                        axis, value = ATTRIBUTE[name]
                        fitting = {o for o in fitting if dump.attributes[i, o, axis] == value}
                    q.look[i, j, rows[start + at]] = sum(1 << o for o in fitting)
                noun = rows[phrase["noun"][0] + at]
                fits = sum(1 << o for o in phrase["objects"] if o < MAX_OBJECTS)
                q.look[i, j, noun] = fits
                q.noun[i, j, k], q.fits[i, j, k] = noun, fits
            if kind in HOP:
                right = question["answer"]
                if kind.startswith("mc"):
                    right = question["options"][q.right[i, j]]["text"]
                q.hop[i, j] = right in ("Yes", "left", "above")
                if kind in ("vcolor", "vnumber"):  # the value that is asked for is the second noun: it looks back
                    q.noun[i, j, 1] = q.key[i, j]
                q.judge[i, j] = q.noun[i, j, 0 if kind == "vcount" else 1]
            q.counts[i, j] = kind in COUNTS
            if kind == "extreme":
                q.target[i, j] = question["targets"][0]
    used = q.tokens[q.kind >= 0]
    if (used == 0).all(axis=1).any() or dump.objects.max() > MAX_OBJECTS:
        raise ValueError("a question without tokens, or a scene with too many objects")
    cache.write_bytes(pickle.dumps(q, protocol=4))
    return q


class Deck:
    """Which questions go into one batch together: of like length, with one instruction."""

    def __init__(self, questions: Questions, shares: dict[str, float]):
        """shares: of the batches, by deck."""
        self.questions = questions
        names = np.array(questions.types + [""])[questions.kind]  # "" where there is no question
        choice, text = np.char.startswith(names, "mc_"), names == "text"
        plain = (names != "") & ~choice & ~text & (names != "unanswerable")
        self.fits = {
            "short": plain & (questions.length <= SHORT),
            "long": plain & (questions.length > SHORT),
            "choice": choice,
            "vizwiz": np.isin(names, VIZWIZ) & (questions.length <= SHORT + 4),
            "text": text,
        }
        self.texts = np.argwhere(text)
        self.present = [name for name in shares if self.fits[name].any()]
        share = np.array([shares[name] for name in self.present])
        self.share = share / share.sum()

    def draw(self, random: np.random.Generator, bare: float) -> tuple[str, str, int]:
        """The deck, the instruction, and how many questions a scene it should hold of every eleven."""
        name = self.present[random.choice(len(self.present), p=self.share)]
        if name == "vizwiz":
            return name, "vizwiz", 7
        if random.random() < bare:
            return name, "none", 7 if name in ("choice", "text") else 11
        if name in ("choice", "text"):
            return name, "letter_zh" if random.random() < 0.15 else "letter", 7
        return name, "word", 11

    def pick(self, name: str, scenes, weights: np.ndarray, per_scene: int, random: np.random.Generator):
        """Scene and place of every question (B, Q), and whether there is one."""
        if name == "text":  # they need no picture: one long row of them
            picked = self.texts[random.integers(len(self.texts), size=(1, 6 * per_scene))]
            return picked[..., 0], picked[..., 1], np.ones(picked.shape[:2], bool)
        usable, kind = self.fits[name][scenes], self.questions.kind[scenes]
        chance = np.where(usable, weights[kind], 0.0) + 1e-9
        order = np.argsort(-np.log(random.random(kind.shape)) / chance, axis=1)[:, :per_scene]
        scene = np.repeat(np.asarray(scenes)[:, None], order.shape[1], axis=1)
        return scene, order, self.fits[name][scene, order]


def bits(masks: torch.Tensor) -> torch.Tensor:
    """(...,) bit masks -> (..., MAX_OBJECTS) floats."""
    return ((masks.long()[..., None] >> torch.arange(MAX_OBJECTS)) & 1).float()


class Packed:
    """One batch: B scenes, Q questions each, V visual tokens. All index tensors speak of flat question rows."""

    def __init__(self, questions: Questions, scene, order, usable, close: list[int]):
        """scene, order, usable: (B, Q), see Deck.pick. close: what follows every question."""

        def take(values, missing):
            mask = usable.reshape(usable.shape + (1,) * (values.ndim - 2))
            return np.where(mask, values[scene, order], missing).astype(np.int64)

        kind, length = take(questions.kind, -1), take(questions.length, 0)
        self.kind = torch.from_numpy(kind)
        total = int(length.max()) + len(close) + 1
        batch, count = length.shape
        ids = np.zeros((batch, count, max(total, ROOM)), np.int64)
        ids[:, :, :LONGEST] = take(questions.tokens, 0)
        b, c = np.ogrid[:batch, :count]
        ids[b[..., None], c[..., None], length[..., None] + np.arange(len(close))] = np.array(close)
        answer = take(questions.answer, 0)
        last = length + len(close) - 1
        ids[b, c, last + 1] = answer
        self.ids = torch.from_numpy(ids[:, :, :total])
        self.valid = self.kind >= 0
        base = (np.arange(batch)[:, None] * count + np.arange(count)) * total
        self.rows_per_scene, self.per_question = count * total, total
        self.last = torch.from_numpy(base + last)  # flat row that answers
        self.answer = torch.from_numpy(answer)
        look = np.zeros((batch, count, max(total, ROOM)), np.int64)
        look[:, :, :LONGEST] = take(questions.look, 0)
        self.look = torch.from_numpy(look[:, :, :total].reshape(batch * count * total))
        noun = take(questions.noun, -1)
        self.has_noun = torch.from_numpy(noun >= 0)
        self.noun_own = torch.from_numpy(noun)  # row within the question
        self.noun = torch.from_numpy(base[..., None] + noun)  # flat row
        self.fits = torch.from_numpy(take(questions.fits, 0))
        self.key = torch.from_numpy(take(questions.key, -1))
        self.hop = torch.from_numpy(take(questions.hop, -1))
        judge = take(questions.judge, -1)
        self.judge, self.judged = torch.from_numpy(base + judge), torch.from_numpy(judge >= 0)
        self.target = torch.from_numpy(take(questions.target, -1))
        self.counts = torch.from_numpy(take(questions.counts, 0)) > 0
        option, right = take(questions.option, -1), take(questions.right, -1)
        self.has_option = torch.from_numpy(option >= 0)
        self.option, self.option_own = torch.from_numpy(base[..., None] + option), torch.from_numpy(option)
        self.letter_own, self.right = torch.from_numpy(take(questions.letter, -1)), torch.from_numpy(right)
        self.source, said = torch.from_numpy(take(questions.source, -1)), take(questions.said, -1)
        self.has_said = torch.from_numpy(said[..., 0] >= 0)
        self.said = torch.from_numpy(base[..., None] + said[..., 0])
        self.said_own = torch.from_numpy(said[..., 1])  # of whom, as a row within the question
        self.scene_of = torch.arange(batch)[:, None].expand(batch, count)


def choose_patches(owner, anchors, count: int, random: np.random.Generator, keep: float) -> np.ndarray:
    """Visual tokens of a scene, in order: every anchor, a share `keep` of the object patches, background to fill up."""
    chance = random.random(owner.shape)
    chance[owner < MAX_OBJECTS] += np.where(chance[owner < MAX_OBJECTS] < keep, 2.0, 0.0)
    for scene, patches in enumerate(anchors):
        chance[scene, patches[patches >= 0]] += 4.0
    chance[owner == AMBIGUOUS] -= 1.0
    return np.sort(np.argsort(-chance, axis=1)[:, :count], axis=1)
