"""What the responses of well-known APIs mean, if the outcome table does not cover it.

Each dialect is a function for `classify=`, in its own file, that follows the documentation of its
vendor. For all other responses it returns None, which leaves the decision to the table. It never
raises, even for a malformed response. `reading` contains what the dialects share.

    transport = resilient_transport(classify=dialects.github)
    transport = resilient_transport(classify=[dialects.openai, my_own])

For an API without a dialect, write a function of the same form. For example, for a GraphQL server
that answers 200 with `errors`:

    from walltrack import Classification, Outcome

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

__docformat__ = "google"

__all__ = ["anthropic", "aws", "azure", "github", "openai", "stripe"]
