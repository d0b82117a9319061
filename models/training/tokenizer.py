"""Tokenizer: LLaMA-form BPE with byte fallback whose merges are learned on the word list alone.

Merging goes on until every word is one piece, and no merge ever joins two words, so a prompt's tokens are its words.
"""

import json
from collections import Counter
from pathlib import Path

from tokenizers import Tokenizer

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)
ROLE = "USER: "
IMAGE = "<image>"
SUFFIX = "\nAnswer the question using a single word or phrase."
SUFFIX_LETTER = "\nAnswer with the option's letter from the given choices directly."
CLOSE = " ASSISTANT:"

SUFFIX_LETTER_ZH = "\n请直接回答选项字母。"
SUFFIX_VIZWIZ = "\nWhen the provided information is insufficient, respond with 'Unanswerable'." + SUFFIX
CONTEXT, OCR = "Context: ", "\nReference OCR token: "

SHAPES = "circle square triangle diamond star cross ring heart".split()
COLORS = "red orange yellow green cyan blue purple white".split()
SIZES, TEXTURES = ["small", "medium", "large"], ["plain", "striped"]
PLURALS = [shape + ("es" if shape == "cross" else "s") for shape in SHAPES]
# Words with a space before them; answers are among them.
SPACED = (
    SYSTEM.replace(".", "").replace(",", "").replace("'s", "")
    + SUFFIX.replace(".", "")
    + CLOSE.replace(":", "")
    + " USER with option letter from given choices directly"
).split()
SPACED += SHAPES + PLURALS + COLORS + SIZES + TEXTURES + ["object", "objects"]
SPACED += (
    "is are there in image color shape size on left right of at top bottom above below many same as larger than"
    " leftmost rightmost topmost bottommost highest lowest Yes No A B C D"
).split()
SPACED += [str(n) for n in range(10)]
# Words that follow a line break, an apostrophe or nothing.
BARE = "Is Are What How Where Which Answer".split() + ["'s"]
SPACE = "\u2581"
# Learned after everything above and put behind it, so that a decoder trained before there were numbers keeps its ids.
# The first ones must be one piece each; of the rest, words of fixed instructions, as much as there is room for.
DIGITS = [str(n) for n in range(10)]
LATER = [SPACE + "number", SPACE + "Unanswerable", "Unanswerable", "Context", SPACE + "Context", "The", SPACE + "E"]
LATER_CHARACTERS = list(dict.fromkeys(SUFFIX_LETTER_ZH[1:]))
LATER_INSTRUCTION = [SPACE + word for word in "OCR token provided respond information insufficient".split()]
LATER_INSTRUCTION += ["When", "Reference"]
PIECES = 702  # of the 704 rows; <image> and <pad> follow
UNKNOWN, BOS, EOS, NEWLINE = 0, 1, 2, 3 + 10


def merge(piece: list[str], pair: tuple[str, str]) -> None:
    """Joins the pair wherever it occurs, in place."""
    i = 0
    while i + 1 < len(piece):
        if (piece[i], piece[i + 1]) == pair:
            piece[i : i + 2] = ["".join(pair)]
        i += 1


def learn_merges(words: list[str], first=(), most: int = 1 << 30) -> list[tuple[str, str]]:
    """The most frequent pair first (ties: the lexicographically greatest) until every word is one piece.

    first: merges that were learned before and go before; most: how many to learn at most.
    """
    pieces = [list(word) for word in words]
    for pair in first:
        for piece in pieces:
            merge(piece, pair)
    merges = []
    while len(merges) < most and any(len(piece) > 1 for piece in pieces):
        pairs = Counter(pair for piece in pieces for pair in zip(piece, piece[1:]))
        pair = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(pair)
        for piece in pieces:
            merge(piece, pair)
    return merges


