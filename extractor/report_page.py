"""The report as a page for people: a pure function from the report's dict to one HTML file without scripts or outside resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from extractor.novelty import KINDS
from extractor.precision_words import cost_told, head_told
from extractor.reasons import UNCOUNTED_REASONS
from extractor.report_charts import BINS, rate_chart, rates, share_bar
from extractor.report_style import STYLE
from extractor.stages import BEFORE_WORK, STAGES, THREADS
from storage.html import Markup, join, tag
from storage.sizes import human_bytes, human_seconds

# Were a text to get through unescaped after all, the browser would still run nothing and ask nobody.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_TITLES = {
    "driver": "The run",
    "forward": "Embedding and writing",
    "reader": "Feeding the decoder",
    "pools": "Reading and decoding",
    "helpers": "Decode helpers",
}
_WORTH_NAMING = 0.1  # of the time before work
_NO_UNIT = "no unit left to do"


def render(report: Mapping[str, Any]) -> str:
    """The whole page."""
    name = "/".join(report["set"].split("/")[-2:])
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><link rel="icon" href="data:,">'),
        tag("title", f"{name}, run {report['run']}"),
        tag("style", Markup(STYLE)),
    )
    work = (_shared,) if _is_further(report) else (_bottleneck, _throughput, _stages)
    sections = (_account, _kinds, _failures, *work, _rejects, _skipped, *(() if _is_further(report) else (_workers,)), _settings)
    body = tag("body", tag("main", _header(report, name), *[section(report) for section in sections], _footer(report)))
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _is_further(report: Mapping[str, Any]) -> bool:
    """Whether it is a further set of a run, whose files were read with the first one."""
    return bool(report["set"] != report["sets"][0])


def _shared(report: Mapping[str, Any]) -> Markup:
    first = report["sets"][0]
    told = f"Files were read and decoded for all {len(report['sets'])} sets of the run at once. "
    rest = "That, the workers and where the time went stand in the report of "
    return tag("section", tag("h2", "Work"), tag("p", told, rest, tag("code", first), ", the run's first set."))


def _header(report: Mapping[str, Any], name: str) -> Markup:
    counts, complete = report["counts"], report["complete"]
    lost = not UNCOUNTED_REASONS.isdisjoint(report["rejects"])
    why = "complete" if complete else "items pending" if counts["pending"] else "damaged containers" if lost else "too many rejects"
    state = tag("span", why, class_="state" if complete else "state missing")
    times = f"Extraction on {report['host']}, {_span(report['started'], report['finished'])} UTC"
    return tag("header", tag("h1", name, " ", state), tag("p", times))


def _account(report: Mapping[str, Any]) -> Markup:
    counts, versions, sizes = report["counts"], report["versions"], report["sizes"]
    parts = [join(_count(counts, "listed"), tag("i", "="))]
    parts += [join(_count(counts, "rows"), tag("i", "+")), join(_count(counts, "rejected"), tag("i", "+")), _count(counts, "pending")]
    before = versions["before"] or "none"
    version = f"{before} → {versions['after']}" if versions["committed"] else f"{versions['after']}, nothing changed"
    figures = {
        "version": version,
        "time": human_seconds(report["seconds"]["total"]),
        "images embedded": f"{counts['embedded']:,}" + (f", {counts['twice']:,} while another run did, too" if counts["twice"] else ""),
        "precision": _precision(report),
        **({"accuracy of a head": told} if (told := head_told(report["settings"]["recipe"]["precision"], report["precision"])) else {}),
        "rate": f"{report['images_per_second']:,.0f} images/s" if counts["embedded"] else "no forward pass",
        "files read": "with the first set"
        if _is_further(report)
        else f"{counts['read']:,} of {counts['files']:,} ({human_bytes(sizes['bytes_read'])})",
        "images decoded": "with the first set"
        if _is_further(report)
        else f"{counts['decoded']:,}" + (f", {counts['helped']:,} by decode helpers" if counts["helped"] else ""),
        "rows reused": f"{counts['reused']:,}",
        "copied from other sets": f"{counts['copied']:,}",
        "new / changed / deleted / relabelled": " / ".join(f"{counts[name]:,}" for name in ("new", "changed", "deleted", "relabelled")),
        "forecast": _forecast(report),
        "cost": _cost(report),
        "saved by reuse": _saved(report),
        "new shards": f"{sizes['new_shards']:,} ({human_bytes(sizes['new_shard_bytes'])})",
        "the version's shards": f"{sizes['version_shards']:,} ({human_bytes(sizes['version_bytes'])})",
    }
    bar = share_bar([(name, name, counts[name]) for name in ("rows", "rejected", "pending")])
    pairs = [tag("div", tag("dt", name), tag("dd", value)) for name, value in figures.items()]
    return tag("section", tag("div", *parts, class_="account"), bar, tag("dl", *pairs, class_="figures"))


def _precision(report: Mapping[str, Any]) -> str:
    precision = report["settings"]["recipe"]["precision"]
    return cost_told(precision, report["precision"]) if report["precision"] else precision


def _forecast(report: Mapping[str, Any]) -> str:
    forecast = report["forecast"]
    most = f"at most {forecast['images']:,} images, {forecast['shards']:,} shards of {human_bytes(forecast['shard_bytes'])}"
    rate = f"at {forecast['images_per_second']:,.0f} images/s" if forecast["images_per_second"] else "at an unknown rate"
    seconds = f" in {human_seconds(forecast['seconds'])}" if forecast["seconds"] is not None else ""
    took = human_seconds(report["seconds"]["driver"]["work"])
    return f"{most}{seconds}, {rate} ({forecast['rate_source']}); the work took {took}"


def _cost(report: Mapping[str, Any]) -> str:
    cost, forecast = report["cost"], report["forecast"]["price"]
    if cost is None:
        return "not known: no price of an hour was given, or it stands with the first set of the run"
    return f"{cost:,.2f} in money for {human_seconds(report['seconds']['total'])}" + (
        f"; the forecast was {forecast:,.2f}" if forecast else ""
    )


def _saved(report: Mapping[str, Any]) -> str:
    seconds, price = report["saved_seconds"], report["settings"]["price"]
    if seconds is None and report["counts"]["reused"]:
        return f"{report['counts']['reused']:,} rows, for which no run of this set alone has measured the time"
    if not seconds:
        return "nothing"
    return f"{human_seconds(seconds)} of the same workers' time" + (f", {seconds / 3600 * price:,.2f} in money" if price else "")


def _kinds(report: Mapping[str, Any]) -> Markup:
    rows = [tag("tr", tag("th", kind), _n(f"{n:,}"), tag("td", KINDS[kind])) for kind, n in report["kinds"].items() if n]
    return tag("section", tag("h2", "What the files were"), _table(["kind", "#files", ""], rows)) if rows else join()


def _failures(report: Mapping[str, Any]) -> Markup:
    if not report["failures"]:
        return join()
    listed = [tag("li", failure) for failure in report["failures"]]
    heading = "Units that failed; their items are pending, run it again"
    return tag("section", tag("h2", heading), tag("ul", *listed), class_="failed")


def _bottleneck(report: Mapping[str, Any]) -> Markup:
    driver, total = report["seconds"]["driver"], report["seconds"]["total"]
    before = sum(driver[name] for name in BEFORE_WORK)
    phases = [f"{human_seconds(driver[name])} {STAGES[name].what}" for name in BEFORE_WORK if driver[name] >= _WORTH_NAMING * before]
    aside = f"{human_seconds(before)} of {human_seconds(total)} passed before work on units began: {'; '.join(phases)}."
    return tag("section", tag("h2", "What binds"), tag("p", report["bottleneck"]["words"]), tag("p", aside), class_="binds")


def _throughput(report: Mapping[str, Any]) -> Markup:
    points, heading = report["throughput"]["points"], tag("h2", "Throughput")
    end, _, images, read, _ = points[-1]
    if not read:
        return tag("section", heading, tag("p", "No file was read: everything listed is known.", class_="soft"))
    width = end / BINS
    charts = [rate_chart("Images embedded a second", rates(points, 2), width, "images/s", "images")] if images else []
    charts.append(rate_chart("Bytes read a second", [value / 1e6 for value in rates(points, 3)], width, "MB/s", "low"))
    ticks = tag("div", tag("span", "0"), *[tag("span", human_seconds(end * i / 4)) for i in range(1, 5)], class_="ticks")
    note = tag("p", tag("small", "Time since work began. A unit's work is spread evenly over the time it took."))
    return tag("section", heading, tag("div", *charts, ticks, class_="chart"), note)


def _stages(report: Mapping[str, Any]) -> Markup:
    groups = [_group(thread, report["seconds"][thread]) for thread in _TITLES if _was_busy(report["seconds"][thread])]
    return tag("section", tag("h2", "Where the time went"), *groups)


def _was_busy(seconds: Mapping[str, float]) -> bool:
    return any(amount for name, amount in seconds.items() if name in STAGES)


def _group(thread: str, seconds: Mapping[str, float]) -> Markup:
    total, rows = sum(seconds.values()), []
    classes: dict[str, str] = {}
    for name, amount in _in_order(seconds):
        waiting = name not in STAGES or STAGES[name].waiting
        classes[name] = "waiting" if waiting else f"s{sum(c != 'waiting' for c in classes.values()) % 5}"
        what = STAGES[name].what if name in STAGES else _NO_UNIT
        key = tag("td", tag("span", class_=classes[name]), class_="key")
        rows.append(tag("tr", key, tag("td", what), _n(f"{amount:,.2f} s"), _n(f"{amount / total:.1%}")))
    heading = tag("h3", f"{_TITLES[thread]} ", tag("small", THREADS[thread]))
    return join(heading, share_bar([(name, classes[name], seconds[name]) for name in classes]), tag("table", tag("tbody", *rows)))


def _in_order(seconds: Mapping[str, float]) -> list[tuple[str, float]]:
    """As in STAGES: JSON files are sorted by name."""
    return sorted(seconds.items(), key=lambda pair: list(STAGES).index(pair[0]) if pair[0] in STAGES else len(STAGES))


def _rejects(report: Mapping[str, Any]) -> Markup:
    if not report["rejects"]:
        return join()
    rows = []
    for reason, told in sorted(report["rejects"].items(), key=lambda pair: -pair[1]["count"]):
        examples = [tag("li", tag("code", one["key"]), tag("small", one["message"])) for one in told["examples"]]
        if told["count"] > len(examples):
            examples.append(tag("li", tag("small", f"and {told['count'] - len(examples):,} more")))
        rows.append(tag("tr", tag("th", reason), _n(f"{told['count']:,}"), tag("td", tag("ul", *examples, class_="examples"))))
    where = tag("p", tag("small", "All of them are in ", tag("code", report["rejects_file"]), " of the set."))
    return tag("section", tag("h2", "Rejects"), _table(["reason", "#items", "for example"], rows), where)


def _skipped(report: Mapping[str, Any]) -> Markup:
    if not report["skipped"]:
        return join()
    rows = [tag("tr", tag("th", reason), tag("td", f"{count:,}")) for reason, count in report["skipped"].items()]
    return tag("section", tag("h2", "Names that are no items"), _table(["reason", "names"], rows))


def _workers(report: Mapping[str, Any]) -> Markup:
    shares = report["throughput"]["workers"]
    rows = [
        tag("tr", tag("td", name), *[_n(f"{done[column]:,}") for column in ("units", "items", "images")], _n(human_bytes(done["bytes"])))
        for name, done in shares.items()
    ]
    table = _table(["host / process / number", "#units", "#items", "#embedded", "#read"], rows) if rows else join()
    rows = [_pair(name, value) for name, value in (report["environment"] | {"engine": _engine(report["engine"])}).items()]
    told = {"replaced": "in place of others that died", "joined": "with nodes that joined", "left": "gone with their nodes"}
    turnover = "".join(f", {n} {words}" for name, words in told.items() if (n := report.get(f"{name}_workers")))
    started = tag("p", f"{len(report['workers'])} started: {_told_once(report['workers'])}{turnover}", class_="soft")
    return tag("section", tag("h2", "Workers"), started, table, tag("h3", "Environment"), tag("table", tag("tbody", *rows)))


def _engine(engine: Mapping[str, Any]) -> str:
    return f"{engine['name']}, {engine['why'] or 'batches of ' + str(engine['batch_size'])}"


_OWN = {"input_size": "the network's own", "preprocessing": "the network's own", "layer": "the network's end"}  # where none is asked for
_SAID = ((None, "default"), (True, "yes"), (False, "no"))


def _settings(report: Mapping[str, Any]) -> Markup:
    settings, corpus = report["settings"], report["corpus"]
    rows = [_pair(*pair) for pair in (("corpus", corpus["id"]), ("source", corpus["source"]), ("set", report["set"]))]
    asked = {name: value or _OWN.get(name, value) for name, value in settings["recipe"].items()}
    rows += [_pair("backbone" if name == "name" else name.replace("_", " "), value) for name, value in asked.items()]
    rows += [_pair(name.replace("_", " "), value) for name, value in settings.items() if name != "recipe"]
    rows.append(_pair("feature space", report["space_id"]))
    return tag("section", tag("h2", "Settings"), tag("table", tag("tbody", *rows)))


def _footer(report: Mapping[str, Any]) -> Markup:
    return tag("footer", tag("p", f"Permafrost, run {report['run']}. The same as JSON: report.json in this folder."))


def _pair(name: str, value: object) -> Markup:
    told = next((words for said, words in _SAID if value is said), "none" if value in ({}, []) else str(value))
    return tag("tr", tag("th", name), tag("td", told))


def _table(columns: Sequence[str], rows: Sequence[Markup]) -> Markup:
    """Columns that begin with # are numbers."""
    heads = [tag("th", name.removeprefix("#"), class_="n" if name.startswith("#") else "") for name in columns]
    return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows))


def _count(counts: Mapping[str, int], name: str) -> Markup:
    return tag("span", f"{counts[name]:,}", tag("small", name))


def _n(text: str) -> Markup:
    return tag("td", text, class_="n")


def _told_once(names: Sequence[str]) -> str:
    counts = {name: names.count(name) for name in dict.fromkeys(names)}
    return ", ".join(f"{count} on {name}" for name, count in counts.items())


def _span(started: str, finished: str) -> str:
    (day, begin), (last_day, end) = (text.removesuffix("+00:00").split("T") for text in (started, finished))
    return f"{day} {begin} to {end}" if day == last_day else f"{day} {begin} to {last_day} {end}"
