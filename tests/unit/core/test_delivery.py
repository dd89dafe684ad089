from walltrack.core.delivery import Delivery


def test_a_delivery_reads_as_its_name() -> None:
    """A delivery that is logged or put into a message is a plain lower-case word or two."""
    assert [str(d) for d in Delivery] == ["not_sent", "uncertain", "answered"]
