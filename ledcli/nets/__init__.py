"""Networks: plain architectures, RepNR blocks over any of them, input forms."""

import os

# Memory in large pages (Linux): an eighth off the time of a photo, measured on two cores. torch
# looks at this when it first takes memory.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
