"""Entry point of the `tamv-bot` command."""

from __future__ import annotations

import gc


def main() -> None:
    gc.disable()  # imported modules stay alive: scanning them for garbage would make the start a quarter slower
    from bot.command_line import cli

    gc.enable()
    cli()


if __name__ == "__main__":
    main()
