"""Facts are read from what the libraries raise, without importing them."""

import pytest

from asgi_resilience.client.facts import Facts, causes, facts_of


class Holder:
    """Anything with attributes."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


def error(**attributes):
    """An exception with attributes."""
    found = Exception("x")
    found.__dict__.update(attributes)
    return found


def aws(code="SlowDown", status=503, headers=None):
    """What botocore hangs on a ClientError."""
    metadata = {"HTTPStatusCode": status}
    return {
        "Error": {"Code": code},
        "ResponseMetadata": metadata | ({} if headers is None else {"HTTPHeaders": headers}),
    }


@pytest.mark.parametrize(
    ("raised", "facts"),
    [
        (error(), Facts()),
        (error(response=Holder(status_code=503)), Facts(status=503)),
        (error(response=Holder(status=429)), Facts(status=429)),
        (error(status_code=404), Facts(status=404)),
        (error(status=502), Facts(status=502)),
        (error(status="ok", code=7, sqlstate=3), Facts()),
        (error(code="insufficient_quota"), Facts(code="insufficient_quota")),
        (error(sqlstate="40P01"), Facts(sqlstate="40P01")),
        (error(pgcode="40001"), Facts(sqlstate="40001")),
        (error(orig=error(sqlstate="40001")), Facts(sqlstate="40001")),
        (error(response=aws()), Facts(status=503, code="SlowDown")),
        (error(response=aws(headers={"retry-after": "3"})), Facts(status=503, code="SlowDown", retry_after=3.0)),
        (error(response={}), Facts()),
        (error(response={"Error": {"Code": 3}, "ResponseMetadata": {"HTTPStatusCode": "x"}}), Facts()),
        (error(retry_after=2.5), Facts(retry_after=2.5)),
        (error(retry_after=-1), Facts()),
        (error(response=Holder(headers={"Retry-After": "9"})), Facts(retry_after=9.0)),
        (error(headers={"retry-after": "4"}), Facts(retry_after=4.0)),
        (error(headers={"retry-after": b"4"}), Facts()),
        (error(headers=[("retry-after", "4")]), Facts()),
    ],
)  # fmt: skip
def test_facts(raised, facts):
    """Status, code, SQLSTATE and Retry-After are found where each library puts them."""
    assert facts_of(raised) == facts


def test_a_grpc_code_is_asked_for():
    """The `code()` of gRPC is a method that gives an enum member; its name is the code."""
    kind = type(
        "AioRpcError", (Exception,), {"__module__": "grpc.aio", "code": lambda _: Holder(name="UNAVAILABLE")}
    )
    assert facts_of(kind()) == Facts(code="UNAVAILABLE")


def test_other_methods_are_not_called():
    """A `code` that can be called is not, unless it is gRPC's."""
    assert facts_of(error(code=lambda: pytest.fail("called"))) == Facts()


def test_the_cause_is_looked_at():
    """What the outer exception does not tell, its cause may."""
    outer = error(status_code=500)
    outer.__cause__ = error(status_code=404, sqlstate="40P01")
    assert facts_of(outer) == Facts(status=500, sqlstate="40P01")


def test_the_context_is_not():
    """A call made while another error was handled is not judged by that one."""
    raised = error()
    raised.__context__ = error(sqlstate="40P01")
    assert facts_of(raised) == Facts()


def test_a_ring_of_causes_ends():
    """Causes that lead back to themselves are followed for a while only."""
    ring = error()
    ring.__cause__ = ring
    assert len(list(causes(ring))) == 8
