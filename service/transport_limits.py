"""What one client may cost either transport before any request of its is judged.

The defaults are those of the settings; tests shorten the times.
"""

from dataclasses import dataclass

__all__ = ["MAX_MESSAGE_BYTES", "TransportLimits"]

# The same for a REST body and a gRPC message.
MAX_MESSAGE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportLimits:
    """Limits of connections, receipt and delivery.

    Attributes:
        max_connections: Open connections of each protocol; above, the longest idle one makes room,
            else a new one gets 503 over REST and is cut over gRPC.
        max_open_requests: Requests of both protocols that have not ended, whatever they ask for.
        receive_timeout_seconds: A request must have arrived whole, counted from its first byte; in
            gRPC the connection's greeting, and each message.
        idle_timeout_seconds: Longest silence between two requests of one connection.
        stall_timeout_seconds: A client that takes nothing for so long is let go; one that reads
            slowly but steadily is kept.
        min_answer_bytes_per_second: A whole answer is read at this rate at least, the stall time
            beside; nobody keeps its memory for longer.
        ping_seconds: A silent stream of events gets a comment so often.
        max_head_bytes: Request line and headers together.
        max_num_headers: Headers of one request.
        max_url_bytes: Path and query.
        max_connection_age_seconds: A gRPC connection is asked to leave after so long; 0 means
            never.
        max_connection_age_grace_seconds: Its calls are cut after so much longer; 0 means that they
            end in peace, however long they take.
    """

    max_connections: int = 1024
    max_open_requests: int = 1024
    receive_timeout_seconds: float = 10.0
    idle_timeout_seconds: float = 75.0
    stall_timeout_seconds: float = 30.0
    min_answer_bytes_per_second: int = 100 * 1024
    ping_seconds: float = 15.0
    max_head_bytes: int = 32 * 1024
    max_num_headers: int = 128
    max_url_bytes: int = 8 * 1024
    max_connection_age_seconds: float = 0.0
    max_connection_age_grace_seconds: float = 0.0

    def reading_seconds(self, num_bytes: int) -> float:
        """Longest that a client may take for a whole answer of so many bytes."""
        return self.stall_timeout_seconds + num_bytes / self.min_answer_bytes_per_second
