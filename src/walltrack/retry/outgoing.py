"""What is sent for a call, and which of its responses need a closer look."""

import uuid
from collections.abc import Callable, Container
from typing import Final

import httpx

from walltrack.core import family
from walltrack.core.extensions import (
    DEADLINE,
    DELIVERY,
    GATE,
    OPEN_CALL,
    RETRY,
    SHARED_CALL,
    TRACE,
    SharedCall,
    deadline_of,
)
from walltrack.core.family import BYTES_IN_MEMORY
from walltrack.core.statuses import EVERY_STATUS
from walltrack.http.evidence import SendTrace
from walltrack.http.requests import OneShotStream, can_replay, copy_of
from walltrack.retry.policy import RetryPolicy

KEY_HEADER: Final = "Idempotency-Key"

PER_CALL: Final = frozenset({RETRY, DEADLINE, GATE, DELIVERY})
"""Extensions by which a request has to be prepared, whatever its method is."""

_NO_RETRIES: Final = RetryPolicy(max_retries=0)
_ERRORS: Final = frozenset(range(400, 600))


def random_key() -> str:
    """Return a new Idempotency-Key."""
    # From the operating system, not from the injected RNG: two processes with the same seed would
    # send the same keys, and a server would ignore the requests of the second one.
    return str(uuid.uuid4())


class Outgoing:
    """Prepare requests, by the policy of the transport or of the request itself.

    Args:
        policy: The policy of the transport.
        new_key: Makes the value of an Idempotency-Key.
        clock: Monotonic seconds, for deadlines that are given as a number.
        is_classified: Whether there is a classifier, which needs every response.
    """

    __slots__ = ("_clock", "_is_classified", "_new_key", "policy", "suspects")

    def __init__(
        self,
        policy: RetryPolicy,
        new_key: Callable[[], str],
        clock: Callable[[], float],
        *,
        is_classified: bool,
    ) -> None:
        self.policy: RetryPolicy = policy
        self._new_key = new_key
        self._clock = clock
        self._is_classified = is_classified
        self.suspects: Container[int] = self._suspects_under(policy)
        """Statuses of responses that need a closer look."""

    def prepare(self, request: httpx.Request) -> tuple[httpx.Request, Container[int]]:
        """Return the request to send, and the statuses of responses that need a closer look.

        A request that is not idempotent is copied and traced, and gets a key if the policy wants
        one: that of its call, if a layer outside sends it again. A request whose body can be read
        only once is copied, and notes when reading begins.
        """
        policy = self.policy_for(request)
        may_act_twice = request.method not in policy.idempotent_methods
        if not may_act_twice and type(request.stream) in BYTES_IN_MEMORY:
            return request, self._suspects_under(policy)
        clone = copy_of(request)
        if may_act_twice:
            clone.extensions[TRACE] = SendTrace(request.method, request.extensions.get(TRACE))
            shared = clone.extensions[SHARED_CALL] = _shared_call(request)
            if policy.wants_key(request.method) and KEY_HEADER not in request.headers:
                shared.idempotency_key = shared.idempotency_key or self._new_key()
                clone.headers[KEY_HEADER] = shared.idempotency_key
        if isinstance(request.stream, family.ASYNC_STREAMS) and not can_replay(request):
            clone.stream = OneShotStream(request.stream)
        # The response of a call with a key has to show the key, whatever its status.
        has_key = KEY_HEADER in clone.headers
        return clone, EVERY_STATUS if has_key else self._suspects_under(policy)

    def prepare_by_extensions(self, request: httpx.Request) -> tuple[httpx.Request, Container[int]]:
        """Apply the extensions of the request, then `prepare` it."""
        for note in (GATE, DELIVERY):  # of an earlier call with the same request
            request.extensions.pop(note, None)
        deadline_of(request.extensions, self._clock)
        return self.prepare(request)

    def policy_for(self, request: httpx.Request) -> RetryPolicy:
        """Return the policy for a request: its own if it has one, else that of the transport.

        Raises:
            TypeError: Its extension "walltrack.retry" is neither a RetryPolicy nor False.
        """
        given: object = request.extensions.get(RETRY)
        if given is None:
            return self.policy
        if given is False:
            return _NO_RETRIES
        if isinstance(given, RetryPolicy):
            return given
        raise TypeError(f"extensions[{RETRY!r}] must be a RetryPolicy or False, got {given!r}")

    def _suspects_under(self, policy: RetryPolicy) -> Container[int]:
        if self._is_classified:
            return EVERY_STATUS
        if policy.statuses <= _ERRORS:
            return _ERRORS  # the headers of any error may ask for a retry
        return _ERRORS | policy.statuses


def _shared_call(request: httpx.Request) -> SharedCall:
    """Return the call of a layer outside; or that which an earlier sending left open; or a new one.

    A call that is left open may have been processed.
    """
    known: SharedCall | None = request.extensions.get(SHARED_CALL)
    if known is not None:
        return known
    known = request.extensions.pop(OPEN_CALL, None)
    if known is None:
        return SharedCall()
    known.may_have_acted = True
    return known
