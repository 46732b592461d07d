"""Queries that join the items of a version with their embeddings in other tools, ready to paste."""

from __future__ import annotations

from collections.abc import Callable

from storage.feature_set import FeatureSet


def duckdb_query(feature_set: FeatureSet) -> str:
    """SQL for DuckDB: one row an item, the embedding as its stored bytes. A comment for a version without rows."""
    if not feature_set.rows:
        return "-- this version has no rows"
    items, shards = _paths(feature_set, _sql_text)
    return (
        f"SELECT i.key, i.corpus, i.label, i.split, s.embedding\nFROM read_parquet([{items}]) i\n"
        f"JOIN read_parquet([{shards}], filename = true, file_row_number = true) s\n"
        "ON parse_filename(s.filename, true) = i.shard AND s.file_row_number = i.row;"
    )


def polars_query(feature_set: FeatureSet) -> str:
    """Python for Polars: the same rows. One digest can stand in several places, so items are joined by shard and row."""
    if not feature_set.rows:
        return "# this version has no rows"
    items, shards = _paths(feature_set, repr)
    return (
        "import polars as pl\n"
        f"items = pl.read_parquet([{items}], glob=False)\n"
        f'shards = pl.scan_parquet([{shards}], glob=False, include_file_paths="path").with_columns(\n'
        '    shard=pl.col("path").str.extract(r"([0-9a-f]{64})\\.parquet$"), row=pl.int_range(pl.len(), dtype=pl.Int32).over("path")\n'
        ").collect()\n"
        'table = items.join(shards, on=["shard", "row"], how="left").select("key", "corpus", "label", "split", "embedding")'
    )


def h5py_snippet(feature_set: FeatureSet) -> str:
    """Python for a set of HDF5 shards, which query engines do not read: `items`, and `embeddings` of the same order."""
    if not feature_set.rows:
        return "# this version has no rows"
    items, shards = _paths(feature_set, repr)
    shape, dtype = (feature_set.rows, *feature_set.shape), feature_set.description.dtype
    return (
        "import pathlib\nimport h5py\nimport numpy as np\nimport pyarrow.parquet as pq\n"
        f'items = pq.read_table([{items}], columns=["key", "corpus", "label", "split", "shard", "row"])\n'
        'shard, row = np.array(items["shard"].to_pylist()), items["row"].to_numpy()\n'
        f'embeddings = np.empty({shape}, "{dtype}")\n'
        f"for path in [{shards}]:\n"
        "    here = shard == pathlib.Path(path).stem\n"
        "    with h5py.File(path, locking=False) as file:\n"
        '        embeddings[here] = file["embedding"][:][row[here]]'
    )


def _paths(feature_set: FeatureSet, quote: Callable[[str], str]) -> tuple[str, str]:
    folder, manifest = feature_set.name.folder, feature_set.manifest
    items = [str(folder / entry.path) for _, state in sorted(manifest.corpora.items()) for entry in state.items]
    return ", ".join(map(quote, items)), ", ".join(quote(str(folder / shard.path)) for shard in manifest.shards)


def _sql_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
