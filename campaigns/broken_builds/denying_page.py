"""A server whose OpenAPI page denies a field that its answers have, for a campaign's control."""

import sys
from typing import cast

from service.main import main
from service.rest_api.openapi_answers import ANSWER_SCHEMAS

__all__ = ["DENIED"]

DENIED = "total_tokens"

if __name__ == "__main__":
    properties = cast("dict[str, object]", ANSWER_SCHEMAS["Usage"]["properties"])
    # Schemas are closed: what they do not name may not come.
    del properties[DENIED]
    cast("list[str]", ANSWER_SCHEMAS["Usage"]["required"]).remove(DENIED)
    sys.exit(main(sys.argv[1:]))
