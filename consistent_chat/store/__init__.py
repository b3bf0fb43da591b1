"""The response store: the keeper of request and response pairs, content-addressed, on any fsspec URL.

    STORE/store.json           the format's version
    STORE/packs/<sha256>.parquet   immutable, named by their content
    STORE/journals/<writer>.jsonl  append-only, one writer each, packed when their writer is done
    STORE/torn/<writer>.jsonl      the last line of a writer that was killed during the write
    STORE/batches/                 batches that were submitted to a provider: batch_log.py

A remote store has only packs and batches. The machine that uses it has the journals, until they are sent, and copies of
the packs.

    store.py         finds and keeps responses: the interface for drivers
    record.py        one request and its response, and their digest
    journal.py       recent records, one file per writer
    pack.py          older records; index.py finds them
    maintenance.py   packs journals, merges packs, verifies a store
    location.py      where a store is: a folder, a URL, or next to a recipe file
    cache.py         local data about a store: copies of a remote store's packs, notes about checked responses
    used.py          notes about the responses that the dialogues of a plan used; notes.py reads and writes notes
    backends.py      how files are written to a folder, a URL or the Hub
    batch_log.py     requests that were submitted and are not answered yet
"""

from consistent_chat.store.batch_log import Batch, BatchLog
from consistent_chat.store.location import Flush, StoreLocation, adjacent_store, options_beside
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
