"""Captions of scenes: a small grammar with synonyms, and the way back from text to factors.

Sentence patterns and phrases marked as held out are never used in training. A held-out phrase
is a new arrangement of words that training shows elsewhere (a model trained from nothing
cannot know a word that it never met); some held-out patterns add words that are new.
"""

from __future__ import annotations

import random
import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ldmopt.miniature.scenes import Scene

# Words and marks, so that a caption stays within 32 tokens. Training's words are one token each;
# a held-out pattern may hold new words, which fall into several.
MOST_WORDS = 28
MOST_WORDS_HELD_OUT = 23

# factor -> value -> grammatical form -> phrases; those after "|" are held out of training.
PHRASES: dict[str, dict[str, dict[str, str]]] = {
    "time": {
        "dawn": {
            "adverb": "at dawn, at daybreak, at sunrise, early in the morning, in the morning, "
            "in pink morning light, as the day begins, in the early morning "
            "| under a pink morning sky, early at sunrise, in the light of dawn",
            "adjective": "dawn, sunrise, morning, early morning | daybreak, pink morning",
        },
        "day": {
            "adverb": "at noon, at midday, in the daytime, by day, during the day, "
            "under a blue sky, in broad daylight, on a clear day "
            "| under a clear blue sky, in clear daylight, on a clear blue day",
            "adjective": "daytime, midday, noon, daylight | clear day, blue sky",
        },
        "sunset": {
            "adverb": "at sunset, at dusk, at sundown, in the evening, in red evening light, "
            "under an orange sky, as the day ends, at twilight "
            "| under a red evening sky, in the light of dusk, late in the evening",
            "adjective": "sunset, evening, dusk, twilight | sundown, red evening",
        },
        "night": {
            "adverb": "at night, by night, after dark, at midnight, under the stars, "
            "under a starry sky, late at night, in the dark, on a starry night "
            "| under a dark starry sky, on a dark night, in the night",
            "adjective": "night, midnight, starry, dark night | night time, dark starry",
        },
    },
    "terrain": {
        "mountains": {
            "noun": "mountains, snowy mountains, a mountain range, high peaks, rocky peaks, "
            "snow-capped peaks, jagged mountains, rocky mountains, steep peaks "
            "| jagged peaks, high snowy mountains, a snowy range, steep mountains"
        },
        "sea": {
            "noun": "the sea, the ocean, calm water, a blue sea, open water, the seaside, "
            "ocean waves, the open ocean, a calm sea "
            "| the open sea, a calm ocean, blue water, sea waves"
        },
        "desert": {
            "noun": "the desert, sand dunes, a sandy desert, dunes, a dry desert, desert sand, "
            "yellow dunes, a hot desert | desert dunes, dry sand dunes, hot yellow sand"
        },
        "hills": {
            "noun": "green hills, rolling hills, a meadow, grassy hills, a green meadow, "
            "grassland, soft hills, green pasture "
            "| a grassy meadow, rolling green hills, green grassland"
        },
        "city": {
            "noun": "a city, a city skyline, tall buildings, skyscrapers, a big city, "
            "a skyline, city buildings, downtown, an urban skyline "
            "| tall skyscrapers, big city buildings, an urban city"
        },
    },
    "light": {
        "none": {
            "noun": "no sun or moon, an empty sky, neither sun nor moon, nothing in the sky, "
            "no sun and no moon, a bare sky | no moon or sun, a bare and empty sky"
        },
    },
    "thing": {
        "tree": {
            "noun": "a tree, a lone tree, a green tree, a leafy tree, a big tree, an old tree, "
            "a single tree, an oak, a big oak | a lone oak, a big leafy tree, an old oak tree"
        },
        "house": {
            "noun": "a house, a cottage, a small house, a red-roofed house, a cabin, "
            "a little cabin, a hut, a lone house, a little home "
            "| a little cottage, a lone cabin, a small hut, a red-roofed cottage"
        },
        "lighthouse": {
            "noun": "a lighthouse, a striped lighthouse, a tall lighthouse, a beacon, "
            "a red and white lighthouse, a striped beacon, an old lighthouse "
            "| a tall beacon, a tall striped lighthouse, a lone lighthouse"
        },
        "tent": {
            "noun": "a tent, a camping tent, an orange tent, a camp, a small tent, "
            "a canvas tent, a single tent, a small camp "
            "| a lone tent, an orange camping tent, a little canvas tent"
        },
    },
    "style": {
        "flat": {
            "noun": "a flat illustration, a flat drawing, a vector illustration, "
            "a vector graphic, flat vector art | a flat graphic, a flat vector illustration",
            "adverb": "in flat style, in flat vector style, as flat vector art, "
            "in flat colors, as a vector graphic | as a flat illustration, in vector style",
            "adjective": "flat, vector, flat vector | flat style",
        },
        "watercolor": {
            "noun": "a watercolor, a watercolor painting, an aquarelle, a soft watercolor, "
            "a watercolour picture | a soft watercolour painting, an aquarelle painting",
            "adverb": "in watercolor, painted in watercolor, in watercolour style, "
            "as an aquarelle, in soft watercolor | in aquarelle style, as a watercolor painting",
            "adjective": "watercolor, watercolour, aquarelle | soft watercolour",
        },
        "pixel": {
            "noun": "pixel art, a pixel art picture, an 8-bit picture, a pixelated picture, "
            "pixel graphics | 8-bit pixel art, a pixelated 8-bit picture",
            "adverb": "in pixel art, as pixel art, in pixel style, in 8-bit style, "
            "made of pixels | as 8-bit graphics, in 8-bit pixel art",
            "adjective": "pixel art, pixelated, 8-bit, pixel | 8-bit pixel",
        },
        "ink": {
            "noun": "an ink drawing, a pen drawing, an ink sketch, a pen and ink sketch, "
            "a line drawing | a pen sketch, an ink line drawing",
            "adverb": "in ink, in pen and ink, drawn in ink, as a line drawing, "
            "as an ink sketch | drawn in pen and ink, as a pen drawing",
            "adjective": "ink, pen and ink, ink sketch | pen",
        },
    },
}
BODIES = {
    "sun": "the sun, a bright sun, a yellow sun, a round sun, a sun | a bright yellow sun",
    "moon": "the moon, a crescent moon, a pale moon, a white moon, a moon | a pale crescent moon",
}
SIDES = {
    "left": "on the left, at the left, in the upper left, to the left, on the left side "
    "| at the upper left, at the left side",
    "middle": "in the middle, in the center, at the center, overhead, in the middle of the sky "
    "| at the middle, in the center of the sky",
    "right": "on the right, at the right, in the upper right, to the right, on the right side "
    "| at the upper right, at the right side",
}
for _body, _side in ((b, s) for b in BODIES for s in SIDES):
    _known, _new = (
        ", ".join(f"{b} {s}" for b in bodies.split(", ") for s in sides.split(", "))
        for bodies, sides in zip(BODIES[_body].split(" | "), SIDES[_side].split(" | "), strict=True)
    )
    PHRASES["light"][f"{_body} {_side}"] = {"noun": f"{_known} | {_new}"}

