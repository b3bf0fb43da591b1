"""A Hub on this machine: a real HTTP server for tests, in a thread, which the Hub's own clients read from and write to.

Repos and buckets are plain mappings of paths to bytes, and every request and commit is kept:

    with Hub({"me/demo": {"my.consistent_chat.yaml": b"model: rehearsal"}}) as hub:
        ...  # in a process that was started with HF_ENDPOINT=hub.url
        assert hub.requests

It knows dataset repos (files, revisions, branches, pull requests, large files by LFS or Xet) and storage buckets,
but no models, spaces, talk or settings. Jobs
are asked for, and not run. A commit's id is made of the files that it leads to, of nothing else.
"""

from tests.hub.content import USER, Commit, Files, blob, commit, folders
from tests.hub.server import READER, WRITER, Hub, Seen

__all__ = ["READER", "USER", "WRITER", "Commit", "Files", "Hub", "Seen", "blob", "commit", "folders"]
