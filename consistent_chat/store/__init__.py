"""The response store: the keeper of request and response pairs, content-addressed, on any fsspec URL.

    STORE/store.json           the format's version
    STORE/packs/<sha256>.parquet   immutable, named by their content
    STORE/journals/<writer>.jsonl  append-only, one writer each, packed when their writer is done
    STORE/torn/<writer>.jsonl      the last line of a writer that was killed while writing it
    STORE/batches/                 batches that were submitted to a provider: batch_log.py

A remote store has packs and batches alone: journals, until they are sent, and copies of its packs lie on the machine
that uses it.

    store.py         find and keep: what drivers use
    record.py        one request and its response, and their digest
    journal.py       what was kept a moment ago
    pack.py          what was kept before; index.py finds it
    maintenance.py   from journals to packs, and to larger packs; is all of it whole?
    location.py      where a store is: a folder or a URL; cache.py has copies of a remote store's packs
    adjacent.py      the store beside a recipe file, and which options it gets
    backends.py      how files are written to a folder or URL; hub_backends.py to the Hub
    batch_log.py     what was asked and is not answered yet
    miss.py          what to say when nothing is found
"""

from consistent_chat.store.adjacent import adjacent_store, options_beside
from consistent_chat.store.batch_log import Batch, BatchLog
from consistent_chat.store.location import Flush, StoreLocation
from consistent_chat.store.maintenance import compact, verify
from consistent_chat.store.store import Mode, ResponseStore, default_location

__all__ = [
    "Batch",
    "BatchLog",
    "Flush",
    "Mode",
    "ResponseStore",
    "StoreLocation",
    "adjacent_store",
    "compact",
    "default_location",
    "options_beside",
    "verify",
]