# S style, T time, G terrain (ground), L light, O object; lower case: s adjective, a adverb.
FULL_PATTERNS = """
{S} of {G} {T} with {O} and {L}
{S} of {O} by {G} {T}, {L}
{S}: {G}, {O}, {L}, {T}
{S} showing {O}, {G} and {L} {T}
{S} of a {t} landscape: {G}, {O}, {L}
{S} of {L} over {G} {T} with {O}
{S} of {O} {T} with {L} and {G}
{L}, {G}, {T}, and {O}; {S}
{O} in front of {G} {T}, {L}, {a}
{O} and {G} {T} under {L}, {a}
{O} {T}, with {G} in the background and {L}, {a}
{O} before {G}, {L}, {T}, {s} style
{G} {T} with {O}, {L}, {a}
{G} behind {O} {T} with {L}, {a}
{G} and {L} {T}, {O} in the foreground, {a}
{T}, {O} stands before {G} with {L}, {a}
{T}: {L} above {G} with {O}, {a}
{L} above {G} {T}, {O} in the foreground, {a}
there is {O} before {G} {T}; {L}; {a}
view of {G} {T}, {O} close by, {L}, {a}
a {s} picture of {O} near {G} {T} with {L}
a {s} {t} scene of {G}, {O} and {L}
a {t} scene with {G}, {O} and {L}, {a}
a {t} view of {O} by {G}, {L}, {s} style
a {t} picture of {O}, {L} and {G}, {a}
{a}, {O} beside {G} {T} with {L}
{a}: {T}, {L}, {G}, {O}
{a}, {G} {T}, {L} and {O}
""".strip().splitlines()
HELD_OUT_PATTERNS = """
{O} with {G} behind it and {L}, {T}, {a}
a scene {T}: {O} before {G}, with {L}, {a}
{L} over {O} and {G} {T}, {a}
{S}, {T}: {L}, {G} and {O}
{G} in the background, {O} in front, {L}, {T}, {s} style
{T}, {a}, {G} with {O} under {L}
{S} with {O}, {L} and {G} {T}
a {s} view of {L}, {O} and {G} {T}
please draw {O} near {G} {T}, with {L}, {a}
i would like {S} of {G} and {O} {T} with {L}
""".strip().splitlines()
PARTIAL_PATTERNS = """
{S} of {G} {T}
{S} of {O}
{S} of {O} by {G}
{S} of {G} with {L}
{O} by {G} {T}
{O} {T}, {a}
{O} with {L}, {a}
{G} with {L} {T}
{G} {T}, {a}
{T}, {O} and {L}
{O} by {G} {T} with {L}
{S} of {O} by {G} {T}
{S} of {G} {T} with {L}
{G}, {O}
a {s} {t} scene
{L} {T}, {a}
""".strip().splitlines()
FILLERS = (
    "a beautiful picture,",
    "highly detailed,",
    "show me",
    "make",
    "a nice image:",
    "best quality,",
)
SLOTS = {
    "S": ("style", "noun"),
    "a": ("style", "adverb"),
    "s": ("style", "adjective"),
    "T": ("time", "adverb"),
    "t": ("time", "adjective"),
    "G": ("terrain", "noun"),
    "L": ("light", "noun"),
    "O": ("thing", "noun"),
}


