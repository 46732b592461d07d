"""The card of a set: who owns it, what it is, under which licence. Texts that people give and may change, so no version holds them.

They are in `card.json`, which is replaced as a whole, and before it is written those of `set.json` count. `storage.card_page` makes the
page `README.md` of them and of what the set is.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from storage.errors import DamagedError, NotFoundError, UsageError
from storage.feature_set import SetDescription, read_description
from storage.files import write_atomic
from storage.names import SetName
from storage.sealed import read_sealed, seal
from storage.store import require_store

FILE = "card.json"
MAX_LINE = 200  # characters of an owner or a licence
MAX_TEXT = 20_000


@dataclass(frozen=True)
class Card:
    """Empty texts are not given. changed: UTC, ISO 8601."""

    owner: str = ""
    description: str = ""
    licence: str = ""
    changed: str = ""

    def __post_init__(self) -> None:
        for name, text in (("owner", self.owner), ("licence", self.licence)):
            if len(text) > MAX_LINE or not text.isprintable():
                raise UsageError(f"the {name} should be one line of at most {MAX_LINE} characters, got {text[:50]!r}")
        if len(self.description) > MAX_TEXT or not all(c.isprintable() or c in "\n\t" for c in self.description):
            raise UsageError(f"the description should be text of at most {MAX_TEXT} characters, got {self.description[:50]!r}")


def read_card(name: SetName, description: SetDescription | None = None) -> Card:
    """description: of the set, where it has been read. Raises NotFoundError for a set that is not there, DamagedError."""
    known = dict((description or read_description(name)).card)
    with suppress(NotFoundError):
        known = read_sealed(name.folder / FILE, "card")
    try:
        return Card(**known)
    except (TypeError, AttributeError, UsageError) as error:
        raise DamagedError(f"{name.folder / FILE}: not a valid card ({error})") from None


def set_card(name: SetName, owner: str | None = None, description: str | None = None, licence: str | None = None) -> Card:
    """Give a set these texts; None leaves one as it is. Raises UsageError, NotFoundError."""
    if name.at:
        raise UsageError(f"{name}: a card is of the set; leave out '@{name.at}'")
    require_store(name.root)
    given = {"owner": owner, "description": description, "licence": licence}
    try:
        card = read_card(name)
    except DamagedError:  # it is replaced
        card = Card()
    card = replace(card, **{field: text.strip() for field, text in given.items() if text is not None}, changed=_now())
    write_card(name, card)
    return card


def write_card(name: SetName, card: Card) -> None:
    write_atomic(name.folder / FILE, seal(asdict(card)))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
