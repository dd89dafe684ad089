"""The error for a transport of one family of httpx that gets a request of the other."""

import httpx

from walltrack.core import family


def refuse_mismatch(request: httpx.Request, error: BaseException) -> None:
    """Raise a TypeError if `error` shows that a transport of the other family got `request`.

    The transports of httpx and httpx2 only assert that the body has a class of their own family.
    Where the assertion was raised distinguishes it from others.

    Args:
        request: The request.
        error: What the inner transport raised.

    Raises:
        TypeError: The transport does not belong to the family of the client.
    """
    if not isinstance(error, AssertionError):
        return
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    raised_in = "" if traceback is None else str(traceback.tb_frame.f_globals.get("__name__"))
    theirs, ours = raised_in.partition(".")[0], family.home_of(request).__name__
    if theirs in family.LOGGERS and theirs != ours:
        raise TypeError(
            f"the client is one of {ours}, but the transport inside is one of {theirs}: give it an "
            f"{ours}.AsyncHTTPTransport(), or walltrack's HTTPTransport(), which serves both"
        ) from error