@cache
def phrases(factor: str, value: str, form: str, held_out: bool = False) -> tuple[str, ...]:
    """Return the phrases of a factor's value in one form: training's, or only those held out."""
    known, new = PHRASES[factor][value][form].split("|")
    return tuple(part.strip() for part in (new if held_out else known).split(","))


def _fill(pattern: str, scene: Scene, rng: random.Random, new_share: float) -> str:
    """Put a phrase into every slot; a share of the phrases, at least one, is held out."""
    slots = re.findall(r"{(\w)}", pattern)
    new = {slot for slot in slots if rng.random() < new_share}
    if new_share and not new:
        new = {rng.choice(slots)}
    words = {}
    for slot in slots:
        factor, form = SLOTS[slot]
        words[slot] = rng.choice(phrases(factor, getattr(scene, factor), form, slot in new))
    return re.sub(r"\ba (?=[aeio8])", "an ", pattern.format(**words))


def _length(text: str) -> int:
    """Return the number of words and marks, about the number of tokens."""
    return len(re.findall(r"[a-z]+|\d|[^\sa-z\d]+", text))


def _pattern(rng: random.Random, held_out: bool) -> str:
    """Return a sentence pattern that names all five factors.

    One in five is a bare list in any order; lists that begin with the light are held out.
    """
    if rng.random() < 0.2:
        order = rng.sample("aTGLO", 5)
        while (order[0] == "L") != held_out:
            order = rng.sample("aTGLO", 5)
        return ", ".join(f"{{{slot}}}" for slot in order)
    return rng.choice(HELD_OUT_PATTERNS if held_out else FULL_PATTERNS)


def caption(scene: Scene, rng: random.Random, held_out: bool = False) -> str:
    """Return a caption that names all five factors of the scene and fits into 32 tokens.

    Args:
        scene: what the caption says.
        rng: where the choice of pattern and phrases comes from.
        held_out: use a held-out pattern, and held-out phrases in a third of the slots (at
            least one); otherwise training wording only.
    """
    while True:
        text = _fill(_pattern(rng, held_out), scene, rng, 1 / 3 if held_out else 0.0)
        if _length(text) <= (MOST_WORDS_HELD_OUT if held_out else MOST_WORDS):
            return text


def training_caption(scene: Scene, rng: random.Random) -> str:
    """Return a caption as training sees it: sometimes with factors left out or empty words."""
    if rng.random() < 0.15:
        text = _fill(rng.choice(PARTIAL_PATTERNS), scene, rng, 0.0)
    else:
        text = caption(scene, rng)
    if rng.random() < 0.1:
        text = f"{rng.choice(FILLERS)} {text}"
    elif rng.random() < 0.15:  # a word without meaning: what is unknown should be ignored
        words = text.split()
        sound = "".join(rng.choice("bdfgklmnprst") + rng.choice("aeiou") for _ in range(2))
        words.insert(rng.randrange(len(words) + 1), sound)
        text = " ".join(words)
    return text if _length(text) <= MOST_WORDS else caption(scene, rng)


@cache
def _lexicon() -> tuple[re.Pattern[str], dict[str, tuple[str, str]]]:
    """Return a pattern that finds any phrase, longest first, and what each phrase means."""
    meaning: dict[str, tuple[str, str]] = {}
    for factor, values in PHRASES.items():
        for value, forms in values.items():
            for form in forms:
                for held_out in (False, True):
                    for phrase in phrases(factor, value, form, held_out):
                        meaning[phrase] = (factor, value)
    ordered = sorted(meaning, key=len, reverse=True)
    return re.compile(r"\b(" + "|".join(map(re.escape, ordered)) + r")\b"), meaning


def parse(text: str) -> dict[str, str]:
    """Return the factors that a caption of this grammar names, and only those."""
    pattern, meaning = _lexicon()
    return dict(meaning[found] for found in pattern.findall(text.lower()))
