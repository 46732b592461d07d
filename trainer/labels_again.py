"""The label sets that a file would give for sets that heads were fitted on: to tell the same labels in another file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import storage
from storage.errors import PermafrostError
from storage.feature_set import FeatureSet
from storage.names import SetName, parse_set
from storage.place import Place
from trainer.label_files import read_label_file
from trainer.label_options import LabelOptions
from trainer.labels import join, labels_for


def label_sets_of(heads: Iterable[Mapping[str, Any]], root: Place, labels: Path) -> set[str]:
    """`label_set_sha256` of the file, joined with each set and version of the store that these heads (as `head.json` describes them) were
    fitted on, with the options of each. What is no longer there, or fits nothing, gives none. Raises UsageError for what is no label file.
    """
    read_label_file(labels)
    sets: dict[str, FeatureSet] = {}
    found: dict[str, str | None] = {}
    for head in heads:
        with suppress(PermafrostError, AttributeError, KeyError, TypeError):
            fitted_on = parse_set(str(head["set"]))
            name = SetName(root, fitted_on.team, fitted_on.name, str(head["version"]))
            options = head["options"]
            asked = f"{name} {options['multi_label']} {options['labels']}"
            if asked not in found:
                found[asked] = None  # also where it fails
                if str(name) not in sets:
                    sets[str(name)] = storage.open(name)
                feature_set = sets[str(name)]
                label_set = labels_for(feature_set, labels, options["multi_label"], LabelOptions(**options["labels"]))
                found[asked] = join(feature_set.items, label_set).report.joined_digest
    return {digest for digest in found.values() if digest}
