"""What the responses of well-known APIs mean, where the outcome table does not know it.

Each dialect is a function for `classify=`, in a file of its own, that follows what its vendor
documents. `reading` is what they share. A dialect says only what its vendor says: it returns None,
which leaves the decision to the table, for anything else, and it raises for no response, however
malformed.

    transport = resilient_transport(classify=dialects.github)
    transport = resilient_transport(classify=[dialects.openai, my_own])

An API without a dialect needs a function of the same form. A GraphQL server that answers 200 with
`errors`:

    def graphql(outcome: Outcome) -> Classification | None:
        body = outcome.json()
        if outcome.status == 200 and isinstance(body, dict) and body.get("errors"):
            return Classification(failure=True)
        return None
"""

from walltrack.dialects.anthropic import anthropic
from walltrack.dialects.aws import aws
from walltrack.dialects.azure import azure
from walltrack.dialects.github import github
from walltrack.dialects.openai import openai
from walltrack.dialects.stripe import stripe

__all__ = ["anthropic", "aws", "azure", "github", "openai", "stripe"]
