"""``python -m ddpm_lesson`` is ``ddpm-lesson``."""

import sys


def main() -> None:
    """The command line; Ctrl-C is answered in a word also while PyTorch is being loaded."""
    try:
        from ddpm_lesson.cli import main as commands
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + 2)  # what a shell makes of Ctrl-C
    commands()


if __name__ == "__main__":
    main()
