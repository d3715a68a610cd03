"""Sends batches to a DogStatsD agent. No other file imports `datadog`, and this one only when an exporter is made.

Of the `datadog` client, its lowest reliable layer is used: where the agent is (`DD_DOGSTATSD_URL`, `DD_AGENT_HOST`,
`DD_DOGSTATSD_PORT`), the connected socket, the tags of all metrics and the container's id. Its own buffering and
aggregation are not: they flush at no exit, sample histograms beyond a bound, send one observation per line, drop what a
full socket does not take at once, and hold `os.fork()` up for a third of a second; its direct calls cost a packet and
about 17 µs each. What it does per number is done here per batch.

One thread per process writes, so neither a name lookup nor a full socket ever holds an event loop up.
"""

import logging
import os
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from asgi_resilience.context import report_failure
from asgi_resilience.metric_names import METRICS_INCOMPLETE
from asgi_resilience.metric_sink import Tags
from asgi_resilience.process_life import starts_anew
from asgi_resilience.telemetry.batch import Batch
from asgi_resilience.telemetry.dogstatsd_lines import packets

__all__ = ("DogStatsDExporter", "agent_is_switched_off")

_logger: Final = logging.getLogger("asgi_resilience")
_UDP, _UDS = 1432, 8192
"""Bytes of a packet: one Ethernet frame, and the agent's buffer; the `datadog` client uses the same."""
_PATIENCE: Final = 1.0
"""Seconds for which a reader of a unix socket may make the thread wait for one packet."""
_BURST, _PAUSE = 32, 0.02
"""Packets that are sent at once over UDP, and seconds between them: the default receive buffer holds about ninety, and an
agent on a busy host may not come to read for some hundredths of a second. That is 300,000 observations a second."""
_MOST_BATCHES: Final = 60
_INCOMPLETE: Final = (METRICS_INCOMPLETE.name, ())
_MOST_FIELDS: Final = 4096


def agent_is_switched_off() -> bool:
    """Whether the operator wants nothing to be sent, in the `datadog` client's own way: `DD_DOGSTATSD_DISABLE`."""
    return os.environ.get("DD_DOGSTATSD_DISABLE", "").lower() in ("1", "true", "yes")