def build() -> dict:
    """The content of tokenizer.json."""
    words = sorted({SPACE + word for word in SPACED} | set(BARE))
    merges = learn_merges(words)
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    letters = [chr(code) for code in range(33, 127) if chr(code).isalnum() or chr(code) in "!\"%'()*+,-./:;=?"]
    pieces += letters + [SPACE] + ["".join(pair) for pair in merges]
    pieces = list(dict.fromkeys(pieces))
    later = learn_merges(LATER, merges)
    pieces = list(dict.fromkeys(pieces + ["".join(pair) for pair in later] + LATER_CHARACTERS))
    merges += later
    later = learn_merges(LATER_INSTRUCTION, merges, PIECES - len(pieces))
    pieces = list(dict.fromkeys(pieces + ["".join(pair) for pair in later]))
    merges += later
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    special = ["<unk>", "<s>", "</s>"]
    image, pad = len(pieces), len(pieces) + 1
    added = [(i, special[i]) for i in range(3)] + [(image, IMAGE), (pad, "<pad>")]
    begin = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    begin_pair = {"SpecialToken": {"id": "<s>", "type_id": 1}}
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": i,
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for i, content in added
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": SPACE},
                {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, first],
            "pair": [begin, first, begin_pair, second],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [BOS], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [list(pair) for pair in merges],
        },
    }


class Words:
    """The tokenizer with the ids that training needs."""

    def __init__(self):
        self.content = build()
        self.vocabulary = self.content["model"]["vocab"]
        self.tokenizer = Tokenizer.from_str(json.dumps(self.content))
        self.image = self.tokenizer.token_to_id(IMAGE)
        self.pad = self.tokenizer.token_to_id("<pad>")
        self.size = self.pad + 1
        self.prefixes = [self.ids(ROLE), self.ids(SYSTEM + ROLE)]  # with <s>
        self.close = self.after_line(CLOSE)
        self.closes = {  # what follows a question, by the instruction
            "none": self.close,
            "word": self.after_line(SUFFIX + CLOSE),
            "letter": self.after_line(SUFFIX_LETTER + CLOSE),
            "letter_zh": self.after_line(SUFFIX_LETTER_ZH + CLOSE),
            "vizwiz": self.after_line(SUFFIX_VIZWIZ + CLOSE),
        }
        # Without a picture the text follows the role directly.
        self.text_prefixes = [self.ids(ROLE[:-1]), self.ids(SYSTEM + ROLE[:-1])]
        # Word pieces that alignment speaks about: every piece that is a whole word of the closed vocabulary.
        self.in_use = sorted(
            {self.vocabulary[SPACE + word] for word in SPACED}
            | {self.vocabulary[w] for w in BARE + LATER}
            | {self.vocabulary[c] for c in ".,:?"}
            | {NEWLINE, self.vocabulary[SPACE]}
            | {self.vocabulary[letter] for letter in "ABCDE"}
            | {piece for close in self.closes.values() for piece in close}
            | set(self.after_line(OCR + "1, 2"))
        )

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text).ids

    def after_line(self, text: str) -> list[int]:
        """Ids of a text that continues a line: as within a longer text, without <s> and without a leading space."""
        start = self.ids("\nx")
        whole = self.ids("\nx" + text)
        if whole[: len(start)] != start:
            raise ValueError(f"tokens of {text!r} depend on what stands before them")
        return whole[len(start) :]

    def word(self, word: str) -> int:
        return self.vocabulary[SPACE + word]

    @property
    def answers(self) -> tuple[list[int], list[int]]:
        """Ids of the answers since there are numbers, and of those that were answers before."""
        new = ["0", "A", "B", "C", "D", "E", "Unanswerable"]
        old = COLORS + SHAPES + SIZES + TEXTURES + "left right top bottom above below Yes No".split() + DIGITS[1:]
        return [self.word(w) for w in new], [self.word(w) for w in old]

    def save(self, folder: Path) -> None:
        (folder / "tokenizer.json").write_text(json.dumps(self.content, ensure_ascii=False, indent=1) + "\n")
