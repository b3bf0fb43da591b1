"""The response store: the keeper of request and response pairs, content-addressed, on any fsspec URL.

    STORE/store.json           the format's version
    STORE/packs/<sha256>.parquet   immutable, named by their content
    STORE/journals/<writer>.jsonl  append-only, one writer each, packed when their writer is done
    STORE/torn/<writer>.jsonl      the last line of a writer that was killed while writing it

A remote store has no journals: its writers keep them in a local spool and send packs.
"""

from consistent_chat.store.store import Mode, ResponseStore, default_location

__all__ = ["Mode", "ResponseStore", "default_location"]
