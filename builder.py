# /// script
# requires-python = ">=3.10"
# dependencies = [
#     "aiohttp>=3.14",
#     "anthropic[aiohttp]>=2.0",
#     "babel>=2.12",
#     "certifi>=2024.7.4",
#     "click>=8.1",
#     "datasets>=3.6",
#     "fsspec>=2024.6",
#     "genai-prices>=0.1.0",
#     "google-re2>=1.1.20240702",
#     "huggingface_hub>=1.20",
#     "jinja2>=3.1",
#     "markdown-it-py>=3",
#     "markupsafe>=2.1",
#     "multiprocess>=0.70.16",
#     "numpy>=1.26",
#     "orjson>=3.10",
#     "pandas>=2.2",
#     "py3langid>=0.2",
#     "pyarrow>=17",
#     "pyyaml>=6.0.1",
#     "rich>=13.7",
# ]
# ///
"""The builder as one file: the loading script of `datasets` 3, and a script to run on any machine.

With datasets 3, `load_dataset("builder.py", trust_remote_code=True, ...)` is `load_dataset("consistent_chat", ...)`.
Everywhere, `uv run builder.py --recipe my.consistent_chat.yaml --publish user/repo` is `consistent-chat publish`, and
`uv run builder.py demo --output demo.parquet` is `consistent-chat build`, with all of their options.

The package is the folder consistent_chat beside this file, or what is installed from its source. It is imported where
no tool finds an import whose name it would then install: on an index that name can be anybody's.
"""

import sys
from importlib import import_module

try:
    consistent_chat = import_module("consistent_chat")
except ModuleNotFoundError as error:
    if error.name != "consistent_chat":
        raise
    raise SystemExit(
        "Keep builder.py beside the folder consistent_chat, or run `pip install .` in that folder."
    ) from None


class ConsistentChat(consistent_chat.ConsistentChat):
    """The package's builder, under the name of this script."""


if __name__ == "__main__":
    raise SystemExit(import_module("consistent_chat.cli").script(sys.argv[1:]))
