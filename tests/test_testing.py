"""The test kit itself: time that costs nothing."""

import asyncio
import socket
import threading
import time

import anyio
import anyio.to_thread
import pytest

from asgi_resilience.testing import VirtualTimeLoop, virtual_time


@pytest.mark.anyio
async def test_a_day_of_sleep_takes_no_time():
    """Sleeping for a day moves the loop's clock by a day and the real one hardly at all."""
    real, virtual = time.perf_counter(), anyio.current_time()
    for _ in range(24):
        await anyio.sleep(3600)
    assert anyio.current_time() - virtual == pytest.approx(86400)
    assert time.perf_counter() - real < 1


@pytest.mark.anyio
async def test_timers_fire_in_order_of_their_time():
    """Tasks that sleep wake in the order of their deadlines, each exactly at its own time."""
    woken = []

    async def sleeper(seconds):
        await anyio.sleep(seconds)
        woken.append((seconds, anyio.current_time() - start))

    start = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for seconds in (30.0, 0.5, 3600.0, 7.25):
            tasks.start_soon(sleeper, seconds)
    assert [seconds for seconds, _ in woken] == [0.5, 7.25, 30.0, 3600.0]
    assert all(at == pytest.approx(seconds) for seconds, at in woken)


@pytest.mark.anyio
async def test_a_deadline_passes_in_virtual_time():
    """`anyio.fail_after` expires at its virtual deadline."""
    start = anyio.current_time()
    with pytest.raises(TimeoutError):
        with anyio.fail_after(30):
            await anyio.sleep_forever()
    assert anyio.current_time() - start == pytest.approx(30)


@pytest.mark.anyio
async def test_a_thread_wakes_a_loop_without_timers():
    """With no timer armed the loop really waits for a worker thread and does not move its clock."""
    release = threading.Event()
    threading.Timer(0.05, release.set).start()
    start = anyio.current_time()
    assert await anyio.to_thread.run_sync(release.wait, 5)
    assert anyio.current_time() == start


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
async def test_a_socket_is_read_before_the_clock_moves():
    """What is ready on a socket is handled before a timer that lies in the future."""
    loop = asyncio.get_running_loop()
    left, right = socket.socketpair()
    with left, right:
        left.setblocking(False)
        right.send(b"x")
        async with asyncio.timeout(0.001):
            assert await loop.sock_recv(left, 1) == b"x"
    assert loop.time() == 0


def test_a_threshold_gives_threads_the_time_they_need():
    """With `autojump_threshold` a thread that answers within it comes before a timer."""
    release = threading.Event()

    async def main():
        threading.Timer(0.02, release.set).start()
        with anyio.fail_after(1):
            return await anyio.to_thread.run_sync(release.wait, 5)

    backend, options = virtual_time(autojump_threshold=2.0)
    assert anyio.run(main, backend=backend, backend_options=options) is True


def test_the_loop_serves_connections():
    """Server and client sockets work on virtual time."""

    async def main():
        async def echo(reader, writer):
            writer.write(await reader.readexactly(4))
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"ping")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            return answer

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(main()) == b"ping"
