"""Datasets on the Hub: put there with all that they are made of, and proven to be what they say.

    REPO/README.md                         the card
    REPO/data/<split>-<i>-of-<n>.parquet   the rows
    REPO/failures/<split>.parquet          the answers that were of no use (config "failures")
    REPO/responses/                        a response store with what the rows are made of (config "responses")
    REPO/<name>.consistent_chat.yaml       the recipe, with its taxonomy
    REPO/plots/                            the card's images
    REPO/consistent_chat.json              the SHA-256 of every file but the card

The rows follow from the recipe and the responses beside it, here and there.

    publish.py      all of it, in order
    target.py       what is meant by "user/repo" and "buckets/user/name/path"
    making.py       a folder with all files: selecting.py has the responses, recipe_file.py the recipe
    rebuilding.py   the rows and failures, from a folder's recipe and responses alone
    describing.py   the card and its images
    sending.py      what is new or gone; hub.py, repo.py and bucket.py know how to send it
    verifying.py    the same rows once more; comparing.py finds where they differ
    live.py         the card of a build that goes on
    job.py          the same on the Hub's own machines
"""

from consistent_chat.publishing.publish import publish
from consistent_chat.publishing.verify import is_dataset, verify

__all__ = ["is_dataset", "publish", "verify"]
