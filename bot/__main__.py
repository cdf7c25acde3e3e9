"""Entry point of the `tamv-bot` command."""

from __future__ import annotations

import gc


def main() -> None:
    gc.disable()  # imported modules stay alive: scanning them for garbage would make the start a quarter slower
    from bot.command_line import run

    gc.enable()
    run()


if __name__ == "__main__":
    main()
