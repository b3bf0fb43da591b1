"""`python -m consistent_chat` is `consistent-chat`."""

from consistent_chat.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
