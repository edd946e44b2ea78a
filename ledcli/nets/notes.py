"""What a user should know of an architecture; in words, without torch."""

TAKES_MEANS: dict[str, str] = {
    "nafnet": "takes means over all that it sees",
    "restormer": "attends to all that it sees",
}
"""Architectures with ``global_operations``, and what these do."""


def about_tiles(architecture: str) -> str:
    """Say in a line what tiles mean to an architecture; empty where they are as the whole frame."""
    if architecture not in TAKES_MEANS:
        return ""
    return (
        f"{architecture} {TAKES_MEANS[architecture]}: with another --tile a large photo "
        "comes out a little different; neighbouring tiles are faded into each other"
    )
