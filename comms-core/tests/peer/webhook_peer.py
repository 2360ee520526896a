"""Signs and verifies with the package `standardwebhooks`: a JSON array of cases in, one of answers out."""

import json
import sys
from datetime import datetime, timezone

from standardwebhooks import Webhook, WebhookVerificationError


def answer(case):
    webhook = Webhook(case["secret"])
    if case["do"] == "sign":
        at = datetime.fromtimestamp(case["timestamp"], tz=timezone.utc)
        return webhook.sign(msg_id=case["id"], timestamp=at, data=case["body"])
    try:
        webhook.verify(case["body"], case["headers"], json_parse=False)
        return "accepted"
    except WebhookVerificationError as error:
        return f"refused: {error}"


json.dump([answer(case) for case in json.load(sys.stdin)], sys.stdout)
