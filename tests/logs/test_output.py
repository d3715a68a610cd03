"""Outputs: where bytes leave, and that what can't leave is an OSError."""

import io
import os
import select
import sys

import pytest

from asgi_resilience.logs.output import DescriptorOutput, StandardOutput, StreamOutput, output


@pytest.fixture
def pipe():
    """Both ends of a pipe; a test that closes one takes it off `pipe`."""
    ends = [*os.pipe()]
    yield ends
    for end in ends:
        os.close(end)


def test_the_target_decides_on_the_output(pipe, tmp_path):
    """A number and what has a `fileno` are descriptors, None is standard output, the rest are streams."""
    assert isinstance(output(None), StandardOutput)
    assert isinstance(output(pipe[1]), DescriptorOutput)
    with (tmp_path / "log").open("wb") as file:
        assert isinstance(output(file), DescriptorOutput)
    for stream in (io.StringIO(), io.BytesIO(), object()):
        assert isinstance(output(stream), StreamOutput)


def test_a_pipe_gets_no_more_than_it_takes_in_one_piece(pipe, tmp_path):
    """A batch for a pipe is at most PIPE_BUF long, so that the lines of processes do not mix; a file takes more."""
    assert DescriptorOutput(pipe[1]).batch == select.PIPE_BUF
    with (tmp_path / "log").open("wb") as file:
        assert DescriptorOutput(file.fileno()).batch > select.PIPE_BUF


def test_a_closed_descriptor_is_an_error(pipe):
    """Writing to a descriptor that is closed, now or from the start, raises OSError."""
    writer = pipe.pop()
    out = DescriptorOutput(writer)
    os.close(writer)
    for each in (out, DescriptorOutput(writer)):
        with pytest.raises(OSError, match="Bad file descriptor"):
            each.write(b"x\n")


def test_a_pipe_without_a_reader_is_an_error(pipe):
    """EPIPE reaches the caller."""
    os.close(pipe.pop(0))
    with pytest.raises(BrokenPipeError):
        DescriptorOutput(pipe[0]).write(b"x\n")


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_non_blocking_descriptor_is_written_completely(pipe, size):
    """EAGAIN and partial writes cost time and no bytes."""
    reader, writer = pipe
    os.set_blocking(writer, False)
    read = bytearray()

    class Draining(DescriptorOutput):
        """Reads the other end whenever it has to wait."""

        def wait(self):
            read.extend(os.read(reader, 65_536))

    data = b"x" * size + b"\n"
    Draining(writer).write(data)
    os.close(pipe.pop())
    while chunk := os.read(reader, 65_536):
        read += chunk
    assert bytes(read) == data


def test_waiting_ends_when_the_descriptor_takes_bytes_again(pipe):
    """`wait` returns at once for a pipe with room."""
    waiting = DescriptorOutput(pipe[1])
    waiting.wait()
    waiting.write(b"x\n")
    assert os.read(pipe[0], 10) == b"x\n"


def test_half_a_line_is_ended_before_the_next(monkeypatch):
    """After an error in the middle of a line, the next write begins on a line of its own."""
    written = []
    answers = iter([3, OSError("full"), OSError("full"), 7, 2])

    def write(_, data):
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        written.append(bytes(data[:answer]))
        return answer

    monkeypatch.setattr(os, "write", write)
    out = DescriptorOutput(-1)
    for _ in range(2):
        with pytest.raises(OSError, match="full"):
            out.write(b"first\n")
    out.write(b"second")
    out.write(b"x\n")
    assert written == [b"fir", b"\nsecond", b"x\n"]


def test_streams_get_text_or_bytes():
    """A stream with an encoding gets text, another one bytes."""
    text, raw = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.BytesIO()
    StreamOutput(text).write("é\n".encode())
    StreamOutput(raw).write("é\n".encode())
    assert text.buffer.getvalue() == raw.getvalue() == "é\n".encode()


def test_a_stream_that_fails_is_an_error():
    """Closed, missing or refusing: what a stream does not take is an OSError."""
    closed = io.BytesIO()
    closed.close()

    class Full(io.BytesIO):
        def flush(self):
            raise OSError("no space")

    for stream in (closed, None, object()):
        with pytest.raises(OSError, match="did not take a log line"):
            StreamOutput(stream).write(b"x")
    with pytest.raises(OSError, match="no space"):
        StreamOutput(Full()).write(b"x")


def test_standard_output_follows_what_replaces_it(monkeypatch):
    """While `sys.stdout` is something else, the lines go there; otherwise to the descriptor."""
    standard = StandardOutput()
    other = io.StringIO()
    monkeypatch.setattr(sys, "stdout", other)
    standard.write(b"a\n")
    assert other.getvalue() == "a\n"
    written = []
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    monkeypatch.setattr(os, "write", lambda fd, data: written.append((fd, bytes(data))) or len(data))
    standard.write(b"b\n")
    assert written == [(1, b"b\n")]
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "__stdout__", None)
    with pytest.raises(OSError, match="NoneType did not take"):
        standard.write(b"c\n")
