"""Which requests of the fault campaign are poisoned, and where: by their seeds. Torch-free."""

import enum

__all__ = ["CONTROL_VARIABLE", "NUM_TOKENS_BEFORE", "UNWATCHED_VARIABLE", "Poison"]

# Set for an engine that lets a poison reach the neighbours.
CONTROL_VARIABLE = "NEXTWORD_CAMPAIGN_SPREADS_POISON"
# Set for a server that never notices that its engine is lost.
UNWATCHED_VARIABLE = "NEXTWORD_CAMPAIGN_ENGINE_UNWATCHED"
# Tokens that a request gets before a poison of its continuation works.
NUM_TOKENS_BEFORE = 5


class Poison(enum.IntEnum):
    """What is wrong with a request that has this seed."""

    # Its numbers become NaN, in the cache too: at once, or after some tokens.
    PREFILL = 900_001
    DECODE = 900_002
    # The same where several of its tokens are drawn ahead, and nowhere else.
    AHEAD = 900_007
    # A run ahead that it is in raises after some tokens, and then any batch that it is in.
    RUN = 900_008
    # Computing any batch that it is in raises.
    COMPUTE = 900_003
    # Drawing its random number raises, for the whole batch that it is drawn in.
    SAMPLER = 900_004
    # The front cannot decode its tokens.
    DETOKENIZER = 900_005
    # From then on nothing can be computed any more, as with a device that is lost.
    DEVICE = 900_006
