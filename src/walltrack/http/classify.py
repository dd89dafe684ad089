"""Ask a classifier what the outcome of an attempt means.

Awaits: the body of an error response is read before the classifier sees it.
"""

import httpx

from walltrack.core.classification import Classification, Classifier, Outcome
from walltrack.core.extensions import ATTEMPT
from walltrack.http.body import SMALL_BODY_BYTES, SWITCHING, framing_of, is_part_of_attempt
from walltrack.http.release import discard
from walltrack.http.watched_body import watched

_CLASSIFIED = "walltrack.classification"
_ERRORS = 400


async def classified(
    classifier: Classifier, request: httpx.Request, response: httpx.Response
) -> Classification:
    """Return what a response means; layers that share a classifier call it only once.

    The body is read first if it has up to 64 KiB, and belongs to an error response or is read
    within the attempt anyway. If anything raises, the response is closed.

    Raises:
        httpx.TransportError: The body broke off, which is the end of the attempt.
    """
    known = response.extensions.get(_CLASSIFIED)
    if known is not None and known[0] is classifier:
        said: Classification = known[1]
        return said
    try:
        content = await _content_of(request, response)
        outcome = Outcome(request, response, attempt=attempt_of(request), content=content)
        said = classifier(outcome)
    except BaseException:
        await discard(response)
        raise
    response.extensions[_CLASSIFIED] = classifier, said
    return said


def classified_error(
    classifier: Classifier, request: httpx.Request, error: Exception
) -> Classification:
    """Return what the exception that ended an attempt means."""
    return classifier(Outcome(request, error=error, attempt=attempt_of(request)))


def attempt_of(request: httpx.Request) -> int:
    """Return the number of the attempt that `request` belongs to, from 1."""
    attempt: int = request.extensions.get(ATTEMPT, 1)
    return attempt


async def _content_of(request: httpx.Request, response: httpx.Response) -> bytes | None:
    if response.is_closed:
        try:
            return response.content
        except httpx.ResponseNotRead:
            return None
    if not _is_read(request, response):
        return None
    body = watched(response)
    if not await body.read_ahead(SMALL_BODY_BYTES):
        return None
    return _decoded(response, b"".join([chunk async for chunk in body]))


def _is_read(request: httpx.Request, response: httpx.Response) -> bool:
    if response.status_code == SWITCHING:
        return False
    length, is_event_stream = framing_of(response)
    if is_event_stream:
        return False
    if response.status_code >= _ERRORS:
        return length is None or length <= SMALL_BODY_BYTES
    return is_part_of_attempt(request, length)


def _decoded(response: httpx.Response, body: bytes) -> bytes | None:
    if "content-encoding" not in response.headers:
        return body
    encoded = httpx.ByteStream(body)
    try:
        return httpx.Response(200, headers=response.headers.raw, stream=encoded).read()
    except httpx.DecodingError:
        return None
