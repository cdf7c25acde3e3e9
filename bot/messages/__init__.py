"""Messages, charts and reports: state in, blocks or documents out.

Texts are templates, structure is slack_sdk.models.
"""
