"""The small world: what can be in a picture, and how a caption says it.

A picture shows one object, or two beside or above each other, drawn in one style on one background.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

STYLES = ("noto", "twemoji", "emojione", "firefox", "flat", "3d")

BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "white": (250, 250, 250),
    "gray": (150, 152, 156),
    "black": (28, 28, 32),
    "red": (205, 62, 60),
    "orange": (242, 145, 55),
    "yellow": (248, 222, 110),
    "green": (108, 180, 100),
    "blue": (84, 142, 222),
    "purple": (140, 96, 186),
    "pink": (246, 176, 200),
}

# word: (Unicode code point, the name Mozilla's set gives it, or none if it has no such drawing)
CONCEPTS: dict[str, tuple[str, str | None]] = {
    "penguin": ("1f427", "penguin"),
    "owl": ("1f989", None),
    "frog": ("1f438", "frog"),
    "fox": ("1f98a", None),
    "panda": ("1f43c", "pandaface"),
    "pig": ("1f437", "pig"),
    "monkey": ("1f435", "monkeyface"),
    "elephant": ("1f418", "elephant"),
    "whale": ("1f433", "spurtingwhale"),
    "fish": ("1f420", "tropicalfish"),
    "octopus": ("1f419", "octopus"),
    "crab": ("1f980", None),
    "snail": ("1f40c", "snail"),
    "butterfly": ("1f98b", None),
    "bee": ("1f41d", "honeybee"),
    "ladybug": ("1f41e", "ladybeetle"),
    "turtle": ("1f422", "turtle"),
    "chick": ("1f425", "frontfacingchick"),
    "koala": ("1f428", "koala"),
    "rabbit": ("1f430", "bunny"),
    "cat": ("1f431", "cat"),
    "apple": ("1f34e", "redapple"),
    "banana": ("1f34c", "banana"),
    "grapes": ("1f347", "grapes"),
    "watermelon": ("1f349", "watermelon"),
    "strawberry": ("1f353", "strawberry"),
    "cherries": ("1f352", "cherries"),
    "lemon": ("1f34b", "lemon"),
    "pear": ("1f350", "pear"),
    "pineapple": ("1f34d", "pineapple"),
    "tomato": ("1f345", "tomato"),
    "corn": ("1f33d", "earofmaize"),
    "mushroom": ("1f344", "mushroom"),
    "hamburger": ("1f354", "hamburger"),
    "pizza": ("1f355", "sliceofpizza"),
    "doughnut": ("1f369", "doughnut"),
    "lollipop": ("1f36d", "lollipop"),
    "car": ("1f697", "automobile"),
    "bus": ("1f68c", "bus"),
    "ambulance": ("1f691", "ambulance"),
    "tractor": ("1f69c", "tractor"),
    "bicycle": ("1f6b2", "bicycle"),
    "rocket": ("1f680", "rocket"),
    "sailboat": ("26f5", None),
    "helicopter": ("1f681", "helicopter"),
    "cactus": ("1f335", "cactus"),
    "palm tree": ("1f334", "palmtree"),
    "pine tree": ("1f332", "evergreen"),
    "sunflower": ("1f33b", "sunflower"),
    "tulip": ("1f337", "tulip"),
    "clover": ("1f340", "fourleafclover"),
    "umbrella": ("2614", "umbrellawithraindrops"),
    "balloon": ("1f388", "balloon"),
    "guitar": ("1f3b8", "guitar"),
    "key": ("1f511", "key"),
    "alarm clock": ("23f0", "alarmclock"),
    "light bulb": ("1f4a1", "lightbulb"),
    "soccer ball": ("26bd", "soccerball"),
    "basketball": ("1f3c0", None),
    "gift": ("1f381", "present"),
    "crown": ("1f451", "crown"),
    "trumpet": ("1f3ba", "trumpet"),
    "snowman": ("26c4", "snowmanwithoutsnow"),
    "house": ("1f3e0", "housebuilding"),
    "bell": ("1f514", "bell"),
    "anchor": ("2693", "anchor"),
    "ghost": ("1f47b", "ghost"),
    "heart": ("2764", "redheart"),
}

SCENE_CONCEPTS = (
    "penguin", "cat", "frog", "pig", "cactus", "sunflower", "mushroom", "car", "balloon", "gift", "apple", "crown",
)  # fmt: skip

# "the first is ... the second": where the first object is
RELATIONS = ("left of", "right of", "above", "below")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

HELD_OUT_PAIRS = 24


@dataclass(frozen=True)
class Scene:
    """The content of a picture.

    Attributes:
        concepts: one or two words of `CONCEPTS`.
        style: one of `STYLES`.
        background: one of `BACKGROUNDS`.
        relation: where the first object is, one of `RELATIONS`; None for one object.
    """

    concepts: tuple[str, ...]
    style: str
    background: str
    relation: str | None = None

    def turned(self) -> "Scene":
        """Return the same scene of two objects, told from the other one."""
        return Scene(self.concepts[::-1], self.style, self.background, OPPOSITE[str(self.relation)])

    def canonical(self) -> "Scene":
        """Return the same scene told from its left or upper object."""
        if self.relation in ("right of", "below"):
            return self.turned()
        return self


def article(noun: str) -> str:
    """Return the noun with its article: "an owl", "a cat", "grapes"."""
    if noun in ("grapes", "cherries", "corn"):
        return noun
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def caption(scene: Scene, *, style: bool = True, background: bool = True) -> str:
    """Return the caption of a scene, with or without its style and background.

    >>> caption(Scene(("penguin", "cactus"), "3d", "blue", "left of"))
    'a 3d drawing of a penguin left of a cactus on a blue background'
    """
    what = article(scene.concepts[0])
    if scene.relation:
        what = f"{what} {scene.relation} {article(scene.concepts[1])}"
    if style:
        what = f"{article(scene.style + ' drawing')} of {what}"
    return f"{what} on {article(scene.background + ' background')}" if background else what


def has_drawing(concept: str, style: str) -> bool:
    return style != "firefox" or CONCEPTS[concept][1] is not None


@cache
def held_out() -> frozenset[tuple[str, str]]:
    """Return the (concept, style) pairs that no model sees in training: different concepts, all styles alike."""
    rng = np.random.default_rng(20251)
    concepts = [c for c in CONCEPTS if CONCEPTS[c][1] is not None and c not in SCENE_CONCEPTS]
    chosen = rng.choice(concepts, HELD_OUT_PAIRS, replace=False)
    return frozenset((str(concept), STYLES[i % len(STYLES)]) for i, concept in enumerate(chosen))


@cache
def drawings(split: str = "train") -> tuple[tuple[str, str], ...]:
    """Return the (concept, style) pairs of a split: ``"train"``, ``"held-out"`` or ``"all"``."""
    pairs = [(c, s) for c in CONCEPTS for s in STYLES if has_drawing(c, s)]
    if split == "all":
        return tuple(pairs)
    return tuple(pair for pair in pairs if (pair in held_out()) == (split == "held-out"))


def random_scene(rng: np.random.Generator, *, two_objects: float = 0.25, split: str = "train") -> Scene:
    """Return a scene drawn at random; with probability `two_objects` one of two objects (never held out)."""
    background = str(rng.choice(list(BACKGROUNDS)))
    if rng.random() < two_objects:
        first, second = rng.choice(SCENE_CONCEPTS, 2, replace=False)
        return Scene((str(first), str(second)), str(rng.choice(STYLES)), background, str(rng.choice(RELATIONS)))
    concept, style = drawings(split)[rng.integers(len(drawings(split)))]
    return Scene((concept,), style, background)
