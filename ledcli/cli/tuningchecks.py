"""What `led finetune` refuses before it begins."""

from pathlib import Path

from ledcli.errors import OutputError, TrainingError, UsageError


def check_out(out: Path) -> None:
    """Refuse at once what could not be written at the end."""
    from ledcli.zoo.store import SUFFIX

    if out.suffix != SUFFIX:
        raise UsageError(f"{out}: a model file ends in {SUFFIX}: name it so with --out")
    if not out.parent.is_dir():
        raise OutputError(f"{out}: its folder does not exist: make it first")
    if out.exists() or out.is_symlink():
        raise already_there(out)


def check_checkpoint(checkpoint: Path, *, resume: bool) -> None:
    """Refuse to go on with what is not there, and to begin again over what was stopped."""
    if resume and not checkpoint.is_file():
        raise TrainingError(
            f"{checkpoint.stem}: there is no stopped tuning of this name: leave out --resume"
        )
    if checkpoint.is_file() and not resume:
        raise TrainingError(
            f"a tuning of '{checkpoint.stem}' was stopped: go on with --resume, or drop it with "
            f"'led models rm {checkpoint.stem}'"
        )


def already_there(out: Path) -> OutputError:
    """Return the error for a file that is not replaced."""
    return OutputError(f"{out}: already there: choose another name with --out")


def parsed_ratios(text: str | None) -> list[float]:
    """Read ``--ratios``; raises UsageError."""
    try:
        ratios = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        ratios = [-1.0]
    if not all(1 <= ratio < float("inf") for ratio in ratios):
        raise UsageError(f"--ratios takes numbers from 1 by commas, such as 100,300, not {text}")
    return ratios