class DogStatsDExporter:
    """Sends each batch to the agent, every observation of it.

    When nobody listens, that is logged once, and a flush costs up to three packets. A batch that did not arrive as a
    whole is counted in `asgi_resilience.metrics.incomplete_flushes`, as far as that can be known.

    Args:
        tags: For every metric, such as `service:orders`; those that the environment gives (`DD_SERVICE`, `DD_ENV`,
            `DD_VERSION`, `DATADOG_TAGS`) win.
        distribution: Send histograms as distributions, whose percentiles Datadog works out over all hosts. A name must
            always be sent as the same type.

    Raises:
        ImportError: `datadog` is not installed; the message says how to get it.
    """

    def __init__(self, *, tags: Iterable[str] = (), distribution: bool = False) -> None:
        try:
            from datadog.dogstatsd.base import DogStatsd  # noqa: PLC0415 - takes 0.25 s and 18 MiB: only for its users
            from datadog.util.format import normalize_tags  # noqa: PLC0415 - as above
        except ImportError as error:
            raise ImportError("datadog is not installed: pip install 'asgi-resilience[datadog]'") from error
        client: Any = DogStatsd(disable_telemetry=True, socket_timeout=_PATIENCE)
        given = {tag.partition(":")[0] for tag in client.constant_tags}
        client.constant_tags.extend(tag for tag in tags if tag.partition(":")[0] not in given)
        self._client = client
        self._normalized: Callable[[list[str]], list[str]] = normalize_tags
        self._distribution = distribution
        # Private there, but nowhere else: what tells the agent which container this is.
        self._origin = "".join(
            f"|{key}:{value}"
            for key, name in (("c", "_container_id"), ("e", "_external_data"))
            if (value := getattr(client, name, None))
        )
        self._size = _UDP if client.socket_path is None else _UDS
        self._fields: dict[Tags, str] = {}
        self._warned = False
        self._begin()
        starts_anew(self)

    def _begin(self) -> None:
        self._waiting: deque[Batch] = deque()
        self._changed = threading.Condition(threading.RLock())
        self._sending = threading.RLock()
        self._busy = False
        self._thread: threading.Thread | None = None
        self._incomplete = 0

    @property
    def address(self) -> str:
        """Where the agent is expected."""
        client = self._client
        return client.socket_path or f"udp://{client.host}:{client.port}"

    def export(self, batch: Batch, /) -> None:
        """Have the thread send a batch."""
        if not (batch.counters or batch.gauges or batch.histograms):
            return
        with self._changed:
            if len(self._waiting) == _MOST_BATCHES:
                self._waiting.popleft()
                self._lose(TimeoutError("the agent does not read"))
            self._waiting.append(batch)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="asgi-resilience-metrics", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads, or the interpreter ends: `flush` will send it
                    return
                self._thread = thread
            self._changed.notify_all()

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until everything is sent; False when that takes more than `timeout` seconds. It blocks."""
        with self._changed:
            if self._thread is not None:
                return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout)
        self._send_waiting()
        return True

    def close(self, timeout: float = 2.0) -> None:
        """Flush, end the thread and close the socket. A later batch opens them again."""
        self.flush(timeout)
        with self._changed:
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join(timeout)
        self._client.close_socket()

    def after_fork(self) -> None:
        """Leave what waits to the parent. The client opens a socket of its own, as two writers would mix on a stream."""
        self._begin()

    # ------------------------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        me = threading.current_thread()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._thread is not me)
                if self._thread is not me:
                    return
                self._busy = True
            self._send_waiting()
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _send_waiting(self) -> None:
        with self._sending:
            while self._waiting:
                batch = self._waiting.popleft()
                try:
                    self._send_batch(batch)
                except OSError as error:
                    self._lose(error)
                except Exception as error:  # noqa: BLE001 - the thread goes on
                    report_failure(self.export, error)

    def _send_batch(self, batch: Batch) -> None:
        incomplete = self._incomplete
        if incomplete:
            counters = {**batch.counters, _INCOMPLETE: incomplete}
            batch = Batch(batch.at, batch.seconds, counters, batch.gauges, batch.histograms)
        every = packets(batch, self._size, self._fields_of, distribution=self._distribution)
        for number, packet in enumerate(every, 1):
            try:
                self._send(packet)
            except ConnectionRefusedError as error:
                # Over UDP that is the answer to an earlier packet, and this one was not sent. If it is the first, the
                # earlier one was of another batch, and by now somebody may listen.
                if number > 1:
                    raise
                self._lose(error)
                self._send(packet)
            if number % _BURST == 0 and self._size == _UDP:
                time.sleep(_PAUSE)
        self._incomplete -= incomplete

    def _send(self, packet: bytes) -> None:
        try:
            self._write(packet)
        except OSError as error:
            if self._size == _UDP:
                raise
            self._client.close_socket()
            if isinstance(error, TimeoutError):
                raise
            self._write(packet)  # an agent that was started again has a new socket behind the same path

    def _write(self, packet: bytes) -> None:
        connected = self._client.get_socket()
        if connected.type == socket.SOCK_STREAM:
            connected.sendall(struct.pack("<I", len(packet)) + packet)
        else:
            connected.send(packet)

    def _fields_of(self, tags: Tags) -> str:
        fields = self._fields.get(tags)
        if fields is None:
            if len(self._fields) >= _MOST_FIELDS:
                self._fields.clear()
            text = ",".join(self._normalized([*tags, *self._client.constant_tags]))
            fields = self._fields[tags] = f"{f'|#{text}' if text else ''}{self._origin}"
        return fields

    def _lose(self, error: OSError) -> None:
        self._incomplete += 1
        if not self._warned:
            self._warned = True
            _logger.warning(
                "No DogStatsD agent takes metrics at %s (%s); what it does not take is lost. This is logged once.",
                self.address,
                error,
            )
