"""What a channel can say about itself."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelStatistics:
    """One channel at one moment; the counts run from its creation.

    At any moment ``sent_count`` equals ``received_count + buffered_count + dropped_oldest_count
    + conflated_count + destroyed_count``; an item that was refused or dropped on the way in was
    never sent.

    Attributes:
        capacity: The bound in slots; None if unbounded.
        depth: Slots taken by buffered items.  An item takes one, or what ``items_of`` says.
        peak: Most slots that were ever taken at once, by items or by permits.
        buffered_count: Items in the buffer (equals ``depth`` unless ``items_of`` is set).
        buffered_bytes: What ``bytes_of`` says of the buffered items; 0 without it.
        buffered_bytes_peak: The largest that ever was.
        max_bytes: The bound in bytes; None if there is none.
        permits_out: Slots reserved by permits or promised to waiting senders.
        sent_count: Items that entered the buffer.
        received_count: Items that the receiver took.
        rejected_count: Items handed back by ``Overflow.REJECT``.
        dropped_newest_count: Items dropped while being sent.
        dropped_oldest_count: Buffered items dropped to make room.
        conflated_count: Buffered items replaced by a newer one of the same key.
        destroyed_count: Buffered items that went down with the receiver.
        senders: Living senders, owned permits included.
        weak_senders: Living weak senders.
        waiting_senders: Tasks that wait for slots right now.
        waiting_senders_peak: Most tasks that ever waited for slots at once.
        receiver_waiting: Whether a task waits for an item.
        closed: Whether the receiver refuses new items.
    """

    capacity: int | None
    depth: int
    peak: int
    buffered_count: int
    buffered_bytes: int
    buffered_bytes_peak: int
    max_bytes: int | None
    permits_out: int
    sent_count: int
    received_count: int
    rejected_count: int
    dropped_newest_count: int
    dropped_oldest_count: int
    conflated_count: int
    destroyed_count: int
    senders: int
    weak_senders: int
    waiting_senders: int
    waiting_senders_peak: int
    receiver_waiting: bool
    closed: bool

    @property
    def dropped_count(self) -> int:
        """Items lost to the overflow policy (a rejected item is not lost: it was handed back)."""
        return self.dropped_newest_count + self.dropped_oldest_count + self.conflated_count
