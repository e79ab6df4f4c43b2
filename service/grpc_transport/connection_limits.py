"""What one connection may cost."""

from dataclasses import dataclass

__all__ = ["READ_FIRST_SECONDS", "ConnectionLimits"]

# After a time is over: what came while something held the loop is read before it counts.
READ_FIRST_SECONDS = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Limits of one connection; times in seconds.

    Attributes:
        max_calls: At once; more are refused before anything is done for them.
        max_header_bytes: Of one call's headers together (RFC 9113, 6.5.2); a call with more is
            refused, with four times as much the connection.
        max_held_header_bytes: Of all calls that are open together; above, more are refused. A
            client names a long header with one byte where it has sent it before.
        max_message_bytes: Of one message.
        greeting_seconds: Until a client must have said that it speaks HTTP/2.
        message_seconds: Until the message of a call must have come whole.
        idle_seconds: Longest without a call.
        stall_seconds: Until a connection that is closed is cut, whatever its client has not taken.
        ping_seconds: Silence after which the client is asked whether it is there.
        ping_answer_seconds: Until it must have answered.
        client_ping_seconds: Shortest between its own pings when nothing is sent in between.
        max_resets: Calls that it may take back in a minute before anything was answered, which
            costs it less than it costs us (CVE-2023-44487).
        max_idle_frames: Frames in a minute that ask for nothing, beside those that answer ours
            (CVE-2019-9512 to 9518).
        max_age_seconds: It is asked to leave after so long, give or take a tenth; 0 means never.
        age_grace_seconds: Its calls are cut after so much longer; 0 means never.
    """

    max_calls: int = 1024
    max_header_bytes: int = 32 * 1024
    max_held_header_bytes: int = 8 * 1024 * 1024
    max_message_bytes: int = 4 * 1024 * 1024
    greeting_seconds: float = 10.0
    message_seconds: float = 10.0
    idle_seconds: float = 75.0
    stall_seconds: float = 30.0
    ping_seconds: float = 30.0
    ping_answer_seconds: float = 20.0
    client_ping_seconds: float = 10.0
    max_resets: int = 1000
    max_idle_frames: int = 6000
    max_age_seconds: float = 0.0
    age_grace_seconds: float = 0.0
