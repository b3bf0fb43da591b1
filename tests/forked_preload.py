"""The third-party modules that tests/forked.py imports once for all processes.

They are the same in every environment. None of them may import `datasets` or `huggingface_hub`, which read the
environment when they are imported.
"""

import gc
import importlib
from contextlib import suppress

NAMES = (
    *("aiohttp", "babel", "bs4", "click", "dill", "filelock", "fsspec.implementations.local", "genai_prices", "h11"),
    *("httpcore2", "httpx2", "jinja2", "markdown_it", "multiprocess.pool", "multiprocess.queues", "orjson", "pandas"),
    *(
        "pyarrow.dataset",
        "pyarrow.parquet",
        "pytest",
        "re2",
        "rich.console",
        "rich.progress",
        "tqdm.auto",
        "truststore",
    ),
    *("unittest.mock", "xml.dom.minidom", "xxhash", "yaml"),
)
"""The SDKs take longest, and few commands need them: only those of batches."""

gc.disable()
for name in NAMES:
    with suppress(ImportError):  # some have other names in the lowest versions
        importlib.import_module(name)

import py3langid

py3langid.classify("")  # unpacks its model, which takes 0.4 s
gc.freeze()  # none of this is garbage, and memory that the collector never touches stays shared
gc.enable()
