"""A DogStatsD agent in a process of its own, which counts what it receives: `python dogstatsd_agent.py udp:// 1`.

It prints where it listens, reads until its standard input is closed and nothing comes any more, and prints what it got as
JSON. It parses by the protocol's own words, and knows nothing of the library.
"""

import contextlib
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

LINE = re.compile(
    r"(?P<name>[A-Za-z][A-Za-z0-9_.]*):(?P<values>-?[0-9.e+-]+(:-?[0-9.e+-]+)*)\|(?P<kind>[cghd])"
    r"(\|#(?P<tags>[^|]+))?(\|c:[^|]+)?"
)


def listen(url: str) -> tuple[socket.socket, str]:
    """A socket, and its address as DD_DOGSTATSD_URL has it."""
    scheme, _, path = url.partition("://")
    if scheme == "udp":
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * 1024 * 1024
        )  # as much as the system gives
        listener.bind(("127.0.0.1", int(path or 0)))
        return listener, f"udp://127.0.0.1:{listener.getsockname()[1]}"
    kind = socket.SOCK_STREAM if scheme == "unixstream" else socket.SOCK_DGRAM
    listener = socket.socket(socket.AF_UNIX, kind)
    with contextlib.suppress(FileNotFoundError):
        Path(path).unlink()
    listener.bind(path)
    if kind == socket.SOCK_STREAM:
        listener.listen()
    return listener, url


def received(listener: socket.socket) -> Iterator[bytes]:
    """Packets, until standard input is closed and all is read."""
    stream, buffers = listener.type == socket.SOCK_STREAM, dict[socket.socket, bytes]()
    reading = {listener, sys.stdin}
    while True:
        ready, _, _ = select.select([*reading, *buffers], (), (), 0.5 if sys.stdin not in reading else 60)
        if not ready:
            return
        for each in ready:
            if each is sys.stdin:
                if not os.read(0, 1):
                    reading.discard(sys.stdin)
            elif each is listener and stream:
                buffers[listener.accept()[0]] = b""
            elif each is listener:
                yield listener.recv(65536)
            else:
                data = each.recv(65536)
                buffer = buffers[each] + data
                while len(buffer) >= 4 and len(buffer) >= 4 + struct.unpack("<I", buffer[:4])[0]:
                    size = struct.unpack("<I", buffer[:4])[0]
                    yield buffer[4 : 4 + size]
                    buffer = buffer[4 + size :]
                buffers[each] = buffer
                if not data:
                    del buffers[each]
                    each.close()


def main(url: str) -> None:
    """Count."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    listener, address = listen(url)
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()
    counts, values, gauges = Counter[str](), Counter[str](), dict[str, float]()
    tags, kinds, bad = set[str](), dict[str, str](), list[str]()
    packets = longest = 0
    for packet in [*received(listener)]:  # read first, as fast as an agent does
        packets, longest = packets + 1, max(longest, len(packet))
        for line in packet.decode().splitlines():
            found = LINE.fullmatch(line)
            if found is None:
                bad.append(line)
                continue
            name, numbers = found["name"], [float(each) for each in found["values"].split(":")]
            kinds[name] = found["kind"]
            tags.add(found["tags"] or "")
            if found["kind"] == "c":
                counts[name] += int(sum(numbers))
            elif found["kind"] == "g":
                gauges[name] = numbers[-1]
            else:
                values[name] += len(numbers)
    listener.close()
    told = {"counts": counts, "values": values, "gauges": gauges, "tags": sorted(tags), "kinds": kinds}
    sys.stdout.write(json.dumps({**told, "packets": packets, "longest": longest, "bad": bad}))


class Agent:
    """Such a process.

    Args:
        url: Where it listens: `udp://` (a free port), `unix:///path`, `unixstream:///path`.
    """

    def __init__(self, url: str = "udp://") -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        self.got: dict[str, Any] = {}

    def stop(self) -> dict[str, Any]:
        """What has arrived by now."""
        if not self.got:
            out, _ = self._process.communicate(timeout=60)
            self.got = json.loads(out)
        return self.got

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


if __name__ == "__main__":
    main(sys.argv[1])
