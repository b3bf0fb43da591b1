# /// script
# requires-python = ">=3.10"
# dependencies = ["consistent_chat"]
# ///
"""The builder as one file: the loading script of `datasets` 3, and a script to run on any machine.

With datasets 3, `load_dataset("builder.py", trust_remote_code=True, ...)` is `load_dataset("consistent_chat", ...)`.
Everywhere, `uv run builder.py --recipe my.consistent_chat.yaml --publish user/repo` is `consistent-chat publish`, and
`uv run builder.py demo --output demo.parquet` is `consistent-chat build`, with all of their options.
"""

import sys

import consistent_chat


class ConsistentChat(consistent_chat.ConsistentChat):
    """The package's builder, under the name of this script."""


if __name__ == "__main__":
    from consistent_chat.cli import script

    raise SystemExit(script(sys.argv[1:]))
