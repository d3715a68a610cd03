"""The logger: TRACE is a level like the others, and no name in `extra` raises."""

import logging

import pytest

from asgi_resilience.logs.logger import ResilienceLogger, get_logger
from asgi_resilience.logs.schema import TRACE


class Collecting(logging.Handler):
    """Keeps the records."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def records():
    """What the logger `tests.logger` and its children say at any level."""
    handler = Collecting()
    parent = logging.getLogger("tests.logger")
    parent.addHandler(handler)
    parent.setLevel(TRACE)
    parent.propagate = False
    yield handler.records
    parent.removeHandler(handler)
    parent.setLevel(logging.NOTSET)
    parent.propagate = True


def test_trace_is_a_level(records):
    """`trace` logs below DEBUG, with arguments, extras and the place of its caller."""
    logger = get_logger("tests.logger.trace")
    logger.trace("select %s", 1, extra={"rows": 2})
    (record,) = records
    assert (record.levelname, record.levelno, record.getMessage(), record.rows) == ("TRACE", 5, "select 1", 2)
    assert record.funcName == "test_trace_is_a_level"


def test_trace_is_silent_where_the_level_is_higher(records):
    """At DEBUG and above, `trace` makes no record."""
    logger = get_logger("tests.logger.silent")
    logger.setLevel(logging.DEBUG)
    logger.trace("no")
    logger.debug("yes")
    assert [record.msg for record in records] == ["yes"]


def test_a_taken_name_in_extra_is_renamed(records):
    """Names that `logging` has taken get a prefix in place of raising KeyError in the application (103)."""
    logger = get_logger("tests.logger.extra")
    taken = {"message": 1, "name": "n", "asctime": 2, "order": 7}
    logger.info("m", extra=taken)
    logger.info("m", extra={"order": 8})
    record = records[0]
    assert (record.extra_message, record.extra_name, record.extra_asctime, record.order) == (1, "n", 2, 7)
    assert record.name == "tests.logger.extra"
    assert records[1].order == 8


def test_a_logger_stays_the_same_object():
    """A logger that exists already is given the methods, and keeps what it was set to."""
    before = logging.getLogger("tests.logger.same")
    before.setLevel(TRACE)
    logger = get_logger("tests.logger.same")
    assert logger is before is get_logger("tests.logger.same") is logging.getLogger("tests.logger.same")
    assert isinstance(logger, ResilienceLogger)
    assert logger.level == TRACE


def test_a_logger_of_another_class_keeps_its_own_methods():
    """Where a library has set a class of its own, the logger is of both."""

    class Theirs(logging.Logger):
        def notice(self):
            return "noticed"

    standard = logging.getLoggerClass()
    logging.setLoggerClass(Theirs)
    try:
        logger = get_logger("tests.logger.theirs")
    finally:
        logging.setLoggerClass(standard)
    assert isinstance(logger, ResilienceLogger)
    assert isinstance(logger, Theirs)
    assert logger.notice() == "noticed"
