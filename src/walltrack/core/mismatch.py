"""What to say when a transport of one family of httpx is given a request of the other."""

import httpx

from walltrack.core import family


def refuse_mismatch(request: httpx.Request, error: BaseException) -> None:
    """Raise a TypeError that explains `error`, if that is how a transport refuses the other family.

    httpx's transport only asserts that the body is of a class of its own, and httpx2's does so,
    too. Their assertion is told from others by where it was raised.

    Args:
        request: What was to be sent.
        error: What the inner transport raised.

    Raises:
        TypeError: The transport does not belong to the client's family.
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
