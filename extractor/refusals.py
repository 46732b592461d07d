"""What a run refuses, and why, in words: each check raises or returns nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from extractor.corpus import Listing
from extractor.job import WorkerInfo
from extractor.ledger import Ledger
from extractor.plan import bytes_needed
from storage.errors import ConflictError, DamagedError, PermafrostError, RunError, UnstorableError
from storage.feature_set import SetDescription
from storage.files import exists, free_bytes, is_writable
from storage.golden import MIN_COSINE, GoldenImages
from storage.manifest import Manifest
from storage.names import SetName
from storage.place import Place
from storage.sizes import human_bytes
from storage.space import differing_fields, require_same_space
from storage.store import STORE_FILE

MAX_UNSTORABLE = 0.001  # of the listed items; more means that the dtype is wrong, not the image


def require_own_corpus(manifest: Manifest, name: SetName, listing: Listing) -> None:
    """A second corpus enters a set only with --add: a mistyped folder must not. Raises ConflictError."""
    if listing.corpus_id in manifest.corpora:
        return
    for known, state in manifest.corpora.items():
        raise ConflictError(
            f"{name.folder} mirrors corpus {known!r} ({state.source}), not {listing.corpus_id!r} ({listing.source}). If that "
            f"corpus has moved, pass --corpus-id {known}: what is unchanged is reused. To have both in the set, pass --add"
        )


def require_space(description: SetDescription, name: SetName, worker: WorkerInfo) -> None:
    """Raises SpaceMismatchError, naming the fields, if the run's features are not those of the set."""
    require_same_space(
        description.space,
        worker.space,
        f"the set {name.folder}",
        "this run",
        "Use the options that the set was made with (`permafrost store show`), or choose another set name",
    )


def require_same_network(begun: SetDescription, name: SetName, worker: WorkerInfo) -> None:
    """Of an int8 set without golden images that hold its calibrated network. Raises DamagedError if the run calibrated another one."""
    own, ours = begun.space.quantization, worker.space.quantization
    if own and ours and own != ours:
        raise DamagedError(
            f"{name.folder}: a run began this int8 set and died before its first version, and the calibrated network, which was beside its "
            "golden images (golden/), is missing or damaged now. The images of this run gave another one, so it would be another feature "
            f"space. No version is lost: `permafrost store rm {name} --yes` removes what was begun, and the same command begins anew; or "
            "choose another set name"
        )


def require_none_meanwhile(description: SetDescription, name: SetName, worker: WorkerInfo, standing: GoldenImages | None) -> None:
    """Raises ConflictError if only the calibrated network is another one, and the set has its own now. standing: its golden images.

    A run takes the network of the set, so that one was made after the run had looked.
    """
    if standing and standing.quantized and differing_fields(description.space, worker.space) == ["quantization"]:
        raise ConflictError(
            f"another run has made the int8 set {name} meanwhile, with a network that it calibrated itself, so this run's features are "
            "of another space. Nothing is lost: the same command, given again, takes the set's network and goes on"
        )


def require_different(embeddings: npt.NDArray[np.generic], precision: str = "float32") -> None:
    """embeddings: [n, *shape] of n different images. Raises RunError if they are all the same. precision: what they were computed in."""
    if (embeddings == embeddings[:1]).all():
        coarse = "" if precision == "float32" else f"{precision} may be too coarse for this network (--precision float32 tells), or "
        raise RunError(
            f"the network gives the same features for {len(embeddings)} different images, so they say nothing of any image: {coarse}check "
            "--weights, --layer and --preprocessing"
        )


def require_independent(embeddings: npt.NDArray[np.generic], again: npt.NDArray[np.generic], precision: str = "float32") -> None:
    """Raises RunError if images embed to something else in other batches. again: the rows of `embeddings`, some times over.

    By distance, not by cosine, which does not see a division by something of the whole batch. Whatever the cosine would refuse is
    at least so far away.
    """
    x, y = (each.reshape(len(each), -1).astype(np.float64) for each in (embeddings, again))
    x = np.concatenate([x] * (len(y) // len(x)))
    most = float(np.sqrt(1 - MIN_COSINE[precision] ** 2))
    distances, norms = np.linalg.norm(x - y, axis=1), np.linalg.norm(x, axis=1)
    if (distances > most * norms).any():
        worst = int(np.argmax(distances - most * norms))
        raise RunError(
            f"the network gives an image other features where other images are in its batch (of norm {norms[worst]:.3g}, "
            f"{distances[worst]:.3g} apart; in {precision} at most {most:.2%} of the norm): it computes over the batch, such as a mean "
            "over its first axis, or draws random numbers. Cached features must depend on their image alone: take that out of the "
            "network, or cut it before that (--layer)"
        )


def require_room(needs: Sequence[tuple[int, WorkerInfo]], root: Place) -> None:
    """A disk that is full in the middle of the night loses nothing, but the night. Raises RunError.

    needs: of each set that goes to this store, the images to read and what is made of them.
    """
    needed, free = sum(bytes_needed(items, worker.image_bytes) for items, worker in needs), free_bytes(root)
    if free is not None and needed > free:
        items = max(items for items, _ in needs)
        raise RunError(
            f"{items} images to read may take {human_bytes(needed)} in {root}, which has {human_bytes(free)} left. "
            "Make room, store less of each (--pooling avg, --dtype float16, fewer --views), or pass --no-disk-check if most of them are "
            "copies of images that the store has already"
        )


def require_storable(ledger: Ledger, dtype: str, name: SetName, number: int) -> None:
    """Raises UnstorableError once too many embeddings of a set cannot be held by its stored dtype. number: of the set in the run."""
    if ledger.unstorable > MAX_UNSTORABLE * len(ledger.listing.items):
        way_out = float32_option(number) if dtype == "float16" else "check the weights: the network itself gives no numbers"
        raise UnstorableError(
            f"{name}: {ledger.unstorable} embeddings are not finite, or too small, in {dtype}; that is more than {MAX_UNSTORABLE:.1%} of "
            f"the items, so the run was stopped: {way_out}",
            number,
        )


def float32_option(number: int) -> str:
    """The way out where float16 does not suffice for a set. number: of the set in the run."""
    return "name dtype=float32 in its --also" if number else "use --dtype float32"


def require_writable(name: SetName) -> None:
    """Raises PermafrostError before anything is listed or built."""
    if is_writable(name.folder):
        return
    if not exists(name.root / STORE_FILE):
        raise PermafrostError(f"there is no store {name.root}, and none can be made there: this user may not write there, or nobody may")
    raise PermafrostError(
        f"the store {name.root} is read-only, or this user may not write to {name.folder}: name a set in a store of your own. What "
        f"is there can be read and trained on, and with --reuse-from {name.root} it lends its embeddings to a set elsewhere"
    )
