import pytest

from walltrack.core.delivery import Delivery, of_all

NOT_SENT, UNCERTAIN, ANSWERED = Delivery.NOT_SENT, Delivery.UNCERTAIN, Delivery.ANSWERED


def test_a_delivery_reads_as_its_name() -> None:
    """In a log or a message, a delivery is plain lower-case text."""
    assert [str(d) for d in Delivery] == ["not_sent", "uncertain", "answered"]


@pytest.mark.parametrize(
    ("deliveries", "known"),
    [
        ([None], None),
        ([None, NOT_SENT], NOT_SENT),
        ([NOT_SENT, NOT_SENT], NOT_SENT),
        ([NOT_SENT, ANSWERED], ANSWERED),
        ([ANSWERED, NOT_SENT], ANSWERED),
        ([ANSWERED, UNCERTAIN], UNCERTAIN),
        ([UNCERTAIN, ANSWERED], UNCERTAIN),
        ([UNCERTAIN, NOT_SENT, NOT_SENT], UNCERTAIN),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_an_attempt_that_may_have_been_acted_on_outweighs_the_others(
    deliveries: list[Delivery | None], known: Delivery | None
) -> None:
    """In any order; an answer outweighs an attempt that was not sent."""
    assert of_all(*deliveries) is known
