"""The settings of connections: encryption, limits, patience, leaving. `settings` lists them."""

from service.setting_spec import Kind, setting

__all__ = [
    "CORS_ORIGIN",
    "DRAIN_TIMEOUT",
    "IDLE_TIMEOUT",
    "LAME_DUCK",
    "MAX_CONNECTIONS",
    "MAX_CONNECTION_AGE",
    "MAX_CONNECTION_AGE_GRACE",
    "MAX_OPEN_REQUESTS",
    "PING_INTERVAL",
    "RECEIVE_TIMEOUT",
    "TLS_CERTIFICATE_FILE",
    "TLS_KEY_FILE",
]

TLS_CERTIFICATE_FILE = setting(
    Kind.TEXT,
    "",
    "encrypt the ports of REST and gRPC with the certificate in FILE, PEM, those that vouch for it "
    "after it; the management port stays in the clear",
    default_text="none: both speak in the clear",
    metavar="FILE",
)
TLS_KEY_FILE = setting(
    Kind.TEXT,
    "",
    "the key of that certificate, PEM without a password",
    default_text="none",
    metavar="FILE",
)
CORS_ORIGIN = setting(
    Kind.LIST,
    (),
    "let pages of ORIGIN, such as https://app.example, ask over REST from a browser; * is every "
    "page there is; may be repeated",
    default_text="none: browsers refuse pages of other origins",
    metavar="ORIGIN",
)
MAX_OPEN_REQUESTS = setting(
    Kind.INTEGER,
    1024,
    "requests of both protocols that have not ended, whatever they ask for",
    limits=(1, 1_000_000),
)
MAX_CONNECTIONS = setting(
    Kind.INTEGER,
    1024,
    "open connections of each protocol; above, the longest idle one makes room",
    limits=(1, 1_000_000),
)
MAX_CONNECTION_AGE = setting(
    Kind.NUMBER,
    0.0,
    "seconds after which a gRPC connection is asked to leave, its calls ending in peace "
    "unless --max-connection-age-grace cuts them, so that balancers spread clients anew; "
    "0 is never",
    limits=(0, 86400),
    metavar="SECONDS",
)
MAX_CONNECTION_AGE_GRACE = setting(
    Kind.NUMBER,
    0.0,
    "seconds that the calls of such a connection get to end, before they are cut; 0 is as "
    "long as they take",
    limits=(0, 86400),
    metavar="SECONDS",
)
RECEIVE_TIMEOUT = setting(
    Kind.NUMBER,
    10.0,
    "seconds within which a REST request, or the greeting of a gRPC connection, must have "
    "arrived whole",
    limits=(0.1, 3600),
    metavar="SECONDS",
)
IDLE_TIMEOUT = setting(
    Kind.NUMBER,
    75.0,
    "seconds of silence between two requests of one connection",
    limits=(0.1, 86400),
    metavar="SECONDS",
)
PING_INTERVAL = setting(
    Kind.NUMBER,
    15.0,
    "seconds after which a silent stream of events gets a comment",
    limits=(0.01, 3600),
    metavar="SECONDS",
)
DRAIN_TIMEOUT = setting(
    Kind.NUMBER,
    30.0,
    "seconds that running requests get to end after SIGTERM or Ctrl-C",
    limits=(0, 86400),
    metavar="SECONDS",
)
LAME_DUCK = setting(
    Kind.NUMBER,
    0.0,
    "seconds after SIGTERM or Ctrl-C for which the ports stay open at least, answering "
    "that the server leaves, so that balancers notice",
    limits=(0, 3600),
    metavar="SECONDS",
)
