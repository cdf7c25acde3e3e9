"""Where `tamv-bot` begins."""

from __future__ import annotations

import gc


def main() -> None:
    gc.disable()  # what is imported stays: looking it through for garbage meanwhile would take a fifth of the start
    from bot.command_line import cli

    gc.enable()
    cli()


if __name__ == "__main__":
    main()
