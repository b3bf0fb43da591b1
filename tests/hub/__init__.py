"""A local Hub for tests: a real HTTP server in a thread, from which the Hub's own clients read and to which they write.

Repositories and buckets are plain mappings of paths to bytes. Every request and every commit is recorded:

    with Hub({"me/demo": {"my.consistent_chat.yaml": b"model: rehearsal"}}) as hub:
        ...  # in a process that was started with HF_ENDPOINT=hub.url
        assert hub.requests

It supports dataset repositories (files, revisions, branches, pull requests, large files by LFS or Xet) and storage
buckets, but no models, spaces, discussions or settings. Jobs are recorded and not run. The id of a commit depends only
on the files of the repository after the commit.
"""

from tests.hub.content import USER, Commit, Files, blob, commit, folders
from tests.hub.server import READER, WRITER, Hub, Seen

__all__ = ["READER", "USER", "WRITER", "Commit", "Files", "Hub", "Seen", "blob", "commit", "folders"]
