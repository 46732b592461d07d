"""Classic recipes of transfer learning by name: each stands for ordinary options of `extract` and of `train`.

A name is replaced by its options before the command is parsed; what the user says beside it comes later, and so goes before.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from storage.errors import UsageError

OPTION = "--recipe"


@dataclass(frozen=True)
class ClassicRecipe:
    """`extract` and `train`: the options of the two commands, in words."""

    about: str
    extract: str
    train: str

    def words(self, command: str) -> list[str]:
        return {"extract": self.extract, "train": self.train}[command].split()


RECIPES = {
    "resnet50-flatten-128": ClassicRecipe(
        "feature extraction: the maps of ResNet50, flattened, Dense(128, relu), softmax",
        "--backbone resnet50 --pooling none",
        "--strategy feature-extraction --head mlp --map flatten --hidden 128",
    ),
    "vgg16-last-5": ClassicRecipe(
        "hybrid: the last five layers of VGG16 trained, pooled, Dense(256, relu), softmax",
        "--backbone vgg16 --train-last 5",
        "--strategy hybrid --head mlp --hidden 256",
    ),
    "inception-v3-fine-tuned": ClassicRecipe(
        "fine-tuning: all of InceptionV3 from the images, pooled, Dense(1024, relu), softmax",
        "--backbone inception_v3 --pooling avg",
        "--strategy fine-tuning --head mlp --hidden 1024",
    ),
}


def add_recipe_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """For --help; `expanded` has taken it out before."""
    told = "; ".join(f"{name} ({recipe.about})" for name, recipe in RECIPES.items())
    parser.add_argument(
        OPTION, type=_in_full, metavar="NAME", help=f"options by the name of a classic recipe, here and in the other command: {told}"
    )


def expanded(argv: Sequence[str]) -> tuple[list[str], str]:
    """The command line with the options that a recipe's name stands for, and a line that tells them ("": no recipe is named).

    Raises UsageError for an unknown name, and for a command that has no recipes.
    """
    words = list(argv)
    at = next((i for i, word in enumerate(words) if word == OPTION or word.startswith(f"{OPTION}=")), None)
    if at is None:
        return words, ""
    named = words[at].partition("=")[2] if "=" in words[at] else "".join(words[at + 1 : at + 2])
    rest = words[:at] + words[at + (1 if "=" in words[at] else 2) :]
    command = rest[0] if rest else ""
    if command not in ("extract", "train"):
        raise UsageError(f"{OPTION} is an option of extract and of train; got it with {command or 'no command'}")
    if named not in RECIPES:
        raise UsageError(f"unknown recipe {named!r}: expected one of {', '.join(RECIPES)}")
    options = RECIPES[named].words(command)
    return [command, *options, *rest[1:]], f"{OPTION} {named} means {_told(options, rest)}"


def _told(options: Sequence[str], rest: Sequence[str]) -> str:
    """What holds of a recipe's options (name and value in turn) beside the rest of the command line, in which names may be short."""
    said = [word.partition("=")[0] for word in rest if word.startswith("--")]
    pairs = list(zip(options[::2], options[1::2], strict=True))
    kept = [f"{name} {value}" for name, value in pairs if not any(name.startswith(word) for word in said)]
    own = [name for name, _ in pairs if any(name.startswith(word) for word in said)]
    return " ".join(kept) + (f"{' and ' if kept else ''}{', '.join(own)} as said beside it" if own else "")


def _in_full(text: str) -> str:
    raise argparse.ArgumentTypeError(f"name one recipe, by {OPTION} in full; got {text!r}")
