"""Ray's agent of a node, as far as metrics go: takes what Ray's processes send it, which is OTLP over gRPC.

The real one comes with ray[default] (ray/dashboard/modules/reporter/reporter_agent.py), adds the prefix `ray_`, and serves Prometheus.
Wire format: https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/metrics/v1/metrics.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any

import grpc

GAUGE, SUM, HISTOGRAM = 5, 7, 9  # fields of Metric


class NodeAgent:
    """A context manager; `found` has (name, tags) -> value: the last of a gauge, the sum of a counter, the count of a histogram."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._server = grpc.server(ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers((_Handler(self._take),))
        self.port = self._server.add_insecure_port("0.0.0.0:0")

    def __enter__(self) -> NodeAgent:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.stop(0)

    def value(self, name: str, **tags: str) -> float:
        """Over all series that have these tags."""
        return sum(value for (found, has), value in self.found.items() if found == name and tags.items() <= dict(has).items())

    def _take(self, request: bytes) -> None:
        for _, resource in _fields(request, 1):
            for _, scope in _fields(resource, 2):
                for _, metric in _fields(scope, 2):
                    [name] = [value.decode() for _, value in _fields(metric, 1)]
                    for kind, data in _fields(metric, GAUGE, SUM, HISTOGRAM):
                        for _, point in _fields(data, 1):
                            self._add(name, kind, point)

    def _add(self, name: str, kind: int, point: bytes) -> None:
        tags = []
        for _, attribute in _fields(point, 9 if kind == HISTOGRAM else 7):
            [key], [value] = ([text for _, text in _fields(attribute, number)] for number in (1, 2))
            tags += [(key.decode(), text.decode()) for _, text in _fields(value, 1)]
        series = (name, tuple(sorted(tags)))
        as_number = "<Q" if kind == HISTOGRAM else "<d"
        for _, number in _fields(point, 4):
            self.found[series] = struct.unpack(as_number, number)[0] + (0 if kind == GAUGE else self.found.get(series, 0))


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, take: Any) -> None:
        self._take = take

    def service(self, call: Any) -> Any:
        def answer(request: bytes, _: Any) -> bytes:
            if call.method.endswith("MetricsService/Export"):
                self._take(request)
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


def _fields(data: bytes, *wanted: int) -> Iterator[tuple[int, bytes]]:
    """Fields of a message of protocol buffers by number; those of 1, 8 and 4 bytes as their bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            _, end = _varint(data, at)
        elif wire == 2:
            length, at = _varint(data, at)
            end = at + length
        else:
            end = at + {1: 8, 5: 4}[wire]
        if number in wanted:
            yield number, data[at:end]
        at = end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, at, shift = value | (byte & 0x7F) << shift, at + 1, shift + 7
        if byte < 0x80:
            return value, at
